"""A `tf.train.Example` encoder, written by hand: named arrays go in, protobuf wire bytes come out.

Independent of the readers on purpose (see `corpora.tfrecord`) and of the protobuf library,
so that odd but legal bytes, such as unpacked lists, can be written too.

The messages (TensorFlow, `core/example/example.proto` and `feature.proto`):

    Example   { Features features = 1; }
    Features  { map<string, Feature> feature = 1; }          an entry is { key = 1, value = 2 }
    Feature   { oneof: BytesList = 1, FloatList = 2, Int64List = 3 }
    *List     { repeated value = 1; }                        numbers packed unless asked otherwise
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from finedata.errors import UsageError

__all__ = ["FeatureValue", "encode_example"]

FeatureValue: TypeAlias = NDArray[np.generic] | Sequence[bytes]

# Wire tags: field number << 3 | wire type (0 varint, 2 length-delimited, 5 four bytes).
_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"
_FIELD_3 = b"\x1a"
_ONE_FLOAT = b"\x0d"
_ONE_INT = b"\x08"


def encode_example(features: Mapping[str, FeatureValue], *, packed: bool = True) -> bytes:
    """Serialise one `tf.train.Example`.

    Args:
        features: By key, in the order in which they are written. Arrays of bool or integer become
            an `int64_list` (uint64 bit-cast, as TFDS does), arrays of float a `float_list` of
            float32, sequences of bytes a `bytes_list`. Arrays are flattened in C order.
        packed: Whether numbers are packed, as every writer does today. Readers must accept both.

    Returns:
        The serialised message.

    Raises:
        UsageError: A value is none of these.

    Example:
        >>> encode_example({"a": np.array([True])}).hex(" ")
        '0a 0c 0a 0a 0a 01 61 12 05 1a 03 0a 01 01'
    """
    entries: list[bytes] = []
    for name, value in features.items():
        chunks = _feature(name, value, packed=packed)
        key = name.encode()
        key_part = _FIELD_1 + _varint(len(key)) + key
        feature_size = sum(map(len, chunks))
        value_head = _FIELD_2 + _varint(feature_size)
        entry_size = len(key_part) + len(value_head) + feature_size
        entries += (_FIELD_1, _varint(entry_size), key_part, value_head, *chunks)
    return b"".join((_FIELD_1, _varint(sum(map(len, entries))), *entries))


def _feature(name: str, value: FeatureValue, *, packed: bool) -> list[bytes]:
    """The body of one `Feature`, in pieces that are joined once at the very end."""
    if isinstance(value, np.ndarray):
        array = value.reshape(-1)
        if array.dtype.kind in "biu":
            return _wrap(_FIELD_3, _int64_list(array, packed=packed))
        if array.dtype.kind == "f":
            return _wrap(_FIELD_2, _float_list(array, packed=packed))
    elif all(map(_is_bytes, value)):
        body: list[bytes] = []
        for item in value:
            body += (_FIELD_1, _varint(len(item)), item)
        return _wrap(_FIELD_1, body)
    raise UsageError(
        place=f"feature {name}",
        found=str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__,
        wanted="an array of bool, integers or floats, or a list of bytes",
    )


def _is_bytes(item: object) -> bool:
    return isinstance(item, bytes)


def _wrap(tag: bytes, body: list[bytes]) -> list[bytes]:
    return [tag, _varint(sum(map(len, body))), *body]


def _float_list(array: NDArray[np.generic], *, packed: bool) -> list[bytes]:
    data = array.astype("<f4").tobytes()
    if not packed:
        return [_ONE_FLOAT + data[at : at + 4] for at in range(0, len(data), 4)]
    return [_FIELD_1, _varint(len(data)), data] if data else []


def _int64_list(array: NDArray[np.generic], *, packed: bool) -> list[bytes]:
    # Negative numbers are ten bytes: the varint of their two's complement.
    numbers = [int(number) & 0xFFFF_FFFF_FFFF_FFFF for number in array.tolist()]
    varints = [_varint(number) for number in numbers]
    if not packed:
        return [_ONE_INT + varint for varint in varints]
    data = b"".join(varints)
    return [_FIELD_1, _varint(len(data)), data] if data else []


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
