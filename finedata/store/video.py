"""Video files of the output: linked, copied, given other times, or encoded anew when asked.

A video of a source comes in (a path, or any seekable file object); a whole mp4 file goes out,
written beside and renamed. The cheapest way that is right is taken by the caller, in this order:

- `place_video`: the same bytes, a hard link where the file system can (`copy_video` from afar);
- `remux_video`: the same pictures at other times, by stream copy, no picture decoded;
- `transcode_video`, `encode_pictures`: decoded and encoded anew, lossy, only when asked.

LeRobot looks a frame up by its time, `timestamp = frame_index / fps`, and accepts 1e-4 s beside;
its default decoder turns that time into a frame number with the average rate in the file's
header. Both must find the same frame, which is what `remux_video` arranges.

PyAV is imported where it is needed (extra `finedata[video]`); linking and copying need none.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, Protocol

import numpy as np

from finedata.errors import CorruptRecordError, MissingExtraError, SourceError, UsageError
from finedata.store.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

__all__ = [
    "VideoCodec",
    "VideoSource",
    "black_video",
    "copy_video",
    "decode_frames",
    "encode_pictures",
    "iter_frames",
    "place_video",
    "remux_video",
    "transcode_video",
]

VideoCodec = Literal["av1", "h264"]
VideoSource = Path | BinaryIO

_COPY_BYTES = 8 << 20
_LEAST_STEP_TICKS = 512
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
_BLACK = {
    "preset": "veryfast",
    "crf": "30",
    "g": "250",
    "bf": "0",
    "x264-params": "threads=1:cpu-independent=1",
}


class _RangeReader(Protocol):
    """What `copy_video` needs of `finedata.readers.files.RangeReader` (a room above this one)."""

    size: int

    def read(self, offset: int, length: int) -> bytes: ...


def place_video(source: Path, target: Path) -> None:
    """Put the same bytes at `target`: a hard link, or a copy where none can be made.

    Never a symbolic link: the dataset stays whole when it is moved. A link shares its bytes with
    the source, so nothing may ever write into a placed file; this package only replaces files.

    Raises:
        OutputError: The disk is full, or `target` cannot be written.
        SourceError: There is no such source.
    """
    with _reading(source):
        real = source.resolve(strict=True)  # a link of a symbolic link would be one
        real.stat()
    if target.exists() and target.samefile(real):
        return  # renaming a file onto its other name would leave both
    with _fresh_path(target) as partial:
        try:
            os.link(real, partial)
        except OSError:
            shutil.copyfile(real, partial)


@contextmanager
def _fresh_path(target: Path) -> Generator[Path]:
    """`atomic_path`, with nothing there: what a killed run left may be a link to a source."""
    with atomic_path(target) as partial:
        partial.unlink(missing_ok=True)
        yield partial


def copy_video(reader: _RangeReader, target: Path) -> None:
    """Copy a file of a source (a remote one) byte by byte.

    Raises:
        OutputError: The disk is full, or `target` cannot be written.
        CorruptRecordError: The source ended before its size.
        SourceError: It could not be read.
    """
    with _fresh_path(target) as partial, partial.open("wb") as output:
        done = 0
        while done < reader.size:
            with _reading(target.name):
                data = reader.read(done, min(_COPY_BYTES, reader.size - done))
            if not data:
                raise CorruptRecordError(
                    place=f"the source of {target.name}",
                    found=f"{done} bytes",
                    wanted=f"the {reader.size} that it has",
                )
            output.write(data)
            done += len(data)


def remux_video(
    source: VideoSource,
    target: Path,
    *,
    fps: float,
    rows: np.ndarray | None = None,
    frames: int | None = None,
) -> None:
    """Copy the encoded pictures into an mp4 that shows them at the times of the dataset's rows.

    Frame `rows[k]` of the source (in order of display) is shown at exactly k / fps. Frames that no
    row shows cannot all be left out, because others are decoded from them:

    - before the first row they get negative times, which the file's edit list hides (the same
      mechanism by which every mp4 with B-frames begins at 0);
    - between two rows they are spread evenly between these rows' times;
    - after the last row they follow at the frame rate;
    - those that no needed frame is decoded from (before the last possible key frame, after the
      last needed one) are left out.

    A key frame that a later one in the file is shown before (an open group of pictures) loses its
    mark: a decoder that seeks to the later one would begin there, and miss it.

    The last frame lasts as long as it takes for the average rate in the header to be `fps`:
    LeRobot's default decoder finds frames with that rate. The bytes depend only on the source's
    bytes and the arguments.

    Args:
        source: A path, or a seekable file object (read twice).
        target: The mp4 file to write.
        fps: Frames a second, exactly as the dataset states it (29.97 is not 30000/1001).
        rows: (T,) strictly increasing frame numbers; `None`: 0, 1, 2, ...
        frames: Without `rows`: how many frames; `None` for all.

    Raises:
        OutputError: The disk is full, or `target` cannot be written.
        SourceError: Rows that no stream copy can show (a frame twice, or a number that the file
            has not), a codec that mp4 cannot hold, or frames without times.
        CorruptRecordError: The source cannot be parsed.

    Example:
        A camera that ran at 30 Hz, for rows at 10 Hz::

            remux_video(source, target, fps=10, rows=np.arange(0, 300, 3))
    """
    av = _import_av()
    with _opened(source) as container:
        packets = _list_packets(container, _name(source))
    if rows is None:
        rows = np.arange((~packets.hidden).sum() if frames is None else frames)
    plan = _plan(packets, np.asarray(rows, np.int64), fps, _name(source))
    options = {
        "fflags": "+bitexact",
        "video_track_timescale": str(plan.timescale),
        "movie_timescale": str(plan.timescale),
    }
    with (
        _fresh_path(target) as partial,
        _opened(source) as container,
        partial.open("wb") as file,
        _encoding(_name(source), "a codec that an mp4 file can hold"),
        av.open(file, "w", format="mp4", options=options) as output,
    ):
        stream = container.streams.video[0]
        copied = output.add_stream_from_template(stream, opaque=True)
        for number, packet in enumerate(_packets(container, _name(source))):
            if number not in plan.ticks:
                continue
            packet.time_base = Fraction(1, plan.timescale)
            packet.pts, packet.dts, packet.duration = plan.ticks[number]
            packet.is_keyframe = number in plan.entries
            packet.stream = copied
            output.mux_one(packet)


class _PacketList(NamedTuple):
    """The packets of a video in order of decoding: times in its ticks (n,), and what they are."""

    ticks: np.ndarray
    decode_ticks: np.ndarray
    key: np.ndarray
    hidden: np.ndarray


class _RemuxPlan(NamedTuple):
    """What becomes of the packets: number to (pts, dts, duration) in ticks; others are left out.

    `entries` are the numbers of those at which decoding can begin.
    """

    timescale: int
    ticks: dict[int, tuple[int, int, int]]
    entries: frozenset[int]


def _packets(container: Any, name: str) -> Iterator[Any]:
    """The packets that hold a picture, in order of decoding."""
    with _reading(name):
        for packet in container.demux(container.streams.video[0]):
            if packet.size:
                yield packet


def _list_packets(container: Any, name: str) -> _PacketList:
    rows = [(p.pts, p.dts, p.is_keyframe, p.is_discard) for p in _packets(container, name)]
    if any(pts is None for pts, *_ in rows):
        raise SourceError(
            place=name,
            found="frames without a time",
            wanted="a container that has them (mp4, mov, mkv)",
            next_command="convert with --transcode",
        )
    return _PacketList(
        np.array([pts for pts, *_ in rows], np.int64),
        np.array([pts if dts is None else dts for pts, dts, *_ in rows], np.int64),
        np.array([key for *_, key, _ in rows], np.bool_),
        np.array([hidden for *_, hidden in rows], np.bool_),
    )


def _entries(ticks: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Numbers of the key frames that nothing decoded after them is shown before."""
    earliest_from_here = np.minimum.accumulate(ticks[::-1])[::-1]
    return np.flatnonzero(key & (ticks == earliest_from_here))


