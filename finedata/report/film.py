"""Film strips: an episode comes in, a few small pictures of one camera go out, evenly in time.

Only the pictures that are shown are read and decoded. Stored pictures keep whatever order of
colours the source had (`…_bgr`); here they are put right. What cannot be shown is said in words: a
report never fails because of a picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from finedata.errors import FinedataError, MissingExtraError
from finedata.store.export.episodes import is_swapped
from finedata.store.lerobot.layout import CHUNK_FILES, data_path, picture_column, video_path
from finedata.store.pictures import decode_rgb

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset

__all__ = ["FilmFrame", "FilmStrip", "frame_numbers", "read_film_strip", "small_jpeg"]

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
        feature = dataset.features(row["part"]).get(picture_column(camera))
        if feature is not None and feature.dtype == "video":
            pictures = _from_video(dataset, row, camera, numbers)
        else:
            pictures = _from_rows(dataset, row, camera, numbers)
    except MissingExtraError:
        note = "pictures of videos need PyAV: pip install 'finedata[video]'"
        return FilmStrip(camera="", frames=[], note=note)
    except (FinedataError, OSError, pl.exceptions.PolarsError):
        # Its message names paths of this machine; `finedata verify --decode` has the details.
        return FilmStrip(camera="", frames=[], note=f"camera {camera} cannot be read")
    strip = [_film_frame(number, row["fps"], pixels, camera, width) for number, pixels in pictures]
    return FilmStrip(camera=camera, frames=strip)


def _film_frame(
    number: int, fps: float, pixels: np.ndarray | None, camera: str, width: int
) -> FilmFrame:
    time_s = number / fps
    if pixels is None:
        return FilmFrame(frame_index=number, time_s=time_s, jpeg=None, width=width, height=width)
    if is_swapped(camera):
        pixels = pixels[..., ::-1]
    jpeg, wide, high = small_jpeg(pixels, width=width)
    return FilmFrame(frame_index=number, time_s=time_s, jpeg=jpeg, width=wide, height=high)


def _from_rows(
    dataset: Dataset, row: dict[str, Any], camera: str, numbers: list[int]
) -> list[tuple[int, np.ndarray | None]]:
    part = next(part for part in dataset.parts if part.name == row["part"])
    file_number = row["data/chunk_index"] * CHUNK_FILES + row["data/file_index"]
    path = dataset.root / part.path / data_path(file_number)[0]
    found = (
        pl.scan_parquet(path)
        .filter(
            pl.col("episode_index") == row["episode_index"], pl.col("frame_index").is_in(numbers)
        )
        .select("frame_index", pl.col(picture_column(camera)).struct.field("bytes"))
        .sort("frame_index")
        .collect()
    )
    return [
        (int(number), None if encoded is None else decode_rgb(encoded))
        for number, encoded in found.iter_rows()
    ]


def _from_video(
    dataset: Dataset, row: dict[str, Any], camera: str, numbers: list[int]
) -> list[tuple[int, np.ndarray | None]]:
    from finedata.store.video_frames import decode_frames

    part = next(part for part in dataset.parts if part.name == row["part"])
    prefix = f"videos/{picture_column(camera)}"
    file_number = row[f"{prefix}/chunk_index"] * CHUNK_FILES + row[f"{prefix}/file_index"]
    path = dataset.root / part.path / video_path(camera, file_number)[0]
    begin_s = row[f"{prefix}/from_timestamp"]
    times_s = [begin_s + number / row["fps"] for number in numbers]
    return list(zip(numbers, decode_frames(path, times_s=times_s), strict=True))
