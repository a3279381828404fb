"""Quaternion algebra: arrays in, arrays out, float64, order x, y, z, w.

Every function works on any leading shape: one rotation (4,), a trajectory (T, 4), a batch of them
(..., 4). Rows that are not finite, or have no direction, come out as NaN without a warning, so
that one broken frame of a robot's log stays one broken frame.

Own arithmetic, because the well-kept libraries are heavy to import: see benchmarks/motion.py,
which measures them against this module; in the tests they are the oracles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "conjugate",
    "count_sign_flips",
    "geodesic_angle_rad",
    "make_sign_continuous",
    "multiply",
    "normalise",
    "rotate",
    "slerp",
]

# Below this angle sin(x) / x is 1 to the last bit that float64 keeps.
_TINY_RAD = 1e-8


def normalise(quaternion_xyzw: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale quaternions to unit norm.

    Args:
        quaternion_xyzw: (..., 4), any norm.

    Returns:
        Unit quaternions (..., 4), and the norms they had (...,). A row without direction (zero
        norm, or not finite) becomes NaN.
    """
    values = np.asarray(quaternion_xyzw, np.float64)
    # Scaled by the largest component first, so that neither tiny nor huge rows over- or underflow.
    largest = np.max(np.abs(values), axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = values / largest
        length = np.sqrt(np.sum(scaled * scaled, axis=-1, keepdims=True))
        unit = scaled / length
        norm = (largest * length)[..., 0]
    return unit, np.where(largest[..., 0] == 0.0, 0.0, norm)


def multiply(left: ArrayLike, right: ArrayLike) -> NDArray[np.float64]:
    """Hamilton product: the rotation that turns by `right` first, then by `left`.

    Args:
        left: (..., 4).
        right: (..., 4), broadcast against `left`.
    """
    x1, y1, z1, w1 = np.moveaxis(np.asarray(left, np.float64), -1, 0)
    x2, y2, z2, w2 = np.moveaxis(np.asarray(right, np.float64), -1, 0)
    product = (
        w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
        w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
        w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
    )
    return np.stack(product, axis=-1)


def conjugate(quaternion_xyzw: ArrayLike) -> NDArray[np.float64]:
    """The inverse rotation of unit quaternions (..., 4)."""
    return np.asarray(quaternion_xyzw, np.float64) * np.array([-1.0, -1.0, -1.0, 1.0])


def rotate(quaternion_xyzw: ArrayLike, vector: ArrayLike) -> NDArray[np.float64]:
    """Turn vectors (..., 3) by unit quaternions (..., 4).

    v + 2 w (u x v) + 2 u x (u x v), with q = (u, w).
    """
    values = np.asarray(quaternion_xyzw, np.float64)
    turned = np.asarray(vector, np.float64)
    axis = values[..., :3]
    twice = 2.0 * np.cross(axis, turned)
    return turned + values[..., 3:] * twice + np.cross(axis, twice)


def geodesic_angle_rad(a_xyzw: ArrayLike, b_xyzw: ArrayLike) -> NDArray[np.float64]:
    """Angle of the smallest rotation between unit quaternions, in [0, pi].

    2 atan2(|a - s b|, |a + s b|) with s = sign(a . b): precise near identity, where acos of a dot
    product loses half the digits, exactly 0 for q and q, and for q and -q (Kahan, "How futile are
    mindless assessments of roundoff", 2006, section 12: the angle between vectors).

    Args:
        a_xyzw: (..., 4).
        b_xyzw: (..., 4), broadcast against `a_xyzw`.
    """
    a = np.asarray(a_xyzw, np.float64)
    b = np.asarray(b_xyzw, np.float64)
    b = np.where(np.sum(a * b, axis=-1, keepdims=True) < 0.0, -b, b)
    apart = np.linalg.norm(a - b, axis=-1)
    together = np.linalg.norm(a + b, axis=-1)
    return 4.0 * np.arctan2(apart, together)


def slerp(a_xyzw: ArrayLike, b_xyzw: ArrayLike, fraction: ArrayLike) -> NDArray[np.float64]:
    """Interpolate unit quaternions along the shortest arc.

    Args:
        a_xyzw: (..., 4), reached at fraction 0.
        b_xyzw: (..., 4), reached (up to sign) at fraction 1.
        fraction: (...,), broadcast against the leading shape.

    Source: Shoemake, "Animating rotation with quaternion curves", 1985.
    """
    a = np.asarray(a_xyzw, np.float64)
    b = np.asarray(b_xyzw, np.float64)
    t = np.asarray(fraction, np.float64)[..., None]
    b = np.where(np.sum(a * b, axis=-1, keepdims=True) < 0.0, -b, b)
    half = 0.5 * geodesic_angle_rad(a, b)[..., None]
    sine = np.sin(half)
    near = half < _TINY_RAD
    safe = np.where(near, 1.0, sine)
    weight_a = np.where(near, 1.0 - t, np.sin((1.0 - t) * half) / safe)
    weight_b = np.where(near, t, np.sin(t * half) / safe)
    return normalise(weight_a * a + weight_b * b)[0]


def make_sign_continuous(
    quaternion_xyzw: ArrayLike, *, reference: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Choose the sign of every quaternion of a trajectory, so that neighbours are close.

    The first finite row has w >= 0 (where w is 0, its first non-zero component is positive), or
    lies on the side of `reference`; every later one has a dot product >= 0 with the last finite
    row before it.

    Args:
        quaternion_xyzw: (T, 4).
        reference: (4,), for an action that is to start on the state's side.
    """
    values = np.array(quaternion_xyzw, np.float64)
    finite = np.flatnonzero(np.isfinite(values).all(axis=-1))
    if not len(finite):
        return values
    rows = values[finite]
    side = np.asarray(reference, np.float64) if reference is not None else None
    if side is None or not np.isfinite(side).all():
        wxyz = rows[0][[3, 0, 1, 2]]
        first = wxyz[np.argmax(wxyz != 0.0)]
    else:
        first = float(rows[0] @ side)
    signs = np.ones(len(rows))
    signs[0] = -1.0 if first < 0.0 else 1.0
    signs[1:] = np.where(np.sum(rows[1:] * rows[:-1], axis=-1) < 0.0, -1.0, 1.0)
    values[finite] = rows * np.cumprod(signs)[:, None]
    return values


def count_sign_flips(quaternion_xyzw: ArrayLike) -> int:
    """How many neighbours of a trajectory (T, 4) lie on opposite sides of the sphere."""
    values = np.asarray(quaternion_xyzw, np.float64)
    return int(np.count_nonzero(np.sum(values[1:] * values[:-1], axis=-1) < 0.0))
