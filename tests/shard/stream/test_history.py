"""The pictures before a sample's: of shards of either order, of every frame or some."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from shard.stream.tiny_shards import TinySet, decoded, make_shards, picture

from finedata.errors import ConformError, OutputError, UsageError
from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings
from finedata.shard.shards import Shards
from finedata.shard.stream.opening import stream

A = TinySet("a", "rep", [5, 9, 6], missing=frozenset({2}))
B = TinySet("b", "rest", [12, 3])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards") / "tiny", [A, B])


def copied(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / "s", ignore=shutil.ignore_patterns(".finedata"))


def test_earlier_pictures_of_shuffled_steps(tiny: Path):
    more = {"mix": "raw=1", "batch": 35, "stop": 70, "picture_history": 2, "picture_stride": 3}
    with stream(tiny, workers=1, **more) as opened:
        parallel = [batch.pictures["front"].copy() for batch in opened]
    for batch, same in zip(stream(tiny, **more), parallel, strict=True):
        got, mask = batch.pictures["front"], batch.picture_mask["front"]
        assert (got.shape, mask.shape) == ((35, 3, 16, 24, 3), (35, 3))
        assert np.array_equal(got, same)
        for k, (name, frame) in enumerate(zip(batch.episode_id, batch.frame_index, strict=True)):
            one, episode = {"a": A, "b": B}[name[0]], int(name[-4:])
            for step, ago in enumerate((6, 3, 0)):
                there = episode not in one.missing
                assert mask[k, step] == (there and frame >= ago)
                wanted = decoded(picture(one.name, "front", episode, max(frame - ago, 0), one.size))
                assert np.abs(got[k, step].astype(int) - wanted * there).max() <= 2


@pytest.mark.parametrize("order", ["step", "episode"])
@pytest.mark.parametrize("every", [1, 2])
def test_a_history_is_what_the_earlier_samples_are(
    curated: Path, tmp_path: Path, order: str, every: int
):
    settings = ShardSettings(order=order, every=every, shard_bytes=60_000)
    shard_datasets([curated], out=tmp_path / "s", settings=settings)
    count = 120
    more = {"mix": "raw=1", "batch": count, "stop": count, "size": (24, 24)}
    with stream(tmp_path / "s", picture_history=2, picture_stride=2, **more) as opened:
        (batch,) = opened
    camera = next(iter(batch.pictures))
    own = {
        (name, frame): pixels[-1]
        for name, frame, pixels in zip(
            batch.episode_id, batch.frame_index.tolist(), batch.pictures[camera], strict=True
        )
    }
    checked = 0
    for k, (name, frame) in enumerate(own):
        for step, ago in enumerate((4, 2)):
            at = max(frame - ago, 0)
            assert batch.picture_mask[camera][k, step] == (frame >= ago)
            if (name, at) in own:
                assert np.array_equal(batch.pictures[camera][k, step], own[name, at])
                checked += 1
    assert checked > 10


def test_pictures_that_are_no_samples_are_refused(curated: Path, tmp_path: Path):
    settings = ShardSettings(every=2)
    shard_datasets([curated], out=tmp_path / "s", settings=settings)
    with pytest.raises(UsageError, match=r"picture_stride.*sample every 2"):
        stream(tmp_path / "s", mix="raw=1", picture_history=1)
    with pytest.raises(UsageError, match="picture_history"):
        stream(tmp_path / "s", mix="raw=1", picture_history=-1)


def test_a_damaged_earlier_picture_makes_the_sample_bad(tiny: Path, tmp_path: Path):
    root = copied(tiny, tmp_path)
    shards = Shards.open(root)
    for number, tar in enumerate(shards.sets[B.name].tars):
        index = shards.index(B.name, number)
        for place in range(tar.samples):
            if (index.value("episode", place), index.value("frame_index", place)) == (0, 3):
                path = shards.tar_path(B.name, number)
                content = bytearray(path.read_bytes())
                content[index.value("member_offset", place)[0] + 100] ^= 4
                path.write_bytes(content)
    more = {"mix": "raw=1", "batch": 35, "stop": 35, "on_bad": "next"}
    alone, history = (
        {one.n for one in drained(root, **more, picture_history=k).receipt().bad} for k in (0, 2)
    )
    assert (len(alone), len(history)) == (1, 3)
    assert alone < history
    with pytest.raises(ConformError, match="other bytes than were written"):
        drained(root, mix="raw=1", batch=35, stop=35, picture_history=2)


def drained(root: Path, **more: object):
    opened = stream(root, **more)
    for _ in opened:
        pass
    return opened


def test_a_history_is_part_of_the_content_and_nothing_of_the_order(tiny: Path):
    plain, other = (stream(tiny, mix="raw=1", batch=5, picture_history=k) for k in (0, 1))
    assert plain.sequence.digest == other.sequence.digest
    assert plain.content != other.content
    pairs = islice(zip(plain, other, strict=False), 4)
    assert all(a.episode_id == b.episode_id for a, b in pairs)


def test_places_of_other_shards_and_folders_that_are_not_are_named(tiny: Path, tmp_path: Path):
    root = copied(tiny, tmp_path)
    drained(root, mix="raw=1", batch=5, stop=5, picture_history=1)
    for path in (root / ".finedata/places").iterdir():
        assert path.stat().st_size == 4 * {"a": 20, "b": 15}[path.name[0]]
        path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(ConformError, match="no sample of a frame"):
        drained(root, mix="raw=1", batch=5, stop=5, picture_history=1)
    shutil.rmtree(root / ".finedata")
    (root / ".finedata").write_text("in the way of a folder")
    with pytest.raises(OutputError, match="places"):
        stream(root, mix="raw=1", batch=5, picture_history=1)
