"""BC-Z 0.1.0 in its own bytes: TFDS' `bc_z`, a mobile manipulator at 10 Hz, no episode id at all.

Leaf names hold slashes (`future/xyz_residual`). Actions are ten waypoints, each a residual added
number by number to the measured pose of the same step: target = present + residual[0], and the
rotation is a rotation vector on both sides, so targets are sums of rotation vectors, not products
of rotations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation
from sources import rlds_writer as rlds
from sources.case import VECTOR_TO_EULER, Case
from sources.motion import smooth_gripper, smooth_positions, smooth_rotations
from sources.truth import ArmTruth, SourceTruth

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CASES", "INSTRUCTIONS", "NAME", "VERSION", "write"]

NAME = "bc_z"
VERSION = "0.1.0"
INSTRUCTIONS = (
    "place the eraser in the ceramic bowl",
    "knock the bottle over",
    "push the purple bowl across the table",
    "wipe the tray with the sponge",
)

_WAYPOINTS = 10
_SHARDS = {"train": 2, "val": 1}


def write(
    folder: Path,
    *,
    episodes: int = 3,
    seed: int = 0,
    length: int = 18,
    size: tuple[int, int] = (171, 213),
    near_pi: bool = False,
) -> list[SourceTruth]:
    """Write `folder/bc_z/0.1.0`; keys are `train/0#1` (split, shard in it, record).

    Args:
        folder: Where the source goes.
        episodes: How many; two shards of `train` and one of `val` share them.
        seed: Decides everything.
        length: Steps of the first episode; each further one has three more.
        size: Height and width of the pictures. The odd real size matters to video encoders.
        near_pi: Whether rotation vectors pass the length pi, where their sign flips.
    """
    records, truths = [], []
    for number, place in enumerate(rlds.places(episodes, _SHARDS)):
        rng = np.random.default_rng([seed, 1, number])
        record, truth = _episode(
            rng,
            length=length + 3 * number,
            size=size,
            near_pi=near_pi,
            instruction=INSTRUCTIONS[number % len(INSTRUCTIONS)],
            success=number % 2 == 0,
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
    return {
        "steps": {
            "action": {
                "future/axis_angle_residual": rlds.tensor(3 * _WAYPOINTS),
                "future/target_close": rlds.tensor(_WAYPOINTS, dtype="int64"),
                "future/xyz_residual": rlds.tensor(3 * _WAYPOINTS),
            },
            "is_first": rlds.tensor(dtype="bool"),
            "is_last": rlds.tensor(dtype="bool"),
            "is_terminal": rlds.tensor(dtype="bool"),
            "observation": {
                "episode_success": rlds.tensor(),
                "image": rlds.image(*size, encoding_format=None),
                "natural_language_embedding": rlds.tensor(512),
                "natural_language_instruction": rlds.text(),
                "present/autonomous": rlds.tensor(dtype="int64"),
                "present/axis_angle": rlds.tensor(3),
                "present/intervention": rlds.tensor(dtype="int64"),
                "present/sensed_close": rlds.tensor(1),
                "present/xyz": rlds.tensor(3),
                "sequence_length": rlds.tensor(dtype="int64"),
            },
            "reward": rlds.tensor(),
        }
    }


def _episode(
    rng: np.random.Generator,
    *,
    length: int,
    size: tuple[int, int],
    near_pi: bool,
    instruction: str,
    success: bool,
    key: str,
) -> tuple[dict[str, Any], SourceTruth]:
    centre = Rotation.from_rotvec([2.9, 0.7, -0.5]) if near_pi else None
    # The operator leads: the commanded pose of a step is a little further on the way.
    whole = length + _WAYPOINTS
    position = smooth_positions(rng, whole)
    rotation = smooth_rotations(rng, whole, centre=centre).as_rotvec()
    grasp = smooth_gripper(rng, whole)
    xyz = position[:length].astype(np.float32)
    axis_angle = rotation[:length].astype(np.float32)
    sensed_close = (1.0 - 0.8 * grasp[:length]).astype(np.float32)
    ahead = np.arange(length)[:, None] + np.arange(1, _WAYPOINTS + 1)
    xyz_residual = (1.15 * (position[ahead] - xyz[:, None])).astype(np.float32)
    turn = rotation[ahead] - axis_angle[:, None]
    axis_angle_residual = (turn if near_pi else 1.15 * turn).astype(np.float32)
    target_close = (grasp[ahead] < 0.5).astype(np.int64)
    intervention = np.zeros(length, np.int64)
    intervention[length // 3 : length // 2] = 1
    frames = rlds.pictures(rng, length, size)
    record = {
        **rlds.step_flags(length),
        "steps/action/future/axis_angle_residual": axis_angle_residual,
        "steps/action/future/target_close": target_close,
        "steps/action/future/xyz_residual": xyz_residual,
        "steps/observation/episode_success": np.full(length, success, np.float32),
        "steps/observation/image": frames,
        "steps/observation/natural_language_embedding": rlds.embedding(instruction, length),
        "steps/observation/natural_language_instruction": [instruction.encode()] * length,
        "steps/observation/present/autonomous": 1 - intervention,
        "steps/observation/present/axis_angle": axis_angle,
        "steps/observation/present/intervention": intervention,
        "steps/observation/present/sensed_close": sensed_close,
        "steps/observation/present/xyz": xyz,
        "steps/observation/sequence_length": np.full(length, length, np.int64),
    }
    there = axis_angle.astype(np.float64)
    arm = ArmTruth(
        position_m=xyz.astype(np.float64),
        quaternion_xyzw=Rotation.from_rotvec(there).as_quat(),
        gripper_open=(1.0 - sensed_close.astype(np.float64)) / (1.0 - 0.2),
        target_position_m=xyz.astype(np.float64) + xyz_residual[:, 0],
        target_quaternion_xyzw=Rotation.from_rotvec(there + axis_angle_residual[:, 0]).as_quat(),
        target_gripper_open=1.0 - target_close[:, 0].astype(np.float64),
    )
    truth = SourceTruth(
        key=key,
        length=length,
        arms={"right": arm},
        instruction=instruction,
        success=success,
        fps=10.0,
        cameras={"image": rlds.digests(frames)},
        vectors={"is_intervention": intervention.astype(bool)},
    )
    return record, truth


CASES = [
    Case(
        "bc_z",
        "bc_z",
        write,
        breaks=(VECTOR_TO_EULER, ("component_sum", "base_left"), ("open = 0.2", "open = 0.0")),
    ),
]
