"""FineVLA's gate as it was released, faults included: kept for comparison.

Frames are compared at the same index (so lag counts as error), dimensions by their range (so more
dimensions give a higher score), quaternions number by number (so q and -q differ), and the gripper
never. From `cal_distance.py` of FineVLA-Tool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finedata.quality.segments import segment_max, segment_mean, segment_min, segment_std

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from finedata.quality.groups import Group

RELEASED_DEFAULT_THRESHOLD = 0.2
_LEAST_FRAMES = 2
_LEAST_RANGE = 0.05
_STILL = 1e-3


def released_columns(groups: Sequence[Group], arms: Collection[str]) -> list[int]:
    """Columns that FineVLA compares: no gripper, and only some arms.

    Args:
        groups: Groups of the part.
        arms: Arms to compare; columns of an undeclared part belong to none and count always.
    """
    return [
        column
        for group in groups
        if group.kind != "gripper" and (not group.arm or group.arm in arms)
        for column in range(group.columns.start, group.columns.stop)
    ]


@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def released_scores(
    state: NDArray[np.floating], action: NDArray[np.floating], offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean over the frames of sqrt(sum over active dimensions ((s - a) / r)^2).

    A dimension is active if its range r over state and action together is at least 0.05, and its
    standard deviation is not below 1e-3 on both sides. The score is not divided by the number of
    dimensions.

    Args:
        state: (rows, n) columns that are compared.
        action: (rows, n) the same.
        offsets: (N + 1,) rows of each episode.

    Returns:
        (N,): NaN below two frames (or where a number is not finite), inf where exactly one side is
        static (every standard deviation below 1e-3), 0 where no dimension is active.
    """
    lengths = np.diff(offsets)
    state, action = state.astype(np.float64), action.astype(np.float64)
    still_state = segment_std(state, offsets) < _STILL
    still_action = segment_std(action, offsets) < _STILL
    highest = np.maximum(segment_max(state, offsets), segment_max(action, offsets))
    lowest = np.minimum(segment_min(state, offsets), segment_min(action, offsets))
    extent = highest - lowest
    active = (extent >= _LEAST_RANGE) & ~(still_state & still_action)
    per_unit = np.where(active, 1.0 / np.where(active, extent, 1.0), 0.0)
    error = (state - action) * np.repeat(per_unit, lengths, axis=0)
    scores = segment_mean(np.sqrt((error * error).sum(axis=1)), offsets)
    one_static = still_state.all(axis=1) != still_action.all(axis=1)
    scores[one_static] = np.inf
    scores[(lengths < _LEAST_FRAMES) | ~np.isfinite(extent).all(axis=1)] = np.nan
    return scores
