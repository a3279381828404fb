"""From recorded steps to absolute targets: deltas come in, the commanded poses go out.

A policy needs to know where the arm was told to be. Sources record steps instead, each with its
own answer to three questions: a step from what (the target before it, or the measured pose), in
which axes (the base's or the tool's), and composed how (as rotations, or number by number).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from finedata.errors import FeatureError
from finedata.motion.quaternion import multiply, normalise, rotate
from finedata.motion.rotation import RotationEncoding, from_quaternion_xyzw, to_quaternion_xyzw

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Composition", "integrate_targets"]

Composition = Literal["base_left", "base_left_about_measured", "tool_right", "component_sum"]


def integrate_targets(
    *,
    delta_position_m: ArrayLike,
    delta_rotation: ArrayLike,
    encoding: RotationEncoding,
    composition: Composition,
    refers_to: Literal["previous_target", "measured"],
    start_position_m: ArrayLike,
    start_quaternion_xyzw: ArrayLike,
    measured_position_m: ArrayLike | None = None,
    measured_quaternion_xyzw: ArrayLike | None = None,
    measured_rotation: ArrayLike | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn steps into the absolute targets they command.

    With p, R the reference (the target before, or the measured pose) and d, D the step:

    * `base_left`: p + d, D R;
    * `base_left_about_measured`: m + D (p - m) + d, D R, where m is the measured position: the
      Bridge robot's own code (`widowx_envs`, `_next_qpos`);
    * `tool_right`: p + R d, R D;
    * `component_sum`: p + d, and the rotation's numbers added before they are read as a rotation
      (BC-Z adds rotation vectors; that is not a composition).

    Args:
        delta_position_m: (T, 3).
        delta_rotation: (T, k) in `encoding`.
        encoding: How the rotation of a step is written.
        composition: See above.
        refers_to: What a step starts from.
        start_position_m: (3,), what the first step starts from with `previous_target`.
        start_quaternion_xyzw: (4,), likewise.
        measured_position_m: (T, 3), needed with `measured` and `base_left_about_measured`.
        measured_quaternion_xyzw: (T, 4), needed with `measured`.
        measured_rotation: (T, k), the measured rotation in `encoding`, needed with `measured` and
            `component_sum`.

    Returns:
        Targets: position (T, 3) in metres, unit quaternion xyzw (T, 4), both in the base frame.
        What is not finite in a step is not finite in all targets that follow from it.

    Raises:
        FeatureError: A measured pose is needed and missing.
    """
    step_m = np.asarray(delta_position_m, np.float64)
    if composition == "component_sum":
        position_m = _sum_position(step_m, refers_to, start_position_m, measured_position_m)
        return position_m, _sum_rotation(
            np.asarray(delta_rotation, np.float64),
            encoding,
            refers_to,
            start_quaternion_xyzw,
            measured_rotation,
        )
    step = to_quaternion_xyzw(delta_rotation, encoding=encoding)
    if refers_to == "measured":
        measured_m = _needed(measured_position_m, "measured_position_m")
        measured = _needed(measured_quaternion_xyzw, "measured_quaternion_xyzw")
        if composition == "tool_right":
            return measured_m + rotate(measured, step_m), normalise(multiply(measured, step))[0]
        return measured_m + step_m, normalise(multiply(step, measured))[0]
    start = np.asarray(start_quaternion_xyzw, np.float64)
    start_m = np.asarray(start_position_m, np.float64)
    if composition == "tool_right":
        target = _chain(step, start, on_the_right=True)
        before = np.concatenate([start[None], target[:-1]])
        return start_m + np.cumsum(rotate(before, step_m), axis=0), target
    target = _chain(step, start, on_the_right=False)
    if composition == "base_left":
        return start_m + np.cumsum(step_m, axis=0), target
    measured_m = _needed(measured_position_m, "measured_position_m")
    return _chain_about_measured(step_m, step, start_m, measured_m), target


def _chain(
    step: NDArray[np.float64], start: NDArray[np.float64], *, on_the_right: bool
) -> NDArray[np.float64]:
    """Prefix products of rotations, one after the other, in plain floats.

    NumPy's overhead on arrays of four numbers is a hundred times their arithmetic.
    """
    x, y, z, w = start.tolist()
    rows: list[tuple[float, float, float, float]] = []
    for a, b, c, d in step.tolist():
        if on_the_right:
            x1, y1, z1, w1, x2, y2, z2, w2 = x, y, z, w, a, b, c, d
        else:
            x1, y1, z1, w1, x2, y2, z2, w2 = a, b, c, d, x, y, z, w
        x = w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2
        y = w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2
        z = w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2
        w = w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2
        rows.append((x, y, z, w))
    # Rounding moves the norm by about 1e-16 a step; one normalisation at the end undoes it.
    return normalise(np.asarray(rows, np.float64).reshape(-1, 4))[0]


def _chain_about_measured(
    step_m: NDArray[np.float64],
    step: NDArray[np.float64],
    start_m: NDArray[np.float64],
    measured_m: NDArray[np.float64],
) -> NDArray[np.float64]:
    target = np.empty_like(step_m)
    position = start_m
    for t in range(len(step_m)):
        position = measured_m[t] + rotate(step[t], position - measured_m[t]) + step_m[t]
        target[t] = position
    return target


def _sum_position(
    step_m: NDArray[np.float64],
    refers_to: str,
    start_position_m: ArrayLike,
    measured_position_m: ArrayLike | None,
) -> NDArray[np.float64]:
    if refers_to == "measured":
        return _needed(measured_position_m, "measured_position_m") + step_m
    return np.asarray(start_position_m, np.float64) + np.cumsum(step_m, axis=0)


def _sum_rotation(
    step: NDArray[np.float64],
    encoding: RotationEncoding,
    refers_to: str,
    start_quaternion_xyzw: ArrayLike,
    measured_rotation: ArrayLike | None,
) -> NDArray[np.float64]:
    if refers_to == "measured":
        numbers = _needed(measured_rotation, "measured_rotation") + step
    else:
        start = np.asarray(start_quaternion_xyzw, np.float64)[None]
        numbers = from_quaternion_xyzw(start, encoding=encoding) + np.cumsum(step, axis=0)
    return to_quaternion_xyzw(numbers, encoding=encoding)


def _needed(values: ArrayLike | None, name: str) -> NDArray[np.float64]:
    if values is None:
        raise FeatureError(
            place="integrate_targets", found=f"no {name}", wanted="the measured trajectory"
        )
    return np.asarray(values, np.float64)
