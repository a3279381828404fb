"""Which motion is flagged as odd, by limits that the ten sources' recorded arms set.

A receipt gets the residuals as numbers and names from the closed list of flags. A flag never
drops anything: it is there so that the episode can be asked for later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.motion import action_state_residual, estimate_lag, geodesic_angle_rad

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from finedata.convert.canonical import CanonicalArm, CanonicalMotion, Pose
    from finedata.schema.converter import ArmSpec

# A quaternion this far from unit norm was not one (float32 noise is below 1e-6).
_NORM_TOLERANCE = 1e-2
# No recorded arm of the ten sources moves half a metre or 2 rad between two frames.
_JUMP_M = 0.5
_JUMP_RAD = 2.0
# Nor do its joints together turn by more than this.
_JUMP_JOINT_RAD = 1.5
# Below these an arm did not move: encoder noise of the sources is an order larger.
_FROZEN_M = 1e-4
_FROZEN_RAD = 1e-3
_FROZEN_GRIPPER = 1e-3
# RoboMIND's own test of a stuck pose: no dimension moves by more than this.
_STUCK = 1e-3
_MOVING_RAD = 0.05
# A first or last action this close to the pose it starts from commands nothing.
_IDLE_M = 1e-5
_IDLE_RAD = 1e-4
# Open fractions are not clipped; Bridge reaches 1.115.
_GRIPPER_SLACK = 0.25


@dataclass(frozen=True, slots=True)
class _Motion:
    """Largest steps and extents of a trajectory; `None` where it has no such finite values."""

    step_m: float
    step_rad: float
    step_joint_rad: float
    extent_m: float | None
    extent_rad: float | None
    extent_joint_rad: float | None
    extent_gripper: float


@np.errstate(over="ignore", invalid="ignore")
def arm_receipt(motion: CanonicalArm, spec: ArmSpec) -> dict[str, Any]:
    """The `arms` entry of a receipt.

    `lag_frames` is how many frames the state follows the action; the residuals are means over
    the frames compared at that lag, of the pose where both sides have one; `drift_m` is how far
    an integrated target ends from the measured pose.
    """
    state, action = motion.state, motion.action
    gripper = np.zeros(0) if state.gripper_open is None else state.gripper_open
    gripper = gripper[np.isfinite(gripper)]
    return {
        "arm": motion.name,
        "encoding": motion.encoding,
        "tool_frame": spec.tool_frame,
        "quaternion_norm_min": motion.quaternion_norm_min,
        "quaternion_norm_max": motion.quaternion_norm_max,
        "sign_flips": motion.sign_flips,
        "wrap_jumps": motion.wrap_jumps,
        "gripper_min": float(gripper.min()) if len(gripper) else None,
        "gripper_max": float(gripper.max()) if len(gripper) else None,
        **_consistency(state, action, integrated=spec.action.reference == "delta"),
    }


def _consistency(state: Pose, action: Pose, *, integrated: bool) -> dict[str, Any]:
    """How well action and state agree."""
    found: dict[str, Any] = {
        "action_state_position_m": None,
        "action_state_rotation_rad": None,
        "lag_frames": None,
        "drift_m": None,
    }
    if (
        state.position_m is None
        or state.quaternion_xyzw is None
        or action.position_m is None
        or action.quaternion_xyzw is None
    ):
        if state.joint_position is not None and action.joint_position is not None:
            found["lag_frames"] = estimate_lag(action.joint_position, state.joint_position)
        return found
    lag = estimate_lag(action.position_m, state.position_m)
    position_m, rotation_rad = action_state_residual(
        action.position_m,
        action.quaternion_xyzw,
        state.position_m,
        state.quaternion_xyzw,
        lag_frames=lag,
    )
    drift = _distance(action.position_m[-1], state.position_m[-1])
    return {
        "action_state_position_m": _finite(position_m),
        "action_state_rotation_rad": _finite(rotation_rad),
        "lag_frames": lag,
        "drift_m": _finite(drift) if integrated else None,
    }


def column_flags(columns: Mapping[str, NDArray[Any]]) -> set[str]:
    """Flags of an episode whose conventions are undeclared: what its columns' names tell."""
    bad = [
        name
        for name, values in columns.items()
        if values.dtype.kind == "f" and not np.isfinite(values).all()
    ]
    return {"nonfinite_action" if "action" in name else "nonfinite_state" for name in bad}


@np.errstate(over="ignore", invalid="ignore")
def motion_flags(motion: CanonicalMotion) -> set[str]:
    """Flags of an episode's motion, over all arms."""
    flags: set[str] = set()
    for arm in motion.arms:
        flags |= _arm_flags(arm)
    return flags


