"""Arithmetic over many episodes at once: one number an episode, without a loop in Python.

Episodes lie one after the other: episode k is rows `offsets[k]` to `offsets[k + 1]`. A loop over
a million episodes in Python would cost more than everything else in the gate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def rows_of(chosen: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Spread a mark of each episode over its rows: (N,) to (rows,)."""
    return np.repeat(chosen, np.diff(offsets))


def first_rows(values: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.floating]:
    """Each row replaced by the first row of its episode."""
    return values[np.repeat(offsets[:-1], np.diff(offsets))]


def segment_sum(values: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum over each episode, in float64; 0 where it has no row."""
    return _reduced(np.add, values.astype(np.float64, copy=False), offsets, 0.0)


def segment_mean(values: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over each episode, in float64; NaN where it has no row."""
    lengths = np.diff(offsets).astype(np.float64)
    lengths[lengths == 0] = np.nan
    total = segment_sum(values, offsets)
    return total / lengths.reshape(-1, *[1] * (total.ndim - 1))


def segment_std(values: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Population standard deviation over each episode, in two passes; NaN where it has no row."""
    mean = segment_mean(values, offsets)
    spread = values - np.repeat(mean, np.diff(offsets), axis=0)
    return np.sqrt(segment_mean(spread * spread, offsets))


def segment_max(values: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Largest over each episode; -inf where it has no row, NaN where it has one."""
    return _reduced(np.maximum, values, offsets, -np.inf)


def segment_min(values: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Smallest over each episode; inf where it has no row, NaN where it has one."""
    return _reduced(np.minimum, values, offsets, np.inf)


def segment_quantile(
    values: NDArray[np.floating], offsets: NDArray[np.int64], share: float
) -> NDArray[np.float64]:
    """The value that at least `share` of each episode's rows do not exceed (an order statistic).

    Args:
        values: (rows,) at least 0, finite.
        offsets: (N + 1,).
        share: In (0, 1].

    Returns:
        (N,); 0 where an episode has no row.
    """
    lengths = np.diff(offsets)
    # One sort for all episodes: each is mapped into its own unit interval, which keeps its order.
    number = np.repeat(np.arange(len(lengths), dtype=np.float64), lengths)
    order = np.argsort(number + values / (1.0 + values) * 0.999, kind="stable")
    rank = np.ceil(share * lengths).astype(np.int64) - 1
    found = np.zeros(len(lengths))
    there = lengths > 0
    where = (offsets[:-1] + np.clip(rank, 0, None))[there]
    found[there] = values[order][where]
    return found


def step_offsets(offsets: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which differences of neighbouring rows stay within an episode, and their offsets.

    Returns:
        Mark of each of the `rows - 1` differences, and the (N + 1,) offsets of those marked.
    """
    inside = np.ones(max(int(offsets[-1]) - 1, 0), np.bool_)
    borders = offsets[1:-1] - 1
    inside[borders[(borders >= 0) & (borders < len(inside))]] = False
    steps = np.maximum(np.diff(offsets) - 1, 0)
    return inside, np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)


def _reduced(
    operation: np.ufunc, values: NDArray[np.floating], offsets: NDArray[np.int64], empty: float
) -> NDArray[np.float64]:
    lengths = np.diff(offsets)
    found = np.full((len(lengths), *values.shape[1:]), empty, np.float64)
    there = lengths > 0
    if there.any():
        found[there] = operation.reduceat(values, offsets[:-1][there], axis=0)
    return found
