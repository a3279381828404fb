"""The boxes of an mp4 file: where they lie, what they hold, and the rows of their tables.

A box that reaches past the one around it, or a table that its box cannot hold, ends in an error
before anything is allocated for it.

Source: ISO/IEC 14496-12.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import CorruptRecordError, SourceError
from finedata.readers.damage import HEAD_BYTES, impostor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.readers.files import RangeReader

_MOST_TOP_BOXES = 100_000
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof", b"uuid")


def top_boxes(reader: RangeReader) -> Iterator[tuple[bytes, int, int, int]]:
    """(type, start, header bytes, whole size) of every box of the file."""
    start, number = 0, 0
    if not reader.size:
        raise corrupt_mp4(found=impostor(b"", size=0) or "no byte")
    while start < reader.size:
        head = reader.read(start, 16)
        if start == 0:
            _refuse_other_containers(head, reader)
        if len(head) < 8:
            raise corrupt_mp4(found=f"{len(head)} bytes after the last box")
        size, kind = struct.unpack_from(">I4s", head)
        header = 8
        if size == 1 and len(head) == 16:
            size, header = int.from_bytes(head[8:], "big"), 16
        elif size == 0:
            size = reader.size - start
        if size < header:
            raise corrupt_mp4(found=f"a box of {size} bytes at byte {start}")
        if start + size > reader.size:
            past = start + size - reader.size
            raise corrupt_mp4(
                found=f"a {box_name(kind)} box that reaches {past} bytes past the end"
            )
        yield kind, start, header, size
        start, number = start + size, number + 1
        if number > _MOST_TOP_BOXES:
            raise unread_mp4(
                found=f"more than {_MOST_TOP_BOXES} boxes", wanted="a file that is not fragmented"
            )


def _refuse_other_containers(head: bytes, reader: RangeReader) -> None:
    # Only where the first box is none that a file begins with: pictures are never read.
    usual = head[4:8] in _FIRST_BOXES
    other = None if usual else impostor(reader.read(0, HEAD_BYTES), size=reader.size)
    if other is not None:
        raise corrupt_mp4(found=other)
    names = {b"\x1a\x45\xdf\xa3": "Matroska/WebM", b"RIFF": "AVI", b"OggS": "Ogg"}
    if name := names.get(head[:4]):
        raise unread_mp4(
            found=f"a {name} file", wanted="an mp4 file (ffmpeg -i IN -c copy OUT.mp4)"
        )
    if len(head) < 8 or not all(32 <= byte < 127 for byte in head[4:8]):
        raise corrupt_mp4(found="no mp4 box at the start")


def child_boxes(data: bytes) -> dict[bytes, bytes]:
    """The first child box of every type."""
    found: dict[bytes, bytes] = {}
    for kind, body in _children(data):
        found.setdefault(kind, body)
    return found


def boxes_of(data: bytes, wanted: bytes) -> Iterator[bytes]:
    """The bodies of all child boxes of a type."""
    return (body for kind, body in _children(data) if kind == wanted)


def _children(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = 0
    # QuickTime ends some lists of boxes with four zero bytes.
    while start + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1:
            (size,), header = struct.unpack_from(">Q", data, start + 8), 16
        elif size == 0:
            size = len(data) - start
        if size < header or start + size > len(data):
            raise corrupt_mp4(found=f"a {box_name(kind)} box that is larger than the box around it")
        yield kind, data[start + header : start + size]
        start += size


def table_rows(box: bytes, start: int, count: int, layout: list[tuple[str, str]]) -> np.ndarray:
    """The rows of a table that begins at byte `start` of a box, as a structured array.

    Args:
        box: The body of the box; the result is a view of it.
        start: Where the table begins.
        count: Its rows, as the box states.
        layout: (name, NumPy type) of each column.

    Raises:
        CorruptRecordError: The box is too small for so many rows.
    """
    dtype = np.dtype(layout)
    if start + count * dtype.itemsize > len(box):
        raise corrupt_mp4(found=f"a table of {count} rows in a box of {len(box)} bytes")
    return np.frombuffer(box, dtype, count, start)


def box_name(kind: bytes) -> str:
    """The type of a box as text; bytes that are no ASCII are written in hex."""
    return "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in kind)


def corrupt_mp4(*, found: str) -> CorruptRecordError:
    """The error of a file that is damaged."""
    return CorruptRecordError(place="the mp4 file", found=found, wanted="a whole mp4 file")


def unread_mp4(*, found: str, wanted: str) -> SourceError:
    """The error of a file that may be whole, but of a kind that is not read."""
    return SourceError(place="the mp4 file", found=found, wanted=wanted)
