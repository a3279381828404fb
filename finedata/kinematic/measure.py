"""`measure()`: what can be told of an episode's motion without a model, and from which size on.

Compiled kernels look at every frame (`track_kernels`, `segment_kernels`, `shape_kernels`); the
few pieces they find are named here and in `actions`. Everything is measured state; nothing is
random, and no threshold depends on other episodes.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, nan, radians, sqrt
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from finedata.errors import need
from finedata.kinematic.actions import ActionNamer
from finedata.kinematic.attempts import approach_frames, grasp_tries
from finedata.kinematic.body import measure_body
from finedata.kinematic.directions import direction_words, path_shape, rotation_words
from finedata.kinematic.measured import (
    ACTIVE_JOINT_RAD,
    ArmMeasured,
    GripperEvent,
    Measured,
    Segment,
)
from finedata.kinematic.motion import axis_vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from finedata.kinematic.motion import ArmMotion, EpisodeMotion, Signed, ToolFrame
    from finedata.schema.converter import BaseAxes

__all__ = ["LEAST_TRAVEL_M", "LEAST_TURN_RAD", "measure"]

LEAST_TRAVEL_M = 0.02
"""A tool that moves less than this within a piece rests."""
LEAST_TURN_RAD = radians(12.0)
"""A rotation by less than this is not named."""

_LEAST_GRIPPER, _GRIPPER_SHARE = 0.12, 0.2
_GRIPPER_REST_S, _GRIPPER_SPEED_S = 0.5, 0.2
_LEVER_M = 0.12
_REST_S = 1.0
_LOOK_M = 0.04
_CORNER_COSINE = 0.5736  # 55 degrees
_SPACING_M = 0.02
_ACTIVE_M, _ACTIVE_RAD = 0.03, radians(15.0)


def measure(motion: EpisodeMotion) -> Measured:
    """Measure an episode.

    Args:
        motion: The episode. Frames that are not finite are bridged by the frame before them.

    Returns:
        What was found; of an arm without anything finite nothing is said.

    Raises:
        MissingExtraError: Numba is not installed.

    Example:
        >>> import numpy as np
        >>> from finedata.kinematic.motion import ArmMotion, EpisodeMotion
        >>> arm = ArmMotion("right", gripper_open=np.repeat([1.0, 0.0], 20))
        >>> measured = measure(EpisodeMotion((arm,), fps=10.0, frames=40))
        >>> [(event.kind, event.frame) for event in measured.arms[0].events]
        [('close', 20)]
    """
    need("numba", extra="curate", place="the kinematic annotator")
    # The body first: how it stands does not depend on the arms.
    body = measure_body(motion)
    return Measured(motion, tuple(_measure_arm(arm, motion) for arm in motion.arms), body)


def _measure_arm(arm: ArmMotion, motion: EpisodeMotion) -> ArmMeasured:
    from finedata.kinematic.kernels.segments import find_segments
    from finedata.kinematic.kernels.shapes import farthest
    from finedata.kinematic.kernels.tracks import arm_tracks, gripper_track

    frames, half = motion.frames, round(0.1 * motion.fps)
    tracks = arm_tracks(
        _rows(arm.position_m, 3),
        _rows(arm.quaternion_xyzw, 4),
        _axes(arm.base_axes),
        _approach(arm.approach_axis, arm.tool_frame),
        half,
    )
    track, turned, pointing, broken = cast("tuple[Any, Any, Any, int]", tracks)
    raw, level = np.zeros((0, 6)), np.zeros(0)
    has_gripper = arm.gripper_open is not None and bool(np.isfinite(arm.gripper_open).any())
    if arm.gripper_open is not None and has_gripper:
        raw, level = gripper_track(
            np.ascontiguousarray(arm.gripper_open, np.float64),
            _LEAST_GRIPPER,
            _GRIPPER_SHARE,
            max(2, ceil(_GRIPPER_REST_S * motion.fps)),
            max(1, round(_GRIPPER_SPEED_S * motion.fps)),
        )
    events = tuple(_event(row) for row in raw.tolist())
    closed = _closed(events, level, frames)
    table = find_segments(track, turned, raw, frames, _limits(motion.fps, half))
    has_axes = arm.base_axes is not None
    tries = grasp_tries(events, track, arm.joints_rad)
    held = closed.tobytes()  # one byte a frame: much cheaper to look at than an array
    namer = ActionNamer(events, tries, has_axes=has_axes)
    # Where no pose is known, nothing tells that the arm moves or rests: only its fingers are seen.
    posed = len(track) > 0 or len(turned) > 0
    segments = tuple(
        [
            _segment(row, pointing, namer, has_axes=has_axes, closed=held)
            for row in table.tolist()
            if posed or row[2] >= 0
        ]
    )
    reach_m, turn_rad = float(farthest(track)), float(farthest(turned))
    joint_rad = _joint_range(arm.joints_rad)
    return ArmMeasured(
        name=arm.name,
        has_pose=len(track) > 0,
        has_rotation=len(turned) > 0,
        has_gripper=has_gripper,
        has_axes=has_axes,
        active=bool(events)
        or reach_m > _ACTIVE_M
        or turn_rad > _ACTIVE_RAD
        or (not len(track) and joint_rad > ACTIVE_JOINT_RAD),
        path_m=sum(segment.path_m for segment in segments),
        reach_m=reach_m,
        turn_rad=turn_rad,
        joint_range_rad=joint_rad,
        events=events,
        gripper_closed=closed,
        tries=tries,
        segments=segments,
        approaches=approach_frames(events, track, segments),
        track_m=track,
        turned_rad=turned,
        approach=pointing,
        bad_frames=int(broken),
    )


@lru_cache(maxsize=256)
def _limits(fps: float, half: int) -> NDArray[np.float64]:
    """The numbers of `find_segments`; noise of an unsmoothed track asks for a wider rest."""
    ball = 0.004 + 0.008 / sqrt(2 * half + 1)
    rest = max(4, round(_REST_S * fps))
    return _fixed(
        (_LEVER_M, ball, rest, _LOOK_M, _CORNER_COSINE, LEAST_TRAVEL_M, LEAST_TURN_RAD, _SPACING_M)
    )


def _fixed(values: Sequence[Any]) -> NDArray[np.float64]:
    """An array that is given out more than once, and that nobody writes to."""
    return np.array(values, np.float64)


def _rows(values: NDArray[np.floating] | None, width: int) -> NDArray[np.float64]:
    if values is None:
        return np.zeros((0, width))
    return np.ascontiguousarray(values, np.float64)


@lru_cache(maxsize=64)
def _axes(axes: BaseAxes | None) -> NDArray[np.float64]:
    if axes is None:
        return _fixed(((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    return _fixed([axis_vector(axes.forward), axis_vector(axes.left), axis_vector(axes.up)])


@lru_cache(maxsize=64)
def _approach(axis: Signed | None, tool_frame: ToolFrame) -> NDArray[np.float64]:
    if axis is None and tool_frame in ("flange", "tcp"):
        axis = "+z"
    return _fixed((0.0, 0.0, 0.0) if axis is None else axis_vector(axis))


def _event(row: list[float]) -> GripperEvent:
    return GripperEvent(
        "open" if row[0] > 0 else "close", int(row[1]), int(row[2]), int(row[3]), row[4], row[5]
    )


def _closed(
    events: tuple[GripperEvent, ...], level: NDArray[np.float64], frames: int
) -> NDArray[np.bool_]:
    """Whether the fingers are closed, frame by frame; open where nothing tells."""
    closed = np.zeros(frames, np.bool_)
    if not events:
        # No event: a level near an end tells, anything between does not.
        closed[:] = bool(len(level)) and float(level.mean()) < 0.3
        return closed
    closed[: events[0].frame] = events[0].kind == "open"
    for event in events:
        closed[event.frame :] = event.kind == "close"
    return closed


def _segment(
    row: list[float],
    pointing: NDArray[np.float64],
    namer: ActionNamer,
    *,
    has_axes: bool,
    closed: bytes,
) -> Segment:
    first, tag, reversals = int(row[0]), int(row[2]), int(row[13])
    way, path_m, rotation = (row[3], row[4], row[5]), row[6], (row[10], row[11], row[12])
    extent = sqrt(way[0] * way[0] + way[1] * way[1] + way[2] * way[2])
    angle = sqrt(rotation[0] ** 2 + rotation[1] ** 2 + rotation[2] ** 2)
    axis, sense, shape = "none", "none", "none"
    if tag == -1 and angle >= LEAST_TURN_RAD:
        at = tuple(pointing[first].tolist()) if len(pointing) else None
        axis, sense = rotation_words(rotation, at, has_axes=has_axes)
    moves = tag == -1 and row[14] >= LEAST_TRAVEL_M
    if moves:
        shape = path_shape(
            extent_m=extent,
            off_chord_m=row[7],
            turning_rad=row[8],
            steadiness=row[9],
            reversals=reversals,
        )
    holding = bool(closed[first])
    action = namer.name(
        event=tag,
        rests=tag == -2,
        shape=shape,
        axis=axis,
        angle_rad=angle,
        path_m=path_m,
        extent_m=extent,
        rise_m=way[2],
        holding=holding,
    )
    # By place, in the order of the attributes: names cost a fifth of the whole.
    return Segment(
        action,
        first,
        int(row[1]),
        holding,
        way,
        extent,
        path_m,
        extent / path_m if path_m > 0 else float("nan"),
        direction_words(way) if moves and has_axes and extent >= LEAST_TRAVEL_M else (),
        shape,
        rotation,
        angle,
        axis,
        sense,
        reversals,
        max(tag, -1),
    )


def _joint_range(joints: NDArray[np.floating] | None) -> float:
    """The widest range of a joint, over the numbers that are there; NaN where there is none."""
    if joints is None or not joints.size:
        return nan
    values = np.asarray(joints, np.float64)
    known = np.isfinite(values)
    ranges = np.where(known, values, -np.inf).max(axis=0) - np.where(known, values, np.inf).min(
        axis=0
    )
    return float(ranges.max()) if known.any() else nan
