"""The declarations themselves: complete, closed, and as the papers have them."""

from __future__ import annotations

import doctest
from dataclasses import FrozenInstanceError
from importlib import import_module

import pyarrow as pa
import pytest

import finedata.schema
from finedata.errors import ConformError
from finedata.schema import enums
from finedata.schema.arrow_types import canonical_type, parse_type, type_string
from finedata.schema.dimension import DIMENSIONS, SLOT_DIMENSION, SLOTS
from finedata.schema.tables.all import TABLES, arrow_schema, frames_schema, schema_tag
from finedata.schema.tables.annotation import PROVENANCE

ALL_COLUMNS = [(table, column) for table in TABLES.values() for column in table.columns]
VECTORS = {"observation.state": 8, "action": 8}


def test_there_are_twenty_five_tables():
    assert list(TABLES) == [
        *("episodes", "frames", "images", "receipts", "gate", "clusters", "representatives"),
        *("steps", "facts", "traces", "instructions", "reviews", "calls"),
        *("shard_episodes", "shard_frames", "shard_index"),
        *("text_episodes", "text_instructions", "text_facts", "text_traces", "text_steps"),
        *("bench_samples", "bench_items", "bench_answers", "bench_results"),
    ]
    assert all(table.version == 1 and table.name == name for name, table in TABLES.items())


def test_every_column_says_what_it_means():
    assert len(ALL_COLUMNS) > 150
    for table, column in ALL_COLUMNS:
        place = f"{table.name}.{column.name}"
        assert column.meaning, place
        assert column.enum is None or column.type in ("string", "list<string>"), place
        assert column.range is None or column.type.startswith(("int", "float")), place
        assert type_string(parse_type(column.type, n=5)) == column.type.replace("[n]", "[5]"), place


def test_names_are_unique_and_keys_are_not_null():
    for table in TABLES.values():
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        for name in (*table.key, *table.stored_key):
            column = table.column(name)
            assert column is not None
            assert not column.nullable


def test_struct_fields_are_all_explained():
    walked = 0
    for table, column in ALL_COLUMNS:
        found = parse_type(column.type, n=2)
        inner = found.value_type if pa.types.is_list(found) else found
        fields = [field.name for field in inner] if pa.types.is_struct(inner) else []
        assert list(column.fields) == fields, f"{table.name}.{column.name}"
        walked += bool(fields)
    assert walked == 5


def test_declarations_are_frozen():
    with pytest.raises(FrozenInstanceError):
        TABLES["gate"].columns[0].nullable = True
    with pytest.raises(TypeError):
        TABLES["other"] = TABLES["gate"]


def test_provenance_ends_the_four_annotation_tables():
    carrying = [name for name, table in TABLES.items() if table.column("review_status")]
    revised = ["steps", "facts", "traces", "instructions"]
    words = ["text_instructions", "text_facts", "text_traces", "text_steps"]
    assert carrying == [*revised, *words]
    for name in carrying:
        assert TABLES[name].columns[-7:] == PROVENANCE
    for name in revised:
        assert TABLES[name].stored_key[-1] == "revision"


def test_every_closed_list_has_meanings():
    lists = [getattr(enums, name) for name in enums.__all__ if name.isupper()]
    assert len(lists) == 35
    for values in lists:
        assert list(enums.meanings_of(values)) == list(values)
        assert all(enums.meanings_of(values).values())
    assert len(enums.RECEIPT_REASONS) == 13
    assert len(enums.RECEIPT_FLAGS) == 51


def test_the_ten_dimensions_in_canonical_order():
    assert list(DIMENSIONS) == [
        *("action_sequence", "active_actor", "target_object", "initial_configuration"),
        *("final_configuration", "contact_and_approach", "trajectory_and_orientation"),
        *("object_interaction", "failure_and_recovery", "body_motion"),
    ]
    assert sum(len(slots) for slots in SLOTS.values()) == len(SLOT_DIMENSION) == 32
    assert SLOTS["action_sequence"] == ("primitive_action", "gripper_state")
    assert list(enums.FACT_SLOTS) == list(SLOT_DIMENSION)


def test_arrow_schema_has_nulls_and_tag():
    schema = arrow_schema("reviews")
    assert schema.metadata == {b"finedata.schema": b"reviews", b"finedata.version": b"1"}
    assert schema.metadata == schema_tag("reviews")
    assert schema.field("decided_at") == pa.field(
        "decided_at", pa.timestamp("us", tz="UTC"), nullable=False
    )
    assert schema.field("before").nullable
    with pytest.raises(ConformError) as error:
        arrow_schema("review")
    assert error.value.found == "'review'"


