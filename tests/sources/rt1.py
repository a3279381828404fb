"""RT-1 (`fractal20220817_data` 0.1.0) in its own bytes: 3 Hz, no episode id, no joints.

The state is a position and a quaternion xyzw; the action is a step in base axes on the MEASURED
pose: p + dp, and R(d) R with the delta on the left. Whether `rotation_delta` is roll-pitch-yaw (its
documentation) or a rotation vector is disputed: both can be written. The gripper's command is +1
close, -1 open, 0 as before. The last step's action is all zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.spatial.transform import Rotation
from sources import rlds_writer as rlds
from sources.case import LEFT_TO_RIGHT, XYZW_TO_WXYZ, Case
from sources.motion import smooth_gripper, smooth_positions, smooth_rotations
from sources.truth import ArmTruth, SourceTruth

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CASES", "INSTRUCTIONS", "NAME", "VERSION", "write"]

NAME = "fractal20220817_data"
VERSION = "0.1.0"
INSTRUCTIONS = ("pick coke can", "move apple near orange can", "close middle drawer")

_SHARDS = {"train": 2}
_ATTRIBUTES = ("collection_mode", "data_type", "env", "location", "objects_family", "task_family")
_BOXES = {
    "orientation_box": (2, 3),
    "orientation_start": (4,),
    "robot_orientation_positions_box": (3, 3),
    "rotation_delta_to_go": (3,),
    "src_rotation": (4,),
    "vector_to_go": (3,),
    "workspace_bounds": (3, 3),
}

RotationDelta = Literal["rpy", "rotvec"]


def write(
    folder: Path,
    *,
    episodes: int = 3,
    seed: int = 0,
    length: int = 14,
    size: tuple[int, int] = (32, 40),
    rotation: RotationDelta = "rpy",
    picture_form: Literal["JPEG", "PNG"] = "JPEG",
    two_steps: bool = False,
    outlier: bool = False,
) -> list[SourceTruth]:
    """Write `folder/fractal20220817_data/0.1.0`; keys are `train/0#1` (split, shard, record).

    The first episode closes and opens the gripper, the second opens first (so it began closed),
    the third never commands it (open); noise of 0.05 commands nothing. The first succeeded, the
    second failed, of the third nobody said.

    Args:
        folder: Where the source goes.
        episodes: How many; two shards share them.
        seed: Decides everything.
        length: Steps of the first episode; each further one has three more.
        size: Height and width of the pictures; really (256, 320).
        rotation: What `rotation_delta` is.
        picture_form: JPEG or PNG; features.json does not say.
        two_steps: Whether one more episode has two steps: terminate at once, then nothing.
        outlier: Whether the first episode has one action of 22.09 m.
    """
    lengths = [length + 3 * number for number in range(episodes)] + [2] * two_steps
    records, truths = [], []
    for number, place in enumerate(rlds.places(len(lengths), _SHARDS)):
        record, truth = _episode(
            np.random.default_rng([seed, 2, number]),
            number=number,
            length=lengths[number],
            size=size,
            rotation=rotation,
            picture_form=picture_form,
            outlier=outlier and number == 0,
            key=place.key,
        )
        records.append(record)
        truths.append(truth)
    rlds.write_rlds(
        folder,
        name=NAME,
        version=VERSION,
        features=_features(size),
        episodes=records,
        shards=_SHARDS,
    )
    return truths


def _features(size: tuple[int, int]) -> dict[str, Any]:
    aspects = ("already_success", "feasible", "has_aspects", "success", "undesirable")
    attributes: dict[str, Any] = {}
    for name in _ATTRIBUTES:
        attributes |= {name: rlds.tensor(dtype="int64"), f"{name}_name": rlds.text()}
    return {
        "aspects": {name: rlds.tensor(dtype="bool") for name in aspects},
        "attributes": attributes,
        "steps": {
            "action": {
                "base_displacement_vector": rlds.tensor(2),
                "base_displacement_vertical_rotation": rlds.tensor(1),
                "gripper_closedness_action": rlds.tensor(1),
                "rotation_delta": rlds.tensor(3),
                "terminate_episode": rlds.tensor(3, dtype="int32"),
                "world_vector": rlds.tensor(3),
            },
            "is_first": rlds.tensor(dtype="bool"),
            "is_last": rlds.tensor(dtype="bool"),
            "is_terminal": rlds.tensor(dtype="bool"),
            "observation": {
                "base_pose_tool_reached": rlds.tensor(7),
                "gripper_closed": rlds.tensor(1),
                "gripper_closedness_commanded": rlds.tensor(1),
                "height_to_bottom": rlds.tensor(1),
                "image": rlds.image(*size, encoding_format=None),
                "natural_language_embedding": rlds.tensor(512),
                "natural_language_instruction": rlds.text(),
                **{name: rlds.tensor(*shape) for name, shape in _BOXES.items()},
            },
            "reward": rlds.tensor(),
        },
    }


def _episode(
    rng: np.random.Generator,
    *,
    number: int,
    length: int,
    size: tuple[int, int],
    rotation: RotationDelta,
    picture_form: str,
    outlier: bool,
    key: str,
) -> tuple[dict[str, Any], SourceTruth]:
    pose, world_vector, rotation_delta = _motion(rng, length, rotation)
    if outlier:
        world_vector[length // 2, 1] = 22.09
    closed = (1.0 - smooth_gripper(rng, length)).astype(np.float32)
    command, held_open = _gripper(number % 3, length)
    terminate = np.tile(np.array([0, 1, 0], np.int32), (length, 1))
    terminate[-2:] = [[1, 0, 0], [0, 0, 0]]
    instruction = INSTRUCTIONS[number % len(INSTRUCTIONS)]
    has_aspects, success = number % 3 != 2, number % 3 == 0
    frames = rlds.pictures(rng, length, size, form=picture_form)
    record = {
        **rlds.step_flags(length),
        **_episode_level(has_aspects=has_aspects, success=success),
        **_bystanders(rng, length),
        "steps/action/base_displacement_vector": np.zeros((length, 2), np.float32),
        "steps/action/base_displacement_vertical_rotation": np.zeros(length, np.float32),
        "steps/action/gripper_closedness_action": command,
        "steps/action/rotation_delta": rotation_delta,
        "steps/action/terminate_episode": terminate,
        "steps/action/world_vector": world_vector,
        "steps/observation/base_pose_tool_reached": pose,
        "steps/observation/gripper_closed": closed,
        "steps/observation/gripper_closedness_commanded": closed,
        "steps/observation/height_to_bottom": pose[:, 2] + np.float32(0.7),
        "steps/observation/image": frames,
        "steps/observation/natural_language_embedding": rlds.embedding(instruction, length),
        "steps/observation/natural_language_instruction": [instruction.encode()] * length,
    }
    exact = pose.astype(np.float64)
    measured, step = Rotation.from_quat(exact[:, 3:]), _delta(rotation_delta, rotation)
    arm = ArmTruth(
        position_m=exact[:, :3],
        quaternion_xyzw=measured.as_quat(),
        gripper_open=1.0 - closed.astype(np.float64),
        target_position_m=exact[:, :3] + world_vector,
        target_quaternion_xyzw=(step * measured).as_quat(),
        target_gripper_open=held_open,
    )
    truth = SourceTruth(
        key=key,
        length=length,
        arms={"right": arm},
        instruction=instruction,
        success=success if has_aspects else None,
        fps=3.0,
        cameras={"image": rlds.digests(frames)},
    )
    return record, truth


def _motion(
    rng: np.random.Generator, length: int, rotation: RotationDelta
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses (T, 7) and the commands (T, 3), (T, 3) that overshoot the next pose; float32."""
    position, turned = smooth_positions(rng, length), smooth_rotations(rng, length)
    pose = np.hstack([position, turned.as_quat()]).astype(np.float32)
    world_vector, rotation_delta = np.zeros((2, length, 3), np.float32)
    world_vector[:-1] = 1.2 * np.diff(position, axis=0)
    step = Rotation.from_rotvec(1.2 * (turned[1:] * turned[:-1].inv()).as_rotvec())
    rotation_delta[:-1] = step.as_rotvec() if rotation == "rotvec" else step.as_euler("xyz")
    return pose, world_vector, rotation_delta


