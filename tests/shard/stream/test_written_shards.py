"""Streams of shards as the writer makes them, against the dataset they were made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from finedata.shard.making.run import shard_datasets
from finedata.shard.stream.explain import explain
from finedata.shard.stream.opening import stream
from finedata.store.dataset import open_dataset


def test_a_stream_gives_what_the_dataset_holds(curated: Path, tmp_path: Path):
    shard_datasets([curated], out=tmp_path / "shards")
    dataset = open_dataset(curated)
    size = 64
    with stream(tmp_path / "shards", mix="raw=1", batch=size, horizon=3, stop=size) as opened:
        lineage = explain(opened, 0, size)
        (batch,) = opened
    receipts = {row["episode_id"]: row for row in dataset.table("receipts").collect().to_dicts()}
    tasks = dict(dataset.episodes.select("episode_id", "task").collect().iter_rows())
    for k, (name, frame) in enumerate(zip(batch.episode_id, batch.frame_index, strict=True)):
        rows = dataset.episode(name).rows(["observation.state", "action"])
        action = rows["action"]
        assert np.array_equal(batch.vectors["state"][k, 0], rows["observation.state"][frame])
        for step in range(3):
            at = min(frame + step, len(action) - 1)
            assert np.array_equal(batch.vectors["action"][k, step], action[at], equal_nan=True)
        assert batch.text[k] == tasks[name] != ""
        for column in ("source_file", "byte_offset", "byte_length", "source_sha256"):
            assert lineage[k][column] == receipts[name][column]
