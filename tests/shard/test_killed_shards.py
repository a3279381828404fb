"""Killed at any moment, by any number of workers, in shares: the same bytes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from shard.curation import curate

from finedata.shard.making.settings import ShardSettings

PROGRAM = Path(__file__).parent / "interrupted_shard.py"
SMALL = {"shard_bytes": 200_000}


@pytest.mark.parametrize(
    "order",
    [
        "step",
        pytest.param("episode", marks=pytest.mark.slow),
        pytest.param("append", marks=pytest.mark.slow),
        pytest.param("compact", marks=pytest.mark.slow),
    ],
)
def test_killed_at_every_event(order: str, two_parts: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = two_parts
    settings = ShardSettings(order="episode" if order == "episode" else "step", **SMALL)  # type: ignore[arg-type]
    more = [str(second)] if order == "append" else []
    if order == "compact":
        clustered = tmp_path / "clustered"
        shutil.copytree(first, clustered)
        ids = curate(clustered, every=1)
        curate(clustered, chosen=ids[:2])
        first = tmp_path / "dataset"
        shutil.copytree(clustered, first)
        curate(first, chosen=ids[:1])
        more = [str(clustered), "compact"]
    done = subprocess.run(
        [
            sys.executable, str(PROGRAM), str(first), str(tmp_path),
            msgspec.json.encode(settings).decode(), *more,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
        cwd=PROGRAM.parent.parent,
        env={"PYTHONPATH": str(PROGRAM.parent.parent), "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
