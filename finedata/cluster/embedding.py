"""A plane in which the distances of a task are nearly kept, for a map that people look at.

Classical multidimensional scaling (Torgerson 1952; Borg & Groenen, Modern Multidimensional
Scaling, 2005, ch. 12): the two leading eigenvectors of -1/2 J D^2 J. It has one answer, needs
neither seed nor iterations, and says how much of the distances the plane keeps. DTW is no metric,
so some eigenvalues are negative; they are left out of that share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Plane", "classical_mds"]


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """Points of a plane.

    Attributes:
        points: (n, 2) float64, in the unit of the distances; the first axis has the larger spread.
        kept_share: Share of the positive eigenvalues that the two axes hold, in [0, 1].
    """

    points: NDArray[np.float64]
    kept_share: float


def classical_mds(distances: NDArray[np.float64]) -> Plane:
    """Lay n things in a plane so that their distances are nearly kept.

    Args:
        distances: (n, n), symmetric, finite, n >= 1.

    Returns:
        The points, centred; in each axis the coordinate of the largest size is positive, so the
        picture does not flip between machines.
    """
    n = len(distances)
    if n < 2:
        return Plane(np.zeros((n, 2)), 1.0)
    squared = np.square(distances)
    row = squared.mean(axis=1, keepdims=True)
    centred = -0.5 * (squared - row - row.T + squared.mean())
    values, vectors = np.linalg.eigh((centred + centred.T) / 2)
    order = np.argsort(-values, kind="stable")[:2]
    leading = np.maximum(values[order], 0.0)
    points = np.zeros((n, 2))
    points[:, : len(order)] = vectors[:, order] * np.sqrt(leading)
    for axis in range(2):
        if points[np.abs(points[:, axis]).argmax(), axis] < 0:
            points[:, axis] *= -1
    positive = float(values[values > 0].sum())
    return Plane(points, float(leading.sum()) / positive if positive > 0 else 1.0)
