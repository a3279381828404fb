"""Small mp4 files with PyAV, whose every frame says its own number in black and white blocks.

The numbers survive lossy codecs, so a test can tell which frame a decoder gave.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

__all__ = ["codec_of", "demuxed_times", "numbered_picture", "picture_number", "write_video"]

os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder's banner goes to stderr otherwise

_ROWS, _COLUMNS = 4, 6  # 24 blocks: 16 bits of number, 8 of the camera


def numbered_picture(
    number: int, *, height: int = 32, width: int = 48, camera: int = 0
) -> np.ndarray:
    """A picture (height, width, 3) uint8 RGB that says `number` (16 bits) and `camera` (8)."""
    word = number | camera << 16
    bits = np.array([word >> bit & 1 for bit in range(_ROWS * _COLUMNS)], np.uint8)
    blocks = bits.reshape(_ROWS, _COLUMNS) * 215 + 20
    rows = np.arange(height) * _ROWS // height
    columns = np.arange(width) * _COLUMNS // width
    return np.repeat(blocks[rows][:, columns, None], 3, axis=2)


def picture_number(picture: np.ndarray) -> tuple[int, int]:
    """(number, camera) that a decoded picture (height, width, 3) says."""
    height, width = picture.shape[:2]
    word = 0
    for bit in range(_ROWS * _COLUMNS):
        row, column = divmod(bit, _COLUMNS)
        block = picture[
            height * row // _ROWS + 1 : height * (row + 1) // _ROWS - 1,
            width * column // _COLUMNS + 1 : width * (column + 1) // _COLUMNS - 1,
        ]
        word |= int(block.mean() > 127) << bit
    return word & 0xFFFF, word >> 16


def write_video(
    path: Path,
    frames: int | list[np.ndarray],
    *,
    codec: str = "h264",
    fps: float | Fraction = 30,
    b_frames: int = 2,
    gop: int = 12,
    timescale: int | None = None,
    start_s: float = 0.0,
    times_s: np.ndarray | None = None,
    height: int = 32,
    width: int = 48,
    camera: int = 0,
    options: dict[str, str] | None = None,
    container: str = "mp4",
    open_gop: bool = False,
) -> Path:
    """Write a video; frame k is shown at `start_s + k / fps`, or at `times_s[k]`.

    Args:
        path: Its folder is made where missing.
        frames: How many numbered pictures (0, 1, 2, ...), or pictures (height, width, 3) uint8.
        codec: `h264`, `mpeg4`, or `av1` (libsvtav1; the least size is 64x64).
        fps: Frames a second.
        b_frames: B-frames in a row (h264 and mpeg4; mpeg4 without them is 0).
        gop: Frames from key frame to key frame.
        timescale: Ticks a second of the track; `None`: chosen so that 1/fps is exact.
        start_s: Time of the first frame; above 0 an empty edit is written.
        times_s: (n,) increasing times in seconds, in place of `fps` and `start_s`.
        height: Of numbered pictures.
        width: Of numbered pictures.
        camera: Which camera numbered pictures say.
        options: Of the muxer: `{"movflags": "faststart"}`, `{"movflags": "frag_keyframe"}`.
        container: `mp4`, `mov`, `matroska`, `avi`.
        open_gop: h264 whose key frames do not cut the references.
    """
    rate = Fraction(fps).limit_denominator(1001)
    pictures = (
        [numbered_picture(k, height=height, width=width, camera=camera) for k in range(frames)]
        if isinstance(frames, int)
        else frames
    )
    ticks = timescale or rate.numerator * 512
    encoder = {"h264": "libx264", "av1": "libsvtav1"}.get(codec, codec)
    path.parent.mkdir(parents=True, exist_ok=True)
    muxer = {"fflags": "+bitexact"} | (options or {})
    with av.open(str(path), "w", format=container, options=muxer) as output:
        stream = output.add_stream(
            encoder, rate=rate, options=_options(codec, b_frames, gop, open_gop)
        )
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        # MPEG-4 part 2 counts in 16 bits: its own clock is the frame rate, the track's is finer.
        clock = 1 / rate if codec == "mpeg4" and times_s is None else Fraction(1, ticks)
        stream.time_base, stream.codec_context.time_base = Fraction(1, ticks), clock
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        if codec == "mpeg4":
            stream.codec_context.max_b_frames = b_frames
            stream.bit_rate = 2_000_000
        for k, picture in enumerate(pictures):
            time_s = (
                Fraction(start_s) + k / rate if times_s is None else Fraction(float(times_s[k]))
            )
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.time_base = clock
            frame.pts = round(time_s / clock)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def _options(codec: str, b_frames: int, gop: int, open_gop: bool) -> dict[str, str]:
    if codec == "h264":
        return {
            "preset": "veryfast",
            "crf": "18",
            "x264-params": f"bframes={b_frames}:b-adapt=0:keyint={gop}:min-keyint=1:scenecut=0:"
            f"open-gop={int(open_gop)}:threads=1",
        }
    return {"preset": "10", "crf": "30", "svtav1-params": "lp=1"} if codec == "av1" else {}


def demuxed_times(path: Path) -> np.ndarray:
    """Times (n,) in seconds at which FFmpeg shows the frames, in order of display."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [
            packet.pts * packet.time_base
            for packet in container.demux(stream)
            if packet.pts is not None and packet.size and not packet.is_discard
        ]
    return np.array(sorted(times), np.float64)


def codec_of(path: Path) -> str:
    """FFmpeg's name of the codec."""
    with av.open(str(path)) as container:
        return container.streams.video[0].codec.canonical_name
