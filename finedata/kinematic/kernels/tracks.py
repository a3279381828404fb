"""How a raw track is made fit to be measured: broken frames bridged, noise smoothed, turns summed.

Compiled, because every frame passes here. Raw columns of one arm become tracks in robot terms:
(forward, left, up).
"""

from __future__ import annotations

from math import atan2, sqrt
from typing import TYPE_CHECKING

import numpy as np

from finedata.motion.dtw.compiling import cached_kernel, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@kernel
def _bridge(values: NDArray[np.float64], bad: NDArray[np.bool_]) -> int:
    """Replace broken rows by the last good one (the first good one at the beginning); in place.

    Returns how many good rows there are.
    """
    rows, width = values.shape
    last = -1
    good = 0
    for t in range(rows):
        if bad[t]:
            if last >= 0:
                for k in range(width):
                    values[t, k] = values[last, k]
            continue
        if last < 0:
            for before in range(t):
                for k in range(width):
                    values[before, k] = values[t, k]
        last = t
        good += 1
    return good


@kernel
def _smooth(values: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """Centred moving mean; the window shrinks evenly at both ends, so that they stay in place."""
    rows, width = values.shape
    out = np.empty((rows, width))
    sums = np.zeros((rows + 1, width))
    for t in range(rows):
        for k in range(width):
            sums[t + 1, k] = sums[t, k] + values[t, k]
    for t in range(rows):
        reach = min(half, t, rows - 1 - t)
        for k in range(width):
            out[t, k] = (sums[t + reach + 1, k] - sums[t - reach, k]) / (2 * reach + 1)
    return out


@cached_kernel
def smoothed(values: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """Mean over 2 `half` + 1 rows of finite (T, n) values, for the body's tracks."""
    return _smooth(values, half)


@cached_kernel
def arm_tracks(
    position: NDArray[np.float64],
    quaternion: NDArray[np.float64],
    axes: NDArray[np.float64],
    approach: NDArray[np.float64],
    half: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int]:
    """Smoothed position, summed rotation and approach axis of one arm.

    Args:
        position: (T, 3) metres, or (0, 3).
        quaternion: (T, 4) xyzw, or (0, 4).
        axes: (3, 3) rows forward, left, up in the base frame.
        approach: (3,) approach axis in the tool frame; zeros where unknown.
        half: Half width of the smoothing window, frames.

    Returns:
        Position (T, 3), rotation since frame 0 (T, 3), approach axis (T, 3), each in robot terms
        and (0, 3) where it cannot be known; and the number of broken frames. Rotation vectors of
        one frame to the next are added up: exact about a fixed axis, and beyond half a turn too.
    """
    frames = max(len(position), len(quaternion))
    bad = np.zeros(frames, np.bool_)
    for t in range(len(position)):
        bad[t] = not np.isfinite(position[t, 0] + position[t, 1] + position[t, 2])
    for t in range(len(quaternion)):
        norm = 0.0
        for k in range(4):
            norm += quaternion[t, k] ** 2
        bad[t] = bad[t] or not (norm > 0.25 and norm < 4.0)
    broken = 0
    for t in range(frames):
        broken += bad[t]
    empty = np.zeros((0, 3))
    track, turned, pointing = empty, empty, empty
    if len(position) and broken < frames:
        own = np.zeros((frames, 3))
        for t in range(frames):
            for k in range(3):
                if not bad[t]:
                    for m in range(3):
                        own[t, k] += axes[k, m] * position[t, m]
        _bridge(own, bad)
        track = _smooth(own, half)
    if len(quaternion) and broken < frames:
        unit = np.empty((frames, 4))
        for t in range(frames):
            norm = 0.0
            for k in range(4):
                norm += quaternion[t, k] ** 2
            for k in range(4):
                unit[t, k] = 0.0 if bad[t] else quaternion[t, k] / sqrt(norm)
        _bridge(unit, bad)
        turned = _smooth(_summed_rotation(unit, axes), half)
        if approach[0] != 0.0 or approach[1] != 0.0 or approach[2] != 0.0:
            pointing = _pointing(unit, axes, approach)
    return track, turned, pointing, broken


@kernel
def _summed_rotation(unit: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float64]:
    frames = len(unit)
    out = np.zeros((frames, 3))
    for t in range(1, frames):
        ax, ay, az, aw = unit[t, 0], unit[t, 1], unit[t, 2], unit[t, 3]
        bx, by, bz, bw = -unit[t - 1, 0], -unit[t - 1, 1], -unit[t - 1, 2], unit[t - 1, 3]
        # q_t * conjugate(q_{t-1}): the turn from one frame to the next, in the base's axes
        x = aw * bx + ax * bw + ay * bz - az * by
        y = aw * by - ax * bz + ay * bw + az * bx
        z = aw * bz + ax * by - ay * bx + az * bw
        w = aw * bw - ax * bx - ay * by - az * bz
        sine = sqrt(x * x + y * y + z * z)
        scale = 2.0
        if sine > 1e-12:
            scale = 2.0 * atan2(sine, abs(w)) / sine
        if w < 0.0:
            scale = -scale
        for k in range(3):
            out[t, k] = out[t - 1, k] + scale * (axes[k, 0] * x + axes[k, 1] * y + axes[k, 2] * z)
    return out


@kernel
def _pointing(
    unit: NDArray[np.float64], axes: NDArray[np.float64], approach: NDArray[np.float64]
) -> NDArray[np.float64]:
    frames = len(unit)
    out = np.zeros((frames, 3))
    for t in range(frames):
        x, y, z, w = unit[t, 0], unit[t, 1], unit[t, 2], unit[t, 3]
        ax, ay, az = approach[0], approach[1], approach[2]
        # v + 2 w (u x v) + 2 u x (u x v)
        cx, cy, cz = y * az - z * ay, z * ax - x * az, x * ay - y * ax
        vx = ax + 2.0 * (w * cx + y * cz - z * cy)
        vy = ay + 2.0 * (w * cy + z * cx - x * cz)
        vz = az + 2.0 * (w * cz + x * cy - y * cx)
        for k in range(3):
            out[t, k] = axes[k, 0] * vx + axes[k, 1] * vy + axes[k, 2] * vz
    return out


@cached_kernel
def gripper_track(
    values: NDArray[np.float64], least: float, share: float, rest: int, speed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Openings and closings: legs between turning points that are far enough apart.

    A leg ends where the signal comes back by `least` or by `share` of its range, whichever is
    more: noise, slips of the fingers and pauses on the way make no event; a closing on a thick
    object does.

    Args:
        values: (T,) open fraction; broken ones are bridged.
        least: Least change that is an event.
        share: Least share of the episode's range.
        rest: Least frames of a rest before or after the motion, which is no part of the event.
        speed: Least frames over which a speed is taken.

    Returns:
        (K, 6): kind (1 opens, -1 closes), first frame, one past the last, frame of the middle,
        value before and after; and the bridged values (T,).
    """
    frames = len(values)
    column = np.empty((frames, 1))
    bad = np.zeros(frames, np.bool_)
    for t in range(frames):
        bad[t] = not np.isfinite(values[t])
        column[t, 0] = values[t]
    if _bridge(column, bad) == 0:
        column[:, 0] = 0.0
    own = column[:, 0]
    low, high = own.min(), own.max()
    gate = max(least, share * (high - low))
    turns = np.empty(frames + 1, np.int64)
    count = 0
    lowest, highest, direction = 0, 0, 0
    for t in range(1, frames):
        if own[t] > own[highest]:
            highest = t
        if own[t] < own[lowest]:
            lowest = t
        if direction >= 0 and own[highest] - own[t] >= gate:
            turns[count] = highest
            count += 1
            direction, lowest = -1, t
            highest = t
        elif direction <= 0 and own[t] - own[lowest] >= gate:
            turns[count] = lowest
            count += 1
            direction, highest = 1, t
            lowest = t
    events = np.zeros((count, 6))
    for k in range(count):
        begin = turns[k]
        stop = turns[k + 1] if k + 1 < count else frames - 1
        _leg(own, begin, stop, int(k + 1 == count), (gate, rest, speed), events[k])
    return events, own


@kernel
def _leg(
    own: NDArray[np.float64],
    begin: int,
    stop: int,
    last: int,
    rest: tuple[float, int, int],
    out: NDArray[np.float64],
) -> None:
    """One leg, cut to where nine tenths of it happen, without the rests at its two ends."""
    before, after = own[begin], own[stop]
    if last:
        for t in range(begin, stop + 1):
            if (own[t] - before) * (own[t] - before) > (after - before) * (after - before):
                after = own[t]
    span = after - before
    middle = begin
    while middle < stop and (own[middle] - before) / span < 0.5:
        middle += 1
    first = middle
    while first > begin and (own[first] - before) / span > 0.08:
        first -= 1
    final = middle
    while final < stop and (own[final] - before) / span < 0.92:
        final += 1
    out[0] = 1.0 if span > 0.0 else -1.0
    out[1] = _without_rest(own, first, middle, stop, before, rest)
    out[2] = _without_rest(own, final, middle - 1, begin, after, rest) + 1
    out[3] = middle
    out[4], out[5] = before, after


@kernel
def _without_rest(
    own: NDArray[np.float64],
    edge: int,
    middle: int,
    beyond: int,
    extreme: float,
    rest: tuple[float, int, int],
) -> int:
    """Where the motion between an `edge` of a leg and its `middle` leaves the rest at that edge.

    Fingers that squeezed a thing spring back, and creep while it is carried: the level at which
    they rest is then not the turning point, and a share of the span alone finds the squeeze. A
    rest ends at the knee, where the track is farthest below the straight line from the edge to
    the middle, if until there it goes far slower than from there on. After one knee there may be
    a sharper one, as a line over a long rest is nearly flat.

    Args:
        own: (T,) values.
        edge: First or last frame of the leg, by its share of the span.
        middle: Frame on the other side of which half of the leg lies.
        beyond: The leg's other turning point.
        extreme: Value at the turning point at this edge.
        rest: How far from the extreme a rest may lie: what went farther would have been an event.
            Least frames of a rest: many recorders hold a value for some frames, and a step of
            such a staircase is none. Frames over which a speed is taken, at the least, for the
            same reason.
    """
    gate, shortest, least = rest
    way = 1 if middle > edge else -1
    sign = 1.0 if own[middle] > own[edge] else -1.0
    while True:
        count = way * (middle - edge)
        rise = own[middle] - own[edge]
        knee, depth = 0, 0.0
        for k in range(1, count):
            value = own[edge + way * k]
            if sign * (value - extreme) >= gate:
                break
            below = sign * (rise * k / count - (value - own[edge]))
            if k >= shortest and below > depth:
                knee, depth = k, below
        if knee == 0:
            return edge
        ahead = max(count, min(knee + least, way * (beyond - edge)))
        level = own[edge + way * knee]
        # Also just before the knee: what sprang back at the edge was fast, and is over.
        slow = min(
            sign * (level - own[edge]) / knee,
            sign * (level - own[edge + way * (knee - shortest)]) / shortest,
        )
        fast = sign * (own[edge + way * ahead] - level) / (ahead - knee)
        if slow > 0.3 * fast:
            return edge
        edge += way * knee
