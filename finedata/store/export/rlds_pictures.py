"""Cameras of an RLDS export: one codec for each, right colours, every picture readable.

TFDS declares one codec and one size a camera, and a record with a picture that does not decode
stops its reader. So the first readable picture decides the codec; a picture of another codec or
size is encoded anew, and one that does not decode becomes black.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]  (it has none)
from PIL import Image

from finedata.errors import ConformError
from finedata.store.deep import DepthScale
from finedata.store.episode import shown_camera
from finedata.store.export.episodes import right_frames, right_pictures
from finedata.store.pictures import decode_rgb, is_deep, is_tiff, read_header
from finedata.store.videos.frames import decoded_frames, is_deep_video

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping

    from finedata.store.episode import Episode, VideoSpan
    from finedata.store.lerobot.layout import Feature

_QUALITY = 95


class RldsPictures:
    """The cameras of a part while it is written.

    Args:
        cameras: Name in the dataset to feature.
        counts: Counts `pictures_encoded`, `undecodable_pictures` and `colours_exchanged` up.
    """

    def __init__(self, cameras: Mapping[str, Feature], counts: Counter[str]) -> None:
        self._cameras = cameras
        self._counts = counts
        self._codecs: dict[str, str] = {}
        self._deep: set[str] = set()

    def declared(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """What features.json says: exported name to (height, width, channels) and codec."""
        return {
            shown_camera(camera): (
                (feature.shape[0], feature.shape[1], 1 if camera in self._deep else 3),
                "png16" if camera in self._deep else self._codecs.get(camera, "jpeg"),
            )
            for camera, feature in self._cameras.items()
        }

    def encoded(self, episode: Episode, *, camera: str) -> list[bytes]:
        """The pictures of an episode, byte for byte where they can be.

        The codec of a camera is that of its first readable picture. A picture of another codec,
        size or number of channels is encoded anew; one that does not decode becomes black.
        """
        shape = self._cameras[camera].shape
        span = episode.videos.get(camera)
        if span is not None and is_deep_video(span.path):
            self._take_deep(camera, episode)
            return list(self._deep_frames(span))
        if span is not None:
            self._codecs.setdefault(camera, "jpeg")
            frames = right_frames(episode, camera=camera, shape=shape, counts=self._counts)
            pictures = [self._encode(frame, self._codecs[camera]) for frame in frames]
            self._counts["pictures_encoded"] += len(pictures)
            return pictures
        if is_deep(episode.pictures[camera]):
            self._take_deep(camera, episode)
            return list(episode.pictures[camera])
        if any(is_tiff(picture) for picture in episode.pictures[camera]):
            self._take_deep(camera, episode)
            return list(self._tiff_frames(episode, camera))
        pictures = right_pictures(episode, camera=camera, counts=self._counts)
        return [self._fitting(picture, camera, shape) for picture in pictures]

    def _take_deep(self, camera: str, episode: Episode) -> None:
        if camera in self._codecs:
            raise ConformError(
                place=f"camera {camera}, episode {episode.episode_id}",
                found="pictures of 16 bits, after some of 8",
                wanted="one kind: RLDS declares one for all",
                next_command="export them apart with --where",
            )
        self._deep.add(camera)

    def _deep_frames(self, span: VideoSpan) -> Iterator[bytes]:
        """The numbers of a video of more than 8 bits, as they are in it: PNGs of 16 bits."""
        for frame in decoded_frames(span.path, span.first_frame, span.frames):
            self._counts["pictures_encoded"] += 1
            yield _png_of(frame.to_ndarray().astype(np.uint16))

    def _tiff_frames(self, episode: Episode, camera: str) -> Iterator[bytes]:
        """Depth of rows as PNGs of 16 bits: its own numbers; of floats millimetres."""
        scale = episode.depth_scale(camera) or DepthScale()
        for frame in episode.iter_frames(camera):
            if frame is None or frame.ndim != 2:
                self._counts["undecodable_pictures"] += 1
                frame = np.zeros(self._cameras[camera].shape[:2], np.uint16)
            if frame.dtype != np.uint16:
                frame = scale.millimetres(frame)
            self._counts["pictures_encoded"] += 1
            yield _png_of(frame)

    def _fitting(self, picture: bytes, camera: str, shape: tuple[int, ...]) -> bytes:
        header = read_header(picture)
        if header is not None:
            codec = self._codecs.setdefault(camera, header.codec)
            if header.codec == codec and header.shape == (shape[0], shape[1], 3):
                return picture
        codec = self._codecs.get(camera, "jpeg")
        frame = decode_rgb(picture)
        if frame is None:
            self._counts["undecodable_pictures"] += 1
            frame = np.zeros((shape[0], shape[1], 3), np.uint8)
        elif frame.shape[:2] != shape[:2]:
            sized = Image.fromarray(frame).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
            frame = np.asarray(sized)
        self._counts["pictures_encoded"] += 1
        return self._encode(frame, codec)

    def _encode(self, frame: np.ndarray, codec: str) -> bytes:
        if codec == "jpeg":
            return simplejpeg.encode_jpeg(
                np.ascontiguousarray(frame), quality=_QUALITY, colorsubsampling="444"
            )
        return _png_of(frame)


def _png_of(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
