from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotate.test_run_facts import run
from annotate.test_run_traces import run as run_traces

import finedata
from finedata.annotate.export.run import FORMATS, export_annotations
from finedata.annotate.run import annotate_kinematic
from finedata.annotate.selection import Choice
from finedata.annotate.trace_text import read_trace
from finedata.errors import UsageError
from finedata.schema.dimension import DIMENSIONS


@pytest.fixture
def annotated(root, settings):
    """Facts and traces of all but the last two episodes; kinematic facts of all."""
    ids = finedata.open(root).episodes.collect()["episode_id"].to_list()
    run(root, settings, choice=Choice(episodes=tuple(ids[:-2])))
    run_traces(root, settings, limit=len(ids) - 2)
    annotate_kinematic(root, choice=Choice(everything=True))
    return finedata.open(root), ids


def lines(path: Path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_finevla(annotated, tmp_path) -> None:
    dataset, ids = annotated
    out = tmp_path / "out"
    summary = export_annotations(dataset, out=out, format="finevla")
    found = lines(out / "meta" / "FineGrainedInstruction.jsonl")
    assert [line["episode_id"] for line in found] == list(range(len(ids) - 2))
    assert found[0]["FineGrainedInstruction"] == [
        "Picks up the red cup.",
        "Places it on the plate.",
    ]
    assert summary.counts["episodes_without_fine_grained"] == 2


def test_robofine(annotated, tmp_path) -> None:
    dataset, ids = annotated
    out = tmp_path / "out"
    export_annotations(dataset, out=out, format="robofine", where=f"episode_id = '{ids[0]}'")
    [line] = lines(out / "GT_AtomicFacts.jsonl")
    assert (line["sample_id"], line["status"]) == (ids[0], "ok")
    assert [one["capability"] for one in line["capability_results"]] == list(DIMENSIONS)
    facts = [fact for one in line["capability_results"] for fact in one["gt_atomic_facts"]]
    assert {fact["step_anchor"] for fact in facts} <= {"step_1", None}
    texts = {fact["fact_text"] for fact in facts}
    assert "The cup is red." in texts
    contradicted = dataset.facts.filter(
        (pl.col("kinematic_verdict") == "contradicted") & (pl.col("episode_id") == ids[0])
    ).collect()
    assert not texts & set(contradicted["text"])


def test_refinevla(annotated, tmp_path) -> None:
    dataset, ids = annotated
    out = tmp_path / "out"
    summary = export_annotations(dataset, out=out, format="refinevla")
    files = sorted((out / "reasoning").glob("*.json"))
    assert len(files) == len(ids) - 2
    traces = json.loads(files[0].read_text())
    assert all(len(entry) == 1 for entry in traces)
    for entry in traces:
        for frame, text in entry.items():
            assert frame.isdecimal()
            assert read_trace(text).sub_action == "move left"
    index = lines(out / "index.jsonl")
    assert {line["finedata_episode_id"] for line in index} == set(ids[:-2])
    # file and record are the source's own: shard 0 of the corpus has a record 0 that was written
    receipts = dataset.receipts.filter(pl.col("episode_id") == ids[0]).collect()
    shard = int(receipts["source_file"][0].rpartition("tfrecord-")[2][:5])
    name = next(line["file"] for line in index if line["finedata_episode_id"] == ids[0])
    assert name == f"{shard}_{receipts['source_record'][0]}.json"
    assert summary.counts["episodes_without_traces"] == 2


def test_lerobot_language(annotated, tmp_path) -> None:
    dataset, ids = annotated
    out = tmp_path / "out"
    export_annotations(dataset, out=out, format="lerobot-language")
    info = json.loads((out / "meta" / "info.json").read_text())
    for name in ("language_persistent", "language_events"):
        assert info["features"][name] == {"dtype": "language", "shape": [1], "names": None}
    paths = sorted(out.glob("data/*/*.parquet"))
    table = pa.concat_tables([pq.read_table(path) for path in paths])
    before = pa.concat_tables(
        [pq.read_table(path) for path in sorted(dataset.root.glob("data/*/*.parquet"))]
    )
    # Polars, where a NaN equals a NaN
    assert pl.from_arrow(table.select(before.column_names)).equals(pl.from_arrow(before))
    first = [row for row in table.to_pylist() if row["episode_index"] == 0]
    persistent = first[0]["language_persistent"]
    assert all(row["language_persistent"] == persistent for row in first)
    assert {row["style"] for row in persistent} == {"subtask", "plan"}
    assert [row["timestamp"] for row in persistent] == sorted(
        row["timestamp"] for row in persistent
    )
    times = {row["timestamp"] for row in first}
    assert {row["timestamp"] for row in persistent} <= times
    assert all(row["camera"] is None for row in persistent)
    events = [(row["frame_index"], row["language_events"]) for row in first]
    assert [frame for frame, rows in events if rows] == [0, 10, 20][: len(range(0, len(first), 10))]
    for event in events[0][1]:
        assert event["style"] == "vqa"
        assert event["camera"] in info["features"]
    last = [row for row in table.to_pylist() if row["episode_index"] == len(ids) - 1]
    assert {row["style"] for row in last[0]["language_persistent"]} <= {"motion"}
    # the dataset that was exported keeps its bytes
    assert (
        "language_events" not in pq.read_schema(next(dataset.root.glob("data/*/*.parquet"))).names
    )


def test_an_unknown_format_or_a_full_folder_is_refused(annotated, tmp_path) -> None:
    dataset, _ = annotated
    with pytest.raises(UsageError, match="finevla"):
        export_annotations(dataset, out=tmp_path / "x", format="other")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for name in FORMATS:
        with pytest.raises(UsageError):
            export_annotations(dataset, out=tmp_path / "full", format=name)
