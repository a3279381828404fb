"""The published files equal the code, and the code can be rebuilt from them alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from finedata.errors import ConformError
from finedata.papers import paper_room
from finedata.schema.publish import (
    publish,
    published_texts,
    schema_from_json,
    table_from_json,
    table_to_json,
)
from finedata.schema.tables.all import TABLES, arrow_schema, frames_schema

SCHEMAS = Path(str(paper_room("schemas")))
DOCUMENT_FILES = sorted((SCHEMAS / "v1").glob("*.schema.json"))
FILES = sorted(set((SCHEMAS / "v1").glob("*.json")) - set(DOCUMENT_FILES))


def test_committed_files_are_the_generated_ones():
    if os.environ.get("FINEDATA_UPDATE_SCHEMAS") == "1":
        publish(SCHEMAS)
    for name, text in published_texts().items():
        # bytes: a text read would hide another line ending
        assert (SCHEMAS / name).read_bytes() == text.encode(), (
            f"{name} is stale: FINEDATA_UPDATE_SCHEMAS=1 pytest tests/schema"
        )
    generated = {SCHEMAS / name for name in published_texts()}
    assert {*FILES, *DOCUMENT_FILES} <= generated, "a file that nothing generates"


def test_schemas_rebuilt_from_files_equal_the_code():
    walked = 0
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert schema_from_json(text).equals(arrow_schema(path.stem), check_metadata=True)
        assert table_from_json(text) == TABLES[path.stem]
        walked += 1
    assert walked == len(TABLES) == 25


def test_frames_are_rebuilt_with_their_open_part():
    text = (SCHEMAS / "v1/frames.json").read_text(encoding="utf-8")
    features = {"observation.state": 16, "action": 16, "action.base_velocity": 3}
    rebuilt = schema_from_json(
        text, features=features, cameras=["front", "wrist"], optional=["source_time_s"]
    )
    wanted = frames_schema(features=features, cameras=["front", "wrist"], has_source_time=True)
    assert rebuilt.equals(wanted, check_metadata=True)
    assert len(wanted) == 12


def test_files_have_the_eight_documented_keys_and_final_newline():
    columns = 0
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert text.endswith("}\n")
        for column in json.loads(text)["columns"]:
            assert list(column)[:8] == [
                *("name", "type", "nullable", "meaning", "unit", "frame", "range", "enum")
            ]
            columns += 1
    assert columns == sum(len(table.columns) for table in TABLES.values())


def test_a_changed_file_is_noticed():
    document = json.loads(published_texts()["v1/gate.json"])
    document["columns"][0]["nullable"] = True
    rebuilt = schema_from_json(json.dumps(document))
    assert not rebuilt.equals(arrow_schema("gate"), check_metadata=True)
    document["columns"][0]["nullable"] = False
    document["version"] = 2
    assert not schema_from_json(json.dumps(document)).equals(
        arrow_schema("gate"), check_metadata=True
    )


@pytest.mark.parametrize("text", ["", "[]", '{"name": "gate"}', '{"name": 3}'])
def test_a_file_that_is_no_schema_is_refused(text):
    with pytest.raises(ConformError) as error:
        schema_from_json(text)
    assert error.value.place == "published schema"


def test_publish_writes_the_same_bytes_twice(tmp_path):
    first = publish(tmp_path)
    before = [path.read_bytes() for path in first]
    assert publish(tmp_path) == first == sorted(first)
    assert [path.read_bytes() for path in first] == before
    assert len(first) == len(published_texts())


def test_json_round_trip_of_every_declaration():
    for table in TABLES.values():
        assert table_from_json(table_to_json(table)) == table


def test_the_prose_has_a_section_for_every_table():
    prose = (SCHEMAS / "README.md").read_text(encoding="utf-8")
    for name in (*TABLES, "shards.json", "roles.toml", "stream-receipt", "bench-summary"):
        assert f"### `{name}`\n" in prose
