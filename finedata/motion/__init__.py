"""Arithmetic of motion: rotations, deltas, grippers, kinematics, consistency and the pose proof.

On NumPy arrays alone; nothing here reads, writes or knows a dataset. Light to import: NumPy only.
Quaternions are xyzw, float64, lengths metres, angles radians.
"""

from __future__ import annotations

from finedata.motion.consistency import action_state_residual, estimate_lag
from finedata.motion.delta import Composition, Reference, integrate_targets
from finedata.motion.gripper import (
    from_open_fraction,
    hold_relative,
    open_fraction_by_range,
    to_open_fraction,
)
from finedata.motion.kinematics import MODELS, RobotModel, forward_kinematics
from finedata.motion.proof.action_readings import absolute_readings, delta_name, delta_readings
from finedata.motion.proof.alternatives import alternative_rotations
from finedata.motion.proof.evidence import (
    PoseEvidence,
    WrittenAction,
    WrittenRotation,
    pool_evidence,
    pose_evidence,
)
from finedata.motion.proof.readings import Reading, position_readings, rotation_readings
from finedata.motion.proof.verdict import PartEvidence
from finedata.motion.quaternion import (
    canonicalise,
    conjugate,
    count_sign_flips,
    geodesic_angle_rad,
    make_sign_continuous,
    multiply,
    normalise,
    rotate,
    slerp,
)
from finedata.motion.resample import (
    measured_fps,
    nearest_by_ratio,
    nearest_by_time,
    strictly_increasing,
)
from finedata.motion.rotation import (
    ENCODING_WIDTH,
    RotationEncoding,
    apply_fixed_rotation,
    count_wrap_jumps,
    decide_quaternion_or_euler,
    from_quaternion_xyzw,
    to_quaternion_xyzw,
)

__all__ = [
    "ENCODING_WIDTH",
    "MODELS",
    "Composition",
    "PartEvidence",
    "PoseEvidence",
    "Reading",
    "Reference",
    "RobotModel",
    "RotationEncoding",
    "WrittenAction",
    "WrittenRotation",
    "absolute_readings",
    "action_state_residual",
    "alternative_rotations",
    "apply_fixed_rotation",
    "canonicalise",
    "conjugate",
    "count_sign_flips",
    "count_wrap_jumps",
    "decide_quaternion_or_euler",
    "delta_name",
    "delta_readings",
    "estimate_lag",
    "forward_kinematics",
    "from_open_fraction",
    "from_quaternion_xyzw",
    "geodesic_angle_rad",
    "hold_relative",
    "integrate_targets",
    "make_sign_continuous",
    "measured_fps",
    "multiply",
    "nearest_by_ratio",
    "nearest_by_time",
    "normalise",
    "open_fraction_by_range",
    "pool_evidence",
    "pose_evidence",
    "position_readings",
    "rotate",
    "rotation_readings",
    "slerp",
    "strictly_increasing",
    "to_open_fraction",
    "to_quaternion_xyzw",
]
