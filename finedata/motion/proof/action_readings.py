"""What if an action's bytes meant something else? Every other reading, tried against the states.

A state follows its command. So an action is read right where the targets it gives are where the
arm arrives some frames later, and every other reading of the same numbers is tried beside the
declared one, each with its residuals. No robot model is needed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from finedata.errors import FeatureError
from finedata.motion.consistency import action_state_residual, estimate_lag
from finedata.motion.delta import Composition, Reference, integrate_targets
from finedata.motion.proof.alternatives import alternative_rotations, declared_name
from finedata.motion.proof.readings import (
    EQUIVALENT_DEG,
    EQUIVALENT_SHARE,
    Reading,
    by_score,
    number,
)
from finedata.motion.quaternion import geodesic_angle_rad
from finedata.motion.rotation import (
    ENCODING_WIDTH,
    RotationEncoding,
    apply_fixed_rotation,
    from_quaternion_xyzw,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_COMPOSITIONS: tuple[Composition, ...] = (
    "base_left",
    "base_left_about_measured",
    "tool_right",
    "component_sum",
)
_REFERENCES: tuple[Reference, ...] = ("previous_target", "measured")

# Motion smaller than this explains nothing: noise would be divided by noise.
_STILL_M = 1e-3
_STILL_DEG = 0.5

_Pose = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def delta_name(composition: Composition, encoding: RotationEncoding, refers_to: Reference) -> str:
    """The name that `delta_readings` gives to one reading."""
    return f"{composition}, {encoding}, {refers_to}"


def delta_readings(
    delta_position_m: ArrayLike,
    *,
    delta_rotation: ArrayLike,
    state_position_m: ArrayLike,
    state_quaternion_xyzw: ArrayLike,
    state_rotation: ArrayLike | None = None,
    state_encoding: RotationEncoding | None = None,
    declared: tuple[Composition, RotationEncoding, Reference] | None = None,
    lag_frames: int | None = None,
    max_lag: int = 10,
) -> list[Reading]:
    """Read steps (`delta` and `residual` actions) in every way, and see where the arm went.

    Every composition, with every encoding of that width, from the target before and from the
    measured pose. Each is compared with the state at its own best lag, and ranked by
    `unexplained`: the residual as a share of what it is without any step, root mean square over
    position and rotation. A share, because targets chained over an episode drift while those that
    start from the measured pose at each frame cannot; their plain residuals are no match.

    Args:
        delta_position_m: (T, 3).
        delta_rotation: (T, k): 3, 4, 6 or 9 columns, angles in radians.
        state_position_m: (T, 3), measured.
        state_quaternion_xyzw: (T, 4), measured, in the source's own frames (before a fixed
            rotation on the right).
        state_rotation: (T, j), the measured rotation as written in `state_encoding`: numbers are
            added to these with `component_sum`, where the step has the same encoding.
        state_encoding: See above.
        declared: Composition, encoding and reference that the converter declares.
        lag_frames: Compare all at this lag instead of each at its best.
        max_lag: Largest lag tried.

    Returns:
        The readings, best first.

    Raises:
        FeatureError: An array has another shape.
        LengthError: The trajectories differ in length.
    """
    position_m = np.asarray(state_position_m, np.float64)
    quaternion = np.asarray(state_quaternion_xyzw, np.float64)
    if not len(position_m):
        return []
    encodings = _encodings_as_wide_as(delta_rotation)
    wanted = None if declared is None else delta_name(*declared)
    found: list[tuple[Reading, _Pose]] = []
    for encoding in encodings:
        written = state_rotation if encoding == state_encoding else None
        if written is None:
            written = from_quaternion_xyzw(quaternion, encoding=encoding)
        for composition in _COMPOSITIONS:
            for refers_to in _REFERENCES:
                if composition == "base_left_about_measured" and refers_to == "measured":
                    continue  # the same as base_left
                target = integrate_targets(
                    delta_position_m=delta_position_m,
                    delta_rotation=delta_rotation,
                    encoding=encoding,
                    composition=composition,
                    refers_to=refers_to,
                    start_position_m=position_m[0],
                    start_quaternion_xyzw=quaternion[0],
                    measured_position_m=position_m,
                    measured_quaternion_xyzw=quaternion,
                    measured_rotation=written,
                )
                name = delta_name(composition, encoding, refers_to)
                state = (position_m, quaternion)
                lag = lag_frames
                if lag is None:
                    lag = _lag(target[0], position_m, refers_to=refers_to, max_lag=max_lag)
                reading = _compared(name, target, state, lag=lag, declared=name == wanted)
                still = _still(state, refers_to)
                reading = replace(reading, unexplained=_unexplained(reading, still, state, lag))
                found.append((reading, target))
    return by_score(_mark_same_targets(found))


def absolute_readings(
    position_m: ArrayLike,
    *,
    rotation: ArrayLike,
    state_position_m: ArrayLike,
    state_quaternion_xyzw: ArrayLike,
    declared: RotationEncoding | None = None,
    unit: Literal["rad", "deg", "none"] = "rad",
    fixed_rotation: ArrayLike | None = None,
    max_lag: int = 10,
) -> list[Reading]:
    """Read absolute targets in every encoding of their width, and see where the arm went.

    Args:
        position_m: (T, 3), commanded.
        rotation: (T, k), commanded, as the source has it.
        state_position_m: (T, 3), measured.
        state_quaternion_xyzw: (T, 4), measured, in the frame that the target has after its fixed
            rotation: the tool's.
        declared: The encoding that the converter declares.
        unit: The declared unit of angles.
        fixed_rotation: The converter's constant rotation to the right of the target.
        max_lag: Largest lag tried, by position.

    Returns:
        The readings, ranked by `residual_deg`, best first.

    Raises:
        FeatureError: No encoding has that many columns, or the fixed rotation is none.
    """
    action_m = np.asarray(position_m, np.float64)
    state = np.asarray(state_position_m, np.float64), np.asarray(state_quaternion_xyzw, np.float64)
    lag = estimate_lag(action_m, state[0], max_lag=max_lag)
    wanted = None if declared is None else declared_name(declared, unit=unit)
    found: list[tuple[Reading, _Pose]] = []
    for name, read in alternative_rotations(rotation).items():
        turned = read if fixed_rotation is None else apply_fixed_rotation(read, fixed_rotation)
        target = (action_m, turned)
        reading = _compared(name, target, state, lag=lag, declared=name == wanted)
        found.append((replace(reading, ranked_by="residual_deg"), target))
    return by_score(_mark_same_targets(found))


def _encodings_as_wide_as(columns: ArrayLike) -> list[RotationEncoding]:
    shape = np.shape(columns)
    width = math.prod(shape[1:])
    encodings: list[RotationEncoding] = [name for name, k in ENCODING_WIDTH.items() if k == width]
    if not encodings:
        raise FeatureError(
            place="delta_rotation",
            found=f"an array of shape {shape}",
            wanted="(T, 3), (T, 4), (T, 6) or (T, 9)",
        )
    return encodings


def _lag(
    target_m: NDArray[np.float64],
    state_m: NDArray[np.float64],
    *,
    refers_to: Reference,
    max_lag: int,
) -> int:
    if refers_to == "previous_target":
        return estimate_lag(target_m, state_m, max_lag=max_lag)
    # A step from the measured pose is near that pose whatever it means: only later ones tell.
    return 1 + estimate_lag(target_m[:-1], state_m[1:], max_lag=max_lag - 1)


def _still(state: _Pose, refers_to: Reference) -> _Pose:
    """The targets of steps that command nothing."""
    if refers_to == "measured":
        return state
    position_m, quaternion = state
    return np.tile(position_m[:1], (len(position_m), 1)), np.tile(
        quaternion[:1], (len(quaternion), 1)
    )


def _compared(name: str, target: _Pose, state: _Pose, *, lag: int, declared: bool) -> Reading:
    residual_m, residual_rad = action_state_residual(*target, *state, lag_frames=lag)
    count = max(len(state[0]) - lag, 0)
    distance_m = np.linalg.norm(target[0][:count] - state[0][lag:], axis=1)
    angle_deg = np.rad2deg(geodesic_angle_rad(target[1][:count], state[1][lag:]))
    return Reading(
        name=name,
        declared=declared,
        ranked_by="unexplained",
        residual_deg=number(np.rad2deg(residual_rad)),
        residual_deg_max=number(np.max(angle_deg, initial=0.0)),
        residual_deg_last=number(angle_deg[-1]) if count else None,
        residual_m=number(residual_m),
        residual_m_max=number(np.max(distance_m, initial=0.0)),
        residual_m_last=number(distance_m[-1]) if count else None,
        lag_frames=lag,
    )


def _unexplained(reading: Reading, still: _Pose, state: _Pose, lag: int) -> float | None:
    """The residual as a share of that of steps that command nothing."""
    still_m, still_rad = action_state_residual(*still, *state, lag_frames=lag)
    shares: list[float] = []
    if reading.residual_m is not None and still_m > _STILL_M:
        shares.append(reading.residual_m / still_m)
    still_deg = float(np.rad2deg(still_rad))
    if reading.residual_deg is not None and still_deg > _STILL_DEG:
        shares.append(reading.residual_deg / still_deg)
    if not shares:
        return None
    return math.sqrt(sum(share * share for share in shares) / len(shares))


def _mark_same_targets(found: list[tuple[Reading, _Pose]]) -> list[Reading]:
    """Mark the readings whose targets are those of the declared one, as far as can be told."""
    declared = next((pair for pair in found if pair[0].declared), None)
    if declared is None:
        return [reading for reading, _ in found]
    residual_deg, residual_m = declared[0].residual_deg or 0.0, declared[0].residual_m or 0.0
    limit_deg = max(EQUIVALENT_DEG, EQUIVALENT_SHARE * residual_deg)
    limit_m = max(1e-6, EQUIVALENT_SHARE * residual_m)
    marked: list[Reading] = []
    for reading, target in found:
        apart_m, apart_rad = action_state_residual(*target, *declared[1], lag_frames=0)
        same = apart_m <= limit_m and np.rad2deg(apart_rad) <= limit_deg
        marked.append(replace(reading, same_as_declared=bool(same)))
    return marked
