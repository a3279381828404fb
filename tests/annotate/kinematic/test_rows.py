"""Rows conform to the published tables, stand for themselves, and pass their own judge."""

from __future__ import annotations

from collections import Counter

import pytest
from annotate.kinematic.made_motion import made_episode

from finedata.annotate.kinematic import KinematicRows, judge, kinematic_facts, measure
from finedata.annotate.kinematic.rows import fact_id
from finedata.errors import ConformError
from finedata.schema.conform import conform

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
            row["dimension"],
            row["slot"],
            object=None,
            anchor=row["anchor"],
            step_id=row["step_id"],
        )
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
    for step_id, row in steps.items():
        assert step_id == f"{row['episode_id']}#{RUN}#{row['step_index']}"


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
