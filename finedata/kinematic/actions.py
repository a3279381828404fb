"""Which verb a piece of one arm's motion gets.

That depends on what the gripper did before and does after it, so pieces are named in order, from
the first to the last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finedata.kinematic.measured import (
        Action,
        GraspTry,
        GripperEvent,
        PathShape,
        RotationAxis,
    )

# A held thing that rose by this much is off its support.
_LIFTED_M = 0.015
_STEEP, _RISING = 0.7071, 0.25
# A turn drags the tool along a little; with a lever of 0.12 m the turn is the larger of the two.
_LEVER_M, _SMALL_M = 0.12, 0.04


class ActionNamer:
    """Names the pieces of one arm, from the first to the last.

    Args:
        events: The arm's gripper events.
        tries: Its grasps.
        has_axes: Whether up and down are known.
    """

    def __init__(
        self, events: tuple[GripperEvent, ...], tries: tuple[GraspTry, ...], *, has_axes: bool
    ) -> None:
        self._events = events
        self._has_axes = has_axes
        self._failed = {number for one in tries for number in one.closings[:-1]}
        closings = [number for number, event in enumerate(events) if event.kind == "close"]
        self._last_closing = closings[-1] if closings else -1
        self._height_m, self._fresh, self._event = 0.0, False, -1

    def name(
        self,
        *,
        event: int,
        rests: bool,
        shape: PathShape,
        axis: RotationAxis,
        angle_rad: float,
        path_m: float,
        extent_m: float,
        rise_m: float,
        holding: bool,
    ) -> Action:
        """The verb of the next piece.

        Args:
            event: Its gripper event, or -1.
            rests: Whether it was found to rest.
            shape: Shape of its path.
            axis: Axis of its rotation.
            angle_rad: Angle of its rotation.
            path_m: Length of its path.
            extent_m: Length of its displacement.
            rise_m: Upward part of its displacement.
            holding: Whether the gripper is closed by an earlier closing.
        """
        before_m, self._height_m = self._height_m, self._height_m + rise_m
        if event >= 0:
            self._event, self._height_m = event, 0.0
            self._fresh = self._events[event].kind == "open"
            if not self._fresh:
                return "grasp"
            return "release" if event > 0 and event - 1 not in self._failed else "open"
        if rests or (shape == "none" and axis == "none"):
            return "idle"
        small = path_m < _SMALL_M and _LEVER_M * angle_rad > 2.0 * path_m
        if shape == "none" or (small and axis != "none"):
            return "rotate"
        fresh, self._fresh = self._fresh, False
        if shape in ("zigzag", "circular") or not self._events:
            return "move"
        if not holding:
            return "reach" if self._last_closing > self._event and not fresh else "retract"
        if not self._has_axes:
            return "move"
        steep = rise_m / max(extent_m, 1e-9)
        if abs(steep) > _STEEP:
            return "lift" if steep > 0 else "lower"
        rises = rise_m > _LIFTED_M and steep > _RISING
        return "transport" if before_m > _LIFTED_M or rises else "push"