def _plan(packets: _PacketList, rows: np.ndarray, fps: float, name: str) -> _RemuxPlan:
    """Decide which packets stay, and their times."""
    order = np.argsort(packets.ticks, kind="stable")
    shown = order[~packets.hidden[order]]
    if not len(rows) or (np.diff(rows) <= 0).any() or rows[0] < 0 or rows[-1] >= len(shown):
        raise SourceError(
            place=name,
            found=f"rows that show frames {rows[:1].tolist()} to {rows[-1:].tolist()}, "
            "or one twice",
            wanted=f"increasing frame numbers below {len(shown)}",
            next_command="convert with --transcode",
        )
    wanted = shown[rows]
    kept = _kept(packets, wanted)
    by_display = order[np.isin(order, kept)]
    places = np.flatnonzero(np.isin(by_display, wanted))
    rate = Fraction(fps).limit_denominator(1001)
    # A frame between two rows needs ticks of its own, well apart from theirs.
    widest = int(np.diff(places).max(initial=1))
    factor = 1
    while rate.denominator * factor < max(_LEAST_STEP_TICKS, 4 * widest):
        factor *= 2
    step, timescale = rate.denominator * factor, rate.numerator * factor
    if timescale >= 1 << 31:
        raise SourceError(place=name, found=f"{fps} frames a second", wanted="a usual rate")
    pts = np.empty(len(packets.ticks), np.int64)
    pts[by_display] = _spread(places, len(by_display), step)
    # Decoding times: the sorted display times, early enough for every B-frame's reference.
    ascending = np.sort(pts[kept])
    dts = ascending - (ascending - pts[kept]).max()
    durations = np.diff(dts, append=dts[0] + step * len(dts))
    return _RemuxPlan(
        timescale,
        {
            int(k): (int(pts[k]), int(at), int(lasts))
            for k, at, lasts in zip(kept, dts, durations, strict=True)
        },
        frozenset(kept[_entries(pts[kept], packets.key[kept])].tolist()),
    )


