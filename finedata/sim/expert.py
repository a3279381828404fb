"""The scripted expert: what to command is a smooth function of what is seen, and of nothing else.

No phase, clock or memory. A phase machine was tried first: a policy without memory that imitates
one stalls where phases meet. Here speed and height follow from the errors themselves (a funnel: the
farther to the side, the higher the tool waits), so every state, also one that noise or a policy
made, has a way on, and what failed is tried again by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finedata.sim.world import HOME, TRAY_FLOOR_M, TRAY_HALF_M, Pose

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.sim.factors import Wish
    from finedata.sim.world import View

SIDE_PITCH_RAD = -0.95
_TURN_RAD = 1.35
_PLACE_Z_M = TRAY_FLOOR_M + 0.027
_STANDOFF_M, _CARRY_M = 0.10, 0.12
_STEP_M, _STEP_RAD = 0.05, 0.35
_HOLDS_BELOW = 0.66  # open fraction: a block between the fingers leaves them half open


def command(view: View, wish: Wish, *, colours: tuple[str, ...]) -> dict[str, Pose]:
    """What to command now, for both arms.

    Args:
        view: What is seen.
        wish: What is to be done, and how.
        colours: Of the blocks, in the view's order.

    Returns:
        Arm -> absolute target; the arm that has nothing to do stays at home.
    """
    block = colours.index(wish.colour)
    at = view.blocks_m[block]
    place = np.array(view.mat_m)
    if wish.place == "tray":
        side = 1 if wish.side == "left" else -1
        place = np.array([view.tray_m[0], view.tray_m[1] + side * TRAY_HALF_M[1] / 2])
    arm = view.arms[wish.arm]
    tool = np.array(arm.position_m)
    off = float(np.linalg.norm(at[:2] - place))
    grip = np.linalg.norm(tool - at)
    if off < 0.045 and at[2] < _PLACE_Z_M + 0.012 and (arm.open > _HOLDS_BELOW or grip > 0.025):
        found = _leave(arm, tool)
    elif grip < 0.025 and arm.open < _HOLDS_BELOW:
        found = _carry(arm, tool, at, place, wish)
    else:
        found = _reach(arm, tool, at, float(view.blocks_yaw_rad[block]), wish)
    return {name: found if name == wish.arm else HOME[name] for name in HOME}


def _leave(arm: Pose, tool: NDArray[np.float64]) -> Pose:
    """Open, and only then go up."""
    rise = 0.06 * np.clip((arm.open - 0.7) / 0.2, 0.0, 1.0)
    return _towards(arm, tool + np.array([0.0, 0.0, rise]), arm.yaw_rad, arm.pitch_rad, 1.0)


def _carry(
    arm: Pose, tool: NDArray[np.float64], at: NDArray[np.float64], place: NDArray[np.float64],
    wish: Wish,
) -> Pose:  # fmt: skip
    """Lift, turn, bring over the place, lower, let go."""
    turn = _TURN_RAD if wish.rotation == "counter-clockwise" else -_TURN_RAD
    aside = place - at[:2]
    error = float(np.linalg.norm(aside))
    twist = turn - arm.yaw_rad
    height = _PLACE_Z_M + min(
        _CARRY_M, 3.0 * max(error - 0.01, 0.0) + 0.4 * max(abs(twist) - 0.12, 0.0)
    )
    # Below this height, away from the place, the block still stands on something.
    free = float(np.clip((at[2] - 0.035) / 0.04, 0.0, 1.0)) if error > 0.03 else 1.0
    turning = float(np.clip((at[2] - 0.045) / 0.03, 0.0, 1.0)) if abs(twist) > 0.3 else 1.0
    target = np.array([*(tool[:2] + free * aside), tool[2] + height - at[2]])
    lowered = error < 0.02 and abs(twist) < 0.25 and at[2] < _PLACE_Z_M + 0.008
    pitch = SIDE_PITCH_RAD if wish.approach == "side" else 0.0
    return _towards(arm, target, arm.yaw_rad + turning * twist, pitch, 1.0 if lowered else 0.0)


def _reach(
    arm: Pose, tool: NDArray[np.float64], at: NDArray[np.float64], block_yaw: float, wish: Wish
) -> Pose:
    """Come along the approach, wait above it while there is an error, close where there is none."""
    pitch = SIDE_PITCH_RAD if wish.approach == "side" else 0.0
    # A block has four like sides; the nearest to no turn is taken.
    yaw = (block_yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4
    ahead = np.array([-np.sin(pitch) * np.cos(yaw), -np.sin(pitch) * np.sin(yaw), -np.cos(pitch)])
    grasp = at + np.array([0.0, 0.0, 0.002])
    along = float((tool - grasp) @ -ahead)
    across = float(np.linalg.norm((tool - grasp) + ahead * along))
    error = across + 0.08 * abs(yaw - arm.yaw_rad) + 0.08 * abs(pitch - arm.pitch_rad)
    standoff = float(np.clip(4.0 * (error - 0.006), 0.0, _STANDOFF_M))
    near = error < 0.012 and abs(along) < 0.012
    if not near and arm.open < 0.8:
        standoff = max(standoff, min(_STANDOFF_M, max(along, 0.0)))
    return _towards(arm, grasp - ahead * standoff, yaw, pitch, 0.0 if near else 1.0)


def _towards(arm: Pose, target: NDArray[np.float64], yaw: float, pitch: float, open: float) -> Pose:
    """As far towards a pose as one step may go."""
    tool = np.array(arm.position_m)
    way = target - tool
    length = float(np.linalg.norm(way))
    tool = tool + way * min(1.0, _STEP_M / max(length, 1e-9))
    return Pose(
        position_m=(float(tool[0]), float(tool[1]), float(tool[2])),
        yaw_rad=arm.yaw_rad + float(np.clip(yaw - arm.yaw_rad, -_STEP_RAD, _STEP_RAD)),
        pitch_rad=arm.pitch_rad + float(np.clip(pitch - arm.pitch_rad, -_STEP_RAD, _STEP_RAD)),
        open=open,
    )
