"""TFRecord framing, written by hand: payloads go in, the file TensorFlow would write comes out.

The demo corpus must not share code with the readers it is there to test, so this room has its own
framing: a bug made twice in the same way would otherwise stay unseen.

A record, all numbers little-endian:

    uint64 length | uint32 masked crc32c(length) | payload | uint32 masked crc32c(payload)

(TensorFlow, `core/lib/io/record_writer.h`; the mask is in `core/lib/hash/crc32c.h`.)
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import google_crc32c

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["FRAME_OVERHEAD", "frame_record", "masked_crc32c", "write_frames", "write_tfrecord"]

FRAME_OVERHEAD = 16
"""Bytes that framing adds to each payload: 12 before, 4 after."""

_MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: bytes) -> int:
    """The checksum of TFRecord: crc32c rotated right by 15 bits plus a constant.

    Args:
        data: Any bytes.

    Returns:
        An unsigned 32-bit number.

    Example:
        >>> hex(masked_crc32c(b""))
        '0xa282ead8'
    """
    # The library has no types.
    crc = int(google_crc32c.value(data))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def frame_record(payload: bytes) -> bytes:
    """Wrap one payload as one record of a TFRecord file.

    Args:
        payload: A serialised `tf.train.Example`, or anything else.

    Returns:
        `payload` with its 12 bytes of header and 4 bytes of footer.
    """
    length = struct.pack("<Q", len(payload))
    head = struct.pack("<I", masked_crc32c(length))
    tail = struct.pack("<I", masked_crc32c(payload))
    return b"".join((length, head, payload, tail))


def write_frames(path: Path, frames: Iterable[bytes]) -> int:
    """Write records that are framed already, the broken ones as they are.

    The file appears under its name only when it is complete.

    Args:
        path: The file to write; its folder must exist.
        frames: Framed records, consumed one at a time.

    Returns:
        The number of bytes written.
    """
    partial = path.with_name(path.name + ".partial")
    written = 0
    with partial.open("wb") as file:
        for frame in frames:
            written += file.write(frame)
    partial.replace(path)
    return written


def write_tfrecord(path: Path, payloads: Iterable[bytes]) -> int:
    """Write payloads as one TFRecord file.

    Args:
        path: The file to write; its folder must exist.
        payloads: One per record, consumed one at a time.

    Returns:
        The number of bytes written: the payloads and 16 for each.
    """
    return write_frames(path, (frame_record(payload) for payload in payloads))
