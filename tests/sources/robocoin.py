"""RoboCOIN in both its forms: LeRobot v2.1 with named columns, and the early one of 2025.

Current: 14 named numbers an arm (seven joints, open scale, position, Euler angles), a simulated
pose beside them, five slots of active subtasks a frame. Early (a Realman): `states`/`actions` of
30 numbers, the right arm first, the gripper 0 to 1000, steps in `label/data_annotation.json`
counted from 1 with the end included and shared with the next start.
"""

from __future__ import annotations

import json
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

__all__ = ["CAMERAS", "CASES", "EARLY_CAMERAS", "STATE_NAMES", "SUBTASKS", "write", "write_early"]

CAMERAS = ("observation.images.cam_high_rgb",)
EARLY_CAMERAS = ("observation.images.cam_high",)
FPS = 30
EARLY_FPS = 25
# The filler of unused slots is whatever index says "null"; here not 0, as nobody promised that.
SUBTASKS = ("Grasp the cup with the left gripper", "Place the cup on the plate", "End", "null")
_NULL = 3
GRIPPER_FULLY_OPEN = 1000.0
STATE_NAMES = tuple(
    f"{side}_{part}"
    for side in ("left", "right")
    for part in (
        *(f"arm_joint_{n}_rad" for n in range(1, 8)),
        "gripper_open_scale",
        *(f"eef_pos_{axis}" for axis in "xyz"),
        *(f"eef_rot_{axis}" for axis in "xyz"),
    )
)
_EARLY_NAMES = [
    f"{side}_{part}"
    for side in ("right", "left")
    for part in (
        *(f"arm_joint_{n}" for n in range(1, 8)),
        "gripper_joint",
        *(f"end_effector_positions_{axis}" for axis in "xyz"),
        *(f"end_effector_quat_{axis}" for axis in "xyzw"),
    )
]
_EARLY_STEPS = ("Grasp the arch", "Place the arch on the box", "end")


def write(
    folder: Path,
    *,
    episodes: int = 3,
    seed: int = 0,
    length: int = 24,
    videos: bool = True,
    two_unnamed: bool = False,
) -> list[SourceTruth]:
    """Write the current form into `folder` itself; keys are `#episode`.

    The pose of the state and the simulated pose say the same here, Euler angles extrinsic xyz.

    Args:
        folder: Becomes the dataset.
        episodes: How many; the split leaves the last one out, as the real one does.
        seed: Decides everything.
        length: Frames of the first; each further one has two more.
        videos: Whether the camera has files.
        two_unnamed: 30 numbers, and names for the first 28 of them.
    """
    rng = np.random.default_rng(seed)
    written, truths = [], []
    for number in range(episodes):
        episode, truth = _current(rng, length + 2 * number, number, videos, two_unnamed)
        written.append(episode)
        truths.append(truth)
    write_lerobot(
        folder,
        written,
        version="v2.1",
        fps=FPS,
        tasks=["put the cup on the plate"],
        cameras=CAMERAS if videos else (),
        names={"observation.state": list(STATE_NAMES), "action": list(STATE_NAMES)},
        lists="list",
        timestamp_dtype="float64",
        splits={"train": f"0:{episodes - 1}"},
        chunks_size=episodes + 1,
        robot_type=None,
        discarded_episode_indices=[],
    )
    (folder / "annotations").mkdir()
    for stem, key, texts in (
        ("subtask_annotations", "subtask", SUBTASKS),
        ("scene_annotations", "scene", ("a table with a cup and a plate",)),
        ("eef_direction_annotation", "eef_direction", ("still", "left", "right")),
    ):
        lines = [json.dumps({f"{key}_index": i, key: text}) for i, text in enumerate(texts)]
        (folder / f"annotations/{stem}.jsonl").write_text("\n".join(lines) + "\n")
    return truths


