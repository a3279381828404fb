"""TFRecord framing: where each record's payload lies, and whether its checksums hold.

    u64 length | u32 masked CRC-32C of the 8 length bytes | payload | u32 masked CRC-32C of payload

(little-endian; https://www.tensorflow.org/tutorials/load_data/tfrecord). One bad byte costs at
most one record: where a length cannot be trusted, the next header is searched for, which its
own checksum makes a safe thing to do.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import google_crc32c
import numpy as np

from finedata.readers.damage import HEAD_BYTES, impostor
from finedata.readers.rlds.large_record import LargePayload, is_large, read_in_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from finedata.readers.files import RangeReader

FramingReason = Literal["framing_error", "checksum_mismatch", "truncated"]

_HEADER_BYTES = 12
_FOOTER_BYTES = 4
_SEARCH_BYTES = 4 << 20

_crc32c = cast(
    "Callable[[bytes], int]",
    google_crc32c.value,  # pyright: ignore[reportUnknownMemberType]  (untyped)
)
_extended_crc32c = cast(
    "Callable[[int, bytes], int]",
    google_crc32c.extend,  # pyright: ignore[reportUnknownMemberType]  (untyped)
)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file, or one damaged stretch of it.

    Attributes:
        number: Position in the file, from 0; a damaged stretch counts as one record.
        offset: First byte of the payload (of the stretch, where the framing is damaged).
        length: Bytes of the payload (of the stretch).
        payload: The payload; a large one is left in its file, which must stay open; `None` where
            `reason` is set.
        reason: Why the record cannot be used.
        message: The same in words, with numbers.
    """

    number: int
    offset: int
    length: int
    payload: bytes | LargePayload | None
    reason: FramingReason | None = None
    message: str = ""


def masked_crc32c(data: bytes) -> int:
    """CRC-32C of `data`, rotated and offset as TFRecord stores it."""
    return _masked(_crc32c(data))


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def scan_records(reader: RangeReader) -> Iterator[Record]:
    """Read the records of a file in order, one in memory at a time, a large one never.

    Both checksums of every record are checked.
    """
    offset = number = 0
    while offset < reader.size:
        header = reader.read(offset, _HEADER_BYTES)
        length = _checked_length(header)
        if length is None:
            record, offset = _damaged_stretch(reader, number, offset)
        else:
            record = _checked_record(reader, number, offset + _HEADER_BYTES, length)
            offset += _HEADER_BYTES + length + _FOOTER_BYTES
        yield record
        # The caller is done with it: free it before the next one is read.
        del record
        number += 1


def _checked_length(header: bytes) -> int | None:
    if len(header) < _HEADER_BYTES:
        return None
    length, crc = struct.unpack("<QI", header)
    return length if masked_crc32c(header[:8]) == crc else None


def _checked_record(reader: RangeReader, number: int, offset: int, length: int) -> Record:
    there = max(reader.size - offset, 0)
    if length + _FOOTER_BYTES > there:
        # Not read: a length may be anything, and memory is not.
        message = f"payload of {length} bytes, of which the file holds {min(there, length)}"
        return Record(number, offset, min(there, length), None, "truncated", message)
    payload, read, found = _read_payload(reader, offset, length)
    footer = reader.read(offset + length, _FOOTER_BYTES)
    if read + len(footer) < length + _FOOTER_BYTES:
        message = f"payload of {length} bytes, of which {read} could be read"
        return Record(number, offset, read, None, "truncated", message)
    (wanted,) = struct.unpack("<I", footer)
    if found != wanted:
        message = f"payload CRC-32C 0x{found:08x}, the file says 0x{wanted:08x}"
        return Record(number, offset, length, None, "checksum_mismatch", message)
    return Record(number, offset, length, payload)


def _read_payload(
    reader: RangeReader, offset: int, length: int
) -> tuple[bytes | LargePayload, int, int]:
    """(the payload, how many bytes of it could be read, their masked checksum)."""
    if not is_large(length):
        payload = reader.read(offset, length)
        return payload, len(payload), masked_crc32c(payload)
    crc = read = 0
    for piece in read_in_pieces(reader, offset, length):
        crc = _extended_crc32c(crc, piece)
        read += len(piece)
    return LargePayload(reader, offset=offset, length=length), read, _masked(crc)


def _damaged_stretch(reader: RangeReader, number: int, start: int) -> tuple[Record, int]:
    """Describe the bytes from a bad header to the next good one (or the end of the file)."""
    end = _find_header(reader, start + 1)
    if end is None:
        end = reader.size
        if end - start < _HEADER_BYTES:
            message = f"{end - start} bytes at the end, too few for a record"
            return Record(number, start, end - start, None, "truncated", message), end
    other = None if start else impostor(reader.read(0, HEAD_BYTES), size=reader.size)
    message = other or f"a length whose checksum is wrong; {end - start} bytes passed over"
    return Record(number, start, end - start, None, "framing_error", message), end


def _find_header(reader: RangeReader, start: int) -> int | None:
    """Find the next offset at which a record header's own checksum is right."""
    position = start
    while position + _HEADER_BYTES <= reader.size:
        window = reader.read(position, _SEARCH_BYTES + _HEADER_BYTES)
        for candidate in _plausible_headers(window, reader.size - position):
            if _checked_length(window[candidate : candidate + _HEADER_BYTES]) is not None:
                return position + candidate
        position += _SEARCH_BYTES
    return None


def _plausible_headers(window: bytes, remaining: int) -> list[int]:
    """Offsets whose eight bytes, read as a length, would fit into what remains of the file."""
    count = len(window) - _HEADER_BYTES + 1
    if count <= 0:
        return []
    data = np.frombuffer(window, np.uint8)
    # A length below 4 GiB has four zero bytes on top: few offsets of a JPEG pass even this.
    zero = data == 0
    top = zero[4 : 4 + count] & zero[5 : 5 + count] & zero[6 : 6 + count] & zero[7 : 7 + count]
    return [
        int(i)
        for i in np.flatnonzero(top)
        if int.from_bytes(window[i : i + 4], "little") + i + _HEADER_BYTES <= remaining
    ]
