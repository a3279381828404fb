"""RoboMIND V2 in its own bytes: two arms, `_align` streams with whole-second time stamps.

Poses are xyz and quaternion xyzw in each arm's own base; the master's pose is a bit-for-bit copy of
the puppet's, so it is no action. Settled here where the publisher is silent: Franka and UR grippers
0 open, 1 closed; AgileX 0 closed, 1 open; Tian Yi (and the hands' robot) 0 open, 1 closed. The rate
is the number of frames by the seconds between the stamps, which is all that whole seconds tell.

Bodies (`bodies=`) move by a plan: the waist by `WAIST_RAD`, the head by `HEAD_RAD`, a chassis
drives `DRIVE_M` forward, stands, and turns `SPIN_RAD` to the left, on a floor that is not level.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation
from sources import encode
from sources.case import CLOSED_IS_OPEN, XYZW_TO_WXYZ, Case
from sources.motion import (
    smooth,
    smooth_gripper,
    smooth_joints,
    smooth_positions,
    smooth_rotations,
)
from sources.truth import ArmTruth, SourceTruth

__all__ = [
    "BODIES",
    "CASES",
    "DRIVE_M",
    "HEAD_RAD",
    "RATES",
    "ROBOTS",
    "SPIN_RAD",
    "START_S",
    "WAIST_RAD",
    "write",
]

START_S = 1_744_780_088
WAIST_RAD, HEAD_RAD, DRIVE_M, SPIN_RAD = 0.3, 0.4, 0.5, np.pi / 4
# Where a chassis begins: x and y in metres, and a heading that passes pi while it turns.
_BEGIN_M, _BEGIN_RAD = (1.2, -0.7), 2.8
# Shares of the episode in which it drives, and in which it turns.
_DRIVING, _TURNING = (0.18, 0.45), (0.65, 0.92)


@dataclass(frozen=True)
class _Robot:
    """What differs between robots.

    Attributes:
        part: The archive's name after `RoboMIND2.0-`.
        task: Its task.
        instruction: What its metadata says.
        cameras: Names in `camera_observations/color_images`.
        joints: Joints of an arm.
        rate: Frames a second.
        copied_gripper: Whether the arm's stream has the gripper as one more column.
        scalar_gripper: Whether the gripper's stream is (T,) instead of (T, 1).
        closed_is: Stored value of a closed gripper; 1 - closed_is is open.
        fingers: Numbers a hand; 0 for a gripper.
        datasets: Metadata as datasets instead of attributes.
        dtype: Of the arms' streams.
    """

    part: str
    task: str
    instruction: str
    cameras: tuple[str, ...]
    joints: int
    rate: float
    copied_gripper: bool = False
    scalar_gripper: bool = False
    closed_is: float = 1.0
    fingers: int = 0
    datasets: bool = False
    dtype: str = "float64"


ROBOTS: dict[str, _Robot] = {
    "franka": _Robot(
        "Franka-Part-1",
        "stack_bowls",
        "stack the small bowl on the large one",
        ("camera_front", "camera_top", "camera_wrist_left", "camera_wrist_right"),
        joints=7,
        rate=14.0,
        copied_gripper=True,
        dtype="float32",
    ),
    "ur": _Robot(
        "UR-Part-1",
        "open_drawer",
        "pull the upper drawer open",
        ("camera_front", "camera_left", "camera_right"),
        joints=6,
        rate=8.0,
        datasets=True,
    ),
    "agilex": _Robot(
        "AgileX-Part-2",
        "fold_towel",
        "fold the towel twice",
        ("camera_front", "camera_left", "camera_right"),
        joints=6,
        rate=100.0,
        closed_is=0.0,
    ),
    "tienyi": _Robot(
        "TienYi-Part-1",
        "hand_over",
        "hand the bottle from the left to the right",
        ("camera_head", "camera_left", "camera_right"),
        joints=7,
        rate=30.0,
        scalar_gripper=True,
    ),
    "tienkung": _Robot(
        "TienKung-Part-1",
        "grasp_egg",
        "grasp the egg without breaking it",
        ("camera_head",),
        joints=7,
        rate=20.0,
        fingers=6,
    ),
    "agilex_mobile": _Robot(
        "AgileXMobile-Part-1",
        "bring_cup",
        "bring the cup to the sink",
        ("camera_front",),
        joints=6,
        rate=60.0,
        closed_is=0.0,
    ),
}
BODIES: dict[str, tuple[str, ...]] = {
    "tienyi": ("head", "waist"),
    "tienkung": ("head", "waist", "leg"),
    "agilex_mobile": ("chassis",),
}
"""What there may be of a robot besides its arms."""
_STANDING = tuple(name for name in ROBOTS if name != "agilex_mobile")
RATES = {name: robot.rate for name, robot in ROBOTS.items()}


def write(
    folder: Path,
    *,
    episodes: int = 2,
    seed: int = 0,
    frames: int = 33,
    size: tuple[int, int] = (32, 48),
    robots: tuple[str, ...] = _STANDING,
    depth: bool = True,
    bodies: tuple[str, ...] = (),
) -> list[SourceTruth]:
    """Write `folder/RoboMIND2.0-<part>/data/<robot>/<task>/...`; every odd episode has failed.

    Args:
        folder: Where the source goes.
        episodes: How many of each robot.
        seed: Decides everything.
        frames: Frames of the first episode; each further one has three more.
        size: Height and width of the pictures; the declared resolution once lies (640 by 480).
        robots: Which of `ROBOTS`.
        depth: Whether to write depth pictures.
        bodies: Of which robots to write what `BODIES` lists.

    Returns:
        Truths sorted by the path of their files; keys are
        `<robot>/<task>/success_episodes|failed_episodes/<stamp>`.
    """
    truths: dict[str, SourceTruth] = {}
    for index, name in enumerate(ROBOTS):
        if name not in robots:
            continue
        robot = ROBOTS[name]
        for number in range(episodes):
            length = frames + 3 * number
            verdict = "failed_episodes" if number % 2 else "success_episodes"
            key = f"{name}/{robot.task}/{verdict}/{415 + number:04d}_{102030 + number}"
            place = f"RoboMIND2.0-{robot.part}/data/{key}/data/trajectory.hdf5"
            rng = np.random.default_rng([seed, 2, index, number])
            datasets, truth = _episode(
                rng, robot, length=length, size=size, depth=depth, number=number, key=key
            )
            if name in bodies:
                streams, vectors = _body(BODIES[name], length)
                for stream, values in streams.items():
                    datasets |= _stream(stream, values, datasets)
                truth = replace(truth, vectors=truth.vectors | vectors)
            attributes = _metadata(robot, length)
            if robot.datasets:
                datasets |= {f"metadata/{key}": value for key, value in attributes.items()}
            encode.write_hdf5(
                folder / place,
                datasets,
                attributes=None if robot.datasets else {"metadata": attributes},
            )
            truths[place] = truth
    return [truths[place] for place in sorted(truths)]


def _metadata(robot: _Robot, length: int) -> dict[str, Any]:
    if robot.datasets:
        return {
            "language_instruction": robot.instruction,
            "data_type": "real",
            "data_format_version": "v1.0.0",
            "trajectory_length": length,
        }
    return {
        "collection_time": "2025-04-16 13:08:08",
        "collector": "nobody",
        "data_type": "real",
        "language_instruction": robot.instruction,
        "trajectory_length": length,
    }


def _episode(
    rng: np.random.Generator,
    robot: _Robot,
    *,
    length: int,
    size: tuple[int, int],
    depth: bool,
    number: int,
    key: str,
) -> tuple[dict[str, Any], SourceTruth]:
    stamps = START_S + np.floor(np.arange(length) / robot.rate).astype(np.int64)
    intervened = np.zeros(length, bool)
    intervened[length // 2 : length // 2 + 4] = number == 1
    datasets: dict[str, Any] = {}
    arms: dict[str, ArmTruth] = {}
    for side in ("left", "right"):
        streams, arms[side] = _arm(rng, robot, length, side)
        for stream, values in streams.items():
            datasets |= {
                f"{stream}_align/data": values,
                f"{stream}_align/timestamp": stamps,
                f"{stream}_align/is_intervene": intervened,
            }
    shot: dict[str, list[bytes]] = {}
    for camera, name in enumerate(robot.cameras):
        pictures = [
            encode.jpeg(encode.scene(k + 9 * number, size=size, camera=camera))
            for k in range(length)
        ]
        shot[f"camera_observations/color_images/{name}"] = pictures
        datasets |= {
            f"camera_model/{name}": "D435if",
            f"camera_color_channel/{name}": "rgb",
            f"camera_color_resolution/{name}": np.array([640, 480] if camera else size),
            f"camera_depth_resolution/{name}": np.array(size),
        }
        if depth:
            datasets[f"camera_observations/depth_images/{name}"] = encode.vlen(
                [encode.depth_png(k) for k in range(length)]
            )
    datasets |= {name: encode.vlen(pictures) for name, pictures in shot.items()}
    datasets |= {
        "camera_observations/timestamp": stamps,
        "camera_observations/is_intervene": intervened,
    }
    truth = SourceTruth(
        key=key,
        length=length,
        arms=arms,
        instruction=robot.instruction,
        success=number % 2 == 0,
        fps=robot.rate,
        cameras={name: encode.digests(pictures) for name, pictures in shot.items()},
        vectors={"is_intervention": intervened},
    )
    return datasets, truth


def _stream(name: str, values: np.ndarray, datasets: dict[str, Any]) -> dict[str, Any]:
    """A further stream with the clock of the cameras."""
    clock = {key: datasets[f"camera_observations/{key}"] for key in ("timestamp", "is_intervene")}
    return {f"{name}_align/{key}": value for key, value in {"data": values, **clock}.items()}


def _body(parts: tuple[str, ...], T: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Streams of a body that moves by plan, and what they are in the output."""
    way, turn = _ramp(T, *_DRIVING), _ramp(T, *_TURNING)
    streams: dict[str, np.ndarray] = {}
    truths: dict[str, np.ndarray] = {}
    joints = {
        "head": np.stack([np.full(T, 0.1), 0.2 - HEAD_RAD * way, np.zeros(T)], axis=1),
        "waist": (0.05 + WAIST_RAD * way)[:, None],
    }
    for part, column in (("head", "head_joint_position"), ("waist", "torso_joint_position")):
        if part in parts:
            # The leader is ahead.
            commanded = np.vstack([joints[part][2:], joints[part][-2:]])
            streams[f"puppet/{part}_position"] = joints[part].astype(np.float32)
            streams[f"master/{part}_position"] = commanded
            truths[f"observation.{column}"] = streams[f"puppet/{part}_position"]
            truths[f"action.{column}"] = commanded
    if "leg" in parts:
        streams |= {f"puppet/leg_{side}_position": np.zeros((T, 6)) for side in ("left", "right")}
    if "chassis" in parts:
        ahead = np.array([np.cos(_BEGIN_RAD), np.sin(_BEGIN_RAD)])
        place = _BEGIN_M + DRIVE_M * way[:, None] * ahead
        tilt = np.radians(np.stack([5.0 + 2.0 * way, -3.0 + turn], axis=1))
        heading = _BEGIN_RAD + SPIN_RAD * turn
        rotation = Rotation.from_euler("ZYX", np.column_stack([heading, tilt]))
        pose = np.hstack([place, 0.02 * way[:, None], rotation.as_quat()])
        streams |= {"puppet/chassis_pose": pose, "master/chassis_pose": pose}
        streams["puppet/chassis_twist"] = np.zeros((T, 6))
        truths["observation.base_pose"] = pose
    return streams, truths


