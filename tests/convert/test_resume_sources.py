"""Killed at any moment, the other families finish too: several parts, linked and new videos."""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
from pathlib import Path

import pytest
from convert.trees import tree_digest

from finedata.convert.verify import verify

PROGRAM = Path(__file__).parent / "interrupted.py"
KILLS = 4
FAMILIES = {"rh20t": {"cfgs": (1, 3)}, "galaxea": {}, "robomind_v2": {"robots": ("franka", "ur")}}


def run(at: int, source: Path, out: Path, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), str(at), str(source), str(out), "1", name],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_killed_and_finished(name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    importlib.import_module(f"sources.{name}").write(source, **FAMILIES[name])
    unbroken = run(0, source, tmp_path / "unbroken", name)
    assert unbroken.returncode == 0, unbroken.stderr
    wanted = tree_digest(tmp_path / "unbroken")
    assert any(file.endswith(".mp4") for file in wanted) == (name != "robomind_v2")
    events = int(unbroken.stdout)
    for at in sorted(random.Random(name).sample(range(1, events + 1), KILLS)):
        out = tmp_path / f"killed-{at}"
        assert run(at, source, out, name).returncode == -9
        again = run(0, source, out, name)
        assert again.returncode == 0, again.stderr
        assert tree_digest(out) == wanted, f"killed at event {at}"
    assert verify(out, input=source, decode=True).problems == []
