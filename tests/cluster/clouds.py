"""Drawn tasks: points whose Euclidean distances stand for those of trajectories."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist

__all__ = ["cloud", "condensed", "ways"]


def cloud(seed: int, count: int, width: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width))


def condensed(points: np.ndarray) -> np.ndarray:
    return pdist(points).astype(np.float32)


def ways(
    rng: np.random.Generator, sizes: list[int], *, apart: float, odd: int = 0, width: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Episodes of several ways of doing a task, and some odd ones: points and true labels."""
    centres = rng.normal(size=(len(sizes), width))
    if len(sizes) > 1:
        centres *= apart * np.sqrt(2 * width) / pdist(centres).min()
    labels = np.repeat(np.arange(len(sizes)), sizes)
    spread = rng.lognormal(0, 0.25, (len(labels), 1))
    points = centres[labels] + spread * rng.normal(size=(len(labels), width))
    far = rng.normal(size=(odd, width)) * apart * 3
    return np.vstack([points, far]), np.append(labels, len(sizes) + np.arange(odd))
