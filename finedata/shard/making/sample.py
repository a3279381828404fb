"""The members of one sample: pictures as they are wherever they fit, numbers, and a flat meta.json.

A picture stays the source's bytes if it is a JPEG of the wanted size with right colours. Anything
else is decoded, scaled and encoded (JPEG, 4:2:0): another size, another codec, exchanged colours,
a frame of a video. Depth, and whatever has 16 bits, is PNG and loses nothing: a mean of two depths
is a place where nothing is, so those take the nearest pixel. How much an encoded picture lost is
measured on the first of every camera and episode, as whole numbers that add up in any order.

`meta.json` has the same keys and types in every sample, no null and no list: loaders fix a schema
by the first few samples.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]  (it has none)
from PIL import Image

from finedata.errors import ConformError
from finedata.shard.depth import depth_model
from finedata.store.episode import is_swapped
from finedata.store.pictures import decode_picture, jpeg_frame_offset, read_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from finedata.shard.making.plan import CameraPlan, SetPlan
    from finedata.shard.making.settings import ShardSettings
    from finedata.store.deep import DepthScale
    from finedata.store.episode import Episode

_JPEG_END = b"\xff\xd9"
# Members of numbers are made for so many frames at once: one call of NumPy for each would cost more
# than writing them, and those of a long episode at once would fill memory.
_FRAMES_AT_ONCE = 256
_FEATURE_OF = {"state": "observation.state", "action": "action"}


class CameraCounts(msgspec.Struct):
    """How a camera's pictures came into the tars; adds up in any order.

    Attributes:
        untouched: Pictures that are the source's bytes.
        encoded: Pictures that were decoded and encoded.
        squared_error: Of the compared ones, summed over their numbers (0 to 255).
        compared: How many numbers were compared.
    """

    untouched: int = 0
    encoded: int = 0
    squared_error: int = 0
    compared: int = 0

    def add(self, other: CameraCounts) -> None:
        """Count the other's too."""
        self.untouched += other.untouched
        self.encoded += other.encoded
        self.squared_error += other.squared_error
        self.compared += other.compared

    @property
    def psnr_db(self) -> float | None:
        """Peak signal to noise of the compared ones in dB; None where none was, or none lost."""
        if not self.squared_error:
            return None
        return round(10 * float(np.log10(255.0**2 * self.compared / self.squared_error)), 2)


@dataclass(slots=True)
class PictureCoder:
    """Brings the pictures of one camera into the form of its set."""

    camera: CameraPlan
    quality: int
    counts: CameraCounts = field(default_factory=CameraCounts)
    measure: bool = True
    scale: DepthScale | None = None
    _known: bytes | None = None

    def stored(self, picture: bytes) -> bytes | None:
        """A stored picture: as it is if it fits, else encoded; None where it does not decode."""
        known = self._known
        if known is not None and picture.startswith(known) and picture.endswith(_JPEG_END):
            self.counts.untouched += 1
            return picture
        header = read_header(picture)
        if header is None:
            return None
        fits = (header.codec, header.height, header.width) == (
            self.camera.codec,
            self.camera.height,
            self.camera.width,
        )
        deep = header.codec == "png" and picture[24] == 16
        if fits and deep == (self.camera.bits == 16) and not is_swapped(self.camera.name):
            self.counts.untouched += 1
            if header.codec == "jpeg":
                # Pictures of a camera mostly begin alike, up to the frame header (its ten bytes
                # give the size), and are read as quickly as they are compared.
                self._known = picture[: (jpeg_frame_offset(picture) or 0) + 10]
            return picture
        pixels = decode_picture(picture)
        if pixels is not None and pixels.ndim == 2 and self.scale is not None:
            pixels = self.scale.millimetres(pixels)
        if pixels is not None and pixels.ndim == 3 and is_swapped(self.camera.name):
            pixels = pixels[..., ::-1]
        return self.decoded(pixels)

    def decoded(self, pixels: np.ndarray | None) -> bytes | None:
        """A picture in right colours, (height, width, 3) or, of 16 bits, (height, width)."""
        if pixels is None:
            return None
        camera = self.camera
        if (pixels.ndim == 2) != (camera.bits == 16) or pixels.dtype == np.float32:
            # A camera of depth that is absent in an episode has black pictures of 8 bits.
            if pixels.any():
                return None
            shape = pixels.shape[:2] if camera.bits == 16 else (*pixels.shape[:2], 3)
            pixels = np.zeros(shape, np.uint16 if camera.bits == 16 else np.uint8)
        if pixels.shape[:2] != (camera.height, camera.width):
            kernel = Image.Resampling.NEAREST if camera.codec == "png" else Image.Resampling.LANCZOS
            size = (camera.width, camera.height)
            pixels = np.asarray(Image.fromarray(pixels).resize(size, kernel))
        self.counts.encoded += 1
        if camera.codec == "png":
            return _png(pixels)
        encoded = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels), quality=self.quality, colorsubsampling="420"
        )
        if self.measure:
            self.measure = False
            shown = simplejpeg.decode_jpeg(encoded, colorspace="RGB").astype(np.int64)
            self.counts.squared_error += int(np.square(shown - pixels).sum())
            self.counts.compared += int(shown.size)
        return encoded


