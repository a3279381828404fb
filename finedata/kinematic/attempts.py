"""Which closings of a gripper are attempts at one grasp, and where the approach to each begins.

A closing is a failed attempt where the gripper opens again, having carried nothing, and the next
closing is near by. The tool's track tells both, or the joints where no track is known.
"""

from __future__ import annotations

from math import dist
from typing import TYPE_CHECKING

import numpy as np

from finedata.kinematic.measured import GraspTry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from finedata.kinematic.measured import GripperEvent, Segment

# Between closing and opening, a try that carried something goes further than this.
_CARRIED_M, _CARRIED_RAD = 0.06, 0.25
# The next try is near the one before.
_NEAR_M, _NEAR_RAD = 0.12, 0.5
_APPROACH_M, _LEAST_APPROACH_M = 0.10, 0.03


def grasp_tries(
    events: Sequence[GripperEvent],
    track: NDArray[np.float64],
    joints: NDArray[np.floating] | None,
) -> tuple[GraspTry, ...]:
    """Group closings: one that opens again, having carried nothing, and is repeated near by.

    Args:
        events: The arm's gripper events.
        track: (T, 3) metres, or (0, 3).
        joints: (T, J) radians, used where there is no track.

    Returns:
        One entry a grasp; its last closing is the one that held.
    """
    closings = [k for k, event in enumerate(events) if event.kind == "close"]
    groups: list[list[int]] = []
    for k in closings:
        if groups and _repeats(events, groups[-1][-1], k, track, joints):
            groups[-1].append(k)
        else:
            groups.append([k])
    return tuple(
        GraspTry(tuple(group), events[group[0]].start_frame, events[group[-1]].end_frame)
        for group in groups
    )


def _repeats(
    events: Sequence[GripperEvent],
    before: int,
    now: int,
    track: NDArray[np.float64],
    joints: NDArray[np.floating] | None,
) -> bool:
    """Whether closing `now` tries again what closing `before` did not get."""
    closed, opened, again = events[before].frame, events[before + 1].frame, events[now].frame
    values, carried, near = track, _CARRIED_M, _NEAR_M
    if not len(track):
        if joints is None or not np.isfinite(joints[closed : again + 1]).all():
            return False  # whether anything was carried in between, nothing tells
        values, carried, near = np.asarray(joints, np.float64), _CARRIED_RAD, _NEAR_RAD
    held = np.abs(values[closed : opened + 1] - values[closed])
    way = np.sqrt((held**2).sum(axis=1).max())
    gap = np.sqrt(((values[again] - values[closed]) ** 2).sum())
    return bool(way <= carried and gap <= near)


def approach_frames(
    events: Sequence[GripperEvent],
    track: NDArray[np.float64],
    segments: Sequence[Segment],
) -> tuple[int, ...]:
    """For each event, the frame from which the approach to it is looked at; -1 for none.

    It is the last straight stretch before a closing, of at most ten centimetres.
    """
    found: list[int] = []
    for k, event in enumerate(events):
        begin = -1
        if event.kind == "close" and len(track):
            begin = _approach_begin(event.start_frame, track, segments)
            if k and begin < events[k - 1].end_frame:
                begin = min(events[k - 1].end_frame, event.start_frame)
        found.append(begin if begin >= 0 and _way(track, begin, event) >= _LEAST_APPROACH_M else -1)
    return tuple(found)


def _way(track: NDArray[np.float64], begin: int, event: GripperEvent) -> float:
    return dist(track[begin].tolist(), track[event.start_frame].tolist())


def _approach_begin(end: int, track: NDArray[np.float64], segments: Sequence[Segment]) -> int:
    from finedata.kinematic.kernels.shapes import approach_begin

    straight = 0
    for segment in segments:
        if segment.start_frame >= end:
            break
        if segment.event < 0 and segment.extent_m >= _LEAST_APPROACH_M:
            straight = segment.start_frame
    return int(approach_begin(track, straight, end, _APPROACH_M))
