"""Vector lanes for Numba: a small type whose arithmetic is one SIMD instruction each.

In a kernel, `load(array, index)` reads as many neighbouring numbers as the machine's registers
hold; `add`, `sub`, `mul`, `fma`, `sqrt`, `minimum`, `where_le` work on all of them at once. LLVM
is told the vectors; it does not have to find them. (Numba's own vectorisation of the same loops
was silently absent in half of the variants tried.) Every operation is exactly rounded and fused
only where `fma` says so: the bits of a lane are the same on any processor and lane count.

A processor has one slow unit for roots and two fast ones for products. `sqrt_multiplied` takes a
root of doubles with the fast ones, so that of two roots that a cell needs, or of two cells, each
kind of unit does one.
"""
# pyright: basic, reportCallIssue=false, reportIndexIssue=false
# ruff: noqa: ANN001, ANN201, ANN202 (Numba's compiler interfaces are untyped)

from __future__ import annotations

import os

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model


def _has_avx512() -> bool:
    """Whether Numba will compile for 64-byte registers here."""
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        return llvm.get_host_cpu_features().get("avx512f", False)
    return "+avx512f" in features


_WIDE = _has_avx512()
# Lanes by element size in bytes. Any number gives the same results.
LANES = {4: 16, 8: 8} if _WIDE else {4: 8, 8: 4}
_SMALLEST_NORMAL = 2.0**-1022


class _LaneType(types.Type):
    """A vector of lanes inside a kernel; it never crosses into Python."""

    def __init__(self, element) -> None:
        self.element = element
        self.size = element.bitwidth // 8
        self.width = LANES[self.size]
        super().__init__(name=f"lanes({element} x {self.width})")

    def llvm_type(self):
        element = ir.FloatType() if self.size == 4 else ir.DoubleType()
        return ir.VectorType(element, self.width)

    def suffix(self) -> str:
        return f"v{self.width}f{8 * self.size}"


@register_model(_LaneType)
class _LaneModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm_type())


def _pointer(context, builder, array_type, array, index, lanes):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), lanes.llvm_type().as_pointer())


@intrinsic
def width_of(typingctx, array):  # noqa: ARG001
    """Lanes of a vector of the array's numbers, a constant of the kernel."""
    width = LANES[array.dtype.bitwidth // 8]

    def codegen(context, builder, signature, args):  # noqa: ARG001
        return context.get_constant(types.intp, width)

    return types.intp(array), codegen


def _packed(builder):
    """Names the packed frames as memory of their own, which `store_apart` leaves alone."""
    add = builder.module.add_metadata
    return add([add(["finedata packed frames", add(["finedata dtw"])])])


@intrinsic
def load(typingctx, array, index):  # noqa: ARG001
    """The numbers of packed frames from `index` on; no `store_apart` may write there."""
    lanes = _LaneType(array.dtype)

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args, lanes)
        value = builder.load(pointer)
        value.align = lanes.size
        # Lets LLVM keep it in a register across `store_apart`, but not across other stores: the
        # next pair's frames are packed into the same buffer.
        value.set_metadata("alias.scope", _packed(builder))
        return value

    return lanes(array, types.intp), codegen


@intrinsic
def load_changing(typingctx, array, index):  # noqa: ARG001
    """As `load`, from an array that the kernel writes to."""
    lanes = _LaneType(array.dtype)

    def codegen(context, builder, signature, args):
        value = builder.load(_pointer(context, builder, signature.args[0], *args, lanes))
        value.align = lanes.size
        return value

    return lanes(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):  # noqa: ARG001
    """Write the lanes to `index` and on."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args[:2], value)
        builder.store(args[2], pointer).align = value.size
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def store_apart(typingctx, array, index, value):  # noqa: ARG001
    """As `store`, to an array that is not the packed frames that `load` reads."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args[:2], value)
        written = builder.store(args[2], pointer)
        written.align = value.size
        written.set_metadata("noalias", _packed(builder))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def splat(typingctx, array, number):  # noqa: ARG001
    """One number in every lane, as the array's type."""
    lanes = _LaneType(array.dtype)

    def codegen(context, builder, signature, args):
        scalar = context.cast(builder, args[1], signature.args[1], lanes.element)
        vector = lanes.llvm_type()
        nothing = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes.width), [0] * lanes.width)
        return builder.shuffle_vector(first, nothing, mask)

    return lanes(array, number), codegen


@intrinsic
def add(typingctx, a, b):  # noqa: ARG001
    """`a + b`."""

    def codegen(context, builder, signature, args):  # noqa: ARG001
        return builder.fadd(*args)

    return a(a, b), codegen


@intrinsic
def sub(typingctx, a, b):  # noqa: ARG001
    """`a - b`."""

    def codegen(context, builder, signature, args):  # noqa: ARG001
        return builder.fsub(*args)

    return a(a, b), codegen


