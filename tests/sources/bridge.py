"""BridgeData-V2 in both its forms: RAIL's RLDS build 1.0.0 and the older OXE `bridge` 0.1.0.

Both are a WidowX at 5 Hz: a state of x, y, z, roll, pitch, yaw, gripper relative to a default
rotation (R_tool = Rz Ry Rx D), and steps of the commanded target in base axes that refer to the
PREVIOUS TARGET: R[t] = R(d) R[t-1], starting at the first state. 1.0.0 packs them into seven
numbers and has four cameras, some of them black; 0.1.0 has a dictionary, one camera and a bool for
the gripper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation
from sources import rlds_writer as rlds
from sources.case import EULER_TO_VECTOR, LEFT_TO_RIGHT, Case
from sources.motion import smooth, smooth_gripper, smooth_positions, smooth_rotations
from sources.truth import ArmTruth, SourceTruth

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CASES", "DEFAULT_ROTATION", "INSTRUCTIONS", "PREFIX", "write", "write_oxe"]

DEFAULT_ROTATION = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
PREFIX = "/nfs/kun2/users/homer/datasets/bridge_data_all/"
INSTRUCTIONS = ("put carrot on plate", "", "fold the cloth from right to left")

_CAMERAS = tuple(f"image_{number}" for number in range(4))
_SHARDS = {"train": 1, "val": 1}
_OXE_SHARDS = {"train": 1, "test": 1}


@dataclass(frozen=True, eq=False)
class _Motion:
    """State (T, 7), step of the target (T, 6) and gripper command (T,), float32 as stored."""

    state: np.ndarray
    step: np.ndarray
    command: np.ndarray


def write(
    folder: Path,
    *,
    episodes: int = 3,
    seed: int = 0,
    length: int = 20,
    size: tuple[int, int] = (32, 32),
    real_cameras: int = 2,
) -> list[SourceTruth]:
    """Write `folder/bridge_dataset/1.0.0`; keys are `path#number` without the makers' prefix.

    The second episode is scripted: it has no language. `has_image_*` is false throughout.

    Args:
        folder: Where the source goes.
        episodes: How many; one shard of `train` and one of `val` share them.
        seed: Decides everything.
        length: Steps of the first episode; each further one has three more.
        size: Height and width of the pictures; really (256, 256).
        real_cameras: How many of the four cameras see something; the others are black.
    """
    records, truths = [], []
    for number, place in enumerate(rlds.places(episodes, _SHARDS)):
        rng = np.random.default_rng([seed, 4, number])
        motion = _motion(rng, length + 3 * number, binary=False)
        instruction = INSTRUCTIONS[number % 3]
        kind = "numpy_256" if instruction else "scripted_numpy_256"
        path = f"{kind}/bridge_data_v2/toysink2_bww/task_{number % 2}/{place.split}/out.npy"
        frames = {
            name: rlds.pictures(rng, len(motion.state), size)
            if camera < real_cameras
            else rlds.black_pictures(len(motion.state), size)
            for camera, name in enumerate(_CAMERAS)
        }
        records.append(_record(motion, frames, instruction, path=path, number=number))
        cameras = {name: rlds.digests(pictures) for name, pictures in frames.items()}
        truths.append(_truth(motion, f"{path}#{number}", instruction, cameras))
    rlds.write_rlds(
        folder,
        name="bridge_dataset",
        version="1.0.0",
        features=_features(size),
        episodes=records,
        shards=_SHARDS,
    )
    return truths


def write_oxe(
    folder: Path,
    *,
    episodes: int = 3,
    seed: int = 0,
    length: int = 20,
    size: tuple[int, int] = (48, 64),
    episode_id: bool = True,
) -> list[SourceTruth]:
    """Write `folder/bridge/0.1.0`, the OXE form; keys are the episode ids.

    Args:
        folder: Where the source goes.
        episodes: How many; one shard of `train` and one of `test` share them.
        seed: Decides everything.
        length: Steps of the first episode; each further one has three more.
        size: Height and width of the pictures; really (480, 640).
        episode_id: Whether there is a top-level `episode_id`; TFDS' own catalogue lists none. Keys
            are `train/0#1` (split, shard in it, record) without it.
    """
    records, truths = [], []
    for number, place in enumerate(rlds.places(episodes, _OXE_SHARDS)):
        rng = np.random.default_rng([seed, 5, number])
        motion = _motion(rng, length + 3 * number, binary=True)
        instruction = INSTRUCTIONS[number % 3]
        frames = rlds.pictures(rng, len(motion.state), size)
        record, key = _oxe_record(motion, frames, instruction), place.key
        if episode_id:
            key = f"bridge-{place.split}-{4000 + 17 * number}"
            record["episode_id"] = [key.encode()]
        records.append(record)
        truths.append(_truth(motion, key, instruction, {"image": rlds.digests(frames)}))
    rlds.write_rlds(
        folder,
        name="bridge",
        version="0.1.0",
        features=_oxe_features(size, episode_id=episode_id),
        episodes=records,
        shards=_OXE_SHARDS,
    )
    return truths


def _motion(rng: np.random.Generator, length: int, *, binary: bool) -> _Motion:
    """The operator's targets; the arm follows a step later and not quite there.

    Yaw passes pi, so that the state's Euler angles wrap.
    """
    position = smooth_positions(rng, length)
    centre = Rotation.from_euler("xyz", [0.1, -0.15, np.pi])
    wave = smooth_rotations(rng, length, centre=centre, amplitude_rad=(0.25, 0.2, 0.3))
    target = Rotation.from_euler("z", np.linspace(-0.7, 0.7, length)[:, None]) * wave
    before = np.maximum(np.arange(length) - 1, 0)
    # The first command is where the arm is: the step is zero there.
    step = np.hstack([position - position[before], (target * target[before].inv()).as_euler("xyz")])
    lag = np.minimum(np.arange(length) / 4.0, 1.0)[:, None]
    measured = position[before] + 0.004 * lag * smooth(rng, length, 3)
    turned = Rotation.from_rotvec(0.03 * lag * smooth(rng, length, 3)) * target[before]
    grasp = smooth_gripper(rng, length)
    command = (grasp > 0.5).astype(np.float64)
    if not binary:
        # An analogue trigger leaves a value in between while it moves.
        command[np.flatnonzero(np.diff(command))] = 0.56
    opening = 0.05 + 1.06 * grasp
    return _Motion(
        state=np.hstack([measured, turned.as_euler("xyz"), opening[:, None]]).astype(np.float32),
        step=step.astype(np.float32),
        command=command.astype(np.float32),
    )


def _truth(
    motion: _Motion, key: str, instruction: str, cameras: dict[str, tuple[str, ...] | str]
) -> SourceTruth:
    state, step = motion.state.astype(np.float64), motion.step.astype(np.float64)
    to_tool = Rotation.from_matrix(DEFAULT_ROTATION)
    measured = Rotation.from_euler("xyz", state[:, 3:6])
    target, targets = measured[0], []
    for turn in Rotation.from_euler("xyz", step[:, 3:]):
        target = turn * target
        targets.append((target * to_tool).as_quat())
    arm = ArmTruth(
        position_m=state[:, :3],
        quaternion_xyzw=(measured * to_tool).as_quat(),
        gripper_open=state[:, 6],
        target_position_m=state[0, :3] + np.cumsum(step[:, :3], axis=0),
        target_quaternion_xyzw=np.array(targets),
        target_gripper_open=motion.command.astype(np.float64),
    )
    return SourceTruth(
        key=key,
        length=len(state),
        arms={"right": arm},
        instruction=instruction,
        fps=5.0,
        cameras=cameras,
    )


def _features(size: tuple[int, int]) -> dict[str, Any]:
    return {
        "episode_metadata": {
            "episode_id": rlds.tensor(dtype="int32"),
            "file_path": rlds.text(),
            **{f"has_{name}": rlds.tensor(dtype="bool") for name in _CAMERAS},
            "has_language": rlds.tensor(dtype="bool"),
        },
        "steps": {
            "action": rlds.tensor(7),
            "discount": rlds.tensor(),
            "is_first": rlds.tensor(dtype="bool"),
            "is_last": rlds.tensor(dtype="bool"),
            "is_terminal": rlds.tensor(dtype="bool"),
            "language_embedding": rlds.tensor(512),
            "language_instruction": rlds.text(),
            "observation": {
                **{name: rlds.image(*size) for name in _CAMERAS},
                "state": rlds.tensor(7),
            },
            "reward": rlds.tensor(),
        },
    }


def _record(
    motion: _Motion,
    frames: dict[str, list[bytes]],
    instruction: str,
    *,
    path: str,
    number: int,
) -> dict[str, Any]:
    length = len(motion.state)
    return {
        "episode_metadata/episode_id": np.array([number], np.int64),
        "episode_metadata/file_path": [f"{PREFIX}{path}".encode()],
        **{f"episode_metadata/has_{name}": np.array([False]) for name in _CAMERAS},
        "episode_metadata/has_language": np.array([bool(instruction)]),
        **rlds.step_flags(length),
        "steps/action": np.hstack([motion.step, motion.command[:, None]]),
        "steps/discount": np.ones(length, np.float32),
        "steps/language_embedding": rlds.embedding(instruction, length),
        "steps/language_instruction": [instruction.encode()] * length,
        **{f"steps/observation/{name}": pictures for name, pictures in frames.items()},
        "steps/observation/state": motion.state,
    }


def _oxe_features(size: tuple[int, int], *, episode_id: bool) -> dict[str, Any]:
    features: dict[str, Any] = {
        "steps": {
            "action": {
                "open_gripper": rlds.tensor(dtype="bool"),
                "rotation_delta": rlds.tensor(3),
                "terminate_episode": rlds.tensor(),
                "world_vector": rlds.tensor(3),
            },
            "is_first": rlds.tensor(dtype="bool"),
            "is_last": rlds.tensor(dtype="bool"),
            "is_terminal": rlds.tensor(dtype="bool"),
            "observation": {
                "image": rlds.image(*size, encoding_format=None),
                "natural_language_embedding": rlds.tensor(512),
                "natural_language_instruction": rlds.text(),
                "state": rlds.tensor(7),
            },
            "reward": rlds.tensor(),
        }
    }
    return features | ({"episode_id": rlds.text()} if episode_id else {})


def _oxe_record(motion: _Motion, frames: list[bytes], instruction: str) -> dict[str, Any]:
    length = len(motion.state)
    flags = rlds.step_flags(length)
    return {
        **flags,
        "steps/action/open_gripper": motion.command > 0.5,
        "steps/action/rotation_delta": motion.step[:, 3:],
        "steps/action/terminate_episode": flags["steps/is_last"].astype(np.float32),
        "steps/action/world_vector": motion.step[:, :3],
        "steps/observation/image": frames,
        "steps/observation/natural_language_embedding": rlds.embedding(instruction, length),
        "steps/observation/natural_language_instruction": [instruction.encode()] * length,
        "steps/observation/state": motion.state,
    }


CASES = [
    Case(
        "bridge_v2",
        "bridge_v2",
        write,
        breaks=(
            EULER_TO_VECTOR,
            LEFT_TO_RIGHT,
            (
                "[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]",
                "[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]",
            ),
        ),
    ),
    Case("bridge_oxe", "bridge_v2", write_oxe, breaks=(LEFT_TO_RIGHT,)),
    Case("bridge_oxe_without_id", "bridge_v2", write_oxe, knobs={"episode_id": False}),
]
