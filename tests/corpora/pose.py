"""The geometry of the demo corpus, apart from `finedata.motion` on purpose: rpy in, tool poses out.

What the corpus claims as truth is computed here, in float64, from the float32 numbers as they lie
in the file. Sharing no code with the converter, it can disagree with it.

Conventions (the WidowX code of BridgeData-V2): base frame x forward, y left, z up, metres and
radians; `R(rpy) = Rz(yaw) Ry(pitch) Rx(roll)`; `R_tool = R(rpy) DEFAULT_ROTATION`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DEFAULT_ROTATION",
    "aligned_quaternions",
    "integrate_targets",
    "quaternion_from_rotation",
    "rotation_from_rpy",
    "rpy_from_rotation",
    "tool_quaternions",
]

DEFAULT_ROTATION = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
"""The tool at rpy = 0: its x axis, along which the fingers point, looks straight down."""


def rotation_from_rpy(rpy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rotation matrices `Rz(yaw) Ry(pitch) Rx(roll)`.

    Args:
        rpy: (..., 3) roll, pitch, yaw in radians.

    Returns:
        (..., 3, 3) float64.
    """
    (cr, cp, cy), (sr, sp, sy) = (
        np.moveaxis(function(np.asarray(rpy, np.float64)), -1, 0) for function in (np.cos, np.sin)
    )
    rows = (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def rpy_from_rotation(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The roll, pitch and yaw of a rotation matrix, away from pitch = ±π/2.

    Args:
        rotation: (..., 3, 3).

    Returns:
        (..., 3) radians.
    """
    roll = np.arctan2(rotation[..., 2, 1], rotation[..., 2, 2])
    pitch = np.arctan2(-rotation[..., 2, 0], np.hypot(rotation[..., 2, 1], rotation[..., 2, 2]))
    yaw = np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])
    return np.stack([roll, pitch, yaw], axis=-1)


def quaternion_from_rotation(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit quaternions xyzw of rotation matrices, by the largest of the four squares (Shepperd).

    Args:
        rotation: (..., 3, 3). A matrix with NaN gives NaN.

    Returns:
        (..., 4) xyzw, of either sign.
    """
    m = rotation
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # 4 q qᵀ; the row with the largest diagonal, normalised, is q up to sign.
    x_row = (1 + xx - yy - zz, m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0])
    y_row = (x_row[1], 1 - xx + yy - zz, m[..., 1, 2] + m[..., 2, 1])
    z_row = (x_row[2], y_row[2], 1 - xx - yy + zz)
    w_row = (
        m[..., 2, 1] - m[..., 1, 2],
        m[..., 0, 2] - m[..., 2, 0],
        m[..., 1, 0] - m[..., 0, 1],
        1 + xx + yy + zz,
    )
    rows = [(*row, w_row[k]) for k, row in enumerate((x_row, y_row, z_row))] + [w_row]
    outer = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    best = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    row = np.take_along_axis(outer, best[..., None, None], axis=-2)[..., 0, :]
    return row / np.linalg.norm(row, axis=-1, keepdims=True)


def aligned_quaternions(
    quaternion_xyzw: NDArray[np.float64], *, first: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Choose signs: row 0 on the side of `first` (or w >= 0), each on that of the one before.

    Args:
        quaternion_xyzw: (T, 4). Rows with NaN are passed over.
        first: (4,) the quaternion that row 0 is aligned to.

    Returns:
        (T, 4), equal up to sign.
    """
    result = quaternion_xyzw.copy()
    previous = np.array([0.0, 0.0, 0.0, 1.0]) if first is None else first
    for row in result:
        if np.isnan(row).any():
            continue
        if row @ previous < 0:
            row *= -1
        previous = row
    return result


def tool_quaternions(
    rotation: NDArray[np.float64], *, first: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Quaternions of the physical tool frame, with the default rotation on the right.

    Args:
        rotation: (T, 3, 3), `R(rpy)` or an integrated target.
        first: (4,) the quaternion that row 0 is aligned to.

    Returns:
        (T, 4) xyzw, continuous in sign.
    """
    return aligned_quaternions(quaternion_from_rotation(rotation @ DEFAULT_ROTATION), first=first)


def integrate_targets(
    state: NDArray[np.float32], action: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The absolute targets that BridgeData-V2's actions command.

    `p[t] = p[t-1] + dxyz[t]` and `R[t] = R(drpy[t]) R[t-1]`, with `state[0]` before step 0: the
    delta is about base axes and refers to the previous target, not to the measured pose.

    Args:
        state: (T, 7) float32; only row 0 is used.
        action: (T, 7) float32.

    Returns:
        (T, 3) metres and (T, 3, 3), without the default rotation, both float64.
    """
    delta = action.astype(np.float64)
    start = state[0].astype(np.float64)
    position = start[:3] + np.cumsum(delta[:, :3], axis=0)
    rotation = rotation_from_rpy(delta[:, 3:6])
    current = rotation_from_rpy(start[3:6])
    for step in rotation:
        current = step @ current
        step[...] = current
    return position, rotation
