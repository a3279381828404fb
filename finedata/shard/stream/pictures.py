"""Pictures of a sample: the bytes of a member become pixels in a given place.

JPEG has cheap scaling at a half and a quarter (fewer coefficients of each block are transformed);
at other eighths libjpeg-turbo leaves its fast code and takes longer than at full size. So a picture
is decoded at the smallest of 1, 1/2 and 1/4 that is not smaller than wanted, and the rest is an
antialiased bilinear resize. Where the size is right already the decoder writes straight into place.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]  (it has none)
from PIL import Image, UnidentifiedImageError

from finedata.shard.depth import metres_of
from finedata.shard.stream.resize import Resizer
from finedata.store.pictures import decode_picture

__all__ = ["PictureDecoder", "depth_into", "nearest_into"]


class PictureDecoder:
    """Decodes pictures into a given place.

    Args:
        compiled_after: See `Resizer`.
    """

    def __init__(self, *, compiled_after: int = 1_000) -> None:
        self._resizer = Resizer(compiled_after=compiled_after)

    def into(self, pixels: np.ndarray, data: bytes | memoryview, *, codec: str) -> None:
        """Decode a picture, resized to where it goes; the aspect is not kept.

        Args:
            pixels: (height, width, 3) uint8, contiguous, overwritten.
            data: The picture's bytes.
            codec: `jpeg` or `png`.

        Raises:
            ValueError: The bytes are no such picture, or hold no RGB or grey picture of 8 bits.
        """
        decoded = _jpeg(pixels, data) if codec == "jpeg" else _png(data)
        if decoded is not pixels:
            self._resizer.into(pixels, decoded)


def depth_into(metres: np.ndarray, data: bytes | memoryview, *, unit_m: float) -> None:
    """Decode a picture of depth, by the nearest pixel where it is of another size.

    A mean of two depths is a place where nothing is.

    Args:
        metres: (height, width) float32, overwritten; 0 where there is no depth.
        data: A PNG of 16 bits; one of 8 bits, which stands for none, must be black.
        unit_m: Metres of one of its numbers.

    Raises:
        ValueError: The bytes are no such picture.
    """
    found = decode_picture(bytes(data))
    if found is None or (found.ndim != 2 and found.any()):
        raise ValueError("no depth: no PNG of 16 bits")  # noqa: EM101
    deep = found if found.ndim == 2 else found[..., 0]
    nearest_into(metres, metres_of(deep, unit_m=unit_m))


def nearest_into(into: np.ndarray, found: np.ndarray) -> None:
    """Take numbers by the nearest pixel; both (height, width)."""
    rows, columns = (_nearest(found.shape[k], into.shape[k]) for k in (0, 1))
    into[:] = found[np.ix_(rows, columns)]


def _nearest(there: int, wanted: int) -> np.ndarray:
    """Of each wanted pixel the one that its middle lies in."""
    return ((np.arange(wanted) + 0.5) * there / wanted).astype(np.intp)


def _jpeg(pixels: np.ndarray, data: bytes | memoryview) -> np.ndarray:
    height, width = map(int, simplejpeg.decode_jpeg_header(data)[:2])
    if (height, width) == pixels.shape[:2]:
        simplejpeg.decode_jpeg(data, "RGB", buffer=pixels)
        return pixels
    for factor in (4, 2):
        least = -(-height // factor), -(-width // factor)
        if least[0] >= pixels.shape[0] and least[1] >= pixels.shape[1]:
            return simplejpeg.decode_jpeg(data, "RGB", min_height=least[0], min_width=least[1])
    return simplejpeg.decode_jpeg(data, "RGB")


def _png(data: bytes | memoryview) -> np.ndarray:
    try:
        with Image.open(BytesIO(data)) as picture:
            if picture.mode not in ("RGB", "L", "P", "1"):
                msg = f"a picture of mode {picture.mode}, not of three colours of 8 bits"
                raise ValueError(msg)
            return np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(str(error)) from error
