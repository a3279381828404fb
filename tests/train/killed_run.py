"""`finedata train` as a process of its own that is ended by SIGKILL; for test_killed.py."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SETTINGS = {
    "mix": "fg=1,raw=2", "horizon": 4, "steps": 24, "batch": 4, "micro_batch": 2, "warmup": 2,
    "save_every": 3, "log_every": 1, "eval_every": 12, "eval_samples": 4, "max_tokens": 256,
    "pictures": 28, "mlp_blocks": 1, "keep": 2,
}  # fmt: skip


def train_and_kill(
    shards: Path,
    run: Path,
    *,
    resume: bool,
    workers: int,
    after_step: int,
    wait_s: float,
    recipe: str = "tiny_oft",
    settings: dict[str, Any] = SETTINGS,
) -> int:
    """Train, and end the process `wait_s` after it has told of `after_step`.

    Returns:
        What it returned: -9.
    """
    changes = [f"--set={key}={value}" for key, value in settings.items()]
    command = [
        sys.executable, "-m", "finedata", "train", recipe, "--shards", str(shards),
        "--out", str(run), "--workers", str(workers), "--device", "cpu", *changes,
        *["--resume"] * resume,
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    said: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        told = re.match(r"step\s+(\d+)  \w+", line)
        if told and int(told[1]) >= after_step:
            time.sleep(wait_s)
            process.send_signal(signal.SIGKILL)
            break
    code = process.wait()
    process.stderr.close()
    assert code == -signal.SIGKILL, "".join(said)
    return code
