"""A clustering run that is killed at any moment is finished by the same command, byte for byte."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from convert.trees import tree_digest

PROGRAM = Path(__file__).parent / "interrupted_cluster.py"
KILLS = 6


def run(at: int, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), str(at), str(root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def stored_tiles(root: Path) -> int:
    """Tiles in the ledger; 0 where there is none yet."""
    found = 0
    for path in (root / ".finedata").glob("cluster-*.sqlite"):
        with closing(sqlite3.connect(path)) as connection:
            if connection.execute("select name from sqlite_master where name='items'").fetchone():
                query = "select count(*) from items where kind = 'tile'"
                found += connection.execute(query).fetchone()[0]
    return found


@pytest.fixture(scope="module")
def unbroken(
    converted: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, int, dict[str, str]]:
    """(events, tiles, files) of a run that nobody killed."""
    root = tmp_path_factory.mktemp("unbroken") / "bridge"
    shutil.copytree(converted, root)
    done = run(0, root)
    assert done.returncode == 0, done.stderr
    events, computed, tiles = map(int, done.stdout.split())
    assert computed == tiles == stored_tiles(root)
    return events, tiles, tree_digest(root)


def test_there_is_enough_to_interrupt(unbroken: tuple[int, int, dict[str, str]]) -> None:
    events, tiles, files = unbroken
    assert events > 2 * tiles
    assert tiles > 5
    assert {"curation/clusters.parquet", "curation/representatives.parquet"} <= set(files)


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_run_is_finished_and_no_finished_tile_is_computed_again(
    number: int, converted: Path, unbroken: tuple[int, int, dict[str, str]], tmp_path: Path
) -> None:
    events, tiles, wanted = unbroken
    at = sorted(random.Random(20261121).sample(range(1, events + 1), KILLS))[number]
    root = tmp_path / "bridge"
    shutil.copytree(converted, root)
    killed = run(at, root)
    assert killed.returncode == -9, killed.stderr
    finished = stored_tiles(root)
    again = run(0, root)
    assert again.returncode == 0, again.stderr
    assert tree_digest(root) == wanted
    assert int(again.stdout.split()[1]) == tiles - finished


@pytest.mark.slow
def test_killed_at_every_event(
    converted: Path, unbroken: tuple[int, int, dict[str, str]], tmp_path: Path
) -> None:
    events, _, wanted = unbroken
    for at in range(1, events + 1):
        root = tmp_path / str(at)
        shutil.copytree(converted, root)
        assert run(at, root).returncode == -9
        assert run(0, root).returncode == 0
        assert tree_digest(root) == wanted, f"killed at event {at}"
