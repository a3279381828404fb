"""RDT's fine-tuning set in its own bytes: AgileX Cobot Magic, two arms, joints only, 25 Hz.

14 numbers a frame: left joints 0-5, left gripper, right joints 0-5, right gripper. State and action
scale their grippers differently. Pictures are JPEG with swapped channels, padded with zeros to one
length. Instructions lie in a JSON beside the episodes, in three shapes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from sources import encode
from sources.case import Case
from sources.motion import smooth, smooth_gripper, smooth_joints
from sources.truth import ArmTruth, SourceTruth

__all__ = ["ACTION_GRIPPER", "CASES", "FPS", "STATE_GRIPPER", "write"]

FPS = 25.0
# Raw value at fully open: RoboticsDiffusionTransformer, data/hdf5_vla_dataset.py.
STATE_GRIPPER = {"left": 4.7908, "right": 4.7888}
ACTION_GRIPPER = {"left": 11.8997, "right": 13.9231}

_CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")
_TASKS = ("pour_water", "fold_shirt", "press_button")


def write(
    folder: Path,
    *,
    episodes: int = 2,
    seed: int = 0,
    frames: int = 16,
    size: tuple[int, int] = (32, 48),
    still: int = 5,
    rows: bool = False,
) -> list[SourceTruth]:
    """Write `folder/rdt_data/<task>/episode_<n>.hdf5` and the instructions of each task.

    Three tasks take turns: with lists of wordings, with one plain string, and with lists under the
    other file name. Numbers of episodes are not consecutive.

    Args:
        folder: Where the source goes.
        episodes: How many in all.
        seed: Decides everything.
        frames: Frames of the first episode; each further one has three more.
        size: Height and width of the pictures.
        still: Frames at the beginning in which nothing moves (all of them are kept by us).
        rows: Store pictures as uint8 (T, L) instead of fixed-length bytes.

    Returns:
        Truths sorted by path; keys are `<task>/episode_<n>`.
    """
    truths: dict[str, SourceTruth] = {}
    for number in range(episodes):
        task = _TASKS[number % len(_TASKS)]
        key = f"{task}/episode_{3 * number + 1}"
        rng = np.random.default_rng([seed, 3, number])
        length = frames + 3 * number
        instruction, alternatives = _write_language(folder / "rdt_data" / task, number % 3)
        shot = {
            f"observations/images/{name}": [
                encode.jpeg(
                    encode.scene(k + 9 * number, size=size, camera=c), swapped=True, quality=60 + k
                )
                for k in range(length)
            ]
            for c, name in enumerate(_CAMERAS)
        }
        numbers, arms = _motion(rng, length, still)
        depth = encode.vlen([encode.depth_png(k) for k in range(length)])
        stored = {name: _stored(pictures, rows=rows) for name, pictures in shot.items()}
        deep = {name.replace("images", "images_depth"): depth for name in shot}
        encode.write_hdf5(
            folder / "rdt_data" / f"{key}.hdf5",
            {**numbers, **stored, **deep, "instruction": instruction},
        )
        truths[key] = SourceTruth(
            key=key,
            length=length,
            arms=arms,
            instruction=instruction,
            alternatives=alternatives,
            fps=FPS,
            cameras={name: encode.digests(pictures) for name, pictures in shot.items()},
        )
    return [truths[key] for key in sorted(truths)]


def _stored(pictures: list[bytes], *, rows: bool) -> np.ndarray:
    fixed = encode.padded(pictures)
    return fixed.view(np.uint8).reshape(len(pictures), -1) if rows else fixed


def _motion(
    rng: np.random.Generator, T: int, still: int
) -> tuple[dict[str, Any], dict[str, ArmTruth]]:
    """Datasets in float32 as stored, and what float32 says of both arms."""
    qpos, action = np.zeros((T, 14), np.float32), np.zeros((T, 14), np.float32)
    arms: dict[str, ArmTruth] = {}
    for side, first in (("left", 0), ("right", 7)):
        # Nothing moves at first; then the leader is one frame ahead, and a bit off.
        at = np.maximum(np.arange(T + 1) - still, 0)
        joint = smooth_joints(rng, T + 1, 6)[at]
        open_ = smooth_gripper(rng, T + 1)[at]
        qpos[:, first : first + 6], action[:, first : first + 6] = joint[:T], joint[1:] + 0.003
        qpos[:, first + 6] = STATE_GRIPPER[side] * open_[:T]
        action[:, first + 6] = ACTION_GRIPPER[side] * open_[1:]
        arms[side] = ArmTruth(
            joint_position=qpos[:, first : first + 6].astype(np.float64),
            gripper_open=qpos[:, first + 6].astype(np.float64) / STATE_GRIPPER[side],
            target_joint_position=action[:, first : first + 6].astype(np.float64),
            target_gripper_open=action[:, first + 6].astype(np.float64) / ACTION_GRIPPER[side],
        )
    datasets = {
        "action": action,
        "base_action": np.zeros((T, 2), np.float32),
        "observations/qpos": qpos,
        "observations/qvel": np.gradient(qpos, 1 / FPS, axis=0).astype(np.float32),
        "observations/effort": smooth(rng, T, 14).astype(np.float32),
    }
    return datasets, arms


def _write_language(place: Path, form: int) -> tuple[str, tuple[str, ...]]:
    """The instruction JSON in one of its three shapes; returns goal and other wordings."""
    place.mkdir(parents=True, exist_ok=True)
    goal = f"{place.name.replace('_', ' ')} with both hands"
    simplified = [f"{place.name.replace('_', ' ')}"]
    expanded = [f"Please {goal}, carefully.", f"First look, then {goal}; “slowly”."]
    if form == 1:
        entry: dict[str, Any] = {
            "instruction": goal,
            "simplified_instruction": simplified[0],
            "expanded_instruction": expanded[0],
        }
        expanded = expanded[:1]
    else:
        entry = {
            "instruction": goal,
            "simplified_instruction": simplified,
            "expanded_instruction": expanded,
        }
    name = "expanded_instruction" if form == 2 else "expanded_instruction_gpt-4-turbo"
    (place / f"{name}.json").write_text(json.dumps(entry, indent=2), encoding="utf-8")
    return goal, tuple(simplified + expanded)


CASES = [
    Case(
        "rdt",
        "rdt",
        write,
        breaks=(("13.9231", "11.8997"), ("columns = [7, 13]", "columns = [6, 12]")),
    ),
]
