"""The demo's recorded teacher answers what the demo asks, with what its maker makes."""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path

import polars as pl
import pytest
from demo.record_traces import PACKED, packed_bytes, record_traces

import finedata
from finedata.annotate.trace_text import read_trace
from finedata.demo.walk import _trace, unpack


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    unpack(folder / "source")
    corpus = finedata.source("bridge_v2", folder / "source" / "bridge_dataset" / "1.0.0")
    made = corpus.convert(folder / "bridge")
    made.gate()
    made.cluster(device="cpu")
    made.annotate_kinematic()
    return folder / "bridge"


def test_every_question_of_the_demo_has_its_answer(dataset: Path, tmp_path: Path) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(dataset, root)
    lines = list(_trace(finedata.open(root), tmp_path / "traces.jsonl"))
    opened = finedata.open(root)
    chosen = opened.representatives.collect()["episode_id"]
    rows = opened.traces.collect()
    frames = opened.episodes.filter(pl.col("episode_id").is_in(chosen.to_list())).collect()
    assert rows.height == frames["length"].sum()
    assert lines[-1] == f"   {rows.height} traces of {len(chosen)} episodes; 0 failed"
    for text in rows["raw_text"]:
        assert read_trace(text).logical_steps
    assert set(rows["annotator"]) == {"recorded"}


def test_the_packed_answers_are_those_that_are_made(dataset: Path, tmp_path: Path) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(dataset, root)
    record_traces(finedata.open(root), tmp_path / "traces.jsonl")
    made = packed_bytes(tmp_path / "traces.jsonl")
    assert lzma.decompress(made) == lzma.decompress(PACKED.read_bytes()), "record_traces.py"
    assert PACKED.stat().st_size < 20_000
