from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from annotate.scripted import TRACE, Scripted
from annotate.test_run_facts import QUICK, digests

import finedata
from finedata.annotate.run import annotate_traces
from finedata.annotate.selection import Choice
from finedata.errors import UsageError
from finedata.schema.conform import conform


def run(root: Path, settings, change=None, *, every=10, limit=None):
    teacher = Scripted(change)
    choice = Choice(everything=True, limit=limit)
    summary = annotate_traces(
        root, teacher=teacher, settings=settings, every=every, choice=choice, options=QUICK
    )
    return teacher, summary


def test_every_kth_frame_gets_a_trace(root, settings, ids) -> None:
    _, summary = run(root, settings)
    dataset = finedata.open(root)
    lengths = dict(dataset.episodes.select("episode_id", "length").collect().rows())
    wanted = [(name, frame) for name in ids for frame in range(0, lengths[name], 10)]
    traces = dataset.traces.collect()
    assert list(traces.select("episode_id", "frame_index").rows()) == wanted
    assert summary.rows == {"traces": len(wanted)}
    assert (summary.done, summary.failed) == (len(ids), 0)
    path = root / "annotations/traces/part-00001.parquet"
    conform(pq.read_table(path), "traces")
    assert traces["raw_text"].unique().to_list() == [TRACE]


def test_all_cameras_that_are_there_are_shown_and_none_else(root, settings) -> None:
    teacher, _ = run(root, settings, every=1000)
    dataset = finedata.open(root)
    rows = {row["episode_id"]: row for row in dataset.episodes.collect().iter_rows(named=True)}
    for request in teacher.requests:
        row = rows[request.episode_id]
        present = [name for name in row["cameras"] if name not in row["cameras_missing"]]
        assert [picture.label.split(",")[0] for picture in request.pictures] == [
            f"camera {camera}" for camera in present
        ]
        stored = dataset.episode(request.episode_id).pictures
        assert [picture.data for picture in request.pictures] == [
            stored[camera][0] for camera in present
        ]
    shown = dataset.traces.collect()
    for name, cameras in shown.select("episode_id", "cameras").rows():
        assert cameras == [
            c for c in rows[name]["cameras"] if c not in rows[name]["cameras_missing"]
        ]


def test_a_denser_run_adds_what_a_sparser_one_left_out(root, settings) -> None:
    first, _ = run(root, settings, every=20)
    second, summary = run(root, settings, every=10)
    whole = {request.call_id for request in (*first.requests, *second.requests)}
    assert len(whole) == len(first.requests) + len(second.requests)
    traces = finedata.open(root).traces.collect()
    assert traces["trace_id"].n_unique() == traces.height == len(whole)
    third, summary = run(root, settings, every=10)
    assert (third.requests, summary.done, summary.succeeded) == ([], 0, True)


@pytest.mark.parametrize("text", ["", "<Observation> a cup", TRACE.partition("<sub_action>")[0]])
def test_no_empty_or_partial_trace_is_ever_saved(root, settings, ids, text) -> None:
    before = digests(root)
    _, summary = run(root, settings, lambda request, value: text, every=1000)
    assert (summary.done, summary.failed, summary.succeeded) == (0, len(ids), False)
    assert digests(root) == before
    assert finedata.open(root).table("calls").collect()["status"].unique().to_list() == ["failed"]


def test_frames_that_failed_are_counted_and_asked_again(root, settings) -> None:
    def some(request, value):
        return "sorry" if "frame 10," in request.pictures[0].label else value

    _, summary = run(root, settings, some, limit=3)
    assert (summary.done, summary.failed) == (3, 3)
    traces = finedata.open(root).traces
    assert 10 not in traces.collect()["frame_index"].to_list()
    from finedata.annotate.asking.limits import AskOptions

    again = Scripted()
    choice = Choice(everything=True, limit=3)
    options = AskOptions(backoff_s=0.0, retry="all")
    summary = annotate_traces(
        root, teacher=again, settings=settings, every=10, choice=choice, options=options
    )
    assert (len(again.requests), summary.rows["traces"]) == (3, 3)
    found = finedata.open(root).traces.filter(pl.col("frame_index") == 10).collect()
    assert found.height == 3


def test_every_must_be_positive(root, settings) -> None:
    with pytest.raises(UsageError):
        run(root, settings, every=0)
