"""The study's runner at a tiny size: what it refuses, what a kill leaves, its tables."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from sim.made_up import result_of

import finedata as fd

_BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
_EVALUATIONS = ["fine", "raw"]


@pytest.fixture(scope="module")
def steer() -> Any:
    sys.path.insert(0, str(_BENCHMARKS))
    try:
        yield importlib.import_module("steer")
    finally:
        sys.path.remove(str(_BENCHMARKS))


@pytest.fixture(scope="module")
def plan(steer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ratio, one seed, four scenes, six steps."""
    content = steer.draft(steps=6, episodes=10)
    small = {"batch": 8, "micro_batch": 8, "steer_width": 32, "save_every": 2, "warmup": 1}
    content["heads"] = {"flow": {"backbone": "words:trained", "lr_vlm": 1e-3, **small}}
    content["seeds"] = [0]
    content["scenes"]["count"] = 4
    content["data"] |= {"fine": 0.4, "wrong": 0.5}
    content["parts"] = [
        {**part, "heads": ["flow"], "ratios": ["fg"], "evaluations": _EVALUATIONS}
        for part in content["parts"]
        if part["name"] in ("first_table", "annotation")
    ]
    path = tmp_path_factory.mktemp("plan") / "plan.toml"
    steer.prepare(path, content)
    return path


