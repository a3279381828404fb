"""RoboMIND V2 in its own bytes: two arms, `_align` streams with whole-second time stamps.

Poses are xyz and quaternion xyzw in each arm's own base; the master's pose is a bit-for-bit copy of
the puppet's, so it is no action. Settled here where the publisher is silent: Franka and UR grippers
0 open, 1 closed; AgileX 0 closed, 1 open; Tian Yi (and the hands' robot) 0 open, 1 closed. The rate
is the number of frames by the seconds between the stamps, which is all that whole seconds tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sources import encode
from sources.motion import (
    smooth,
    smooth_gripper,
    smooth_joints,
    smooth_positions,
    smooth_rotations,
)
from sources.truth import ArmTruth, SourceTruth

__all__ = ["RATES", "ROBOTS", "START_S", "write"]

START_S = 1_744_780_088


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
}
RATES = {name: robot.rate for name, robot in ROBOTS.items()}


def write(
    folder: Path,
    *,
    episodes: int = 2,
    seed: int = 0,
    frames: int = 33,
    size: tuple[int, int] = (32, 48),
    robots: tuple[str, ...] = tuple(ROBOTS),
    depth: bool = True,
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
