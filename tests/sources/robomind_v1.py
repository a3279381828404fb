"""RoboMIND V1 in its own bytes: nine embodiments, one trajectory.hdf5 an episode, JSON beside them.

Everything numeric is float64; pictures are variable-length uint8 with JPEG in them, a few raw. What
the publisher leaves open is settled here so that there is one truth, and said at its place:

- The action of a real robot is `master/`, absolute joints; the simulation has none (next state).
- Grippers of Franka, UR, the simulation and the hand closures of Tien Kung: 0 open, 1 closed.
  AgileX: metres, 0 closed, 0.1 open.
- The simulation's state has four rows a picture and some too many: picture k belongs to row 4 k.
- The goal is the CSV's instruction for the task, else the annotation's summary.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation
from sources import encode
from sources.case import CLOSED_IS_OPEN, EULER_TO_VECTOR, VECTOR_TO_EULER, XYZW_TO_WXYZ, Case
from sources.motion import (
    smooth,
    smooth_gripper,
    smooth_joints,
    smooth_positions,
    smooth_rotations,
)
from sources.truth import ArmTruth, SourceTruth, StepTruth

__all__ = [
    "AGILEX_GRIPPER_OPEN_M",
    "CASES",
    "EMBODIMENTS",
    "FPS",
    "INSTRUCTIONS",
    "STATES_A_PICTURE",
    "write",
]

FPS = 30.0
AGILEX_GRIPPER_OPEN_M = 0.1
STATES_A_PICTURE = 4

# task -> instruction of RoboMIND_v1_2_instr.csv
INSTRUCTIONS = {
    "bread_in_basket": "put the bread into the basket",
    "10_packplate": "pick up the plate 1 on the right,put plate 1 in the plate rack",
    "battery_1": "both arms put the battery into the box",
    "red_pepper_in_table": "take the red pepper out of the bowl",
    "17_pick_carrot": "pick up the carrot with the left gripper",
    "press_the_button": 'press the button that says "start"',
}


@dataclass(frozen=True)
class _Kind:
    """One `h5_` folder: its task, cameras, and how its episodes and annotations are called."""

    task: str
    cameras: tuple[str, ...]
    names: tuple[str, ...]
    annotations: str = ""
    swapped: bool = False


_STAMPS = ("1014_144602", "1016_161244", "1021_144943", "1022_101448")
_AGILEX = (
    "2024_10_08-16_13_09-172910045527931776.00",
    "2024_10_08-16_15_40-172910055140214528.00",
    "2024_10_09-09_01_02-172910066252107264.00",
)
_TIENKUNG = ("2024-11-13-16-52-40", "2024-11-13-17-03-11", "2024-11-14-08-20-59")
_SIM = ("2024_10_11-15_18_23", "2024_10_11-14_08_36", "2024_10_08-10_32_11")
_SIM_TIENKUNG = ("307342-2024_10_24_15_25_24", "307343-2024_10_24_15_31_07")

EMBODIMENTS: dict[str, _Kind] = {
    "franka_1rgb": _Kind("bread_in_basket", ("camera_top",), _STAMPS, "h5_franka_1rgb"),
    "franka_3rgb": _Kind(
        "10_packplate", ("camera_top", "camera_left", "camera_right"), _STAMPS, "h5_franka_3rgb"
    ),
    "franka_fr3_dual": _Kind(
        "battery_1", ("camera_front", "camera_top", "camera_left", "camera_right"), _STAMPS
    ),
    "ur_1rgb": _Kind("red_pepper_in_table", ("camera_top",), _STAMPS, "h5_ur_1rgb"),
    "agilex_3rgb": _Kind(
        "17_pick_carrot",
        ("camera_front", "camera_left_wrist", "camera_right_wrist"),
        _AGILEX,
        swapped=True,
    ),
    "tienkung_gello_1rgb": _Kind("no_such_line_in_the_csv", ("camera_top",), _STAMPS, swapped=True),
    # The annotation file's name lacks `_1rgb`, its ids have it.
    "tienkung_xsens_1rgb": _Kind(
        "press_the_button", ("camera_top",), _TIENKUNG, "h5_tienkung_xsens", swapped=True
    ),
    # The annotation file's name has `_franka`, its ids and the folder do not.
    "simulation": _Kind(
        "open_and_close_01",
        (
            "camera_front_external",
            "camera_handeye",
            "camera_left_external",
            "camera_right_external",
        ),
        _SIM,
        "h5_simulation_franka",
    ),
    "sim_tienkung_1rgb": _Kind("lift_the_box", ("camera_chest", "camera_head"), _SIM_TIENKUNG),
}


@dataclass
class _Motion:
    """What an embodiment's builder returns: datasets without the cameras, and the arms' truth."""

    datasets: dict[str, Any]
    arms: dict[str, ArmTruth]


def write(
    folder: Path,
    *,
    episodes: int = 2,
    seed: int = 0,
    frames: int = 14,
    size: tuple[int, int] = (32, 48),
    embodiments: tuple[str, ...] = tuple(EMBODIMENTS),
    annotations: bool = True,
    depth: bool = True,
) -> list[SourceTruth]:
    """Write `folder/benchmark1_0_release/h5_*/...` and the language files beside it.

    Of `franka_1rgb`, every fourth picture is raw and the second episode's camera has another size;
    of `franka_3rgb`, the last episode of several has no top camera; of `agilex_3rgb`, odd episodes
    write the end effector as rpy and gripper, even ones as a quaternion. The second episode of
    `franka_fr3_dual` is in `val`.

    Args:
        folder: Where the source goes.
        episodes: How many of each embodiment.
        seed: Decides everything.
        frames: Pictures of the first episode; each further one has three more.
        size: Height and width of the pictures.
        embodiments: Which of `EMBODIMENTS`.
        annotations: Whether to write the language files.
        depth: Whether to write depth pictures.

    Returns:
        Truths sorted by the path of their files; keys are `h5_x/task/success_episodes/split/name`.
    """
    truths: dict[str, SourceTruth] = {}
    notes: dict[str, list[Any]] = {}
    for embodiment in embodiments:
        kind = EMBODIMENTS[embodiment]
        for number in range(min(episodes, len(kind.names))):
            length = frames + 3 * number
            split = "val" if (embodiment, number) == ("franka_fr3_dual", 1) else "train"
            key = f"h5_{embodiment}/{kind.task}/success_episodes/{split}/{kind.names[number]}"
            rng = np.random.default_rng([seed, list(EMBODIMENTS).index(embodiment), number])
            motion = _BUILDERS[embodiment](rng, length, number)
            absent = embodiment == "franka_3rgb" and 0 < number == episodes - 1
            shot = _cameras(embodiment, number, length=length, size=size, without_top=absent)
            datasets = motion.datasets | {name: encode.vlen(list_) for name, list_ in shot.items()}
            if depth:
                for name in shot:
                    datasets[name.replace("rgb_images", "depth_images")] = encode.vlen(
                        [
                            encode.depth_png(k)
                            for k in range(length + 2 * (embodiment == "simulation"))
                        ]
                    )
            encode.write_hdf5(
                folder / "benchmark1_0_release" / key / "data" / "trajectory.hdf5", datasets
            )
            steps: tuple[StepTruth, ...] = ()
            summary = ""
            if annotations and kind.annotations:
                steps, summary = _steps(embodiment, length), f"Summary of {kind.task}"
                notes.setdefault(kind.annotations, []).append(
                    _annotation(key, summary, steps, camera=kind.cameras[0])
                )
            goal = INSTRUCTIONS.get(kind.task, "") if annotations else ""
            truths[key] = SourceTruth(
                key=key,
                length=length,
                arms=motion.arms,
                instruction=goal or summary,
                alternatives=(summary,) if goal and summary else (),
                steps=steps,
                success=True,
                fps=FPS,
                cameras={name: encode.digests(list_) for name, list_ in shot.items()},
            )
    if annotations:
        _write_language(folder, notes)
    return [truths[key] for key in sorted(truths)]


def _cameras(
    embodiment: str, number: int, *, length: int, size: tuple[int, int], without_top: bool
) -> dict[str, list[bytes]]:
    kind = EMBODIMENTS[embodiment]
    franka_1rgb = embodiment == "franka_1rgb"
    if franka_1rgb and number == 1:
        size = (size[0] - 8, size[1] - 8)
    shot: dict[str, list[bytes]] = {}
    for camera, name in enumerate(kind.cameras):
        if without_top and name == "camera_top":
            continue
        scenes = [encode.scene(k + 9 * number, size=size, camera=camera) for k in range(length)]
        shot[f"observations/rgb_images/{name}"] = [
            encode.raw_bgr(pixels)
            if franka_1rgb and k % 4 == 1
            else encode.jpeg(pixels, swapped=kind.swapped)
            for k, pixels in enumerate(scenes)
        ]
    return shot


def _lead(values: np.ndarray, T: int) -> tuple[np.ndarray, np.ndarray]:
    """What is measured and what was commanded: the leader is two frames ahead, and a bit off."""
    return values[:T], values[2 : T + 2] + 0.004


def _franka(rng: np.random.Generator, T: int, number: int) -> _Motion:
    return _single(rng, T, joints=7, rotation="euler")


def _ur(rng: np.random.Generator, T: int, number: int) -> _Motion:
    return _single(rng, T, joints=6, rotation="rotation_vector")


def _single(rng: np.random.Generator, T: int, *, joints: int, rotation: str) -> _Motion:
    position = smooth_positions(rng, T)
    turn = smooth_rotations(rng, T)
    # Fixed-axis roll, pitch, yaw for Franka; UR's own controller speaks rotation vectors.
    angles = turn.as_euler("xyz") if rotation == "euler" else turn.as_rotvec()
    joint, target = _lead(smooth_joints(rng, T + 2, joints), T)
    open_, target_open = _lead(smooth_gripper(rng, T + 2), T)
    datasets = {
        "puppet/end_effector": np.hstack([position, angles]),
        "puppet/joint_position": np.column_stack([joint, 1 - open_]),
        "master/joint_position": np.column_stack([target, 1 - target_open]),
    }
    arm = ArmTruth(
        position_m=position,
        quaternion_xyzw=turn.as_quat(),
        joint_position=joint,
        gripper_open=open_,
        target_joint_position=target,
        target_gripper_open=target_open,
    )
    return _Motion(datasets, {"right": arm})


def _fr3_dual(rng: np.random.Generator, T: int, number: int) -> _Motion:
    left, right = (_single(rng, T, joints=7, rotation="euler") for _ in range(2))
    datasets = {
        name: np.hstack([left.datasets[name], right.datasets[name]]) for name in left.datasets
    }
    return _Motion(datasets, {"left": left.arms["right"], "right": right.arms["right"]})


def _agilex(rng: np.random.Generator, T: int, number: int) -> _Motion:
    datasets: dict[str, Any] = {}
    arms: dict[str, ArmTruth] = {}
    for side in ("left", "right"):
        position = smooth_positions(rng, T + 2)
        turn = smooth_rotations(rng, T + 2)
        joint = smooth_joints(rng, T + 2, 6)
        open_ = smooth_gripper(rng, T + 2)
        width = AGILEX_GRIPPER_OPEN_M * open_
        rotation = (
            turn.as_quat() if number % 2 == 0 else np.column_stack([turn.as_euler("xyz"), width])
        )
        for group, rows in (("puppet", slice(0, T)), ("master", slice(2, T + 2))):
            datasets |= {
                f"{group}/end_effector_{side}": np.hstack([position, rotation])[rows],
                f"{group}/joint_position_{side}": np.column_stack([joint, width])[rows],
                f"{group}/joint_velocity_{side}": np.gradient(
                    np.column_stack([joint, width]), 1 / FPS, axis=0
                )[rows],
                f"{group}/joint_effort_{side}": 2.0 * smooth(rng, T, 7),
            }
        arms[side] = ArmTruth(
            position_m=position[:T],
            quaternion_xyzw=turn.as_quat()[:T],
            joint_position=joint[:T],
            gripper_open=open_[:T],
            target_position_m=position[2:],
            target_quaternion_xyzw=turn.as_quat()[2:],
            target_joint_position=joint[2:],
            target_gripper_open=open_[2:],
        )
    return _Motion(datasets, arms)


def _tienkung_gello(rng: np.random.Generator, T: int, number: int) -> _Motion:
    columns: dict[str, list[np.ndarray]] = {"puppet": [], "master": []}
    arms: dict[str, ArmTruth] = {}
    for side in ("left", "right"):
        joint, target = _lead(smooth_joints(rng, T + 2, 7), T)
        open_, target_open = _lead(smooth_gripper(rng, T + 2), T)
        columns["puppet"] += [joint, 1 - open_[:, None]]
        columns["master"] += [target, 1 - target_open[:, None]]
        arms[side] = ArmTruth(
            joint_position=joint,
            gripper_open=open_,
            target_joint_position=target,
            target_gripper_open=target_open,
        )
    datasets = {f"{group}/joint_position": np.hstack(parts) for group, parts in columns.items()}
    return _Motion(datasets, arms)


def _tienkung_xsens(rng: np.random.Generator, T: int, number: int) -> _Motion:
    joints: dict[str, list[np.ndarray]] = {"puppet": [], "master": []}
    fingers: dict[str, list[np.ndarray]] = {"puppet": [], "master": []}
    arms: dict[str, ArmTruth] = {}
    for side in ("left", "right"):
        joint, target = _lead(smooth_joints(rng, T + 2, 7), T)
        # little, ring, middle, index, thumb bend, thumb rotation
        hand, target_hand = _lead(0.5 + 0.1 * np.arange(1, 7) * smooth(rng, T + 2, 6), T)
        joints["puppet"].append(joint)
        joints["master"].append(target)
        fingers["puppet"].append(hand)
        fingers["master"].append(target_hand)
        arms[side] = ArmTruth(joint_position=joint, hand=hand, target_joint_position=target)
    datasets = {f"{group}/joint_position": np.hstack(parts) for group, parts in joints.items()}
    datasets |= {f"{group}/end_effector": np.hstack(parts) for group, parts in fingers.items()}
    return _Motion(datasets, arms)


def _next(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values[1:], values[-1:]])


def _simulation(rng: np.random.Generator, T: int, number: int) -> _Motion:
    rows = STATES_A_PICTURE * T + 5 + number
    position = smooth_positions(rng, rows)
    turn = smooth_rotations(rng, rows)
    joint = smooth_joints(rng, rows, 7)
    open_ = smooth_gripper(rng, rows)
    state = np.column_stack([joint, 1 - open_])
    datasets = {
        "franka/end_effector": np.hstack([position, turn.as_quat()]),
        "franka/joint_position": state,
        "franka/joint_velocity": np.gradient(state, 1 / (STATES_A_PICTURE * FPS), axis=0),
        "franka/joint_effort": 3.0 * smooth(rng, rows, 8),
        "sim_time_seq": 1.5 + np.arange(STATES_A_PICTURE * T) / (STATES_A_PICTURE * FPS),
    }
    at = STATES_A_PICTURE * np.arange(T)
    return _Motion(datasets, {"right": _without_action(position, turn, joint, at, gripper=open_)})


def _sim_tienkung(rng: np.random.Generator, T: int, number: int) -> _Motion:
    rows = STATES_A_PICTURE * T + 2
    at = STATES_A_PICTURE * np.arange(T)
    datasets: dict[str, Any] = {}
    arms: dict[str, ArmTruth] = {}
    for side in ("left", "right"):
        position = smooth_positions(rng, rows)
        turn = smooth_rotations(rng, rows)
        joint = smooth_joints(rng, rows, 7)
        hand = 0.4 + 0.05 * np.arange(1, 13) * smooth(rng, rows, 12)
        effort = "effort_seqs" if side == "left" else "effort_seq"  # the publisher's own slip
        datasets |= {
            f"tiangong/{side}_arm_joint_pos_seq": joint,
            f"tiangong/{side}_arm_joint_vel_seq": np.gradient(joint, axis=0)[: rows - 1],
            f"tiangong/{side}_arm_joint_{effort}": smooth(rng, rows - 2, 7),
            f"tiangong/{side}_hand_joint_pos_seq": hand,
            f"tiangong/{side}_end_effector_waist": np.hstack([position, turn.as_quat()]),
        }
        arms[side] = _without_action(position, turn, joint, at, hand=hand)
    return _Motion(datasets, arms)


def _without_action(
    position: np.ndarray,
    turn: Rotation,
    joint: np.ndarray,
    at: np.ndarray,
    *,
    gripper: np.ndarray | None = None,
    hand: np.ndarray | None = None,
) -> ArmTruth:
    """The rows `at` of the simulation's state; the target is the next of these rows."""
    quaternion = turn.as_quat()[at]
    return ArmTruth(
        position_m=position[at],
        quaternion_xyzw=quaternion,
        joint_position=joint[at],
        gripper_open=None if gripper is None else gripper[at],
        hand=None if hand is None else hand[at],
        target_position_m=_next(position[at]),
        target_quaternion_xyzw=_next(quaternion),
        target_joint_position=_next(joint[at]),
        target_gripper_open=None if gripper is None else _next(gripper[at]),
    )


