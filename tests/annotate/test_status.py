from __future__ import annotations

import json
import shutil

import polars as pl
import pytest
from annotate.scripted import Scripted
from annotate.test_run_facts import QUICK, run
from annotate.test_run_traces import run as run_traces
from typer.testing import CliRunner

import finedata
from finedata.annotate.estimate import estimate_facts, estimate_traces
from finedata.annotate.selection import Choice
from finedata.annotate.status import annotate_status
from finedata.annotate.summary import summarise
from finedata.cli.app import app

ALL = Choice(everything=True)


def cli(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_an_estimate_counts_what_the_run_then_asks(root, settings, ids) -> None:
    found = estimate_facts(root, settings=settings, options=QUICK, choice=ALL)
    assert not (root / ".finedata" / "calls.sqlite").exists()
    teacher, _ = run(root, settings)
    assert found.calls == len(teacher.requests) == 3 * len(ids)
    assert found.pictures == sum(len(request.pictures) for request in teacher.requests)
    assert 0 < found.cost_usd < found.most_usd
    again = estimate_facts(root, settings=settings, options=QUICK, choice=ALL)
    assert (again.calls, again.before, again.cost_usd) == (0, len(ids), 0.0)
    frames = estimate_traces(root, settings=settings, every=10, options=QUICK, choice=ALL)
    teacher, _ = run_traces(root, settings)
    assert frames.calls == len(teacher.requests)


def test_status_adds_up(root, settings, ids) -> None:
    def one_fails(request, value):
        return "sorry" if request.stage == "facts/atoms" and request.episode_id == ids[0] else value

    _, summary = run(root, settings, one_fails)
    status = annotate_status(root)
    assert status.states == {"ok": 3 * len(ids) - 1, "failed": 1}
    assert sum(status.reasons.values()) == 1
    assert status.cost_usd == pytest.approx(summary.cost_usd)
    accepted = sum(n for verdict, n in status.verdicts.items() if verdict != "contradicted")
    assert status.accepted_facts == accepted > 0
    assert status.cost_per_fact_usd == pytest.approx(status.cost_usd / accepted)
    assert {run.table: run.rows for run in status.runs} == summary.rows


def test_status_without_a_ledger_reads_the_table(root, settings) -> None:
    run(root, settings)
    with_ledger = annotate_status(root)
    shutil.rmtree(root / ".finedata")
    without = annotate_status(root)
    assert without.states == with_ledger.states
    assert without.cost_usd == pytest.approx(with_ledger.cost_usd)
    assert not (root / ".finedata").exists()


def test_summary_is_finevlas_table(root, settings, ids) -> None:
    run(root, settings, choice=Choice(episodes=tuple(ids[:4])))
    found = summarise(root)
    assert found.sources == [found.all] or found.sources[0].source == "bridge_v2"
    row = found.all
    tasks = finedata.open(root).episodes.collect()["task"].to_list()
    raw = [len(task.split()) for task in tasks if task]
    assert (row.trajectories, row.annotated, row.steps) == (len(ids), 4, 8)
    assert row.raw_words == pytest.approx(sum(raw) / len(raw))
    # "Picks up the red cup." where it does; where the motion contradicts it, other words
    told = finedata.open(root).instructions.filter(pl.col("kind") == "fine_grained").collect()
    words = {
        one["episode_id"]: sum(len(text.split()) for text in one["steps"])
        for one in told.iter_rows(named=True)
    }
    assert 10 in words.values()
    assert row.fine_words == pytest.approx(sum(words.values()) / 4)
    both = [len(task.split()) for task in tasks[:4] if task]
    fine = sum(words[one] for one, task in zip(ids[:4], tasks[:4], strict=True) if task)
    assert row.density == pytest.approx(fine / sum(both))
    assert (row.facts, row.verbs) == (16, 2)
    assert row.facts_per_dimension["target_object"] == 4
    assert len(row.facts_per_dimension) == 10


def test_summary_of_nothing_annotated(root) -> None:
    row = summarise(root).all
    assert (row.annotated, row.fine_words, row.density, row.facts) == (0, None, None, 0)


def test_commands(root, tmp_path, monkeypatch) -> None:
    import finedata.teachers.opening as opening

    monkeypatch.setattr(opening, "open_teacher", lambda *args, **more: Scripted())
    asked = ["--teacher", "openai", "--model", "m", "--all", "--json"]
    dry = json.loads(cli("annotate", "facts", str(root), *asked, "--dry-run").stdout)
    assert dry["calls"] > 0
    done = json.loads(cli("annotate", "facts", str(root), *asked).stdout)
    assert done["done"] == done["episodes"]
    assert done["calls"] == dry["calls"]
    result = cli("annotate", "traces", str(root), *asked, "--every", "10", "--limit", "2")
    assert json.loads(result.stdout)["done"] == 2
    result = cli("annotate", "facts", str(root), "--teacher", "kinematic", "--all")
    assert result.exit_code == 0, result.output
    assert "episodes annotated" in result.stdout
    assert "accepted" in cli("annotate", "status", str(root)).stdout
    assert "density" in cli("summary", str(root)).stdout
    out = str(tmp_path / "fg")
    assert cli("annotate", "export", str(root), "--format", "finevla", "--out", out).exit_code == 0


def test_a_command_in_which_all_fails_exits_with_1(root, monkeypatch) -> None:
    import finedata.teachers.opening as opening

    monkeypatch.setattr(
        opening, "open_teacher", lambda *args, **more: Scripted(lambda request, value: "sorry")
    )
    result = cli("annotate", "facts", str(root), "--teacher", "openai", "--model", "m", "--all")
    assert result.exit_code == 1
    assert "FAILED" in result.stderr


def test_no_representatives_says_what_to_do(root) -> None:
    result = cli("annotate", "kinematic", str(root))
    assert isinstance(result.exception, finedata.FinedataError)
    assert "--all" in str(result.exception)
