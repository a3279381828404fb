"""RH20T scene folders as the publisher ships them: pickled dicts by camera serial, mp4, JSON.

`write` gives one folder per robot configuration below the root, with `configs.json` and
`task_description.json` beside them. The motion is known at every millisecond, each camera has time
stamps of its own and every array is sampled at them, so a reader that takes another camera's
samples, or other rows, is found out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation
from sources.case import WXYZ_TO_XYZW, Case
from sources.motion import smooth, smooth_gripper, smooth_joints, smooth_positions, smooth_rotations
from sources.truth import ArmTruth, SourceTruth
from sources.video import write_video

__all__ = ["CASES", "DAMAGES", "HIDDEN", "OPEN_MM", "reference_serial", "write"]

# Robot, gripper, joints and whether their velocities follow, as rh20t_api slices them.
_ROBOTS = {
    1: ("flexiv", "Dahuan AG-95", 7, True),
    2: ("flexiv", "Dahuan AG-95", 7, True),
    3: ("ur5", "WSG-50", 6, False),
    4: ("ur5", "Robotiq 2F-85", 6, False),
    5: ("franka", "franka", 7, True),
    6: ("kuka", "Robotiq 2F-85", 7, False),
    7: ("kuka", "Robotiq 2F-85", 7, False),
}
# Width in mm of the open gripper, by configuration.
OPEN_MM = {1: 95.0, 2: 95.0, 3: 110.0, 4: 85.0, 5: 80.0, 6: 85.0, 7: 85.0}

_START_MS = 1_631_270_000_000
_TASKS = {
    "task_0001": ("Press the blue lever down", "按下蓝色的杆"),
    "task_0002": ("Put the cup on the shelf", "把杯子放到架子上"),
}
# Damages after which a scene is no episode: `write` gives no truth for it.
HIDDEN = {"no_transformed", "no_tcp_base", "no_cameras", "no_frames", "refused_pickle", "truncated"}
DAMAGES = sorted(
    HIDDEN
    | {
        "no_metadata",
        "no_joint",
        "no_gripper",
        "no_force",
        "none_values",
        "short_video",
        "unordered",
        "duplicates",
        "camera_gap",
        "truncated_video",
        "refused_gripper",
    }
)


@dataclass(frozen=True)
class _Take:
    """What happened during a scene, at each of its milliseconds."""

    position_m: np.ndarray
    rotation: Rotation
    joint_position: np.ndarray
    joint_velocity: np.ndarray
    gripper_open: np.ndarray
    force: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, milliseconds: int, joints: int) -> _Take:
        position = smooth_joints(rng, milliseconds, joints)
        return cls(
            smooth_positions(rng, milliseconds),
            smooth_rotations(rng, milliseconds),
            position,
            np.gradient(position, 1e-3, axis=0),
            smooth_gripper(rng, milliseconds),
            5 * smooth(rng, milliseconds, 6),
        )


def reference_serial(cfg: int) -> str:
    """The camera that defines the rows: the first in order that is not in the hand."""
    return f"03{cfg}622060001"


def _serials(cfg: int, cameras: int) -> list[str]:
    """The reference, the one in the hand (first in order!), and further ones."""
    return [reference_serial(cfg), f"01{cfg}322070878", f"f{cfg}034501", f"f{cfg}034502"][:cameras]


def write(
    folder: Path,
    *,
    episodes: int = 2,
    seed: int = 0,
    cfgs: tuple[int, ...] = (1, 3, 5),
    frames: int = 16,
    cameras: int = 3,
    resized: bool = True,
    separate_joints: bool = False,
    humans: int = 0,
    after_finish: int = 0,
    ratings: tuple[int, ...] = (5, 1),
    descriptions: bool = True,
    configs: bool = True,
    damage: dict[int, str] | None = None,
) -> list[SourceTruth]:
    """Write scenes.

    Args:
        folder: The root; holds `RH20T_cfg<k>/`.
        episodes: Number of robot scenes; their configurations cycle through `cfgs`.
        seed: Of all motion and jitter.
        cfgs: Robot configurations, 1 to 7.
        frames: Frames of the reference camera.
        cameras: 1 to 4 a scene; the second one is in the hand.
        resized: Half the height and width, as the publisher's second form.
        separate_joints: `joint.npy` in a tree `RH20T_joint/` of its own.
        humans: Further scenes of a person's demonstration.
        after_finish: Frames after `finish_time`.
        ratings: Cycle through the scenes; from 2 on a success.
        descriptions: Whether there is a `task_description.json`.
        configs: Whether there is a `configs.json`.
        damage: Number of a scene to what is wrong with it, one of `DAMAGES`.

    Returns:
        Truth of each scene that is an episode (`HIDDEN` damages are none), in order of writing; of
        a damaged one what it was before.
        Gripper truth divides the width by `OPEN_MM`. The last rows of the targets repeat.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if descriptions:
        words = {
            task: {"task_description_english": english, "task_description_chinese": chinese}
            for task, (english, chinese) in _TASKS.items()
        }
        (folder / "task_description.json").write_text(json.dumps(words, ensure_ascii=False))
    if configs:
        listed = [
            {"conf_num": cfg, "robot": robot, "gripper": gripper, "in_hand": [_serials(cfg, 2)[1]]}
            for cfg, (robot, gripper, _, _) in _ROBOTS.items()
        ]
        (folder / "configs.json").write_text(json.dumps(listed))
    truths: list[SourceTruth] = []
    for number in range(episodes):
        cfg = cfgs[number % len(cfgs)]
        rng = np.random.default_rng([seed, number])
        task = f"task_{number % 2 + 1:04d}"
        name = f"{task}_user_0007_scene_{number + 1:04d}_cfg_{cfg:04d}"
        scene = folder / f"RH20T_cfg{cfg}" / name
        stamps = _stamps(rng, frames, _serials(cfg, cameras))
        take = _Take.draw(rng, frames * 100 + 600, _ROBOTS[cfg][2])
        rating = ratings[number % len(ratings)]
        size = (36, 64) if resized else (72, 128)
        _write_scene(scene, cfg, take, stamps, rng, size, rating, after_finish)
        if separate_joints:
            beside = folder / "RH20T_joint" / f"RH20T_cfg{cfg}" / name / "transformed"
            beside.mkdir(parents=True)
            (scene / "transformed" / "joint.npy").rename(beside / "joint.npy")
        known_task = task if descriptions else ""
        truth = _truth(folder, scene, cfg, take, stamps, rating, known_task)
        kind = (damage or {}).get(number)
        if kind:
            _break(scene, kind, reference_serial(cfg))
        if kind not in HIDDEN:
            truths.append(truth)
    for number in range(humans):
        scene = folder / f"RH20T_cfg{cfgs[0]}"
        scene /= f"task_0001_user_0007_scene_{number + 1:04d}_cfg_{cfgs[0]:04d}_human"
        camera = scene / f"cam_{reference_serial(cfgs[0])}"
        write_video(camera / "color.mp4", 4, fps=25, height=36, width=64)
        _save(camera / "timestamps.npy", {"color": [_START_MS + 100 * k for k in range(4)]})
        (scene / "metadata.json").write_text(json.dumps({"finish_time": _START_MS, "rating": 9}))
    return truths


