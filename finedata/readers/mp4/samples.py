"""When each sample of a video track is shown: the sample tables and the fragments of an mp4 file.

Composition times are in the track's ticks. Tables that contradict each other or the size of the
file end in an error, and no count is believed that its own table cannot hold.

Rules: ISO/IEC 14496-12 (`stts`, `ctts`, `stsz`, `stsc`, `stco`, `moof`); where the standard
leaves room (negative offsets in `ctts` version 0) FFmpeg's reading is followed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from finedata.readers.mp4.boxes import boxes_of, child_boxes, corrupt_mp4, table_rows, unread_mp4
from finedata.readers.mp4.track import MOST_FRAMES

if TYPE_CHECKING:
    from finedata.errors import SourceError
    from finedata.readers.mp4.track import VideoTrack


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Composition times of all samples in the order of decoding, in ticks (n,) int64.

    Attributes:
        ticks: The times.
        last_s: How long the last sample lasts.
        total_s: How long all last.
    """

    ticks: np.ndarray
    last_s: float = field(default=0.0)
    total_s: float = field(default=0.0)

    @staticmethod
    def of(track: VideoTrack, fragments: list[tuple[int, bytes]], file_size: int) -> Samples:
        """Read them from the track's tables and the file's fragments.

        Args:
            track: The video track.
            fragments: (position in the file, body) of every `moof` box.
            file_size: Bytes of the file, that samples must lie in.

        Raises:
            CorruptRecordError: Tables that contradict each other or the file's size.
            SourceError: More frames than are read, or no table of sizes.
            struct.error, IndexError: A box is shorter than what it must hold.
        """
        sizes = _sample_sizes(track.tables, file_size)
        _check_filled(sizes)
        _check_places(track.tables, sizes, file_size)
        steps = _runs(track.tables.get(b"stts", b""), len(sizes), ">u4", whole=True)
        if len(steps) and steps.max() >= 1 << 31:
            raise corrupt_mp4(found="a frame that lasts a negative time")
        decode = np.cumsum(steps) - steps
        ticks = decode + _runs(track.tables.get(b"ctts", b""), len(sizes), ">i4", whole=False)
        parts, end = [ticks], int(steps.sum())
        total = end
        for start, body in fragments:
            for traf in boxes_of(body, b"traf"):
                part, end, lasts = _fragment(traf, track, end, start, file_size)
                parts += part
                total += lasts
                if sum(map(len, parts)) > MOST_FRAMES:
                    raise _too_many()
        last = int(steps[-1]) if len(steps) else track.default_duration
        return Samples(np.concatenate(parts), last / track.timescale, total / track.timescale)


def _runs(box: bytes, samples: int, value_type: str, *, whole: bool) -> np.ndarray:
    """Expand (count, value) pairs to int64 (samples,); never more than there are samples."""
    if not box:
        if whole and samples:
            raise corrupt_mp4(found="no table of frame durations")
        return np.zeros(samples, np.int64)
    pairs = table_rows(
        box, 8, struct.unpack_from(">I", box, 4)[0], [("count", ">u4"), ("v", value_type)]
    )
    ends = np.minimum(np.cumsum(pairs["count"].astype(np.int64)), samples)
    values = np.repeat(pairs["v"].astype(np.int64), np.diff(ends, prepend=0))
    if len(values) < samples and whole:
        raise corrupt_mp4(found=f"durations of {len(values)} frames, and {samples} frames")
    return np.concatenate([values, np.zeros(samples - len(values), np.int64)])


def _sample_sizes(tables: dict[bytes, bytes], file_size: int) -> np.ndarray:
    """Bytes of each sample, int64 (n,)."""
    if b"stsz" not in tables:
        raise unread_mp4(found="no stsz table of frame sizes", wanted="one")
    box = tables[b"stsz"]
    each, count = struct.unpack_from(">II", box, 4)
    if count > MOST_FRAMES:
        raise _too_many()
    if not each:
        return table_rows(box, 12, count, [("size", ">u4")])["size"].astype(np.int64)
    if each * count > file_size:
        raise corrupt_mp4(found=f"{count} frames of {each} bytes in a file of {file_size}")
    return np.full(count, each, np.int64)


def _check_filled(sizes: np.ndarray) -> None:
    """Refuse frames without a byte: FFmpeg passes over them, so nothing is shown at their time."""
    if (empty := int((sizes == 0).sum())) > 0:
        raise corrupt_mp4(found=f"{empty} of {len(sizes)} frames without a byte")


