"""Videos encoded anew, which loses something: only when asked, or where there is none.

A grey video of more than 8 bits is depth, and loses nothing: as LeRobot writes it, HEVC without
loss, whatever codec was asked for.

Frames may be those of a video, pictures, or none at all for a black clip; frame k of the mp4 file
is shown at k / fps. The bytes depend on the arguments and the encoder, not on the machine.
"""

from __future__ import annotations

import os
from fractions import Fraction
from itertools import repeat
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from finedata.errors import SourceError
from finedata.store.videos.files import (
    LEAST_STEP_TICKS,
    VideoSource,
    encoder_errors,
    fresh_path,
    import_av,
)
from finedata.store.videos.frames import decoded_frames, is_deep_format

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["VideoCodec", "black_video", "encode_pictures", "transcode_video"]

VideoCodec = Literal["av1", "h264"]

# Key frames every 2 frames, as LeRobot encodes: a training loader reads frames at random.
# One thread, so that the bytes do not depend on the machine.
_ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": (
        "libx264",
        {
            "preset": "medium",
            "crf": "20",
            "g": "2",
            "bf": "0",
            "x264-params": "threads=1:cpu-independent=1",
        },
    ),
    "av1": ("libsvtav1", {"preset": "8", "crf": "30", "g": "2", "svtav1-params": "lp=1"}),
}
_DEEP = (
    "libx265",
    {"g": "2", "x265-params": "lossless=1:pools=none:frame-threads=1:log-level=none"},
)
_BLACK = {
    "preset": "veryfast",
    "crf": "30",
    "g": "250",
    "bf": "0",
    "x264-params": "threads=1:cpu-independent=1",
}


def black_video(target: Path, *, shape: Sequence[int], fps: float, frames: int) -> None:
    """Write an all-black clip (h264), for an episode whose camera is missing.

    Args:
        target: The mp4 file to write.
        shape: (height, width[, channels]); odd sizes become the next even ones.
        fps: Frames a second.
        frames: How many.

    Raises:
        OutputError: The disk is full, or `target` cannot be written.
    """
    av = import_av()
    height, width = (size + size % 2 for size in shape[:2])
    frame = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
    _encode(repeat(frame, frames), target, fps=fps, encoder="libx264", options=_BLACK)


def transcode_video(
    source: VideoSource,
    target: Path,
    *,
    fps: float,
    codec: VideoCodec,
    size: tuple[int, int] | None = None,
    rows: np.ndarray | None = None,
    first_frame: int = 0,
    frames: int | None = None,
) -> None:
    """Decode frames and encode them anew (lossy), frame k of the new file at k / fps.

    Args:
        source: A path, or a seekable file object.
        target: The mp4 file to write.
        fps: Frames a second of the new file.
        codec: `av1` (libsvtav1) or `h264` (libx264), yuv420p; depth stays what it is.
        size: (height, width) to scale to, area averaged; `None` keeps it. Odd sizes get one more
            row or column, a copy of the last.
        rows: (T,) non-decreasing frames to take, counted from `first_frame`; a frame may repeat.
        first_frame: The frame of the source to begin with, in order of display.
        frames: How many of the source's frames, where `rows` is not given; `None` for all.

    Raises:
        OutputError: The disk is full, or `target` cannot be written.
        SourceError: Rows that the file has not, or sizes that the encoder refuses.
        CorruptRecordError: The source cannot be decoded.
    """
    if rows is not None:
        frames = int(rows[-1]) + 1 if len(rows) else 0
    taken = decoded_frames(source, first_frame, frames)
    if rows is not None:
        taken = _repeated(taken, rows)
    encoder, options = _ENCODERS[codec]
    scaled = (_fitted(frame, size) for frame in taken)
    _encode(scaled, target, fps=fps, encoder=encoder, options=options)


def encode_pictures(
    pictures: Iterable[np.ndarray],
    target: Path,
    *,
    fps: float,
    codec: VideoCodec,
    size: tuple[int, int] | None = None,
) -> None:
    """Encode pictures (height, width, 3) uint8 RGB, picture k at k / fps.

    Args:
        pictures: All of one size.
        target: The mp4 file to write.
        fps: Frames a second.
        codec: `av1` or `h264`, as in `transcode_video`.
        size: (height, width) to scale to; `None` keeps it, with odd sizes made even.

    Raises:
        OutputError: The disk is full, or `target` cannot be written.
        SourceError: No picture, or a size that the encoder refuses.
    """
    av = import_av()
    frames = (
        _fitted(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"), size)
        for picture in pictures
    )
    encoder, options = _ENCODERS[codec]
    _encode(frames, target, fps=fps, encoder=encoder, options=options)


def _repeated(frames: Iterator[Any], rows: np.ndarray) -> Iterator[Any]:
    number, frame = -1, None
    for row in rows.tolist():
        while number < row:
            number, frame = number + 1, next(frames)
        yield frame


def _fitted(frame: Any, size: tuple[int, int] | None) -> Any:
    """The frame in yuv420p, scaled to (height, width), even; depth as it is, by nearest pixels."""
    height, width = size or (frame.height, frame.width)
    if is_deep_format(frame.format.name):
        return frame.reformat(width, height, frame.format.name, interpolation="POINT")
    if height % 2 or width % 2:
        rgb = frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
        padded = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = import_av().VideoFrame.from_ndarray(padded, format="rgb24")
        height, width = padded.shape[:2]
    return frame.reformat(width, height, "yuv420p", interpolation="AREA")


def _encode(
    frames: Iterable[Any], target: Path, *, fps: float, encoder: str, options: dict[str, str]
) -> None:
    av = import_av()
    # The AV1 library writes a banner to the process's stderr, which only this variable stops.
    os.environ.setdefault("SVT_LOG", "1")
    rate = Fraction(fps).limit_denominator(1001)
    factor = -(-LEAST_STEP_TICKS // rate.denominator)
    muxing = {
        "fflags": "+bitexact",
        "video_track_timescale": str(rate.numerator * factor),
    }
    with (
        fresh_path(target) as partial,
        partial.open("wb") as file,
        encoder_errors(target.name, f"pictures that {encoder} encodes"),
        av.open(file, "w", format="mp4", options=muxing) as output,
    ):
        stream: Any = None
        for number, frame in enumerate(frames):
            if stream is None:
                pixels = "yuv420p"
                if is_deep_format(frame.format.name):
                    pixels, (encoder, options) = frame.format.name, _DEEP
                stream = output.add_stream(encoder, rate=rate, options=options)
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pixels
                stream.codec_context.time_base = 1 / rate
                stream.codec_context.thread_count = 1
            frame.pts, frame.time_base = number, 1 / rate
            frame.pict_type = 0  # the encoder decides, not the source
            output.mux(stream.encode(frame))
        if stream is None:
            raise SourceError(place=target.name, found="no frame", wanted="at least one")
        output.mux(stream.encode())