def _stamps(rng: np.random.Generator, frames: int, serials: list[str]) -> dict[str, list[int]]:
    """Milliseconds after the start: about 100 apart; others begin earlier and have more frames."""
    found: dict[str, list[int]] = {}
    for index, serial in enumerate(serials):
        extra = index  # frames before the reference's first
        times = 200 + 100 * (np.arange(frames + 2 * extra) - extra) + 17 * index
        times = times + rng.integers(-9, 10, len(times))
        found[serial] = [int(time) for time in times]
    return found


def _write_scene(
    scene: Path,
    cfg: int,
    take: _Take,
    stamps: dict[str, list[int]],
    rng: np.random.Generator,
    size: tuple[int, int],
    rating: int,
    after_finish: int,
) -> None:
    reference = stamps[reference_serial(cfg)]
    finish = reference[-1 - after_finish] + 1
    scene.mkdir(parents=True)
    metadata = {"finish_time": _START_MS + finish, "rating": rating, "calib": -1}
    (scene / "metadata.json").write_text(json.dumps(metadata | {"calib_quality": 3}))
    for index, (serial, times) in enumerate(stamps.items()):
        absolute = [_START_MS + time for time in times]
        camera = scene / f"cam_{serial}"
        write_video(
            camera / "color.mp4", len(times), fps=25, height=size[0], width=size[1], camera=index
        )
        _save(camera / "timestamps.npy", {"color": absolute, "depth": absolute})
    base_from_camera = {
        serial: (rng.normal(size=3), Rotation.random(random_state=rng)) for serial in stamps
    }
    for name, entry in _arrays(cfg, take, base_from_camera).items():
        tree = {serial: entry(serial, times) for serial, times in stamps.items()}
        _save(scene / "transformed" / f"{name}.npy", tree)


