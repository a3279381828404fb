"""Compiled measurements of one piece of a path: displacement, length, bend, rotation."""

from __future__ import annotations

from math import acos, sqrt
from typing import TYPE_CHECKING

import numpy as np

from finedata.motion.dtw.compiling import cached_kernel, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEADY = 4


@kernel
def row_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Euclidean distance of two rows."""
    total = 0.0
    for k in range(len(a)):
        total += (a[k] - b[k]) ** 2
    return sqrt(total)


@kernel
def _end_points(
    values: NDArray[np.float64],
    starts: NDArray[np.int64],
    kinds: NDArray[np.int64],
    k: int,
    count: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where a piece begins and ends; a neighbour that rests tells it best, by its mean."""
    first, last = starts[k], min(starts[k + 1], len(values) - 1)
    begin, end = np.zeros(3), np.zeros(3)
    one, two = first, last
    if kinds[k] == -1 and k > 0 and kinds[k - 1] != -1:
        one = max(starts[k - 1], first - _STEADY)
    if kinds[k] == -1 and k + 1 < count and kinds[k + 1] != -1:
        two = min(starts[k + 2] - 1, last + _STEADY)
    for m in range(3):
        for t in range(one, first + 1):
            begin[m] += values[t, m] / (first + 1 - one)
        for t in range(last, two + 1):
            end[m] += values[t, m] / (two + 1 - last)
    return begin, end


@kernel
def piece_features(
    track: NDArray[np.float64],
    turned: NDArray[np.float64],
    starts: NDArray[np.int64],
    kinds: NDArray[np.int64],
    k: int,
    count: int,
    spacing: float,
    out: NDArray[np.float64],
) -> None:
    """Fill columns 3 to 15 of a segment, but for its reversals: see `find_segments`."""
    first, last = starts[k], min(starts[k + 1], max(len(track), len(turned)) - 1)
    if len(turned):
        begin, end = _end_points(turned, starts, kinds, k, count)
        for m in range(3):
            out[10 + m] = end[m] - begin[m]
    if not len(track):
        return
    begin, end = _end_points(track, starts, kinds, k, count)
    chord = 0.0
    for m in range(3):
        out[3 + m] = end[m] - begin[m]
        chord += out[3 + m] ** 2
    far, lowest = 0.0, track[first, 2]
    for t in range(first, last + 1):
        far = max(far, row_distance(track[t], begin))
        lowest = min(lowest, track[t, 2])
        out[7] = max(out[7], _off_chord(track[t], begin, out[3:6], chord))
    out[14], out[15] = far, lowest
    if far > 0.5 * spacing:
        _bend(track, first, last, begin, end, spacing, out)


@kernel
def _off_chord(
    point: NDArray[np.float64],
    begin: NDArray[np.float64],
    chord: NDArray[np.float64],
    squared: float,
) -> float:
    along = 0.0
    for m in range(3):
        along += (point[m] - begin[m]) * chord[m]
    share = min(1.0, max(0.0, along / squared)) if squared > 0.0 else 0.0
    total = 0.0
    for m in range(3):
        total += (point[m] - begin[m] - share * chord[m]) ** 2
    return sqrt(total)


@kernel
def _bend(
    track: NDArray[np.float64],
    first: int,
    last: int,
    begin: NDArray[np.float64],
    end: NDArray[np.float64],
    spacing: float,
    out: NDArray[np.float64],
) -> None:
    """Length and turning of a path, along vertices at least `spacing` apart.

    Noise makes the sum of frame-to-frame distances grow with the rate; a ruler does not.
    """
    vertex = np.copy(begin)
    step, old = np.zeros(3), np.zeros(3)
    normal = np.zeros(3)
    have, length, total = False, 0.0, 0.0
    for t in range(first, last + 1):
        gap = row_distance(track[t], vertex)
        if gap < spacing:
            continue
        for m in range(3):
            step[m] = (track[t, m] - vertex[m]) / gap
            vertex[m] = track[t, m]
        length += gap
        if have:
            dot = 0.0
            for m in range(3):
                dot += step[m] * old[m]
            angle = acos(min(1.0, max(-1.0, dot)))
            total += angle
            cx = old[1] * step[2] - old[2] * step[1]
            cy = old[2] * step[0] - old[0] * step[2]
            cz = old[0] * step[1] - old[1] * step[0]
            sine = sqrt(cx * cx + cy * cy + cz * cz)
            if sine > 1e-9:
                normal[0] += cx / sine * angle
                normal[1] += cy / sine * angle
                normal[2] += cz / sine * angle
        have = True
        for m in range(3):
            old[m] = step[m]
    out[6] = length + row_distance(vertex, end)
    out[8] = sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
    out[9] = out[8] / total if total > 0.0 else 0.0


@cached_kernel
def travel(
    track: NDArray[np.float64], axis: NDArray[np.float64], first: int, end: int
) -> tuple[float, float, float]:
    """Along one axis: net way, longest way in its sense, longest way against it, within frames.

    Args:
        track: (T, 3) finite.
        axis: (3,) unit vector.
        first: First frame.
        end: One past the last frame.

    Returns:
        Net, longest forth (>= 0), longest back (>= 0), in the track's unit.
    """
    low = high = forth = back = 0.0
    now = 0.0
    for t in range(first, end):
        now = 0.0
        for m in range(3):
            now += axis[m] * (track[t, m] - track[first, m])
        low, high = min(low, now), max(high, now)
        forth, back = max(forth, now - low), max(back, high - now)
    return now, forth, back


@cached_kernel
def farthest(track: NDArray[np.float64]) -> float:
    """Largest distance of a row from the first one; 0 without rows."""
    best = 0.0
    for t in range(len(track)):
        best = max(best, row_distance(track[t], track[0]))
    return best


@cached_kernel
def approach_begin(track: NDArray[np.float64], first: int, end: int, far_m: float) -> int:
    """The last frame from `first` on that is at least `far_m` away from frame `end`; or `first`."""
    for t in range(end, first - 1, -1):
        if row_distance(track[t], track[end]) >= far_m:
            return t
    return first
