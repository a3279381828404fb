"""Shards of real bytes: 250 steps of BridgeData, read by the stock loader, pictures untouched."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from shard.curation import curate
from shard.stock import webdataset_samples

import finedata
from finedata.convert.run import convert
from finedata.shard.run import shard_datasets
from finedata.shard.shards import Shards


@pytest.fixture(scope="module")
def bridge(real_bridge: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real") / "bridge"
    convert("bridge_v2", input=real_bridge, out=out)
    curate(out)
    return out


@pytest.fixture(scope="module")
def shards(bridge: Path) -> Path:
    shard_datasets([bridge], out=bridge.parent / "shards")
    return bridge.parent / "shards"


def test_stock_webdataset_reads_250_samples(shards: Path, bridge: Path) -> None:
    tars = sorted(shards.glob("tars/*/*.tar"))
    dataset = finedata.open(bridge)
    episodes = {one.episode_id: one for one in dataset.iter_episodes()}
    stored = {name: one.pictures for name, one in episodes.items()}
    seen = set()
    for sample in webdataset_samples(tars):
        episode_id, _, frame = sample["__key__"].rpartition("-")
        seen.add(sample["__key__"])
        for camera, pictures in stored[episode_id].items():
            wanted = hashlib.sha256(pictures[int(frame)]).hexdigest()
            assert hashlib.sha256(sample[f"{camera}.jpg"]).hexdigest() == wanted
    assert len(seen) == 250
    sample = webdataset_samples(tars, decode="rgb8")[-1]
    meta = sample["meta.json"]
    episode = episodes[meta["episode_id"]]
    frame = meta["frame_index"]
    assert sample["image_0.jpg"].shape == (64, 64, 3)
    np.testing.assert_array_equal(sample["state.npy"], episode.state[frame])
    chunk = np.minimum(np.arange(frame, frame + 16), len(episode) - 1)
    np.testing.assert_array_equal(sample["action.npy"], episode.action[chunk])
    assert meta["valid_steps"] == min(16, len(episode) - frame)
    assert meta["instruction"] == episode.task


def test_they_open_as_one_noun(shards: Path) -> None:
    opened = Shards.open(shards)
    assert {one.tier for one in opened.sets.values()} == {"rep", "rest"}
    assert sum(one.samples for one in opened.sets.values()) == 250
    for one in opened.sets.values():
        assert len(opened.episodes(one.name)) == one.episodes
        assert len(opened.frames(one.name)) == one.frames
        assert opened.member(one.name, 0, 0, "image_0.jpg")[:3] == b"\xff\xd8\xff"
        assert [camera.encoded for camera in one.cameras] == [0, 0, 0, 0]
