"""The index of an mp4 file, by hand: how many frames it has, and when each is shown.

An open file comes in; frame times, size of the picture and codec go out. Only box headers and
the `moov` box are read (a few reads a file, at its start or its end), never the `mdat` box with
the pictures: linking terabytes of video takes seconds and needs no video library. A hostile or
damaged file ends in an error; nothing is allocated for a count that its own table cannot hold.

Boxes and rules: ISO/IEC 14496-12 (`stts`, `ctts`, `stsz`, `stsc`, `stco`, `elst`, `moof`); where
the standard leaves room (negative offsets in `ctts` version 0, edits of duration 0) FFmpeg's
reading is followed, because it is the decoder behind every consumer of LeRobot datasets.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from finedata.errors import CorruptRecordError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.readers.files import RangeReader

__all__ = ["Mp4Index", "read_mp4_index"]

_MOST_TOP_BOXES = 100_000
_MOST_INDEX_BYTES = 1 << 29
_MOST_FRAMES = 5_000_000
_MOST_EDITS = 64
_CODECS = {
    "avc1": "h264",
    "avc3": "h264",
    "hev1": "hevc",
    "hvc1": "hevc",
    "av01": "av1",
    "mp4v": "mpeg4",
    "vp08": "vp8",
    "vp09": "vp9",
}


@dataclass(frozen=True, slots=True, eq=False)
class Mp4Index:
    """What the index of an mp4 file says of its first video track.

    Attributes:
        frames: How many frames are shown.
        time_s: When each is shown, float64 (n,) seconds, in order of display, edit list applied.
        shape: (height, width, 3).
        codec: `h264`, `hevc`, `av1`, `mpeg4`, `vp8`, `vp9`, else the file's four characters.
        fps: One over the median step between frames.
        byte_size: Bytes of the file.
        sha256: Hex digest of the `moov` box (and of every `moof` box): it changes when a frame's
            size or time does.
    """

    frames: int
    time_s: np.ndarray
    shape: tuple[int, int, int]
    codec: str
    fps: float
    byte_size: int
    sha256: str

    def uniform(
        self,
        fps: float,
        *,
        tolerance_s: float = 1e-4,
        first_frame: int = 0,
        count: int | None = None,
    ) -> bool:
        """Whether frame `first_frame + k` is shown k / fps after frame `first_frame`.

        Args:
            fps: Frames a second that are asked for.
            tolerance_s: The farthest a frame may lie from there, in seconds (LeRobot's own).
            first_frame: Frame from which time counts.
            count: How many frames from there; `None` for all that remain.
        """
        last = self.frames if count is None else first_frame + count
        if not (fps > 0 and 0 <= first_frame <= last <= self.frames):
            return False
        time_s = self.time_s[first_frame:last]
        if not len(time_s):
            return True
        wanted_s = time_s[0] + np.arange(len(time_s)) / fps
        return bool(np.abs(time_s - wanted_s).max() <= tolerance_s)


def read_mp4_index(reader: RangeReader) -> Mp4Index:
    """Read the index of an mp4 (or mov) file.

    Args:
        reader: The open file; a few ranges of it are read.

    Raises:
        CorruptRecordError: Truncated, or tables that contradict each other or the file's size.
        SourceError: A container or a feature of it that is not read (Matroska, AVI, no video).
    """
    try:
        return _read(reader)
    except (struct.error, IndexError, OverflowError) as error:
        raise _corrupt(found="a box shorter than what it declares") from error


def _read(reader: RangeReader) -> Mp4Index:
    digest = hashlib.sha256()
    moov: bytes | None = None
    fragments: list[tuple[int, bytes]] = []
    for kind, start, header, size in _top_boxes(reader):
        if kind not in (b"moov", b"moof"):
            continue
        if size > _MOST_INDEX_BYTES:
            raise _unread(found=f"a {kind.decode()} box of {size} bytes", wanted="a smaller index")
        body = reader.read(start + header, size - header)
        if len(body) != size - header:
            raise _corrupt(found=f"a {kind.decode()} box that ends with the file")
        digest.update(struct.pack(">I4s", size, kind) + body)
        if kind == b"moov":
            moov = moov or body
        else:
            fragments.append((start, body))
    if moov is None:
        raise _corrupt(
            found="no moov box: the recording was not finished, or the file is truncated"
        )
    track = _video_track(moov)
    samples = _Samples.of(track, fragments, reader.size)
    ticks = np.sort(_edited(samples.ticks, track, fragmented=bool(fragments)), kind="stable")
    if not len(ticks):
        raise _corrupt(found="a video track without a frame")
    time_s = ticks / track.timescale
    step_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else samples.last_s
    return Mp4Index(
        frames=len(time_s),
        time_s=time_s,
        shape=(track.height, track.width, 3),
        codec=_CODECS.get(track.fourcc, track.fourcc),
        fps=1.0 / step_s if step_s > 0 else 0.0,
        byte_size=reader.size,
        sha256=digest.hexdigest(),
    )


def _top_boxes(reader: RangeReader) -> Iterator[tuple[bytes, int, int, int]]:
    """(type, start, header bytes, whole size) of every box of the file."""
    start, number = 0, 0
    while start < reader.size:
        head = reader.read(start, 16)
        if start == 0:
            _refuse_other_containers(head)
        if len(head) < 8:
            raise _corrupt(found=f"{len(head)} bytes after the last box")
        size, kind = struct.unpack_from(">I4s", head)
        header = 8
        if size == 1 and len(head) == 16:
            size, header = int.from_bytes(head[8:], "big"), 16
        elif size == 0:
            size = reader.size - start
        if size < header:
            raise _corrupt(found=f"a box of {size} bytes at byte {start}")
        if start + size > reader.size:
            past = start + size - reader.size
            raise _corrupt(found=f"a {_text(kind)} box that reaches {past} bytes past the end")
        yield kind, start, header, size
        start, number = start + size, number + 1
        if number > _MOST_TOP_BOXES:
            raise _unread(
                found=f"more than {_MOST_TOP_BOXES} boxes", wanted="a file that is not fragmented"
            )


def _refuse_other_containers(head: bytes) -> None:
    names = {b"\x1a\x45\xdf\xa3": "Matroska/WebM", b"RIFF": "AVI", b"OggS": "Ogg"}
    if name := names.get(head[:4]):
        raise _unread(found=f"a {name} file", wanted="an mp4 file (ffmpeg -i IN -c copy OUT.mp4)")
    if len(head) < 8 or not all(32 <= byte < 127 for byte in head[4:8]):
        raise _corrupt(found="no mp4 box at the start")


class _Track(NamedTuple):
    """The first video track of a `moov` box; times in ticks of `timescale`."""

    number: int
    timescale: int
    movie_timescale: int
    fourcc: str
    height: int
    width: int
    edits: list[tuple[int, int]]
    tables: dict[bytes, bytes]
    default_duration: int
    default_size: int


def _video_track(moov: bytes) -> _Track:
    if b"cmov" in _boxes(moov):
        raise _unread(found="a compressed moov box", wanted="an uncompressed one")
    for box in _all_boxes(moov, b"trak"):
        trak = _boxes(box)
        mdia = _boxes(trak.get(b"mdia", b""))
        if mdia.get(b"hdlr", b"")[8:12] == b"vide":
            return _track(_boxes(moov), trak, mdia)
    raise _unread(found="no video track", wanted="a file with one")


def _track(moov: dict[bytes, bytes], trak: dict[bytes, bytes], mdia: dict[bytes, bytes]) -> _Track:
    tables = _boxes(_boxes(mdia.get(b"minf", b"")).get(b"stbl", b""))
    entries = tables.get(b"stsd", b"")[8:]
    height, width = struct.unpack_from(">HH", entries, 32)[::-1]
    timescale = _timescale(mdia.get(b"mdhd", b""))
    if not (height and width):
        raise _corrupt(found="a picture without width or height")
    number = struct.unpack_from(">I", (tkhd := trak.get(b"tkhd", b"")), 20 if tkhd[0] else 12)[0]
    durations = sizes = 0
    for trex in _all_boxes(moov.get(b"mvex", b""), b"trex"):
        which, _, durations_of, sizes_of = struct.unpack_from(">IIII", trex, 4)
        if which == number:
            durations, sizes = durations_of, sizes_of
    return _Track(
        number=number,
        timescale=timescale,
        movie_timescale=_timescale(moov.get(b"mvhd", b"")),
        fourcc=_text(entries[4:8]),
        height=height,
        width=width,
        edits=_edits(_boxes(trak.get(b"edts", b"")).get(b"elst", b"")),
        tables=tables,
        default_duration=durations,
        default_size=sizes,
    )


def _timescale(box: bytes) -> int:
    timescale: int = struct.unpack_from(">I", box, 20 if box[0] else 12)[0]
    if not timescale:
        raise _corrupt(found="a time scale of 0 ticks a second")
    return timescale


def _edits(box: bytes) -> list[tuple[int, int]]:
    """(duration in movie ticks, media time; -1 for an empty edit) of every edit."""
    if not box:
        return []
    (count,) = struct.unpack_from(">I", box, 4)
    if count > _MOST_EDITS:
        raise _unread(found=f"an edit list of {count} edits", wanted=f"{_MOST_EDITS} at most")
    layout = struct.Struct(">QqHh" if box[0] else ">IiHh")
    rows = [layout.unpack_from(box, 8 + k * layout.size) for k in range(count)]
    if any(media_time != -1 and rate != 1 for _, media_time, rate, _ in rows):
        raise _unread(found="an edit list that changes the speed", wanted="edits at speed 1")
    return [(duration, media_time) for duration, media_time, _, _ in rows]


def _edited(ticks: np.ndarray, track: _Track, *, fragmented: bool) -> np.ndarray:
    """Times in the movie of the frames that the edit list shows (all, where there is none)."""
    if not track.edits:
        return ticks
    shown: list[np.ndarray] = []
    begin = 0
    for duration, media_time in track.edits:
        length = round(duration * track.timescale / track.movie_timescale)
        if media_time >= 0:
            # Players of fragmented files know no end of an edit and hide nothing.
            hidden = ticks < media_time
            if length and not fragmented:
                hidden |= ticks >= media_time + length
            shown.append((ticks if fragmented else ticks[~hidden]) + (begin - media_time))
            if fragmented:
                break
        begin += length
    if sum(map(len, shown)) > _MOST_FRAMES:
        raise _unread(found="an edit list that repeats the video", wanted="every frame shown once")
    return np.concatenate(shown) if shown else ticks[:0]


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """Composition times of all samples in the order of decoding, in ticks (n,) int64."""

    ticks: np.ndarray
    last_s: float = field(default=0.0)

    @staticmethod
    def of(track: _Track, fragments: list[tuple[int, bytes]], file_size: int) -> _Samples:
        sizes = _sample_sizes(track.tables, file_size)
        _check_places(track.tables, sizes, file_size)
        steps = _runs(track.tables.get(b"stts", b""), len(sizes), ">u4", whole=True)
        if len(steps) and steps.max() >= 1 << 31:
            raise _corrupt(found="a frame that lasts a negative time")
        decode = np.cumsum(steps) - steps
        ticks = decode + _runs(track.tables.get(b"ctts", b""), len(sizes), ">i4", whole=False)
        parts, end = [ticks], int(steps.sum())
        for start, body in fragments:
            for traf in _all_boxes(body, b"traf"):
                part, end = _fragment(traf, track, end, start, file_size)
                parts += part
                if sum(map(len, parts)) > _MOST_FRAMES:
                    raise _too_many()
        last = int(steps[-1]) if len(steps) else track.default_duration
        return _Samples(np.concatenate(parts), last / track.timescale)


def _runs(box: bytes, samples: int, value_type: str, *, whole: bool) -> np.ndarray:
    """Expand (count, value) pairs to int64 (samples,); never more than there are samples."""
    if not box:
        if whole and samples:
            raise _corrupt(found="no table of frame durations")
        return np.zeros(samples, np.int64)
    pairs = _table(
        box, 8, struct.unpack_from(">I", box, 4)[0], [("count", ">u4"), ("v", value_type)]
    )
    ends = np.minimum(np.cumsum(pairs["count"].astype(np.int64)), samples)
    values = np.repeat(pairs["v"].astype(np.int64), np.diff(ends, prepend=0))
    if len(values) < samples and whole:
        raise _corrupt(found=f"durations of {len(values)} frames, and {samples} frames")
    return np.concatenate([values, np.zeros(samples - len(values), np.int64)])


def _sample_sizes(tables: dict[bytes, bytes], file_size: int) -> np.ndarray:
    """Bytes of each sample, int64 (n,)."""
    if b"stsz" not in tables:
        raise _unread(found="no stsz table of frame sizes", wanted="one")
    box = tables[b"stsz"]
    each, count = struct.unpack_from(">II", box, 4)
    if count > _MOST_FRAMES:
        raise _too_many()
    if not each:
        return _table(box, 12, count, [("size", ">u4")])["size"].astype(np.int64)
    if each * count > file_size:
        raise _corrupt(found=f"{count} frames of {each} bytes in a file of {file_size}")
    return np.full(count, each, np.int64)


def _check_places(tables: dict[bytes, bytes], sizes: np.ndarray, file_size: int) -> None:
    """Refuse tables that put a sample outside the file."""
    if not len(sizes):
        return
    name, width = (b"co64", ">u8") if b"co64" in tables else (b"stco", ">u4")
    box = tables.get(name, b"")
    offsets = _table(box, 8, struct.unpack_from(">I", box, 4)[0], [("at", width)])["at"]
    stsc = tables.get(b"stsc", b"")
    layout = [("chunk", ">u4"), ("samples", ">u4"), ("entry", ">u4")]
    runs = _table(stsc, 8, struct.unpack_from(">I", stsc, 4)[0], layout)
    firsts = runs["chunk"].astype(np.int64) - 1
    if not len(runs) or firsts[0] != 0 or (np.diff(firsts) <= 0).any():
        raise _corrupt(found="a table of chunks that is not in order")
    chunks = np.diff(np.minimum(firsts, len(offsets)), append=len(offsets))
    ends = np.minimum(np.cumsum(np.repeat(runs["samples"].astype(np.int64), chunks)), len(sizes))
    if not len(ends) or ends[-1] != len(sizes):
        raise _corrupt(found=f"chunks that do not hold the {len(sizes)} frames")
    bytes_before = np.concatenate([[0], np.cumsum(sizes)])
    lengths = np.diff(bytes_before[ends], prepend=0)
    used = lengths > 0
    if (offsets[used] > file_size).any() or (
        offsets[used].astype(np.int64) + lengths[used] > file_size
    ).any():
        raise _corrupt(found="frames that lie past the end of the file")


def _fragment(
    traf: bytes, track: _Track, decode: int, start: int, file_size: int
) -> tuple[list[np.ndarray], int]:
    """Composition times of a fragment's runs, and the decoding time after it."""
    boxes = _boxes(traf)
    flags, number = struct.unpack_from(">II", (tfhd := boxes.get(b"tfhd", b"")))
    if number != track.number:
        return [], decode
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
        raise _corrupt(found="a fragment at an impossible time")
    parts: list[np.ndarray] = []
    for trun in _all_boxes(traf, b"trun"):
        part, decode, reach = _run(trun, decode, duration, size)
        if reach and base + reach > file_size:
            raise _corrupt(found="a fragment that lies past the end of the file")
        parts.append(part)
    return parts, decode


def _run(trun: bytes, decode: int, duration: int, size: int) -> tuple[np.ndarray, int, int]:
    """Composition times of one run, the decoding time after it, and how far its bytes reach."""
    flags, count = struct.unpack_from(">II", trun)
    offset = struct.unpack_from(">i", trun, 8)[0] if flags & 0x1 else 0
    begin = 8 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)
    named = [(0x100, "duration"), (0x200, "size"), (0x400, "flags"), (0x800, "offset")]
    layout = [(name, ">i4" if name == "offset" else ">u4") for bit, name in named if flags & bit]
    if not layout and count > _MOST_FRAMES:
        raise _too_many()
    rows = _table(trun, begin, count, layout) if layout else np.zeros(count, [("none", "u1")])

    def column(name: str, otherwise: int) -> np.ndarray:
        if name in (rows.dtype.names or ()):
            return rows[name].astype(np.int64)
        return np.full(count, otherwise, np.int64)

    steps = column("duration", duration)
    ends = decode + np.cumsum(steps)
    reach = offset + int(column("size", size).sum()) if flags & 0x1 else 0
    return ends - steps + column("offset", 0), decode + int(steps.sum()), reach


def _table(box: bytes, start: int, count: int, layout: list[tuple[str, str]]) -> np.ndarray:
    dtype = np.dtype(layout)
    if start + count * dtype.itemsize > len(box):
        raise _corrupt(found=f"a table of {count} rows in a box of {len(box)} bytes")
    return np.frombuffer(box, dtype, count, start)


def _boxes(data: bytes) -> dict[bytes, bytes]:
    """The first child box of every type."""
    found: dict[bytes, bytes] = {}
    for kind, body in _children(data):
        found.setdefault(kind, body)
    return found


def _all_boxes(data: bytes, wanted: bytes) -> Iterator[bytes]:
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
            raise _corrupt(found=f"a {_text(kind)} box that is larger than the box around it")
        yield kind, data[start + header : start + size]
        start += size


def _text(kind: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in kind)


def _corrupt(*, found: str) -> CorruptRecordError:
    return CorruptRecordError(place="the mp4 file", found=found, wanted="a whole mp4 file")


def _unread(*, found: str, wanted: str) -> SourceError:
    return SourceError(place="the mp4 file", found=found, wanted=wanted)


def _too_many() -> SourceError:
    return _unread(found=f"more than {_MOST_FRAMES} frames", wanted="fewer in one file")