def _check_places(tables: dict[bytes, bytes], sizes: np.ndarray, file_size: int) -> None:
    """Refuse tables that put a sample outside the file."""
    if not len(sizes):
        return
    name, width = (b"co64", ">u8") if b"co64" in tables else (b"stco", ">u4")
    box = tables.get(name, b"")
    offsets = table_rows(box, 8, struct.unpack_from(">I", box, 4)[0], [("at", width)])["at"]
    stsc = tables.get(b"stsc", b"")
    layout = [("chunk", ">u4"), ("samples", ">u4"), ("entry", ">u4")]
    runs = table_rows(stsc, 8, struct.unpack_from(">I", stsc, 4)[0], layout)
    firsts = runs["chunk"].astype(np.int64) - 1
    if not len(runs) or firsts[0] != 0 or (np.diff(firsts) <= 0).any():
        raise corrupt_mp4(found="a table of chunks that is not in order")
    (described,) = struct.unpack_from(">I", tables.get(b"stsd", b""), 4)
    if (runs["entry"] < 1).any() or (runs["entry"] > described).any():
        # FFmpeg shows none of the frames of such a chunk.
        raise corrupt_mp4(found="frames of a sample description that is not there")
    chunks = np.diff(np.minimum(firsts, len(offsets)), append=len(offsets))
    ends = np.cumsum(np.repeat(runs["samples"].astype(np.int64), chunks))
    if not len(ends) or ends[-1] != len(sizes):
        # FFmpeg gives up on chunks of too many frames before it reads the edit list.
        raise corrupt_mp4(found=f"chunks that do not hold the {len(sizes)} frames")
    bytes_before = np.concatenate([[0], np.cumsum(sizes)])
    lengths = np.diff(bytes_before[ends], prepend=0)
    used = lengths > 0
    if (offsets[used] > file_size).any() or (
        offsets[used].astype(np.int64) + lengths[used] > file_size
    ).any():
        raise corrupt_mp4(found="frames that lie past the end of the file")


def _fragment(
    traf: bytes, track: VideoTrack, decode: int, start: int, file_size: int
) -> tuple[list[np.ndarray], int, int]:
    """Composition times of a fragment's runs, the decoding time after it, and how long it lasts."""
    boxes = child_boxes(traf)
    flags, number = struct.unpack_from(">II", (tfhd := boxes.get(b"tfhd", b"")))
    if number != track.number:
        return [], decode, 0
    place, base = 8, start
    if flags & 0x1:
        (base,), place = struct.unpack_from(">Q", tfhd, place), place + 8
    place += 4 if flags & 0x2 else 0
    duration, size = track.default_duration, track.default_size
    if flags & 0x8:
        (duration,), place = struct.unpack_from(">I", tfhd, place), place + 4
    if flags & 0x10:
        (size,) = struct.unpack_from(">I", tfhd, place)
    if tfdt := boxes.get(b"tfdt"):
        decode = struct.unpack_from(">Q" if tfdt[0] else ">I", tfdt, 4)[0]
    if decode >= 1 << 60:
        raise corrupt_mp4(found="a fragment at an impossible time")
    parts: list[np.ndarray] = []
    begin = decode
    for trun in boxes_of(traf, b"trun"):
        part, decode, reach = _run(trun, decode, duration, size)
        if reach and base + reach > file_size:
            raise corrupt_mp4(found="a fragment that lies past the end of the file")
        parts.append(part)
    return parts, decode, decode - begin


def _run(trun: bytes, decode: int, duration: int, size: int) -> tuple[np.ndarray, int, int]:
    """Composition times of one run, the decoding time after it, and how far its bytes reach."""
    flags, count = struct.unpack_from(">II", trun)
    offset = struct.unpack_from(">i", trun, 8)[0] if flags & 0x1 else 0
    begin = 8 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)
    named = [(0x100, "duration"), (0x200, "size"), (0x400, "flags"), (0x800, "offset")]
    layout = [(name, ">i4" if name == "offset" else ">u4") for bit, name in named if flags & bit]
    if not layout and count > MOST_FRAMES:
        raise _too_many()
    rows = table_rows(trun, begin, count, layout) if layout else np.zeros(count, [("none", "u1")])

    def column(name: str, otherwise: int) -> np.ndarray:
        if name in (rows.dtype.names or ()):
            return rows[name].astype(np.int64)
        return np.full(count, otherwise, np.int64)

    _check_filled(column("size", size))
    steps = column("duration", duration)
    ends = decode + np.cumsum(steps)
    reach = offset + int(column("size", size).sum()) if flags & 0x1 else 0
    return ends - steps + column("offset", 0), decode + int(steps.sum()), reach


def _too_many() -> SourceError:
    return unread_mp4(found=f"more than {MOST_FRAMES} frames", wanted="fewer in one file")
