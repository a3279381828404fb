"""Rows of `instructions` and `steps`: what the tables promise, and that they conform."""

from __future__ import annotations

import pytest

from finedata.errors import ConformError
from finedata.schema.conform import conform, read_schema_tag
from finedata.schema.identity import episode_id, hash16
from finedata.schema.language_spec import EpisodeLanguage, Instruction, Step
from finedata.store.tables.annotation_rows import (
    instruction_rows,
    instructions_table,
    step_rows,
    steps_table,
)

EPISODE = episode_id("some-source", "a/b")
RUN = hash16("settings")
LANGUAGE = EpisodeLanguage(
    instructions=(
        Instruction(text="pick", original="拿", language="en", kind="goal"),
        Instruction(text="take", original=None, language="en", kind="alternative"),
        Instruction(text="grasp", original=None, language="und", kind="alternative"),
    ),
    steps=(
        Step(start_frame=0, end_frame=6, text="a", original=None, language="en", kind="subtask"),
        Step(
            start_frame=-1,
            end_frame=90,
            text="b",
            original="B",
            language="und",
            kind="primitive",
            arm="left",
            problem="out_of_range",
        ),
    ),
)


def test_there_is_one_primary_goal_and_the_alternatives_are_in_order() -> None:
    rows = instructions_table(instruction_rows(EPISODE, LANGUAGE, run_id=RUN)).to_pylist()
    assert [(row["kind"], row["is_primary"], row["order"], row["text"]) for row in rows] == [
        ("goal", True, 0, "pick"),
        ("alternative", False, 0, "take"),
        ("alternative", False, 1, "grasp"),
    ]
    assert [row["text_original"] for row in rows] == ["拿", None, None]
    assert rows[0]["instruction_id"] == hash16(f"{EPISODE}#{RUN}#goal#0")
    assert len({row["instruction_id"] for row in rows}) == 3


def test_steps_have_their_times_and_the_sources_errors() -> None:
    rows = steps_table(step_rows(EPISODE, LANGUAGE, fps=15.0, run_id=RUN)).to_pylist()
    assert [row["step_id"] for row in rows] == [
        hash16(f"{EPISODE}#{RUN}#0"),
        hash16(f"{EPISODE}#{RUN}#1"),
    ]
    assert [(row["start_s"], row["end_s"]) for row in rows] == [(0.0, 0.4), (-1 / 15, 6.0)]
    assert [(row["start_frame"], row["end_frame"]) for row in rows] == [(0, 6), (-1, 90)]
    assert [(row["kind"], row["arm"], row["problem"], row["step_index"]) for row in rows] == [
        ("subtask", None, None, 0),
        ("primitive", "left", "out_of_range", 1),
    ]


def test_every_row_says_that_the_source_wrote_it() -> None:
    rows = [
        *instruction_rows(EPISODE, LANGUAGE, run_id=RUN),
        *step_rows(EPISODE, LANGUAGE, fps=15.0, run_id=RUN),
    ]
    for row in rows:
        assert row["origin"] == "source"
        assert row["annotator"] == "some-source"
        assert (row["run_id"], row["revision"], row["review_status"]) == (RUN, 0, "unreviewed")
        assert (row["prompt_sha256"], row["call_id"]) == (None, None)


def test_tables_conform_also_without_rows() -> None:
    silent = EpisodeLanguage()
    for name, table in (
        ("instructions", instructions_table(instruction_rows(EPISODE, silent, run_id=RUN))),
        ("steps", steps_table(step_rows(EPISODE, silent, fps=15.0, run_id=RUN))),
    ):
        assert table.num_rows == 0
        assert read_schema_tag(table.schema.metadata)[0] == name
        assert conform(table, name).equals(table)


def test_an_episode_twice_is_refused() -> None:
    rows = instruction_rows(EPISODE, LANGUAGE, run_id=RUN)
    with pytest.raises(ConformError, match="instruction_id"):
        instructions_table([*rows, *rows])
    steps = step_rows(EPISODE, LANGUAGE, fps=15.0, run_id=RUN)
    with pytest.raises(ConformError, match="step_id"):
        steps_table([*steps, *steps])
