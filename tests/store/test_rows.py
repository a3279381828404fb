"""Rows as text: pictures become digests, NaN becomes null, nested values survive."""

from __future__ import annotations

import hashlib
import json

import polars as pl

from finedata.store.tables.rows import rows_as_csv, rows_as_json, rows_as_text

FRAME = pl.DataFrame(
    {
        "name": ["a", None],
        "value": [float("nan"), 1.5],
        "picture": [b"\xff\xd8", None],
        "nested": [[{"x": float("inf")}], []],
    },
    schema_overrides={"nested": pl.List(pl.Struct({"x": pl.Float64}))},
)


def test_json_is_one_array_of_objects() -> None:
    rows = json.loads(rows_as_json(FRAME))
    digest = hashlib.sha256(b"\xff\xd8").hexdigest()
    assert rows == [
        {
            "name": "a",
            "value": None,
            "picture": {"bytes": 2, "sha256": digest},
            "nested": [{"x": None}],
        },
        {"name": None, "value": 1.5, "picture": None, "nested": []},
    ]
    assert json.loads(rows_as_json(FRAME.clear())) == []


def test_csv_has_a_header_and_json_cells() -> None:
    lines = rows_as_csv(FRAME).splitlines()
    assert lines[0] == "name,value,picture,nested"
    assert lines[2] == ",1.5,,[]"


def test_text_says_what_it_leaves_out() -> None:
    text = rows_as_text(pl.DataFrame({"n": range(60)}))
    assert "10 more rows" in text
    assert "0" in rows_as_text(pl.DataFrame({"n": [0]}))
