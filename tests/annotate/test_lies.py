"""What a teacher says wrong is marked contradicted by the motion, through the whole pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotate.scripted import fact
from annotate.test_run_facts import run

import finedata
from finedata.annotate.selection import Choice
from finedata.motion.quaternion import multiply as product


def planted_motion(length: int) -> np.ndarray:
    """(T, 8): goes up 20 cm, turns 90 degrees clockwise as seen along its approach, and closes
    its gripper twice, with an opening in between."""
    state = np.zeros((length, 8))
    rise = np.clip(np.linspace(0, 3, length), 0, 1)
    state[:, 0] = 0.3
    state[:, 2] = 0.1 + 0.2 * rise
    angle = np.pi / 2 * np.clip(np.linspace(-1, 2, length), 0, 1)
    turn = np.stack([0 * angle, 0 * angle, np.sin(angle / 2), np.cos(angle / 2)], axis=1)
    down = np.tile([0.0, 1.0, 0.0, 0.0], (length, 1))  # the tool's +z points down
    state[:, 3:7] = product(down, turn)
    phase = np.linspace(0, 1, length)
    closed = ((phase > 0.70) & (phase < 0.79)) | (phase > 0.88)
    state[:, 7] = np.where(closed, 0.0, 1.0)
    return state


def write_state(root: Path, episode_id: str) -> int:
    """Give one episode the planted motion; its length."""
    dataset = finedata.open(root)
    row = dataset.episodes.filter(pl.col("episode_id") == episode_id).collect().row(0, named=True)
    path = root / "data" / "chunk-000" / f"file-{row['data/file_index']:03d}.parquet"
    file = pq.ParquetFile(path)
    groups = [file.read_row_group(k) for k in range(file.num_row_groups)]
    partial = path.with_suffix(".new")
    with pq.ParquetWriter(partial, file.schema_arrow) as writer:
        for group in groups:
            if group["episode_index"][0].as_py() == row["episode_index"]:
                state = planted_motion(group.num_rows).astype(np.float32)
                kind = group.schema.field("observation.state").type
                values = pa.FixedSizeListArray.from_arrays(pa.array(state.ravel()), type=kind)
                at = group.schema.get_field_index("observation.state")
                group = group.set_column(at, group.schema.field(at), values)
            writer.write_table(group)
    partial.rename(path)
    return row["length"]


TRUE = [
    fact("active_actor", "actor", "right", "The right arm acts.", anchor="episode"),
    fact("trajectory_and_orientation", "translation_direction", "up", "The gripper moves up."),
    fact(
        "trajectory_and_orientation",
        "rotation_direction",
        "clockwise",
        "The gripper turns clockwise.",
        anchor="step_2",
    ),
    fact(
        "failure_and_recovery",
        "attempt_count",
        "two attempts",
        "The gripper needs two attempts.",
        anchor="step_3",
        number=2,
        unit="count",
    ),
]
LIES = [
    fact("active_actor", "actor", "left", "The left arm acts.", actor="left", anchor="episode"),
    fact("trajectory_and_orientation", "translation_direction", "down", "The gripper moves down."),
    fact(
        "trajectory_and_orientation",
        "rotation_direction",
        "counter-clockwise",
        "The gripper turns counter-clockwise.",
        anchor="step_2",
    ),
    fact(
        "failure_and_recovery",
        "attempt_count",
        "one attempt",
        "The gripper needs one attempt.",
        anchor="step_3",
        number=1,
        unit="count",
    ),
]
UNSEEN = fact("target_object", "color", "red", "The cup is red.", anchor="episode")


def told(facts, length: int):
    """A teacher that says these facts of steps a third of the episode long each."""
    third = length // 3
    bounds = [(0, third), (third, 2 * third), (2 * third, length)]
    verbs = ("Move", "Rotate", "Grasp")

    def change(request, value):
        if request.stage == "facts/steps":
            steps = [
                {
                    "verb": verb,
                    "object": "cup",
                    "arm": "right",
                    "text": f"Does {verb} with the cup.",
                    "start_frame": start,
                    "end_frame": end,
                }
                for verb, (start, end) in zip(verbs, bounds, strict=True)
            ]
            return {"steps": steps}
        return {"facts": facts} if request.stage == "facts/atoms" else value

    return change


@pytest.mark.parametrize(("facts", "verdict"), [(TRUE, "confirmed"), (LIES, "contradicted")])
def test_truths_are_confirmed_and_lies_contradicted(root, settings, ids, facts, verdict) -> None:
    length = write_state(root, ids[0])
    choice = Choice(episodes=(ids[0],))
    _, summary = run(root, settings, told([*facts, UNSEEN], length), choice=choice)
    written = finedata.open(root).facts.collect()
    found = written.filter(pl.col("origin") == "teacher")
    said = dict(found.select("slot", "kinematic_verdict").rows())
    assert said.pop("color") == "untestable"
    assert said == {one["slot"]: verdict for one in facts}
    assert summary.verdicts[verdict] == len(facts)
    # a retry that the teacher denies is told by the motion
    assert written.height - found.height == (verdict == "contradicted")
    measured = found.filter(pl.col("slot") != "color")["measurement"]
    assert measured.null_count() == 0
    [row] = (
        finedata.open(root)
        .instructions.filter(pl.col("kind") == "fine_grained")
        .collect()
        .rows(named=True)
    )
    good = written.filter(pl.col("kinematic_verdict") != "contradicted")["fact_id"].to_list()
    assert sorted(row["fact_ids"]) == sorted(good)


def test_a_retry_that_no_fact_mentions_gets_a_row(root, settings, ids) -> None:
    length = write_state(root, ids[0])
    choice = Choice(episodes=(ids[0],))
    _, summary = run(root, settings, told([TRUE[0]], length), choice=choice)
    assert summary.omissions == {"retry": 1}
    assert summary.rows["facts"] == 2
    dataset = finedata.open(root)
    [row] = dataset.facts.filter(pl.col("origin") == "kinematic").collect().rows(named=True)
    assert (row["slot"], row["value"], row["value_number"], row["unit"]) == (
        *("retry", "grasps again"),
        *(1.0, "count"),
    )
    assert row["kinematic_verdict"] == "confirmed"
    assert row["measurement"]["name"] == "grasp_attempts"
    assert row["measurement"]["value"] == 2.0
    assert "makes 2 attempts to grasp between" in row["text"]
    assert (row["anchor"], row["step_index"], row["actor"]) == ("step", 2, "right")
    assert row["start_frame"] < row["end_frame"] <= length
    # one run, so that readers of the run find it, and the instruction is assembled from it
    [fine] = (
        dataset.instructions.filter(pl.col("kind") == "fine_grained").collect().rows(named=True)
    )
    assert row["run_id"] == fine["run_id"]
    assert row["fact_id"] in fine["fact_ids"]


def test_a_step_that_the_motion_contradicts_is_told_in_other_words(root, settings, ids) -> None:
    length = write_state(root, ids[0])
    inner = told([TRUE[0]], length)
    wrong = "Lowers the cup down and to the left."

    def change(request, value):
        answer = inner(request, value)
        if request.stage == "facts/steps":
            answer["steps"][0]["text"] = wrong
        return answer

    _, summary = run(root, settings, change, choice=Choice(episodes=(ids[0],)))
    assert summary.reworded == 1
    dataset = finedata.open(root)
    steps = dataset.steps.filter(pl.col("origin") == "teacher").sort("step_index").collect()
    assert steps["text"].to_list() == [
        "Move the cup.",
        "Does Rotate with the cup.",
        "Does Grasp with the cup.",
    ]
    assert steps["reworded"][0].startswith('primitive_action "lowers": it goes only')
    assert steps["reworded"][1:].to_list() == [None, None]
    [fine] = (
        dataset.instructions.filter(pl.col("kind") == "fine_grained").collect().rows(named=True)
    )
    assert fine["text"].startswith("(1) Move the cup. (2) Does")
    assert fine["steps"] == steps["text"].to_list()


def test_a_source_without_motion_is_untestable_not_confirmed(root, settings, monkeypatch) -> None:
    import finedata.annotate.run_facts as module

    monkeypatch.setattr(
        module, "motions_in_order", lambda dataset, ids: ((name, None) for name in ids)
    )
    _, summary = run(root, settings)
    assert set(summary.verdicts) == {"untestable"}
