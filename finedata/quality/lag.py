"""By how many frames the state follows the action: the lag at which the two are closest.

All episodes of a batch are shifted at once, one lag after the other, in both directions: a state
that leads its action is a fault of the log that must not read as "no lag".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finedata.quality.segments import segment_max, segment_min

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the column that moves most: less than this many scales tells no lag from another.
_LEAST_EXTENT = 1.0


@np.errstate(invalid="ignore", over="ignore")
def estimate_lags(
    state: NDArray[np.floating],
    action: NDArray[np.floating],
    offsets: NDArray[np.int64],
    *,
    max_lag: int,
) -> NDArray[np.float64]:
    """The lag at which action[t] and state[t + lag] are closest.

    The mean squared distance over the frames that overlap is smallest there; at least half of the
    episode overlaps. Of equals, the smallest lag, and the positive one first.

    Args:
        state: (rows, n) positions or joints, in scales.
        action: (rows, n) the same.
        offsets: (N + 1,) rows of each episode.
        max_lag: Largest lag tried in both directions.

    Returns:
        (N,) frames, positive where the state follows; NaN where nothing can be said: one of the
        two hardly moves, or a number is not finite.
    """
    lengths = np.diff(offsets)
    best = np.full(len(lengths), np.nan)
    if not state.shape[1] or not len(state):
        return best
    # Whole columns side by side: shifting one is a view.
    columns = [
        (
            np.ascontiguousarray(state[:, k], np.float32),
            np.ascontiguousarray(action[:, k], np.float32),
        )
        for k in range(state.shape[1])
    ]
    smallest = np.full(len(lengths), np.inf)
    for lag in sorted(range(-max_lag, max_lag + 1), key=lambda lag: (abs(lag), -lag)):
        shift = abs(lag)
        usable = lengths >= max(2 * shift, 1)
        if not usable.any():
            continue
        squared = np.zeros(len(state) - shift, np.float32)
        for of_state, of_action in columns:
            early, late = (of_action, of_state) if lag >= 0 else (of_state, of_action)
            apart = early[: len(early) - shift] - late[shift:]
            squared += apart * apart
        error = _mean_before(squared, offsets, shift, usable)
        better = error < smallest
        smallest[better], best[better] = error[better], lag
    return np.where(_moves(state, offsets) & _moves(action, offsets), best, np.nan)


def _mean_before(
    squared: NDArray[np.floating],
    offsets: NDArray[np.int64],
    shift: int,
    usable: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Mean over each usable episode but its last `shift` rows; inf for the others."""
    begins, ends = offsets[:-1][usable], offsets[1:][usable] - shift
    # Every second interval lies between episodes and is thrown away.
    bounds = np.stack([begins, ends], axis=1).reshape(-1)
    padded = np.concatenate([squared, np.zeros(1, squared.dtype)]).astype(np.float64)
    total = np.add.reduceat(padded, bounds)[::2]
    error = np.full(len(usable), np.inf)
    error[usable] = total / (ends - begins)
    return error


def _moves(values: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    extent = segment_max(values, offsets) - segment_min(values, offsets)
    return extent.max(axis=1) >= _LEAST_EXTENT
