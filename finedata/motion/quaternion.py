"""Quaternion algebra: arrays in, arrays out, float64, order x, y, z, w, Hamilton's product.

Every function works on any leading shape: one rotation (4,), a trajectory (T, 4), a batch of them
(..., 4). Rows that are not finite stay so, without a warning, and `normalise` makes NaN of those
without direction, so that one broken frame of a robot's log stays one broken frame. A row's
result never depends on the rows around it (but for `make_sign_continuous`, whose purpose that
is).

Own arithmetic, because the well-kept libraries take several times as long to import as NumPy. The
benchmark `motion.py` measures them against this module, and the tests use them as oracles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "canonicalise",
    "conjugate",
    "count_sign_flips",
    "geodesic_angle_rad",
    "make_sign_continuous",
    "multiply",
    "normalise",
    "rotate",
    "slerp",
]

# Below this norm the squares of the components leave float64's normal range.
_SMALLEST_NORM = 1e-100
# Below this angle sin(x) / x is 1 to the last bit that float64 keeps.
_TINY_RAD = 1e-8

# Broken rows are answered with NaN, not with warnings.
_quiet = np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore")


@_quiet
def normalise(quaternion_xyzw: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale quaternions to unit norm.

    Args:
        quaternion_xyzw: (..., 4), any norm.

    Returns:
        Unit quaternions (..., 4) and the norms they had (...,). A row without direction (not
        finite, or of a norm below 1e-100) becomes NaN.
    """
    values = np.asarray(quaternion_xyzw, np.float64)
    norm = np.sqrt(_dot(values, values))
    divisor = np.where((norm >= _SMALLEST_NORM) & (norm < np.inf), norm, np.nan)
    return values / divisor[..., None], norm


@_quiet
def multiply(left: ArrayLike, right: ArrayLike) -> NDArray[np.float64]:
    """Hamilton product: the rotation that turns by `right` first, then by `left`.

    Args:
        left: (..., 4).
        right: (..., 4), broadcast against `left`.

    Returns:
        (..., 4); the norms multiply.
    """
    x1, y1, z1, w1 = _columns(left)
    x2, y2, z2, w2 = _columns(right)
    x = w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2
    product = np.empty((*x.shape, 4))
    product[..., 0] = x
    product[..., 1] = w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2
    product[..., 2] = w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2
    product[..., 3] = w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2
    return product


def conjugate(quaternion_xyzw: ArrayLike) -> NDArray[np.float64]:
    """The inverse rotation of unit quaternions (..., 4)."""
    return np.asarray(quaternion_xyzw, np.float64) * np.array([-1.0, -1.0, -1.0, 1.0])


@_quiet
def rotate(quaternion_xyzw: ArrayLike, vector: ArrayLike) -> NDArray[np.float64]:
    """Turn vectors by unit quaternions q = (u, w): v + 2 w (u x v) + 2 u x (u x v).

    Args:
        quaternion_xyzw: (..., 4) unit quaternions.
        vector: (..., 3), broadcast against them.

    Returns:
        (..., 3) in the vectors' unit.

    Example:
        A quarter turn about z takes x to y::

            rotate([0, 0, 0.5**0.5, 0.5**0.5], [1, 0, 0])  # [0, 1, 0]
    """
    ux, uy, uz, w = _columns(quaternion_xyzw)
    vx, vy, vz = _columns(vector)
    # t = 2 u x v, and the result is v + w t + u x t.
    tx = 2.0 * (uy * vz - uz * vy)
    ty = 2.0 * (uz * vx - ux * vz)
    tz = 2.0 * (ux * vy - uy * vx)
    x = vx + w * tx + (uy * tz - uz * ty)
    turned = np.empty((*x.shape, 3))
    turned[..., 0] = x
    turned[..., 1] = vy + w * ty + (uz * tx - ux * tz)
    turned[..., 2] = vz + w * tz + (ux * ty - uy * tx)
    return turned


@_quiet
def geodesic_angle_rad(a_xyzw: ArrayLike, b_xyzw: ArrayLike) -> NDArray[np.float64]:
    """Angle of the smallest rotation between two orientations, in [0, pi].

    2 atan2(|v|, |w|) with (v, w) = conjugate(a) b. It keeps all digits near identity, where the
    acos of a dot product loses half of them, and is exactly 0 for q and q, and for q and -q.
    The norms of `a` and `b` cancel.

    Args:
        a_xyzw: (..., 4).
        b_xyzw: (..., 4), broadcast against `a_xyzw`.

    Returns:
        (...,) radians.
    """
    x1, y1, z1, w1 = _columns(a_xyzw)
    x2, y2, z2, w2 = _columns(b_xyzw)
    # Each line is two differences that cancel exactly where a is b or -b.
    x = (w1 * x2 - x1 * w2) - (y1 * z2 - z1 * y2)
    y = (w1 * y2 - y1 * w2) - (z1 * x2 - x1 * z2)
    z = (w1 * z2 - z1 * w2) - (x1 * y2 - y1 * x2)
    sine = np.sqrt(x * x + y * y + z * z)
    cosine = np.abs(x1 * x2 + y1 * y2 + z1 * z2 + w1 * w2)
    # An infinite component leaves no finite sine, but atan2 would answer with a finite angle.
    return 2.0 * np.arctan2(np.where(np.isfinite(sine), sine, np.nan), cosine)