def _delta(rotation_delta: np.ndarray, rotation: RotationDelta) -> Rotation:
    exact = rotation_delta.astype(np.float64)
    if rotation == "rotvec":
        return Rotation.from_rotvec(exact)
    return Rotation.from_euler("xyz", exact)


def _gripper(kind: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Commands (T,) float32 and the open fraction (T,) that they hold."""
    command = np.where(np.arange(length) % 4 == 1, 0.05, 0.0).astype(np.float32)
    held = np.full(length, 1.0)
    first, second = length // 3, 2 * length // 3
    if length <= 2 or kind == 2:
        return command * (length > 2), held
    close = 1.0 if kind == 0 else -1.0
    command[first : first + 2], command[second] = close, -close
    held[:] = 1.0 if kind == 0 else 0.0
    held[first:second] = 0.0 if kind == 0 else 1.0
    return command, held


def _episode_level(*, has_aspects: bool, success: bool) -> dict[str, Any]:
    flags = {
        "already_success": False,
        "feasible": has_aspects,
        "has_aspects": has_aspects,
        "success": success,
        "undesirable": False,
    }
    level: dict[str, Any] = {f"aspects/{k}": np.array([v]) for k, v in flags.items()}
    for number, name in enumerate(_ATTRIBUTES):
        level[f"attributes/{name}"] = np.array([number], np.int64)
        level[f"attributes/{name}_name"] = [f"{name} {number}".encode()]
    return level


def _bystanders(rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """What the robot's software noted beside the motion; nobody reads it."""
    return {
        f"steps/observation/{name}": rng.standard_normal((length, *shape)).astype(np.float32)
        for name, shape in _BOXES.items()
    }


CASES = [
    Case(
        "rt_1",
        "rt_1",
        write,
        breaks=(
            XYZW_TO_WXYZ,
            LEFT_TO_RIGHT,
            ("open = -1.0, closed = 1.0", "open = 1.0, closed = -1.0"),
        ),
    ),
    Case(
        "rt_1_rotvec",
        "rt_1",
        write,
        knobs={"rotation": "rotvec", "picture_form": "PNG"},
        options=(("rotation_delta", "rotation_vector"),),
        breaks=(('encoding = "option:rotation_delta"', 'encoding = "euler_xyz_extrinsic"'),),
    ),
]
