"""The tasks of the demo corpus and the ways of doing them: constants go out, nothing comes in.

A way is a list of waypoints in the base frame of a WidowX (x forward, y left, z up, metres),
written relative to where the thing is (`object`) or has to go (`goal`), with roll, pitch, yaw
relative to the default rotation (0: fingers down), the gripper's command on the way to the
waypoint, and how long that takes compared with the other segments. Ways of one task differ by
centimetres and tenths of radians: enough for a trajectory distance to tell them from noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["TASKS", "Task", "Vector", "Way", "Waypoint"]

Vector: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True)
class Waypoint:
    """One stop of the tool.

    Args:
        near: What `offset_m` is counted from: the `object`, the `goal`, or the `base`.
        offset_m: x, y, z in the base frame.
        rpy: Roll, pitch, yaw in radians, relative to the default rotation.
        gripper: Commanded on the way here: 1 open, 0 closed.
        share: Duration of the segment that ends here, relative to the others.
    """

    near: Literal["object", "goal", "base"]
    offset_m: Vector
    rpy: Vector
    gripper: float
    share: float


@dataclass(frozen=True)
class Way:
    """One way of doing a task: waypoints, the first of which is the start; `pace` 1 is average."""

    name: str
    pace: float
    waypoints: tuple[Waypoint, ...]


@dataclass(frozen=True)
class Task:
    """A task, the scene it happens in and the ways of doing it.

    Args:
        instruction: As it stands in the files.
        folder: The part of `file_path` that names environment and task.
        kind: How the thing moves: `carry` with the closed gripper, or `push` along x.
        shape: What is drawn.
        object_m: Where the thing is at first.
        goal_m: Where it has to go.
        ways: At least three.
    """

    instruction: str
    folder: str
    kind: Literal["carry", "push"]
    shape: Literal["carrot", "drawer", "cup"]
    object_m: Vector
    goal_m: Vector
    ways: tuple[Way, ...]


def _pick_and_place(
    *,
    start: Vector,
    grasp: Vector,
    lift_m: float,
    via: Vector,
    place_rpy: Vector,
    retreat: Vector,
) -> tuple[Waypoint, ...]:
    """Approach, descend, grasp, lift, carry, lower, release, retreat."""
    return (
        Waypoint("base", start, (0.0, -0.2, 0.0), 1.0, 0.0),
        Waypoint("object", (-0.01, 0.0, 0.10), grasp, 1.0, 1.4),
        Waypoint("object", (0.0, 0.0, 0.012), grasp, 1.0, 1.0),
        Waypoint("object", (0.0, 0.0, 0.010), grasp, 0.0, 0.5),
        Waypoint("object", (0.0, 0.0, lift_m), grasp, 0.0, 0.8),
        Waypoint("base", via, place_rpy, 0.0, 1.5),
        Waypoint("goal", (0.0, 0.0, lift_m), place_rpy, 0.0, 1.5),
        Waypoint("goal", (0.0, 0.0, 0.028), place_rpy, 0.0, 0.8),
        Waypoint("goal", (0.0, 0.0, 0.030), place_rpy, 1.0, 0.5),
        Waypoint("goal", retreat, (0.0, -0.15, 0.0), 1.0, 1.7),
    )


def _push(
    *, start: Vector, before: Vector, rpy: Vector, gripper: float, retreat: Vector
) -> tuple[Waypoint, ...]:
    """Approach, touch, push, wait, retreat. The thing moves with the tool from the touch on."""
    touch = (-0.012, before[1], before[2])
    return (
        Waypoint("base", start, (0.0, -0.1, 0.0), 1.0, 0.0),
        Waypoint("object", before, rpy, gripper, 2.2),
        Waypoint("object", touch, rpy, gripper, 1.0),
        Waypoint("goal", touch, rpy, gripper, 2.6),
        Waypoint("goal", touch, rpy, gripper, 0.6),
        Waypoint("goal", retreat, (0.0, -0.1, 0.0), 1.0, 1.6),
    )


_CARROT = Task(
    instruction="put the carrot on the plate",
    folder="bridge_data_v1/berkeley/toysink2_bww/put_carrot_on_plate",
    kind="carry",
    shape="carrot",
    object_m=(0.22, 0.12, 0.02),
    goal_m=(0.31, -0.09, 0.02),
    ways=(
        Way(
            "over the top",
            1.0,
            _pick_and_place(
                start=(0.20, 0.0, 0.19),
                grasp=(0.0, -0.15, 0.1),
                lift_m=0.17,
                via=(0.26, 0.02, 0.22),
                place_rpy=(0.0, -0.1, -0.1),
                retreat=(-0.08, 0.04, 0.17),
            ),
        ),
        Way(
            "low and close to the base",
            0.9,
            _pick_and_place(
                start=(0.24, -0.05, 0.15),
                grasp=(0.05, -0.35, 0.0),
                lift_m=0.06,
                via=(0.17, -0.01, 0.085),
                place_rpy=(0.0, -0.3, -0.3),
                retreat=(-0.11, 0.0, 0.10),
            ),
        ),
        Way(
            "wrist turned, far round",
            1.15,
            _pick_and_place(
                start=(0.20, 0.03, 0.22),
                grasp=(0.0, -0.05, 1.15),
                lift_m=0.13,
                via=(0.37, 0.10, 0.18),
                place_rpy=(0.1, -0.05, 0.6),
                retreat=(0.02, 0.10, 0.18),
            ),
        ),
    ),
)

_DRAWER = Task(
    instruction="close the drawer",
    folder="bridge_data_v2/datacol1_toykitchen7/drawer_pnp/close_drawer",
    kind="push",
    shape="drawer",
    object_m=(0.26, 0.0, 0.06),
    goal_m=(0.36, 0.0, 0.06),
    ways=(
        Way(
            "fingers closed",
            1.0,
            _push(
                start=(0.17, 0.02, 0.18),
                before=(-0.06, 0.0, 0.0),
                rpy=(0.0, -0.4, 0.0),
                gripper=0.0,
                retreat=(-0.14, 0.0, 0.12),
            ),
        ),
        Way(
            "open hand from above",
            0.95,
            _push(
                start=(0.23, 0.06, 0.24),
                before=(-0.03, 0.02, 0.09),
                rpy=(0.0, -0.75, 0.2),
                gripper=1.0,
                retreat=(-0.05, 0.03, 0.18),
            ),
        ),
        Way(
            "round from the right",
            1.15,
            _push(
                start=(0.18, -0.16, 0.12),
                before=(-0.07, -0.05, 0.01),
                rpy=(0.2, -0.2, -0.7),
                gripper=0.0,
                retreat=(-0.12, -0.12, 0.09),
            ),
        ),
    ),
)

_CUP = Task(
    instruction="move the blue cup to the left side of the table",
    folder="bridge_data_v2/datacol2_tabletop_dark_wood/many_objects/move_cup_left",
    kind="carry",
    shape="cup",
    object_m=(0.26, -0.13, 0.035),
    goal_m=(0.25, 0.15, 0.035),
    ways=(
        Way(
            "high arc",
            1.0,
            _pick_and_place(
                start=(0.20, 0.0, 0.20),
                grasp=(0.0, -0.2, -0.2),
                lift_m=0.15,
                via=(0.25, 0.01, 0.23),
                place_rpy=(0.0, -0.2, 0.2),
                retreat=(-0.05, -0.06, 0.16),
            ),
        ),
        Way(
            "low behind",
            0.85,
            _pick_and_place(
                start=(0.19, -0.06, 0.14),
                grasp=(0.1, -0.45, 0.0),
                lift_m=0.05,
                via=(0.17, 0.02, 0.09),
                place_rpy=(-0.1, -0.45, 0.3),
                retreat=(-0.09, -0.02, 0.07),
            ),
        ),
        Way(
            "far round the front",
            1.15,
            _pick_and_place(
                start=(0.22, 0.08, 0.21),
                grasp=(0.0, 0.0, -0.9),
                lift_m=0.10,
                via=(0.39, 0.0, 0.15),
                place_rpy=(0.1, -0.1, -0.4),
                retreat=(-0.02, -0.12, 0.17),
            ),
        ),
    ),
)

TASKS: tuple[Task, ...] = (_CARROT, _DRAWER, _CUP)
"""Three tasks of three ways each."""
