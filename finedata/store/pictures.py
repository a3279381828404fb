"""What the header of an encoded picture says, without decoding; and decoding, when asked.

The header gives codec, size and whether the file is sound. It is read by hand, because every
picture of a corpus passes here and only a few are decoded. A TIFF is depth: so LeRobot keeps it in
rows, of 16 bits or in floats.

Sources: ITU-T T.81 (JPEG markers), RFC 2083 (PNG chunks), TIFF 6.0.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

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
    "is_tiff",
    "jpeg_frame_offset",
    "largest_black_picture_bytes",
    "picture_size",
    "read_header",
]

Codec = Literal["jpeg", "png", "tiff"]

# No camera has more; a damaged size must not become memory.
_MOST_PIXELS = 1 << 26
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*")
# Bits and sample format (1 whole, 3 floats) of what is depth.
_TIFF_KINDS = {(16, 1): "u2", (32, 3): "f4"}
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
        Its header, or `None` where this is no JPEG, PNG or TIFF of depth, or one that is cut off:
        a JPEG must end in its end-of-image marker, a PNG in its IEND chunk, a TIFF not before its
        last strip does. A TIFF that is compressed, or has colours, is none of depth.
    """
    header = _header(data)
    return header if header and 0 < header.height * header.width <= _MOST_PIXELS else None


def _header(data: bytes) -> PictureHeader | None:
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg_header(data)
    if data[:8] == _PNG_SIGNATURE and data[-8:] == _PNG_END and len(data) >= 33:
        width, height, _, colour = struct.unpack(">IIBB", data[16:26])
        return PictureHeader("png", height, width, _PNG_CHANNELS.get(colour, 3))
    return _tiff_header(data) if is_tiff(data) else None


def _tiff_header(data: bytes) -> PictureHeader | None:
    found = _tiff(data)
    return found and PictureHeader("tiff", found.height, found.width, 1)


class _Tiff(NamedTuple):
    """A TIFF of depth that is whole: one number a pixel, not compressed, in strips."""

    height: int
    width: int
    kind: str
    strips: list[tuple[int, int]]


def _tiff(data: bytes) -> _Tiff | None:
    order = "<" if data[:2] == b"II" else ">"
    try:
        tags = _tiff_tags(data, order)
        height, width, bits, packing = (tags[tag][0] for tag in (257, 256, 258, 259))
        kind = _TIFF_KINDS.get((bits, tags.get(339, (1,))[0]))
        strips = list(zip(tags[273], tags[279], strict=True))
    except (struct.error, KeyError, IndexError, ValueError):
        return None
    if kind is None or packing != 1 or tags.get(277, (1,))[0] != 1:
        return None
    whole = all(offset + length <= len(data) for offset, length in strips)
    enough = sum(length for _, length in strips) == height * width * bits // 8
    return _Tiff(height, width, order + kind, strips) if whole and enough else None


def _tiff_tags(data: bytes, order: str) -> dict[int, tuple[int, ...]]:
    """The whole numbers of 2 and 4 bytes of the first directory: TIFF 6.0, section 2."""
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    found: dict[int, tuple[int, ...]] = {}
    for place in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", data, place)
        sign = {3: "H", 4: "I"}.get(kind)
        if sign is None or values > len(data):
            continue
        inside = place + 8
        if struct.calcsize(f"={values}{sign}") > 4:
            (inside,) = struct.unpack_from(f"{order}I", data, place + 8)
        found[tag] = struct.unpack_from(f"{order}{values}{sign}", data, inside)
    return found


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


def is_tiff(data: bytes) -> bool:
    """Whether a picture is a TIFF, by its first bytes."""
    return data[:4] in _TIFF_SIGNATURES


def decode_picture(data: bytes) -> np.ndarray | None:
    """Decode a JPEG or PNG; a grey PNG of 16 bits (depth) keeps them, and so does a TIFF.

    Returns:
        uint8 (height, width, 3), or uint16 (height, width), or float32 (height, width) of a TIFF
        of floats, or `None` where it does not decode.
    """
    if is_tiff(data):
        return _decode_tiff(data)
    # IHDR: width and height, then bit depth and colour type (0 is grey), RFC 2083 section 4.1.1.
    if data[:8] != _PNG_SIGNATURE or data[24:26] != b"\x10\x00":
        return decode_rgb(data)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            # Pillow says I;16, or I (int32) as older ones do: the values are the same.
            return np.asarray(picture).astype(np.uint16, copy=False)
    except (ValueError, OSError, SyntaxError, EOFError, struct.error, *_BOMBS):
        return None


def _decode_tiff(data: bytes) -> np.ndarray | None:
    found = _tiff(data)
    if found is None or found.height * found.width > _MOST_PIXELS:
        return None
    content = b"".join(data[offset : offset + length] for offset, length in found.strips)
    numbers = np.frombuffer(content, found.kind).reshape(found.height, found.width)
    return numbers.astype(numbers.dtype.newbyteorder("="))


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Any answer of `decode_picture` as one to look at: uint8 (height, width, 3).

    Depth is spread from its least to its greatest number: it is to be seen, not measured.
    """
    if pixels.ndim == 3:
        return pixels
    shown = np.nan_to_num(pixels.astype(np.float32), posinf=0.0, neginf=0.0)
    low, high = float(shown.min()), float(shown.max())
    spread = (shown - low) * (255 / ((high - low) or 1))
    return np.repeat(spread.astype(np.uint8)[..., None], 3, axis=-1)


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
