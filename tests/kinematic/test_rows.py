"""Rows conform to the published tables, stand for themselves, and pass their own judge."""

from __future__ import annotations

from collections import Counter

import pytest
from kinematic.made_motion import made_episode

from finedata.errors import ConformError
from finedata.kinematic import KinematicRows, judge, kinematic_facts, measure
from finedata.kinematic.rows import ANNOTATOR
from finedata.schema.conform import conform
from finedata.schema.identity import fact_id, step_id
from finedata.schema.makers import make_fact, make_step, provenance

RUN = "0123456789abcdef"


@pytest.fixture(scope="module")
def made():
    episodes = {f"made-{seed:016x}": measure(made_episode(seed)[0]) for seed in range(60)}
    rows = KinematicRows(run_id=RUN)
    for episode_id, measured in episodes.items():
        rows.add(measured, episode_id=episode_id)
    return episodes, rows


def test_tables_conform(made):
    _, rows = made
    facts, steps = rows.facts(), rows.steps()
    assert conform(facts, "facts").equals(facts)
    assert conform(steps, "steps").equals(steps)
    assert len(rows) == facts.num_rows > 1000
    assert set(facts.column("kinematic_verdict").to_pylist()) == {"confirmed"}
    assert set(facts.column("origin").to_pylist()) == {"kinematic"}
    assert KinematicRows(run_id=RUN).facts().num_rows == 0


def test_ids_texts_and_anchors(made):
    episodes, rows = made
    steps = {row["step_id"]: row for row in rows.steps().to_pylist()}
    texts = set()
    for row in rows.facts().to_pylist():
        assert row["fact_id"] == fact_id(
            row["episode_id"],
            RUN,
            dimension=row["dimension"],
            slot=row["slot"],
            anchor=row["anchor"],
            step=row["step_id"],
            next_step=row["next_step_id"],
        )
        assert (row["next_step_id"] is None) == (row["next_step_index"] is None)
        if row["next_step_id"] is not None:
            assert steps[row["next_step_id"]]["step_index"] == row["next_step_index"]
        key = (row["episode_id"], row["dimension"], row["text"])
        assert key not in texts
        texts.add(key)
        fps = episodes[row["episode_id"]].fps
        assert row["start_s"] == row["start_frame"] / fps
        assert row["end_s"] == row["end_frame"] / fps
        assert row["measurement"]["unit"] in ("m", "rad", "count", "s")
        if row["anchor"] != "episode":
            step = steps[row["step_id"]]
            assert step["step_index"] == row["step_index"]
            assert step["start_frame"] == row["start_frame"] or row["anchor"] == "between"
    for name, row in steps.items():
        assert name == step_id(row["episode_id"], RUN, place=row["step_index"])


def test_columns_are_the_rows_that_the_makers_make(made):
    episodes, rows = made
    said_by = provenance("kinematic", annotator=ANNOTATOR, run_id=RUN)
    steps = {row["step_id"]: row for row in rows.steps().to_pylist()}
    for row in steps.values():
        of = {name: row[name] for name in ("episode_id", "start_frame", "end_frame", "text")}
        of |= {name: row[name] for name in ("kind", "language", "arm", "primitive_action")}
        fps = episodes[row["episode_id"]].fps
        assert row == make_step(said_by, place=row["step_index"], fps=fps, **of)
    asked = ("episode_id", "dimension", "slot", "value", "text", "anchor", "start_frame")
    asked += ("end_frame", "value_number", "unit", "actor", "confidence")
    measured = ("kinematic_verdict", "measurement")
    for row in rows.facts().to_pylist():
        wanted = make_fact(
            said_by,
            step=steps.get(row["step_id"]),
            next_step=steps.get(row["next_step_id"]),
            fps=episodes[row["episode_id"]].fps,
            **{name: row[name] for name in asked},
        )
        assert row == wanted | {name: row[name] for name in measured}


def test_the_judge_contradicts_nothing_that_was_measured(made):
    episodes, rows = made
    told = Counter()
    for row in rows.facts().to_pylist():
        judged = judge(row, episodes[row["episode_id"]])
        assert judged.verdict != "contradicted", (row, judged)
        told[row["slot"], judged.verdict] += 1
        if row["slot"] in ("translation_direction", "translation_extent", "rotation_direction"):
            assert f" {row['value']} " in row["text"], row
    for slot in ("translation_direction", "translation_extent", "gripper_state", "path_shape"):
        confirmed, open_ = told[slot, "confirmed"], told[slot, "untestable"]
        assert confirmed > 0.9 * (confirmed + open_) > 0, (slot, told)


def test_dicts_are_the_same_rows(made):
    episodes, rows = made
    episode_id, measured = next(iter(episodes.items()))
    steps, facts = kinematic_facts(measured, episode_id=episode_id, run_id=RUN)
    assert steps == [row for row in rows.steps().to_pylist() if row["episode_id"] == episode_id]
    assert facts == [row for row in rows.facts().to_pylist() if row["episode_id"] == episode_id]


def test_an_episode_twice_is_refused(made):
    episodes, _ = made
    episode_id, measured = next(iter(episodes.items()))
    rows = KinematicRows(run_id=RUN)
    rows.add(measured, episode_id=episode_id)
    rows.add(measured, episode_id=episode_id)
    with pytest.raises(ConformError):
        rows.facts()
