"""How far and how fast does an arm move? Motion of many episodes in, extents and jumps out.

Both are given in units of what is allowed, the largest over an episode's groups, so that metres
and radians compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finedata.quality.segments import (
    first_rows,
    rows_of,
    segment_max,
    segment_min,
    segment_quantile,
    step_offsets,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from finedata.quality.groups import Group
    from finedata.quality.limits import Limits

# Two rotations are at most half a turn apart: a limit beyond it would never be reached.
_WIDEST_STEP_RAD = 2.5
_USUAL_SHARE = 0.75


@np.errstate(invalid="ignore", over="ignore")
def group_extents(
    values: NDArray[np.floating],
    offsets: NDArray[np.int64],
    groups: Sequence[Group],
    *,
    limits: Limits,
) -> NDArray[np.float64]:
    """How far each episode moves at all.

    The range of the widest column of a position, of joints, of a gripper; the largest angle to the
    first frame for a rotation.

    Args:
        values: (rows, n) states or actions.
        offsets: (N + 1,).
        groups: The groups.
        limits: `frozen_m` and so on.

    Returns:
        (N,) the largest extent of a group, in units of its limit; 0 without groups.
    """
    still = {
        "position": limits.frozen_m,
        "rotation": limits.frozen_rad,
        "joints": limits.frozen_rad,
        "hand": limits.frozen_gripper,
        "gripper": limits.frozen_gripper,
        "column": limits.frozen_column,
    }
    largest = np.zeros(len(offsets) - 1)
    for group in groups:
        own = values[:, group.columns]
        if group.kind == "rotation":
            extent = segment_max(_angles_rad(own, first_rows(own, offsets)), offsets)
        else:
            extent = (segment_max(own, offsets) - segment_min(own, offsets)).max(axis=1)
        largest = np.maximum(largest, extent / still[group.kind])
    return largest


@np.errstate(invalid="ignore", over="ignore")
def group_jumps(
    values: NDArray[np.floating],
    offsets: NDArray[np.int64],
    groups: Sequence[Group],
    usable: NDArray[np.bool_],
    *,
    limits: Limits,
    fps: float,
) -> NDArray[np.float64]:
    """How far the largest step of each episode goes beyond what is allowed.

    A step is a jump if it is faster than any arm of the sources and also many times the step that
    three in four of the episode's own stay below: a fast episode, or a low rate, is no jump.

    Args:
        values: (rows, n) states.
        offsets: (N + 1,).
        groups: The groups; grippers and hands may jump, and undeclared columns have no unit.
        usable: (N,) episodes with two frames and only finite numbers.
        limits: `jump_m` and so on.
        fps: Frames a second.

    Returns:
        (N,) largest step in units of the allowed one; NaN where nothing can be said.
    """
    largest = np.full(len(offsets) - 1, np.nan)
    inside, bounds = step_offsets(offsets)
    for group in groups:
        if group.kind not in ("position", "rotation", "joints"):
            continue
        own = values[:, group.columns]
        steps = _steps(own, group)[inside]
        longest = np.where(usable, segment_max(steps, bounds), np.nan)
        allowed = np.full(len(longest), _physical(group, limits, fps))
        doubtful = usable & (longest > allowed)
        if doubtful.any():
            lengths = np.diff(bounds)[doubtful]
            chosen = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            usual = segment_quantile(steps[rows_of(doubtful, bounds)], chosen, _USUAL_SHARE)
            allowed[doubtful] = np.maximum(allowed[doubtful], limits.jump_times_usual * usual)
        largest = np.fmax(largest, longest / allowed)
    return largest


def _steps(values: NDArray[np.floating], group: Group) -> NDArray[np.float64]:
    if group.kind == "rotation":
        return _angles_rad(values[1:], values[:-1])
    apart = np.diff(values.astype(np.float64, copy=False), axis=0)
    if group.kind == "joints":
        return np.abs(apart).max(axis=1)
    return np.sqrt(_squared(apart))


def _physical(group: Group, limits: Limits, fps: float) -> float:
    if group.kind == "position":
        return max(limits.jump_m, limits.jump_m_per_s / fps)
    largest = max(limits.jump_rad, limits.jump_rad_per_s / fps)
    return min(largest, _WIDEST_STEP_RAD) if group.kind == "rotation" else largest


def _angles_rad(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Angle between unit quaternions by their chord: exact 0 for q and -q, no noise near it."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    near, far = _squared(a - b), _squared(a + b)
    return 4.0 * np.arcsin(np.minimum(np.sqrt(np.minimum(near, far)) / 2.0, 1.0))


def _squared(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared norm of each row; a sum over so short an axis takes three times as long."""
    return np.einsum("ij,ij->i", rows, rows)
