"""`.npy` files come in, arrays or trees of plain values go out; no pickle is ever executed.

`numpy.save` writes anything that is no plain array as a pickle, and RH20T is published so. A
pickle is a program: here it runs on a machine of our own that knows the twoscore opcodes which
build dicts, lists, tuples, numbers, text and NumPy arrays, and no others. The names that such a
file may mention stand for functions of this module, never for what Python would import, because
NumPy's own `dtype.__setstate__` lets a crafted file pass bytes off as object pointers. Array data
are read-only views of the file's bytes, and what a file may unfold to is bounded by its size.
"""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from finedata.errors import CorruptRecordError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RefusedPickleError", "read_npy"]

_MAGIC = b"\x93NUMPY"
# What numpy.save writes for every dtype without fields (Python 2 wrote sizes as 3L).
_HEADER = re.compile(
    r"\{'descr': '([<>|=]?)([a-zA-Z])(\d*)', 'fortran_order': (True|False), "
    r"'shape': \(([\dL, ]*)\), \}\s*"
)
_MAX_HEADER_BYTES = 10_000
_MAX_DIMENSIONS = 32
# dict -> list -> dict -> array is the deepest that is known; a parser of ours may recurse.
_MAX_DEPTH = 50
# Shared members are written once and unfold wherever they are used.
_MAX_UNFOLDING = 64


class RefusedPickleError(SourceError):
    """A pickle asks for something outside the allow-list; nothing of it was executed."""


def read_npy(data: bytes, *, place: str) -> Any:
    """Read a `.npy` file.

    Args:
        data: The whole file.
        place: What the file is called in errors.

    Returns:
        An array for a plain array. For an object array of shape () its item (what
        `numpy.load(..., allow_pickle=True).item()` gives): a tree of dicts, lists, tuples, str,
        bytes, int, float, bool, `None`, NumPy scalars and read-only arrays. For an object array of
        another shape the array of such trees.

    Raises:
        CorruptRecordError: Truncated, damaged, or larger than the file can hold.
        RefusedPickleError: The file asks for a name or an operation that is not allow-listed.

    Source: NumPy's NEP 1 (the header), `pickletools` of the standard library (the opcodes).
    """
    try:
        return _read(data, place)
    except SourceError:
        raise
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise _corrupt(place, f"bytes that do not decode ({error})") from error
    except struct.error as error:
        raise _corrupt(place, "the end of the file inside a value") from error


def _read(data: bytes, place: str) -> Any:
    kind, size, byte_order, shape, fortran, start = _header(data, place)
    if kind != "O":
        dtype = _dtype(f"{kind}{size}", byte_order)
        return _array(shape, dtype, fortran, memoryview(data)[start:])
    machine = _Machine(data, start, place)
    value = machine.run()
    _check_tree(value, _MAX_UNFOLDING * len(data), place)
    # The pickle's outermost object is the object array itself.
    made = cast("np.ndarray", value) if isinstance(value, np.ndarray) else None
    if made is None or made.dtype.kind != "O" or made.shape != shape:
        raise _corrupt(place, "a pickle that is not the object array of the header")
    return made[()] if shape == () else made


def _header(data: bytes, place: str) -> tuple[str, str, str, tuple[int, ...], bool, int]:
    if data[:6] != _MAGIC:
        raise _corrupt(place, f"a file that begins with {data[:6]!r}", wanted="a .npy file")
    # Version 1.0 has two bytes of length; 2.0 and 3.0 have four.
    form = "<H" if data[6] == 1 else "<I"
    start = 8 + struct.calcsize(form)
    length = struct.unpack_from(form, data, 8)[0]
    if length > _MAX_HEADER_BYTES or start + length > len(data):
        raise _corrupt(place, f"a header of {length} bytes in a file of {len(data)}")
    text = data[start : start + length].decode("latin-1")
    match = _HEADER.fullmatch(text)
    if match is None:
        raise _corrupt(
            place, f"the header {text[:100].strip()!r}", wanted="an array without fields"
        )
    byte_order, kind, size, order, sizes = match.groups()
    shape = tuple(int(part.strip(" L")) for part in sizes.split(",") if part.strip())
    return kind, size, byte_order, shape, order == "True", start + length


