"""What the header of an encoded picture says, without decoding; and decoding, when asked.

The header gives codec, size and whether the file is sound. It is read by hand, because every
picture of a corpus passes here and only a few are decoded.

Sources: ITU-T T.81 (JPEG markers), RFC 2083 (PNG chunks).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]  (it has none)
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "PictureHeader",
    "as_rgb",
    "black_jpeg",
    "decode_picture",
    "decode_rgb",
    "is_deep",
    "jpeg_frame_offset",
    "largest_black_picture_bytes",
    "picture_size",
    "read_header",
]

Codec = Literal["jpeg", "png"]

# No camera has more; a damaged size must not become memory.
_MOST_PIXELS = 1 << 26
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
# Start-of-frame markers: C0..CF but C4 (Huffman tables), C8 (reserved), CC (arithmetic tables).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What a picture says of itself: codec and size in pixels."""

    codec: Codec
    height: int
    width: int
    channels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels


def read_header(data: bytes) -> PictureHeader | None:
    """Read a picture's header.

    Args:
        data: The whole encoded picture.

    Returns:
        Its header, or `None` where this is no JPEG or PNG, or one that is cut off: a JPEG must
        end in its end-of-image marker, a PNG in its IEND chunk.
    """
    header = _header(data)
    return header if header and 0 < header.height * header.width <= _MOST_PIXELS else None


def _header(data: bytes) -> PictureHeader | None:
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg_header(data)
    if data[:8] == _PNG_SIGNATURE and data[-8:] == _PNG_END and len(data) >= 33:
        width, height, _, colour = struct.unpack(">IIBB", data[16:26])
        return PictureHeader("png", height, width, _PNG_CHANNELS.get(colour, 3))
    return None


def _jpeg_header(data: bytes) -> PictureHeader | None:
    # Some writers pad with zeros after the end-of-image marker.
    if data[-2:] != b"\xff\xd9" and data.rstrip(b"\0")[-2:] != b"\xff\xd9":
        return None
    position = jpeg_frame_offset(data)
    if position is None:
        return None
    height, width, channels = struct.unpack(">HHB", data[position + 5 : position + 10])
    return PictureHeader("jpeg", height, width, channels)


def jpeg_frame_offset(data: bytes) -> int | None:
    """Where a JPEG's frame header begins, whose first ten bytes are there; or `None`.

    Marker (2 bytes), length (2), precision (1), height (2), width (2), components (1): ITU-T T.81,
    B.2.2. Whole segments come before it, and fill bytes.
    """
    position = 2
    while position + 9 < len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _START_OF_FRAME:
            return position
        # a fill byte stands alone, a segment says its length
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        position += 1 if marker == 0xFF else 2 + length
    return None


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG or PNG by its header, whole or not; or `None`."""
    if data[:8] == _PNG_SIGNATURE and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    position = jpeg_frame_offset(data) if data[:2] == b"\xff\xd8" else None
    if position is None:
        return None
    height, width = struct.unpack(">HH", data[position + 5 : position + 9])
    return width, height


def decode_rgb(data: bytes) -> np.ndarray | None:
    """Decode a JPEG or PNG to uint8 (height, width, 3), or `None` where it does not decode."""
    try:
        if data[:3] == b"\xff\xd8\xff":
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            if int(height) * int(width) > _MOST_PIXELS:
                return None
            return simplejpeg.decode_jpeg(data, colorspace="RGB")
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture.convert("RGB"))
    except (ValueError, OSError, SyntaxError, EOFError, struct.error, *_BOMBS):
        return None


def is_deep(pictures: Sequence[bytes]) -> bool:
    """Whether a camera's pictures are grey PNGs of 16 bits (depth), by the first that is a PNG."""
    first = next((one for one in pictures if one[:8] == _PNG_SIGNATURE), b"")
    return first[24:26] == b"\x10\x00"


def decode_picture(data: bytes) -> np.ndarray | None:
    """Decode a JPEG or PNG; a grey PNG of 16 bits (depth) keeps them.

    Returns:
        uint8 (height, width, 3), or uint16 (height, width), or `None` where it does not decode.
    """
    # IHDR: width and height, then bit depth and colour type (0 is grey), RFC 2083 section 4.1.1.
    if data[:8] != _PNG_SIGNATURE or data[24:26] != b"\x10\x00":
        return decode_rgb(data)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            # Pillow says I;16, or I (int32) as older ones do: the values are the same.
            return np.asarray(picture).astype(np.uint16, copy=False)
    except (ValueError, OSError, SyntaxError, EOFError, struct.error, *_BOMBS):
        return None


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Any answer of `decode_picture` as `decode_rgb` gives it: uint8 (height, width, 3)."""
    return pixels if pixels.ndim == 3 else np.asarray(Image.fromarray(pixels).convert("RGB"))


@cache
def black_jpeg(height: int, width: int) -> bytes:
    """An all-black JPEG: what stands for a camera that was not there."""
    return simplejpeg.encode_jpeg(
        np.zeros((height, width, 3), np.uint8), quality=95, colorsubsampling="420"
    )


def largest_black_picture_bytes(height: int, width: int) -> int:
    """How many bytes an all-black picture can have at most.

    A black JPEG holds 14 bits per 8x8 block without chroma subsampling (a zero DC difference
    and an end of block in each of three components) and at most about 1 KB of headers; a black
    PNG deflates to less. So anything larger is not black, without looking.
    """
    return 1024 + (height * width * 14) // (64 * 8)
