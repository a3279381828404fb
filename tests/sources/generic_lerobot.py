"""A LeRobot dataset that nobody declared: names as anyone chooses them, in any of the versions."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from sources.lerobot_writer import WrittenEpisode, write_lerobot
from sources.motion import smooth, smooth_gripper, smooth_joints
from sources.truth import ArmTruth, SourceTruth
from sources.video import numbered_picture

__all__ = ["CAMERA", "MOTORS", "encoded_picture", "write"]

CAMERA = "observation.images.front"
MOTORS = (
    "shoulder_pan.pos",
    "shoulder_lift.pos",
    "elbow_flex.pos",
    "wrist_flex.pos",
    "wrist_roll.pos",
    "gripper.pos",
)
_TASKS = ("pick up the red block", "open the drawer")


def encoded_picture(number: int, *, kind: str = "JPEG") -> bytes:
    """A small encoded picture that says a number."""
    data = BytesIO()
    Image.fromarray(numbered_picture(number)).save(data, kind)
    return data.getvalue()


def write(
    folder: Path,
    *,
    version: str = "v3.0",
    episodes: int = 3,
    seed: int = 0,
    length: int = 16,
    pictures: bool = False,
    **knobs,
) -> list[SourceTruth]:
    """Write a six-motor arm of degrees into `folder` itself; keys are `#episode`.

    Args:
        folder: Becomes the dataset.
        version: `v2.0`, `v2.1` or `v3.0`.
        episodes: How many; they take turns with two tasks.
        seed: Decides everything.
        length: Frames of the first; each further one has four more.
        pictures: JPEGs in a column instead of a video.
        knobs: As `write_lerobot` has them.
    """
    rng = np.random.default_rng(seed)
    written, truths = [], []
    for number in range(episodes):
        T = length + 4 * number
        joints, gripper = smooth_joints(rng, T, 5), smooth_gripper(rng, T)
        target = joints + 0.02 * smooth(rng, T, 5)
        state = np.hstack([np.degrees(joints), 100 * gripper[:, None]]).astype(np.float32)
        action = np.hstack([np.degrees(target), 100 * gripper[:, None]]).astype(np.float32)
        columns = {
            "observation.state": state,
            "action": action,
            "task_index": np.full(T, number % 2),
        }
        cameras: dict[str, tuple[str, ...] | str] = {}
        if pictures:
            images = [encoded_picture(100 * number + k) for k in range(T)]
            columns[CAMERA] = images
            cameras[CAMERA] = tuple(hashlib.sha256(image).hexdigest() for image in images)
        elif version == "v3.0":
            file = number // knobs.get("episodes_per_file", 2)
            cameras[CAMERA] = f"videos/{CAMERA}/chunk-000/file-{file:03d}.mp4"
        else:
            cameras[CAMERA] = f"videos/chunk-000/{CAMERA}/episode_{number:06d}.mp4"
        written.append(WrittenEpisode(columns, (_TASKS[number % 2],)))
        truths.append(
            SourceTruth(
                key=f"#{number}",
                length=T,
                arms={"right": ArmTruth(joint_position=joints, target_joint_position=target)},
                instruction=_TASKS[number % 2],
                fps=10,
                cameras=cameras,
                vectors={"observation.state": state, "action": action},
            )
        )
    write_lerobot(
        folder,
        written,
        version=version,
        tasks=list(_TASKS),
        cameras=() if pictures else (CAMERA,),
        names={"observation.state": list(MOTORS), "action": list(MOTORS)} | knobs.pop("names", {}),
        **knobs,
    )
    return truths
