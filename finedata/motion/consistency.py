"""Do action and state belong together? The lag between them, and how far apart they are at it.

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

_SHORTEST_OVERLAP = 2

_quiet = np.errstate(invalid="ignore", over="ignore", under="ignore")


def estimate_lag(
    action_position_m: ArrayLike, state_position_m: ArrayLike, *, max_lag: int = 10
) -> int:
    """How many frames the state follows the action.

    The lag from 0 to `max_lag` at which the mean distance between action[t] and state[t + lag] is
    smallest, the smallest of equals. Frames that are not finite do not count.

    Args:
        action_position_m: (T, 3).
        state_position_m: (T, 3).
        max_lag: Largest lag tried; at least two frames always overlap.

    Returns:
        Frames, positive where the state follows; 0 where nothing can be compared.
    """
    action = np.asarray(action_position_m, np.float64)
    state = np.asarray(state_position_m, np.float64)
    best, best_distance = 0, math.inf
    for lag in range(min(max_lag, len(action) - _SHORTEST_OVERLAP) + 1):
        distance = _finite_mean(_distance_m(*_at_lag(action, state, lag)))
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
    """Mean distance and mean angle between action[t] and state[t + lag_frames].

    Args:
        action_position_m: (T, 3).
        action_quaternion_xyzw: (T, 4).
        state_position_m: (T, 3).
        state_quaternion_xyzw: (T, 4).
        lag_frames: From `estimate_lag`; positive where the state follows.

    Returns:
        Metres and radians, each over the frames where it is finite; NaN where there is none.
    """
    distance_m = _distance_m(
        *_at_lag(
            np.asarray(action_position_m, np.float64),
            np.asarray(state_position_m, np.float64),
            lag_frames,
        )
    )
    angle_rad = geodesic_angle_rad(
        *_at_lag(
            np.asarray(action_quaternion_xyzw, np.float64),
            np.asarray(state_quaternion_xyzw, np.float64),
            lag_frames,
        )
    )
    return _finite_mean(distance_m), _finite_mean(angle_rad)


def _at_lag(
    action: NDArray[np.float64], state: NDArray[np.float64], lag: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rows that are compared: action[t] beside state[t + lag]."""
    if lag < 0:
        return action[-lag:], state[: max(len(state) + lag, 0)]
    return action[: max(len(action) - lag, 0)], state[lag:]


@_quiet
def _distance_m(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(a - b, axis=-1)


def _finite_mean(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan
