"""Arithmetic of motion: rotations, deltas, grippers, consistency.

NumPy arrays come in and go out; nothing here reads, writes or knows a dataset. Light to import:
NumPy only. Quaternions are xyzw, float64, lengths metres, angles radians.
"""

from __future__ import annotations

from finedata.motion.consistency import action_state_residual, estimate_lag
from finedata.motion.delta import Composition, Reference, integrate_targets
from finedata.motion.gripper import from_open_fraction, hold_relative, to_open_fraction
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
    "Reference",
    "RotationEncoding",
    "action_state_residual",
    "apply_fixed_rotation",
    "canonicalise",
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