def test_frames_schema_is_what_a_part_stores():
    schema = frames_schema(
        features={**VECTORS, "action.hand": 12, "observation.torso_joint_position": 1},
        cameras=["wrist", "front"],
        has_source_time=True,
    )
    assert schema.names == [
        *("index", "episode_index", "frame_index", "task_index", "timestamp", "source_time_s"),
        *("observation.state", "action", "action_valid", "observation.torso_joint_position"),
        *("action.hand", "observation.images.wrist", "observation.images.front"),
    ]
    assert schema.field("action") == pa.field("action", pa.list_(pa.float32(), 8), nullable=False)
    assert schema.field("action.hand") == pa.field("action.hand", pa.list_(pa.float32(), 12))
    # LeRobot stores shape [1] as a scalar
    assert schema.field("observation.torso_joint_position").type == pa.float32()
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert schema.field("observation.images.front").type == picture
    assert not schema.field("observation.images.front").nullable


def test_frames_schema_has_optional_columns_only_where_asked():
    lean = frames_schema(features=VECTORS, cameras=[], has_source_time=False)
    rich = frames_schema(features=VECTORS, cameras=[], has_source_time=True, has_intervention=True)
    assert [name for name in rich.names if name not in lean.names] == [
        "source_time_s",
        "is_intervention",
    ]
    assert "episode_id" not in rich.names


@pytest.mark.parametrize(
    ("features", "cameras", "place"),
    [
        ({"action": 8}, [], "column 'observation.state'"),
        ({"observation.state": 8}, [], "column 'action'"),
        ({"observation.state": 8, "action": 7}, [], "column 'action'"),
        ({**VECTORS, "observation.wheel": 2}, [], "column 'observation.wheel'"),
        ({**VECTORS, "action.hand": 0}, [], "column 'action.hand'"),
        (VECTORS, ["front", "front"], "camera 1"),
        (VECTORS, ["a/b"], "camera 0"),
        (VECTORS, [""], "camera 0"),
    ],
)
def test_frames_schema_refuses(features, cameras, place):
    with pytest.raises(ConformError) as error:
        frames_schema(features=features, cameras=cameras, has_source_time=False)
    assert error.value.place == f"table 'frames', {place}"


@pytest.mark.parametrize(
    ("text", "arrow_type"),
    [
        ("string", pa.string()),
        ("timestamp[us, UTC]", pa.timestamp("us", tz="UTC")),
        ("list<list<int32>>", pa.list_(pa.list_(pa.int32()))),
        ("fixed_size_list<float32>[7]", pa.list_(pa.float32(), 7)),
        ("fixed_size_list<float32>[1]", pa.list_(pa.float32(), 1)),
        (
            "list<struct<a: list<float64>, b: struct<c: bool>, t: timestamp[us, UTC]>>",
            pa.list_(
                pa.struct(
                    [
                        ("a", pa.list_(pa.float64())),
                        ("b", pa.struct([("c", pa.bool_())])),
                        ("t", pa.timestamp("us", tz="UTC")),
                    ]
                )
            ),
        ),
    ],
)
def test_type_strings_there_and_back(text, arrow_type):
    assert parse_type(text) == arrow_type
    assert type_string(arrow_type) == text


def test_a_letter_stands_for_a_width():
    assert parse_type("fixed_size_list<float32>[n]", n=3) == pa.list_(pa.float32(), 3)
    assert parse_type("fixed_size_list<float32>[n]", n=1) == pa.float32()
    with pytest.raises(ConformError, match="'n'"):
        parse_type("fixed_size_list<float32>[n]")


@pytest.mark.parametrize(
    "text",
    [
        *("", "str", "int", "int3", "int322", "list<", "list<string", "list<string>>", "list<>"),
        *("struct<>", "struct<a>", "struct<a:string>", "struct<a: string,b: string>"),
        *("fixed_size_list<float32>", "fixed_size_list<float32>[]", "fixed_size_list<float32>[-1]"),
        *("fixed_size_list<float32>[3", "string ", "timestamp[us]", "struct<a: string, >"),
    ],
)
def test_malformed_types_are_refused(text):
    with pytest.raises(ConformError) as error:
        parse_type(text)
    assert error.value.place == f"type {text!r}"


def test_canonical_type_reaches_every_depth():
    variant = pa.large_list(pa.struct([("a", pa.string_view()), ("b", pa.large_binary())]))
    assert canonical_type(variant) == pa.list_(pa.struct([("a", pa.string()), ("b", pa.binary())]))
    assert canonical_type(pa.dictionary(pa.int8(), pa.string())) != pa.string()


def test_the_room_exports_what_it_says():
    for name in finedata.schema.__all__:
        assert getattr(finedata.schema, name) is not None
    assert dir(finedata.schema) == sorted(finedata.schema.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = finedata.schema.nothing


@pytest.mark.parametrize("module", ["identity", "tables.all", "conform"])
def test_examples_in_docstrings_are_true(module):
    done = doctest.testmod(import_module(f"finedata.schema.{module}"), optionflags=doctest.ELLIPSIS)
    assert done.attempted > 0
    assert done.failed == 0
