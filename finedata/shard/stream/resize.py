"""Resizing as Pillow does it, and faster where that pays.

A picture's resize takes longer than its decoding, so a process that has resized many goes on with
compiled code, if Numba is installed. Which of the two resizes changes no pixel: the compiled one is
used for sizes of which it has just given what the installed Pillow gives, and for no others.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from PIL import Image

__all__ = ["Resizer", "resize_into"]

_BITS = 22
_COMPARED = 4_096
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Weights:
    """What new columns (or rows) are made of.

    Attributes:
        first: (n,) uint64, the first old one of each.
        weights: (taps, n) int32, of the old ones from it on, as parts of 2**22.
    """

    first: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, old: int, new: int) -> _Weights:
        """A triangle about each new one's centre, as wide as two old or two new ones."""
        scale = old / new
        support = max(scale, 1.0)
        centre = (np.arange(new) + 0.5) * scale
        begin = np.maximum((centre - support + 0.5).astype(np.int64), 0)
        end = np.minimum((centre + support + 0.5).astype(np.int64), old)
        # The kernel takes three at least, all of them inside.
        taps = max(int((end - begin).max()), 3)
        first = np.minimum(begin, old - taps)
        at = first[:, None] + np.arange(taps)
        away = np.abs((at - centre[:, None] + 0.5) * (1.0 / support))
        inside = (at >= begin[:, None]) & (at < end[:, None])
        parts = np.where(inside, np.maximum(1.0 - away, 0.0), 0.0)
        # One after the other, as Pillow adds them: another sum may round otherwise.
        parts /= np.cumsum(parts, axis=1)[:, -1:]
        weights = (0.5 + parts * (1 << _BITS)).astype(np.int32)
        return cls(first.astype(np.uint64), np.ascontiguousarray(weights.T))


class Resizer:
    """Resizes pictures into a given place.

    Args:
        compiled_after: Pictures, from which on compiled code is worth loading.
    """

    def __init__(self, *, compiled_after: int = 1_000) -> None:
        self._left = compiled_after
        self._known: dict[tuple[int, ...], tuple[_Weights, _Weights] | None] = {}

    def into(self, pixels: np.ndarray, picture: np.ndarray) -> None:
        """Resize, antialiased and bilinear; the aspect is not kept.

        Args:
            pixels: (height, width, 3) uint8, contiguous, overwritten.
            picture: (height, width, 3) uint8, contiguous.
        """
        if self._left > 0 or picture.shape == pixels.shape:
            self._left -= 1
            resize_into(pixels, picture)
            return
        sizes = *picture.shape[:2], *pixels.shape[:2]
        if sizes not in self._known:
            self._known[sizes] = _checked(*sizes)
        weights = self._known[sizes]
        if weights is None:
            resize_into(pixels, picture)
        else:
            _compiled(pixels, picture, *weights)


def resize_into(pixels: np.ndarray, picture: np.ndarray) -> None:
    """Put a picture where it goes, resized where it has another size; the aspect is not kept.

    Args:
        pixels: (height, width, 3) uint8, overwritten.
        picture: (any height, any width, 3) uint8.
    """
    if picture.shape == pixels.shape:
        pixels[:] = picture
        return
    size = pixels.shape[1], pixels.shape[0]
    pixels[:] = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def _compiled(pixels: np.ndarray, picture: np.ndarray, rows: _Weights, columns: _Weights) -> None:
    from finedata.shard.stream.resize_kernels import resize_rows

    resize_rows(
        picture.reshape(len(picture), -1),
        *(columns.first, columns.weights, rows.first, rows.weights),
        pixels.reshape(len(pixels), -1),
    )


def _checked(
    old_height: int, old_width: int, height: int, width: int
) -> tuple[_Weights, _Weights] | None:
    """Weights of rows and columns, if compiled code does with noise what Pillow does."""
    if find_spec("numba") is None or min(old_height, old_width) < 3:
        return None
    rows, columns = _Weights.of(old_height, height), _Weights.of(old_width, width)
    # Pillow does columns before rows where that is less work: a fifth of the values then differ by
    # one, so some thousand tell, and some dozen would not.
    chance = np.random.default_rng(0)
    found, wanted = np.empty((2, height, width, 3), np.uint8)
    for _ in range(-(-_COMPARED // found.size)):
        noise = chance.integers(0, 256, (old_height, old_width, 3), np.uint8)
        try:
            _compiled(found, noise, rows, columns)
        except ImportError as error:
            # Numba is stricter about NumPy's version than we are; slower is not wrong.
            _log.warning("pictures are resized without Numba: %s", error)
            return None
        resize_into(wanted, noise)
        if not np.array_equal(found, wanted):
            return None
    return rows, columns
