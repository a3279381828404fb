"""Which checks an episode is put to, what is measured for each, and what is allowed.

Each check has a name from `schemas/v1/gate.json`, a measured value and a limit. A check that
cannot be made of an episode (a jump where a number is missing, a clock where there is none) is not
made: it neither passes nor fails. Many episodes are checked at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.quality.groups import whole_values
from finedata.quality.segments import segment_max, segment_min, segment_sum, step_offsets
from finedata.quality.steps import group_extents, group_jumps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from finedata.quality.groups import Group
    from finedata.quality.limits import Limits
    from finedata.store.motion.tracks import PartTracks


@dataclass(frozen=True, slots=True, eq=False)
class CheckColumn:
    """One check of N episodes: whether it was made, what was measured, what was allowed."""

    made: NDArray[np.bool_]
    value: NDArray[np.float64]
    limit: NDArray[np.float64]
    passed: NDArray[np.bool_]

    @property
    def failed(self) -> NDArray[np.bool_]:
        """(N,) made, and not passed."""
        return self.made & ~self.passed


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeFacts:
    """What the table of episodes and the receipts say about N episodes.

    Attributes:
        has_instruction: Whether the task is not empty.
        minimum_frames: Fewest frames that pass.
        norm_deviation: Largest |norm - 1| of a source quaternion; NaN where there is none.
        fps: Frames a second of the part.
    """

    has_instruction: NDArray[np.bool_]
    minimum_frames: NDArray[np.int64]
    norm_deviation: NDArray[np.float64]
    fps: float


def batch_checks(
    tracks: PartTracks,
    groups: Sequence[Group],
    present: NDArray[np.bool_],
    facts: EpisodeFacts,
    *,
    limits: Limits,
) -> dict[str, CheckColumn]:
    """Make every check that looks at one episode alone.

    Args:
        tracks: N episodes.
        groups: G groups of the part; none where state and action have other names.
        present: (N, G).
        facts: Of the same episodes.
        limits: See `Limits`.

    Returns:
        Check to its column, in checking order.
    """
    lengths = np.diff(tracks.offsets)
    everywhere = np.ones(len(tracks), np.bool_)
    bad = _non_finite(tracks, groups, present)
    usable = (bad == 0) & (lengths > 1)
    # what is not there is neither finite nor frozen
    has_state = everywhere & (tracks.state.shape[1] > 0)
    has_action = everywhere & (tracks.action.shape[1] > 0)
    state = whole_values(tracks.state, tracks.offsets, groups, present)
    action = whole_values(tracks.action, tracks.offsets, groups, present)
    checks = {
        "too_short": _at_least(lengths, facts.minimum_frames, everywhere),
        "empty_instruction": _at_least(facts.has_instruction, everywhere, everywhere),
        "non_finite": _at_most(bad, 0.0, has_state | has_action),
        "frozen_state": _frozen(state, tracks, groups, limits, usable & has_state),
        "frozen_action": _frozen(action, tracks, groups, limits, usable & has_action),
    }
    smallest = _smallest_time_step(tracks)
    checks["time_not_increasing"] = CheckColumn(
        np.isfinite(smallest), smallest, np.zeros(len(tracks)), smallest > 0
    )
    deviation = facts.norm_deviation
    for side in (state, action):
        deviation = np.fmax(deviation, _stored_deviation(side, tracks.offsets, groups))
    checks["quaternion_norm"] = _at_most(deviation, limits.quaternion_norm, ~np.isnan(deviation))
    jumps = group_jumps(state, tracks.offsets, groups, usable, limits=limits, fps=facts.fps)
    checks["jump"] = _at_most(jumps, 1.0, usable & ~np.isnan(jumps))
    return checks


def joined_checks(batches: Sequence[dict[str, CheckColumn]]) -> dict[str, CheckColumn]:
    """Put the columns of batches one after the other."""
    return {
        name: CheckColumn(
            *(
                np.concatenate([getattr(batch[name], field) for batch in batches])
                for field in ("made", "value", "limit", "passed")
            )
        )
        for name in (batches[0] if batches else {})
    }


def _at_least(value: NDArray[np.generic], limit: object, made: NDArray[np.bool_]) -> CheckColumn:
    measured = np.asarray(value, np.float64)
    allowed = np.broadcast_to(np.asarray(limit, np.float64), measured.shape)
    return CheckColumn(made, measured, allowed, measured >= allowed)


def _at_most(value: NDArray[np.generic], limit: object, made: NDArray[np.bool_]) -> CheckColumn:
    measured = np.asarray(value, np.float64)
    allowed = np.broadcast_to(np.asarray(limit, np.float64), measured.shape)
    return CheckColumn(made, measured, allowed, measured <= allowed)


def _non_finite(
    tracks: PartTracks, groups: Sequence[Group], present: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Numbers of state and action that are not finite, those of absent groups left out."""
    count = np.zeros(len(tracks))
    for values in (tracks.state, tracks.action):
        whole = np.isfinite(values)
        if whole.all():
            continue
        bad = segment_sum(~whole, tracks.offsets)
        for g, group in enumerate(groups):
            bad[:, group.columns] *= present[:, g, None]
        count += bad.sum(axis=1)
    return count


def _frozen(
    values: NDArray[np.floating],
    tracks: PartTracks,
    groups: Sequence[Group],
    limits: Limits,
    usable: NDArray[np.bool_],
) -> CheckColumn:
    """Value: the largest extent of a group, in units of what counts as still; above 1 it moves."""
    if tracks.space == "undeclared":
        ranges = segment_max(values, tracks.offsets) - segment_min(values, tracks.offsets)
        extents = ranges.max(axis=1, initial=0.0) / limits.frozen_column
    else:
        extents = group_extents(values, tracks.offsets, groups, limits=limits)
    return _at_least(extents, 1.0, usable)


def _smallest_time_step(tracks: PartTracks) -> NDArray[np.float64]:
    """Smallest finite step of the source's clock, seconds; NaN where there is none."""
    times = tracks.source_time_s
    if times is None:
        return np.full(len(tracks), np.nan)
    inside, offsets = step_offsets(tracks.offsets)
    with np.errstate(invalid="ignore"):
        steps = np.diff(times)[inside]
    steps[~np.isfinite(steps)] = np.inf
    smallest = segment_min(steps, offsets)
    return np.where(np.isfinite(smallest), smallest, np.nan)


def _stored_deviation(
    values: NDArray[np.floating], offsets: NDArray[np.int64], groups: Sequence[Group]
) -> NDArray[np.float64]:
    """Largest |norm - 1| of the stored quaternions; NaN where there is none."""
    largest = np.full(len(offsets) - 1, np.nan)
    for group in groups:
        if group.kind == "rotation":
            quaternion = values[:, group.columns].astype(np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                off = np.abs(np.linalg.norm(quaternion, axis=1) - 1.0)
            off[~np.isfinite(off)] = 0.0
            largest = np.fmax(largest, segment_max(off, offsets))
    return largest
