"""Do action and state belong together? One score an episode, in units of what good control leaves.

The score is the mean over the DTW path of sqrt((1/G) sum over groups (e_g / s_g)^2): e_g is the
distance of the two tool positions, the angle of the two rotations (the same for q and -q), the
root mean square over an arm's joints, or the difference of the grippers; s_g is the group's scale.
1 means that action and state are, on the whole path, one scale apart. Warping takes out the lag
and the speed of the controller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finedata.motion.dtw.distances import FrameCost, Tracks, dtw_pairs
from finedata.quality.groups import whole_values
from finedata.quality.segments import rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from finedata.quality.groups import Group
    from finedata.store.motion.tracks import PartTracks

_POSE_WIDTH = 8
_FARTHEST = 1e9
_PLACE = {"position": slice(0, 3), "rotation": slice(3, 7), "gripper": slice(7, 8)}


def action_state_scores(
    tracks: PartTracks,
    groups: Sequence[Group],
    present: NDArray[np.bool_],
    chosen: NDArray[np.bool_],
    *,
    threads: int | None = None,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """Score every chosen episode of a batch, in one call of the engine for each number of groups.

    Args:
        tracks: N episodes.
        groups: What is compared.
        present: (N, G) which groups each episode has.
        chosen: (N,) which episodes; they have frames, and finite motion in the groups present.
        threads: Threads of the engine; all cores by default.
        device: See `dtw_pairs`; the last digits differ between devices.

    Returns:
        (N,) scores; NaN for episodes that are not chosen or have no group.
    """
    scores = np.full(len(tracks), np.nan)
    counts = present.sum(axis=1)
    for count in np.unique(counts[chosen & (counts > 0)]).tolist():
        these = chosen & (counts == count)
        joined, cost = _joined(tracks, groups, present, these, count)
        pairs = np.arange(2 * int(these.sum())).reshape(-1, 2)
        found = dtw_pairs(joined, pairs, cost=cost, threads=threads, device=device)
        scores[these] = found.distance
    return scores


def _joined(
    tracks: PartTracks,
    groups: Sequence[Group],
    present: NDArray[np.bool_],
    these: NDArray[np.bool_],
    count: int,
) -> tuple[Tracks, FrameCost]:
    """Tracks 2k (action) and 2k + 1 (state) of the k-th of these episodes, and their cost."""
    rows = rows_of(these, tracks.offsets)
    lengths = np.diff(tracks.offsets)[these]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    pose = any(group.kind == "position" for group in groups)
    arrange = _poses if pose else _vectors
    # Row r of an episode that begins at o becomes row r + o for the action; the state follows.
    begins = np.repeat(offsets[:-1], lengths)
    of_action = np.arange(int(offsets[-1])) + begins
    of_state = of_action + np.repeat(lengths, lengths)
    action, state = (
        arrange(whole_values(side[rows], offsets, groups, present[these]), groups, count)
        for side in (tracks.action, tracks.state)
    )
    values = np.empty((2 * len(action), action.shape[1]), np.float32)
    values[of_action], values[of_state] = action, state
    # Finite, but nonsense: far enough to fail, near enough for float32 sums.
    np.clip(values, -_FARTHEST, _FARTHEST, out=values)
    doubled = np.concatenate([[0], np.cumsum(np.repeat(lengths, 2))]).astype(np.int64)
    return Tracks(values, doubled), _cost(groups, count, pose=pose)


def _cost(groups: Sequence[Group], count: int, *, pose: bool) -> FrameCost:
    if not pose:
        return FrameCost(space="euclidean")
    share = 1.0 / np.sqrt(count)
    weight = {group.kind: float(share / group.scale) for group in groups}
    return FrameCost(
        space="pose_rms",
        position_weight=weight["position"],
        rotation_weight=weight["rotation"],
        gripper_weight=weight.get("gripper", 0.0),
    )


def _poses(
    values: NDArray[np.floating], groups: Sequence[Group], count: int
) -> NDArray[np.floating]:
    """Eight columns for each arm; a gripper that is not there stays 0 on both sides."""
    del count  # the weights of the cost hold it
    arms = list(dict.fromkeys(group.arm for group in groups))
    arranged = np.zeros((len(values), _POSE_WIDTH * len(arms)), np.float32)
    for group in groups:
        begin = _POSE_WIDTH * arms.index(group.arm)
        place = _PLACE[group.kind]
        arranged[:, begin + place.start : begin + place.stop] = values[:, group.columns]
    return arranged


def _vectors(
    values: NDArray[np.floating], groups: Sequence[Group], count: int
) -> NDArray[np.floating]:
    """Every column divided so that the norm of all is the score of a frame."""
    columns = [
        values[:, group.columns] / (group.scale * np.sqrt(count * group.width)) for group in groups
    ]
    return np.concatenate(columns, axis=1).astype(np.float32)
