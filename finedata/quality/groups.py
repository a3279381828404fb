"""What of a track is compared, on which scale and with which weight.

A group is one arm's position, rotation, joints or gripper; in an undeclared part each column is
a group of its own. An error is measured in scales of its group, and groups are averaged, so that
neither a unit nor the number of arms or joints moves the score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from finedata.errors import UsageError
from finedata.quality.segments import rows_of, segment_max
from finedata.store.motion.arm_columns import arm_columns, is_hand_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from finedata.store.motion.tracks import PartTracks

__all__ = ["Group", "Scales", "named_scales", "part_groups", "present_groups", "whole_values"]


class Scales(msgspec.Struct, frozen=True, kw_only=True):
    """The error of a group that counts as 1: about what a good controller leaves on the way.

    Attributes:
        position_m: Metres between the two tool positions.
        rotation_rad: Angle between the two tool rotations.
        joint_rad: Root mean square over an arm's joints.
        gripper: Open fraction.
        column_share: Of an undeclared column: share of its range in a usual episode.
    """

    position_m: float = 0.02
    rotation_rad: float = 0.1
    joint_rad: float = 0.05
    gripper: float = 0.25
    column_share: float = 0.05


def named_scales(values: Mapping[str, float]) -> Scales:
    """The scales with some of them given by name.

    Raises:
        UsageError: There is no such scale.
    """
    unknown = sorted(set(values) - set(Scales.__struct_fields__))
    if unknown:
        raise UsageError(
            parameter="scale",
            found=f"{unknown[0]!r}",
            wanted=f"one of {', '.join(Scales.__struct_fields__)}",
        )
    return msgspec.convert(dict(values), Scales)


@dataclass(frozen=True, slots=True)
class Group:
    """Some columns that are compared as one.

    Attributes:
        arm: `right`, `left`, or "" where undeclared.
        kind: What they are.
        columns: Where they stand in state and action.
        scale: Their error that counts as 1, in their own unit.
    """

    arm: str
    kind: Literal["position", "rotation", "joints", "hand", "gripper", "column"]
    columns: slice
    scale: float

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.columns.stop - self.columns.start


def part_groups(
    tracks: PartTracks, *, scales: Scales, column_range: NDArray[np.float64] | None = None
) -> list[Group]:
    """List what is compared between state and action of a part.

    The joints of a hand are a group of their own: their unit is the vendor's, so their error is
    measured like a gripper's, in shares of how far the hand usually moves.

    Args:
        tracks: Any batch of the part.
        scales: See `Scales`.
        column_range: (n,) usual range of each column of the state, for an undeclared part and
            for hands.

    Returns:
        The groups in the order of the columns; none where state and action have other names.
    """
    if tracks.names != tracks.action_names:
        return []
    if tracks.space == "undeclared":
        ranges = np.zeros(len(tracks.names)) if column_range is None else column_range
        return [
            Group("", "column", slice(k, k + 1), float(extent) * scales.column_share)
            for k, extent in enumerate(ranges)
            # A column that never moves has no scale, and says nothing.
            if np.isfinite(extent) and extent > 0
        ]
    groups: list[Group] = []
    for arm, columns in arm_columns(tracks.names).items():
        if tracks.space == "ee" and columns.position and columns.quaternion:
            groups.append(Group(arm, "position", columns.position, scales.position_m))
            groups.append(Group(arm, "rotation", columns.quaternion, scales.rotation_rad))
        elif columns.joints:
            groups += _joint_groups(arm, tracks.names, columns.joints, scales, column_range)
        if columns.gripper is not None:
            gripper = slice(columns.gripper, columns.gripper + 1)
            groups.append(Group(arm, "gripper", gripper, scales.gripper))
    return groups


def _joint_groups(
    arm: str,
    names: Sequence[str],
    joints: slice,
    scales: Scales,
    column_range: NDArray[np.float64] | None,
) -> list[Group]:
    """The arm's joints, and its hand's; each stands side by side."""
    hands = [k for k in range(joints.start, joints.stop) if is_hand_column(names[k])]
    first = hands[0] if hands else joints.stop
    groups: list[Group] = []
    if first > joints.start:
        groups.append(Group(arm, "joints", slice(joints.start, first), scales.joint_rad))
    if hands:
        usual = 0.0 if column_range is None else float(column_range[hands].max())
        scale = scales.gripper * (usual if usual > 0 else 1.0)
        groups.append(Group(arm, "hand", slice(first, joints.stop), scale))
    return groups


def present_groups(
    tracks: PartTracks, groups: Sequence[Group], arms: Sequence[Sequence[str]]
) -> NDArray[np.bool_]:
    """Tell which groups each episode has.

    An arm that `episodes.arms` does not name, or that holds no number at all beside one that
    does, is not there. A gripper without a number on either side is unknown. Neither is an error.

    Args:
        tracks: N episodes.
        groups: G groups of the part.
        arms: The arms of each episode; an empty list says nothing.

    Returns:
        (N, G) bool.
    """
    number = {
        side: segment_max(np.isfinite(values).astype(np.float32), tracks.offsets) > 0
        for side, values in (("state", tracks.state), ("action", tracks.action))
    }
    present = np.ones((len(tracks), len(groups)), np.bool_)
    named = np.array(
        [[not listed or not g.arm or g.arm in listed for g in groups] for listed in arms],
        np.bool_,
    ).reshape(present.shape)
    silent = np.zeros_like(present)
    for arm in dict.fromkeys(group.arm for group in groups if group.arm):
        own = [g for g, group in enumerate(groups) if group.arm == arm]
        columns = np.concatenate([_columns(groups[g]) for g in own])
        some = number["state"][:, columns] | number["action"][:, columns]
        silent[:, own] = ~some.any(axis=1, keepdims=True)
    silent &= ~silent.all(axis=1, keepdims=True)
    present &= named & ~silent
    for g, group in enumerate(groups):
        if group.kind == "gripper":
            columns = _columns(group)
            known = number["state"][:, columns] & number["action"][:, columns]
            present[:, g] &= known[:, 0]
    return present


def whole_values(
    values: NDArray[np.floating],
    offsets: NDArray[np.int64],
    groups: Sequence[Group],
    present: NDArray[np.bool_],
) -> NDArray[np.floating]:
    """States or actions with what is absent set to 0 (a quaternion to no rotation), in a copy.

    Args:
        values: (rows, n).
        offsets: (N + 1,).
        groups: G groups.
        present: (N, G).
    """
    if present.all():
        return values
    copied = np.array(values)
    for g, group in enumerate(groups):
        absent = rows_of(~present[:, g], offsets)
        if absent.any():
            filler = np.zeros(group.width, values.dtype)
            if group.kind == "rotation":
                filler[3] = 1.0
            copied[absent, group.columns] = filler
    return copied


def _columns(group: Group) -> NDArray[np.int64]:
    return np.arange(int(group.columns.start), int(group.columns.stop), dtype=np.int64)
