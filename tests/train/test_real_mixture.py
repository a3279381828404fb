"""A real arm and a real humanoid together: trained, stopped, gone on with, evaluated by source."""

from __future__ import annotations

from pathlib import Path

import pytest
from shard.curation import curate

import finedata
from finedata.convert.run import convert
from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings

pytest.importorskip("torch", reason="torch is not installed")


@pytest.mark.slow
def test_bridge_and_gr00t_together(real_bridge: Path, real_data: Path, tmp_path: Path) -> None:
    convert("bridge_v2", input=real_bridge, out=tmp_path / "bridge")
    convert("lerobot", input=real_data / "gr00t_lerobot_v20", out=tmp_path / "groot")
    for name in ("bridge", "groot"):
        curate(tmp_path / name)
    shard_datasets(
        [tmp_path / "bridge", tmp_path / "groot"],
        out=tmp_path / "shards",
        settings=ShardSettings(resize=(56, 56), every=8, held_out="1/5"),
        allow_mixed_licences=True,
    )
    recipe = finedata.recipe(
        "tiny_gr00t", steps=12, batch=8, micro_batch=4, log_every=6, save_every=6, eval_every=12,
        eval_samples=16, max_tokens=512, noise_repeats=2,
    )  # fmt: skip
    assert recipe.estimate(tmp_path / "shards").asked.keys() == {"raw/bridge_v2", "raw/lerobot"}
    run = tmp_path / "run"
    assert recipe.train(tmp_path / "shards", out=run, workers=1, device="cpu", stop=6).step == 6
    done = recipe.train(tmp_path / "shards", out=run, workers=2, device="cpu", resume=True)
    assert done.step == 12
    assert {"l1/source/bridge_v2", "l1/source/lerobot", "right_x_m"} <= done.heldout["raw"].keys()
