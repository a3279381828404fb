"""The benchmark of GPUs runs whole at tiny size, and what it leaves out changes no value."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_every_case_runs_and_what_is_left_out_changes_no_value(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "mfu.py", "--tiny", "--trace", tmp_path,
         "--minutes", "60"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses = dict(re.findall(r"^( *\S.*?)  +.*loss ([0-9.]+)$", done.stdout, flags=re.MULTILINE))
    assert len(losses) == 9, done.stdout
    base = float(losses.pop("Qwen3-VL-4B, oft"))
    same = [float(loss) for name, loss in losses.items() if name.startswith("  ")]
    assert len(same) == 5
    assert same == [pytest.approx(base, abs=1e-4)] * 5
    assert {path.name for path in tmp_path.iterdir()} == {
        "qwen3_vl_oft.json", "qwen3_vl_gr00t.json", "qwen3_5_oft.json", "qwen3_5_gr00t.json",
    }  # fmt: skip
