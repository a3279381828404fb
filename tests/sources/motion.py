"""Smooth random motion for the fixture writers: a generator comes in, trajectories go out.

Asymmetric on purpose: every axis moves by another amount at another rhythm, so that a swapped
column, a mirrored axis, a transposed quaternion or a delta composed on the wrong side shows. NumPy
and SciPy only; nothing of finedata's own arithmetic, which is what the fixtures test.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

__all__ = ["smooth", "smooth_gripper", "smooth_joints", "smooth_positions", "smooth_rotations"]


def smooth(rng: np.random.Generator, T: int, n: int) -> np.ndarray:
    """(T, n) float64 within [-1, 1]: three sine waves a column, none with a whole period."""
    time = np.linspace(0.0, 1.0, T)[:, None, None]
    frequency = np.array([0.6, 1.1, 1.7]) + rng.uniform(0.0, 0.35, (n, 3))
    phase = rng.uniform(0.0, 2 * np.pi, (n, 3))
    share = np.array([0.6, 0.28, 0.12])
    return np.sin(2 * np.pi * frequency * time + phase) @ share


def smooth_positions(rng: np.random.Generator, T: int) -> np.ndarray:
    """(T, 3) metres, around (0.45, -0.08, 0.25); the axes move by 14, 21 and 9 cm at most."""
    return np.array([0.45, -0.08, 0.25]) + np.array([0.14, 0.21, 0.09]) * smooth(rng, T, 3)


def smooth_rotations(
    rng: np.random.Generator,
    T: int,
    *,
    centre: Rotation | None = None,
    amplitude_rad: tuple[float, float, float] = (0.7, 0.45, 0.9),
) -> Rotation:
    """T rotations near `centre`, by default a general orientation that is nobody's inverse.

    Args:
        rng: Decides the motion.
        T: Number of rotations.
        centre: What the motion is around: R = R(wave) * centre.
        amplitude_rad: How far the rotation vector of the wave reaches, by base axis.
    """
    around = Rotation.from_rotvec([0.5, -0.35, 0.8]) if centre is None else centre
    return Rotation.from_rotvec(smooth(rng, T, 3) * np.array(amplitude_rad)) * around


def smooth_joints(rng: np.random.Generator, T: int, n: int) -> np.ndarray:
    """(T, n) radians: joint k around 0.3 k - 0.7, each by another amplitude."""
    rest = 0.3 * np.arange(n) - 0.7
    return rest + (0.25 + 0.08 * np.arange(n)) * smooth(rng, T, n)


def smooth_gripper(rng: np.random.Generator, T: int) -> np.ndarray:
    """(T,) in [0, 1], starting above 0.5 and ending below it: which end is open shows."""
    slope = np.linspace(0.92, 0.12, T)
    return np.clip(slope + 0.08 * smooth(rng, T, 1)[:, 0], 0.0, 1.0)
