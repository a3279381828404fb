"""Greedy facility location: the row that adds most is chosen next, until none is left.

What a row adds is how much it lowers the total distance of all episodes to their nearest chosen
row, times its weight. This is within 1 - 1/e of the best choice of any size, for equal weights
(source: Nemhauser, Wolsey, Fisher 1978), and what is added never grows along the order.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Up to this many candidates all gains are computed anew at each step; above, only those in doubt.
_DENSE = 128


def greedy(
    distances: NDArray[np.floating],
    candidates: NDArray[np.int64],
    weight: NDArray[np.float64],
    nearest: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Choose rows by the largest weighted decrease of the total of `nearest`, until none is left.

    Args:
        distances: (c, n) of each candidate to each episode.
        candidates: (a,) rows that may be chosen, ascending; of equal decreases the first wins.
        weight: (c,) what a row's decrease is multiplied with.
        nearest: (n,) distance of each episode to the nearest row chosen before, or infinity:
            then the first decrease is counted from the largest distance.

    Returns:
        (a,) the rows in order, (a,) the totals after each, and what `nearest` became.
    """
    left = candidates
    order: list[int] = []
    totals: list[float] = []
    if len(left) and np.isinf(nearest).any():
        nearest = np.full(len(nearest), float(distances.max(initial=0.0)))
    choose = _dense_steps if len(left) <= _DENSE else _lazy_steps
    for row, after in choose(distances, left, weight, nearest):
        nearest = after
        order.append(row)
        totals.append(float(after.sum()))
    return np.array(order, np.int64), np.array(totals), nearest


def _dense_steps(
    distances: NDArray[np.floating],
    left: NDArray[np.int64],
    weight: NDArray[np.float64],
    nearest: NDArray[np.float64],
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Each row chosen and the nearest distances after it, all gains computed at each step."""
    while len(left):
        gains = weight[left] * np.maximum(nearest - distances[left], 0.0).sum(axis=1)
        best = int(np.argmax(gains))
        row = int(left[best])
        nearest = np.minimum(nearest, distances[row])
        left = np.delete(left, best)
        yield row, nearest


def _lazy_steps(
    distances: NDArray[np.floating],
    left: NDArray[np.int64],
    weight: NDArray[np.float64],
    nearest: NDArray[np.float64],
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """As `_dense_steps`; a gain never grows, so an old one is a bound and most stay as they are.

    Source: lazy evaluation of greedy choice, Minoux 1978.
    """
    heap = [
        (-float(weight[row] * np.maximum(nearest - distances[row], 0.0).sum()), row, 0)
        for row in left.tolist()
    ]
    heapify(heap)
    step = 0
    while heap:
        bound, row, computed = heap[0]
        if computed < step and bound < 0:
            gain = float(weight[row] * np.maximum(nearest - distances[row], 0.0).sum())
            heapreplace(heap, (-gain, row, step))
            continue
        heappop(heap)
        nearest = np.minimum(nearest, distances[row])
        step += 1
        yield row, nearest
