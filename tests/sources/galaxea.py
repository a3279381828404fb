"""Galaxea Open-World as published: one LeRobot v2.1 dataset a task, R1-Lite, 15 fps.

Poses are xyz + quaternion xyzw, grippers 0 (closed) to 100 (open), arms six joints and without a
dot in between velocities of their own. A frame's fine task is its `task_index`, a text
`Chinese@English` or "null" where nobody labelled; the coarse one and two qualities are further
indices into the same table.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation
from sources.case import XYZW_TO_WXYZ, Case
from sources.lerobot_writer import WrittenEpisode, write_lerobot
from sources.motion import (
    smooth,
    smooth_gripper,
    smooth_joints,
    smooth_positions,
    smooth_rotations,
)
from sources.truth import ArmTruth, SourceTruth, StepTruth

__all__ = ["CAMERAS", "CASES", "TASKS", "write"]

CAMERAS = ("observation.images.head_rgb", "observation.images.left_wrist_rgb")
FPS = 15
TASKS = (
    "null",
    "qualified",
    "unqualified",
    "整理桌面@Organize the table",
    "拿起杯子@Pick up the cup",
    "放下杯子@Put down the cup",
)
_FOLDERS = ("Organize_The_Table_20250711_006", "Wipe_The_Desk_20250712_007")
# (task index, share of the frames): an unlabelled beginning, two steps, an unlabelled end.
_RUNS = ((0, 0.15), (4, 0.4), (5, 0.3), (0, 0.15))


def write(
    folder: Path,
    *,
    datasets: int = 2,
    episodes: int = 2,
    seed: int = 0,
    length: int = 24,
    videos: bool = True,
    codec: str = "h264",
    commanded: int = 6,
) -> list[SourceTruth]:
    """Write `folder/<task>` for some tasks; keys are `path#episode`.

    Args:
        folder: Where the datasets go.
        datasets: How many, two at most.
        episodes: Of each.
        seed: Decides everything.
        length: Frames of the first; each further one has three more.
        videos: Whether the cameras have files.
        codec: `av1` as published needs 64x64 pictures; h264 is quicker.
        commanded: Numbers of a command to the chassis: a twist, or 3 as in an early draft.
    """
    rng = np.random.default_rng(seed)
    truths = []
    for name in _FOLDERS[:datasets]:
        written = []
        for number in range(episodes):
            frames = length + 3 * number
            episode, truth = _episode(rng, frames, name, number, videos=videos, commanded=commanded)
            written.append(episode)
            truths.append(truth)
        write_lerobot(
            folder / name,
            written,
            version="v2.1",
            fps=FPS,
            tasks=list(TASKS),
            cameras=CAMERAS if videos else (),
            codec=codec,
            robot_type="R1Lite",
        )
    return truths


def _episode(
    rng: np.random.Generator, T: int, folder: str, number: int, *, videos: bool, commanded: int
) -> tuple[WrittenEpisode, SourceTruth]:
    columns: dict[str, np.ndarray] = {}
    arms = {}
    for side in ("left", "right"):
        position, rotation = smooth_positions(rng, T), smooth_rotations(rng, T)
        joints, gripper = smooth_joints(rng, T, 6), smooth_gripper(rng, T)
        target = joints + 0.03 * smooth(rng, T, 6)
        target_gripper = np.clip(gripper - 0.04, 0.0, 1.0)
        quaternion = _continuous(rotation)
        columns |= {
            f"observation.state.{side}_arm": joints,
            f"observation.state.{side}_arm.velocities": np.gradient(joints, 1 / FPS, axis=0),
            f"observation.state.{side}_gripper": 100 * gripper,
            f"observation.state.{side}_ee_pose": np.hstack([position, quaternion]),
            f"action.{side}_arm": target,
            f"action.{side}_gripper": 100 * target_gripper,
        }
        arms[side] = ArmTruth(
            position_m=position,
            quaternion_xyzw=quaternion,
            joint_position=joints,
            gripper_open=gripper,
            target_joint_position=target,
            target_gripper_open=target_gripper,
        )
    columns |= {
        "observation.state.chassis": 0.2 * smooth(rng, T, 3),
        "observation.state.chassis.velocities": 0.3 * smooth(rng, T, 3),
        "observation.state.chassis.imu": smooth(rng, T, 10),
        "observation.state.torso": smooth_joints(rng, T, 4),
        "observation.state.torso.velocities": 0.1 * smooth(rng, T, 4),
        "action.torso.velocities": 0.1 * smooth(rng, T, 6),
        "action.chassis.velocities": 0.3 * smooth(rng, T, 6)[:, :commanded],
    }
    ends = np.round(np.cumsum([share for _, share in _RUNS]) * T).astype(int)
    starts = [0, *ends[:-1]]
    fine = np.zeros(T, np.int64)
    steps = []
    for (task, _), start, end in zip(_RUNS, starts, ends, strict=True):
        fine[start:end] = task
        if task:
            steps.append(StepTruth(TASKS[task].split("@")[1], int(start), int(end)))
    columns |= {
        "task_index": fine,
        "coarse_task_index": np.full(T, 3),
        "quality_index": np.where(fine == 0, 0, 1),
        "coarse_quality_index": np.full(T, 1),
    }
    cameras = {
        camera: f"{folder}/videos/chunk-000/{camera}/episode_{number:06d}.mp4"
        for camera in (CAMERAS if videos else ())
    }
    truth = SourceTruth(
        key=f"{folder}#{number}",
        length=T,
        arms=arms,
        instruction=TASKS[3].split("@")[1],
        alternatives=(TASKS[3].split("@")[0],),
        steps=tuple(steps),
        fps=FPS,
        cameras=cameras,
        vectors={
            "observation.base_velocity": columns["observation.state.chassis.velocities"],
            "observation.torso_joint_position": columns["observation.state.torso"],
            "action.base_velocity": columns["action.chassis.velocities"],
            "action.torso_velocity": columns["action.torso.velocities"],
        },
    )
    raw = f"RB250711006_2025071{number}120000_raw.mcap"
    return WrittenEpisode(columns, ("null", *TASKS[3:]), {"raw_file_name": raw}), truth


def _continuous(rotation: Rotation) -> np.ndarray:
    quaternion = rotation.as_quat()
    for row in range(1, len(quaternion)):
        if quaternion[row] @ quaternion[row - 1] < 0:
            quaternion[row] *= -1
    return quaternion


CASES = [
    Case(
        "galaxea_lerobot",
        "galaxea",
        write,
        breaks=(XYZW_TO_WXYZ, ("open = 100.0, closed = 0.0", "open = 0.0, closed = 100.0")),
    ),
]
