"""The pictures of one camera in one episode: checked by their headers, passed on byte for byte.

Slices of the source's bytes come in; the joined bytes that are written, what is wrong with
them, and a few decoded samples for statistics go out. A camera that was not there is an
all-black picture: the source's own, or ours where the source has none (LeRobot cannot read a
missing picture).

Headers are compared all at once: an encoder writes the same header for every picture of a
camera, so one picture's header is parsed and the others are matched against it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.store.lerobot.layout import picture_column
from finedata.store.lerobot.stats import picture_stats, sample_frames
from finedata.store.pictures import (
    black_jpeg,
    decode_rgb,
    largest_black_picture_bytes,
    read_header,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.readers.episode import RawEpisode
    from finedata.readers.example import BytesSlices
    from finedata.schema.converter import CameraSpec
    from finedata.store.lerobot.layout import Feature
    from finedata.store.lerobot.stats import FeatureStats

__all__ = ["CameraPictures", "examine_cameras", "examine_pictures"]

# LeRobot's statistics need a sample: this many pictures of each camera and episode.
SAMPLED_FRAMES = 4
# Brightest value of an all-black picture: a JPEG of low quality rounds its zeros up to this.
_BLACK_LEVEL = 4
# Bytes of a JPEG's frame header: marker, length, precision, height, width, components.
_FRAME_HEADER_BYTES = 10


@dataclass(frozen=True, slots=True)
class CameraPictures:
    """What becomes of one camera's pictures in one episode.

    Attributes:
        data: All pictures as written, joined.
        lengths: Bytes of each, int64 (T,).
        sha256: Hex digest of `data`.
        placeholder_count: How many are all black.
        undecodable_count: How many are no whole JPEG or PNG, or failed to decode.
        other_size_count: How many have another size than declared.
        codec: `jpeg`, `png`, or `mixed`.
        verbatim: Whether `data` is all of the source's pictures of this camera, as they are.
        stats: LeRobot's statistics over a sample; `None` where not asked for, or all black.
    """

    data: bytes
    lengths: np.ndarray
    sha256: str
    placeholder_count: int
    undecodable_count: int
    other_size_count: int
    codec: str
    verbatim: bool
    stats: FeatureStats | None

    @property
    def missing(self) -> bool:
        """Whether the camera was not there: every picture is all black."""
        return self.placeholder_count == len(self.lengths)


def examine_cameras(
    raw: RawEpisode,
    cameras: tuple[CameraSpec, ...],
    features: Mapping[str, Feature],
    *,
    frames: int,
    with_stats: bool,
) -> dict[str, CameraPictures]:
    """Check and join the pictures of every camera of an episode.

    Args:
        raw: The episode.
        cameras: Those that the output has.
        features: The output's columns, which declare each camera's picture shape.
        frames: How many pictures to keep, from the first.
        with_stats: Whether to decode a sample for statistics.

    Returns:
        Camera name to its pictures, in the order of `cameras`.
    """
    return {
        camera.name: examine_pictures(
            raw.pictures(camera.feature) if raw.has(camera.feature) else None,
            frames=frames,
            shape=features[picture_column(camera.name)].shape,
            with_stats=with_stats,
        )
        for camera in cameras
    }


def examine_pictures(
    pictures: BytesSlices | None,
    *,
    frames: int,
    shape: tuple[int, ...],
    with_stats: bool,
) -> CameraPictures:
    """Check and join the pictures of one camera.

    Args:
        pictures: The source's pictures; `None` where the episode lacks the camera.
        frames: How many to keep, from the first.
        shape: Declared (height, width, channels).
        with_stats: Whether to decode a sample for statistics.
    """
    height, width = shape[0], shape[1]
    if pictures is None:
        return _absent(height, width, frames)
    values = pictures.head(frames)
    lengths = values.lengths
    bad, other_size, codec = _check_headers(values, shape)
    black = _find_black(values, height, width, bad)
    data = values.joined(instead_of_empty=black_jpeg(height, width))
    stats = None
    if with_stats and not black.all():
        samples, failed = _decode_samples(values, bad)
        bad |= failed
        stats = picture_stats(samples)
    return CameraPictures(
        data=data,
        lengths=np.where(lengths == 0, len(black_jpeg(height, width)), lengths),
        sha256=hashlib.sha256(data).hexdigest(),
        placeholder_count=int(black.sum()),
        undecodable_count=int(bad.sum()),
        other_size_count=other_size,
        codec=codec,
        verbatim=frames == len(pictures) and bool(lengths.all()),
        stats=stats,
    )


def _absent(height: int, width: int, frames: int) -> CameraPictures:
    black = black_jpeg(height, width)
    data = black * frames
    return CameraPictures(
        data=data,
        lengths=np.full(frames, len(black), np.int64),
        sha256=hashlib.sha256(data).hexdigest(),
        placeholder_count=frames,
        undecodable_count=0,
        other_size_count=0,
        codec="jpeg",
        verbatim=False,
        stats=None,
    )


def _check_headers(values: BytesSlices, shape: tuple[int, ...]) -> tuple[np.ndarray, int, str]:
    """(which pictures are no whole JPEG or PNG, how many have another size, codec)."""
    like_first, first = _alike(values)
    bad = np.zeros(len(values), np.bool_)
    other_size = 0
    codecs: set[str] = set()
    if first is not None:
        codecs.add("jpeg")
        other_size += int(like_first.sum()) if first != shape else 0
    for index in np.flatnonzero(~like_first):
        header = read_header(values[int(index)])
        if header is None:
            bad[index] = True
        else:
            codecs.add(header.codec)
            other_size += header.shape != shape
    return bad, other_size, codecs.pop() if len(codecs) == 1 else "mixed" if codecs else "none"


def _alike(values: BytesSlices) -> tuple[np.ndarray, tuple[int, int, int] | None]:
    """Which pictures are whole JPEGs with the first one's frame header, and its size."""
    nothing = np.zeros(len(values), np.bool_)
    first = values[0]
    header = read_header(first)
    if header is None or header.codec != "jpeg":
        return nothing, None
    pattern = np.frombuffer(first, np.uint8)
    frame = _frame_header_offset(first)
    if frame is None:
        return nothing, None
    data = np.frombuffer(values.buffer, np.uint8)
    long_enough = values.lengths >= frame + _FRAME_HEADER_BYTES + 2
    starts = np.where(long_enough, values.offsets, values.offsets[0])
    ends = np.where(long_enough, values.offsets + values.lengths, values.offsets[0] + len(first))
    head = data[starts[:, None] + np.arange(3)] == np.array([0xFF, 0xD8, 0xFF])
    span = np.arange(frame, frame + _FRAME_HEADER_BYTES)
    same = data[starts[:, None] + span] == pattern[span]
    tail = data[ends[:, None] - np.array([2, 1])] == np.array([0xFF, 0xD9])
    alike = long_enough & head.all(axis=1) & same.all(axis=1) & tail.all(axis=1)
    return alike, header.shape


