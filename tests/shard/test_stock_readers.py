"""Readers that we did not write: `datasets` as the Hub uses it, and megatron-energon's own code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from shard.stock import webdataset_samples

from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings
from finedata.shard.shards import Shards

ROOT = Path(__file__).parent.parent.parent
PROBE = Path(__file__).parent / "energon_probe.py"


@pytest.fixture(scope="module")
def shards(curated: Path, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    out = tmp_path_factory.mktemp("stock") / "shards"
    shard_datasets([curated], out=out, settings=ShardSettings(shard_bytes=200_000, held_out="1/4"))
    return Shards.open(out)


def largest(shards: Shards, side: str) -> Path:
    one = max(
        (one for one in shards.sets.values() if one.side == side), key=lambda one: one.samples
    )
    return shards.root / "tars" / one.name


@pytest.mark.parametrize("streaming", [True, False])
def test_datasets(
    streaming: bool, shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    datasets = pytest.importorskip("datasets")
    folder = largest(shards, "train")
    tars = sorted(map(str, folder.glob("*.tar")))
    found = datasets.load_dataset(
        "webdataset",
        data_files={"train": tars},
        split="train",
        streaming=streaming,
        cache_dir=str(tmp_path),
    )
    rows = list(found.remove_columns([f"image_{n}.jpg" for n in range(4)]))
    stock = webdataset_samples(sorted(folder.glob("*.tar")), decode="rgb8")
    assert [row["__key__"] for row in rows] == [sample["__key__"] for sample in stock]
    assert [row["meta.json"] for row in rows] == [sample["meta.json"] for sample in stock]
    np.testing.assert_array_equal(np.asarray(rows[0]["action.npy"]), stock[0]["action.npy"])


def energon_python() -> str:
    """The interpreter that has megatron-energon: it needs torch, so it has a place of its own."""
    own = ROOT / ".venv-energon" / "bin" / "python"
    found = os.environ.get("FINEDATA_ENERGON_PYTHON") or (str(own) if own.exists() else "")
    if not found:
        pytest.skip(
            "no megatron-energon: python3 -m venv .venv-energon && "
            ".venv-energon/bin/pip install megatron-energon"
        )
    return found


@pytest.mark.parametrize("side", ["train", "heldout"])
def test_energon_opens_a_set_that_it_did_not_prepare(side: str, shards: Shards) -> None:
    folder = largest(shards, side)
    split = {"train": "train", "heldout": "test"}[side]
    done = subprocess.run(
        [energon_python(), "-W", "ignore", str(PROBE), str(folder), split],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    stock = webdataset_samples(sorted(folder.glob("*.tar")), decode="rgb8")
    keys = [line.split()[0] for line in done.stdout.splitlines()]
    assert sorted(keys) == sorted(sample["__key__"] for sample in stock)
    height, width, _ = stock[0]["image_0.jpg"].shape
    assert f"image_0.jpg:3x{height}x{width}" in done.stdout
    assert "action.npy:16x8" in done.stdout