_BUILDERS = {
    "franka_1rgb": _franka,
    "franka_3rgb": _franka,
    "franka_fr3_dual": _fr3_dual,
    "ur_1rgb": _ur,
    "agilex_3rgb": _agilex,
    "tienkung_gello_1rgb": _tienkung_gello,
    "tienkung_xsens_1rgb": _tienkung_xsens,
    "simulation": _simulation,
    "sim_tienkung_1rgb": _sim_tienkung,
}


def _steps(embodiment: str, length: int) -> tuple[StepTruth, ...]:
    """Four steps with gaps; one overlaps in franka_3rgb, one runs backwards in ur_1rgb."""
    bounds = [[0, 3], [4, 6], [8, 8], [10, length - 1]]
    if embodiment == "franka_3rgb":
        bounds[1] = [2, 6]
    if embodiment == "ur_1rgb":
        bounds[2] = [9, 7]
    texts = ("move towards it", "grab it", "carry it", "put it down")
    # The files name the last frame; ours are half-open.
    return tuple(
        StepTruth(text, first, last + 1) for text, (first, last) in zip(texts, bounds, strict=True)
    )


def _annotation(
    key: str, summary: str, steps: tuple[StepTruth, ...], *, camera: str
) -> dict[str, Any]:
    return {
        "id": f"{key}/data",
        "response": {
            "task_summary": summary,
            "steps": [
                {
                    "step_description": step.text,
                    "start_frame": f"{camera}_{step.start_frame:04d}.jpg",
                    "end_frame": f"{camera}_{step.end_frame - 1:04d}.jpg",
                }
                for step in steps
            ],
        },
    }


def _write_language(folder: Path, notes: dict[str, list[Any]]) -> None:
    place = folder / "language_description_annotation_json"
    place.mkdir(parents=True, exist_ok=True)
    for name, entries in notes.items():
        (place / f"{name}.json").write_text(json.dumps(entries, indent=4))
    with (folder / "RoboMIND_v1_2_instr.csv").open("w", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["", "task", "instruction"])
        table.writerows([n, task, text] for n, (task, text) in enumerate(INSTRUCTIONS.items()))


CASES = [
    Case(
        "robomind_v1",
        "robomind_v1",
        write,
        breaks=(
            EULER_TO_VECTOR,
            VECTOR_TO_EULER,
            XYZW_TO_WXYZ,
            CLOSED_IS_OPEN,
            ("stride_to_cameras", "none"),
        ),
    ),
]