def _png(pixels: np.ndarray, *, level: int = 1) -> bytes:
    buffer = io.BytesIO()
    whole = pixels.astype(pixels.dtype, copy=False)
    Image.fromarray(whole).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def sample_key(episode_id: str, frame: int | None) -> str:
    """A sample's key: digits and lower-case letters, unique over all sets."""
    return episode_id.lower() if frame is None else f"{episode_id.lower()}-{frame:06d}"


def npy(values: np.ndarray) -> bytes:
    """An array as a `.npy` file of version 1.0; only numbers, so never a pickle."""
    values = np.ascontiguousarray(values)
    return _npy_header(values.dtype.str, values.shape) + values.tobytes()


def npy_rows(values: np.ndarray) -> list[bytes]:
    """Each of N arrays, (N, n, ...), as `npy` gives it."""
    values = np.ascontiguousarray(values)
    header = np.frombuffer(_npy_header(values.dtype.str, values.shape[1:]), np.uint8)
    content = values.reshape(len(values), -1).view(np.uint8)
    files = np.empty((len(values), len(header) + content.shape[1]), np.uint8)
    files[:, : len(header)] = header
    files[:, len(header) :] = content
    size, joined = files.shape[1], files.tobytes()
    return [joined[at : at + size] for at in range(0, len(joined), size)]


_headers: dict[tuple[str, tuple[int, ...]], bytes] = {}


