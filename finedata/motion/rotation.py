"""Every rotation encoding of the ten sources, to and from unit quaternions xyzw.

Quaternions are (T, 4), float64, and angles radians. Rows that are no rotation become NaN. A row's
result does not depend on the other rows, to the last bit, so an episode may be read in any cuts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from finedata.errors import FeatureError
from finedata.motion.matrix import (
    matrix_from_6d,
    matrix_from_quaternion,
    nearest_rotation,
    quaternion_from_matrix,
    split_columns,
)
from finedata.motion.quaternion import canonicalise, multiply, normalise

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ENCODING_WIDTH",
    "RotationEncoding",
    "apply_fixed_rotation",
    "count_wrap_jumps",
    "decide_quaternion_or_euler",
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

# Closer to +-pi/2 of pitch than this (times about 1.4), roll and yaw turn about one axis.
_GIMBAL_LOCK = 1e-12
# A norm further than this from 1 is no unit quaternion's, even after rounding to three decimals.
_NORM_TOLERANCE = 1e-3
# Measured: from 4096 to 16384 rows is best, twice as fast as a million at once.
_BLOCK_ROWS = 8192

# Broken rows are answered with NaN, not with warnings.
_quiet = np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore")


def to_quaternion_xyzw(values: ArrayLike, *, encoding: RotationEncoding) -> NDArray[np.float64]:
    """Read rotations.

    Args:
        values: (T, k), k as in `ENCODING_WIDTH`; matrices also as (T, 3, 3).

            * `quaternion_*`: normalised, sign kept;
            * `euler_xyz_extrinsic`: roll, pitch, yaw about the fixed axes x, then y, then z,
              R = Rz(yaw) Ry(pitch) Rx(roll), scipy's "xyz";
            * `rotation_vector`: axis times angle; zero is exactly the identity;
            * `rotation_matrix`: row by row. The nearest rotation is taken (the polar factor), so
              float32 noise and rounded decimals do no harm; a reflection, or a matrix of which
              an element is more than 0.1 from that rotation, becomes NaN;
            * `rotation_6d`: the matrix's first column, then its second, made orthonormal by
              Gram-Schmidt (Zhou et al., "On the continuity of rotation representations in neural
              networks", CVPR 2019); parallel or zero columns become NaN.
        encoding: How they are written.

    Returns:
        Unit quaternions (T, 4), of either sign (see `make_sign_continuous`).

    Raises:
        FeatureError: The encoding is unknown, or the columns are not those of the encoding.

    Example:
        A half turn about x, as a robot with its gripper down often has::

            to_quaternion_xyzw([[np.pi, 0, 0]], encoding="euler_xyz_extrinsic")  # [[1, 0, 0, 0]]
    """
    table = _table(values, encoding)
    return _in_blocks(lambda rows: _read(rows, encoding), table)


def from_quaternion_xyzw(
    quaternion_xyzw: ArrayLike, *, encoding: RotationEncoding
) -> NDArray[np.float64]:
    """Write rotations; the inverse of `to_quaternion_xyzw`.

    Args:
        quaternion_xyzw: (T, 4), normalised here.
        encoding: How to write them.

    Returns:
        (T, k). Quaternions keep their sign; every other encoding is the same for q and -q.
        Euler angles have pitch in [-pi/2, pi/2], roll and yaw in [-pi, pi]; at gimbal lock, where
        the two turn about one axis, yaw is 0, as in the Bridge robot's code
        (`widowx_envs/utils/transformation_utils.py`). Rotation vectors have an angle in [0, pi].

    Raises:
        FeatureError: The encoding is unknown, or there are not four columns.
    """
    if encoding not in ENCODING_WIDTH:
        raise _unknown(encoding)
    table = _table(quaternion_xyzw, "quaternion_xyzw")
    return _in_blocks(lambda rows: _write(rows, encoding), table)


def apply_fixed_rotation(quaternion_xyzw: ArrayLike, matrix: ArrayLike) -> NDArray[np.float64]:
    """Multiply rotations by a constant one on the right: R becomes R * matrix.

    Args:
        quaternion_xyzw: (T, 4) unit quaternions.
        matrix: (3, 3) or nine numbers row by row.

    Returns:
        (T, 4) unit quaternions.

    Raises:
        FeatureError: The matrix is no rotation.

    Example:
        BridgeData's roll, pitch, yaw are relative to a default rotation of the tool:
        ``R_tool = R(rpy) * [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]``.
    """
    written = np.asarray(matrix, np.float64)
    fixed = np.full(4, np.nan)
    if written.size == ENCODING_WIDTH["rotation_matrix"]:
        fixed = to_quaternion_xyzw(written.reshape(1, 9), encoding="rotation_matrix")[0]
    if np.isnan(fixed).any():
        raise FeatureError(
            place="a fixed rotation",
            found=str(written.tolist()),
            wanted="a 3 by 3 rotation matrix: orthonormal, of determinant +1",
        )
    return multiply(quaternion_xyzw, fixed)


@_quiet
def count_wrap_jumps(angles_rad: ArrayLike) -> int:
    """How many steps of Euler angles or rotation vectors (T, 3) jump by more than pi."""
    steps = np.abs(np.diff(np.asarray(angles_rad, np.float64), axis=0))
    return int(np.count_nonzero((steps > np.pi).any(axis=1)))


@_quiet
def decide_quaternion_or_euler(
    values: ArrayLike,
) -> Literal["quaternion_xyzw", "euler_xyz_extrinsic"]:
    """Decide what four columns are, where a source's documents disagree with its readers.

    Args:
        values: (T, 4) of one file: x, y, z, w, or roll, pitch, yaw and something else.

    Returns:
        `quaternion_xyzw` where every finite row has a norm within 1e-3 of 1 (also where there is no
        finite row), else `euler_xyz_extrinsic`, meaning the first three columns.

    Raises:
        FeatureError: There are not four columns.

    Source: RoboMIND V1, AgileX `end_effector_left/right`: published as x, y, z, roll, pitch, yaw,
    gripper, and read by others as x, y, z and a quaternion.
    """
    norm = normalise(_table(values, "quaternion_xyzw"))[1]
    off = np.abs(norm[np.isfinite(norm)] - 1.0) > _NORM_TOLERANCE
    return "euler_xyz_extrinsic" if off.any() else "quaternion_xyzw"


def _in_blocks(
    convert: Callable[[NDArray[np.float64]], NDArray[np.float64]], table: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Convert block by block, so that intermediate columns stay in the processor's cache."""
    if len(table) <= _BLOCK_ROWS:
        return convert(table)
    starts = range(0, len(table), _BLOCK_ROWS)
    return np.concatenate([convert(table[start : start + _BLOCK_ROWS]) for start in starts])


@_quiet
def _read(table: NDArray[np.float64], encoding: RotationEncoding) -> NDArray[np.float64]:
    if encoding == "quaternion_xyzw":
        return normalise(table)[0]
    if encoding == "quaternion_wxyz":
        return normalise(table[:, [1, 2, 3, 0]])[0]
    if encoding == "euler_xyz_extrinsic":
        return _from_euler(table)
    if encoding == "rotation_vector":
        return _from_rotation_vector(table)
    if encoding == "rotation_matrix":
        return quaternion_from_matrix(nearest_rotation(table))
    return quaternion_from_matrix(matrix_from_6d(table))


@_quiet
def _write(quaternion_xyzw: NDArray[np.float64], encoding: RotationEncoding) -> NDArray[np.float64]:
    unit = normalise(quaternion_xyzw)[0]
    if encoding == "quaternion_xyzw":
        return unit
    if encoding == "quaternion_wxyz":
        return unit[:, [3, 0, 1, 2]]
    unit = canonicalise(unit)
    if encoding == "euler_xyz_extrinsic":
        return _to_euler(unit)
    if encoding == "rotation_vector":
        return _to_rotation_vector(unit)
    matrix = matrix_from_quaternion(unit)
    return matrix if encoding == "rotation_matrix" else matrix[:, [0, 3, 6, 1, 4, 7]]


def _table(values: ArrayLike, encoding: RotationEncoding) -> NDArray[np.float64]:
    width = ENCODING_WIDTH.get(encoding)
    if width is None:
        raise _unknown(encoding)
    # Contiguous, because NumPy's sine of a strided view may differ in the last bit.
    table = np.ascontiguousarray(values, np.float64)
    if encoding == "rotation_matrix" and table.ndim == 3 and table.shape[1:] == (3, 3):
        return table.reshape(-1, 9)
    if table.ndim != 2 or table.shape[1] != width:
        raise FeatureError(
            place=f"rotations encoded as {encoding}",
            found=f"an array of shape {table.shape}",
            wanted=f"(T, {width})",
        )
    return table


def _unknown(encoding: str) -> FeatureError:
    return FeatureError(
        place="a rotation encoding", found=repr(encoding), wanted=" | ".join(ENCODING_WIDTH)
    )


def _from_euler(rpy: NDArray[np.float64]) -> NDArray[np.float64]:
    half = 0.5 * rpy
    (sr, sp, sy), (cr, cp, cy) = np.sin(half).T, np.cos(half).T
    quaternion = np.empty((len(rpy), 4))
    quaternion[:, 0] = sr * cp * cy - cr * sp * sy
    quaternion[:, 1] = cr * sp * cy + sr * cp * sy
    quaternion[:, 2] = cr * cp * sy - sr * sp * cy
    quaternion[:, 3] = cr * cp * cy + sr * sp * sy
    return quaternion


def _to_euler(unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euler angles by half sums and half differences of roll and yaw.

    With half angles r, p, y: x + z and w - y are sin and cos of (roll + yaw) / 2 times cos p -
    sin p, x - z and w + y those of (roll - yaw) / 2 times cos p + sin p. Near gimbal lock one of
    the two angles is uncertain, but the rotation hardly depends on it; the elements of the matrix
    would lose digits there (Bernardes and Viollet, "Quaternion to Euler angles conversion",
    PLOS ONE 2022).
    """
    x, y, z, w = split_columns(unit)
    less, more = np.hypot(x + z, w - y), np.hypot(x - z, w + y)
    half_sum, half_difference = np.arctan2(x + z, w - y), np.arctan2(x - z, w + y)
    roll, yaw = half_sum + half_difference, half_sum - half_difference
    up, down = less < _GIMBAL_LOCK, more < _GIMBAL_LOCK
    roll = np.where(up, 2.0 * half_difference, np.where(down, 2.0 * half_sum, roll))
    yaw = np.where(up | down, 0.0, yaw)
    pitch = 0.5 * np.pi - 2.0 * np.arctan2(less, more)
    return np.stack([_wrap(roll), pitch, _wrap(yaw)], axis=-1)


def _wrap(angle_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring angles from [-2 pi, 2 pi] to [-pi, pi], leaving those in it bit for bit."""
    turn = np.where(angle_rad > np.pi, 2.0 * np.pi, np.where(angle_rad < -np.pi, -2.0 * np.pi, 0.0))
    return angle_rad - turn


def _from_rotation_vector(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = split_columns(vector)
    angle = np.sqrt(x * x + y * y + z * z)
    half = 0.5 * angle
    # At zero the limit, by a sum so that NaN stays NaN.
    scale = np.where(angle > 0.0, np.sin(half) / angle, 0.5 + angle)
    quaternion = np.empty((len(vector), 4))
    quaternion[:, :3] = vector * scale[:, None]
    quaternion[:, 3] = np.cos(half)
    return quaternion


def _to_rotation_vector(canonical: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z, w = split_columns(canonical)
    sine = np.sqrt(x * x + y * y + z * z)
    angle = 2.0 * np.arctan2(sine, w)
    scale = np.where(sine > 0.0, angle / sine, 2.0)
    return canonical[:, :3] * scale[:, None]