def _corrupt(
    place: str, found: str, *, wanted: str = "a whole .npy file as numpy.save writes it"
) -> CorruptRecordError:
    return CorruptRecordError(place=place, found=found, wanted=wanted)


# NumPy values, built from checked parts only


def _dtype(text: str, byte_order: str) -> np.dtype[Any]:
    """A dtype of numbers or fixed-size text; `O8` for members that are objects."""
    if text in ("O", "O4", "O8"):
        return np.dtype(object)
    if not re.fullmatch(r"b1|[iu][1248]|f[248]|c(8|16)|[SU]\d{1,6}", text):
        msg = f"arrays of type {text!r}"
        raise ValueError(msg)
    return np.dtype(("" if byte_order == "|" else byte_order) + text)


def _array(shape: Any, dtype: Any, fortran: Any, data: Any) -> np.ndarray:
    if not isinstance(dtype, np.dtype) or not isinstance(shape, tuple):
        msg = "an array without shape or type"
        raise TypeError(msg)
    known = cast("np.dtype[Any]", dtype)
    sizes = cast("tuple[Any, ...]", shape)
    if len(sizes) > _MAX_DIMENSIONS or any(type(n) is not int or n < 0 for n in sizes):
        msg = "an array of impossible shape"
        raise ValueError(msg)
    count = math.prod(cast("tuple[int, ...]", sizes))
    flat = _objects(data, count) if known.kind == "O" else _values(data, known, count)
    return flat.reshape(sizes, order="F" if fortran else "C")


def _objects(data: Any, count: int) -> np.ndarray:
    if type(data) is not list or len(cast("list[Any]", data)) != count:
        msg = f"an array of {count} objects without as many members"
        raise ValueError(msg)
    members = np.empty(count, object)
    for index, member in enumerate(cast("list[Any]", data)):
        members[index] = member
    return members


def _values(data: Any, dtype: np.dtype[Any], count: int) -> np.ndarray:
    if not isinstance(data, (bytes, memoryview)):
        msg = "an array without bytes"
        raise TypeError(msg)
    held = memoryview(cast("bytes", data))
    if dtype.itemsize == 0 or len(held) != count * dtype.itemsize:
        msg = f"{len(held)} bytes for {count} values of {dtype.itemsize}"
        raise ValueError(msg)
    return np.frombuffer(held, dtype) if count else np.empty(0, dtype)