def _npy_header(kind: str, shape: tuple[int, ...]) -> bytes:
    # NumPy takes as long for a header as the disk for a picture, and a set has very few.
    known = _headers.get((kind, shape))
    if known is None:
        buffer = io.BytesIO()
        head = {"descr": kind, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(buffer, head)
        if len(_headers) > 4096:
            _headers.clear()
        known = _headers[kind, shape] = buffer.getvalue()
    return known


def iter_steps(
    episode: Episode,
    plan: SetPlan,
    settings: ShardSettings,
    *,
    frames: Sequence[int] | range | None = None,
    words: Mapping[str, Sequence[bytes]] | None = None,
    counts: Mapping[str, CameraCounts] | None = None,
) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    """The samples of an episode in order: frame, and the bytes of each member.

    Pictures are read a slab at a time and videos decoded in sequence, so memory stays flat.

    Args:
        episode: The episode.
        plan: Its set.
        settings: What was asked for.
        frames: Which frames, ascending; all that become samples by default.
        words: Baked word -> a text for each frame of the episode.
        counts: Camera -> where its pictures are counted.

    Raises:
        ConformError: A picture does not decode, or a file of the dataset is damaged.
    """
    chosen = range(0, len(episode), settings.every) if frames is None else frames
    found = _pictures(episode, plan, settings, frames, counts)
    if settings.thin:
        yield from zip(chosen, found, strict=True)
        return
    baked = [(words or {})[name] for name in plan.baked]
    numbers = _numbers(episode, plan, settings, np.asarray(chosen, np.int64))
    for frame, pictures, members in zip(chosen, found, numbers, strict=True):
        yield frame, (*pictures, *members, *(texts[frame] for texts in baked))


def _pictures(
    episode: Episode,
    plan: SetPlan,
    settings: ShardSettings,
    frames: Sequence[int] | range | None,
    counts: Mapping[str, CameraCounts] | None,
) -> Iterator[tuple[bytes, ...]]:
    """The pictures of all cameras, frame by frame; of all that become samples by default."""
    recorded = [camera for camera in plan.cameras if not camera.depth_of]
    coders = {
        camera.name: PictureCoder(camera, settings.quality, scale=episode.depth_scale(camera.name))
        for camera in recorded
    }
    if counts is not None:
        for name, coder in coders.items():
            coder.counts = counts[name]
    depth = [
        _Depth(camera, list(coders).index(camera.depth_of), episode, settings, counts)
        for camera in plan.cameras
        if camera.depth_of
    ]
    every = settings.every
    videos = {
        camera.name: map(
            coders[camera.name].decoded,
            _in_millimetres(
                episode,
                camera.name,
                range(0, len(episode), every) if frames is None else frames,
            ),
        )
        for camera in recorded
        if camera.video
    }
    stored = [name for name in coders if name not in videos]
    if not coders:
        yield from (() for _ in (range(0, len(episode), every) if frames is None else frames))
        return
    # Some frames, and the stored pictures of them.
    pieces: Iterable[tuple[Sequence[int], dict[str, list[bytes]]]]
    if frames is None:
        pieces = (
            (
                slab.frames[first::every],
                {name: slab.pictures[name][first::every] for name in stored},
            )
            for slab in episode.slabs(columns=(), cameras=stored)
            for first in (-slab.frames.start % every,)
        )
    else:
        pieces = [(frames, {name: episode.stored(name, frames) for name in stored})]
    for numbers, pictures in pieces:
        columns = [
            islice(videos[name], len(numbers)) if name in videos
            else map(coder.stored, pictures[name])
            for name, coder in coders.items()
        ]  # fmt: skip
        for frame, row in zip(numbers, zip(*columns, strict=True), strict=True):
            if None in row:
                raise _bad_picture(episode, list(coders)[row.index(None)], frame)
            whole = cast("tuple[bytes, ...]", row)
            yield (*whole, *(one.of(whole) for one in depth))


def _in_millimetres(
    episode: Episode, camera: str, frames: Sequence[int] | range
) -> Iterator[np.ndarray | None]:
    """The frames of a video; of one whose codes are said to be depth, millimetres."""
    scale = episode.depth_scale(camera)
    found = episode.iter_frames(camera, frames)
    if scale is None:
        return found
    return (one if one is None or one.ndim == 3 else scale.millimetres(one) for one in found)


class _Depth:
    """Estimates the depth of a camera of an episode, from its very members of the tar.

    So a depth is that of the picture which a policy sees, and can be had again from the tar alone.
    Where the episode lacks the camera its depth is 0 everywhere, which is none.
    """

    def __init__(
        self,
        camera: CameraPlan,
        at: int,
        episode: Episode,
        settings: ShardSettings,
        counts: Mapping[str, CameraCounts] | None,
    ) -> None:
        self._camera, self._at, self._place = camera, at, settings.depth
        self._there = camera.depth_of not in episode.row["cameras_missing"]
        self._counts = CameraCounts() if counts is None else counts[camera.name]

    def of(self, members: tuple[bytes, ...]) -> bytes:
        """The member of depth beside a sample's members of cameras."""
        self._counts.encoded += 1
        if not self._there:
            return _png(np.zeros((self._camera.height, self._camera.width), np.uint16), level=6)
        picture = simplejpeg.decode_jpeg(members[self._at], colorspace="RGB")
        return _png(depth_model(self._place).millimetres(picture), level=6)


def _bad_picture(episode: Episode, camera: str, frame: int) -> ConformError:
    return ConformError(
        place=f"frame {frame} of camera {camera} of episode {episode.episode_id}",
        found="a picture that does not decode, or no depth where depth should be",
        wanted="a JPEG or PNG, as all of the camera",
        next_command=f"--where \"episode_id <> '{episode.episode_id}'\" leaves it out",
    )


def _numbers(
    episode: Episode, plan: SetPlan, settings: ShardSettings, frames: np.ndarray
) -> Iterator[tuple[bytes, ...]]:
    """State, action chunk and meta.json of frames (those of them that the set has), in order."""
    names = [_FEATURE_OF[name] for name in plan.numbers]
    rows = episode.rows([*names, *(["action_valid"] if "action" in names else [])]) if names else {}
    columns = {
        name: np.atleast_2d(rows[_FEATURE_OF[name]].T).T.astype("<f4", copy=False)
        for name in plan.numbers
    }
    last = len(episode) - 1
    # Of each frame, the first one from it on whose action is a repetition.
    ends = np.full(len(episode), len(episode))
    if "action_valid" in rows:
        ends = np.where(rows["action_valid"], ends, np.arange(len(episode)))
        ends = np.minimum.accumulate(ends[::-1])[::-1]
    head = msgspec.json.encode(step_meta(episode, plan))[:-1] + b","
    for begin in range(0, len(frames), _FRAMES_AT_ONCE):
        some = frames[begin : begin + _FRAMES_AT_ONCE]
        steps = np.minimum(some[:, None] + np.arange(settings.horizon), last)
        arrays = [
            npy_rows(values[steps] if name == "action" else values[some])
            for name, values in columns.items()
        ]
        valid = np.minimum(ends[some] - some, settings.horizon)
        metas = [
            head + msgspec.json.encode(_StepMeta(frame, frame / episode.fps, steps))[1:]
            for frame, steps in zip(some.tolist(), valid.tolist(), strict=True)
        ]
        yield from zip(*arrays, metas, strict=True)


class _StepMeta(msgspec.Struct, frozen=True):
    """What meta.json says of a frame, behind what it says of the episode."""

    frame_index: int
    time_s: float
    valid_steps: int


def step_meta(episode: Episode, plan: SetPlan) -> dict[str, Any]:
    """What meta.json says of the episode: texts and numbers, "" where there is nothing."""
    return {
        "episode_id": episode.episode_id,
        "source": plan.source,
        "part": plan.part,
        "embodiment": plan.embodiment,
        "licence": episode.row["licence"],
        "instruction": episode.task,
        "fps": float(episode.fps),
        "length": len(episode),
    }
