"""DROID's RLDS builds 1.0.0 and 1.0.1 in their own bytes: a Franka at 15 Hz.

Poses are x, y, z, roll, pitch, yaw of the flange (R = Rz Ry Rx) with the gripper pointing down, so
roll sits at pi and wraps. Targets are absolute (`action_dict/cartesian_position`) and lead the
measured pose by a few frames; velocities are fractions of the fastest step. Both grippers count 0
= open, 1 = closed. Numbers are declared float64 and stored as float32. Joints and poses agree: the
pose is the forward kinematics of the joints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.spatial.transform import Rotation
from sources import rlds_writer as rlds
from sources.case import CLOSED_IS_OPEN, EULER_TO_VECTOR, Case
from sources.motion import smooth, smooth_gripper
from sources.truth import ArmTruth, SourceTruth

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CAMERAS", "CASES", "NAME", "PREFIXES", "flange_pose", "write"]

NAME = "droid"
CAMERAS = ("exterior_image_1_left", "exterior_image_2_left", "wrist_image_left")
PREFIXES = (
    "gs://xembodiment_data/r2d2/r2d2-data-full/",
    "/nfs/kun2/datasets/r2d2/r2d2-data-full/",
)

_PATHS = (
    "AUTOLab/success/2023-07-07/Fri_Jul__7_09:42:23_2023",
    "RAD/failure/2023-06-21/Wed_Jun_21_17:05:09_2023",
    "TRI/success/2023-11-02/Thu_Nov__2_14_31_55_2023",
    "IRIS/success/2023-05-15/Mon_May_15_11:20:00_2023",
)
_LANGUAGE = (
    ("", "Put the marker in the mug", "Move the marker into the cup"),
    ("", "", ""),
    ("Close the drawer", "", "Push the drawer shut"),
    ("Wipe the table with the towel", "Clean the table", ""),
)
_SHARDS = {"train": 2}
_LEAD = 4
# The fastest step: metres, radians of the tool, radians of the joints, gripper (its action space).
_LINEAR, _ANGULAR, _JOINT, _GRIPPER = 0.075, 0.15, 0.2, 0.25

# Panda in modified Denavit-Hartenberg parameters (Franka's FCI documentation): a, d, alpha; the
# flange lies 0.107 m along the last axis.
_DH_A = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088)
_DH_D = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0)
_DH_ALPHA = tuple(np.pi / 2 * k for k in (0, -1, 1, 1, -1, 1, 1))
_FLANGE_M = 0.107
_HOME = np.pi * np.array([0.0, -1 / 5, 0.0, -4 / 5, 0.0, 3 / 5, 0.0])


def write(
    folder: Path,
    *,
    episodes: int = 3,
    seed: int = 0,
    length: int = 26,
    size: tuple[int, int] = (32, 48),
    version: Literal["1.0.0", "1.0.1"] = "1.0.0",
    extra_metadata: bool = False,
) -> list[SourceTruth]:
    """Write `folder/droid/<version>`; keys are the paths behind `r2d2-data-full/`.

    The first episode has no first instruction, the second is a failure without any, the third has
    no second one.

    Args:
        folder: Where the source goes.
        episodes: How many, at most four; two shards share them.
        seed: Decides everything.
        length: Steps of the first episode; each further one has three more.
        size: Height and width of the pictures; really (180, 320).
        version: The build; the features are the same.
        extra_metadata: Whether the episodes carry laboratory, collector, date and extrinsics, as
            one 1.0.1 build does.
    """
    records, truths = [], []
    for number in range(episodes):
        record, truth = _episode(
            np.random.default_rng([seed, 3, number]),
            length=length + 3 * number,
            size=size,
            file_path=f"{PREFIXES[number % 2]}{_PATHS[number]}/trajectory.h5",
            language=_LANGUAGE[number],
        )
        if extra_metadata:
            record |= _extra(number)
        records.append(record)
        truths.append(truth)
    rlds.write_rlds(
        folder,
        name=NAME,
        version=version,
        features=_features(size, extra_metadata=extra_metadata),
        episodes=records,
        shards=_SHARDS,
    )
    return truths


def flange_pose(joint_position: np.ndarray) -> tuple[np.ndarray, Rotation]:
    """Where the flange of a Panda is: (T, 7) radians to (T, 3) metres and T rotations."""
    pose = np.tile(np.eye(4), (len(joint_position), 1, 1))
    for joint, (a, d, alpha) in enumerate(zip(_DH_A, _DH_D, _DH_ALPHA, strict=True)):
        link = np.tile(np.eye(4), (len(joint_position), 1, 1))
        tilt = Rotation.from_euler("x", alpha)
        turn = Rotation.from_euler("z", joint_position[:, joint, None])
        link[:, :3, :3] = (tilt * turn).as_matrix()
        link[:, :3, 3] = np.array([a, 0.0, 0.0]) + tilt.apply([0.0, 0.0, d])
        pose = pose @ link
    position = pose[:, :3, 3] + _FLANGE_M * pose[:, :3, 2]
    return position, Rotation.from_matrix(pose[:, :3, :3])


def _features(size: tuple[int, int], *, extra_metadata: bool) -> dict[str, Any]:
    def number(*shape: int) -> dict[str, Any]:
        return rlds.tensor(*shape, dtype="float64")

    metadata = {"file_path": rlds.text(), "recording_folderpath": rlds.text()}
    if extra_metadata:
        metadata |= {name: rlds.text() for name in ("building", "collector_id", "date")}
        metadata |= {
            f"extrinsics_{name}": number(6)
            for name in ("wrist_cam", "exterior_cam_1", "exterior_cam_2")
        }
    return {
        "episode_metadata": metadata,
        "steps": {
            "action": number(7),
            "action_dict": {
                "cartesian_position": number(6),
                "cartesian_velocity": number(6),
                "gripper_position": number(1),
                "gripper_velocity": number(1),
                "joint_position": number(7),
                "joint_velocity": number(7),
            },
            "discount": rlds.tensor(),
            "is_first": rlds.tensor(dtype="bool"),
            "is_last": rlds.tensor(dtype="bool"),
            "is_terminal": rlds.tensor(dtype="bool"),
            "language_instruction": rlds.text(),
            "language_instruction_2": rlds.text(),
            "language_instruction_3": rlds.text(),
            "observation": {
                "cartesian_position": number(6),
                "gripper_position": number(1),
                "joint_position": number(7),
                **{name: rlds.image(*size) for name in CAMERAS},
            },
            "reward": rlds.tensor(),
        },
    }


def _episode(
    rng: np.random.Generator,
    *,
    length: int,
    size: tuple[int, int],
    file_path: str,
    language: tuple[str, str, str],
) -> tuple[dict[str, Any], SourceTruth]:
    numbers = _numbers(rng, length)
    frames = {name: rlds.pictures(rng, length, size) for name in CAMERAS}
    success = "/success/" in file_path
    folder = file_path.removesuffix("/trajectory.h5")
    record = {
        "episode_metadata/file_path": [file_path.encode()],
        "episode_metadata/recording_folderpath": [f"{folder}/recordings/MP4".encode()],
        **rlds.step_flags(length),
        "steps/discount": np.ones(length, np.float32),
        **{f"steps/{name}": value for name, value in numbers.items()},
        **{f"steps/observation/{name}": pictures for name, pictures in frames.items()},
    }
    record["steps/reward"] = record["steps/reward"] * np.float32(success)
    for suffix, sentence in zip(("", "_2", "_3"), language, strict=True):
        record[f"steps/language_instruction{suffix}"] = [sentence.encode()] * length
    said = [sentence for sentence in language if sentence]
    truth = SourceTruth(
        key=file_path.split("r2d2-data-full/")[1],
        length=length,
        arms={"right": _arm(numbers)},
        instruction=said[0] if said else "",
        alternatives=tuple(said[1:]),
        success=success,
        fps=15.0,
        cameras={name: rlds.digests(pictures) for name, pictures in frames.items()},
    )
    return record, truth


def _numbers(rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """Everything measured and commanded, by its name under `steps/`, as it is stored: float32."""
    whole = length + _LEAD
    q = _HOME + np.array([0.12, 0.08, 0.05, 0.07, 0.06, 0.09, 0.2]) * smooth(rng, whole, 7)
    # The forearm rolls from one side to the other, so that the tool's roll passes pi.
    q[:, 4] += np.linspace(-0.3, 0.3, whole)
    position, rotation = flange_pose(q)
    closed = 1.0 - smooth_gripper(rng, whole)
    now, then = slice(0, length), slice(_LEAD, whole)
    linear = _within_one((position[then] - position[now]) / _LINEAR)
    turn = (rotation[then] * rotation[now].inv()).as_euler("xyz")
    angular = _within_one(turn / _ANGULAR)
    target = Rotation.from_euler("xyz", _ANGULAR * angular) * rotation[now]
    target_position = position[now] + _LINEAR * linear
    joint_velocity = _within_one((q[then] - q[now]) / _JOINT)
    target_closed = np.clip(closed[then], 0.0, 1.0)
    commanded = np.hstack([target_position, target.as_euler("xyz")])
    numbers = {
        "action": np.hstack([commanded, target_closed[:, None]]),
        "action_dict/cartesian_position": commanded,
        "action_dict/cartesian_velocity": np.hstack([linear, angular]),
        "action_dict/gripper_position": target_closed,
        "action_dict/gripper_velocity": np.clip((target_closed - closed[now]) / _GRIPPER, -1, 1),
        "action_dict/joint_position": q[now] + _JOINT * joint_velocity,
        "action_dict/joint_velocity": joint_velocity,
        "observation/cartesian_position": np.hstack([position[now], rotation[now].as_euler("xyz")]),
        "observation/gripper_position": closed[now],
        "observation/joint_position": q[now],
    }
    return {name: value.astype(np.float32) for name, value in numbers.items()}


def _within_one(velocity: np.ndarray) -> np.ndarray:
    """Rows longer than 1 are shortened to 1, as the robot's controller does."""
    return velocity / np.maximum(np.linalg.norm(velocity, axis=1, keepdims=True), 1.0)