def _kept(packets: _PacketList, wanted: np.ndarray) -> np.ndarray:
    """Numbers of the packets to copy: from the last key frame that suffices to the last needed."""
    first = 0
    for key in np.flatnonzero(packets.key[: wanted.min() + 1])[::-1]:
        # Frames decoded after a key frame and shown before it may refer to what was before.
        if (packets.ticks[wanted] >= packets.ticks[key]).all():
            first = int(key)
            break
    numbers = np.arange(first, int(wanted.max()) + 1, dtype=np.int64)
    return numbers[packets.ticks[numbers] >= packets.ticks[first]] if first else numbers


def _spread(places: np.ndarray, count: int, step: int) -> np.ndarray:
    """Times in ticks (count,): k * step at `places[k]`, the others evenly in between or outside."""
    numbers = np.arange(count)
    ticks = np.interp(numbers, places, np.arange(len(places)) * step)
    before = np.minimum(numbers - places[0], 0) * step
    after = np.maximum(numbers - places[-1], 0) * step
    return np.floor(ticks).astype(np.int64) + before + after


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
    av = _import_av()
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
        codec: `av1` (libsvtav1) or `h264` (libx264); yuv420p.
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
    taken = _decoded(source, first_frame, frames)
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
    av = _import_av()
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
    """The frame in yuv420p, scaled to (height, width), even."""
    height, width = size or (frame.height, frame.width)
    if height % 2 or width % 2:
        rgb = frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
        padded = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = _import_av().VideoFrame.from_ndarray(padded, format="rgb24")
        height, width = padded.shape[:2]
    return frame.reformat(width, height, "yuv420p", interpolation="AREA")


