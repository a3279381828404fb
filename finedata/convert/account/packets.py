"""Which encoded pictures a video shows when: FFmpeg's packets, without decoding one.

Two files that show the same packets in the same order show the same pictures. So a window of the
output is held against a window of the source packet by packet, and a shift of one frame is found
although neither file was decoded. FFmpeg's own demuxer is asked (through PyAV): the plan reads
videos' indexes by other code.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.store.videos.files import VideoSource, iter_packets, opened_video, video_name

if TYPE_CHECKING:
    from collections.abc import Sequence

# A window that is another one moved by this many frames at most is called shifted.
_FARTHEST_SHIFT = 8
# LeRobot's tolerance_s: how far a frame may lie from the time of its row.
_TOLERANCE_S = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Packets:
    """The shown packets of a video file in order of display.

    Attributes:
        time_s: When each is shown, float64 (n,) seconds, as FFmpeg says.
        average_fps: Frames by their durations, as the header says: LeRobot's default decoder turns
            times into frame numbers with it.
        whole: The same of every packet, hidden ones too, in the order of decoding.
        digests: CRC-32 and size of each one's bytes, uint64 (n,).
    """

    time_s: np.ndarray
    digests: np.ndarray
    average_fps: float
    whole: np.ndarray


def read_packets(source: VideoSource) -> Packets:
    """Read the packets of a video.

    Raises:
        MissingExtraError: PyAV is not installed.
        SourceError: No video, or packets without times.
        CorruptRecordError: FFmpeg cannot parse the file.
    """
    rows: list[tuple[int, int]] = []
    whole: list[int] = []
    with opened_video(source) as container:
        stream: Any = container.streams.video[0]
        for packet in iter_packets(container, video_name(source)):
            data = memoryview(packet)
            whole.append(zlib.crc32(data) | (len(data) & 0xFFFFFFFF) << 32)
            if packet.pts is not None and not packet.is_discard:
                rows.append((int(packet.pts), whole[-1]))
        seconds, average = float(stream.time_base), float(stream.average_rate or 0)
    # Of two that are shown at one time the first that is decoded goes first.
    order = sorted(rows, key=lambda row: row[0])
    return Packets(
        np.array([tick for tick, _ in order], np.float64) * seconds,
        np.array([digest for _, digest in order], np.uint64),
        average,
        np.array(whole, np.uint64),
    )


def frame_at(packets: Packets, time_s: float, *, from_first: bool) -> tuple[int, float]:
    """The number of the frame shown nearest to a time, and how far it is from there.

    Args:
        packets: The file's; at least one.
        time_s: Seconds.
        from_first: Whether they count from the file's first shown frame, not from its zero.
    """
    zero = packets.time_s[0] if from_first else 0.0
    away = np.abs(packets.time_s - zero - time_s)
    nearest = int(np.argmin(away))
    return nearest, float(away[nearest])


def unseen_rows(packets: Packets, start_s: float, rows: int, fps: float) -> tuple[int, str] | None:
    """The first row whose frame LeRobot does not find, and how; `None` where it finds all.

    One of its decoders takes the frame whose time is `start_s` + k / fps, within 1e-4 s; the other,
    its default, takes frame number round(time * average rate). Both must take the same.
    """
    if not len(packets.time_s):
        return 0, "no frame in the whole file"
    wanted_s = start_s + np.arange(rows) / fps
    right = np.clip(np.searchsorted(packets.time_s, wanted_s), 1, max(len(packets.time_s) - 1, 1))
    right = np.minimum(right, len(packets.time_s) - 1)
    left = np.maximum(right - 1, 0)
    nearer = np.abs(packets.time_s[left] - wanted_s) <= np.abs(packets.time_s[right] - wanted_s)
    nearest = np.where(nearer, left, right)
    for bad, found in (
        (np.abs(packets.time_s[nearest] - wanted_s) > _TOLERANCE_S, "no frame at its time"),
        (np.rint(wanted_s * packets.average_fps) != nearest, "another frame by its number"),
    ):
        if bad.any():
            return int(np.argmax(bad)), found
    return None


def shift_between(shown: Sequence[int] | np.ndarray, whole: np.ndarray, first: int) -> int | None:
    """By how many frames a window lies beside frame `first` of `whole`; `None` where nowhere near.

    Positive where the window shows later frames.
    """
    for size in range(1, _FARTHEST_SHIFT + 1):
        for shift in (size, -size):
            at = first + shift
            inside = at >= 0 and at + len(shown) <= len(whole)
            if inside and np.array_equal(whole[at : at + len(shown)], shown):
                return shift
    # A shifted window may reach past the end: what overlaps must still agree.
    for shift in (1, -1):
        a, b = shown[max(0, -shift) :], whole[max(0, first + shift) :]
        count = min(len(a), len(b))
        if count > 1 and np.array_equal(a[:count], b[:count]):
            return shift
    return None
