"""A policy that sees states and no picture: recorded, sharded, trained, and put into the loop."""

from __future__ import annotations

from pathlib import Path

import pytest

import finedata as fd

pytest.importorskip("torch", reason="torch is not installed")


def test_states_alone_are_trained_on_and_asked(tmp_path: Path) -> None:
    fd.sim_record(tmp_path / "steer", episodes=8, pictures=0)
    dataset = fd.open(tmp_path / "steer")
    dataset.gate()
    dataset.cluster()
    dataset.shard(tmp_path / "shards")
    recipe = fd.recipe(
        "tiny_gr00t", steps=2, batch=4, micro_batch=4, states=["state", "environment"]
    )
    done = recipe.train(tmp_path / "shards", out=tmp_path / "run", device="cpu", workers=1)
    assert done.step == 2
    told = fd.policy(tmp_path / "run", device="cpu").describe()
    assert told["finedata"]["cameras"] == []
    (robot,) = told["finedata"]["embodiments"].values()
    assert sorted(robot["needed_states"]) == ["environment", "state"]
    assert len(robot["states"]["environment"]) == 28
    found = fd.sim_evaluate(tmp_path / "run", out=tmp_path / "r.jsonl", scenes=1, device="cpu")
    assert found.policy == "tiny_gr00t, step 2"
    assert (found.episodes[0].fault, found.episodes[0].frames) == ("", 60)