@_quiet
def slerp(a_xyzw: ArrayLike, b_xyzw: ArrayLike, fraction: ArrayLike) -> NDArray[np.float64]:
    """Interpolate unit quaternions along the shortest arc, at constant angular speed.

    Args:
        a_xyzw: (..., 4), reached at fraction 0.
        b_xyzw: (..., 4), reached (up to sign) at fraction 1.
        fraction: (...,), broadcast against the leading shape.

    Returns:
        (..., 4) unit quaternions on the side of `a_xyzw`.

    Source: Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985.
    """
    a = np.asarray(a_xyzw, np.float64)
    b = np.asarray(b_xyzw, np.float64)
    t = np.asarray(fraction, np.float64)
    # The angle between two quaternions as vectors is half the angle of the rotation.
    half = 0.5 * geodesic_angle_rad(a, b)
    near = half < _TINY_RAD
    sine = np.where(near, 1.0, np.sin(half))
    weight_a = np.where(near, 1.0 - t, np.sin((1.0 - t) * half) / sine)
    weight_b = np.where(near, t, np.sin(t * half) / sine)
    weight_b = np.where(_dot(a, b) < 0.0, -weight_b, weight_b)
    return normalise(weight_a[..., None] * a + weight_b[..., None] * b)[0]


def canonicalise(quaternion_xyzw: ArrayLike) -> NDArray[np.float64]:
    """Of q and -q, take the one with w >= 0; where w is 0, the first of x, y, z not 0 is positive.

    Args:
        quaternion_xyzw: (..., 4).

    Returns:
        (..., 4), the same bits for q and for -q, but for the sign of zeros.
    """
    values = np.asarray(quaternion_xyzw, np.float64)
    return values * _side(values)[..., None]


def make_sign_continuous(
    quaternion_xyzw: ArrayLike, *, reference: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Choose the sign of every quaternion of a trajectory, so that neighbours are close.

    The first row is canonical (`canonicalise`), or has a dot product >= 0 with `reference`; every
    later one has a dot product >= 0 with the row before it. Rows that are not finite are stepped
    over: they take the sign of the finite row before them. Which signs come in does not matter.

    Args:
        quaternion_xyzw: (T, 4).
        reference: (4,), for an action that is to start on the state's side. Ignored where it is
            not finite.

    Returns:
        (T, 4), the input or its negative in each row.
    """
    values = np.asarray(quaternion_xyzw, np.float64)
    finite = np.isfinite(values).all(axis=-1)
    if not finite.any():
        return values.copy()
    side = _side(values[finite])
    # On one half of the sphere first, so that a half turn between two frames (dot exactly 0) is
    # decided by the rotations, and not by the signs they came with.
    rows = values[finite] * side[:, None]
    signs = np.ones(len(rows))
    signs[1:] = np.where(_dot(rows[1:], rows[:-1]) < 0.0, -1.0, 1.0)
    other = None if reference is None else np.asarray(reference, np.float64)
    if other is not None and np.isfinite(other).all() and _dot(rows[0], other) < 0.0:
        signs[0] = -1.0
    last_finite = np.maximum(np.cumsum(finite) - 1, 0)
    return values * (np.cumprod(signs) * side)[last_finite][:, None]


@_quiet
def count_sign_flips(quaternion_xyzw: ArrayLike) -> int:
    """How many neighbouring rows of a trajectory (T, 4) have a negative dot product."""
    values = np.asarray(quaternion_xyzw, np.float64)
    return int(np.count_nonzero(_dot(values[1:], values[:-1]) < 0.0))


def _columns(values: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    array = np.asarray(values, np.float64)
    return tuple(array[..., column] for column in range(array.shape[-1]))


def _dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row by row, in one fixed order of addition on every machine (BLAS and einsum have none)."""
    x1, y1, z1, w1 = _columns(a)
    x2, y2, z2, w2 = _columns(b)
    return np.asarray(x1 * x2 + y1 * y2 + z1 * z2 + w1 * w2)


def _side(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """+1 where the first of w, x, y, z that is not 0 is positive, else -1."""
    x, y, z, w = _columns(values)
    leading = np.where(z != 0.0, z, 1.0)
    for component in (y, x, w):
        leading = np.where(component != 0.0, component, leading)
    return np.where(leading < 0.0, -1.0, 1.0)
