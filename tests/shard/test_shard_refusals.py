"""Runs of shards that are refused, or that something ends, and what is left then."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard.curation import tree

from finedata.errors import ConformError, OutputError, UsageError
from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings
from finedata.shard.shards import Shards
from finedata.store.dataset import open_dataset
from finedata.store.run.ledger import Ledger
from finedata.store.tables.table import write_table

SMALL = 60_000


def test_a_leak_is_refused_before_anything_is_written(curated: Path, tmp_path: Path) -> None:
    name = open_dataset(curated).episodes.collect()["episode_id"].to_list()
    with pytest.raises(UsageError, match="held-out episodes: bridge_v2-"):
        shard_datasets([curated], out=tmp_path / "out", check_leaks=name)
    assert not list((tmp_path / "out").glob("tars"))


def test_wrong_options(curated: Path, tmp_path: Path) -> None:
    for wrong in (
        {"quality": 0},
        {"horizon": 0},
        {"every": 0},
        {"resize": (0, 5)},
        {"shard_bytes": 3},
        {"held_out": "1.5"},
        {"held_out": "1/0"},
        {"held_out": "0.1", "held_out_ids": ("a",)},
        {"bake": ("poems",)},
        {"thin": True, "bake": ("fine",)},
        {"sample": "episode", "order": "step"},
        {"sample": "episode", "every": 2},
        {"cameras": ("nobody",)},
        {"where": "length > "},
        {"where": "length > 100000"},
    ):
        with pytest.raises(UsageError):
            shard_datasets([curated], out=tmp_path / "o", settings=ShardSettings(**wrong))  # type: ignore[arg-type]
        assert not list((tmp_path / "o").glob("tars"))


def test_a_folder_of_somebody_else_or_in_use(curated: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        shard_datasets([curated], out=tmp_path / "theirs")
    with (
        Ledger(tmp_path / "busy", run_key="x", settings={}, name="shards"),
        pytest.raises(OutputError, match="another run"),
    ):
        shard_datasets([curated], out=tmp_path / "busy")


def test_a_picture_that_does_not_decode_is_named(curated: Path, tmp_path: Path) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(curated, root)
    dataset = open_dataset(root)
    bad = pl.col("flags").list.contains("undecodable_picture")
    ids = dataset.receipts.filter(bad).collect()["episode_id"].to_list()
    assert ids
    receipts = dataset.receipts.with_columns(flags=pl.lit([], dtype=pl.List(pl.String))).collect()
    write_table(root, "receipts", receipts)
    with pytest.raises(ConformError, match=r"frame \d+ of camera image_\d of episode bridge_v2-"):
        shard_datasets([root], out=tmp_path / "out", settings=ShardSettings(with_failed=True))
    assert not (tmp_path / "out" / "shards.json").exists()
    where = f"episode_id not in ({', '.join(repr(one) for one in ids)})"
    done = shard_datasets([root], out=tmp_path / "fine", settings=ShardSettings(where=where))
    assert done.left_out["where"] == len(ids)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_and_the_run_continues(
    curated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, settings = tmp_path / "out", ShardSettings(shard_bytes=SMALL)
    real, left = os.fsync, [6]

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left(.|\n)*continues where it stopped"):
        shard_datasets([curated], out=out, settings=settings)
    monkeypatch.undo()
    assert not (out / "shards.json").exists()
    shard_datasets([curated], out=out, settings=settings)
    shard_datasets([curated], out=tmp_path / "whole", settings=settings)
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.parametrize("most_bytes", [3_000, 20_000, 50_000])
@pytest.mark.parametrize("order", ["step", "episode"])
def test_a_file_that_cannot_grow_is_said_and_the_run_continues(
    order: str, most_bytes: int, curated: Path, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    out, settings = tmp_path / "out", ShardSettings(shard_bytes=SMALL, every=4, order=order)  # type: ignore[arg-type]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        with pytest.raises(OutputError, match="next: "):
            shard_datasets([curated], out=out, settings=settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (out / "shards.json").exists()
    shard_datasets([curated], out=out, settings=settings)
    shard_datasets([curated], out=tmp_path / "whole", settings=settings)
    assert tree(out) == tree(tmp_path / "whole")


def test_licences_that_forbid_each_other(two_parts: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = two_parts
    other = tmp_path / "other"
    shutil.copytree(second, other)
    for path in (other / "meta" / "episodes").rglob("*.parquet"):
        table = pq.read_table(path)
        place = table.schema.get_field_index("licence")
        nobody = pa.array(["CC-BY-NC-4.0"] * len(table), table.schema.field(place).type)
        pq.write_table(table.set_column(place, table.schema.field(place), nobody), path)
    out, settings = tmp_path / "out", ShardSettings(shard_bytes=SMALL, every=4)
    with pytest.raises(UsageError, match="forbids commercial use of the whole"):
        shard_datasets([first, other], out=tmp_path / "both", settings=settings)
    shard_datasets([first], out=out, settings=settings)
    before = tree(out)
    # What is in the shards already counts as well.
    with pytest.raises(UsageError, match="--allow-mixed-licences"):
        shard_datasets([other], out=out, settings=settings, append=True)
    assert tree(out) == before
    shard_datasets([other], out=out, settings=settings, append=True, allow_mixed_licences=True)
    licences = {name for one in Shards.open(out).document.sets for name in one.licences}
    assert "CC-BY-NC-4.0" in licences
    assert len(licences) == 2
