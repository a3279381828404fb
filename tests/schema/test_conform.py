"""conform(): what passes, and for each refusal the column, row, found and wanted."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finedata.errors import ConformError
from finedata.schema.conform import conform, read_schema_tag
from finedata.schema.tables.all import (
    TABLES,
    arrow_schema,
    frames_schema,
    shard_frames_schema,
    shard_index_schema,
)

PROVENANCE = {
    "origin": "teacher",
    "annotator": "m",
    "run_id": "0" * 16,
    "prompt_sha256": None,
    "call_id": None,
    "revision": 0,
    "review_status": "unreviewed",
}


def fact(number: int, **changes):
    row = {
        "fact_id": f"f{number}",
        "episode_id": "bridge-00",
        "dimension": "target_object",
        "slot": "color",
        "value": "red",
        "value_number": None,
        "unit": None,
        "object": "cup",
        "actor": "right",
        "text": f"The cup is red {number}.",
        "anchor": "episode",
        "step_id": None,
        "step_index": None,
        "next_step_index": None,
        "start_frame": 0,
        "end_frame": 5,
        "start_s": 0.0,
        "end_s": 1.0,
        "kinematic_verdict": "untestable",
        "measurement": None,
        "confidence": 0.5,
        **PROVENANCE,
    }
    return row | changes


def facts(*changes) -> pa.Table:
    rows = [fact(number, **change) for number, change in enumerate(changes)]
    return pa.Table.from_pylist(rows, schema=arrow_schema("facts").remove_metadata())


def frames(count: int = 3, *, width: int = 8, cameras=("front",), **changes) -> pa.Table:
    schema = frames_schema(
        features={"observation.state": width, "action": width},
        cameras=cameras,
        has_source_time=False,
    )
    rows = [
        {
            "index": frame,
            "episode_index": 0,
            "frame_index": frame,
            "task_index": 0,
            "timestamp": frame / 5,
            "observation.state": [0.5] * width if width > 1 else 0.5,
            "action": [0.5] * width if width > 1 else 0.5,
            "action_valid": True,
            **{f"observation.images.{camera}": {"bytes": b"jpeg"} for camera in cameras},
        }
        for frame in range(count)
    ]
    for name, (row, value) in changes.items():
        rows[row][name] = value
    return pa.Table.from_pylist(rows, schema=schema)


def refused(table: pa.Table, name: str, *, cast: bool = False) -> ConformError:
    with pytest.raises(ConformError) as error:
        conform(table, name, cast=cast)
    return error.value


def put(table: pa.Table, name: str, values, arrow_type=None) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(at, name, pa.array(values, arrow_type))


def test_a_conforming_table_is_given_order_and_metadata():
    table = facts({}, {})
    shuffled = table.select(table.column_names[::-1])
    conformed = conform(shuffled.replace_schema_metadata({"pandas": "x"}), "facts")
    assert conformed.schema.equals(arrow_schema("facts"), check_metadata=True)
    assert conformed.to_pylist() == table.to_pylist()


def test_every_empty_table_conforms():
    widths = {"observation.state": 8, "action": 8}
    wide = {
        "frames": frames(0),
        "shard_frames": shard_frames_schema(features=widths, has_source_time=False).empty_table(),
        "shard_index": shard_index_schema(4).empty_table(),
    }
    walked = 0
    for name in TABLES:
        empty = wide[name] if name in wide else arrow_schema(name).empty_table()
        assert conform(empty, name).schema.equals(empty.schema, check_metadata=True)
        walked += 1
    assert walked == 25


@pytest.mark.parametrize("level", ["newest", "oldest"])
def test_what_polars_writes_conforms(level):
    levels = {"newest": pl.CompatLevel.newest(), "oldest": pl.CompatLevel.oldest()}
    table = facts({"measurement": {"name": "d", "value": 1.0, "unit": "m"}}, {})
    polars_table = pl.from_arrow(table).to_arrow(compat_level=levels[level])
    assert polars_table.schema.field("text").type in (pa.large_string(), pa.string_view())
    conformed = conform(polars_table, "facts")
    assert conformed.schema.equals(arrow_schema("facts"), check_metadata=True)
    assert conformed.to_pylist() == table.to_pylist()


def test_a_parquet_round_trip_conforms(tmp_path):
    table = conform(frames(), "frames")
    pq.write_table(table, tmp_path / "frames.parquet")
    again = pq.read_table(tmp_path / "frames.parquet")
    assert read_schema_tag(again.schema.metadata) == ("frames", 1)
    assert conform(again, "frames").equals(table)
    assert conform(again, "frames").schema.equals(table.schema, check_metadata=True)


def test_chunked_tables_count_rows_over_chunks():
    table = pa.concat_tables([facts({}, {}), facts({"fact_id": "x"}, {"fact_id": "y"})])
    bad = put(table, "actor", ["left", None, "both", "foot"])
    assert bad.column("text").num_chunks == 2
    assert refused(bad, "facts").place == "table 'facts', column 'actor', row 3"
    doubled = pa.concat_tables([facts({}), facts({})])
    assert refused(doubled, "facts").place.endswith("row 1")


def test_missing_column():
    error = refused(facts({}).drop_columns(["value"]), "facts")
    assert error.place == "table 'facts', column 'value'"
    assert error.found == "no such column"
    assert error.wanted == "string: the value in words"


def test_extra_column():
    error = refused(facts({}).append_column("colour", pa.array(["red"])), "facts")
    assert error.place == "table 'facts', column 'colour'"
    assert error.found == "a column of that name"
    assert error.wanted.startswith("no others than fact_id, episode_id")


def test_a_column_twice():
    error = refused(facts({}).append_column("value", pa.array(["red"])), "facts")
    assert (error.place, error.found, error.wanted) == (
        "table 'facts', column 'value'",
        "two columns",
        "one",
    )


def test_wrong_type():
    table = put(facts({}, {}), "start_frame", [0, 0], pa.int64())
    error = refused(table, "facts")
    assert error.place == "table 'facts', column 'start_frame'"
    assert error.found == "type int64 in every row"
    assert error.wanted == "type int32"
    assert conform(table, "facts", cast=True).schema == arrow_schema("facts")


def test_a_cast_that_would_lose_names_the_first_row():
    table = put(facts(*[{}] * 9), "start_frame", [0, 1, 2, 3, 4, 2**40, 6, 2**41, 8], pa.int64())
    error = refused(table, "facts", cast=True)
    assert error.place == "table 'facts', column 'start_frame', row 5"
    assert error.found == f"{2**40} of type int64"
    assert error.wanted == "a value that fits int32"
    cut = put(facts({}, {}), "start_frame", [0.0, 1.5])
    assert refused(cut, "facts", cast=True).place.endswith("row 1")


def test_casts_of_dictionaries_and_all_null_columns():
    table = put(facts({}, {}), "unit", [None, None])
    table = table.set_column(3, "slot", table.column("slot").dictionary_encode())
    assert refused(table, "facts").found.startswith("type dictionary")
    assert conform(table, "facts", cast=True).schema == arrow_schema("facts")


def test_null_in_a_not_null_column():
    error = refused(put(facts({}, {}, {}), "value", ["a", None, None]), "facts")
    assert error.place == "table 'facts', column 'value', row 1"
    assert (error.found, error.wanted) == ("null", "string")


def test_null_element_of_a_list():
    schema = arrow_schema("gate")
    row = {
        **dict.fromkeys(schema.names),
        "episode_id": "a",
        "verdict": "pass",
        "reasons": [],
        "method": "dtw",
        "threshold_origin": "none",
        "space": "ee",
        "checks": [],
        "settings_sha256": "s",
    }
    rows = [row, row | {"episode_id": "b", "reasons": ["x", None]}]
    error = refused(pa.Table.from_pylist(rows, schema=schema), "gate")
    assert error.place == "table 'gate', column 'reasons', row 1"
    assert error.found == "a null element in ['x', None]"
    assert error.wanted == "list<string> without null elements"
    # a null field of a struct is allowed
    rows = [row | {"checks": [{"name": "n", "value": None, "limit": None, "passed": True}]}]
    assert conform(pa.Table.from_pylist(rows, schema=schema), "gate").num_rows == 1


def test_value_outside_a_closed_list():
    error = refused(facts({}, {"anchor": "middle"}, {"anchor": "x"}), "facts")
    assert error.place == "table 'facts', column 'anchor', row 1"
    assert error.found == "'middle'"
    assert error.wanted == "one of step, between, episode_start, episode_end, episode"


def test_slot_of_another_dimension():
    error = refused(facts({}, {"slot": "actor"}), "facts")
    assert error.place == "table 'facts', column 'slot', row 1"
    assert error.found == "'actor'"
    assert error.wanted == (
        "one of category, color, material, shape_or_size, because dimension is 'target_object'"
    )


def test_element_outside_a_closed_list():
    schema = arrow_schema("receipts")
    row = {field.name: _filler(field) for field in schema} | {
        "status": "written",
        "time_base": "declared",
    }
    good = row | {"flags": ["camera_missing", "frames_dropped"]}
    assert conform(pa.Table.from_pylist([good], schema=schema), "receipts").num_rows == 1
    rows = [good, good | {"episode_id": "b", "flags": ["haunted", "camera_missing"]}]
    error = refused(pa.Table.from_pylist(rows, schema=schema), "receipts")
    assert error.place == "table 'receipts', column 'flags', row 1"
    assert error.found == "'haunted'"
    assert error.wanted.startswith("one of nonfinite_state, nonfinite_action, ")
    chunks = [pa.Table.from_pylist([item], schema=schema) for item in rows]
    assert refused(pa.concat_tables(chunks), "receipts").place == error.place


def _filler(field):
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return []
    return "a" if field.type == pa.string() else 0


@pytest.mark.parametrize(
    ("column", "value", "wanted"),
    [
        ("confidence", 1.5, "a number at most 1"),
        ("confidence", -0.5, "a number at least 0"),
        ("revision", -1, "a number at least 0"),
    ],
)
def test_number_out_of_range(column, value, wanted):
    error = refused(facts({}, {column: value}), "facts")
    assert error.place == f"table 'facts', column '{column}', row 1"
    assert (error.found, error.wanted) == (repr(value), wanted)


def test_range_lets_nan_null_and_limits_pass():
    values = [{"confidence": value} for value in (float("nan"), None, 0.0, 1.0)]
    assert conform(facts(*values), "facts").num_rows == 4


@pytest.mark.parametrize("text", ["", " \n\t", "\u00a0"])
def test_text_that_must_not_be_empty(text):
    schema = arrow_schema("traces")
    row = {
        **{field.name: _filler(field) for field in schema},
        **PROVENANCE,
    }
    rows = [row, row | {"trace_id": "b", "spatial_reasoning": text}]
    error = refused(pa.Table.from_pylist(rows, schema=schema), "traces")
    assert error.place == "table 'traces', column 'spatial_reasoning', row 1"
    assert (error.found, error.wanted) == (repr(text), "a text that is not empty")


def test_a_key_twice():
    error = refused(facts({}, {}, {"fact_id": "f0"}), "facts")
    assert error.place == "table 'facts', column 'fact_id, revision', row 2"
    assert error.found == "'f0', 0 again, as in row 0"
    assert error.wanted == "each key once"
    # another revision of the same id is how a fact is changed
    assert conform(facts({}, {"fact_id": "f0", "revision": 1}), "facts").num_rows == 2


def test_long_values_are_cut_in_messages():
    error = refused(facts({"anchor": "x" * 500}), "facts")
    assert len(error.found) == 80
    assert error.found.endswith("...")


def test_unknown_table():
    assert refused(facts({}), "fact").found == "'fact'"


@pytest.mark.parametrize("width", [1, 2, 14])
def test_frames_take_widths_and_cameras_from_the_table(width):
    table = frames(width=width, cameras=("front", "wrist_bgr"))
    assert conform(table, "frames").schema.equals(table.schema, check_metadata=True)
    doubles = table.schema.set(
        table.schema.names.index("action"),
        pa.field("action", pa.float64() if width == 1 else pa.list_(pa.float64(), width)),
    )
    assert refused(table.cast(doubles, safe=False), "frames").wanted.startswith("type f")
    assert conform(table.cast(doubles), "frames", cast=True).schema == table.schema


def test_frames_refusals():
    other = put(frames(), "action", [[0.0] * 7] * 3, pa.list_(pa.float32(), 7))
    assert refused(other, "frames").place == "table 'frames', column 'action'"
    assert refused(other, "frames").wanted == "the width of observation.state, 8"
    ragged = put(frames(), "action", [[0.0] * 8] * 3, pa.list_(pa.float32()))
    assert refused(ragged, "frames").found == "type list<float32>"
    holed = frames(action=(1, [0.0] * 7 + [None]))
    assert refused(holed, "frames").place == "table 'frames', column 'action', row 1"
    unseen = frames(**{"observation.images.front": (2, None)})
    assert refused(unseen, "frames").place.endswith("column 'observation.images.front', row 2")
    text = put(frames(), "observation.images.front", ["a", "b", "c"])
    assert refused(text, "frames").wanted == "type struct<bytes: binary, path: string>"
    undeclared = frames().append_column("observation.wheel", pa.array([1.0, 2.0, 3.0]))
    assert refused(undeclared, "frames").place == "table 'frames', column 'observation.wheel'"
    again = put(frames(), "frame_index", [0, 1, 1])
    assert refused(again, "frames").place.endswith("'episode_index, frame_index', row 2")


def test_frames_may_be_joined_with_their_episode():
    two_parts = pa.concat_tables([frames(), frames()])
    assert refused(two_parts, "frames").found == "0, 0 again, as in row 0"
    joined = two_parts.append_column("episode_id", pa.array(["a"] * 3 + ["b"] * 3))
    conformed = conform(joined, "frames")
    assert conformed.column_names[0] == "episode_id"
    assert not conformed.schema.field("episode_id").nullable
    same = two_parts.append_column("episode_id", pa.array(["a"] * 6))
    assert refused(same, "frames").place.endswith("'episode_id, frame_index', row 3")


def test_episodes_are_open_for_what_lerobot_stores():
    schema = arrow_schema("episodes")
    row = {field.name: _filler(field) for field in schema} | {
        "length": 3,
        "space": "ee",
        "action_origin": "recorded",
        "arms": ["right"],
    }
    table = pa.Table.from_pylist([row], schema=schema)
    theirs = {
        "videos/observation.images.front/from_timestamp": [0.0],
        "data/chunk_index": [0],
        "data/file_index": [0],
        "dataset_from_index": [0],
        "dataset_to_index": [3],
        "meta/episodes/chunk_index": [0],
        "meta/episodes/file_index": [0],
        "stats/action/mean": [[0.0]],
    }
    wide = table
    for name, values in theirs.items():
        wide = wide.append_column(name, pa.array(values))
    conformed = conform(wide.select(wide.column_names[::-1]), "episodes")
    assert conformed.column_names == schema.names + list(theirs)[::-1]
    assert conformed.column("stats/action/mean").to_pylist() == [[0.0]]
    error = refused(table.append_column("dataset_index", pa.array([0])), "episodes")
    assert error.place == "table 'episodes', column 'dataset_index'"
    both = pa.Table.from_pylist([row | {"arms": ["right", "tail"]}], schema=schema)
    assert refused(both, "episodes").found == "'tail'"


def test_read_schema_tag():
    tag = {b"finedata.schema": b"gate", b"finedata.version": b"1", b"other": b"x"}
    assert read_schema_tag(tag) == ("gate", 1)
    assert read_schema_tag(tag, wanted="gate") == ("gate", 1)


@pytest.mark.parametrize(
    ("tag", "found", "wanted", "hint"),
    [
        (None, "no finedata.schema in its metadata", "a file written by finedata", "verify"),
        ({b"finedata.schema": b"gate"}, "no finedata.version in its metadata", None, "verify"),
        ({b"finedata.schema": b"gat", b"finedata.version": b"1"}, "the table 'gat'", None, ""),
        (
            {b"finedata.schema": b"steps", b"finedata.version": b"1"},
            "the table 'steps'",
            "gate",
            "",
        ),
        (
            {b"finedata.schema": b"gate", b"finedata.version": b"2"},
            "version 2 of the table 'gate'",
            "version 1, which this finedata reads and writes",
            "pip install --upgrade finedata",
        ),
        ({b"finedata.schema": b"gate", b"finedata.version": b"0"}, None, None, "schemas v0"),
        ({b"finedata.schema": b"gate", b"finedata.version": b"one"}, None, None, "schemas vone"),
    ],
)
def test_read_schema_tag_refuses(tag, found, wanted, hint):
    with pytest.raises(ConformError) as error:
        read_schema_tag(tag, place="x.parquet", wanted="gate")
    assert error.value.place == "x.parquet"
    assert found is None or error.value.found == found
    assert wanted is None or error.value.wanted == wanted
    assert hint in error.value.next_command