def _arm_flags(arm: CanonicalArm) -> set[str]:
    state, action = _measure(arm.state), _measure(arm.action)
    gripper = np.zeros(1) if arm.state.gripper_open is None else arm.state.gripper_open
    norms = [n for n in (arm.quaternion_norm_min, arm.quaternion_norm_max) if n is not None]
    outside = (gripper < -_GRIPPER_SLACK) | (gripper > 1.0 + _GRIPPER_SLACK)
    raised = {
        "nonfinite_state": _nonfinite(arm.state),
        "nonfinite_action": _nonfinite(arm.action),
        "quaternion_norm_off": any(abs(norm - 1.0) > _NORM_TOLERANCE for norm in norms),
        "position_jump": state.step_m > _JUMP_M,
        "rotation_jump": state.step_rad > _JUMP_RAD,
        "joint_jump": state.step_joint_rad > _JUMP_JOINT_RAD,
        "state_frozen": _frozen(state),
        "action_frozen": _frozen(action),
        "gripper_out_of_range": bool(outside.any()),
        "gripper_unknown": arm.gripper_unknown,
        "idle_first_action": _same_pose(arm.action, 0, arm.state, 0),
        "idle_last_action": len(gripper) > 1 and _same_pose(arm.action, -1, arm.action, -2),
        "encoding_decided_by_norm": arm.decided_by_norm,
        "ee_pose_stuck": _pose_stuck(state),
    }
    return {name for name, is_raised in raised.items() if is_raised}


def _measure(pose: Pose) -> _Motion:
    gripper = np.zeros(0) if pose.gripper_open is None else pose.gripper_open
    gripper = gripper[np.isfinite(gripper)]
    step_m, extent_m = _steps(pose.position_m)
    step_joint, extent_joint = _steps(pose.joint_position)
    step_rad = extent_rad = None
    if pose.quaternion_xyzw is not None:
        finite = pose.quaternion_xyzw[np.isfinite(pose.quaternion_xyzw).all(axis=1)]
        if len(finite):
            step_rad = float(geodesic_angle_rad(finite[1:], finite[:-1]).max(initial=0.0))
            extent_rad = float(geodesic_angle_rad(finite, finite[:1]).max())
    return _Motion(
        step_m=step_m,
        step_rad=step_rad or 0.0,
        step_joint_rad=step_joint,
        extent_m=extent_m,
        extent_rad=extent_rad,
        extent_joint_rad=extent_joint,
        extent_gripper=float(np.ptp(gripper)) if len(gripper) else 0.0,
    )


def _steps(values: np.ndarray | None) -> tuple[float, float | None]:
    """(largest step between rows, largest range of a column) over the finite rows."""
    if values is None:
        return 0.0, None
    finite = values[np.isfinite(values).all(axis=1)]
    if not len(finite):
        return 0.0, None
    steps = np.linalg.norm(np.diff(finite, axis=0), axis=1)
    return float(steps.max(initial=0.0)), float(np.ptp(finite, axis=0).max())


def _frozen(motion: _Motion) -> bool:
    """Whether nothing that is known of an arm moves."""
    extents = [
        (motion.extent_m, _FROZEN_M),
        (motion.extent_rad, _FROZEN_RAD),
        (motion.extent_joint_rad, _FROZEN_RAD),
    ]
    known = [(extent, limit) for extent, limit in extents if extent is not None]
    still = all(extent < limit for extent, limit in known)
    return bool(known) and still and motion.extent_gripper < _FROZEN_GRIPPER


def _pose_stuck(motion: _Motion) -> bool:
    """Whether the pose stands still while the joints move: RoboMIND V1 has such episodes."""
    if motion.extent_m is None or motion.extent_joint_rad is None:
        return False
    return motion.extent_m < _STUCK and motion.extent_joint_rad > _MOVING_RAD


def _nonfinite(pose: Pose) -> bool:
    values = (
        pose.position_m,
        pose.quaternion_xyzw,
        pose.joint_position,
        None
        if pose.gripper_open is None or np.isnan(pose.gripper_open).all()
        else pose.gripper_open,
        pose.hand,
    )
    return any(part is not None and not _is_storable(part) for part in values)


def _is_storable(values: NDArray[np.float64]) -> bool:
    """Whether all are numbers that float32 holds."""
    return bool((np.abs(values) <= np.finfo(np.float32).max).all())


def _same_pose(a: Pose, i: int, b: Pose, j: int) -> bool:
    if (
        a.position_m is None
        or b.position_m is None
        or a.quaternion_xyzw is None
        or b.quaternion_xyzw is None
    ):
        if a.joint_position is None or b.joint_position is None:
            return False
        return _distance(a.joint_position[i], b.joint_position[j]) < _IDLE_RAD
    distance = _distance(a.position_m[i], b.position_m[j])
    angle = float(geodesic_angle_rad(a.quaternion_xyzw[i], b.quaternion_xyzw[j]))
    return distance < _IDLE_M and angle < _IDLE_RAD


def _distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, which is no small distance
        return float(np.linalg.norm(a - b))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