class _Name:
    """A name that a file may mention, and what it makes of its arguments."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make


class _Shell:
    """An array or a dtype between its making and its state."""

    __slots__ = ("text", "value")

    def __init__(self, text: str | None) -> None:
        self.text = text
        self.value: Any = None


def _make_array_shell(kind: Any, shape: Any, code: Any) -> _Shell:
    if kind is not _NDARRAY or shape != (0,) or code != b"b":
        msg = "an array that is not made as NumPy makes it"
        raise ValueError(msg)
    return _Shell(None)


def _make_dtype_shell(text: Any, align: Any = False, copy: Any = True) -> _Shell:  # noqa: ARG001, FBT002
    if type(text) is not str:
        msg = "a type without a name"
        raise TypeError(msg)
    return _Shell(text)


def _make_scalar(dtype: Any, data: Any) -> Any:
    if type(data) is list:
        msg = "a NumPy scalar that is an object"
        raise ValueError(msg)
    return _array((), dtype, False, data)[()]  # noqa: FBT003


def _make_from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if order not in ("C", "F"):
        msg = f"the memory order {order!r}"
        raise ValueError(msg)
    return _array(shape, dtype, order == "F", data)


def _make_encoded(text: Any, encoding: Any) -> bytes:
    """Protocol 2 has no bytes: Python 3 wrote them as Latin-1 text."""
    if type(text) is not str or encoding != "latin1":
        msg = "bytes written in another way than Python's"
        raise ValueError(msg)
    return text.encode("latin-1")


def _make_dict(pairs: Any = ()) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for key, value in pairs:
        made[_key(key)] = value
    return made


def _not_callable(*_: Any) -> Any:
    msg = "an array that is not made as NumPy makes it"
    raise ValueError(msg)


_NDARRAY: Final = _Name(_not_callable)
_NAMES: Final[dict[tuple[str, str], _Name]] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Name(_make_dtype_shell),
    ("_codecs", "encode"): _Name(_make_encoded),
    ("collections", "OrderedDict"): _Name(_make_dict),
}
for _core in ("numpy.core", "numpy._core"):
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = _Name(_make_array_shell)
    _NAMES[f"{_core}.multiarray", "scalar"] = _Name(_make_scalar)
    _NAMES[f"{_core}.numeric", "_frombuffer"] = _Name(_make_from_buffer)


def _key(key: Any) -> Any:
    """Flat keys only: hashing a deeply nested tuple overflows the C stack."""
    if key is not None and not isinstance(key, (str, bytes, int, float, np.generic)):
        msg = f"a dict with a key of type {type(key).__name__}"
        raise TypeError(msg)
    return cast("Any", key)


# The machine

_MARK: Final = object()
# Opcodes that exist and are refused: they make objects, or come from protocols 0 and 1.
_REFUSED: Final = frozenset(b"ioPQ\x81\x82\x83\x84\x92\x8f\x90\x91\x97\x98dlISVLFpgTU\x8b2")


class _Machine:
    """Runs one pickle. `step[opcode]` reads its argument at `at` and changes the stack."""

    def __init__(self, data: bytes, start: int, place: str) -> None:
        self.data = data
        self.at = start
        self.place = place
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        # Bytes that encoded text and object arrays may take beside the file's own.
        self.budget = _MAX_UNFOLDING * len(data)

    def run(self) -> Any:
        """Run up to STOP; the file must end there."""
        data, size = self.data, len(self.data)
        steps = [_STEPS.get(code) for code in range(256)]
        while self.at < size:
            code = data[self.at]
            self.at += 1
            step = steps[code]
            if step is not None:
                step(self)
            elif code == 0x2E:  # STOP
                if self.at != size:
                    raise _corrupt(
                        self.place, f"{size - self.at} bytes after the end of the pickle"
                    )
                if len(self.stack) != 1:
                    raise _corrupt(self.place, "a pickle that leaves no single value")
                return self._whole(self.stack[0])
            elif code in _REFUSED:
                raise self._refused(what=f"the pickle operation {bytes((code,))!r}")
            else:
                raise _corrupt(self.place, f"no pickle operation (byte {code}) at {self.at - 1}")
        raise _corrupt(self.place, f"the end of the file ({size} bytes) inside a pickle")

    def _refused(self, *, what: str) -> RefusedPickleError:
        return RefusedPickleError(
            place=self.place,
            found=f"a pickle that asks for {what} (nothing was executed)",
            wanted="dicts, lists, numbers, text and NumPy arrays only",
        )

    def _number(self, form: str) -> Any:
        value = struct.unpack_from(form, self.data, self.at)[0]
        self.at += struct.calcsize(form)
        return value

    def _bytes(self, form: str) -> bytes:
        length = self._number(form)
        if length > len(self.data) - self.at:
            raise _corrupt(self.place, f"a value of {length} bytes beyond the end of the file")
        value = self.data[self.at : self.at + length]
        self.at += length
        return value

    def _whole(self, value: Any) -> Any:
        if type(value) is not _Shell:
            return value
        if value.value is None:
            msg = "an array or a type that was never filled"
            raise ValueError(msg)
        return value.value

    def _since_mark(self) -> list[Any]:
        stack = self.stack
        at = len(stack) - 1
        while stack[at] is not _MARK:
            at -= 1  # past the first, -1 and on: an IndexError in the end
        if at < 0:
            msg = "a pickle without a mark"
            raise ValueError(msg)
        items = stack[at + 1 :]
        del stack[at:]
        return items

    def _pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            msg = "a mark in place of a value"
            raise ValueError(msg)
        return value

    # One method an opcode, or a few of a kind

    def proto(self) -> None:
        version = self._number("<B")
        if version > 5:
            raise _corrupt(self.place, f"pickle protocol {version}")

    def frame(self) -> None:
        self._number("<Q")

    def mark(self) -> None:
        self.stack.append(_MARK)

    def pop(self) -> None:
        self.stack.pop()

    def global_(self) -> None:
        end = self.data.index(b"\n", self.at)
        stop = self.data.index(b"\n", end + 1)
        module = self.data[self.at : end].decode()
        name = self.data[end + 1 : stop].decode()
        self.at = stop + 1
        self._find(module, name)

    def stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._find(module, name)

    def _find(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            msg = "a name that is no text"
            raise TypeError(msg)
        known = _NAMES.get((module, name))
        if known is None:
            raise self._refused(what=f"{module[:80]}.{name[:80]}")
        self.stack.append(known)

    def reduce(self) -> None:
        arguments, name = self._pop(), self._pop()
        if type(name) is not _Name or type(arguments) is not tuple:
            raise self._refused(what="a call of something that is no allow-listed name")
        whole = [self._whole(argument) for argument in cast("tuple[Any, ...]", arguments)]
        made = name.make(*whole)
        if isinstance(made, (bytes, dict)):
            self._spend(len(cast("bytes", made)))
        self.stack.append(made)

    def build(self) -> None:
        state, shell = self._pop(), self._pop()
        if type(shell) is not _Shell or type(state) is not tuple or shell.value is not None:
            raise self._refused(what="a state for something that is no NumPy array")
        parts = cast("tuple[Any, ...]", state)
        if shell.text is None:
            _, shape, dtype, fortran, data = parts
            if type(data) is list:
                self._spend(8 * len(cast("list[Any]", data)))
            shell.value = _array(shape, self._whole(dtype), fortran, data)
        else:
            if len(parts) < 5 or parts[1] not in ("<", ">", "|", "=") or any(parts[2:5]):
                msg = "an array type with fields or without byte order"
                raise ValueError(msg)
            shell.value = _dtype(shell.text, parts[1])
        self.stack.append(shell.value)

    def _spend(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise _corrupt(self.place, f"values that unfold to more than {_MAX_UNFOLDING} files")

    def append(self) -> None:
        value, target = self._pop(), self.stack[-1]
        _expect(target, list).append(self._whole(value))

    def appends(self) -> None:
        items = self._since_mark()
        _expect(self.stack[-1], list).extend(map(self._whole, items))

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        _expect(self.stack[-1], dict)[_key(key)] = self._whole(value)

    def set_items(self) -> None:
        items = self._since_mark()
        target = _expect(self.stack[-1], dict)
        for index in range(0, len(items), 2):
            target[_key(items[index])] = self._whole(items[index + 1])

    def tuple_(self) -> None:
        items = self._since_mark()
        self.stack.append(tuple(items))

    def _short_tuple(self, size: int) -> None:
        items = [self._pop() for _ in range(size)]
        self.stack.append(tuple(reversed(items)))

    def memoize(self) -> None:
        self._put(len(self.memo))

    def _put(self, index: int) -> None:
        value = self.stack[-1]
        if value is _MARK:
            msg = "a mark in place of a value"
            raise ValueError(msg)
        self.memo[index] = value

    def _get(self, index: int) -> None:
        value = self.memo[index]
        # An array that was shared: NumPy fills it before anything can refer to it.
        self.stack.append(self._whole(value) if type(value) is _Shell else value)

    def text(self, form: str) -> None:
        self.stack.append(self._bytes(form).decode())

    def raw(self, form: str) -> None:
        self.stack.append(self._bytes(form))

    def number(self, form: str) -> None:
        self.stack.append(self._number(form))

    def long(self) -> None:
        self.stack.append(int.from_bytes(self._bytes("<B"), "little", signed=True))


def _expect(target: Any, kind: type[Any]) -> Any:
    if type(target) is not kind:
        msg = f"members for a {type(target).__name__} instead of a {kind.__name__}"
        raise TypeError(msg)
    return target


# Names of the opcodes as in pickletools: what is absent here is not admitted.
_STEPS: Final[dict[int, Callable[[_Machine], None]]] = {
    0x80: _Machine.proto,
    0x95: _Machine.frame,
    ord("("): _Machine.mark,
    ord("0"): _Machine.pop,
    ord("N"): lambda m: m.stack.append(None),
    0x88: lambda m: m.stack.append(True),
    0x89: lambda m: m.stack.append(False),
    ord("K"): lambda m: m.number("<B"),
    ord("M"): lambda m: m.number("<H"),
    ord("J"): lambda m: m.number("<i"),
    0x8A: _Machine.long,
    ord("G"): lambda m: m.number(">d"),
    0x8C: lambda m: m.text("<B"),
    ord("X"): lambda m: m.text("<I"),
    0x8D: lambda m: m.text("<Q"),
    ord("C"): lambda m: m.raw("<B"),
    ord("B"): lambda m: m.raw("<I"),
    0x8E: lambda m: m.raw("<Q"),
    0x96: lambda m: m.raw("<Q"),  # a bytearray; nothing here writes into it
    ord("]"): lambda m: m.stack.append([]),
    ord("}"): lambda m: m.stack.append({}),
    ord(")"): lambda m: m.stack.append(()),
    ord("t"): _Machine.tuple_,
    0x85: lambda m: m._short_tuple(1),  # pyright: ignore[reportPrivateUsage]  (its own table)
    0x86: lambda m: m._short_tuple(2),  # pyright: ignore[reportPrivateUsage]
    0x87: lambda m: m._short_tuple(3),  # pyright: ignore[reportPrivateUsage]
    ord("a"): _Machine.append,
    ord("e"): _Machine.appends,
    ord("s"): _Machine.set_item,
    ord("u"): _Machine.set_items,
    0x94: _Machine.memoize,
    ord("q"): lambda m: m._put(m._number("<B")),  # pyright: ignore[reportPrivateUsage]
    ord("r"): lambda m: m._put(m._number("<I")),  # pyright: ignore[reportPrivateUsage]
    ord("h"): lambda m: m._get(m._number("<B")),  # pyright: ignore[reportPrivateUsage]
    ord("j"): lambda m: m._get(m._number("<I")),  # pyright: ignore[reportPrivateUsage]
    ord("c"): _Machine.global_,
    0x93: _Machine.stack_global,
    ord("R"): _Machine.reduce,
    ord("b"): _Machine.build,
}


def _check_tree(root: Any, limit: int, place: str) -> None:
    """Refuse cycles, bottomless nesting, leftovers of the machine and trees that unfold too far."""
    weights: dict[int, int] = {}
    if _weigh(root, weights, _MAX_DEPTH, place) > limit:
        raise _corrupt(place, "shared members that unfold to far more than the file holds")


def _weigh(node: Any, weights: dict[int, int], depth: int, place: str) -> int:
    """How many values a node unfolds to; containers are weighed once each."""
    children: list[Any]
    if isinstance(node, dict):
        children = list(cast("dict[Any, Any]", node).values())
    elif isinstance(node, (list, tuple)):
        children = cast("list[Any]", node)
    elif isinstance(node, np.ndarray):
        array = cast("np.ndarray", node)
        if array.dtype.kind != "O":
            return 1 + array.size
        children = array.ravel().tolist()
    elif node is None or isinstance(node, (str, bytes, int, float, complex, np.generic)):
        return 1
    else:
        raise _corrupt(place, f"a value of type {type(node).__name__}")
    known = weights.get(id(cast("object", node)))
    if known is not None:
        return known
    if depth == 0:
        raise _corrupt(place, f"values nested more than {_MAX_DEPTH} deep, or within themselves")
    weights[id(cast("object", node))] = weight = 1 + sum(
        _weigh(child, weights, depth - 1, place) for child in children
    )
    return weight
