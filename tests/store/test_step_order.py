"""Steps split, moved and merged by revisions: every fact still finds the step it belongs to."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import finedata
from finedata.errors import ConformError
from finedata.schema.makers import make_fact, make_step, provenance, revised
from finedata.schema.tables.all import arrow_schema

EPISODE, RUN = "made-0123456789abcdef", "fedcba9876543210"
TEACHER = provenance("teacher", annotator="m", run_id=RUN, call_id="c")
PERSON = provenance("human", annotator="ada", run_id=RUN)
SPANS = ((0, 10), (10, 30), (30, 40), (40, 50))


def step(said_by, place, start, end, **more):
    said = {"text": f"step {place}", "kind": "subtask", "language": "en", "fps": 10.0}
    span = {"start_frame": start, "end_frame": end}
    return make_step(said_by, episode_id=EPISODE, place=place, **(span | said | more))


def fact(step, next_step=None):
    between = {} if next_step is None else {"anchor": "between", "next_step": next_step}
    said = {"value": "v", "text": "t", "anchor": "step", "step": step, "fps": 10.0}
    about = {"dimension": "action_sequence", "slot": "primitive_action"}
    span = {"start_frame": step["start_frame"], "end_frame": step["end_frame"]}
    return make_fact(TEACHER, episode_id=EPISODE, **(said | about | span | between))


STEPS = [step(TEACHER, place, *span) for place, span in enumerate(SPANS)]
FACTS = [*map(fact, STEPS), fact(STEPS[1], STEPS[3])]
WHOLE = make_fact(
    TEACHER, episode_id=EPISODE, dimension="active_actor", slot="actor", value="right", text="r",
    anchor="episode", start_frame=0, end_frame=50, fps=10.0,
)  # fmt: skip


@pytest.fixture
def root(tmp_path):
    append(tmp_path, "steps", STEPS)
    append(tmp_path, "facts", [*FACTS, WHOLE])
    (tmp_path / "finedata.json").write_text(
        '{"finedata.schema": "dataset", "finedata.version": 1, "finedata_version": "0", '
        '"libraries": {}, "sources": [], "parts": [], "options": {}, "counts": {}}'
    )
    return tmp_path


def append(root, table, rows):
    folder = root / "annotations" / table
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"part-{len(list(folder.iterdir())):05d}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(table)), path)


def edit(root, *changes):
    """Write steps again: (row, changes) or a new row."""
    rows = [one if isinstance(one, dict) else revised("steps", one[0], **one[1]) for one in changes]
    append(root, "steps", rows)
    return rows


def places(root):
    """fact_id -> (step_id, step_index, next_step_id, next_step_index), of every fact."""
    columns = ("fact_id", "step_id", "step_index", "next_step_id", "next_step_index")
    return {row[0]: row[1:] for row in finedata.open(root).facts.select(columns).collect().rows()}


def steps_in_order(root):
    alive = finedata.open(root).steps.filter(pl.col("merged_into").is_null())
    return alive.sort("step_index").collect()["step_id"].to_list()


def ids(*rows):
    return [row["step_id"] for row in rows]


def of(number):
    return FACTS[number]["fact_id"]


def test_split_move_and_merge_orphan_no_fact(root):
    a, b, c, d = STEPS
    untouched = places(root)
    # split b: it keeps its first half and its name; the new half takes the next number, 4
    new = step(PERSON, 4, 20, 30, step_index=2)
    b1, new, c1, d1 = edit(
        root,
        (b, {"end_frame": 20, "end_s": 2.0, "review_status": "edited"}),
        new,
        (c, {"step_index": 3}),
        (d, {"step_index": 4}),
    )
    assert steps_in_order(root) == ids(a, b, new, c, d)
    found = places(root)
    assert found[of(0)] == untouched[of(0)] == (a["step_id"], 0, None, None)
    assert found[of(1)] == (b["step_id"], 1, None, None)
    assert found[of(2)] == (c["step_id"], 3, None, None)
    assert found[of(4)] == (b["step_id"], 1, d["step_id"], 4)
    assert found[WHOLE["fact_id"]] == (None, None, None, None)
    # move d to the front
    _, b2, n2, c2, _ = edit(
        root,
        (a, {"step_index": 1}),
        (b1, {"step_index": 2}),
        (new, {"step_index": 3}),
        (c1, {"step_index": 4}),
        (d1, {"step_index": 0}),
    )
    assert steps_in_order(root) == ids(d, a, b, new, c)
    found = places(root)
    assert found[of(3)] == (d["step_id"], 0, None, None)
    assert found[of(4)] == (b["step_id"], 2, d["step_id"], 0)
    # merge the halves again, then both into c: facts of b follow
    gone = {"review_status": "rejected"}
    _, n3, c3 = edit(
        root, (b2, {"end_frame": 30}), (n2, gone | {"merged_into": b["step_id"]}),
        (c2, {"step_index": 3}),
    )  # fmt: skip
    edit(
        root,
        (revised("steps", b2), gone | {"merged_into": c["step_id"]}),
        (c3, {"step_index": 2, "start_frame": 10}),
    )
    assert steps_in_order(root) == ids(d, a, c)
    found = places(root)
    assert found[of(1)] == found[of(2)] == (c["step_id"], 2, None, None)
    assert found[of(4)] == (c["step_id"], 2, d["step_id"], 0)
    # no fact was written again, none lost its name, and every step it names is there
    assert set(found) == set(untouched)
    history = finedata.open(root).history("facts").collect()
    assert history["revision"].max() == 0
    alive = set(steps_in_order(root))
    assert all(row[0] in alive for row in found.values() if row[0] is not None)
    assert n3["step_id"] == step(PERSON, 4, 0, 1)["step_id"]


def test_facts_keep_their_columns_order_and_types(root):
    before = finedata.open(root).facts.collect()
    edit(root, (STEPS[0], {"text": "other words"}))
    after = finedata.open(root).facts.collect()
    assert after.equals(before)
    assert after.schema == before.schema
    dataset = finedata.open(root)
    wanted = dict(after.group_by("step_id").agg(pl.len()).rows())
    assert dataset.count("facts", by="step_id") == wanted
    edit(root, (STEPS[1], {"merged_into": STEPS[0]["step_id"]}))
    dataset = finedata.open(root)
    wanted = dict(dataset.facts.collect().group_by("step_id").agg(pl.len()).rows())
    assert dataset.count("facts", by="step_id") == wanted
    assert STEPS[1]["step_id"] not in wanted


def test_a_step_merged_into_one_that_was_never_written_again(root):
    edit(root, (STEPS[2], {"merged_into": STEPS[3]["step_id"]}))
    assert places(root)[of(2)] == (STEPS[3]["step_id"], 3, None, None)


@pytest.mark.parametrize(
    ("into", "found"), [(STEPS[2]["step_id"], "merged into it"), ("0" * 16, "not there")]
)
def test_a_step_merged_into_nothing_or_itself_is_named(root, into, found):
    edit(root, (STEPS[2], {"merged_into": into}))
    with pytest.raises(ConformError) as error:
        finedata.open(root).facts.collect()
    assert found in error.value.found
    assert STEPS[2]["step_id"] in error.value.place
