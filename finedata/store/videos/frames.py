"""Frames of a video file, decoded one after the other or at given times.

Pictures are (height, width, 3) uint8 RGB in order of display, one at a time where many are asked
for, from a path or any seekable file object; of a grey video of more than 8 bits, which is no
colour (depth, `gray12le`), they are (height, width) uint16, its numbers as they are. Times are
LeRobot's: a frame answers to a time within 1e-4 s of its own.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import CorruptRecordError, SourceError, UsageError
from finedata.store.videos.files import (
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
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "VideoReader",
    "decode_frames",
    "decoded_frames",
    "is_deep_format",
    "is_deep_video",
    "iter_frames",
]


def is_deep_format(pixel_format: str) -> bool:
    """Whether a pixel format is grey, of more than 8 bits: `gray12le`, `gray16le`."""
    return pixel_format.startswith("gray") and pixel_format not in ("gray", "gray8", "grayf32le")


def is_deep_video(source: VideoSource) -> bool:
    """Whether a video's pictures are numbers of more than 8 bits.

    Raises:
        SourceError: It cannot be opened.
        CorruptRecordError: It cannot be parsed.
    """
    with opened_video(source) as container:
        return is_deep_format(str(container.streams.video[0].codec_context.pix_fmt))


def _pixels(frame: Any) -> np.ndarray:
    if is_deep_format(frame.format.name):
        return frame.to_ndarray().astype(np.uint16, copy=False)
    return frame.to_ndarray(format="rgb24")


def iter_frames(
    path: VideoSource, first_frame: int = 0, frames: int | None = None
) -> Iterator[np.ndarray]:
    """Decode frames one after the other, in order of display, in the form of this module.

    Args:
        path: The video.
        first_frame: The first frame to give.
        frames: How many; `None` for all that remain.

    Raises:
        SourceError: The file has fewer frames.
        CorruptRecordError: It cannot be decoded.
    """
    for frame in decoded_frames(path, first_frame, frames):
        yield _pixels(frame)


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
        One picture for each, in the order asked for.

    Raises:
        UsageError: Neither times nor numbers, or both.
        SourceError: No frame is there.
        CorruptRecordError: The file cannot be decoded.
    """
    if (times_s is None) == (numbers is None):
        raise UsageError(place="decode_frames", found="both or neither", wanted="times or numbers")
    with closing(VideoReader(path)) as reader:
        if numbers is None:
            numbers = reader.numbers_at(np.asarray(times_s, np.float64), tolerance_s=tolerance_s)
        wanted = np.asarray(numbers, np.int64)
        ordered, places = np.unique(wanted, return_inverse=True)
        found = list(reader.each(ordered))
    return [found[place] for place in places]


class VideoReader:
    """A video that stays open: its packets are listed once, and frames in order decoded once.

    Not to be shared between threads.

    Args:
        path: The video.

    Attributes:
        name: What it is called in errors.
        time_s: (N,) float64, when each frame is shown, in order of display.
        is_deep: Whether its frames are numbers of more than 8 bits.

    Raises:
        SourceError: It cannot be opened.
        CorruptRecordError: It cannot be parsed.
    """

    def __init__(self, path: VideoSource) -> None:
        self.name = video_name(path)
        with ExitStack() as stack:
            self._container = stack.enter_context(opened_video(path))
            self._packets = list_packets(self._container, self.name)
            self._stack = stack.pop_all()
        packets = self._packets
        time_base = float(self._container.streams.video[0].time_base)
        self._ticks = np.sort(packets.ticks[~packets.hidden])
        self._entries = packets.ticks[entry_packets(packets.ticks, packets.key)]
        self.time_s = self._ticks * time_base
        pixels = self._container.streams.video[0].codec_context.pix_fmt
        self.is_deep = is_deep_format(str(pixels))
        self._decoder: Iterator[Any] = iter(())
        self._at: int | None = None

    def numbers_at(self, times_s: np.ndarray, *, tolerance_s: float = 1e-4) -> np.ndarray:
        """Numbers in order of display of the frames shown at given times, int64 (n,).

        Raises:
            SourceError: No frame is within `tolerance_s` seconds of a time.
        """
        return _nearest(self.time_s, times_s, tolerance_s, self.name)

    def each(self, numbers: Iterable[int]) -> Iterator[np.ndarray]:
        """Frames with given numbers in order of display, one at a time, best in that order.

        From one frame to a later one decoding goes on, or jumps where it can begin nearer.

        Yields:
            A picture.

        Raises:
            SourceError: There are fewer frames.
            CorruptRecordError: A frame does not decode.
        """
        for number in numbers:
            if not 0 <= number < len(self._ticks):
                raise too_few_frames(self.name, len(self._ticks), int(number) + 1)
            tick = int(self._ticks[number])
            at, self._at = self._at, None
            nearer = at is None or tick <= at
            if nearer or ((self._entries > at) & (self._entries <= tick)).any():
                _seek(self._container, self._packets, tick, self.name)
                self._decoder = _decode(self._container, self.name, None)
            frame = next((frame for frame in self._decoder if frame.pts >= tick), None)
            if frame is None or frame.pts != tick:
                raise CorruptRecordError(
                    place=self.name, found="a frame that does not decode", wanted="every frame"
                )
            self._at = tick
            yield _pixels(frame)

    def close(self) -> None:
        """Close the file."""
        self._decoder = iter(())
        self._stack.close()


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
