"""Compiled search for corners: where a path turns sharply, and which of its pieces belong together.

Paths are those of `segment_kernels`: position and rotation in six numbers, all metres.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from finedata.kinematic.kernels.shapes import row_distance
from finedata.motion.dtw.compiling import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOVING = -1


@kernel
def turns_apart(
    path: NDArray[np.float64],
    first: int,
    last: int,
    ball: float,
    starts: NDArray[np.int64],
    kinds: NDArray[np.int64],
    count: int,
) -> int:
    """Append a piece; a turn on the spot before or after a motion is a piece of its own."""
    end = min(last, len(path) - 1)
    begins = first
    while begins < end and row_distance(path[begins + 1, :3], path[first, :3]) <= ball:
        begins += 1
    stops = end
    while stops > first and row_distance(path[stops - 1, :3], path[end, :3]) <= ball:
        stops -= 1
    starts[count], kinds[count] = first, _MOVING
    count += 1
    if begins >= stops:
        return count
    if row_distance(path[first, 3:], path[begins, 3:]) > 0.04:
        starts[count], kinds[count] = begins, _MOVING
        count += 1
    if row_distance(path[stops, 3:], path[end, 3:]) > 0.04:
        starts[count], kinds[count] = stops, _MOVING
        count += 1
    return count


@kernel
def corner_frames(
    path: NDArray[np.float64], first: int, last: int, look: float, corner_cosine: float
) -> NDArray[np.int64]:
    """Frames at which the path turns sharply, in order."""
    size = last - first
    cosines = np.ones(size)
    for t in range(first + 1, last - 1):
        back = _look(path, t, first, -1, look)
        ahead = _look(path, t, last - 1, 1, look)
        long_back = row_distance(path[back], path[t])
        long_ahead = row_distance(path[ahead], path[t])
        if long_back < 0.6 * look or long_ahead < 0.6 * look:
            continue
        dot = 0.0
        for k in range(path.shape[1]):
            dot += (path[t, k] - path[back, k]) * (path[ahead, k] - path[t, k])
        cosines[t - first] = dot / (long_back * long_ahead)
    found = np.zeros(size, np.int64)
    count = 0
    while True:
        best = 0
        for t in range(size):
            if cosines[t] < cosines[best]:
                best = t
        if cosines[best] >= corner_cosine:
            break
        found[count] = first + best
        count += 1
        # Its neighbours on both sides see the same corner.
        t = best
        while t >= 0 and row_distance(path[first + t], path[first + best]) < 0.75 * look:
            cosines[t] = 1.0
            t -= 1
        t = best + 1
        while t < size and row_distance(path[first + t], path[first + best]) < 0.75 * look:
            cosines[t] = 1.0
            t += 1
    return np.sort(found[:count])


@kernel
def _look(path: NDArray[np.float64], t: int, limit: int, step: int, look: float) -> int:
    """The frame about `look` away from t, but not beyond where the path comes back."""
    best, far = t, 0.0
    now = t
    while now != limit and far < look:
        now += step
        away = row_distance(path[now], path[t])
        if away > far:
            best, far = now, away
        elif away < far - 0.25 * look:
            break
    return best


@kernel
def _leg_cosine(path: NDArray[np.float64], a: int, b: int, c: int, d: int) -> float:
    """Cosine between the way from a to b and that from c to d."""
    dot, one, two = 0.0, 0.0, 0.0
    for k in range(path.shape[1]):
        left, right = path[b, k] - path[a, k], path[d, k] - path[c, k]
        dot += left * right
        one += left * left
        two += right * right
    return dot / sqrt(max(one * two, 1e-24))


@kernel
def join_aligned(
    path: NDArray[np.float64], starts: NDArray[np.int64], own: int, count: int, end: int
) -> int:
    """A corner between pieces that go the same way was none."""
    kept = own + 1
    for k in range(own + 1, count):
        stop = starts[k + 1] if k + 1 < count else end - 1
        begin = starts[kept - 1]
        if _leg_cosine(path, begin, starts[k], starts[k], stop) < 0.82:
            starts[kept] = starts[k]
            kept += 1
    return kept


@kernel
def join_zigzags(
    path: NDArray[np.float64],
    starts: NDArray[np.int64],
    kinds: NDArray[np.int64],
    turns_back: NDArray[np.int64],
    own: int,
    count: int,
    end: int,
) -> int:
    """Three or more legs that turn back on each other become one piece."""
    ends = np.empty(count - own + 1, np.int64)
    for k in range(own, count):
        ends[k - own] = starts[k]
    ends[count - own] = end - 1
    legs = count - own
    kept = own
    k = 0
    while k < legs:
        stop = k + 1
        while stop < legs:
            back = _leg_cosine(path, ends[stop - 1], ends[stop], ends[stop], ends[stop + 1])
            again = 1.0
            if stop - 1 > k:
                again = _leg_cosine(
                    path, ends[stop - 2], ends[stop - 1], ends[stop], ends[stop + 1]
                )
            one = row_distance(path[ends[stop - 1]], path[ends[stop]])
            two = row_distance(path[ends[stop]], path[ends[stop + 1]])
            if back > -0.09 or again < 0.5 or two < 0.4 * one or two > 2.5 * one:
                break
            stop += 1
        if stop - k < 3:
            stop = k + 1
        starts[kept], kinds[kept], turns_back[kept] = ends[k], _MOVING, stop - k - 1
        kept += 1
        k = stop
    return kept
