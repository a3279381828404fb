"""A WidowX in motion: a task and a way go in, the arrays of a BridgeData-V2 record come out.

Minimum-jerk segments between waypoints give the wanted targets at 5 Hz. Actions are the steps
between targets as the robot's code composes them, and are rounded to float32 as they are made, so
that the targets integrated from the file stay on the path. The measured state follows the target
with a lag of about one step and carries sensor noise, as the real one does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from corpora.pose import rotation_from_rpy, rpy_from_rotation

if TYPE_CHECKING:
    from corpora.ways import Task, Way
    from numpy.typing import NDArray

__all__ = ["MINIMUM_LENGTH", "Motion", "Variation", "simulate"]

MINIMUM_LENGTH = 12
"""Fewer steps than this cannot hold the waypoints of a way."""

_POSITION_NOISE_M = 0.0005
_ANGLE_NOISE_RAD = 0.005
# In one step of 0.2 s the arm makes this part of the way to where it was told to be half a step
# ago: then actions correlate best with the motion one step later, at a slope below one, as
# measured on real episodes.
_FOLLOW = 0.68
_GRIPPER_STEP = 0.42  # the fingers need two to three steps from open to closed
_HELD_OPENING = {"carrot": 0.22, "cup": 0.34, "drawer": 0.06}


@dataclass(frozen=True)
class Variation:
    """How far one episode strays from its way.

    Args:
        waypoint_m: Standard deviation of each waypoint but the grasps, metres.
        angle_rad: Standard deviation of roll, pitch and yaw of the way as a whole, radians.
        layout_m: Standard deviation of where the thing and its goal are, in x and y, metres.
        start_m: Standard deviation of the start, metres.
        pace: Half the width of the uniform factor on the duration.
    """

    waypoint_m: float = 0.0
    angle_rad: float = 0.0
    layout_m: float = 0.0
    start_m: float = 0.0
    pace: float = 0.0


@dataclass(frozen=True, eq=False)
class Motion:
    """One episode's numbers.

    Args:
        state: (T, 7) float32: x, y, z in metres, roll, pitch, yaw in radians, gripper (1 = open).
        action: (T, 7) float32: step of the target in base axes, gripper command.
        object_m: (T, 3) float64, where the thing is, for the pictures.
        goal_m: (3,) float64, where it has to go.
    """

    state: NDArray[np.float32]
    action: NDArray[np.float32]
    object_m: NDArray[np.float64]
    goal_m: NDArray[np.float64]


def simulate(
    task: Task, way: Way, *, variation: Variation, mean_length: int, rng: np.random.Generator
) -> Motion:
    """Do a task once.

    Args:
        task: What.
        way: How.
        variation: How far from the way.
        mean_length: Number of steps of an average way at an average pace.
        rng: Decides everything else; the same state gives the same motion.

    Returns:
        The motion, at least `MINIMUM_LENGTH` steps of 0.2 s long.
    """
    layout = rng.normal(0.0, 1.0, (2, 3)) * (variation.layout_m, variation.layout_m, 0.0)
    if task.kind == "push":
        layout[:] = 0.0  # a cupboard stands where it stands
    object_m = np.array(task.object_m) + layout[0]
    goal_m = np.array(task.goal_m) + layout[1]
    pace = way.pace * (1.0 + rng.uniform(-1.0, 1.0) * variation.pace)
    length = max(MINIMUM_LENGTH, round(mean_length * pace))

    stops, times, commands = _stops(way, object_m, goal_m, variation, rng)
    # The real ones begin with a zero action: step 1 is where step 0 is.
    when = np.append(0.0, np.linspace(0.0, float(times[-1]), length - 1))
    wanted = _minimum_jerk(stops, times, when)
    command = _gripper_command(times, commands, when, rng)
    state, action = _follow(wanted, command, _HELD_OPENING[task.shape], rng)
    return Motion(state, action, _object_path(task, state, command, object_m, goal_m), goal_m)


def _stops(
    way: Way,
    object_m: NDArray[np.float64],
    goal_m: NDArray[np.float64],
    variation: Variation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Waypoints (K, 6), xyz and rpy; when each is reached (K,); the gripper until then (K,)."""
    places = {"object": object_m, "goal": goal_m, "base": np.zeros(3)}
    stops = np.array([[*(places[w.near] + w.offset_m), *w.rpy] for w in way.waypoints])
    noise = rng.normal(0.0, variation.waypoint_m, (len(stops), 3))
    # Near the thing the hand must be where the thing is; on the way it may be anywhere.
    near = np.array([w.near != "base" and abs(w.offset_m[2]) < 0.04 for w in way.waypoints])
    noise[near] *= min(1.0, 0.002 / max(variation.waypoint_m, 1e-9))
    stops[:, :3] += noise
    stops[0, :3] += rng.normal(0.0, 1.0, 3) * variation.start_m * (1.0, 1.0, 0.5)
    stops[:, 3:] += rng.normal(0.0, variation.angle_rad, 3)
    times = np.cumsum([w.share for w in way.waypoints])
    return stops, times, np.array([w.gripper for w in way.waypoints])


