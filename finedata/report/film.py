"""Film strips: which few pictures of one camera show an episode, evenly in time.

Only the pictures that are shown are read and decoded. What cannot be shown is said in words: a
report never fails because of a picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from finedata.errors import FinedataError, MissingExtraError
from finedata.store.episode import Episode
from finedata.store.pictures import as_rgb

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset

_QUALITY = 72


class FilmFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One picture of a strip; `jpeg` is `None` where the stored one does not decode."""

    frame_index: int
    time_s: float
    jpeg: bytes | None
    width: int
    height: int


class FilmStrip(msgspec.Struct, frozen=True, kw_only=True):
    """A strip, or a note in words why there is none; `camera` is empty then."""

    camera: str
    frames: list[FilmFrame]
    note: str = ""


def frame_numbers(length: int, frames: int) -> list[int]:
    """Frames evenly in time, first and last included, each once.

    Example:
        >>> frame_numbers(10, 4), frame_numbers(2, 4)
        ([0, 3, 6, 9], [0, 1])
    """
    return sorted({int(i) for i in np.linspace(0, length - 1, min(frames, length)).round()})


def small_jpeg(pixels: np.ndarray, *, width: int) -> tuple[bytes, int, int]:
    """Scale a picture (height, width, 3) uint8 RGB down to a width and encode it.

    Returns:
        JPEG bytes, width and height; a picture that is narrower keeps its size.
    """
    import simplejpeg  # pyright: ignore[reportMissingTypeStubs]  (it has none)
    from PIL import Image

    height, found = pixels.shape[:2]
    if found > width:
        size = (width, max(round(height * width / found), 1))
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        pixels = np.asarray(picture.resize(size, Image.Resampling.BOX))
    encoded = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=_QUALITY, colorsubsampling="420"
    )
    return encoded, int(pixels.shape[1]), int(pixels.shape[0])


def read_film_strip(
    dataset: Dataset, row: dict[str, Any], *, frames: int = 6, width: int = 128
) -> FilmStrip:
    """Read a strip of the first camera that has pictures of its own.

    Args:
        dataset: The dataset.
        row: The episode's row of `episodes`, with LeRobot's columns.
        frames: How many pictures at most.
        width: Of each, in pixels.
    """
    cameras = [c for c in row["cameras"] if c not in set(row["cameras_missing"])]
    if not cameras:
        return FilmStrip(camera="", frames=[], note="no camera was recorded")
    if not row["length"]:
        return FilmStrip(camera="", frames=[], note="the episode has no frame")
    camera = cameras[0]
    numbers = frame_numbers(row["length"], frames)
    try:
        pictures = list(Episode(dataset, row).iter_frames(camera, numbers))
    except MissingExtraError:
        note = "pictures of videos need PyAV: pip install 'finedata[video]'"
        return FilmStrip(camera="", frames=[], note=note)
    except FinedataError:
        # Its message names paths of this machine; `finedata verify --decode` has the details.
        return FilmStrip(camera="", frames=[], note=f"camera {camera} cannot be read")
    strip = [
        _film_frame(number, row["fps"], pixels, width)
        for number, pixels in zip(numbers, pictures, strict=True)
    ]
    return FilmStrip(camera=camera, frames=strip)


def _film_frame(number: int, fps: float, pixels: np.ndarray | None, width: int) -> FilmFrame:
    time_s = number / fps
    if pixels is None:
        return FilmFrame(frame_index=number, time_s=time_s, jpeg=None, width=width, height=width)
    jpeg, wide, high = small_jpeg(as_rgb(pixels), width=width)
    return FilmFrame(frame_index=number, time_s=time_s, jpeg=jpeg, width=wide, height=high)
