"""`tf.train.Example` messages and TFRecord files, written by hand: no TensorFlow, no protobuf.

Named arrays come in; the bytes that TensorFlow itself would write go out.

    Example   { Features features = 1; }
    Features  { map<string, Feature> feature = 1; }          an entry is { key = 1, value = 2 }
    Feature   { oneof: BytesList = 1, FloatList = 2, Int64List = 3 }
    *List     { repeated value = 1; }                        numbers packed

(TensorFlow, `core/example/example.proto`, `feature.proto`), and for each record of a file

    u64 length | u32 masked CRC-32C of the 8 length bytes | payload | u32 masked CRC-32C of payload

(https://www.tensorflow.org/tutorials/load_data/tfrecord), little-endian.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, TypeAlias, cast

import google_crc32c
import numpy as np

from finedata.errors import FeatureError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["ExampleValue", "encode_example", "frame_record"]

ExampleValue: TypeAlias = "np.ndarray | Sequence[bytes]"

# Wire tags: field number << 3 | 2 (length-delimited).
_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"
_FIELD_3 = b"\x1a"

_crc32c = cast(
    "Callable[[bytes], int]",
    google_crc32c.value,  # pyright: ignore[reportUnknownMemberType]  (untyped)
)


def encode_example(features: Mapping[str, ExampleValue]) -> bytes:
    """Serialise one `tf.train.Example`.

    Args:
        features: By key. Arrays of bool or integers become an `int64_list`, arrays of floats a
            `float_list` (float32, all that the message knows), both flattened in C order;
            sequences of bytes a `bytes_list`. Keys are written sorted, so that the same episode
            gives the same bytes.

    Raises:
        FeatureError: An array of another kind.

    Example:
        >>> encode_example({"a": np.array([True])}).hex(" ")
        '0a 0c 0a 0a 0a 01 61 12 05 1a 03 0a 01 01'
    """
    entries: list[bytes] = []
    for name in sorted(features):
        key = name.encode()
        value = _feature(name, features[name])
        entry = (_FIELD_1, _varint(len(key)), key, _FIELD_2, _varint(_size(value)), *value)
        entries += (_FIELD_1, _varint(_size(entry)), *entry)
    return b"".join((_FIELD_1, _varint(_size(entries)), *entries))


def frame_record(payload: bytes) -> bytes:
    """A payload as one record of a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    return b"".join((length, _masked_crc32c(length), payload, _masked_crc32c(payload)))


def _masked_crc32c(data: bytes) -> bytes:
    """Rotated right by 15 bits plus a constant (TensorFlow, `core/lib/hash/crc32c.h`)."""
    crc = _crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _feature(name: str, value: ExampleValue) -> list[bytes]:
    """The body of a `Feature`, in pieces that are joined once at the end."""
    if not isinstance(value, np.ndarray):
        pieces = [piece for item in value for piece in (_FIELD_1, _varint(len(item)), item)]
        return [_FIELD_1, _varint(_size(pieces)), *pieces]
    flat = np.ascontiguousarray(value).reshape(-1)
    if flat.dtype.kind == "f":
        return _packed(_FIELD_2, flat.astype("<f4").tobytes())
    if flat.dtype.kind in "biu":
        # A negative number is ten bytes: the varint of its two's complement.
        numbers = [int(number) & 0xFFFF_FFFF_FFFF_FFFF for number in flat.tolist()]
        return _packed(_FIELD_3, b"".join(map(_varint, numbers)))
    raise FeatureError(
        place=f"feature {name}", found=f"{flat.dtype}", wanted="bool, integers, floats or bytes"
    )


def _packed(tag: bytes, data: bytes) -> list[bytes]:
    body = [_FIELD_1, _varint(len(data)), data] if data else []
    return [tag, _varint(_size(body)), *body]


def _size(pieces: Sequence[bytes]) -> int:
    return sum(map(len, pieces))


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