def _minimum_jerk(
    stops: NDArray[np.float64], times: NDArray[np.float64], when: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rest-to-rest segments `10 s³ - 15 s⁴ + 6 s⁵` (Flash and Hogan 1985), sampled at `when`."""
    segment = np.clip(np.searchsorted(times, when, side="right") - 1, 0, len(times) - 2)
    s = (when - times[segment]) / (times[segment + 1] - times[segment])
    blend = s**3 * (10.0 - 15.0 * s + 6.0 * s**2)
    return stops[segment] + blend[:, None] * (stops[segment + 1] - stops[segment])


def _gripper_command(
    times: NDArray[np.float64],
    commands: NDArray[np.float64],
    when: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """(T,) open 1, closed 0, and now and then one value in between, from the analogue trigger."""
    segment = np.clip(np.searchsorted(times, when, side="left"), 1, len(times) - 1)
    command = commands[segment]
    command[0] = 1.0
    for step in np.flatnonzero(np.diff(command)) + 1:
        between = rng.choice([0.16, 0.56, 0.66, 0.79, 0.89])
        if rng.uniform() < 0.6:
            command[step] = between
    return command


def _follow(
    wanted: NDArray[np.float64],
    command: NDArray[np.float64],
    held_opening: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Turn wanted targets (T, 6) into the state and action (T, 7) of a record, both float32."""
    length = len(wanted)
    noise = rng.normal(0.0, 1.0, (length, 6)) * ([_POSITION_NOISE_M] * 3 + [_ANGLE_NOISE_RAD] * 3)
    wide_open = 1.0 + rng.uniform(-0.002, 0.008)
    state = np.empty((length, 7), np.float32)
    action = np.zeros((length, 7), np.float32)
    action[:, 6] = command
    wanted_rotation = rotation_from_rpy(wanted[:, 3:])

    pose, gripper = wanted[0].copy(), wide_open
    state[0] = [*(pose + noise[0]), gripper]
    # The controller resets its target to the measured pose when an episode begins.
    position = state[0, :3].astype(np.float64)
    rotation = rotation_from_rpy(state[0, 3:6])
    target = state[0, :6].astype(np.float64)
    told = target
    for step in range(1, length):
        pose += _FOLLOW * ((target + told) / 2 - pose)
        # The fingers start one step late, like the arm, and stop at what they hold.
        wish = held_opening + (wide_open - held_opening) * command[step - 1]
        gripper += float(np.clip(wish - gripper, -_GRIPPER_STEP, _GRIPPER_STEP))
        state[step] = [*(pose + noise[step]), gripper]
        action[step, :3] = wanted[step, :3] - position
        action[step, 3:6] = rpy_from_rotation(wanted_rotation[step] @ rotation.T)
        position = position + action[step, :3].astype(np.float64)
        rotation = rotation_from_rpy(action[step, 3:6]) @ rotation
        told, target = target, wanted[step]
    return state, action


def _object_path(
    task: Task,
    state: NDArray[np.float32],
    command: NDArray[np.float64],
    object_m: NDArray[np.float64],
    goal_m: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(T, 3) where the thing is: it rides in the closed gripper, or is pushed along x."""
    path = np.tile(object_m, (len(state), 1))
    tool = state[:, :3].astype(np.float64)
    if task.kind == "push":
        behind = np.abs(tool[:, 1] - object_m[1]) < 0.09
        reach = np.where(behind & (tool[:, 2] < 0.17), tool[:, 0] + 0.012, object_m[0])
        path[:, 0] = np.clip(np.maximum.accumulate(reach), object_m[0], goal_m[0])
        return path
    closed = np.flatnonzero(command < 0.5)
    if len(closed) == 0:
        return path
    grasp, release = closed[0] + 1, closed[-1] + 2
    path[grasp:release] += tool[grasp:release] - tool[grasp : grasp + 1]
    path[release:] = path[min(release, len(path)) - 1]
    path[release:, 2] = object_m[2]
    return path
