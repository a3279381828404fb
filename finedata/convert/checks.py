"""What a receipt says about an episode's motion: residuals, and flags for what looks wrong.

Canonical motion comes in; numbers and names from the closed list of flags go out. A flag never
drops anything: it is there to be asked for later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.motion import action_state_residual, estimate_lag, geodesic_angle_rad

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.convert.canonical import ArmMotion, CanonicalMotion, Pose
    from finedata.schema.converter import ArmSpec

__all__ = ["arm_receipt", "motion_flags"]

# A quaternion this far from unit norm was not one (float32 noise is below 1e-6).
_NORM_TOLERANCE = 1e-2
# No recorded arm of the ten sources moves half a metre or 2 rad between two frames.
_JUMP_M = 0.5
_JUMP_RAD = 2.0
# Below these an arm did not move: encoder noise of the sources is an order larger.
_FROZEN_M = 1e-4
_FROZEN_RAD = 1e-3
_FROZEN_GRIPPER = 1e-3
# A first or last action this close to the pose it starts from commands nothing.
_IDLE_M = 1e-5
_IDLE_RAD = 1e-4
# Open fractions are not clipped; Bridge reaches 1.115.
_GRIPPER_SLACK = 0.25


@dataclass(frozen=True, slots=True)
class _Motion:
    """Largest step and extent of a trajectory; NaN rows do not count."""

    step_m: float
    step_rad: float
    extent_m: float
    extent_rad: float
    extent_gripper: float


def arm_receipt(motion: ArmMotion, spec: ArmSpec) -> dict[str, Any]:
    """The `arms` entry of a receipt.

    `lag_frames` is how many frames the state follows the action; the residuals are means over
    the frames compared at that lag; `drift_m` is how far an integrated target ends from the
    measured pose.
    """
    state, action = motion.state, motion.action
    lag = estimate_lag(action.position_m, state.position_m)
    position_m, rotation_rad = action_state_residual(
        action.position_m,
        action.quaternion_xyzw,
        state.position_m,
        state.quaternion_xyzw,
        lag_frames=lag,
    )
    drift = _distance_m(action.position_m[-1], state.position_m[-1])
    gripper = state.gripper_open[np.isfinite(state.gripper_open)]
    return {
        "arm": motion.name,
        "encoding": spec.state.rotation.encoding,
        "tool_frame": spec.tool_frame,
        "quaternion_norm_min": motion.quaternion_norm_min,
        "quaternion_norm_max": motion.quaternion_norm_max,
        "sign_flips": motion.sign_flips,
        "wrap_jumps": motion.wrap_jumps,
        "gripper_min": float(gripper.min()) if len(gripper) else None,
        "gripper_max": float(gripper.max()) if len(gripper) else None,
        "action_state_position_m": _finite(position_m),
        "action_state_rotation_rad": _finite(rotation_rad),
        "lag_frames": lag,
        "drift_m": _finite(drift) if spec.action.reference == "delta" else None,
    }


def motion_flags(motion: CanonicalMotion) -> set[str]:
    """Flags of an episode's motion, over all arms."""
    flags: set[str] = set()
    for arm in motion.arms:
        flags |= _arm_flags(arm)
    return flags


def _arm_flags(arm: ArmMotion) -> set[str]:
    state, action = _measure(arm.state), _measure(arm.action)
    gripper = arm.state.gripper_open
    norms = (arm.quaternion_norm_min or 1.0, arm.quaternion_norm_max or 1.0)
    outside = (gripper < -_GRIPPER_SLACK) | (gripper > 1.0 + _GRIPPER_SLACK)
    raised = {
        "nonfinite_state": _nonfinite(arm.state),
        "nonfinite_action": _nonfinite(arm.action),
        "quaternion_norm_off": max(abs(norm - 1.0) for norm in norms) > _NORM_TOLERANCE,
        "position_jump": state.step_m > _JUMP_M,
        "rotation_jump": state.step_rad > _JUMP_RAD,
        "state_frozen": _frozen(state),
        "action_frozen": _frozen(action),
        "gripper_out_of_range": bool(outside.any()),
        "idle_first_action": _same_pose(arm.action, 0, arm.state, 0),
        "idle_last_action": len(gripper) > 1 and _same_pose(arm.action, -1, arm.action, -2),
    }
    return {name for name, is_raised in raised.items() if is_raised}


def _measure(pose: Pose) -> _Motion:
    finite = np.isfinite(pose.position_m).all(axis=1) & np.isfinite(pose.quaternion_xyzw).all(
        axis=1
    )
    position = pose.position_m[finite]
    quaternion = pose.quaternion_xyzw[finite]
    gripper = pose.gripper_open[np.isfinite(pose.gripper_open)]
    if not len(position):
        return _Motion(0.0, 0.0, np.inf, np.inf, np.inf)
    steps_m = np.linalg.norm(np.diff(position, axis=0), axis=1)
    steps_rad = geodesic_angle_rad(quaternion[1:], quaternion[:-1])
    return _Motion(
        step_m=float(steps_m.max(initial=0.0)),
        step_rad=float(steps_rad.max(initial=0.0)),
        extent_m=float(np.ptp(position, axis=0).max()),
        extent_rad=float(geodesic_angle_rad(quaternion, quaternion[:1]).max()),
        extent_gripper=float(np.ptp(gripper)) if len(gripper) else 0.0,
    )


def _frozen(motion: _Motion) -> bool:
    return (
        motion.extent_m < _FROZEN_M
        and motion.extent_rad < _FROZEN_RAD
        and motion.extent_gripper < _FROZEN_GRIPPER
    )


def _nonfinite(pose: Pose) -> bool:
    known = not np.isnan(pose.gripper_open).all()
    gripper = known and not np.isfinite(pose.gripper_open).all()
    finite = np.isfinite(pose.position_m).all() and np.isfinite(pose.quaternion_xyzw).all()
    return gripper or not bool(finite)


def _same_pose(a: Pose, i: int, b: Pose, j: int) -> bool:
    distance = _distance_m(a.position_m[i], b.position_m[j])
    angle = float(geodesic_angle_rad(a.quaternion_xyzw[i], b.quaternion_xyzw[j]))
    return distance < _IDLE_M and angle < _IDLE_RAD


def _distance_m(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, which is no small distance
        return float(np.linalg.norm(a - b))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