def _encode(
    frames: Iterable[Any], target: Path, *, fps: float, encoder: str, options: dict[str, str]
) -> None:
    av = _import_av()
    # The AV1 library writes a banner to the process's stderr, which only this variable stops.
    os.environ.setdefault("SVT_LOG", "1")
    rate = Fraction(fps).limit_denominator(1001)
    factor = -(-_LEAST_STEP_TICKS // rate.denominator)
    muxing = {
        "fflags": "+bitexact",
        "video_track_timescale": str(rate.numerator * factor),
    }
    with (
        _fresh_path(target) as partial,
        partial.open("wb") as file,
        _encoding(target.name, f"pictures that {encoder} encodes"),
        av.open(file, "w", format="mp4", options=muxing) as output,
    ):
        stream: Any = None
        for number, frame in enumerate(frames):
            if stream is None:
                stream = output.add_stream(encoder, rate=rate, options=options)
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                stream.codec_context.time_base = 1 / rate
                stream.codec_context.thread_count = 1
            frame.pts, frame.time_base = number, 1 / rate
            frame.pict_type = 0  # the encoder decides, not the source
            output.mux(stream.encode(frame))
        if stream is None:
            raise SourceError(place=target.name, found="no frame", wanted="at least one")
        output.mux(stream.encode())


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
    for frame in _decoded(path, first_frame, frames):
        yield frame.to_ndarray(format="rgb24")


def _decoded(source: VideoSource, first_frame: int, frames: int | None) -> Iterator[Any]:
    name = _name(source)
    with _opened(source) as container:
        start = None
        if first_frame:
            packets = _list_packets(container, name)
            times = np.sort(packets.ticks[~packets.hidden])
            if first_frame >= len(times):
                raise _too_few(name, len(times), first_frame + (frames or 1))
            start = int(times[first_frame])
            _seek(container, packets, start, name)
        found = 0
        for frame in islice(_decode(container, name, start), frames):
            found += 1
            yield frame
        if frames is not None and found < frames:
            raise _too_few(name, first_frame + found, first_frame + frames)


def _seek(container: Any, packets: _PacketList, tick: int, name: str) -> None:
    """Go to the last place where decoding can begin for the frame at `tick`.

    FFmpeg alone would go to a key frame that is shown after the frame, in an open group.
    """
    entries = _entries(packets.ticks, packets.key)
    before = entries[packets.ticks[entries] <= tick]
    entry = int(before[-1]) if len(before) else 0
    with _reading(name):
        container.seek(int(packets.decode_ticks[entry]), stream=container.streams.video[0])


def _decode(container: Any, name: str, start: int | None) -> Iterator[Any]:
    with _reading(name):
        for frame in container.decode(container.streams.video[0]):
            if start is None or frame.pts >= start:
                yield frame


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
    name = _name(path)
    with _opened(path) as container:
        stream = container.streams.video[0]
        packets = _list_packets(container, name)
        ticks = np.sort(packets.ticks[~packets.hidden])
        if numbers is None:
            asked_s = np.asarray(times_s, np.float64)
            wanted = _nearest(ticks * float(stream.time_base), asked_s, tolerance_s, name)
        else:
            wanted = np.asarray(numbers, np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(ticks)):
            raise _too_few(name, len(ticks), int(wanted.max()) + 1)
        found = _decode_at(container, name, np.unique(ticks[wanted]), packets)
    return [found[int(tick)] for tick in ticks[wanted]]


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
    container: Any, name: str, ticks: np.ndarray, packets: _PacketList
) -> dict[int, np.ndarray]:
    """Pictures by time: one pass forward, jumping where decoding can begin nearer to the next."""
    entries = packets.ticks[_entries(packets.ticks, packets.key)]
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


def _import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(
            place="video",
            found="no PyAV",
            wanted="PyAV, to read or write inside video files",
            next_command="pip install 'finedata[video]'",
        ) from error
    return av


def _name(source: VideoSource) -> str:
    return str(source) if isinstance(source, Path) else str(getattr(source, "name", "the video"))


@contextmanager
def _opened(source: VideoSource) -> Generator[Any]:
    """An open container with a video stream."""
    av = _import_av()
    name = _name(source)
    with _reading(name):
        if isinstance(source, Path):
            container = av.open(str(source))
        else:
            source.seek(0)
            container = av.open(source)
    try:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            raise SourceError(place=name, found="no video that is known", wanted="a video file")
        yield container
    finally:
        container.close()


@contextmanager
def _reading(place: Path | str) -> Generator[None]:
    """Turn what reading a source raises into errors that name the source."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.startswith("av."):
            raise CorruptRecordError(
                place=str(place), found=f"{error}", wanted="a video that can be read"
            ) from error
        if isinstance(error, OSError):
            raise SourceError(
                place=str(place), found=f"{error.strerror or error}", wanted="a file to read"
            ) from error
        raise


@contextmanager
def _encoding(place: str, wanted: str) -> Generator[None]:
    """Turn a refusal of the encoder or muxer into an error; the disk's errors pass."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("av.") or isinstance(error, OSError):
            raise
        raise SourceError(place=place, found=f"{error}", wanted=wanted) from error


def _too_few(name: str, found: int, wanted: int) -> SourceError:
    return SourceError(place=name, found=f"{found} frames", wanted=f"at least {wanted}")
