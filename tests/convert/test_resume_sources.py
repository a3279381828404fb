"""Killed at any moment, the other families finish too: several parts, linked and new videos."""

from __future__ import annotations

import importlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from convert.trees import tree_digest
from sources import galaxea

from finedata.convert.verify.run import verify

PROGRAM = Path(__file__).parent / "interrupted.py"
KILLS = 4
FAMILIES = {"rh20t": {"cfgs": (1, 3)}, "galaxea": {}, "robomind_v2": {"robots": ("franka", "ur")}}


def run(
    at: int, source: Path, out: Path, name: str, *more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), str(at), str(source), str(out), "1", name, *more],
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


def test_killed_while_videos_are_measured(tmp_path: Path) -> None:
    """Statistics are of all episodes in order: what was measured before must count again."""
    source = tmp_path / "source"
    source.mkdir()
    galaxea.write(source, datasets=1, episodes=3, length=30)  # more than 64 frames
    unbroken = run(0, source, tmp_path / "unbroken", "galaxea", "measure")
    assert unbroken.stdout == "3\n", unbroken.stderr
    stats = json.loads((tmp_path / "unbroken/meta/stats.json").read_text())
    assert stats["observation.images.head_rgb"]["count"] == [64]
    for at in (1, 2, 3):
        out = tmp_path / f"killed-{at}"
        assert run(at, source, out, "galaxea", "measure").returncode == -9
        assert not (out / "meta/stats.json").exists()
        assert run(0, source, out, "galaxea", "measure").returncode == 0
        assert tree_digest(out) == tree_digest(tmp_path / "unbroken"), f"killed at {at}"