@intrinsic
def mul(typingctx, a, b):  # noqa: ARG001
    """`a * b`."""

    def codegen(context, builder, signature, args):  # noqa: ARG001
        return builder.fmul(*args)

    return a(a, b), codegen


@intrinsic
def minimum(typingctx, a, b):  # noqa: ARG001
    """The smaller of each lane; no lane may be NaN."""

    def codegen(context, builder, signature, args):  # noqa: ARG001
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return a(a, b), codegen


@intrinsic
def where_le(typingctx, a, b, then, otherwise):  # noqa: ARG001
    """`then` in the lanes where `a <= b`, `otherwise` in the others."""

    def codegen(context, builder, signature, args):  # noqa: ARG001
        return builder.select(builder.fcmp_ordered("<=", *args[:2]), *args[2:])

    return then(a, b, then, otherwise), codegen


def _llvm_call(builder, name, lanes, args):
    kind = ir.FunctionType(lanes.llvm_type(), [arg.type for arg in args])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.{lanes.suffix()}")
    return builder.call(function, args)


@intrinsic
def fma(typingctx, a, b, c):  # noqa: ARG001
    """`a * b + c`, rounded once."""

    def codegen(context, builder, signature, args):  # noqa: ARG001
        return _llvm_call(builder, "fma", a, args)

    return a(a, b, c), codegen


@intrinsic
def sqrt(typingctx, a):  # noqa: ARG001
    """The square root, correctly rounded."""

    def codegen(context, builder, signature, args):  # noqa: ARG001
        return _llvm_call(builder, "sqrt", a, args)

    return a(a), codegen


@intrinsic
def sqrt_multiplied(typingctx, a):  # noqa: ARG001
    """The square root of doubles by the units that multiply; without AVX-512 as `sqrt`.

    Of floats as `sqrt` everywhere. Goldschmidt's steps from the processor's reciprocal root of 14
    bits, the last one on the remainder x - g g as Markstein does (Cornea, Harrison, Tang:
    Scientific Computing on Itanium-based Systems, 2002, chapter 8): rounded as `sqrt` rounds. Of
    zero it is zero; below the smallest normal number it is small, and no more is promised.
    """

    def codegen(context, builder, signature, args):  # noqa: ARG001
        if not _WIDE or a.size == 4:
            return _llvm_call(builder, "sqrt", a, args)
        vector, (x,) = a.llvm_type(), args
        least = ir.Constant(vector, [_SMALLEST_NORMAL] * a.width)
        half = ir.Constant(vector, [0.5] * a.width)
        reciprocal = _reciprocal_root_14(
            builder, vector, builder.select(builder.fcmp_ordered("<", x, least), least, x)
        )
        # root -> sqrt(x) and inverse -> 1 / (2 sqrt(x)): 14 right bits, then 28, then 53
        root, inverse = builder.fmul(x, reciprocal), builder.fmul(reciprocal, half)
        short = _llvm_call(builder, "fma", a, [builder.fneg(root), inverse, half])
        root = _llvm_call(builder, "fma", a, [root, short, root])
        inverse = _llvm_call(builder, "fma", a, [inverse, short, inverse])
        short = _llvm_call(builder, "fma", a, [builder.fneg(root), inverse, half])
        root = _llvm_call(builder, "fma", a, [root, short, root])
        remainder = _llvm_call(builder, "fma", a, [builder.fneg(root), root, x])
        return _llvm_call(builder, "fma", a, [inverse, remainder, root])

    return a(a), codegen


def _reciprocal_root_14(builder, vector, x):
    mask = ir.IntType(vector.count)
    kind = ir.FunctionType(vector, [vector, vector, mask])
    name = "llvm.x86.avx512.rsqrt14.pd.512"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [x, ir.Constant(vector, ir.Undefined), ir.Constant(mask, -1)])


@intrinsic
def is_double(typingctx, a):  # noqa: ARG001
    """Whether the lanes hold doubles, a constant of the kernel."""

    def codegen(context, builder, signature, args):  # noqa: ARG001
        return context.get_constant(types.boolean, a.size == 8)

    return types.boolean(a), codegen


@intrinsic
def any_above(typingctx, a, b):  # noqa: ARG001
    """Whether `a > b` in at least one lane."""

    def codegen(context, builder, signature, args):  # noqa: ARG001
        bits = ir.IntType(a.width)
        above = builder.bitcast(builder.fcmp_ordered(">", *args), bits)
        return builder.icmp_unsigned("!=", above, ir.Constant(bits, 0))

    return types.boolean(a, b), codegen


@intrinsic
def absolute(typingctx, a):  # noqa: ARG001
    """The magnitude."""

    def codegen(context, builder, signature, args):  # noqa: ARG001
        return _llvm_call(builder, "fabs", a, args)

    return a(a), codegen
