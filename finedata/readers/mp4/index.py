"""The index of an mp4 file, by hand: how many frames it has, and when each is shown.

Size of the picture and codec are told along with it. Only box headers and the `moov` box are read
(a few reads a file, at its start or its end), never the `mdat` box with the pictures: linking
terabytes of video takes seconds and needs no video library. A hostile or damaged file ends in an
error; nothing is allocated for a count that its own table cannot hold.

Where the standard (ISO/IEC 14496-12) leaves room, FFmpeg's reading is followed, because it is the
decoder behind every consumer of LeRobot datasets.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.readers.mp4.boxes import corrupt_mp4, top_boxes, unread_mp4
from finedata.readers.mp4.samples import Samples
from finedata.readers.mp4.track import edited_ticks, video_track

if TYPE_CHECKING:
    from finedata.readers.files import RangeReader

__all__ = ["Mp4Index", "read_mp4_index"]

_MOST_INDEX_BYTES = 1 << 29
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
        average_fps: Frames by the sum of their durations, as a demuxer states it: LeRobot's default
            decoder turns times into frame numbers with it.
        byte_size: Bytes of the file.
        sha256: Hex digest of the `moov` box (and of every `moof` box): it changes when a frame's
            size or time does.
    """

    frames: int
    time_s: np.ndarray
    shape: tuple[int, int, int]
    codec: str
    fps: float
    average_fps: float
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
        raise corrupt_mp4(found="a box shorter than what it declares") from error


def _read(reader: RangeReader) -> Mp4Index:
    digest = hashlib.sha256()
    moov: bytes | None = None
    fragments: list[tuple[int, bytes]] = []
    for kind, start, header, size in top_boxes(reader):
        if kind not in (b"moov", b"moof"):
            continue
        if size > _MOST_INDEX_BYTES:
            raise unread_mp4(
                found=f"a {kind.decode()} box of {size} bytes", wanted="a smaller index"
            )
        body = reader.read(start + header, size - header)
        if len(body) != size - header:
            raise corrupt_mp4(found=f"a {kind.decode()} box that ends with the file")
        digest.update(struct.pack(">I4s", size, kind) + body)
        if kind == b"moov":
            moov = moov or body
        else:
            fragments.append((start, body))
    if moov is None:
        raise corrupt_mp4(
            found="no moov box: the recording was not finished, or the file is truncated"
        )
    track = video_track(moov)
    samples = Samples.of(track, fragments, reader.size)
    ticks = np.sort(edited_ticks(samples.ticks, track, fragmented=bool(fragments)), kind="stable")
    if not len(ticks):
        raise corrupt_mp4(found="a video track without a frame")
    time_s = ticks / track.timescale
    step_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else samples.last_s
    return Mp4Index(
        frames=len(time_s),
        time_s=time_s,
        shape=(track.height, track.width, 3),
        codec=_CODECS.get(track.fourcc, track.fourcc),
        fps=1.0 / step_s if step_s > 0 else 0.0,
        average_fps=len(samples.ticks) / samples.total_s if samples.total_s > 0 else 0.0,
        byte_size=reader.size,
        sha256=digest.hexdigest(),
    )