def _arm(numbers: dict[str, np.ndarray]) -> ArmTruth:
    exact = {name: value.astype(np.float64) for name, value in numbers.items()}
    measured = exact["observation/cartesian_position"]
    commanded = exact["action_dict/cartesian_position"]
    return ArmTruth(
        position_m=measured[:, :3],
        quaternion_xyzw=Rotation.from_euler("xyz", measured[:, 3:]).as_quat(),
        joint_position=exact["observation/joint_position"],
        gripper_open=1.0 - exact["observation/gripper_position"],
        target_position_m=commanded[:, :3],
        target_quaternion_xyzw=Rotation.from_euler("xyz", commanded[:, 3:]).as_quat(),
        target_joint_position=exact["action_dict/joint_position"],
        target_gripper_open=1.0 - exact["action_dict/gripper_position"],
    )


def _extra(number: int) -> dict[str, Any]:
    extrinsics = np.array([0.1, 0.5, 0.6, -1.8, 0.02, -2.2], np.float32)
    return {
        "episode_metadata/building": [b"Engineering II"],
        "episode_metadata/collector_id": [f"{number:08x}".encode()],
        "episode_metadata/date": [b"2023-07-07"],
        "episode_metadata/extrinsics_wrist_cam": extrinsics,
        "episode_metadata/extrinsics_exterior_cam_1": extrinsics + np.float32(0.1),
        "episode_metadata/extrinsics_exterior_cam_2": extrinsics - np.float32(0.1),
    }


CASES = [
    Case("droid", "droid", write, breaks=(EULER_TO_VECTOR, CLOSED_IS_OPEN)),
    Case("droid_1.0.1", "droid", write, knobs={"version": "1.0.1"}),
]
