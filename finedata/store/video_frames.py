"""Frames of a video file, decoded one after the other or at given times.

A video comes in (a path, or any seekable file object); pictures (height, width, 3) uint8 RGB go
out, in order of display, one at a time where many are asked for. Times are LeRobot's: a frame
answers to a time within 1e-4 s of its own.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import CorruptRecordError, SourceError, UsageError
from finedata.store.video_file import (
    PacketList,
    VideoSource,
    entry_packets,
    list_packets,
    opened_video,
    reading_errors,
    too_few_frames,
    video_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["decode_frames", "decoded_frames", "iter_frames"]


def iter_frames(
    path: VideoSource, first_frame: int = 0, frames: int | None = None
) -> Iterator[np.ndarray]:
    """Decode frames one after the other: (height, width, 3) uint8 RGB, in order of display.

    Args:
        path: The video.
        first_frame: The first frame to give.
        frames: How many; `None` for all that remain.

    Raises:
        SourceError: The file has fewer frames.
        CorruptRecordError: It cannot be decoded.
    """
    for frame in decoded_frames(path, first_frame, frames):
        yield frame.to_ndarray(format="rgb24")


def decode_frames(
    path: VideoSource,
    *,
    times_s: Sequence[float] | np.ndarray | None = None,
    numbers: Sequence[int] | np.ndarray | None = None,
    tolerance_s: float = 1e-4,
) -> list[np.ndarray]:
    """Decode the frames shown at given times, or with given numbers in order of display.

    Args:
        path: The video.
        times_s: Times in seconds; each must have a frame within `tolerance_s`, as LeRobot asks.
        numbers: Frame numbers, in place of times.
        tolerance_s: The farthest a frame may lie from its time.

    Returns:
        One picture (height, width, 3) uint8 RGB for each, in the order asked for.

    Raises:
        UsageError: Neither times nor numbers, or both.
        SourceError: No frame is there.
        CorruptRecordError: The file cannot be decoded.
    """
    if (times_s is None) == (numbers is None):
        raise UsageError(place="decode_frames", found="both or neither", wanted="times or numbers")
    name = video_name(path)
    with opened_video(path) as container:
        stream = container.streams.video[0]
        packets = list_packets(container, name)
        ticks = np.sort(packets.ticks[~packets.hidden])
        if numbers is None:
            asked_s = np.asarray(times_s, np.float64)
            wanted = _nearest(ticks * float(stream.time_base), asked_s, tolerance_s, name)
        else:
            wanted = np.asarray(numbers, np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(ticks)):
            raise too_few_frames(name, len(ticks), int(wanted.max()) + 1)
        found = _decode_at(container, name, np.unique(ticks[wanted]), packets)
    return [found[int(tick)] for tick in ticks[wanted]]


def decoded_frames(source: VideoSource, first_frame: int, frames: int | None) -> Iterator[Any]:
    """As `iter_frames`, in PyAV's own frames."""
    name = video_name(source)
    with opened_video(source) as container:
        start = None
        if first_frame:
            packets = list_packets(container, name)
            times = np.sort(packets.ticks[~packets.hidden])
            if first_frame >= len(times):
                raise too_few_frames(name, len(times), first_frame + (frames or 1))
            start = int(times[first_frame])
            _seek(container, packets, start, name)
        found = 0
        for frame in islice(_decode(container, name, start), frames):
            found += 1
            yield frame
        if frames is not None and found < frames:
            raise too_few_frames(name, first_frame + found, first_frame + frames)


def _seek(container: Any, packets: PacketList, tick: int, name: str) -> None:
    """Go to the last place where decoding can begin for the frame at `tick`.

    FFmpeg alone would go to a key frame that is shown after the frame, in an open group.
    """
    entries = entry_packets(packets.ticks, packets.key)
    before = entries[packets.ticks[entries] <= tick]
    entry = int(before[-1]) if len(before) else 0
    with reading_errors(name):
        container.seek(int(packets.decode_ticks[entry]), stream=container.streams.video[0])


def _decode(container: Any, name: str, start: int | None) -> Iterator[Any]:
    with reading_errors(name):
        for frame in container.decode(container.streams.video[0]):
            if start is None or frame.pts >= start:
                yield frame


def _nearest(time_s: np.ndarray, asked_s: np.ndarray, tolerance_s: float, name: str) -> np.ndarray:
    right = np.clip(np.searchsorted(time_s, asked_s), 1, max(len(time_s) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(time_s) - 1)
    nearest = np.where(
        np.abs(time_s[left] - asked_s) <= np.abs(time_s[right] - asked_s), left, right
    )
    far = np.abs(time_s[nearest] - asked_s) > tolerance_s
    if far.any():
        asked = float(asked_s[far][0])
        raise SourceError(
            place=name,
            found=f"its nearest frame at {float(time_s[nearest[far][0]]):.6f} s",
            wanted=f"a frame at {asked:.6f} s",
        )
    return nearest


def _decode_at(
    container: Any, name: str, ticks: np.ndarray, packets: PacketList
) -> dict[int, np.ndarray]:
    """Pictures by time: one pass forward, jumping where decoding can begin nearer to the next."""
    entries = packets.ticks[entry_packets(packets.ticks, packets.key)]
    found: dict[int, np.ndarray] = {}
    at: int | None = None
    decoder: Iterator[Any] = iter(())
    for tick in ticks.tolist():
        if at is None or ((entries > at) & (entries <= tick)).any():
            _seek(container, packets, tick, name)
            decoder = _decode(container, name, None)
        frame = next((frame for frame in decoder if frame.pts >= tick), None)
        if frame is None or frame.pts != tick:
            raise CorruptRecordError(
                place=name, found="a frame that does not decode", wanted="every frame"
            )
        found[tick], at = frame.to_ndarray(format="rgb24"), tick
    return found