def _arrays(
    cfg: int, take: _Take, base_from_camera: dict[str, tuple[np.ndarray, Rotation]]
) -> dict[str, Callable[[str, list[int]], Any]]:
    """Each file's entry of one camera."""

    def wxyz(rotation: Rotation) -> np.ndarray:
        return np.roll(rotation.as_quat(), 1)

    def tcp_base(serial: str, times: list[int]) -> list[dict[str, Any]]:
        return [
            {
                "timestamp": _START_MS + t,
                "tcp": np.concatenate([take.position_m[t], wxyz(take.rotation[t])]),
                "robot_ft": take.force[t],
            }
            for t in times
        ]

    def tcp(serial: str, times: list[int]) -> list[dict[str, Any]]:
        origin, turn = base_from_camera[serial]
        return [
            {
                "timestamp": _START_MS + t,
                "tcp": np.concatenate(
                    [
                        turn.inv().apply(take.position_m[t] - origin),
                        wxyz(turn.inv() * take.rotation[t]),
                    ]
                ),
                "robot_ft": take.force[t],
            }
            for t in times
        ]

    def force(serial: str, times: list[int]) -> list[dict[str, Any]]:
        return [
            {"timestamp": _START_MS + t, "raw": 2 * take.force[t], "zeroed": take.force[t]}
            for t in times
        ]

    def gripper(serial: str, times: list[int]) -> dict[int, dict[str, list[float]]]:
        width_mm = take.gripper_open * OPEN_MM[cfg]
        return {
            _START_MS + t: {
                "gripper_command": [float(width_mm[min(t + 100, len(width_mm) - 1)]), 20.0, 0.0],
                "gripper_info": [float(width_mm[t]), 0.0, 0.0],
            }
            for t in times
        }

    def joint(serial: str, times: list[int]) -> dict[int, np.ndarray]:
        parts = [take.joint_position] + [take.joint_velocity] * _ROBOTS[cfg][3]
        return {_START_MS + t: np.concatenate([part[t] for part in parts]) for t in times}

    return {
        "tcp_base": tcp_base,
        "tcp": tcp,
        "force_torque": force,
        "force_torque_base": force,
        "gripper": gripper,
        "joint": joint,
    }


