"""HDF5 files of many demonstrations, as robomimic and LIBERO lay them out.

Source: the pages "Datasets" of robomimic's documentation (`data/demo_0`, `num_samples`, `mask`) and
LIBERO's data collection (`problem_info`, pictures of two cameras as raw frames).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from sources import encode
from sources.truth import SourceTruth

__all__ = ["write", "write_file"]

INSTRUCTION = "turn on the stove and put the moka pot on it"
_SIZE = (16, 24)


def write(
    folder: Path,
    *,
    files: int = 1,
    lengths: Sequence[int] = (6, 7, 5),
    pictures: bool = True,
    libero: bool = True,
    parent: str = "data/",
    stem: str = "demo",
) -> list[SourceTruth]:
    """Write files of as many demonstrations as there are lengths."""
    truths: list[SourceTruth] = []
    for number in range(files):
        name = f"SCENE{number}_turn_on_the_stove_demo.hdf5"
        with h5py.File(folder / name, "w") as file:
            truths += write_file(
                file, lengths=lengths, pictures=pictures, libero=libero, parent=parent, stem=stem
            )
    return truths


def write_file(
    file: Any,
    *,
    lengths: Sequence[int],
    pictures: bool,
    libero: bool,
    parent: str = "data/",
    stem: str = "demo",
) -> list[SourceTruth]:
    """Fill an open file."""
    truths: list[SourceTruth] = []
    data = file.require_group(parent) if parent else file
    data.attrs["total"] = sum(lengths)
    data.attrs["env_args"] = json.dumps({"env_name": "X", "env_kwargs": {"control_freq": 20}})
    if libero:
        data.attrs["num_demos"] = len(lengths)
        data.attrs["problem_info"] = json.dumps(
            {"problem_name": "kitchen", "language_instruction": INSTRUCTION}
        )
    names = [f"{stem}_{k}" for k in range(len(lengths))]
    file["mask/train"] = np.array([name.encode() for name in names[:-1]])
    for k, (name, steps) in enumerate(zip(names, lengths, strict=True)):
        demo = data.create_group(name)
        demo.attrs["num_samples"] = steps
        demo.attrs["model_file"] = f"<mujoco model='{k}'/>"
        rng = np.random.default_rng([k, steps])
        place = np.cumsum(rng.normal(0, 0.01, (steps, 3)), axis=0)
        demo["actions"] = np.hstack(
            [np.diff(place, axis=0, append=place[-1:]), np.zeros((steps, 4))]
        )
        demo["dones"] = (np.arange(steps) == steps - 1).astype(np.int64)
        demo["states"] = rng.normal(size=(steps, 11))
        demo["obs/ee_pos"] = place
        demo["obs/joint_states"] = np.cumsum(rng.normal(0, 0.02, (steps, 7)), axis=0)
        demo["obs/gripper_states"] = rng.uniform(0, 0.04, (steps, 2))
        cameras: dict[str, list[bytes]] = {}
        if pictures:
            for c, camera in enumerate(("agentview_rgb", "eye_in_hand_rgb")):
                frames = np.stack(
                    [encode.scene(10 * k + t, size=_SIZE, camera=c) for t in range(steps)]
                )
                demo[f"obs/{camera}"] = frames
                cameras[f"obs/{camera}"] = [frame.tobytes() for frame in frames]
        truths.append(
            SourceTruth(
                key=name,
                length=steps,
                instruction=INSTRUCTION if libero else "",
                arms={},
                cameras={c: encode.digests(frames) for c, frames in cameras.items()},
            )
        )
    return truths
