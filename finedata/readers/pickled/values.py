"""The values that a pickle of NumPy's may build, made from checked parts only.

Those are dtypes, arrays and the few other values that `numpy.save` writes; shapes, types and bytes
are what the file states. `NAMES` is the allow-list: every name that such a file may mention, with
the function of this module that stands for it. Nothing is looked up in Python, because
NumPy's own `dtype.__setstate__` lets a crafted file pass bytes off as object pointers. Whatever
does not fit together is a `ValueError` or a `TypeError`, which the reader of the file translates.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_DIMENSIONS = 32


def checked_dtype(text: str, byte_order: str) -> np.dtype[Any]:
    """A dtype of numbers or fixed-size text; of objects for `O8`.

    Raises:
        ValueError: Any other kind of type.
    """
    if text in ("O", "O4", "O8"):
        return np.dtype(object)
    if not re.fullmatch(r"b1|[iu][1248]|f[248]|c(8|16)|[SU]\d{1,6}", text):
        msg = f"arrays of type {text!r}"
        raise ValueError(msg)
    return np.dtype(("" if byte_order == "|" else byte_order) + text)


def checked_array(shape: Any, dtype: Any, fortran: Any, data: Any) -> np.ndarray:
    """An array whose data are as many as its shape and type ask for.

    Args:
        shape: A tuple of sizes.
        dtype: What `checked_dtype` gave.
        fortran: Whether the first index varies fastest.
        data: bytes or a memoryview, which the array is a read-only view of; of objects a list.

    Raises:
        ValueError: An impossible shape, or data of another size.
        TypeError: Arguments of other types.
    """
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


class Name:
    """A name that a file may mention, and what it makes of its arguments."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make


class Shell:
    """An array or a dtype between its making and its state."""

    __slots__ = ("text", "value")

    def __init__(self, text: str | None) -> None:
        self.text = text
        self.value: Any = None


def _make_array_shell(kind: Any, shape: Any, code: Any) -> Shell:
    if kind is not _NDARRAY or shape != (0,) or code != b"b":
        msg = "an array that is not made as NumPy makes it"
        raise ValueError(msg)
    return Shell(None)


def _make_dtype_shell(text: Any, align: Any = False, copy: Any = True) -> Shell:  # noqa: ARG001, FBT002
    if type(text) is not str:
        msg = "a type without a name"
        raise TypeError(msg)
    return Shell(text)


def _make_scalar(dtype: Any, data: Any) -> Any:
    if type(data) is list:
        msg = "a NumPy scalar that is an object"
        raise ValueError(msg)
    return checked_array((), dtype, False, data)[()]  # noqa: FBT003


def _make_from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if order not in ("C", "F"):
        msg = f"the memory order {order!r}"
        raise ValueError(msg)
    return checked_array(shape, dtype, order == "F", data)


def _make_encoded(text: Any, encoding: Any) -> bytes:
    """Protocol 2 has no bytes: Python 3 wrote them as Latin-1 text."""
    if type(text) is not str or encoding != "latin1":
        msg = "bytes written in another way than Python's"
        raise ValueError(msg)
    return text.encode("latin-1")


def _make_dict(pairs: Any = ()) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for key, value in pairs:
        made[flat_key(key)] = value
    return made


def _not_callable(*_: Any) -> Any:
    msg = "an array that is not made as NumPy makes it"
    raise ValueError(msg)


_NDARRAY: Final = Name(_not_callable)
NAMES: Final[dict[tuple[str, str], Name]] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): Name(_make_dtype_shell),
    ("_codecs", "encode"): Name(_make_encoded),
    ("collections", "OrderedDict"): Name(_make_dict),
}
for _core in ("numpy.core", "numpy._core"):
    NAMES[f"{_core}.multiarray", "_reconstruct"] = Name(_make_array_shell)
    NAMES[f"{_core}.multiarray", "scalar"] = Name(_make_scalar)
    NAMES[f"{_core}.numeric", "_frombuffer"] = Name(_make_from_buffer)


def flat_key(key: Any) -> Any:
    """The key of a dict. Flat ones only: hashing a deeply nested tuple overflows the C stack.

    Raises:
        TypeError: Any other.
    """
    if key is not None and not isinstance(key, (str, bytes, int, float, np.generic)):
        msg = f"a dict with a key of type {type(key).__name__}"
        raise TypeError(msg)
    return cast("Any", key)
