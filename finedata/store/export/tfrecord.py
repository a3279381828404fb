"""`tf.train.Example` messages and TFRecord files, without TensorFlow.

Messages are serialised by protobuf, their features in sorted order, so that the same episode gives
the same bytes. A record of a file is

    u64 length | u32 masked CRC-32C of the 8 length bytes | payload | u32 masked CRC-32C of payload

(https://www.tensorflow.org/tutorials/load_data/tfrecord), little-endian.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, TypeAlias, cast

import google_crc32c
import numpy as np

from finedata.errors import FeatureError
from finedata.store.tf_example import message_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ExampleValue: TypeAlias = "np.ndarray | Sequence[bytes]"

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
    example = message_classes(ordered=True)["Example"]()
    example.features.SetInParent()
    for name in sorted(features):
        value = features[name]
        feature = example.features.feature.add(key=name).value
        if not isinstance(value, np.ndarray):
            kind = feature.bytes_list
            kind.value.extend(value)
        elif value.dtype.kind == "f":
            kind = feature.float_list
            kind.value.extend(value.reshape(-1).astype(np.float32).tolist())
        elif value.dtype.kind in "biu":
            kind = feature.int64_list
            # uint64 beyond its range wraps, as TensorFlow's own conversion does
            kind.value.extend(value.reshape(-1).astype(np.int64).tolist())
        else:
            raise FeatureError(
                place=f"feature {name}",
                found=f"{value.dtype}",
                wanted="bool, integers, floats or bytes",
            )
        kind.SetInParent()  # an empty list has its kind too
    return example.SerializeToString()


def frame_record(payload: bytes) -> bytes:
    """A payload as one record of a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    return b"".join((length, _masked_crc32c(length), payload, _masked_crc32c(payload)))


def _masked_crc32c(data: bytes) -> bytes:
    """Rotated right by 15 bits plus a constant (TensorFlow, `core/lib/hash/crc32c.h`)."""
    crc = _crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
