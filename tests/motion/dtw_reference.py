"""Dynamic time warping as it stands in the papers, slowly: two tracks go in, everything comes out.

Written from the formulas alone, in float64, with full matrices and a path traced back through them,
so that the kernels of `finedata.motion.dtw.distances` have something to be wrong against. Nothing
of finedata is imported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = [
    "Found",
    "allowed_cells",
    "angle_rad",
    "condensed",
    "frame_costs",
    "in_doubt",
    "reference_dtw",
]


@dataclass(frozen=True)
class Found:
    """`distance` = `total` / len(path); `total` = `aligned` + w_g * sum of |dg| on the path."""

    distance: float
    total: float
    aligned: float
    gripper: float
    path: list[tuple[int, int]]


def angle_rad(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(n, 4) and (m, 4) xyzw to (n, m): 2 atan2(|vector|, |scalar|) of conj(p) q, in [0, pi]."""
    p, q = p[:, None, :], q[None, :, :]
    scalar = (p * q).sum(axis=-1)
    vector = p[..., 3:] * q[..., :3] - q[..., 3:] * p[..., :3] - np.cross(p[..., :3], q[..., :3])
    return 2.0 * np.arctan2(np.linalg.norm(vector, axis=-1), np.abs(scalar))


def _norms(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=-1))


def frame_costs(
    a: np.ndarray, b: np.ndarray, space: str, weights: tuple[float, float, float]
) -> np.ndarray:
    """(n, m) cost of each frame of `a` on each of `b`; weights of position, rotation, gripper."""
    w_p, w_r, w_g = weights
    if space == "euclidean":
        return w_p * _norms(a, b)
    if space == "joint":
        return w_p * _norms(a[:, :-1], b[:, :-1]) + w_g * _norms(a[:, -1:], b[:, -1:])
    if space == "pose":
        return (
            w_p * _norms(a[:, :3], b[:, :3])
            + w_r * angle_rad(a[:, 3:7], b[:, 3:7])
            + w_g * _norms(a[:, 7:], b[:, 7:])
        )
    assert space == "pose_rms"
    squares = np.zeros((len(a), len(b)))
    for arm in range(a.shape[1] // 8):
        x, y = a[:, 8 * arm : 8 * arm + 8], b[:, 8 * arm : 8 * arm + 8]
        squares += (w_p * _norms(x[:, :3], y[:, :3])) ** 2
        squares += (w_r * angle_rad(x[:, 3:7], y[:, 3:7])) ** 2
        squares += (w_g * _norms(x[:, 7:], y[:, 7:])) ** 2
    return np.sqrt(squares)


def allowed_cells(n: int, m: int, band: float | None) -> np.ndarray:
    """(n, m) bool, n <= m: within `band` times the longer track of the line between the corners.

    The radius counts columns. It is at least one, and at least what the line advances in one row,
    so that neighbouring rows meet.
    """
    if band is None or n == 1:
        return np.ones((n, m), bool)
    advance = (m - 1) / (n - 1)
    radius = max(1.0, advance, band * max(n, m))
    off = np.abs(np.arange(m)[None, :] - np.arange(n)[:, None] * advance)
    return off <= radius


def in_doubt(n: int, m: int, band: float | None) -> bool:
    """Whether rounding decides about a cell on the band's edge; such sizes compare nothing."""
    if band is None or min(n, m) == 1:
        return False
    n, m = sorted((n, m))
    advance = (m - 1) / (n - 1)
    radius = max(1.0, advance, band * m)
    off = np.abs(np.arange(m)[None, :] - np.arange(n)[:, None] * advance) - radius
    return bool((np.abs(off) < 1e-9)[off != 0].any())


def reference_dtw(
    first: np.ndarray,
    second: np.ndarray,
    *,
    space: str,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    two_stage: bool = False,
    band: float | None = None,
) -> Found:
    """Align, trace back, charge, divide. The shorter track gives the rows, else the first."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(a) > len(b):
        a, b = b, a
    n, m = len(a), len(b)
    w_p, w_r, w_g = weights
    cost = frame_costs(a, b, space, (w_p, w_r, 0.0 if two_stage else w_g))
    cost[~allowed_cells(n, m, band)] = math.inf
    rows = cost.tolist()
    table = [[math.inf] * (m + 1) for _ in range(n + 1)]
    table[0][0] = 0.0
    for i in range(n):
        above, here, row = table[i], table[i + 1], rows[i]
        for j in range(m):
            here[j + 1] = row[j] + min(above[j], above[j + 1], here[j])
    path = [(n - 1, m - 1)]
    while path[-1] != (0, 0):
        i, j = path[-1]
        # min() keeps the first of equals: diagonal, up, left
        path.append(
            min(
                ((i - 1, j - 1), (i - 1, j), (i, j - 1)),
                key=lambda step: table[step[0] + 1][step[1] + 1],
            )
        )
    path.reverse()
    aligned = table[n][m]
    gripper = sum(abs(a[i, -1] - b[j, -1]) for i, j in path) if two_stage else 0.0
    total = aligned + w_g * gripper if two_stage else aligned
    return Found(total / len(path), total, aligned, gripper / len(path), path)


def condensed(tracks: list[np.ndarray], **how: object) -> list[Found]:
    """All pairs in SciPy's order."""
    return [
        reference_dtw(tracks[i], tracks[j], **how)
        for i in range(len(tracks))
        for j in range(i + 1, len(tracks))
    ]