def _frame_header_offset(jpeg: bytes) -> int | None:
    """Where a JPEG's start-of-frame marker is: after whole segments only."""
    position = 2
    while position + 4 <= len(jpeg) and jpeg[position] == 0xFF:
        if jpeg[position + 1] in (0xC0, 0xC1, 0xC2):
            return position
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    return None


def _find_black(values: BytesSlices, height: int, width: int, bad: np.ndarray) -> np.ndarray:
    """Which pictures are all black; an empty one will be. Only small ones are looked at."""
    black = values.lengths == 0
    small = (values.lengths <= largest_black_picture_bytes(height, width)) & ~bad & ~black
    verdicts: dict[bytes, bool] = {}
    for index in np.flatnonzero(small):
        picture = values[int(index)]
        if picture not in verdicts:
            pixels = decode_rgb(picture)
            verdicts[picture] = pixels is not None and int(pixels.max()) <= _BLACK_LEVEL
        black[index] = verdicts[picture]
    return black


def _decode_samples(values: BytesSlices, bad: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Decode the frames that stand for the episode; and which of them failed to."""
    failed = np.zeros(len(values), np.bool_)
    samples: list[np.ndarray] = []
    for index in sample_frames(len(values), most=SAMPLED_FRAMES):
        if bad[index]:
            continue
        pixels = decode_rgb(values[index])
        if pixels is None:
            failed[index] = True
        else:
            samples.append(pixels)
    return samples, failed
