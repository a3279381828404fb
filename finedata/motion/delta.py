"""Which absolute targets recorded steps command.

A policy needs to know where the arm was told to be. Sources record steps instead, each with its
own answer to three questions: a step from what (the target before it, or the measured pose), in
which axes (the base's or the tool's), and composed how (as rotations, or number by number).
"""

from __future__ import annotations

from itertools import accumulate
from math import sqrt
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from finedata.errors import FeatureError, LengthError
from finedata.motion.matrix import matrix_from_quaternion
from finedata.motion.quaternion import multiply, normalise, rotate
from finedata.motion.rotation import (
    ENCODING_WIDTH,
    RotationEncoding,
    from_quaternion_xyzw,
    to_quaternion_xyzw,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Composition = Literal["base_left", "base_left_about_measured", "tool_right", "component_sum"]
Reference = Literal["previous_target", "measured"]

_Quaternion = tuple[float, float, float, float]

_quiet = np.errstate(invalid="ignore", over="ignore", under="ignore")


@_quiet
def integrate_targets(
    *,
    delta_position_m: ArrayLike,
    delta_rotation: ArrayLike,
    encoding: RotationEncoding,
    composition: Composition,
    refers_to: Reference,
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
      Bridge robot's own code (`bridge_data_robot`, `_next_qpos`);
    * `tool_right`: p + R d, R D;
    * `component_sum`: p + d, and the rotation's numbers added before they are read as a rotation
      (BC-Z adds rotation vectors, tensor2robot's `research/bcz/model.py`; no composition).

    All rotations are in the source's own frames. A constant rotation to the right of them
    (`apply_fixed_rotation`) belongs after this, except with `base_left`, where it cancels.

    Args:
        delta_position_m: (T, 3).
        delta_rotation: (T, k) in `encoding`.
        encoding: How the rotation of a step is written.
        composition: See above.
        refers_to: What a step starts from.
        start_position_m: (3,), what the first step starts from with `previous_target`.
        start_quaternion_xyzw: (4,), likewise.
        measured_position_m: (T, 3), needed with `measured` and `base_left_about_measured`.
        measured_quaternion_xyzw: (T, 4), needed with `measured` (not by `component_sum`).
        measured_rotation: (T, k), the measured rotation in `encoding`, needed with `measured` and
            `component_sum`.

    Returns:
        Targets: position (T, 3) in metres, unit quaternion xyzw (T, 4), both in the base frame.
        Broken numbers of a step break every target that follows from it, and no other. Targets
        never depend on later steps, and going on from the last target of a first half gives the
        second half to rounding.

    Raises:
        FeatureError: A measured trajectory is needed and missing, or an array has another shape.
        LengthError: The trajectories differ in length.

    Example:
        >>> position_m, _ = integrate_targets(
        ...     delta_position_m=[[0.1, 0, 0], [0.1, 0, 0]],
        ...     delta_rotation=[[0, 0, np.pi / 2], [0, 0, 0]],
        ...     encoding="rotation_vector",
        ...     composition="tool_right",
        ...     refers_to="previous_target",
        ...     start_position_m=[0, 0, 0],
        ...     start_quaternion_xyzw=[0, 0, 0, 1],
        ... )
        >>> position_m.round(9).tolist()
        [[0.1, 0.0, 0.0], [0.1, 0.1, 0.0]]
    """
    step_m = _rows(delta_position_m, "delta_position_m", 3)
    frames = len(step_m)
    if composition == "component_sum":
        numbers = _rows(delta_rotation, "delta_rotation", ENCODING_WIDTH[encoding], frames)
        if refers_to == "measured":
            base_m = _rows(measured_position_m, "measured_position_m", 3, frames)
            base = _rows(measured_rotation, "measured_rotation", ENCODING_WIDTH[encoding], frames)
            return base_m + step_m, to_quaternion_xyzw(base + numbers, encoding=encoding)
        first = from_quaternion_xyzw(np.reshape(start_quaternion_xyzw, (1, 4)), encoding=encoding)
        summed = _running_sum(first[0], numbers)
        position_m = _running_sum(np.asarray(start_position_m, np.float64), step_m)
        return position_m, to_quaternion_xyzw(summed, encoding=encoding)

    step = to_quaternion_xyzw(delta_rotation, encoding=encoding)
    _check_length(step, "delta_rotation", frames)
    on_the_right = composition == "tool_right"
    if refers_to == "measured":
        base_m = _rows(measured_position_m, "measured_position_m", 3, frames)
        base = normalise(_rows(measured_quaternion_xyzw, "measured_quaternion_xyzw", 4, frames))[0]
        if on_the_right:
            return base_m + rotate(base, step_m), multiply(base, step)
        # Turning about the measured position moves nothing here, so both left forms agree.
        return base_m + step_m, multiply(step, base)

    start_m = np.asarray(start_position_m, np.float64)
    start = normalise(start_quaternion_xyzw)[0]
    target = _chain(start, step, on_the_right=on_the_right)
    if composition == "base_left_about_measured":
        about_m = _rows(measured_position_m, "measured_position_m", 3, frames)
        return _chain_about(start_m, step_m, matrix_from_quaternion(step), about_m), target
    if on_the_right:
        before = np.concatenate([start[None], target])[:frames]
        step_m = rotate(before, step_m)
    return _running_sum(start_m, step_m), target


def _running_sum(start: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    # The start is summed first, so that going on from a row gives the same bits.
    return np.cumsum(np.concatenate([start[None], steps]), axis=0)[1:]


def _chain(
    start: NDArray[np.float64], step: NDArray[np.float64], *, on_the_right: bool
) -> NDArray[np.float64]:
    """All products of a start with the steps so far, one after the other, in plain floats.

    NumPy's overhead on arrays of four numbers is many times their arithmetic, and a prefix
    product by halves, although faster on long episodes, would round differently with each length.
    """
    steps = cast("list[_Quaternion]", step.tolist())
    first = cast("_Quaternion", start.tolist())
    if on_the_right:
        targets = accumulate(steps, _product, initial=first)
    else:
        targets = accumulate(steps, lambda target, turn: _product(turn, target), initial=first)
    return np.array(list(targets))[1:]


def _product(left: _Quaternion, right: _Quaternion) -> _Quaternion:
    x1, y1, z1, w1 = left
    x2, y2, z2, w2 = right
    x = w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2
    y = w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2
    z = w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2
    w = w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2
    # Normalised at each step, because the next one starts from what is returned.
    scale = 1.0 / sqrt(x * x + y * y + z * z + w * w)
    return x * scale, y * scale, z * scale, w * scale


def _chain_about(
    start_m: NDArray[np.float64],
    step_m: NDArray[np.float64],
    turn: NDArray[np.float64],
    about_m: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Chain p = m + D (p - m) + d in plain floats; D is `turn` (T, 9), m is `about_m`."""
    px, py, pz = start_m.tolist()
    targets: list[tuple[float, float, float]] = []
    for (dx, dy, dz), (a, b, c, d, e, f, g, h, i), (mx, my, mz) in zip(
        step_m.tolist(), turn.tolist(), about_m.tolist(), strict=True
    ):
        rx, ry, rz = px - mx, py - my, pz - mz
        px = mx + (a * rx + b * ry + c * rz) + dx
        py = my + (d * rx + e * ry + f * rz) + dy
        pz = mz + (g * rx + h * ry + i * rz) + dz
        targets.append((px, py, pz))
    return np.array(targets, np.float64).reshape(-1, 3)


def _rows(
    values: ArrayLike | None, name: str, width: int, frames: int | None = None
) -> NDArray[np.float64]:
    if values is None:
        raise FeatureError(place=name, found="nothing", wanted="the measured trajectory")
    rows = np.asarray(values, np.float64)
    if rows.ndim == 3:  # rotation matrices as (T, 3, 3)
        rows = rows.reshape(len(rows), -1)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise FeatureError(
            place=name, found=f"an array of shape {rows.shape}", wanted=f"(T, {width})"
        )
    if frames is not None:
        _check_length(rows, name, frames)
    return rows


def _check_length(rows: NDArray[np.float64], name: str, frames: int) -> None:
    if len(rows) != frames:
        raise LengthError(
            place=name, found=f"{len(rows)} rows", wanted=f"{frames}, as in delta_position_m"
        )
