"""Every rotation encoding of the ten sources, to and from unit quaternions xyzw.

Columns in the source's encoding come in, (T, 4) unit quaternions go out, and back; float64,
radians. Rows that are no rotation become NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from finedata.errors import FeatureError
from finedata.motion.quaternion import multiply, normalise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ENCODING_WIDTH",
    "RotationEncoding",
    "apply_fixed_rotation",
    "count_wrap_jumps",
    "from_quaternion_xyzw",
    "to_quaternion_xyzw",
]

RotationEncoding = Literal[
    "quaternion_xyzw",
    "quaternion_wxyz",
    "euler_xyz_extrinsic",
    "rotation_vector",
    "rotation_matrix",
    "rotation_6d",
]

ENCODING_WIDTH: dict[RotationEncoding, int] = {
    "quaternion_xyzw": 4,
    "quaternion_wxyz": 4,
    "euler_xyz_extrinsic": 3,
    "rotation_vector": 3,
    "rotation_matrix": 9,
    "rotation_6d": 6,
}
"""Columns that each encoding takes."""

# Closer than this to +-pi/2 of pitch, roll and yaw turn about one axis: only their sum is known.
_GIMBAL_COSINE = 1e-9


def to_quaternion_xyzw(values: ArrayLike, *, encoding: RotationEncoding) -> NDArray[np.float64]:
    """Read rotations.

    Args:
        values: (T, k), k as in `ENCODING_WIDTH`; matrices also as (T, 3, 3).
            `euler_xyz_extrinsic` is roll, pitch, yaw: R = Rz(yaw) Ry(pitch) Rx(roll), scipy's
            "xyz". `rotation_matrix` is row by row, `rotation_6d` the first column, then the second.
        encoding: How they are written.

    Returns:
        Unit quaternions (T, 4), continuous in sign only as far as the encoding is.

    Raises:
        FeatureError: The number of columns is not that of the encoding.
    """
    table = _table(values, encoding)
    if encoding == "quaternion_xyzw":
        return normalise(table)[0]
    if encoding == "quaternion_wxyz":
        return normalise(table[:, [1, 2, 3, 0]])[0]
    if encoding == "euler_xyz_extrinsic":
        return _from_euler(table)
    if encoding == "rotation_vector":
        return _from_rotation_vector(table)
    if encoding == "rotation_matrix":
        return _from_matrix(table.reshape(-1, 3, 3))
    return _from_matrix(_matrix_from_6d(table))


def from_quaternion_xyzw(
    quaternion_xyzw: ArrayLike, *, encoding: RotationEncoding
) -> NDArray[np.float64]:
    """Write rotations.

    Args:
        quaternion_xyzw: (T, 4) unit quaternions.
        encoding: How to write them.

    Returns:
        (T, k). Euler angles have pitch in [-pi/2, pi/2]; at gimbal lock yaw is 0, as in the Bridge
        robot's code. Rotation vectors have an angle in [0, pi].
    """
    unit = _table(quaternion_xyzw, "quaternion_xyzw")
    if encoding == "quaternion_xyzw":
        return unit.copy()
    if encoding == "quaternion_wxyz":
        return unit[:, [3, 0, 1, 2]]
    if encoding == "euler_xyz_extrinsic":
        return _to_euler(_to_matrix(unit))
    if encoding == "rotation_vector":
        return _to_rotation_vector(unit)
    matrix = _to_matrix(unit)
    if encoding == "rotation_matrix":
        return matrix.reshape(-1, 9)
    return np.concatenate([matrix[:, :, 0], matrix[:, :, 1]], axis=1)


def apply_fixed_rotation(quaternion_xyzw: ArrayLike, matrix: ArrayLike) -> NDArray[np.float64]:
    """Multiply rotations (T, 4) by a constant 3x3 rotation on the right: R becomes R * matrix.

    Example:
        BridgeData's roll, pitch, yaw are relative to a default rotation of the tool:
        ``R_tool = R(rpy) * [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]``.
    """
    fixed = _from_matrix(np.asarray(matrix, np.float64).reshape(1, 3, 3))
    return multiply(quaternion_xyzw, fixed[0])


def count_wrap_jumps(angles_rad: ArrayLike) -> int:
    """How many steps of Euler angles or rotation vectors (T, 3) jump by more than pi."""
    steps = np.abs(np.diff(np.asarray(angles_rad, np.float64), axis=0))
    return int(np.count_nonzero((steps > np.pi).any(axis=1)))


def _table(values: ArrayLike, encoding: RotationEncoding) -> NDArray[np.float64]:
    table = np.asarray(values, np.float64)
    width = ENCODING_WIDTH[encoding]
    if encoding == "rotation_matrix" and table.ndim == 3 and table.shape[1:] == (3, 3):
        return table.reshape(-1, 9)
    if table.ndim != 2 or table.shape[1] != width:
        raise FeatureError(
            place=f"rotations encoded as {encoding}",
            found=f"an array of shape {table.shape}",
            wanted=f"(T, {width})",
        )
    return table


def _from_euler(rpy: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        half = 0.5 * rpy
        (sr, sp, sy), (cr, cp, cy) = np.sin(half).T, np.cos(half).T
    columns = (
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    )
    return np.stack(columns, axis=-1)


def _from_rotation_vector(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    # np.sinc(x) is sin(pi x) / (pi x): exact at 0 and smooth around it.
    with np.errstate(invalid="ignore"):
        scale = 0.5 * np.sinc(angle / (2.0 * np.pi))
        return np.concatenate([scale * vector, np.cos(0.5 * angle)], axis=-1)


def _to_rotation_vector(unit: NDArray[np.float64]) -> NDArray[np.float64]:
    near = np.where(unit[:, 3:] < 0.0, -unit, unit)
    sine = np.linalg.norm(near[:, :3], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, near[:, 3:])
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.where(sine > 0.0, angle / sine, 2.0)
    return scale * near[:, :3]


def _to_matrix(unit: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z, w = unit.T
    rows = (
        (1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)),
        (2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)),
        (2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _from_matrix(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternions from matrices by the largest of the four components (Shepperd 1978).

    A matrix that is orthonormal up to rounding gives the quaternion of the rotation next to it.
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.reshape(-1, 9).T
    # Row i holds the quaternion times 4 times its component i: xyzw, as products of components.
    products = np.stack(
        [
            np.stack([1.0 + m00 - m11 - m22, m01 + m10, m02 + m20, m21 - m12], axis=-1),
            np.stack([m01 + m10, 1.0 - m00 + m11 - m22, m12 + m21, m02 - m20], axis=-1),
            np.stack([m02 + m20, m12 + m21, 1.0 - m00 - m11 + m22, m10 - m01], axis=-1),
            np.stack([m21 - m12, m02 - m20, m10 - m01, 1.0 + m00 + m11 + m22], axis=-1),
        ],
        axis=-2,
    )
    diagonal = np.einsum("tii->ti", products)
    best = np.argmax(diagonal, axis=-1)
    chosen = products[np.arange(len(products)), best]
    return normalise(chosen)[0]


def _matrix_from_6d(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gram-Schmidt on two columns (Zhou et al. 2019, "On the continuity of rotations")."""
    with np.errstate(invalid="ignore", divide="ignore"):
        first = columns[:, :3] / np.linalg.norm(columns[:, :3], axis=-1, keepdims=True)
        second = columns[:, 3:]
        second = second - np.sum(first * second, axis=-1, keepdims=True) * first
        second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], axis=-1)


def _to_euler(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    cosine = np.hypot(matrix[:, 0, 0], matrix[:, 1, 0])
    locked = cosine < _GIMBAL_COSINE
    roll = np.where(
        locked,
        np.arctan2(-matrix[:, 1, 2], matrix[:, 1, 1]),
        np.arctan2(matrix[:, 2, 1], matrix[:, 2, 2]),
    )
    pitch = np.arctan2(-matrix[:, 2, 0], cosine)
    yaw = np.where(locked, 0.0, np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    return cast("NDArray[np.float64]", np.stack([roll, pitch, yaw], axis=-1))
