# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# Values that come from a socket have no types.
"""Arrays in msgpack, as openpi's and vla-eval's clients write them, and nothing else.

openpi and StarVLA spell an array as a map with *bytes* keys (`__ndarray__`, `data`, `dtype`,
`shape`; their codec is adapted from msgpack-numpy and is not that package), vla-eval with *text*
keys, and pictures as PNG or JPEG. What comes from a socket is believed in nothing: a dtype is one
of a list (their own decoders take `|O` and would read pointers from the wire), the shape must make
the data's length, sizes have a limit, and a picture's header is looked at before it is decoded.
"""

from __future__ import annotations

import math
from io import BytesIO
from typing import Any, TypeGuard

import msgspec
import numpy as np
from PIL import Image, UnidentifiedImageError

from finedata.errors import UsageError

MOST_BYTES = 64 * 2**20
"""Of a message."""
_MOST_SIDE, _MOST_AXES = 8192, 8
_DTYPES = frozenset(
    np.dtype(order + code).str
    for code in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
    for order in "<>"
)
_DEEP = 16


def pack(value: Any, *, text_keys: bool = False) -> bytes:
    """Write a message.

    Args:
        value: Plain values and arrays.
        text_keys: Spell arrays as vla-eval does; as openpi does otherwise.
    """

    def spelled(one: Any) -> Any:
        if isinstance(one, np.generic):
            return one.item()
        if not isinstance(one, np.ndarray):
            msg = f"{type(one).__name__} is no plain value"
            raise TypeError(msg)
        found = {
            "__ndarray__": True,
            "data": one.tobytes(),
            "dtype": one.dtype.str,
            "shape": one.shape,
        }
        return found if text_keys else {name.encode(): part for name, part in found.items()}

    return msgspec.msgpack.encode(value, enc_hook=spelled)


def unpack(message: bytes | str) -> dict[str, Any]:
    """Read a message: a map with text keys, whose arrays are read-only views of it.

    Raises:
        UsageError: It is none, or holds an array that is not what it says.
    """
    return read_arrays(decode(message))


def decode(message: bytes | str) -> dict[str, Any]:
    """Read a message, but not what its arrays hold: it may be told by whom a bad one is.

    Raises:
        UsageError: It is no map.
    """
    if isinstance(message, str):
        raise UsageError(place="message", found="text", wanted="a binary frame of msgpack")
    try:
        found = msgspec.msgpack.decode(message)
    # An extension as the key of a map was a TypeError in msgspec up to 0.21 at least.
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise UsageError(
            place="message", found=f"{len(message)} bytes ({error})", wanted="one msgpack map"
        ) from error
    if not isinstance(found, dict):
        raise UsageError(place="message", found=_kind(found), wanted="a map with text keys")
    return _text_keys(found, "message")


def read_arrays(decoded: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a decoded message, in place of the maps that spell them.

    Raises:
        UsageError: One is not what it says.
    """
    read = _read(decoded, "message", 0)
    if not is_map(read):
        raise UsageError(place="message", found="an array", wanted="a map with text keys")
    return read


def is_map(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a value of a message is a map with text keys."""
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _read(value: Any, place: str, depth: int) -> Any:
    """Arrays of what was decoded, in place of the maps that spell them."""
    if depth > _DEEP:
        raise UsageError(place=place, found="maps in maps", wanted=f"at most {_DEEP} of them")
    if isinstance(value, list):
        many: list[Any] = value
        return [_read(one, f"{place}[{k}]", depth + 1) for k, one in enumerate(many)]
    if not isinstance(value, dict):
        return value
    plain = _text_keys(value, place)
    if "nd" in plain and "kind" in plain:
        raise UsageError(
            place=place,
            found="an array as the package msgpack-numpy spells it",
            wanted="one as openpi_client.msgpack_numpy does, which is not that package",
        )
    if "__ndarray__" in plain:
        return _array(plain, place)
    if "__npgeneric__" in plain:
        return _scalar(plain, place)
    if "__image__" in plain:
        if plain.get("format") == "raw":
            return _array(plain, place)
        return _picture(plain, place)
    return {name: _read(one, f"{place}.{name}", depth + 1) for name, one in plain.items()}


def _text_keys(value: dict[Any, Any], place: str) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, one in value.items():
        name = key.decode("utf-8", "replace") if isinstance(key, bytes) else key
        if not isinstance(name, str):
            raise UsageError(place=place, found=f"a key {name!r}"[:80], wanted="text keys")
        plain[name] = one
    return plain


def _dtype(spelled: Any, place: str) -> np.dtype[Any]:
    if not isinstance(spelled, str) or spelled not in _DTYPES:
        raise UsageError(
            place=place,
            found=f"dtype {spelled!r}"[:80],
            wanted="bool, int, uint or float, spelled as NumPy does: <f4, |u1",
        )
    return np.dtype(spelled)


def _array(plain: dict[str, Any], place: str) -> np.ndarray:
    dtype, data, shape = _dtype(plain.get("dtype"), place), plain.get("data"), plain.get("shape")
    if not isinstance(data, bytes):
        raise UsageError(place=place, found=f"{_kind(data)} as data", wanted="bytes")
    if (
        not isinstance(shape, list)
        or len(shape) > _MOST_AXES
        or not all(type(n) is int and 0 <= n <= MOST_BYTES for n in shape)
    ):
        raise UsageError(
            place=place, found=f"shape {shape!r}"[:120], wanted=f"at most {_MOST_AXES} lengths"
        )
    lengths: list[int] = shape
    if math.prod(lengths) * dtype.itemsize != len(data):
        raise UsageError(
            place=place,
            found=f"{len(data)} bytes",
            wanted=f"{math.prod(lengths) * dtype.itemsize} of {dtype} {tuple(lengths)}",
        )
    found = np.frombuffer(data, dtype).reshape(lengths)
    return found if dtype.isnative else found.astype(dtype.newbyteorder("="))


def _scalar(plain: dict[str, Any], place: str) -> Any:
    data = plain.get("data")
    if not isinstance(data, bool | int | float):
        raise UsageError(place=place, found=f"{_kind(data)} as data", wanted="a number")
    try:
        return _dtype(plain.get("dtype"), place).type(data)
    except OverflowError as error:
        raise UsageError(place=place, found=str(error), wanted="a number of its dtype") from error


def _picture(plain: dict[str, Any], place: str) -> np.ndarray:
    data, kind = plain.get("data"), plain.get("format")
    if not isinstance(data, bytes) or kind not in ("png", "jpeg"):
        raise UsageError(
            place=place,
            found=f"a picture in format {kind!r}"[:80],
            wanted="bytes of a png or jpeg, or raw",
        )
    try:
        with Image.open(BytesIO(data), formats=(kind,)) as picture:
            if max(picture.size) > _MOST_SIDE or picture.mode != "RGB":
                raise UsageError(
                    place=place,
                    found=f"a picture of {picture.size[0]}x{picture.size[1]}, {picture.mode}",
                    wanted=f"RGB, no side above {_MOST_SIDE}",
                )
            return np.asarray(picture)
    except (
        UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError,
    ) as error:  # fmt: skip
        raise UsageError(place=place, found=str(error)[:120], wanted=f"a {kind}") from error


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
