"""`.npy` files as arrays or trees of plain values; no pickle is ever executed.

`numpy.save` writes anything that is no plain array as a pickle, and RH20T is published so: such a
file runs on the machine of `finedata.readers.pickled.machine`, which knows what builds plain
values and nothing else, and the tree that it leaves is checked before anyone walks it. Array
data are read-only views of the file's bytes.
"""

from __future__ import annotations

import re
import struct
from typing import Any, cast

import numpy as np

from finedata.errors import CorruptRecordError, SourceError
from finedata.readers.pickled.machine import (
    MAX_UNFOLDING,
    DamagedPickleError,
    ForbiddenPickleError,
    run_pickle,
)
from finedata.readers.pickled.values import checked_array, checked_dtype

__all__ = ["RefusedPickleError", "read_npy"]

_MAGIC = b"\x93NUMPY"
# What numpy.save writes for every dtype without fields (Python 2 wrote sizes as 3L).
_HEADER = re.compile(
    r"\{'descr': '([<>|=]?)([a-zA-Z])(\d*)', 'fortran_order': (True|False), "
    r"'shape': \(([\dL, ]*)\), \}\s*"
)
_MAX_HEADER_BYTES = 10_000
# dict -> list -> dict -> array is the deepest that is known; a parser of ours may recurse.
_MAX_DEPTH = 50


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
    except ForbiddenPickleError as error:
        raise RefusedPickleError(
            place=place,
            found=f"a pickle that asks for {error} (nothing was executed)",
            wanted="dicts, lists, numbers, text and NumPy arrays only",
        ) from error
    except DamagedPickleError as error:
        raise _corrupt(place, f"{error}") from error
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise _corrupt(place, f"bytes that do not decode ({error})") from error
    except struct.error as error:
        raise _corrupt(place, "the end of the file inside a value") from error


def _read(data: bytes, place: str) -> Any:
    kind, size, byte_order, shape, fortran, start = _header(data, place)
    if kind != "O":
        dtype = checked_dtype(f"{kind}{size}", byte_order)
        return checked_array(shape, dtype, fortran, memoryview(data)[start:])
    value = run_pickle(data, start)
    _check_tree(value, MAX_UNFOLDING * len(data), place)
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


def _check_tree(root: Any, limit: int, place: str) -> None:
    """Refuse cycles, endless nesting, leftovers of the machine and trees that unfold too far."""
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
