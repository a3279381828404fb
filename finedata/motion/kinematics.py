"""Published robot models, small enough to state: the flange's pose by the joint angles.

An episode that stores joints beside its pose carries its own proof: the pose computed from the
joints knows nothing of rotation encodings, so the encoding of the written pose can be read off
from it. Only arms whose makers publish a Denavit-Hartenberg table are here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np

from finedata.errors import FeatureError
from finedata.motion.quaternion import multiply, normalise, rotate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

__all__ = ["MODELS", "RobotModel", "forward_kinematics"]

_QUARTER = pi / 2

# Broken rows are answered with NaN, not with warnings.
_quiet = np.errstate(invalid="ignore", over="ignore", under="ignore")


@dataclass(frozen=True, slots=True)
class RobotModel:
    """A serial arm of revolute joints.

    Attributes:
        name: Its key in `MODELS`.
        joints: How many angles it takes, in radians.
        convention: `modified` (Craig: from link to link by Rx(alpha) Tx(a) Rz(theta) Tz(d)) or
            `standard` (the classic one: Rz(theta) Tz(d) Tx(a) Rx(alpha)).
        table: (a, alpha, d) of each joint, in metres and radians.
        flange_m: Distance of the flange from the last joint's frame, along its z axis.
        frames: The base and the end that the pose is of, in the maker's names.
        source: Where the numbers are published.
    """

    name: str
    joints: int
    convention: Literal["modified", "standard"]
    table: tuple[tuple[float, float, float], ...]
    flange_m: float
    frames: str
    source: str


def _franka(name: str) -> RobotModel:
    return RobotModel(
        name=name,
        joints=7,
        convention="modified",
        table=(
            (0.0, 0.0, 0.333),
            (0.0, -_QUARTER, 0.0),
            (0.0, _QUARTER, 0.316),
            (0.0825, _QUARTER, 0.0),
            (-0.0825, -_QUARTER, 0.384),
            (0.0, _QUARTER, 0.0),
            (0.088, _QUARTER, 0.0),
        ),
        flange_m=0.107,
        # The hand is mounted at -45 degrees about the flange's z axis; that turn is not in here.
        frames="panda_link0 to panda_link8 (the flange, without the hand)",
        source="Franka Robotics, Franka Control Interface documentation, "
        "'Denavit-Hartenberg parameters' (Craig's convention); FR3 has the same table",
    )


def _universal(name: str, *, d: tuple[float, ...], a2: float, a3: float) -> RobotModel:
    a = (0.0, a2, a3, 0.0, 0.0, 0.0)
    alpha = (_QUARTER, 0.0, 0.0, _QUARTER, -_QUARTER, 0.0)
    return RobotModel(
        name=name,
        joints=6,
        convention="standard",
        table=tuple(zip(a, alpha, d, strict=True)),
        flange_m=0.0,
        # ROS's base_link is this base after half a turn about z.
        frames="the controller's base to tool0",
        source="Universal Robots, 'DH parameters for calculations of kinematics and dynamics'",
    )


_MODELS = (
    _franka("franka_panda"),
    _franka("fr3"),
    _universal("ur5e", d=(0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996), a2=-0.425, a3=-0.3922),
    _universal("ur5", d=(0.089159, 0.0, 0.0, 0.10915, 0.09465, 0.0823), a2=-0.425, a3=-0.39225),
)

MODELS: Mapping[str, RobotModel] = MappingProxyType({model.name: model for model in _MODELS})
"""Every model by its name; `ur5` is the CB3 generation."""


@_quiet
def forward_kinematics(
    joint_position: ArrayLike, *, model: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the flange is.

    Args:
        joint_position: (T, n) radians, n joints from the base to the wrist; no gripper column.
        model: A key of `MODELS`.

    Returns:
        Position (T, 3) in metres and unit quaternion xyzw (T, 4), of either sign, in the robot's
        own base frame. Frames with a joint that is not finite are NaN.

    Raises:
        FeatureError: The model is unknown, or the columns are not its joints.

    Source: Craig, "Introduction to Robotics", chapter 3 (`modified`); Denavit and Hartenberg, "A
    kinematic notation for lower-pair mechanisms", J. Applied Mechanics 1955 (`standard`). The
    tables are cited in each model's `source`.

    Example:
        >>> position_m, _ = forward_kinematics([[0.0] * 7], model="franka_panda")
        >>> (position_m.round(9) + 0.0).tolist()
        [[0.088, 0.0, 0.926]]
    """
    robot = MODELS.get(model)
    if robot is None:
        raise FeatureError(place="a robot model", found=repr(model), wanted=" | ".join(MODELS))
    joints = np.asarray(joint_position, np.float64)
    if joints.ndim != 2 or joints.shape[1] != robot.joints:
        raise FeatureError(
            place=f"joint positions of {model}",
            found=f"an array of shape {joints.shape}",
            wanted=f"(T, {robot.joints}), radians, without the gripper",
        )
    # A row with a broken joint is broken as a whole: its first links would mean nothing alone.
    joints = np.where(np.isfinite(joints).all(axis=1, keepdims=True), joints, np.nan)
    position_m = np.zeros((len(joints), 3))
    quaternion = np.tile([0.0, 0.0, 0.0, 1.0], (len(joints), 1))
    for theta, (a, alpha, d) in zip(joints.T, robot.table, strict=True):
        turn_x = np.array([sin(0.5 * alpha), 0.0, 0.0, cos(0.5 * alpha)])
        turn_z = np.zeros((len(joints), 4))
        turn_z[:, 2], turn_z[:, 3] = np.sin(0.5 * theta), np.cos(0.5 * theta)
        if robot.convention == "modified":
            shift = np.array([a, -sin(alpha) * d, cos(alpha) * d])
            turn = multiply(turn_x, turn_z)
        else:
            shift = np.stack([a * np.cos(theta), a * np.sin(theta), np.full_like(theta, d)], -1)
            turn = multiply(turn_z, turn_x)
        position_m = position_m + rotate(quaternion, shift)
        quaternion = multiply(quaternion, turn)
    position_m = position_m + rotate(quaternion, [0.0, 0.0, robot.flange_m])
    return position_m + 0.0 * joints[:, :1], normalise(quaternion)[0]
