"""Which pictures of a camera are sound, and how each is written: nearly always byte for byte.

Pictures pass in slabs, so that a long episode never lies in memory whole; statistics are taken of
a few decoded samples. A camera that was not there is an all-black picture: the source's own, or
ours where the source has none (LeRobot cannot read a missing picture). Only three things are ever
rewritten: an uncompressed frame becomes a PNG of the same pixels, and, when asked, exchanged
colours are put right or the size is changed.

Headers are compared all at once: an encoder writes the same header for every picture of a
camera, so one picture's header is parsed and the others are matched against it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import SourceError
from finedata.readers.byte_slices import BytesSlices
from finedata.store.lerobot.stats import picture_stats, sample_frames
from finedata.store.pictures import (
    black_jpeg,
    decode_picture,
    decode_rgb,
    jpeg_frame_offset,
    largest_black_picture_bytes,
    read_header,
)
from finedata.store.pixels import guess_raw_shape, raw_to_png, resize_picture, swap_red_blue

if TYPE_CHECKING:
    from finedata.convert.context import ConvertOptions
    from finedata.convert.planning.layout import CameraLayout
    from finedata.readers.episode import PictureList
    from finedata.store.lerobot.stats import FeatureStats

# LeRobot's statistics need a sample: this many pictures of each camera and episode.
SAMPLED_FRAMES = 4
# Brightest value of an all-black picture: a JPEG of low quality rounds its zeros up to this.
_BLACK_LEVEL = 4
# Bytes of a JPEG's frame header: marker, length, precision, height, width, components.
_FRAME_HEADER_BYTES = 10
# About what a slab of all cameras together may take.
_SLAB_BYTES = 16 << 20
_LEAST_ROWS = 16
# No camera's uncompressed frame is smaller than this.
_LEAST_RAW_BYTES = 1 << 10


@dataclass(frozen=True, slots=True)
class CameraPictures:
    """What became of one camera's pictures in one episode.

    Attributes:
        lengths: Bytes of each picture as written, int64 (T,).
        sha256: Hex digest of the pictures as written, joined.
        placeholder_count: How many are all black.
        undecodable_count: How many are no whole JPEG or PNG, or failed to decode.
        other_size_count: How many have another size than declared.
        raw_count: How many were uncompressed.
        codec: `jpeg`, `png`, `mixed` or `none`.
        verbatim: Whether these are all of the source's pictures of this camera, as they are.
        stats: LeRobot's statistics over a sample; `None` where not asked for, or all black.
        data: The pictures as written, joined; only from `examine_pictures`.
    """

    lengths: np.ndarray
    sha256: str
    placeholder_count: int
    undecodable_count: int
    other_size_count: int
    raw_count: int
    codec: str
    verbatim: bool
    stats: FeatureStats | None
    data: bytes = b""

    @property
    def missing(self) -> bool:
        """Whether the camera was not there: every picture is all black."""
        return self.placeholder_count == len(self.lengths)


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What may be done to a camera's pixels.

    Attributes:
        raw_swapped: Whether uncompressed frames have the other order than the stored pictures.
        swap: Whether red and blue are exchanged in every picture.
        size: (height, width) to bring every picture to; `None` keeps it.
    """

    raw_swapped: bool = False
    swap: bool = False
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, camera: CameraLayout, options: ConvertOptions) -> Rewriting:
        """What the options ask for."""
        return cls(
            raw_swapped=camera.raw_order != camera.channel_order,
            swap=camera.channel_order == "bgr" and options.fix_colour,
            size=options.resize,
        )


