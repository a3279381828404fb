"""Language columns of LeRobot come back as wordings and steps, and what cannot is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from convert.lerobot_view import receipts_of
from sources import generic_lerobot

from finedata.annotate.export.lerobot_language import EVENT_ROW, PERSISTENT_ROW
from finedata.annotate.export.run import export_annotations
from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.readers.lerobot.language import language_texts
from finedata.store.dataset import open_dataset

NAME = "language_persistent"


def row(style: str, text: str, time_s: float = 0.0) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": text,
        "style": style,
        "timestamp": time_s,
        "camera": None,
        "tool_calls": None,
    }


ROWS = [
    row("subtask", "reach", 0.0),
    row("subtask", "hold the lid", 0.5),
    row("subtask", "turn the jar", 0.5),
    row("subtask", "leave", 1.0),
    row("motion", "the arm rises", 0.3),
    row("task_aug", "grab the red cube"),
    row("task_aug", "take the block"),
    row("plan", "first this, then that"),
]


def add_language(folder: Path) -> None:
    """Give every frame of a dataset of one data file an episode the rows, and an event."""
    (folder / "meta/info.json").write_text(
        json.dumps(
            (info := json.loads((folder / "meta/info.json").read_text()))
            | {
                "features": info["features"]
                | {
                    name: {"dtype": "language", "shape": [1], "names": None}
                    for name in (NAME, "language_events")
                }
            }
        )
    )
    for path in sorted(folder.glob("data/*/*.parquet")):
        table = pq.read_table(path)
        rows = pa.array([ROWS] * table.num_rows, pa.list_(PERSISTENT_ROW))
        event = {key: value for key, value in row("vqa", "what?").items() if key != "timestamp"}
        events = pa.array([[event]] * table.num_rows, pa.list_(EVENT_ROW))
        table = table.append_column(NAME, rows).append_column("language_events", events)
        pq.write_table(table, path)


def test_styles_become_wordings_and_steps_or_are_named(tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path / "in", version="v2.1", pictures=True)
    add_language(tmp_path / "in")
    summary = convert("lerobot", input=tmp_path / "in", out=tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    first = dataset.episodes.collect().row(0, named=True)
    mine = pl.col("episode_id") == first["episode_id"]
    steps = dataset.steps.filter(mine).sort("start_frame", "text").collect()
    assert steps.select("text", "start_frame", "end_frame", "kind").rows() == [
        ("reach", 0, 5, "subtask"),
        ("the arm rises", 3, 16, "primitive"),
        ("hold the lid", 5, 10, "subtask"),
        ("turn the jar", 5, 10, "subtask"),
        ("leave", 10, 16, "subtask"),
    ]
    words = dataset.instructions.filter(mine).sort("order").collect()
    assert words.select("text", "kind").rows() == [
        ("pick up the red block", "goal"),
        ("grab the red cube", "alternative"),
        ("take the block", "alternative"),
    ]
    assert set(summary.left_out) == {f"{NAME}[plan]", "language_events"}
    for receipt in receipts_of(tmp_path / "out").values():
        assert receipt["flags"] == ["other_not_converted"]
    columns = dataset.frames.collect_schema().names()
    assert not [name for name in columns if "language" in name]
    assert verify(tmp_path / "out", input=tmp_path / "in").problems == []


def test_what_is_exported_comes_back(tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path / "in", version="v2.1", pictures=True)
    add_language(tmp_path / "in")
    convert("lerobot", input=tmp_path / "in", out=tmp_path / "once")
    once = open_dataset(tmp_path / "once")
    export_annotations(once, out=tmp_path / "exported", format="lerobot-language")
    convert("lerobot", input=tmp_path / "exported", out=tmp_path / "twice")
    twice = open_dataset(tmp_path / "twice")
    columns = ("text", "start_frame", "end_frame")

    def texts_of(dataset: Any, table: str, *names: str) -> list[list[tuple[Any, ...]]]:
        rows = getattr(dataset, table).collect()
        ids = dataset.episodes.collect()["episode_id"]
        return [
            sorted(rows.filter(pl.col("episode_id") == one).select(names).rows()) for one in ids
        ]

    assert texts_of(twice, "instructions", "text", "kind") == texts_of(
        once, "instructions", "text", "kind"
    )
    found, wanted = texts_of(twice, "steps", *columns), texts_of(once, "steps", *columns)
    # The export has no ends: a measured motion becomes a subtask that the next one ends.
    assert [[row[:2] for row in rows] for rows in found] == [
        [row[:2] for row in rows] for rows in wanted
    ]


def test_a_third_text_at_one_time_has_no_form() -> None:
    rows = [row("subtask", text, 0.1) for text in "abc"]
    found = language_texts("x", [[], rows], [0.0, 0.1, 0.2])
    assert found == {
        "x[subtask]": ["", "a", "a"],
        "x[subtask:2]": ["", "b", "b"],
        "x[subtask:3]": None,
    }
