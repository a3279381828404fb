"""Compaction: every sample is there once as before, where its episode now belongs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from shard.curation import curate, tree

from finedata.errors import ConformError, UsageError
from finedata.shard.making.compact import compact_shards
from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings
from finedata.shard.making.text import changing, take_up_text
from finedata.shard.shards import Shards
from finedata.shard.verify import verify_shards
from finedata.store.dataset import Dataset, open_dataset

SMALL = 60_000


def samples_of(shards: Shards) -> dict[tuple[str, int], tuple[bytes, ...]]:
    """Episode and frame of every sample to its members."""
    found: dict[tuple[str, int], tuple[bytes, ...]] = {}
    for one in shards.sets.values():
        for number, tar in enumerate(one.tars):
            index = shards.index(one.name, number)
            for place in range(tar.samples):
                key = (index.value("episode_id", place), index.value("frame_index", place))
                assert key not in found
                found[key] = tuple(
                    shards.member(one.name, number, place, member) for member in one.members
                )
    return found


def tiers_of(shards: Shards) -> dict[str, str]:
    return {
        row["episode_id"]: one.tier
        for one in shards.sets.values()
        for row in shards.episodes(one.name).rows(0, one.episodes).to_pylist()
    }


def clustered(curated: Path, folder: Path) -> tuple[Path, Dataset, set[str]]:
    """A dataset, the same when other episodes represent it, and those that were none before."""
    first, second = folder / "first", folder / "second"
    shutil.copytree(curated, first)
    shutil.copytree(curated, second)
    curate(second, every=2)
    before, now = (
        set(open_dataset(root).table("representatives").collect()["episode_id"])
        for root in (first, second)
    )
    return first, open_dataset(second), now - before


@pytest.mark.parametrize("order", ["step", "episode"])
def test_what_represents_now_is_found_there(order: str, curated: Path, tmp_path: Path) -> None:
    first, dataset, new = clustered(curated, tmp_path)
    out = tmp_path / "shards"
    settings = ShardSettings(shard_bytes=SMALL, order=order, held_out="1/5")  # type: ignore[arg-type]
    shard_datasets([first], out=out, settings=settings)
    old = Shards.open(out)
    samples, tiers = samples_of(old), tiers_of(old)
    shutil.copytree(out, tmp_path / "other")
    done = compact_shards(out, [dataset])
    assert sum(done.moved.values()) == len(new & set(tiers)) > 0
    assert done.revisions_gone == [text.revision for text in old.document.texts]
    shards = Shards.open(out)
    assert samples_of(shards) == samples
    moved = {one: "rep" for one in new if one in tiers}
    assert tiers_of(shards) == tiers | moved
    # Sets that lost something have another name, and of the old ones nothing is left.
    for name in done.moved:
        assert name not in shards.sets
        assert not (out / "tars" / name).exists()
        assert not (out / "episodes" / f"{name}.arrow").exists()
    ranks = dict(
        dataset.table("representatives").select("episode_id", "rank").collect().iter_rows()
    )
    rows = [
        row
        for one in shards.sets.values()
        for row in shards.episodes(one.name).rows(0, one.episodes).to_pylist()
    ]
    assert all(
        row["rank"] == ranks[row["episode_id"]] for row in rows if row["episode_id"] in moved
    )
    report = verify_shards(out, [dataset])
    assert report.problems == []
    assert report.pictures > 0
    with pytest.raises(UsageError, match=old.document.texts[-1].revision):
        shards.text_revision(old.document.texts[-1].revision)
    # Once more there is nothing to do; and how many processes did it does not matter.
    bytes_now = tree(out)
    assert compact_shards(out, [dataset]).moved == {}
    assert tree(out) == bytes_now
    compact_shards(tmp_path / "other", [dataset], workers=2)
    assert tree(tmp_path / "other") == bytes_now


def test_words_of_other_datasets_stay(two_parts: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = two_parts
    out, again = tmp_path / "shards", tmp_path / "again"
    shard_datasets([first], out=out, settings=ShardSettings(shard_bytes=SMALL))
    shutil.copytree(second, again)
    settings = ShardSettings(shard_bytes=SMALL)
    shard_datasets([again], out=out, settings=settings, append=True)
    words = _words(Shards.open(out))
    assert len(words) > 4
    curate(again, every=2)
    assert sum(compact_shards(out, [open_dataset(again)]).moved.values()) > 0
    assert _words(Shards.open(out)) == words
    # What came later is added to the sets as they are called now.
    names = set(Shards.open(out).sets)
    third = tmp_path / "third"
    shutil.copytree(first, third)
    assert shard_datasets([third], out=out, settings=settings, append=True).added == 0
    take_up_text(out, [open_dataset(first), open_dataset(again)])
    assert set(Shards.open(out).sets) == names
    assert verify_shards(out).problems == []


def _words(shards: Shards) -> dict[str, list[dict[str, Any]]]:
    """Episode to its instructions."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in shards.sets.values():
        table = shards.text(one.name, "instructions")
        rows = table.rows(0, len(table)).to_pylist()
        ids = pl.Series(
            shards.episodes(one.name).rows(0, one.episodes).column("episode_id")
        ).to_list()
        for row in rows:
            found.setdefault(ids[row.pop("episode")], []).append(row)
    return found


def test_what_is_refused(curated: Path, tmp_path: Path) -> None:
    first, dataset, _ = clustered(curated, tmp_path)
    out, baked = tmp_path / "shards", tmp_path / "baked"
    settings = ShardSettings(shard_bytes=SMALL)
    shard_datasets([first], out=out, settings=settings)
    before = tree(out)
    with pytest.raises(UsageError, match="no dataset"):
        compact_shards(out, [])
    with changing(out), pytest.raises(UsageError, match="another run"):
        compact_shards(out, [dataset])
    (out / ".finedata" / "append-1-work").mkdir()
    with pytest.raises(UsageError, match="not finished"):
        compact_shards(out, [dataset])
    (out / ".finedata" / "append-1-work").rmdir()
    shard_datasets(
        [first], out=baked, settings=ShardSettings(shard_bytes=SMALL, bake=("instruction",))
    )
    with pytest.raises(UsageError, match="baked"):
        compact_shards(baked, [dataset])
    assert tree(out) == before
    # A damaged sample is not carried over.
    rest = next(one for one in Shards.open(out).document.sets if one.tier == "rest")
    tar = out / "tars" / rest.name / rest.tars[0].name
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    with pytest.raises(ConformError, match="other bytes in sample"):
        compact_shards(out, [dataset])
    assert Shards.open(out).document.identity
