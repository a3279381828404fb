"""Opens a dataset with the real lerobot 0.4.4, which lives in an environment of its own.

Comes in: the root of a LeRobot v3.0 dataset. Goes out: what lerobot read, as a plain dict of NumPy
arrays, hashes and JSON values, for any test to compare with. lerobot 0.4.4 cannot be installed
beside the torch this project pins, so it runs in another process; `install.sh` makes its
environment. Tests that need it ask `skip_without_lerobot`, which `run_probe` does by itself.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "INTERPRETER_VARIABLE",
    "lerobot_environment",
    "lerobot_python",
    "run_probe",
    "skip_without_lerobot",
]

INTERPRETER_VARIABLE = "FINEDATA_LEROBOT_PYTHON"
HERE = Path(__file__).resolve().parent
REPOSITORY_ROOT = HERE.parents[1]
TIMEOUT_S = 300


def lerobot_python() -> Path | None:
    """The interpreter that has lerobot: FINEDATA_LEROBOT_PYTHON, else .venv-lerobot, else None.

    Raises:
        FileNotFoundError: The variable is set and names nothing; a skip would hide the slip.
    """
    named = os.environ.get(INTERPRETER_VARIABLE)
    if named:
        if not Path(named).is_file():
            message = f"{INTERPRETER_VARIABLE} names {named}, which is not a file"
            raise FileNotFoundError(message)
        return Path(named)
    python = REPOSITORY_ROOT / ".venv-lerobot" / "bin" / "python"
    return python if python.is_file() else None


def skip_without_lerobot() -> Path:
    """The interpreter, or a skip of the calling test that says how to get one."""
    python = lerobot_python()
    if python is None:
        pytest.skip("no .venv-lerobot: run `bash tests/lerobot_oracle/install.sh`")
    return python


def lerobot_environment(scratch: Path) -> dict[str, str]:
    """The environment of a lerobot process: stub torchvision, no network, caches in `scratch`."""
    foreign = ("HF_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {
        "HF_DATASETS_CACHE": str(scratch / "datasets"),
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(scratch / "home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_LEROBOT_HOME": str(scratch / "lerobot"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(HERE / "stub"),
    }


def run_probe(
    dataset_root: Path,
    tmp_path: Path,
    *,
    episodes: Sequence[int] | None = None,
    frames: Sequence[int] | None = None,
    delta_timestamps: Mapping[str, Sequence[float]] | None = None,
    windows_at: Sequence[int] = (0,),
) -> dict[str, Any]:
    """Open `dataset_root` with lerobot and return everything it reads.

    Args:
        dataset_root: Folder with `meta/info.json`.
        tmp_path: Scratch folder for caches and results; may be the same for several calls.
        episodes: Episode indices to load; all of them if None. Positions count loaded frames only.
        frames: Positions to read; all of them if None.
        delta_timestamps: Feature -> offsets in seconds, for the windows.
        windows_at: Positions at which the windows are read.

    Returns:
        A dict over the positions read:

        - `frames`: {column: array}. lerobot hands float64 out as float32.
        - `strings`: {column: list}, with `task`; `nulls`: {column: positions that gave None}.
        - `encoded_sha256`: {camera: list}, of the stored bytes; `decoded_sha256`, `decoded_shape`:
          {camera: list}, of the uint8 (H, W, C) pixels. No entry for a video camera in the first.
        - `windows`: {position: {column: array, column_is_pad: bools, camera: list of sha256}}.
        - `batch`, `window_batch`: {column: shape and dtype} of a batch of torch's DataLoader.
        - `meta`: fps, robot_type, total_*, num_*, length, features, camera_keys, splits,
          data_files, tasks as [text, index] pairs, stats {feature: {name: shape and values}},
          episodes as rows.

    Raises:
        AssertionError: lerobot refused the dataset; the message ends with its own traceback.
        FileNotFoundError: See `lerobot_python`.
    """
    python = skip_without_lerobot()
    out = tmp_path / f"probe-{sum(1 for _ in tmp_path.glob('probe-*'))}"
    command = [str(python), str(HERE / "probe.py"), str(dataset_root), str(out)]
    command += ["--windows-at", join(windows_at)]
    if episodes is not None:
        command += ["--episodes", join(episodes)]
    if frames is not None:
        command += ["--frames", join(frames)]
    if delta_timestamps is not None:
        offsets = {key: list(value) for key, value in delta_timestamps.items()}
        command += ["--delta-timestamps", json.dumps(offsets)]
    finished = subprocess.run(
        command,
        env=lerobot_environment(tmp_path / "lerobot-caches"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    refusal = f"lerobot could not read {dataset_root}:\n{finished.stderr[-6000:]}"
    assert finished.returncode == 0, refusal
    return collect(out)


def join(numbers: Sequence[int]) -> str:
    return ",".join(str(number) for number in numbers)


def collect(out: Path) -> dict[str, Any]:
    """Put probe.npz and probe.json together again."""
    report: dict[str, Any] = json.loads((out / "probe.json").read_text(encoding="utf-8"))
    frames: dict[str, np.ndarray] = {}
    windows: dict[int, dict[str, Any]] = {
        int(position): dict(cameras) for position, cameras in report.get("windows", {}).items()
    }
    with np.load(out / "probe.npz", allow_pickle=False) as arrays:
        for name in arrays.files:
            kind, _, rest = name.partition("/")
            if kind == "frame":
                frames[rest] = arrays[name]
            else:
                position, _, column = rest.partition("/")
                windows[int(position)][column] = arrays[name]
    return report | {"frames": frames, "windows": windows}
