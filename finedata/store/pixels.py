"""The only changes that a picture's pixels ever get: red and blue exchanged, wrapped, scaled.

The default conversion copies pictures byte for byte and only wraps raw pixels, which are no
picture file, losslessly; everything lossy here is done when the user asks for it.
"""

from __future__ import annotations

import io
import struct
from typing import Any, Literal

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]  (it has none)
from PIL import Image

from finedata.errors import CorruptRecordError, FeatureError, LengthError

__all__ = ["guess_raw_shape", "raw_to_png", "resize_picture", "swap_red_blue"]

# Raw frames that RoboMIND's cameras left among encoded ones (its reading example names both).
_RAW_SHAPES = {720 * 1280 * 3: (720, 1280), 480 * 640 * 3: (480, 640)}
_JPEG_QUALITY = 95


def swap_red_blue(encoded: bytes) -> bytes:
    """Exchange red and blue of a picture whose writer mistook one order for the other.

    A PNG loses nothing. A JPEG is encoded anew, quality 95 without chroma subsampling: close, but
    lossy, and larger. The default conversion therefore leaves such pictures as they are and
    records the order of their channels.

    Args:
        encoded: A JPEG or PNG; a grey one comes back as it is.

    Raises:
        CorruptRecordError: It does not decode.
        FeatureError: A PNG of 16 bits a colour.
    """
    if encoded[:3] == b"\xff\xd8\xff":
        try:
            colourspace = simplejpeg.decode_jpeg_header(encoded)[2]
            if colourspace == "Gray":
                return encoded
            return _jpeg(simplejpeg.decode_jpeg(encoded, colorspace="BGR"))
        except ValueError as error:
            raise _undecodable(error) from error
    picture = _decoded(encoded)
    if picture.mode in ("L", "LA", "1", "I", "I;16"):
        return encoded
    if len(encoded) > 24 and encoded[24] == 16:
        raise FeatureError(
            place="a picture", found="a PNG of 16 bits a colour", wanted="one of 8 bits"
        )
    transparent = "A" in picture.mode or "transparency" in picture.info
    pixels = np.asarray(picture.convert("RGBA" if transparent else "RGB"))
    order = [2, 1, 0, 3] if transparent else [2, 1, 0]
    return _png(Image.fromarray(np.ascontiguousarray(pixels[..., order])))


def raw_to_png(data: bytes, *, height: int, width: int, order: Literal["rgb", "bgr"]) -> bytes:
    """Wrap raw pixels in a PNG, losslessly, at the fastest compression.

    Args:
        data: height x width x 3 bytes, row by row.
        height: In pixels.
        width: In pixels.
        order: The order of the channels in `data`; the PNG's is always red, green, blue. Say `rgb`
            to keep the bytes' own order whatever it is.

    Raises:
        LengthError: `data` has another size.
    """
    if len(data) != height * width * 3:
        raise LengthError(
            place="raw pixels",
            found=f"{len(data)} bytes",
            wanted=f"{height * width * 3} for {height}x{width}x3",
        )
    pixels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
    if order == "bgr":
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    return _png(Image.fromarray(pixels))


def guess_raw_shape(length: int) -> tuple[int, int] | None:
    """(height, width) of raw colour pixels of a known camera, by their size in bytes.

    Args:
        length: Bytes of what should have been an encoded picture.

    Returns:
        (720, 1280) or (480, 640), or `None` for any other size.
    """
    return _RAW_SHAPES.get(length)


def resize_picture(encoded: bytes, *, height: int, width: int) -> bytes:
    """Scale a picture, the codec kept: JPEG at quality 95 (lossy), PNG.

    Lanczos with the kernel widened to the pixels it covers, as every public preprocessing of these
    corpora resizes. Pictures of more than 8 bits (depth) take the nearest pixel: a mean of two
    depths is a place where nothing is.

    Args:
        encoded: A JPEG or PNG.
        height: Of the new picture; the old one is squashed where the ratio differs.
        width: Of the new picture.

    Raises:
        CorruptRecordError: It does not decode.
    """
    if encoded[:3] == b"\xff\xd8\xff":
        try:
            grey = simplejpeg.decode_jpeg_header(encoded)[2] == "Gray"
            pixels = simplejpeg.decode_jpeg(encoded, colorspace="GRAY" if grey else "RGB")
        except ValueError as error:
            raise _undecodable(error) from error
        picture = Image.fromarray(pixels[..., 0] if grey else pixels)
        resized = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))
        return _jpeg(resized[..., None] if grey else resized)
    picture = _decoded(encoded)
    if picture.mode == "P":
        picture = picture.convert("RGB")
    smooth = picture.mode in ("L", "LA", "RGB", "RGBA")
    kernel = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return _png(picture.resize((width, height), kernel))


def _jpeg(pixels: Any) -> bytes:
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels),
        quality=_JPEG_QUALITY,
        colorspace="GRAY" if pixels.shape[-1] == 1 else "RGB",
        colorsubsampling="Gray" if pixels.shape[-1] == 1 else "444",
    )


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _decoded(encoded: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(encoded), formats=["PNG"])
        picture.load()
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise _undecodable(error) from error
    return picture


def _undecodable(error: Exception) -> CorruptRecordError:
    return CorruptRecordError(
        place="a picture", found=f"{error}", wanted="a JPEG or PNG that decodes"
    )