def _truth(
    folder: Path,
    scene: Path,
    cfg: int,
    take: _Take,
    stamps: dict[str, list[int]],
    rating: int,
    task: str,
) -> SourceTruth:
    at = np.array(stamps[reference_serial(cfg)])
    following = np.append(at[1:], at[-1])
    english, chinese = _TASKS.get(task, ("", ""))
    quaternion = take.rotation.as_quat()
    return SourceTruth(
        key=scene.name,
        length=len(at),
        arms={
            "right": ArmTruth(
                position_m=take.position_m[at],
                quaternion_xyzw=quaternion[at],
                joint_position=take.joint_position[at],
                gripper_open=take.gripper_open[at],
                target_position_m=take.position_m[following],
                target_quaternion_xyzw=quaternion[following],
                target_joint_position=take.joint_position[following],
                target_gripper_open=take.gripper_open[following],
            )
        },
        instruction=english,
        alternatives=(chinese,) if chinese else (),
        success=rating >= 2,
        fps=10.0,
        cameras={
            f"cam_{serial}": (scene / f"cam_{serial}" / "color.mp4").relative_to(folder).as_posix()
            for serial in stamps
        },
        vectors={"source_time_s": (at - at[0]) / 1000.0},
    )


def _save(path: Path, tree: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, tree, allow_pickle=True)


class _Harmful:
    """What a pickle can do: call anything. Here it would make a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, (str(self.target),)


def _files(scene: Path, pattern: str) -> Iterator[Path]:
    return iter(sorted(scene.glob(pattern)))


def _break(scene: Path, kind: str, reference: str) -> None:
    arrays, camera = scene / "transformed", scene / f"cam_{reference}"
    tcp_base = arrays / "tcp_base.npy"
    harmful = {reference: _Harmful(scene / "executed")}
    if kind in ("no_transformed", "no_cameras"):
        pattern = "transformed/*" if kind == "no_transformed" else "cam_*/*"
        for file in _files(scene, pattern):
            file.unlink()
    elif kind == "refused_pickle":
        _save(tcp_base, harmful)
    elif kind == "refused_gripper":
        _save(arrays / "gripper.npy", harmful)
    elif kind == "truncated":
        tcp_base.write_bytes(tcp_base.read_bytes()[:-700])
    elif kind == "none_values":
        tree = np.load(tcp_base, allow_pickle=True).item()
        tree[reference][3]["tcp"] = None
        tree[reference][5] = None
        _save(tcp_base, tree)
    elif kind in ("short_video", "truncated_video"):
        file = camera / "color.mp4"
        if kind == "short_video":
            write_video(file, 9, fps=25, height=36, width=64)
        else:
            file.write_bytes(file.read_bytes()[:-300])
    elif kind in ("no_frames", "unordered", "duplicates", "camera_gap"):
        _break_stamps(camera if kind != "camera_gap" else _other_camera(scene, camera), kind)
    else:
        names = {
            "no_tcp_base": ["transformed/tcp_base.npy"],
            "no_metadata": ["metadata.json"],
            "no_joint": ["transformed/joint.npy"],
            "no_gripper": ["transformed/gripper.npy"],
            "no_force": ["transformed/force_torque.npy", "transformed/force_torque_base.npy"],
        }[kind]
        for name in names:
            (scene / name).unlink()


def _other_camera(scene: Path, camera: Path) -> Path:
    return next(found for found in _files(scene, "cam_*") if found != camera)


def _break_stamps(camera: Path, kind: str) -> None:
    file = camera / "timestamps.npy"
    color = np.load(file, allow_pickle=True).item()["color"]
    if kind == "no_frames":
        color = []
    elif kind == "unordered":
        color[4], color[6] = color[6], color[4]
    elif kind == "duplicates":
        color[4] = color[5]
    else:  # a camera that stopped for a while: two rows are left without a frame
        color = [time + 1000 if index > 8 else time for index, time in enumerate(color)]
    _save(file, {"color": color, "depth": color})


CASES = [
    Case("rh20t", "rh20t", write, breaks=(WXYZ_TO_XYZW, ("open = 95.0", "open = 85.0"))),
    Case("rh20t_raw", "rh20t", write, knobs={"resized": False, "separate_joints": True}),
]
