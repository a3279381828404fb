"""One pair, aligned by a plain loop that keeps the way it came: the warping path itself.

In float64, with O(N M) time and memory (9 bytes a cell): for looking at one pair, not for
matrices.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from finedata.motion.dtw.compiling import cached_kernel

POSE, VECTOR, POSE_RMS = 0, 1, 2
_DIAGONAL, _UP, _LEFT = 0, 1, 2


@cached_kernel
def _angle(a: Any, b: Any, at: int) -> float:
    """The angle between two unit quaternions, 0 for q and -q, accurate near 0."""
    minus = 0.0
    plus = 0.0
    for c in range(at, at + 4):
        minus += (a[c] - b[c]) ** 2
        plus += (a[c] + b[c]) ** 2
    return 4.0 * math.asin(min(1.0, math.sqrt(min(minus, plus)) * 0.5))


@cached_kernel
def frame_cost(
    a: Any, b: Any, space: int, position: float, rotation: float, gripper: float, width: int
) -> float:
    """The cost of laying frame `a` on frame `b`; `width` columns before the gripper."""
    if space == POSE_RMS:
        total = 0.0
        for at in range(0, len(a), 8):
            for c in range(at, at + 3):
                total += (position * (a[c] - b[c])) ** 2
            total += (rotation * _angle(a, b, at + 3)) ** 2
            total += (gripper * (a[at + 7] - b[at + 7])) ** 2
        return math.sqrt(total)
    squares = 0.0
    end = 3 if space == POSE else width
    for c in range(end):
        squares += (a[c] - b[c]) ** 2
    cost = position * math.sqrt(squares)
    if space == POSE:
        cost += rotation * _angle(a, b, 3)
    if gripper != 0.0:
        cost += gripper * abs(a[len(a) - 1] - b[len(b) - 1])
    return cost


@cached_kernel
def warp(
    a: Any,
    b: Any,
    space: int,
    position: float,
    rotation: float,
    gripper: float,
    width: int,
    low: Any,
    high: Any,
) -> tuple[Any, float]:
    """The cheapest path and its cost; row i may use columns `low[i]` to `high[i]` inclusive."""
    n, m = len(a), len(b)
    cost = np.full((n + 1, m + 1), np.inf)
    came = np.zeros((n, m), np.int8)
    cost[0, 0] = 0.0
    for i in range(n):
        for j in range(low[i], high[i] + 1):
            best = cost[i, j]
            step = _DIAGONAL
            if cost[i, j + 1] < best:
                best = cost[i, j + 1]
                step = _UP
            if cost[i + 1, j] < best:
                best = cost[i + 1, j]
                step = _LEFT
            came[i, j] = step
            cost[i + 1, j + 1] = best + frame_cost(
                a[i], b[j], space, position, rotation, gripper, width
            )
    path = np.empty((n + m - 1, 2), np.int32)
    at = n + m - 2
    i, j = n - 1, m - 1
    while True:
        path[at, 0] = i
        path[at, 1] = j
        if i == 0 and j == 0:
            break
        at -= 1
        step = came[i, j]
        if step != _LEFT:
            i -= 1
        if step != _UP:
            j -= 1
    return path[at:], cost[n, m]
