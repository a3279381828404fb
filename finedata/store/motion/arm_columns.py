"""Where an arm stands in a packed vector, decided by the names of the vector's columns alone.

Names of another form give no arm. A quantity is one slice, so columns of it that do not stand side
by side are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import FeatureError

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

__all__ = ["ArmColumns", "arm_columns", "is_hand_column", "joint_track", "pose_track"]

_POSITION = ("x", "y", "z")
_QUATERNION = ("qx", "qy", "qz", "qw")
_JOINT = re.compile(r"(joint|hand)_\d+")
_HAND = re.compile(r"(right|left)_hand_\d+")


@dataclass(frozen=True, slots=True)
class ArmColumns:
    """Where one arm's numbers stand in a packed vector; None where it has none.

    Attributes:
        position: Columns of x, y, z, metres in the arm's base frame.
        quaternion: Columns of qx, qy, qz, qw.
        joints: Columns of the joints, radians; the joints of a dexterous hand count among them.
        gripper: Column of the open fraction (1 = open).
    """

    position: slice | None
    quaternion: slice | None
    joints: slice | None
    gripper: int | None


def arm_columns(names: Collection[str]) -> dict[str, ArmColumns]:
    """Find each arm's numbers by the names of the packed vector.

    Args:
        names: For example `right_x ... right_gripper, left_x ...`, or `right_joint_0 ...`.

    Returns:
        Arm to its columns, in the order of the columns; nothing for names of another form.

    Raises:
        FeatureError: The columns of one quantity do not stand side by side.

    Example:
        >>> arm_columns(["right_joint_0", "right_joint_1", "right_gripper"])["right"].joints
        slice(0, 2, None)
    """
    listed = list(names)
    found: dict[str, ArmColumns] = {}
    for arm in sorted(("right", "left"), key=lambda arm: _first(listed, f"{arm}_")):
        own = {
            name.removeprefix(f"{arm}_"): column
            for column, name in enumerate(listed)
            if name.startswith(f"{arm}_")
        }
        joints = [name for name in own if _JOINT.fullmatch(name)]
        columns = ArmColumns(
            position=_side_by_side(own, _POSITION, arm),
            quaternion=_side_by_side(own, _QUATERNION, arm),
            joints=_side_by_side(own, joints, arm),
            gripper=own.get("gripper"),
        )
        if columns.position is not None or columns.joints is not None:
            found[arm] = columns
    return found


def is_hand_column(name: str) -> bool:
    """Whether a number of a packed vector is one of a dexterous hand, by its packed name.

    Example:
        >>> is_hand_column("right_hand_3"), is_hand_column("right_joint_3")
        (True, False)
    """
    return _HAND.fullmatch(name) is not None


def pose_track(values: NDArray[np.float32], columns: ArmColumns) -> NDArray[np.float32]:
    """One arm's pose, as `FrameCost(space="pose")` wants it.

    Args:
        values: (T, n) states or actions.
        columns: The arm's columns.

    Returns:
        (T, 8) x, y, z (metres), qx, qy, qz, qw, gripper; 0 for a gripper that is not there.

    Raises:
        FeatureError: The arm has no pose.
    """
    if columns.position is None or columns.quaternion is None:
        raise FeatureError(place="arm", found="no pose", wanted="x, y, z, qx, qy, qz, qw")
    parts = [values[:, columns.position], values[:, columns.quaternion]]
    return np.concatenate([*parts, _gripper(values, columns)], axis=1)


def joint_track(values: NDArray[np.float32], columns: ArmColumns) -> NDArray[np.float32]:
    """One arm's joints, as `FrameCost(space="joint")` wants them.

    Args:
        values: (T, n) states or actions.
        columns: The arm's columns.

    Returns:
        (T, J + 1) joints (radians), gripper; 0 for a gripper that is not there.

    Raises:
        FeatureError: The arm has no joints.
    """
    if columns.joints is None:
        raise FeatureError(place="arm", found="no joints", wanted="joint_0 and so on")
    return np.concatenate([values[:, columns.joints], _gripper(values, columns)], axis=1)


def _first(names: list[str], prefix: str) -> int:
    return next((k for k, name in enumerate(names) if name.startswith(prefix)), len(names))


def _side_by_side(own: dict[str, int], wanted: Collection[str], arm: str) -> slice | None:
    columns = [own[name] for name in wanted if name in own]
    if not columns or len(columns) < len(wanted):
        return None
    if columns != list(range(columns[0], columns[0] + len(columns))):
        raise FeatureError(
            place=f"{arm} arm",
            found=f"columns {columns} for {', '.join(wanted)}",
            wanted="columns side by side, in this order",
        )
    return slice(columns[0], columns[0] + len(columns))


def _gripper(values: NDArray[np.float32], columns: ArmColumns) -> NDArray[np.float32]:
    if columns.gripper is None:
        return np.zeros((len(values), 1), values.dtype)
    return values[:, columns.gripper : columns.gripper + 1]
