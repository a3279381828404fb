"""What all that read or write video files share: opening, packets, errors.

A video is a path or any seekable file object; opened, it is a PyAV container with the times and
marks of its packets. `video_frames` decodes from there, `remux` copies, `transcode` writes.
Whatever PyAV raises becomes an error of this package that names the file.

PyAV is imported where it is needed (extra `finedata[video]`).
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from finedata.errors import CorruptRecordError, SourceError, need
from finedata.store.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = [
    "LEAST_STEP_TICKS",
    "PacketList",
    "VideoSource",
    "encoder_errors",
    "entry_packets",
    "fresh_path",
    "import_av",
    "iter_packets",
    "list_packets",
    "opened_video",
    "reading_errors",
    "too_few_frames",
    "video_name",
]

VideoSource = Path | BinaryIO

# A frame lasts at least so many ticks of a file's clock: times in between can be told apart.
LEAST_STEP_TICKS = 512


def import_av() -> Any:
    """The module `av`.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    need("av", extra="video", place="video")
    import av

    return av


def video_name(source: VideoSource) -> str:
    """What a video is called in errors."""
    return str(source) if isinstance(source, Path) else str(getattr(source, "name", "the video"))


@contextmanager
def opened_video(source: VideoSource) -> Generator[Any]:
    """An open container with a video stream."""
    av = import_av()
    name = video_name(source)
    with reading_errors(name):
        # titles and names in it are not looked at: bytes there that are no UTF-8 harm nothing
        if isinstance(source, Path):
            container = av.open(str(source), metadata_errors="replace")
        else:
            source.seek(0)
            container = av.open(source, metadata_errors="replace")
    try:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            raise SourceError(place=name, found="no video that is known", wanted="a video file")
        yield container
    finally:
        container.close()


class PacketList(NamedTuple):
    """The packets of a video in order of decoding: times in its ticks (n,), and what they are."""

    ticks: np.ndarray
    decode_ticks: np.ndarray
    key: np.ndarray
    hidden: np.ndarray


def list_packets(container: Any, name: str) -> PacketList:
    """Read the times and marks of all packets, from where the container stands.

    Raises:
        SourceError: A frame has no time.
        CorruptRecordError: The file cannot be parsed.
    """
    rows = [(p.pts, p.dts, p.is_keyframe, p.is_discard) for p in iter_packets(container, name)]
    if any(pts is None for pts, *_ in rows):
        raise SourceError(
            place=name,
            found="frames without a time",
            wanted="a container that has them (mp4, mov, mkv)",
            next_command="convert with --transcode",
        )
    return PacketList(
        np.array([pts for pts, *_ in rows], np.int64),
        np.array([pts if dts is None else dts for pts, dts, *_ in rows], np.int64),
        np.array([key for *_, key, _ in rows], np.bool_),
        np.array([hidden for *_, hidden in rows], np.bool_),
    )


def iter_packets(container: Any, name: str) -> Iterator[Any]:
    """The packets that hold a picture, in order of decoding."""
    with reading_errors(name):
        for packet in container.demux(container.streams.video[0]):
            if packet.size:
                yield packet


def entry_packets(ticks: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Numbers of the key frames that nothing decoded after them is shown before."""
    earliest_from_here = np.minimum.accumulate(ticks[::-1])[::-1]
    return np.flatnonzero(key & (ticks == earliest_from_here))


@contextmanager
def fresh_path(target: Path) -> Generator[Path]:
    """`atomic_path`, with nothing there: what a killed run left may be a link to a source."""
    with atomic_path(target) as partial:
        partial.unlink(missing_ok=True)
        yield partial


@contextmanager
def reading_errors(place: Path | str) -> Generator[None]:
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
def encoder_errors(place: str, wanted: str) -> Generator[None]:
    """Turn a refusal of the encoder or muxer into an error; the disk's errors pass."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("av.") or isinstance(error, OSError):
            raise
        raise SourceError(place=place, found=f"{error}", wanted=wanted) from error


def too_few_frames(name: str, found: int, wanted: int) -> SourceError:
    """The error of a video that ends before the frames that are asked for."""
    return SourceError(place=name, found=f"{found} frames", wanted=f"at least {wanted}")
