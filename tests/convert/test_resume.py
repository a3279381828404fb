"""Killed at any moment, the same command finishes the work, byte for byte."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Corpus
from convert.trees import tree_digest

from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.errors import UsageError

PROGRAM = Path(__file__).parent / "interrupted.py"
KILLS = 20


def run(
    at: int, corpus: Corpus, out: Path, *, workers: int = 1
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), str(at), str(corpus.folder), str(out), str(workers)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def unbroken(
    corpus: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, dict[str, str]]:
    """(number of events, files) of a run that nobody killed."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    done = run(0, corpus, out)
    assert done.returncode == 0, done.stderr
    return int(done.stdout), tree_digest(out)


def test_there_is_enough_to_interrupt(unbroken: tuple[int, dict[str, str]]) -> None:
    events, files = unbroken
    assert events > 2 * KILLS
    assert sum(name.startswith("data/") for name in files) >= 5


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_run_is_finished_by_the_same_command(
    number: int, corpus: Corpus, unbroken: tuple[int, dict[str, str]], tmp_path: Path
) -> None:
    events, wanted = unbroken
    chosen = sorted(random.Random(20261121).sample(range(1, events + 1), KILLS))
    killed = run(chosen[number], corpus, tmp_path / "out")
    assert killed.returncode == -9, killed.stderr
    assert tree_digest(tmp_path / "out") != wanted
    again = run(0, corpus, tmp_path / "out")
    assert again.returncode == 0, again.stderr
    assert tree_digest(tmp_path / "out") == wanted
    # Nothing that was finished was done again.
    assert int(again.stdout) <= events


@pytest.mark.slow
def test_killed_at_every_event(
    corpus: Corpus, unbroken: tuple[int, dict[str, str]], tmp_path: Path
) -> None:
    events, wanted = unbroken
    for at in range(1, events + 1):
        out = tmp_path / str(at)
        assert run(at, corpus, out).returncode == -9
        assert run(0, corpus, out).returncode == 0
        assert tree_digest(out) == wanted, f"killed at event {at}"


def test_killed_twice_and_with_other_workers(
    corpus: Corpus, unbroken: tuple[int, dict[str, str]], tmp_path: Path
) -> None:
    events, wanted = unbroken
    assert run(events // 3, corpus, tmp_path / "out").returncode == -9
    # Syncs happen in the workers now: the events of this process are the ledger's and the end's.
    assert run(events // 4, corpus, tmp_path / "out", workers=2).returncode == -9
    again = run(0, corpus, tmp_path / "out", workers=2)
    assert again.returncode == 0, again.stderr
    assert tree_digest(tmp_path / "out") == wanted


def test_two_workers_give_the_same_bytes(corpus: Corpus, converted: Path, tmp_path: Path) -> None:
    convert("bridge_v2", input=corpus.folder, out=tmp_path / "out", workers=2)
    assert tree_digest(tmp_path / "out") == tree_digest(converted)


def test_another_mirror_is_the_same_run(corpus: Corpus, converted: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "elsewhere"
    mirror.symlink_to(corpus.folder)
    convert("bridge_v2", input=mirror, out=tmp_path / "out")
    assert tree_digest(tmp_path / "out") == tree_digest(converted)


def test_finished_work_is_not_done_again(corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = convert("bridge_v2", input=corpus.folder, out=out)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert convert("bridge_v2", input=corpus.folder, out=out) == first
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == stamps


def test_a_lost_file_is_written_again(corpus: Corpus, converted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert("bridge_v2", input=corpus.folder, out=out)
    (out / "finedata.json").unlink()
    (out / "data/chunk-000/file-000.parquet").unlink()
    convert("bridge_v2", input=corpus.folder, out=out)
    assert tree_digest(out) == tree_digest(converted)


def test_other_options_are_refused(corpus: Corpus, converted: Path) -> None:
    before = tree_digest(converted)
    with pytest.raises(UsageError, match=r"options = .*now .*max_episodes"):
        convert(
            "bridge_v2",
            input=corpus.folder,
            out=converted,
            options=ConvertOptions(max_episodes=2),
        )
    assert tree_digest(converted) == before