def write_early(
    folder: Path, *, episodes: int = 2, seed: int = 0, length: int = 24, videos: bool = True
) -> list[SourceTruth]:
    """Write the early form into `folder` itself; keys are `#episode`."""
    rng = np.random.default_rng(seed)
    written, truths, labels = [], [], []
    for number in range(episodes):
        T = length + 2 * number
        arms = {side: _arm(rng, T) for side in ("right", "left")}
        columns = {
            name: np.hstack([_early_part(arms[side], target) for side in ("right", "left")])
            for name, target in (("states", False), ("actions", True))
        }
        columns["next.done"] = np.arange(T) == T - 1
        cuts = [1, T // 3, 2 * T // 3, T]
        ranges = list(zip(_EARLY_STEPS, cuts[:-1], cuts[1:], strict=True))
        labels.append(
            {
                "episode_index": number,
                "annotation": {
                    "id": 96891 + number,
                    "videoLabels": [
                        {"ranges": [{"end": end, "start": start}], "timelinelabels": [text]}
                        for text, start, end in ranges
                    ],
                },
            }
        )
        written.append(WrittenEpisode(columns, ("task_stack_basket",)))
        truths.append(
            SourceTruth(
                key=f"#{number}",
                length=T,
                arms=arms,
                instruction="build blocks",
                alternatives=("task_stack_basket",),
                # 1-based, end included and shared: half-open from 0 the shared frame is the next's.
                steps=tuple(
                    StepTruth(text, start - 1, end if end == T else end - 1)
                    for text, start, end in ranges
                ),
                fps=EARLY_FPS,
                cameras=_cameras(EARLY_CAMERAS if videos else (), number),
            )
        )
    write_lerobot(
        folder,
        written,
        version="v2.1",
        fps=EARLY_FPS,
        tasks=["build blocks"],
        cameras=EARLY_CAMERAS if videos else (),
        names={"states": _EARLY_NAMES, "actions": _EARLY_NAMES},
        name_key="name",
        robot_type="realman",
    )
    (folder / "label").mkdir()
    (folder / "label/data_annotation.json").write_text(json.dumps(labels, indent=4))
    return truths


def _current(
    rng: np.random.Generator, T: int, number: int, videos: bool, two_unnamed: bool
) -> tuple[WrittenEpisode, SourceTruth]:
    arms = {side: _arm(rng, T) for side in ("left", "right")}
    columns: dict[str, np.ndarray] = {}
    for name, target in (("observation.state", False), ("action", True)):
        parts = [_current_part(arms[side], target) for side in ("left", "right")]
        extra = [smooth(rng, T, 2).astype(np.float32)] if two_unnamed else []
        columns[name] = np.hstack([*parts, *extra])
        poses = [np.hstack(_position_and_euler(arms[side], target)) for side in ("left", "right")]
        suffix = "action" if target else "state"
        columns[f"eef_sim_pose_{suffix}"] = np.hstack(poses).astype(np.float32)
        columns[f"gripper_open_scale_{suffix}"] = columns[name][:, [7, 21]]
        columns[f"eef_direction_{suffix}"] = np.ones((T, 2), np.int32)
    # The second step begins while the first one still holds: two slots are used there.
    first, second, end = T // 2, T // 3, T - 3
    slots = np.full((T, 5), _NULL, np.int32)
    slots[:first, 0] = 0
    slots[second:end, 1] = 1
    slots[end:, 0] = 2
    columns["subtask_annotation"] = slots
    columns["scene_annotation"] = np.zeros((T, 1), np.int32)
    truth = SourceTruth(
        key=f"#{number}",
        length=T,
        arms=arms,
        instruction="put the cup on the plate",
        steps=(
            StepTruth(SUBTASKS[0], 0, first),
            StepTruth(SUBTASKS[1], second, end),
            StepTruth(SUBTASKS[2], end, T),
        ),
        fps=FPS,
        cameras=_cameras(CAMERAS if videos else (), number),
    )
    return WrittenEpisode(columns, ("put the cup on the plate",)), truth


def _arm(rng: np.random.Generator, T: int) -> ArmTruth:
    """An arm whose numbers are float32, as the files have them."""
    joints, gripper = smooth_joints(rng, T, 7), smooth_gripper(rng, T)
    position, rotation = smooth_positions(rng, T), smooth_rotations(rng, T)
    nudge = Rotation.from_rotvec(0.02 * smooth(rng, T, 3))
    return ArmTruth(
        position_m=_stored(position),
        quaternion_xyzw=_stored(rotation.as_quat()),
        joint_position=_stored(joints),
        gripper_open=_stored(gripper),
        target_position_m=_stored(position + 0.01 * smooth(rng, T, 3)),
        target_quaternion_xyzw=_stored((nudge * rotation).as_quat()),
        target_joint_position=_stored(joints + 0.03 * smooth(rng, T, 7)),
        target_gripper_open=_stored(np.clip(gripper - 0.05, 0.0, 1.0)),
    )


def _of(arm: ArmTruth, target: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(joints, gripper, position, quaternion) of the state or of the target."""
    if target:
        return (
            arm.target_joint_position,
            arm.target_gripper_open,
            arm.target_position_m,
            arm.target_quaternion_xyzw,
        )
    return arm.joint_position, arm.gripper_open, arm.position_m, arm.quaternion_xyzw


def _position_and_euler(arm: ArmTruth, target: bool) -> tuple[np.ndarray, np.ndarray]:
    _, _, position, quaternion = _of(arm, target)
    return position, Rotation.from_quat(quaternion).as_euler("xyz")


def _current_part(arm: ArmTruth, target: bool) -> np.ndarray:
    joints, gripper, _, _ = _of(arm, target)
    return np.hstack([joints, gripper[:, None], *_position_and_euler(arm, target)]).astype(
        np.float32
    )


def _early_part(arm: ArmTruth, target: bool) -> np.ndarray:
    joints, gripper, position, quaternion = _of(arm, target)
    scaled = GRIPPER_FULLY_OPEN * gripper[:, None]
    return np.hstack([joints, scaled, position, quaternion]).astype(np.float32)


def _stored(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).astype(np.float64)


def _cameras(names: tuple[str, ...], number: int) -> dict[str, str]:
    return {name: f"videos/chunk-000/{name}/episode_{number:06d}.mp4" for name in names}


CASES = [
    Case(
        "robocoin",
        "robocoin",
        write,
        breaks=(('default = "euler_xyz_extrinsic"', 'default = "rotation_vector"'),),
    ),
    Case("robocoin_early", "robocoin", write_early, breaks=(XYZW_TO_WXYZ,)),
]