def _ramp(T: int, begin: float, end: float) -> np.ndarray:
    """(T,) from 0 to 1 between two shares of the episode, resting before and after."""
    share = np.clip((np.arange(T) / (T - 1) - begin) / (end - begin), 0.0, 1.0)
    return share**3 * (10 - 15 * share + 6 * share**2)


def _arm(
    rng: np.random.Generator, robot: _Robot, T: int, side: str
) -> tuple[dict[str, np.ndarray], ArmTruth]:
    """Streams of one arm, and what is true of them after their own rounding to float32."""
    # The leader is two frames ahead, and a bit off.
    joint = smooth_joints(rng, T + 2, robot.joints).astype(robot.dtype)
    target = (joint[2:] + 0.004).astype(robot.dtype)
    joint = joint[:T]
    pose = np.hstack([smooth_positions(rng, T), smooth_rotations(rng, T).as_quat()])
    if robot.fingers:
        ends = 0.5 + 0.07 * np.arange(1, robot.fingers + 1) * smooth(rng, T + 2, robot.fingers)
    else:
        open_ = smooth_gripper(rng, T + 2)[:, None]
        ends = 1 - open_ if robot.closed_is == 1.0 else open_
    ends = ends.astype(robot.dtype)
    streams: dict[str, np.ndarray] = {}
    for group, arm, end in (("puppet", joint, ends[:T]), ("master", target, ends[2:])):
        columns = [arm, end] if robot.copied_gripper else [arm]
        streams[f"{group}/arm_{side}_position"] = np.hstack(columns)
        streams[f"{group}/end_effector_{side}_position"] = (
            end[:, 0] if robot.scalar_gripper else end
        )
        streams[f"{group}/end_effector_{side}_pose"] = pose
    gripper, target_gripper = (_opened(robot, end) for end in (ends[:T], ends[2:]))
    truth = ArmTruth(
        position_m=pose[:, :3],
        quaternion_xyzw=pose[:, 3:],
        joint_position=joint.astype(np.float64),
        gripper_open=gripper,
        hand=ends[:T].astype(np.float64) if robot.fingers else None,
        target_joint_position=target.astype(np.float64),
        target_gripper_open=target_gripper,
    )
    return streams, truth


def _opened(robot: _Robot, end: np.ndarray) -> np.ndarray | None:
    if robot.fingers:
        return None
    value = end[:, 0].astype(np.float64)
    return 1 - value if robot.closed_is == 1.0 else value


CASES = [
    Case("robomind_v2", "robomind_v2", write, breaks=(XYZW_TO_WXYZ, CLOSED_IS_OPEN)),
]
