"""Rows and their names: complete, by one formula each, and the same after every revision."""

from __future__ import annotations

import doctest
from hashlib import sha256
from itertools import product

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finedata.errors import ConformError
from finedata.schema import makers
from finedata.schema.conform import conform
from finedata.schema.identity import fact_id, instruction_id, step_id, trace_id
from finedata.schema.makers import (
    make_fact,
    make_instruction,
    make_step,
    make_trace,
    provenance,
    revised,
)
from finedata.schema.tables.all import TABLES, arrow_schema

EPISODE, RUN = "made-0123456789abcdef", "fedcba9876543210"
WHO = provenance("human", annotator="ada", run_id=RUN)


def named(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def step(place: int, **more):
    span = {"start_frame": 10 * place, "end_frame": 10 * place + 10, "fps": 5.0}
    said = {"text": f"step {place}", "kind": "subtask", "language": "en"}
    return make_step(WHO, episode_id=EPISODE, place=place, **(span | said | more))


def fact(**more):
    given = {
        "dimension": "trajectory_and_orientation",
        "slot": "translation_direction",
        "value": "left",
        "text": "The cup moves left.",
        "anchor": "step",
        "start_frame": 0,
        "end_frame": 10,
        "fps": 5.0,
        "step": step(0),
        "object": "Cup",
    }
    return make_fact(WHO, episode_id=EPISODE, **(given | more))


def instruction(**more):
    given = {"kind": "goal", "order": 0, "text": "Move the cup.", "language": "en"}
    return make_instruction(WHO, episode_id=EPISODE, **(given | more))


def trace(**more):
    parts = ("observation", "situation_analysis", "spatial_reasoning", "task_planning")
    given = dict.fromkeys(parts, "seen") | {"sub_action": "a", "raw_text": "r"}
    given |= {"frame_index": 7, "fps": 5.0, "logical_steps": ("a", "b"), "cameras": ["front"]}
    return make_trace(WHO, episode_id=EPISODE, **(given | more))


ROWS = {"steps": step(0), "facts": fact(), "instructions": instruction(), "traces": trace()}


@pytest.mark.parametrize("table", ROWS)
def test_a_row_has_every_column_in_order_and_conforms(table):
    row = ROWS[table]
    assert list(row) == [column.name for column in TABLES[table].columns]
    rows = pa.Table.from_pylist([row], schema=arrow_schema(table))
    assert conform(rows, table).to_pylist()[0].keys() == row.keys()
    assert row["origin"] == "human"


def test_names_are_hash16_of_the_texts_of_the_specification():
    assert step(3)["step_id"] == named(f"{EPISODE}#{RUN}#3")
    assert instruction()["instruction_id"] == named(f"{EPISODE}#{RUN}#goal#0")
    assert trace()["trace_id"] == named(f"{EPISODE}#7#{RUN}")
    about = "trajectory_and_orientation#translation_direction#step"
    wanted = named(f"{EPISODE}#{RUN}#{about}#{step(0)['step_id']}##0#cup")
    assert fact()["fact_id"] == wanted
    between = fact(anchor="between", next_step=step(2), object="STRASSE #1", nth=2)
    ids = f"{step(0)['step_id']}#{step(2)['step_id']}"
    about = "trajectory_and_orientation#translation_direction#between"
    assert between["fact_id"] == named(f"{EPISODE}#{RUN}#{about}#{ids}#2#strasse #1")
    assert (between["step_index"], between["next_step_index"]) == (0, 2)
    assert (between["step_id"], between["next_step_id"]) == tuple(ids.split("#"))


def test_a_fact_is_named_by_what_it_is_about_and_not_by_what_it_says():
    same = fact(value="right", text="The cup moves right.", confidence=0.5, actor="left")
    assert same["fact_id"] == fact()["fact_id"]
    others = [
        fact(step=step(1)),
        fact(step=None, anchor="episode"),
        fact(object="bowl"),
        fact(object=None),
        fact(slot="translation_extent"),
        fact(nth=1),
        fact(anchor="between", next_step=step(1)),
        fact(anchor="between", next_step=step(2)),
    ]
    assert len({row["fact_id"] for row in (same, *others)}) == 1 + len(others)


@given(st.lists(st.tuples(st.text(max_size=5), st.integers(0, 2)), unique=True, max_size=8))
def test_objects_never_run_into_other_parts(objects):
    pairs = product(objects, (None, "ab"), (None, "ab"))
    keys = [(thing.casefold(), nth, one, two) for (thing, nth), one, two in pairs]
    ids = {
        key: fact_id("e-1", "r", dimension="d", slot="s", anchor="a", object=key[0], nth=key[1],
                     step=key[2], next_step=key[3])
        for key in keys
    }  # fmt: skip
    assert len(set(ids.values())) == len(ids)


def test_a_new_step_may_stand_anywhere():
    assert step(5, step_index=2)["step_index"] == 2
    assert step(5, step_index=2)["step_id"] == step(5)["step_id"] == step_id(EPISODE, RUN, place=5)
    assert instruction_id(EPISODE, RUN, kind="goal", order=1) != instruction()["instruction_id"]
    assert trace_id(EPISODE, RUN, frame_index=8) != trace()["trace_id"]


def test_a_revision_keeps_its_name():
    row = fact()
    later = revised(
        "facts", row, object="bowl", slot="translation_extent", step_id=step(1)["step_id"]
    )
    assert later["fact_id"] == row["fact_id"]
    assert (later["revision"], later["object"], row["revision"]) == (1, "bowl", 0)
    assert revised("facts", later)["revision"] == 2


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("steps", "step_id"),
        ("facts", "fact_id"),
        ("facts", "episode_id"),
        ("traces", "run_id"),
        ("instructions", "revision"),
        ("facts", "colour"),
    ],
)
def test_a_revision_changes_no_name_and_no_unknown_column(table, column):
    with pytest.raises(ConformError) as error:
        revised(table, ROWS[table], **{column: "x"})
    assert error.value.place == f"table {table!r}, column {column!r}"


def test_calls_have_no_revisions():
    with pytest.raises(ConformError, match="'calls'"):
        revised("calls", {"revision": 0})


def test_the_examples_hold():
    assert doctest.testmod(makers).failed == 0
