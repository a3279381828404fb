"""The first video track of an mp4 file: what its `moov` box says of it, and its edit list.

Sample tables are left as bytes (`mp4_samples` reads them); the edits say what of the track is
shown, and when.

Rules: ISO/IEC 14496-12 (`trak`, `mdia`, `stbl`, `elst`, `trex`); where the standard leaves room
(edits of duration 0) FFmpeg's reading is followed.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from finedata.readers.mp4.boxes import box_name, boxes_of, child_boxes, corrupt_mp4, unread_mp4

# No file of a corpus comes near; a table that claims more is not believed.
MOST_FRAMES = 5_000_000
_MOST_EDITS = 64


class VideoTrack(NamedTuple):
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


def video_track(moov: bytes) -> VideoTrack:
    """The first video track of a `moov` box.

    Raises:
        CorruptRecordError: A box is damaged, or states an impossible size or clock.
        SourceError: There is none, or the box is compressed, or its edits change the speed.
        struct.error, IndexError: A box is shorter than what it must hold.
    """
    if b"cmov" in child_boxes(moov):
        raise unread_mp4(found="a compressed moov box", wanted="an uncompressed one")
    for box in boxes_of(moov, b"trak"):
        trak = child_boxes(box)
        mdia = child_boxes(trak.get(b"mdia", b""))
        if mdia.get(b"hdlr", b"")[8:12] == b"vide":
            return _track(child_boxes(moov), trak, mdia)
    raise unread_mp4(found="no video track", wanted="a file with one")


def edited_ticks(ticks: np.ndarray, track: VideoTrack, *, fragmented: bool) -> np.ndarray:
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
            if duration and not fragmented:  # a length that rounds to nothing shows nothing
                hidden |= ticks >= media_time + length
            shown.append((ticks if fragmented else ticks[~hidden]) + (begin - media_time))
            if fragmented:
                break
        begin += length
    if sum(map(len, shown)) > MOST_FRAMES:
        raise unread_mp4(
            found="an edit list that repeats the video", wanted="every frame shown once"
        )
    return np.concatenate(shown) if shown else ticks[:0]


def _track(
    moov: dict[bytes, bytes], trak: dict[bytes, bytes], mdia: dict[bytes, bytes]
) -> VideoTrack:
    tables = child_boxes(child_boxes(mdia.get(b"minf", b"")).get(b"stbl", b""))
    entries = tables.get(b"stsd", b"")[8:]
    height, width = struct.unpack_from(">HH", entries, 32)[::-1]
    timescale = _timescale(mdia.get(b"mdhd", b""))
    if not (height and width):
        raise corrupt_mp4(found="a picture without width or height")
    number = struct.unpack_from(">I", (tkhd := trak.get(b"tkhd", b"")), 20 if tkhd[0] else 12)[0]
    durations = sizes = 0
    for trex in boxes_of(moov.get(b"mvex", b""), b"trex"):
        which, _, durations_of, sizes_of = struct.unpack_from(">IIII", trex, 4)
        if which == number:
            durations, sizes = durations_of, sizes_of
    return VideoTrack(
        number=number,
        timescale=timescale,
        movie_timescale=_timescale(moov.get(b"mvhd", b"")),
        fourcc=box_name(entries[4:8]),
        height=height,
        width=width,
        edits=_edits(child_boxes(trak.get(b"edts", b"")).get(b"elst", b"")),
        tables=tables,
        default_duration=durations,
        default_size=sizes,
    )


def _timescale(box: bytes) -> int:
    timescale: int = struct.unpack_from(">I", box, 20 if box[0] else 12)[0]
    if not timescale:
        raise corrupt_mp4(found="a time scale of 0 ticks a second")
    return timescale


def _edits(box: bytes) -> list[tuple[int, int]]:
    """(duration in movie ticks, media time; -1 for an empty edit) of every edit."""
    if not box:
        return []
    (count,) = struct.unpack_from(">I", box, 4)
    if count > _MOST_EDITS:
        raise unread_mp4(found=f"an edit list of {count} edits", wanted=f"{_MOST_EDITS} at most")
    layout = struct.Struct(">QqHh" if box[0] else ">IiHh")
    rows = [layout.unpack_from(box, 8 + k * layout.size) for k in range(count)]
    if any(media_time != -1 and rate != 1 for _, media_time, rate, _ in rows):
        raise unread_mp4(found="an edit list that changes the speed", wanted="edits at speed 1")
    return [(duration, media_time) for duration, media_time, _, _ in rows]