def rows_per_slab(first_bytes: int) -> int:
    """How many rows a slab has where the first row's pictures take so many bytes."""
    return max(_LEAST_ROWS, _SLAB_BYTES // max(first_bytes, 1))


@dataclass(slots=True)
class CameraScan:
    """One camera's pictures, slab after slab.

    Args:
        frames: How many there are.
        shape: (height, width, channels) of the source's pictures where declared; else of the
            first whole one.
        with_stats: Whether to decode a sample for statistics.
        rewriting: What may be done to the pixels.
        absent: Whether the episode lacks the camera: then no picture can be damaged.
    """

    frames: int
    shape: tuple[int, ...]
    with_stats: bool
    rewriting: Rewriting = field(default_factory=Rewriting)
    absent: bool = False
    _samples: list[np.ndarray] = field(default_factory=list[np.ndarray])
    _lengths: list[np.ndarray] = field(default_factory=list[np.ndarray])
    _codecs: set[str] = field(default_factory=set[str])
    _black: int = 0
    _bad: int = 0
    _other_size: int = 0
    _raw: int = 0
    _row: int = 0
    _changed: bool = False
    _empty: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def take(self, pictures: PictureList) -> tuple[bytes, np.ndarray]:
        """Check the next pictures.

        Returns:
            The bytes to write, joined, and the length of each.
        """
        values = pictures.in_memory()
        self._empty += int((values.lengths == 0).sum())
        values, raw = self._without_raw(values)
        bad, other_size, codecs = _check_headers(values, self.shape)
        black = _find_black(values, self.shape[0], self.shape[1], bad)
        if self.absent:
            bad[:] = False
        elif self.with_stats:
            bad |= self._sample(values, bad)
        self._black += int(black.sum())
        self._bad += int(bad.sum())
        self._other_size += other_size
        self._raw += raw
        self._codecs |= codecs | ({"jpeg"} if not values.lengths.all() else set[str]())
        self._row += len(values)
        data, lengths = self._rewritten(values, bad)
        self._digest.update(data)
        self._lengths.append(lengths)
        return data, lengths

    def result(self, *, verbatim: bool, data: bytes = b"") -> CameraPictures:
        """What became of them all.

        Args:
            verbatim: Whether these were all pictures of the source and none was rewritten.
            data: The pictures as written, for callers that keep them.
        """
        lengths = np.concatenate(self._lengths) if self._lengths else np.zeros(0, np.int64)
        missing = self._black == len(lengths)
        return CameraPictures(
            lengths=lengths,
            sha256=self._digest.hexdigest(),
            placeholder_count=self._black,
            undecodable_count=self._bad,
            other_size_count=self._other_size,
            raw_count=self._raw,
            codec=_codec(self._codecs),
            verbatim=verbatim and not self._changed and not self._empty,
            stats=None if missing or not self.with_stats else picture_stats(self._samples),
            data=data,
        )

    def _without_raw(self, values: BytesSlices) -> tuple[BytesSlices, int]:
        """Uncompressed frames as PNG, and how many there were."""
        size = int(np.prod(self.shape))
        candidates = [
            int(index)
            for index in np.flatnonzero(values.lengths >= min(size, _LEAST_RAW_BYTES))
            if self._raw_shape(values, int(index)) is not None
        ]
        if not candidates:
            return values, 0
        pictures = [values[index] for index in range(len(values))]
        for index in candidates:
            height, width = self._raw_shape(values, index) or (0, 0)
            order = "bgr" if self.rewriting.raw_swapped else "rgb"
            pictures[index] = raw_to_png(pictures[index], height=height, width=width, order=order)
        self._changed = True
        return _joined(pictures), len(candidates)

    def _raw_shape(self, values: BytesSlices, index: int) -> tuple[int, int] | None:
        """The size of an uncompressed frame; `None` for an encoded picture."""
        length = int(values.lengths[index])
        height, width, channels = self.shape
        known = (height, width) if length == height * width * channels else None
        shape = known or guess_raw_shape(length)
        if shape is None:
            return None
        start = values.slab(index, index + 1)
        magic = start.buffer[int(start.offsets[0]) : int(start.offsets[0]) + 8]
        encoded = magic[:3] == b"\xff\xd8\xff" or magic == b"\x89PNG\r\n\x1a\n"
        return None if encoded else shape

    def _sample(self, values: BytesSlices, bad: np.ndarray) -> np.ndarray:
        """Decode the frames that stand for the episode; which of them failed to."""
        failed = np.zeros(len(values), np.bool_)
        for frame in sample_frames(self.frames, most=SAMPLED_FRAMES):
            index = frame - self._row
            if not 0 <= index < len(values) or bad[index]:
                continue
            pixels = decode_picture(values[index])
            if pixels is None:
                failed[index] = True
            else:
                swap = self.rewriting.swap and pixels.ndim == 3
                self._samples.append(pixels[..., ::-1] if swap else pixels)
        return failed

    def _rewritten(self, values: BytesSlices, bad: np.ndarray) -> tuple[bytes, np.ndarray]:
        """The bytes to write, joined, and the length of each."""
        height, width = self.rewriting.size or self.shape[:2]
        black = black_jpeg(height, width)
        lengths = np.where(values.lengths == 0, len(black), values.lengths)
        if not self.rewriting.swap and self.rewriting.size is None:
            return values.joined(instead_of_empty=black), lengths
        self._changed = True
        pictures: list[bytes] = []
        for index in range(len(values)):
            picture = values[index] or black
            if not bad[index] and values.lengths[index]:
                try:
                    picture = self._rewrite(picture)
                except SourceError:
                    self._bad += 1  # its header was whole; it stays as it is
            pictures.append(picture)
        return b"".join(pictures), np.array([len(one) for one in pictures], np.int64)

    def _rewrite(self, picture: bytes) -> bytes:
        if self.rewriting.swap:
            picture = swap_red_blue(picture)
        if self.rewriting.size is not None:
            height, width = self.rewriting.size
            picture = resize_picture(picture, height=height, width=width)
        return picture


def examine_pictures(
    pictures: PictureList | None,
    *,
    frames: int,
    shape: tuple[int, ...],
    with_stats: bool,
    rewriting: Rewriting | None = None,
) -> CameraPictures:
    """Check one camera's pictures, all at once.

    Args:
        pictures: The source's pictures; `None` where the episode lacks the camera.
        frames: How many to keep, from the first.
        shape: Declared (height, width, channels).
        with_stats: Whether to decode a sample for statistics.
        rewriting: What may be done to the pixels.
    """
    scan = CameraScan(frames, shape, with_stats, rewriting or Rewriting(), absent=pictures is None)
    values = _absent(frames) if pictures is None else pictures.slab(0, frames)
    data, _ = scan.take(values)
    whole = pictures is not None and frames == len(pictures)
    return scan.result(verbatim=whole, data=data)


def absent_pictures(frames: int) -> PictureList:
    """What stands for the pictures of a camera that the episode lacks."""
    return _absent(frames)


def _absent(frames: int) -> BytesSlices:
    return BytesSlices(b"", np.zeros(frames, np.int64), np.zeros(frames, np.int64))


def _joined(pictures: list[bytes]) -> BytesSlices:
    lengths = np.array([len(picture) for picture in pictures], np.int64)
    return BytesSlices(b"".join(pictures), np.cumsum(lengths) - lengths, lengths)


def _codec(codecs: set[str]) -> str:
    if not codecs:
        return "none"
    return next(iter(codecs)) if len(codecs) == 1 else "mixed"


def _check_headers(values: BytesSlices, shape: tuple[int, ...]) -> tuple[np.ndarray, int, set[str]]:
    """(which pictures are no whole JPEG or PNG, how many have another size, codecs)."""
    bad = np.zeros(len(values), np.bool_)
    other_size = 0
    codecs: set[str] = set()
    if not len(values):
        return bad, other_size, codecs
    like_first, first = _alike(values)
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
    return bad, other_size, codecs


def _alike(values: BytesSlices) -> tuple[np.ndarray, tuple[int, int, int] | None]:
    """Which pictures are whole JPEGs with the first one's frame header, and its size."""
    nothing = np.zeros(len(values), np.bool_)
    first = values[0]
    header = read_header(first)
    if header is None or header.codec != "jpeg":
        return nothing, None
    pattern = np.frombuffer(first, np.uint8)
    frame = jpeg_frame_offset(first)
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
