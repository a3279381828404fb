"""Arithmetic of motion: rotations, deltas, grippers. NumPy in, NumPy out; no I/O."""

from __future__ import annotations

from finedata.motion.consistency import action_state_residual, estimate_lag
from finedata.motion.delta import Composition, integrate_targets
from finedata.motion.gripper import from_open_fraction, hold_relative, to_open_fraction
from finedata.motion.quaternion import (
    conjugate,
    count_sign_flips,
    geodesic_angle_rad,
    make_sign_continuous,
    multiply,
    normalise,
    rotate,
    slerp,
)
from finedata.motion.rotation import (
    ENCODING_WIDTH,
    RotationEncoding,
    apply_fixed_rotation,
    count_wrap_jumps,
    from_quaternion_xyzw,
    to_quaternion_xyzw,
)

__all__ = [
    "ENCODING_WIDTH",
    "Composition",
    "RotationEncoding",
    "action_state_residual",
    "apply_fixed_rotation",
    "conjugate",
    "count_sign_flips",
    "count_wrap_jumps",
    "estimate_lag",
    "from_open_fraction",
    "from_quaternion_xyzw",
    "geodesic_angle_rad",
    "hold_relative",
    "integrate_targets",
    "make_sign_continuous",
    "multiply",
    "normalise",
    "rotate",
    "slerp",
    "to_open_fraction",
    "to_quaternion_xyzw",
]
