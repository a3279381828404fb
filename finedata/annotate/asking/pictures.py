"""The pictures of an episode as a teacher gets them: encoded, labelled, in right colours.

Pictures are read from the image columns without decoding and sent as they are stored, unless they
are too wide, or their colours are stored exchanged (`_bgr`); frames of videos are decoded and
encoded once. A camera that an episode lacks is never shown: its pictures are placeholders.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]  (it has none)
from PIL import Image

from finedata.annotate.asking.answers import AnswerError
from finedata.annotate.asking.frames import FrameSettings, choose_cameras, sample_frames
from finedata.store.deep import declares_depth
from finedata.store.episode import Episode, is_swapped, shown_camera
from finedata.store.lerobot.layout import picture_column
from finedata.store.pictures import decode_rgb, read_header
from finedata.teachers.protocol import Picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.store.dataset import Dataset

__all__ = [
    "Cameras", "EpisodePictures", "PictureSource", "Shows", "encoded_frame", "encoded_picture",
]  # fmt: skip

_MEDIA = {"jpeg": "image/jpeg", "png": "image/png"}


class Cameras(Protocol):
    """Where pictures of episodes are."""

    def cameras(self, part: str) -> list[str]:
        """Colour cameras of a part."""
        ...

    def encoded(
        self, row: dict[str, Any], camera: str, frames: Sequence[int], settings: FrameSettings
    ) -> list[bytes | None]:
        """Encoded pictures of one camera; None for one that does not decode."""
        ...


class Shows(Protocol):
    """What shows episodes."""

    def episode(self, row: dict[str, Any]) -> EpisodePictures:
        """The cameras of an episode, by its row of the table `episodes`."""
        ...


class EpisodePictures:
    """The cameras of one episode.

    Args:
        source: Where pictures are.
        row: The episode's row of the table `episodes`.
    """

    def __init__(self, source: Cameras, row: dict[str, Any]) -> None:
        self._source = source
        self._row = row

    def shown(self, settings: FrameSettings) -> list[Picture]:
        """The episode's sampled frames of the chosen cameras, camera by camera.

        Raises:
            AnswerError: The episode has no such camera, or none of its pictures decodes.
            ConformError: A file of pictures is damaged.
        """
        frames = sample_frames(self._row["length"], fps=self._row["fps"], settings=settings)
        pictures = [
            picture
            for camera in self.cameras(settings)
            for _, picture in self._camera(camera, frames, settings)
        ]
        if not pictures:
            raise AnswerError(
                place=self._row["episode_id"],
                found="no picture to show",
                wanted="a camera that is there, with pictures that decode",
            )
        return pictures

    def by_frame(self, frames: Sequence[int], settings: FrameSettings) -> dict[int, list[Picture]]:
        """Frame -> its pictures, one of each chosen camera; frames without any are left out.

        Raises:
            ConformError: A file of pictures is damaged.
        """
        found: dict[int, list[Picture]] = {}
        for camera in self.cameras(settings):
            for frame, picture in self._camera(camera, frames, settings):
                found.setdefault(frame, []).append(picture)
        return found

    def cameras(self, settings: FrameSettings) -> list[str]:
        """The chosen cameras, by their names in the dataset."""
        return choose_cameras(
            self._source.cameras(self._row["part"]),
            missing=self._row["cameras_missing"],
            episode_id=self._row["episode_id"],
            settings=settings,
        )

    def _camera(
        self, camera: str, frames: Sequence[int], settings: FrameSettings
    ) -> list[tuple[int, Picture]]:
        shown: list[tuple[int, Picture]] = []
        encoded = self._source.encoded(self._row, camera, frames, settings)
        for frame, data in zip(frames, encoded, strict=True):
            header = None if data is None else read_header(data)
            if data is None or header is None:
                continue  # it does not decode; the labels show the gap
            time_s = frame / self._row["fps"]
            label = f"camera {shown_camera(camera)}, frame {frame}, {time_s:.2f} s"
            shown.append((frame, Picture(data, _MEDIA[header.codec], label)))
        return shown


class PictureSource:
    """The pictures of a dataset, by episode; keeps what finding them needs.

    Args:
        dataset: The dataset.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def episode(self, row: dict[str, Any]) -> EpisodePictures:
        """The cameras of an episode, by its row of the table `episodes`."""
        return EpisodePictures(self, row)

    @cached_property
    def _cameras(self) -> dict[str, list[str]]:
        """Part -> its cameras; depth is no picture to look at."""
        prefix = picture_column("")
        return {
            part.name: [
                name.removeprefix(prefix)
                for name, feature in self._dataset.features(part.name).items()
                if name.startswith(prefix) and feature.dtype in ("image", "video")
                if len(feature.shape) == 3 and 3 in feature.shape
                if not declares_depth(feature.info)
            ]
            for part in self._dataset.parts
        }

    def cameras(self, part: str) -> list[str]:
        """Colour cameras of a part."""
        return self._cameras[part]

    def encoded(
        self, row: dict[str, Any], camera: str, frames: Sequence[int], settings: FrameSettings
    ) -> list[bytes | None]:
        """Encoded pictures of one camera; None for one that does not decode."""
        episode = Episode(self._dataset, row)
        if camera in episode.videos:
            decoded = episode.iter_frames(camera, frames)
            return [
                None if one is None else encoded_frame(one, settings=settings) for one in decoded
            ]
        swapped = is_swapped(camera)
        stored = episode.stored(camera, frames)
        return [encoded_picture(data, swapped=swapped, settings=settings) for data in stored]


def encoded_picture(data: bytes, *, swapped: bool, settings: FrameSettings) -> bytes | None:
    """A stored picture as it is sent: the same bytes where size and colours are right.

    Args:
        data: A JPEG or PNG.
        swapped: Whether red and blue are stored exchanged.
        settings: Width and quality.

    Returns:
        The picture; None where it does not decode.
    """
    header = read_header(data)
    if header is None:
        return None
    wide = settings.width is not None and header.width > settings.width
    if not wide and not swapped:
        return data
    pixels = decode_rgb(data)
    if pixels is None:
        return None
    return encoded_frame(pixels[..., ::-1] if swapped else pixels, settings=settings)


def encoded_frame(pixels: np.ndarray, *, settings: FrameSettings) -> bytes:
    """Resize to the width, the ratio kept, and encode as JPEG; (height, width, 3) uint8 RGB."""
    height, width = pixels.shape[:2]
    if settings.width is not None and width > settings.width:
        size = (settings.width, max(1, round(height * settings.width / width)))
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        pixels = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=settings.quality)
