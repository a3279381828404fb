"""Galaxea Open-World's RLDS release in its own bytes: a two-armed R1 Lite at 15 Hz, joints only.

`language_instruction` is `high level@low level in Chinese@low level in English`; `segment_idx`
counts the low-level parts. Grippers count 0 = closed, 100 = open. `action` packs 26 numbers: left
arm 6, left gripper 1, right arm 6, right gripper 1, torso 6, base 6; the arm's are joint
position targets, although a comment of the makers calls them velocities. No end-effector pose, no
reward, no `is_terminal`, no time stamps. Depth is uint16 millimetres.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sources import rlds_writer as rlds
from sources.case import Case
from sources.motion import smooth, smooth_gripper, smooth_joints
from sources.truth import ArmTruth, SourceTruth, StepTruth

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CAMERAS", "CASES", "DEPTH_CAMERAS", "NAME", "PREFIX", "VERSION", "write"]

NAME = "part1_r1_lite"
VERSION = "1.0.0"
PREFIX = "/data/rlds/R1_Lite/"
CAMERAS = ("image_camera_head", "image_camera_wrist_left", "image_camera_wrist_right")
DEPTH_CAMERAS = ("depth_camera_wrist_left", "depth_camera_wrist_right")

_TASKS = (
    (
        "Arrange the fruits",
        (("拿起苹果", "pick up the apple"), ("放入篮子", "place it in the basket")),
    ),
    (
        "Make the bed",
        (("抓住被角", "grasp the corner"), ("拉平", "pull it flat"), ("松开", "let go")),
    ),
    ("Open the fridge", (("打开冰箱门", "open the fridge door"),)),
)
_SIDES = ("left", "right")
_FLAGS = ("is_first", "is_last")
_SHARDS = {"train": 2}
# Frames by which commands lead.
_LEAD = 2

Depth = Literal["png", "tensor"]
ArmAction = Literal["position", "velocity"]


def write(
    folder: Path,
    *,
    episodes: int = 3,
    seed: int = 0,
    length: int = 24,
    size: tuple[int, int] = (28, 28),
    depth: Depth = "png",
    arm_action: ArmAction = "position",
) -> list[SourceTruth]:
    """Write `folder/part1_r1_lite/1.0.0`; keys are the file paths without `PREFIX`.

    Steps in the truth are the runs of `segment_idx`, with the low-level English text.

    Args:
        folder: Where the source goes.
        episodes: How many; two shards share them.
        seed: Decides everything.
        length: Steps of the first episode; each further one has three more.
        size: Height and width of the pictures; really (224, 224).
        depth: Depth pictures as PNG, or as tensors of plain numbers.
        arm_action: What the arm's part of `action` is. With velocities (rad/s) the truth has no
            `target_joint_position`.
    """
    records, truths = [], []
    for number in range(episodes):
        record, truth = _episode(
            np.random.default_rng([seed, 6, number]),
            number=number,
            length=length + 3 * number,
            size=size,
            depth=depth,
            arm_action=arm_action,
        )
        records.append(record)
        truths.append(truth)
    rlds.write_rlds(
        folder,
        name=NAME,
        version=VERSION,
        features=_features(size, depth),
        episodes=records,
        shards=_SHARDS,
    )
    return truths


def _features(size: tuple[int, int], depth: Depth) -> dict[str, Any]:
    depth_leaf = (
        rlds.image(*size, 1, dtype="uint16", encoding_format="png")
        if depth == "png"
        else rlds.tensor(*size, 1, dtype="uint16")
    )
    arms: dict[str, Any] = {}
    for side in _SIDES:
        arms |= {
            f"gripper_state_{side}": rlds.tensor(1),
            f"joint_position_arm_{side}": rlds.tensor(6),
            f"joint_velocity_arm_{side}": rlds.tensor(6),
        }
    return {
        "episode_metadata": {"file_path": rlds.text()},
        "steps": {
            "action": rlds.tensor(26),
            "is_first": rlds.tensor(dtype="bool"),
            "is_last": rlds.tensor(dtype="bool"),
            "language_instruction": rlds.text(),
            "observation": {
                "base_velocity": rlds.tensor(3),
                **dict.fromkeys(DEPTH_CAMERAS, depth_leaf),
                **{name: rlds.image(*size) for name in CAMERAS},
                **arms,
                "joint_position_torso": rlds.tensor(4),
                "last_action": rlds.tensor(26),
            },
            "segment_idx": rlds.tensor(dtype="int32"),
            "variant_idx": rlds.tensor(dtype="int32"),
        },
    }


def _episode(
    rng: np.random.Generator,
    *,
    number: int,
    length: int,
    size: tuple[int, int],
    depth: Depth,
    arm_action: ArmAction,
) -> tuple[dict[str, Any], SourceTruth]:
    numbers = _numbers(rng, length, arm_action)
    goal, parts = _TASKS[number % len(_TASKS)]
    segment = np.minimum(np.arange(length) * len(parts) // length, len(parts) - 1)
    sentences = [f"{goal}@{chinese}@{english}".encode() for chinese, english in parts]
    frames = {name: rlds.pictures(rng, length, size) for name in CAMERAS}
    path = f"{goal.replace(' ', '_')}/RB25071{number}_RAW.mcap"
    record = {
        "episode_metadata/file_path": [f"{PREFIX}{path}".encode()],
        **{f"steps/{key}": rlds.step_flags(length)[f"steps/{key}"] for key in _FLAGS},
        "steps/language_instruction": [sentences[part] for part in segment],
        "steps/segment_idx": segment.astype(np.int32),
        "steps/variant_idx": np.zeros(length, np.int32),
        **{f"steps/{name}": value for name, value in numbers.items()},
        **{f"steps/observation/{name}": pictures for name, pictures in frames.items()},
        **{f"steps/observation/{name}": _depth(rng, length, size, depth) for name in DEPTH_CAMERAS},
    }
    edges = np.searchsorted(segment, np.arange(len(parts) + 1)).tolist()
    steps = tuple(
        StepTruth(english, edges[part], edges[part + 1]) for part, (_, english) in enumerate(parts)
    )
    truth = SourceTruth(
        key=path,
        length=length,
        arms={side: _arm(numbers, side, arm_action) for side in _SIDES},
        instruction=goal,
        steps=steps,
        fps=15.0,
        cameras={name: rlds.digests(pictures) for name, pictures in frames.items()},
        vectors={
            "observation.base_velocity": _exact(numbers["observation/base_velocity"]),
            "observation.torso_joint_position": _exact(numbers["observation/joint_position_torso"]),
            "action.base_velocity": _exact(numbers["action"][:, 20:26]),
        },
    )
    return record, truth


def _numbers(rng: np.random.Generator, length: int, arm_action: ArmAction) -> dict[str, np.ndarray]:
    """Everything measured and commanded, by its name under `steps/`, as it is stored: float32."""
    whole = length + _LEAD
    numbers: dict[str, np.ndarray] = {}
    pieces: list[np.ndarray] = []
    for side in _SIDES:
        # The arms must not look alike, or a swap would pass.
        joints = smooth_joints(rng, whole, 6) * (1.0 if side == "left" else -0.8)
        opening = 100.0 * smooth_gripper(rng, whole)
        velocity = np.gradient(joints, axis=0) * 15.0
        numbers[f"observation/gripper_state_{side}"] = opening[:length]
        numbers[f"observation/joint_position_arm_{side}"] = joints[:length]
        numbers[f"observation/joint_velocity_arm_{side}"] = velocity[:length]
        pieces += [(joints if arm_action == "position" else velocity)[_LEAD:]]
        pieces += [opening[_LEAD:, None]]
    torso, base = 0.1 * smooth(rng, length, 6), 0.3 * smooth(rng, length, 6)
    action = np.hstack([*pieces, torso, base])
    numbers["action"] = action
    numbers["observation/last_action"] = np.vstack([np.zeros((1, 26)), action[:-1]])
    numbers["observation/base_velocity"] = 0.3 * smooth(rng, length, 3)
    numbers["observation/joint_position_torso"] = smooth_joints(rng, length, 4)
    return {name: value.astype(np.float32) for name, value in numbers.items()}


def _arm(numbers: dict[str, np.ndarray], side: str, arm_action: ArmAction) -> ArmTruth:
    start = 0 if side == "left" else 7
    action = _exact(numbers["action"])
    return ArmTruth(
        joint_position=_exact(numbers[f"observation/joint_position_arm_{side}"]),
        gripper_open=_exact(numbers[f"observation/gripper_state_{side}"]) / 100.0,
        target_joint_position=action[:, start : start + 6] if arm_action == "position" else None,
        target_gripper_open=action[:, start + 6] / 100.0,
    )


def _depth(
    rng: np.random.Generator, length: int, size: tuple[int, int], depth: Depth
) -> list[bytes] | np.ndarray:
    millimetres = rng.integers(300, 1500, (length, *size)).astype(np.uint16)
    if depth == "tensor":
        return millimetres
    return [rlds.encoded(frame, form="PNG") for frame in millimetres]


def _exact(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.float64)


CASES = [
    Case("galaxea_rlds", "galaxea", write, breaks=(("columns = [7, 13]", "columns = [6, 12]"),)),
]
