"""Pictures for fixtures, encoded as sources encode them, and HDF5 files that hold them.

A number and a size come in, deterministic JPEG, PNG or raw bytes come out. Scenes are asymmetric in
every direction and strongly coloured, so that swapped channels, mirrored or shuffled pictures show.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import simplejpeg
from PIL import Image

__all__ = [
    "depth_png",
    "digests",
    "jpeg",
    "padded",
    "raw_bgr",
    "scene",
    "vlen",
    "write_hdf5",
]


def scene(number: int, *, size: tuple[int, int] = (32, 48), camera: int = 0) -> np.ndarray:
    """(height, width, 3) uint8 RGB: red grows rightwards, blue fades, a yellow block wanders."""
    height, width = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(120, 255, width)[None, :]
    pixels[..., 1] = np.linspace(20 + 30 * (camera % 4), 90, height)[:, None]
    pixels[..., 2] = (7 * number) % 60
    top, left = (3 * number + 5 * camera) % (height - 8), (5 * number) % (width - 12)
    pixels[top : top + 8, left : left + 12] = (230, 220, 10 + 20 * camera)
    return pixels


def jpeg(pixels: np.ndarray, *, swapped: bool = False, quality: int = 85) -> bytes:
    """JPEG of RGB pixels; `swapped` stores red as blue, as RDT and AgileX recordings do."""
    stored = pixels[..., ::-1] if swapped else pixels
    return simplejpeg.encode_jpeg(np.ascontiguousarray(stored), quality=quality)


def raw_bgr(pixels: np.ndarray) -> bytes:
    """The pixels themselves, blue first: what OpenCV holds and RoboMIND sometimes forgot to encode.

    The last rows are black, because a reader that cuts trailing zeros must be caught.
    """
    stored = pixels[..., ::-1].copy()
    stored[-3:] = 0
    return stored.tobytes()


def depth_png(number: int, *, size: tuple[int, int] = (32, 48)) -> bytes:
    """16-bit PNG, millimetres, with both values that mean "nothing measured"."""
    height, width = size
    depth = (600 + 3 * number + np.add.outer(np.arange(height), 2 * np.arange(width))).astype("<u2")
    depth[0, 0], depth[-1, -1] = 0, 65535
    out = io.BytesIO()
    Image.frombytes("I;16", (width, height), depth.tobytes()).save(out, "PNG")
    return out.getvalue()


def digests(pictures: list[bytes]) -> tuple[str, ...]:
    """Sha256 of each picture."""
    return tuple(hashlib.sha256(one).hexdigest() for one in pictures)


def vlen(pictures: list[bytes]) -> np.ndarray:
    """For `write_hdf5`: variable-length uint8, one entry a picture."""
    out = np.empty(len(pictures), dtype=h5py.vlen_dtype(np.uint8))
    for index, one in enumerate(pictures):
        out[index] = np.frombuffer(one, np.uint8)
    return out


def padded(pictures: list[bytes]) -> np.ndarray:
    """For `write_hdf5`: fixed-length bytes as long as the longest, the rest zeros (RDT's way)."""
    longest = max(map(len, pictures))
    return np.array(pictures, dtype=f"S{longest}")


def write_hdf5(
    file: Path, datasets: dict[str, Any], *, attributes: dict[str, dict[str, Any]] | None = None
) -> None:
    """Write datasets by path and attributes by group, making folders on the way."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as h5:
        for name, values in datasets.items():
            dtype = getattr(values, "dtype", None)
            h5.create_dataset(name, data=values, dtype=dtype)
        for group, entries in (attributes or {}).items():
            h5.require_group(group or "/").attrs.update(entries)
