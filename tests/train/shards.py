"""Shards to train on: 64 samples of real Bridge, and hand-written ones with all views and sides."""

from __future__ import annotations

from pathlib import Path

from shard.curation import curate
from shard.stream.tiny_shards import TinySet, make_shards

from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings


def make_64(source: Path, folder: Path) -> Path:
    """Sixteen episodes of BridgeData of ten steps each, every third step, one camera."""
    convert(
        "bridge_v2", input=source, out=folder / "bridge", options=ConvertOptions(episodes=("0-15",))
    )
    curate(folder / "bridge")
    settings = ShardSettings(every=3, resize=(56, 56), cameras=("image_0",))
    shard_datasets([folder / "bridge"], out=folder / "shards", settings=settings)
    return folder / "shards"


def make_traced(folder: Path) -> Path:
    """64 samples of three episodes with whole traces, every third frame from frame 1 on."""
    sets = [TinySet("a", "rep", [20, 22, 22], fine=frozenset({0, 1, 2}), whole_traces=True)]
    return make_shards(folder / "shards", sets)


def make_both(folder: Path) -> Path:
    """Two sources with views fg and raw, and a held-out side of one."""
    sets = [
        TinySet("a", "rep", [9, 14], fine=frozenset({0, 1})),
        TinySet("a", "rest", [11]),
        TinySet("b", "rep", [8], fine=frozenset({0})),
        TinySet("a", "rep", [12, 7], side="heldout", fine=frozenset({0})),
    ]
    return make_shards(folder / "shards", sets)