@pytest.fixture(scope="module")
def data(steer: Any, plan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstrations of every kind, as the study would make them."""
    out = tmp_path_factory.mktemp("study")
    steer.make_shards(steer.read_plan(plan), "truth", out, workers=1)
    steer_data = importlib.import_module("steer_data")
    for kind in ("kinematic", "corrupted"):
        steer_data.make_dataset(steer.read_plan(plan), kind, out, workers=1)
    return out


@pytest.mark.parametrize("kind", ["draft", "draft_of_reasoning"])
def test_a_plan_is_read_as_it_was_written(kind: str, steer: Any, tmp_path: Path) -> None:
    """The study of reasoning has no ratios to hold against each other."""
    steer.prepare(tmp_path / "plan.toml", getattr(steer, kind)(steps=6, episodes=10))
    found, _ = steer.check(tmp_path / "plan.toml", tmp_path / "out", uncommitted=True)
    assert bool(found.contrasts) != bool(found.head_contrasts)
    cells = [cell for part in found.parts for cell in steer.cells(found, part)]
    assert {cell.head for cell in cells} == {*found.heads}


@pytest.mark.parametrize("path", sorted(_BENCHMARKS.glob("*preregistration.toml")), ids=str)
def test_what_was_registered_can_be_read(path: Path, steer: Any) -> None:
    assert len(steer.read_plan(path).seeds) == 3


def test_a_plan_that_was_changed_or_is_not_committed_is_refused(
    steer: Any, plan: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "plan.toml"
    mine.write_bytes(plan.read_bytes())
    with pytest.raises(SystemExit, match="is not committed"):
        steer.check(mine, tmp_path / "out", uncommitted=False)
    assert not (tmp_path / "out").exists()
    _, stamp = steer.check(mine, tmp_path / "out", uncommitted=True)
    assert stamp == f"draft {steer.file_sha256(plan)[:12]}"
    assert steer.check(mine, tmp_path / "out", uncommitted=True)[1] == stamp
    mine.write_text(mine.read_text().replace('"1:1", "raw"', '"1:4", "raw"'))
    with pytest.raises(SystemExit, match="was begun with"):
        steer.check(mine, tmp_path / "out", uncommitted=True)
    for old, new in (
        ("count = 4", "count = 5"),
        ("noise = 0.8", "noise = 0.7"),
        ("batch = 8", "batch = 4"),
    ):
        mine.write_text(plan.read_text().replace(old, new))
        assert mine.read_text() != plan.read_text()
        with pytest.raises(SystemExit, match="this checkout has"):
            steer.check(mine, tmp_path / "other", uncommitted=True)


def test_what_is_registered_has_every_cell_and_budget(steer: Any) -> None:
    plan = steer.read_plan(steer.PLAN)
    assert (len(plan.ratios), len(plan.seeds), plan.scenes.count) == (7, 3, 192)
    assert len({cell.name for part in plan.parts for cell in steer.cells(plan, part)}) == 84
    first = [cell.seed for cell in steer.cells(plan, plan.parts[0])]
    assert first == sorted(first)  # a table that is stopped early has every ratio of a seed
    steps = {
        cell.ratio: steer.steps_of(plan, cell) / plan.steps
        for part in plan.parts
        if part.name == "equal_exposures"
        for cell in steer.cells(plan, part)
    }
    assert steps == pytest.approx(
        {"1:4": 2.5, "1:2": 1.5, "1:1": 1, "2:1": 0.75, "4:1": 0.625, "fg": 0.5}, rel=1e-3
    )


def test_every_kind_of_text_is_of_the_same_demonstrations(data: Path) -> None:
    texts: dict[str, dict[str, str]] = {}
    for kind in ("truth", "kinematic", "corrupted"):
        rows = fd.open(data / "data" / kind / "dataset").instructions
        found = rows.filter(pl.col("kind") == "fine_grained").collect()
        texts[kind] = dict(zip(found["episode_id"], found["text"], strict=True))
    assert len(texts["truth"]) == 4
    assert set(texts["truth"]) == set(texts["kinematic"]) == set(texts["corrupted"])
    for episode, text in texts["truth"].items():
        measured = texts["kinematic"][episode]
        # The motion names no half of the tray; the arm it names is the true one.
        assert not any(
            f"{side} {what}" in measured for side in ("left", "right") for what in ("half", "side")
        )
        arm = "left" if any(f"left {what}" in text for what in ("arm", "gripper")) else "right"
        assert f"{arm} arm" in measured or f"{arm} gripper" in measured
        colour = next(one for one in ("red", "green", "blue") if one in text)
        assert colour in measured
    assert texts["corrupted"] != texts["truth"]


def test_as_many_facts_are_wrong_as_were_asked_for() -> None:
    steer_data = importlib.import_module("steer_data")
    true = {
        "colour": "red",
        "arm": "left",
        "approach": "above",
        "rotation": "clockwise",
        "side": "left",
    }
    wrong: Counter[str] = Counter()
    for seed in range(2000):
        found = steer_data.corrupted(true, wrong=0.05, seed=seed)
        wrong.update(name for name, value in found.items() if value != true[name])
        assert found == steer_data.corrupted(true, wrong=0.05, seed=seed)
    assert all(60 < wrong[name] < 140 for name in true)  # 100, four standard deviations either way
    assert steer_data.corrupted(true, wrong=0.0, seed=1) == true


def test_what_was_measured_is_told_and_nothing_else() -> None:
    steer_data = importlib.import_module("steer_data")

    def row(
        slot: str, value: str, origin: str = "kinematic", actor: str | None = "left"
    ) -> dict[str, Any]:
        return {"slot": slot, "value": value, "origin": origin, "actor": actor}

    colour = row("color", "red", "source")
    assert steer_data.measured_values([colour]) == {"colour": "red"}
    both = [colour, row("actor", "left"), row("actor", "right", actor="right")]
    assert steer_data.measured_values(both) == {"colour": "red"}
    whole = [
        colour, row("actor", "left"), row("approach_direction", "from the front"),
        row("rotation_direction", "clockwise about the vertical axis"),
        row("rotation_direction", "counter-clockwise about the vertical axis"),
        row("rotation_direction", "clockwise about the vertical axis", actor="right"),
        row("rotation_direction", "clockwise about the vertical axis", "source"),
    ]  # fmt: skip
    assert steer_data.measured_values(whole) == {
        "colour": "red", "arm": "left", "approach": "side", "rotation": "counter-clockwise"
    }  # fmt: skip


def test_a_study_that_was_killed_is_finished_to_the_same_bytes(
    plan: Path, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    runs = {name: tmp_path / name for name in ("whole", "killed")}
    for out in runs.values():
        (out / "data").mkdir(parents=True)
        (out / "data" / "truth").symlink_to(data / "data" / "truth")
    command = [
        sys.executable, str(_BENCHMARKS / "steer.py"), "run", "--plan", str(plan), "--draft",
        "--part", "first_table", "--workers", "2", "--out",
    ]  # fmt: skip
    with subprocess.Popen([*command, str(runs["killed"])], start_new_session=True) as run:
        while run.poll() is None and not list(
            runs["killed"].glob("cells/*/run/checkpoints/000002")
        ):
            time.sleep(0.01)
        os.killpg(run.pid, signal.SIGKILL)
    assert not list(runs["killed"].glob("cells/*/*.jsonl"))
    for out in runs.values():
        subprocess.run([*command, str(out)], check=True)
    found = {name: sorted(out.glob("cells/*/*.jsonl")) for name, out in runs.items()}
    assert [path.name for path in found["whole"]] == ["fine.jsonl", "raw.jsonl"]
    for mine, theirs in zip(found["whole"], found["killed"], strict=True):
        assert mine.read_bytes() == theirs.read_bytes()
        assert fd.sim_result(mine).policy.startswith("truth.flow.steps.fg.seed0, draft ")
    assert (runs["whole"] / "table.html").is_file()


def test_tables_say_every_cell_and_what_was_not_run(steer: Any, plan: Path, tmp_path: Path) -> None:
    read = steer.read_plan(plan)
    ratios = {"1:1": "fg=1,raw=1", "fg": "fg=1"}
    part = msgspec.structs.replace(read.parts[0], ratios=list(ratios), heads=["flow", "l1"])
    more = msgspec.structs.replace(
        read, seeds=[0, 1, 2], parts=[part, read.parts[1]], contrasts=[("fg", "1:1")],
        heads={head: {"loss": head} for head in ("flow", "l1")}, head_contrasts=[("l1", "flow")],
    )  # fmt: skip
    # Of 192 scenes; a seed of fg and two of the other head are not there yet.
    good = {("flow", "1:1"): (48, 96, 24), ("flow", "fg"): (144, 168), ("l1", "1:1"): (96,)}
    for (head, ratio), counts in good.items():
        for seed, count in enumerate(counts):
            cell = steer.Cell(data="truth", head=head, budget="steps", ratio=ratio, seed=seed)
            result = result_of(
                [k < count for k in range(192)], mix=ratios[ratio], seed=seed, digest="d", first=0,
                prompts="fine", policy=head,
            )  # fmt: skip
            if head == "l1":
                assert result.run is not None
                run = msgspec.structs.replace(result.run, family="e" * 16)
                result = msgspec.structs.replace(result, run=run)
            path = tmp_path / "cells" / cell.name / "fine.jsonl"
            path.parent.mkdir(parents=True)
            top = {k: v for k, v in msgspec.to_builtins(result).items() if k != "episodes"}
            rows = [top, *map(msgspec.to_builtins, result.episodes)]
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    stopped = steer.Cell(data="truth", head="flow", budget="steps", ratio="fg", seed=2)
    partial = tmp_path / "cells" / stopped.name / "fine.jsonl.partial"
    partial.parent.mkdir(parents=True)
    partial.write_text("half of it is no result\n")
    steer.write_tables(more, "draft 0", tmp_path)
    # These results do not tell what was set; the plan does. What others are held against is first.
    page = (tmp_path / "table.html").read_text()
    assert re.findall(r"<th[^>]*>cell</th>", page)
    assert "steer, loss=l1, fg=1,raw=1" in page
    assert page.index("steer, loss=flow, fg=1,raw=1") < page.index("steer, loss=flow, fg=1<")
    written = (tmp_path / "table.md").read_text()
    assert "| 1:1 | 1 | 6 | 50 [43, 57] | 50 [43, 57] | not run | 50 / 50 / 50 / 50 |" in written
    # No part of the plan asks for it, so it is no column that was not run.
    assert "goal that only raw data has" not in written
    assert "| fg | 2 | 6 | not run | not run |" in written
    assert "| 1:1 | 3 | 29 (12 to 50) |" in written
    assert "| fg | 2 | 81 (75 to 88) |" in written
    # The two seeds that both have: 75 - 25 and 87.5 - 50 points.
    assert "| fg - 1:1 | all, fine prompt (primary) | +43.8 [" in written
    assert "Not run yet." in written  # the other part
    assert "| l1 - flow, 1:1 | all, fine prompt (primary) | +25.0 [" in written
    group, _ = json.loads((tmp_path / "table.json").read_text())["parts"][0]["groups"]
    assert group["contrasts"][0]["low"] < 0.375 < 0.5 < group["contrasts"][0]["high"]
    assert group["cells"][0]["results"] == {"fine": "cells/truth.flow.steps.1-1.seed0/fine.jsonl"}
