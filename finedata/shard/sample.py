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
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]  (it has none)
from PIL import Image

from finedata.errors import ConformError
from finedata.store.episode import is_swapped
from finedata.store.pictures import decode_picture, read_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from finedata.shard.plan import CameraPlan, SetPlan
    from finedata.shard.settings import ShardSettings
    from finedata.store.episode import Episode

__all__ = ["CameraCounts", "PictureCoder", "iter_steps", "npy", "sample_key", "step_meta"]

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

    def stored(self, picture: bytes) -> bytes | None:
        """A stored picture: as it is if it fits, else encoded; None where it does not decode."""
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
            return picture
        pixels = decode_picture(picture)
        if pixels is None:
            return None
        if pixels.ndim == 3 and is_swapped(self.camera.name):
            pixels = pixels[..., ::-1]
        return self.decoded(pixels)

    def decoded(self, pixels: np.ndarray) -> bytes | None:
        """A picture in right colours, (height, width, 3) or, of 16 bits, (height, width)."""
        camera = self.camera
        if (pixels.ndim == 2) != (camera.bits == 16):
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


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(pixels.dtype, copy=False)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def sample_key(episode_id: str, frame: int | None) -> str:
    """A sample's key: digits and lower-case letters, unique over all sets."""
    return episode_id.lower() if frame is None else f"{episode_id.lower()}-{frame:06d}"


def npy(values: np.ndarray) -> bytes:
    """An array as a `.npy` file of version 1.0; only numbers, so never a pickle."""
    values = np.ascontiguousarray(values)
    return _npy_header(values.dtype.str, values.shape) + values.tobytes()


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
    streams = [
        _pictures(episode, camera, settings, chosen, whole=frames is None, counts=counts)
        for camera in plan.cameras
    ]
    numbers = _Numbers(episode, plan, settings)
    for frame in chosen:
        pictures = tuple(next(stream) for stream in streams)
        if settings.thin:
            yield frame, pictures
            continue
        texts = tuple((words or {})[name][frame] for name in plan.baked)
        yield frame, (*pictures, *numbers.members(frame), *texts)


def _pictures(
    episode: Episode,
    camera: CameraPlan,
    settings: ShardSettings,
    frames: Sequence[int] | range,
    *,
    whole: bool,
    counts: Mapping[str, CameraCounts] | None,
) -> Iterator[bytes]:
    coder = PictureCoder(camera, settings.quality)
    if counts is not None:
        coder.counts = counts[camera.name]
    if camera.video:
        found: Iterator[bytes | None] = (
            None if frame is None else coder.decoded(frame)
            for frame in episode.iter_frames(camera.name, frames)
        )
    elif whole:
        found = (
            coder.stored(slab.pictures[camera.name][frame - slab.frames.start])
            for slab in episode.slabs(columns=(), cameras=[camera.name])
            for frame in slab.frames
            if frame % settings.every == 0
        )
    else:
        found = (coder.stored(picture) for picture in episode.stored(camera.name, frames))
    for frame, picture in zip(frames, found, strict=True):
        if picture is None:
            raise ConformError(
                place=f"frame {frame} of camera {camera.name} of episode {episode.episode_id}",
                found="a picture that does not decode, or no depth where depth should be",
                wanted="a JPEG or PNG, as all of the camera",
                next_command=f"--where \"episode_id <> '{episode.episode_id}'\" leaves it out",
            )
        yield picture


class _Numbers:
    """State, action chunk and meta.json of an episode's frames."""

    def __init__(self, episode: Episode, plan: SetPlan, settings: ShardSettings) -> None:
        self._horizon = settings.horizon
        self._length = len(episode)
        self._fps = episode.fps
        self._columns: dict[str, np.ndarray] = {}
        self._valid = np.ones(self._length, np.bool_)
        if settings.thin:
            return
        names = [_FEATURE_OF[name] for name in plan.numbers]
        asked = [*names, "action_valid"] if "action" in names else names
        rows = episode.rows(asked) if asked else {}
        self._columns = {
            name: np.atleast_2d(rows[_FEATURE_OF[name]].T).T.astype("<f4", copy=False)
            for name in plan.numbers
        }
        self._valid = rows.get("action_valid", self._valid)
        self._meta = step_meta(episode, plan)

    def members(self, frame: int) -> Iterator[bytes]:
        """The bytes of state, action and meta.json, of those that the set has."""
        last = self._length - 1
        for name, values in self._columns.items():
            if name == "action":
                chunk = np.minimum(np.arange(frame, frame + self._horizon), last)
                yield npy(values[chunk])
            else:
                yield npy(values[frame])
        valid = self._valid[frame : frame + self._horizon]
        meta: dict[str, Any] = {
            **self._meta,
            "frame_index": frame,
            "time_s": frame / self._fps,
            "valid_steps": len(valid) if valid.all() else int(valid.argmin()),
        }
        yield msgspec.json.encode(meta)


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
