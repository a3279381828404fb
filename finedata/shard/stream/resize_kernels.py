"""Pillow's antialiased bilinear resize, compiled: the same pixels in a quarter of the time.

Beside a JPEG's decoding Pillow's resize is the longer part of a sample. The arithmetic is that of
its `Resample.c`: rows first, then columns, weights of 22 bits, rounded to 8 bits after each.
"""
# pyright: basic

from __future__ import annotations

import numpy as np
from numba import int32, uint64

from finedata.motion.dtw.compiling import cached_kernel

BITS = 22
_HALF = 1 << (BITS - 1)
_ONE, _TWO, _THREE = uint64(1), uint64(2), uint64(3)


@cached_kernel
def resize_rows(source, first_x, weight_x, first_y, weight_y, out):  # noqa: ANN001, ANN201
    """Resize a picture of three interleaved bytes.

    Args:
        source: (height, 3 * width) uint8.
        first_x: (new width,) uint64, the first column that a new one is made of.
        weight_x: (taps, new width) int32, of the columns from it on; three taps or more.
        first_y: (new height,) uint64, as of columns.
        weight_y: (taps, new height) int32.
        out: (new height, 3 * new width) uint8.
    """
    middle = np.empty((source.shape[0], out.shape[1]), np.uint8)
    # The first three taps are written out, which the compiler makes vectors of. Most have no more.
    for y in range(source.shape[0]):
        row, made = source[y], middle[y]
        for x in range(first_x.shape[0]):
            at, to = first_x[x] * _THREE, uint64(x) * _THREE
            a, b, c = weight_x[0, x], weight_x[1, x], weight_x[2, x]
            for k in range(3):
                p = at + uint64(k)
                total = (
                    int32(_HALF)
                    + int32(row[p]) * a
                    + int32(row[p + _THREE]) * b
                    + int32(row[p + uint64(6)]) * c
                )
                for tap in range(3, weight_x.shape[0]):
                    total += int32(row[p + _THREE * uint64(tap)]) * weight_x[tap, x]
                made[to + uint64(k)] = total >> BITS
    for y in range(out.shape[0]):
        at, made = first_y[y], out[y]
        a, b, c = weight_y[0, y], weight_y[1, y], weight_y[2, y]
        one, two, three = middle[at], middle[at + _ONE], middle[at + _TWO]
        for k in range(out.shape[1]):
            total = int32(_HALF) + int32(one[k]) * a + int32(two[k]) * b + int32(three[k]) * c
            for tap in range(3, weight_y.shape[0]):
                total += int32(middle[at + uint64(tap), k]) * weight_y[tap, y]
            made[k] = total >> BITS
