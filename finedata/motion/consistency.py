"""Do action and state belong together? Two trajectories come in, lag and distance go out.

A state follows its commanded target some frames later. With the right conventions the two are
close at that lag; a wrong quaternion order, sign or composition shows as a large residual.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from finedata.motion.quaternion import geodesic_angle_rad

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["action_state_residual", "estimate_lag"]

_SHORTEST_OVERLAP = 2


def estimate_lag(
    action_position_m: ArrayLike, state_position_m: ArrayLike, *, max_lag: int = 10
) -> int:
    """How many frames the state follows the action.

    The lag from 0 to `max_lag` at which the mean distance between action[t] and state[t + lag] is
    smallest; the smallest of equals; 0 where nothing can be compared.

    Args:
        action_position_m: (T, 3).
        state_position_m: (T, 3).
        max_lag: Largest lag tried; at least two frames always overlap.
    """
    action = np.asarray(action_position_m, np.float64)
    state = np.asarray(state_position_m, np.float64)
    best, best_distance = 0, math.inf
    for lag in range(min(max_lag, len(action) - _SHORTEST_OVERLAP) + 1):
        distance = _finite_mean(_distance_m(action, state, lag))
        if distance < best_distance:
            best, best_distance = lag, distance
    return best


def action_state_residual(
    action_position_m: ArrayLike,
    action_quaternion_xyzw: ArrayLike,
    state_position_m: ArrayLike,
    state_quaternion_xyzw: ArrayLike,
    *,
    lag_frames: int,
) -> tuple[float, float]:
    """Mean distance between action[t] and state[t + lag].

    Args:
        action_position_m: (T, 3).
        action_quaternion_xyzw: (T, 4).
        state_position_m: (T, 3).
        state_quaternion_xyzw: (T, 4).
        lag_frames: From `estimate_lag`.

    Returns:
        Metres and radians, over finite frames; NaN where there is none.
    """
    distance_m = _distance_m(
        np.asarray(action_position_m, np.float64),
        np.asarray(state_position_m, np.float64),
        lag_frames,
    )
    action = np.asarray(action_quaternion_xyzw, np.float64)
    state = np.asarray(state_quaternion_xyzw, np.float64)
    angle_rad = geodesic_angle_rad(action[: len(action) - lag_frames], state[lag_frames:])
    return _finite_mean(distance_m), _finite_mean(angle_rad)


def _distance_m(
    action: NDArray[np.float64], state: NDArray[np.float64], lag: int
) -> NDArray[np.float64]:
    return np.linalg.norm(action[: len(action) - lag] - state[lag:], axis=-1)


def _finite_mean(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan
