"""Rotation matrices, nine numbers row by row, to and from unit quaternions xyzw.

Arrays are (T, 9), (T, 6) or (T, 4), float64; rows that are no rotation become NaN. The room's
other files read and write encodings through `finedata.motion.rotation`; this is the arithmetic
under two of them. Callers hold back NumPy's warnings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finedata.motion.quaternion import normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A matrix further than this from its nearest rotation, in any element, is no rotation.
_MATRIX_TOLERANCE = 0.1
# Newton's error squares at each step: 0.3 needs five of them to reach 1e-16.
_NEWTON_STEPS = 6
# A step smaller than this was the last one needed.
_NEWTON_DONE = 1e-8
# Columns whose sine is smaller than this span a plane too uncertain to be meant.
_PARALLEL = 1e-6


def matrix_from_quaternion(unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices (T, 9) of unit quaternions (T, 4)."""
    x, y, z, w = split_columns(unit)
    matrix = np.empty((len(unit), 9))
    matrix[:, 0] = 1.0 - 2.0 * (y * y + z * z)
    matrix[:, 1] = 2.0 * (x * y - z * w)
    matrix[:, 2] = 2.0 * (x * z + y * w)
    matrix[:, 3] = 2.0 * (x * y + z * w)
    matrix[:, 4] = 1.0 - 2.0 * (x * x + z * z)
    matrix[:, 5] = 2.0 * (y * z - x * w)
    matrix[:, 6] = 2.0 * (x * z - y * w)
    matrix[:, 7] = 2.0 * (y * z + x * w)
    matrix[:, 8] = 1.0 - 2.0 * (x * x + y * y)
    return matrix


def quaternion_from_matrix(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit quaternions (T, 4) of rotation matrices (T, 9), by the largest of the four components.

    Source: Shepperd, "Quaternion from rotation matrix", J. Guidance and Control 1978.
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = split_columns(rotation)
    # 4 q q^T. The row of the largest diagonal element, normalised, is q with the least rounding.
    xx, yy, zz, ww = (
        1 + m00 - m11 - m22,
        1 - m00 + m11 - m22,
        1 - m00 - m11 + m22,
        1 + m00 + m11 + m22,
    )
    xy, xz, yz = m01 + m10, m02 + m20, m12 + m21
    xw, yw, zw = m21 - m12, m02 - m20, m10 - m01
    largest = np.argmax([xx, yy, zz, ww], axis=0)
    quaternion = np.empty((len(rotation), 4))
    quaternion[:, 0] = np.choose(largest, [xx, xy, xz, xw])
    quaternion[:, 1] = np.choose(largest, [xy, yy, yz, yw])
    quaternion[:, 2] = np.choose(largest, [xz, yz, zz, zw])
    quaternion[:, 3] = np.choose(largest, [xw, yw, zw, ww])
    return normalise(quaternion)[0]


def nearest_rotation(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation nearest to each matrix (T, 9), or NaN where none is near, or it is a reflection.

    Near means that no element moves by more than 0.1.

    Source: Newton's iteration M <- (M + M^-T) / 2 for the polar factor (Higham, "Computing the
    polar decomposition", SIAM J. Sci. Stat. Comput. 1986). Only rows that still move are
    iterated, so a row does not depend on how noisy the others are.
    """
    given = np.ascontiguousarray(matrix.T)
    rotation = _newton_step(given)
    far = np.flatnonzero(_largest_change(rotation, given) > _NEWTON_DONE)
    for _ in range(_NEWTON_STEPS):
        if not len(far):
            break
        before = rotation[:, far]
        after = _newton_step(before)
        rotation[:, far] = after
        far = far[_largest_change(after, before) > _NEWTON_DONE]
    near = _largest_change(rotation, given) <= _MATRIX_TOLERANCE
    return np.where(near, rotation, np.nan).T


def _newton_step(elements: NDArray[np.float64]) -> NDArray[np.float64]:
    """One step for matrices that lie element by element: (9, T)."""
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = elements
    cofactors = np.stack(
        [
            m11 * m22 - m12 * m21,
            m12 * m20 - m10 * m22,
            m10 * m21 - m11 * m20,
            m02 * m21 - m01 * m22,
            m00 * m22 - m02 * m20,
            m01 * m20 - m00 * m21,
            m01 * m12 - m02 * m11,
            m02 * m10 - m00 * m12,
            m00 * m11 - m01 * m10,
        ]
    )
    determinant = m00 * cofactors[0] + m01 * cofactors[1] + m02 * cofactors[2]
    # A reflection would converge too, to a reflection.
    determinant = np.where(determinant > 0.0, determinant, np.nan)
    return 0.5 * (elements + cofactors / determinant)


def _largest_change(after: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.max(np.abs(after - before), axis=0)


def matrix_from_6d(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrices (T, 9) from their first two columns (T, 6), by Gram-Schmidt.

    Columns are scaled to length 1 and the second made perpendicular to the first, the third is
    their cross product. NaN where the two are zero or parallel.

    Source: Zhou et al., "On the continuity of rotation representations in neural networks",
    CVPR 2019.
    """
    ax, ay, az, bx, by, bz = split_columns(columns)
    norm_a, norm_b = np.sqrt(ax * ax + ay * ay + az * az), np.sqrt(bx * bx + by * by + bz * bz)
    ax, ay, az = ax / norm_a, ay / norm_a, az / norm_a
    bx, by, bz = bx / norm_b, by / norm_b, bz / norm_b
    along = ax * bx + ay * by + az * bz
    bx, by, bz = bx - along * ax, by - along * ay, bz - along * az
    sine = np.sqrt(bx * bx + by * by + bz * bz)
    sine = np.where(sine > _PARALLEL, sine, np.nan)
    bx, by, bz = bx / sine, by / sine, bz / sine
    cx, cy, cz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    return np.stack([ax, bx, cx, ay, by, cy, az, bz, cz], axis=-1)


def split_columns(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Columns of a table (n, k) as k arrays (n,), each contiguous."""
    return tuple(np.ascontiguousarray(table.T))
