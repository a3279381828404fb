"""Pictures for a browser: sixteen frames of one camera at a time, and one small one.

A sequence of JPEGs drawn on a canvas is exact to the frame whatever a browser can play. Stored
pictures are sent byte for byte; frames of a video, pictures of 16 bits and exchanged colours are
encoded for the page. A picture that does not decode is an empty place, which the page says.
"""

from __future__ import annotations

import io
import struct
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]  (it has none)
from PIL import Image

from finedata.errors import ConformError
from finedata.store.episode import is_swapped
from finedata.store.pictures import as_rgb, decode_picture, read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from finedata.store.episode import Episode

CHUNK = 16
"""Frames that are fetched together."""
_QUALITY = 92
_THUMBNAIL_WIDTH = 192
_DEEP = 16


class Kept:
    """The last answers, as far as they fit into some bytes; for all threads.

    Args:
        most_bytes: Of all answers together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held = 0
        self._guard = threading.Lock()
        self._kept: OrderedDict[object, bytes] = OrderedDict()

    def get(self, key: object, make: Callable[[], bytes]) -> bytes:
        """The answer for a key, made where it is not here."""
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._guard:
            self._held += len(made) - len(self._kept.get(key, b""))
            self._kept[key] = made
            while self._held > self._most and len(self._kept) > 1:
                self._held -= len(self._kept.popitem(last=False)[1])
        return made


def packed_frames(episode: Episode, camera: str, frames: range) -> bytes:
    """Frames for the page: of each its length in 4 bytes, little-endian, and its picture.

    A length of 0 is a picture that does not decode.

    Raises:
        ConformError: A file is damaged.
        MissingExtraError: It is a video, and the extra `video` is not installed.
    """
    if camera in episode.videos:
        pictures: Iterable[bytes] = (
            b"" if frame is None else _shown(frame) for frame in episode.iter_frames(camera, frames)
        )
    else:
        pictures = [_stored(camera, data) for data in episode.stored(camera, frames)]
    return b"".join(struct.pack("<I", len(data)) + data for data in pictures)


def _stored(camera: str, data: bytes) -> bytes:
    header = read_header(data)
    deep = data[:4] == b"\x89PNG" and len(data) > 24 and data[24] == _DEEP
    if header is None or not (deep or is_swapped(camera)):
        return b"" if header is None else data
    pixels = decode_picture(data)
    if pixels is None:
        return b""
    if is_swapped(camera) and pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    return _shown(pixels)


def _shown(pixels: np.ndarray) -> bytes:
    """A frame as JPEG; one of 16 bits spread from its least to its greatest value."""
    rgb = np.ascontiguousarray(as_rgb(pixels))
    return simplejpeg.encode_jpeg(rgb, quality=_QUALITY, colorspace="RGB")


def thumbnail(episode: Episode) -> bytes:
    """A small JPEG of the middle of an episode, of the first camera that is there.

    Raises:
        ConformError: It has no camera with a picture that decodes.
    """
    missing: list[str] = episode.row.get("cameras_missing") or []
    middle = len(episode) // 2
    for camera in sorted(episode.cameras, key=lambda name: name in missing):
        frame = next(iter(episode.iter_frames(camera, [middle])), None)
        if frame is not None:
            picture = Image.open(io.BytesIO(_shown(frame)))
            height = max(1, round(picture.height * _THUMBNAIL_WIDTH / picture.width))
            small = picture.convert("RGB").resize((_THUMBNAIL_WIDTH, height))
            out = io.BytesIO()
            small.save(out, "JPEG", quality=80)
            return out.getvalue()
        break
    raise ConformError(
        place=f"episode {episode.episode_id}",
        found=f"no picture that decodes at frame {middle}",
        wanted="one to show",
    )
