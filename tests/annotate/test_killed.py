from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from annotate.scripted import Scripted
from annotate.test_run_facts import digests, run

import finedata
from finedata.annotate.run import annotate_kinematic
from finedata.annotate.selection import Choice

SCRIPT = Path(__file__).parent / "interrupted.py"


def killed(root: Path, log: Path, death: str) -> int:
    command = [sys.executable, str(SCRIPT), str(root), str(log), death]
    return subprocess.run(command, check=False, timeout=120).returncode


def test_a_killed_run_repeated_gives_the_same_bytes_and_pays_nothing_twice(
    root, settings, ids, tmp_path
) -> None:
    unbroken = tmp_path / "unbroken"
    shutil.copytree(root, unbroken)
    run(unbroken, settings)
    log = tmp_path / "answers"
    deaths = ["calls=12", "files=1", "files=3"]
    for death in deaths:
        assert killed(root, log, death) == 9, death
    run(root, settings)
    assert digests(root) == digests(unbroken)
    answers = Counter(log.read_text().split())
    # what was in flight when the process died may have been answered: at most four each time
    assert sum(answers.values()) <= 3 * len(ids) + 2 * 4
    assert finedata.open(root).facts.collect()["fact_id"].is_duplicated().sum() == 0


@pytest.mark.parametrize("table", ["steps", "facts"])
def test_a_row_that_does_not_conform_leaves_no_file(root, settings, table, monkeypatch) -> None:
    import finedata.annotate.run_facts as module

    real = getattr(module, f"{table[:-1]}_rows")

    def broken(*args, **more):
        return [row | {"text": None} for row in real(*args, **more)]

    before = digests(root)
    monkeypatch.setattr(module, f"{table[:-1]}_rows", broken)
    with pytest.raises(finedata.FinedataError):
        run(root, settings)
    monkeypatch.undo()
    assert digests(root) == before
    assert not list(root.rglob("*.partial"))
    teacher, summary = run(root, settings)
    assert (len(teacher.requests), summary.failed) == (0, 0)


def test_an_interrupted_kinematic_run_is_undone(root, monkeypatch) -> None:
    from finedata.store.tables.table import undo_unfinished

    choice = Choice(everything=True)
    first = annotate_kinematic(root, choice=choice)
    assert first.done > 0
    wanted = digests(root)
    assert annotate_kinematic(root, choice=choice).done == 0
    # as if it had died with its files named and their list still there
    files = '{"steps": "annotations/steps/part-00001.parquet"}'
    (root / ".finedata").mkdir(exist_ok=True)
    (root / ".finedata" / "annotate-files.json").write_text(files)
    undo_unfinished(root)
    assert not (root / "annotations/steps/part-00001.parquet").exists()
    assert wanted


def test_a_broken_ledger_of_calls_is_an_error_and_not_a_success(root, settings) -> None:
    (root / ".finedata").mkdir(exist_ok=True)
    (root / ".finedata" / "calls.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(finedata.FinedataError):
        run(root, settings)
    assert Scripted().requests == []


def test_facts_of_motion_depend_on_no_process(root, tmp_path, monkeypatch) -> None:
    import finedata.annotate.run_kinematic as module

    choice = Choice(everything=True)
    other = tmp_path / "other"
    shutil.copytree(root, other)
    first = annotate_kinematic(root, choice=choice)
    monkeypatch.setattr(module, "_EPISODES_AT_ONCE", 5)
    told = []
    second = annotate_kinematic(other, choice=choice, workers=2, on_progress=told.append)
    assert (first.done, first.rows, first.verdicts) == (second.done, second.rows, second.verdicts)
    assert [one.done for one in told][:2] == [5, 10]
    assert told[-1].done == first.done
    assert digests(root) == digests(other)
