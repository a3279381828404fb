"""A policy that sees states and no picture: recorded, sharded, trained, and put into the loop."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import finedata as fd
from finedata.api.sim_policy import Asked, Here
from finedata.sim.episode import objects_of
from finedata.sim.scene import scene_of
from finedata.sim.world import World

pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("states")
    fd.sim_record(folder / "steer", episodes=8, pictures=0)
    dataset = fd.open(folder / "steer")
    dataset.gate()
    dataset.cluster()
    dataset.shard(folder / "shards")
    recipe = fd.recipe(
        "tiny_gr00t", steps=2, batch=4, micro_batch=4, states=["state", "environment"], save_every=1
    )
    done = recipe.train(folder / "shards", out=folder / "run", device="cpu", workers=1)
    assert done.step == 2
    return folder / "run"


@pytest.fixture(scope="module")
def policy(run: Path) -> Any:
    return fd.policy(run, device="cpu")


def test_states_alone_are_trained_on_and_asked(run: Path, policy: Any, tmp_path: Path) -> None:
    told = policy.describe()
    assert told["finedata"]["cameras"] == []
    (robot,) = told["finedata"]["embodiments"].values()
    assert sorted(robot["needed_states"]) == ["environment", "state"]
    assert len(robot["states"]["environment"]) == len(
        objects_of(scene_of(1), World(scene_of(1)).view())
    )
    found = fd.sim_evaluate(run, out=tmp_path / "r.jsonl", scenes=1, device="cpu")
    assert found.policy == "tiny_gr00t, step 2"
    assert (found.episodes[0].fault, found.episodes[0].frames) == ("", 60)
    assert found.run is not None
    assert (found.run.recipe, found.run.mix, found.run.step) == ("tiny_gr00t", "raw=1", 2)
    assert found.run.drawn == {"raw": 8}
    assert len(found.run.shards) == len(found.run.family) == 16
    assert found.run.changed == {
        "batch": "4", "micro_batch": "4", "states": '["state","environment"]',
    }  # fmt: skip
    assert fd.sim_result(tmp_path / "r.jsonl").run == found.run


def test_what_has_no_gradient_is_gone_on_with_all_the_same(run: Path, tmp_path: Path) -> None:
    # Without pictures the vision encoder never gets moments, and a checkpoint holds none of it.
    again = tmp_path / "again"
    shutil.copytree(run, again, symlinks=True)
    shutil.rmtree(again / "checkpoints" / "000002")
    (again / "checkpoints" / "last").unlink()
    found = fd.recipe(
        "tiny_gr00t", steps=2, batch=4, micro_batch=4, states=["state", "environment"], save_every=1
    ).train(run.parent / "shards", out=again, resume=True, device="cpu", workers=0)
    assert found.step == 2
    weights = "checkpoints/000002/pretrained_model/model.safetensors"
    assert (again / weights).read_bytes() == (run / weights).read_bytes()


def test_in_this_process_and_through_a_socket_the_same_bytes(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("websockets")
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    fd.sim_evaluate(run, out=here, scenes=2, device="cpu", execute=8)
    with fd.policy(run, device="cpu").serving() as listening:
        fd.sim_evaluate(listening.address, out=there, scenes=2, execute=8)
    assert here.read_bytes() == there.read_bytes()


def test_noise_is_of_the_scene_and_not_of_the_order(policy: Any) -> None:
    # 3D Diffuser Actor issue 45: what a policy drew depended on what was asked beside it.
    desk = policy.desk()

    def asked(numbers: list[int]) -> dict[int, np.ndarray]:
        mind = Asked("here", lambda: Here(desk, desk.metadata()))
        told: dict[int, np.ndarray] = {}
        for number in numbers:
            scene = scene_of(number)
            mind.begin(scene, None)
            view = World(scene).view()
            told[number] = np.stack(
                [mind.act(view, scene, "lift the block", None) for _ in range(2)]
            )
        return told

    forward, back = asked([5, 6]), asked([6, 7, 5])
    for number in (5, 6):
        assert np.array_equal(forward[number], back[number])
        assert not np.array_equal(forward[number][0], forward[number][1])  # asked again, drawn anew
    # And not of the recipe's seed: results of two seeds begin at one noise.
    noise = [_noise(desk, number, seed=seed) for number, seed in ((3, 0), (3, 1), (4, 0))]
    assert np.array_equal(noise[0], noise[1])
    assert not np.array_equal(noise[0], noise[2])


def _noise(desk: Any, number: int, *, seed: int) -> np.ndarray:
    """What torch draws first when the policy of a recipe's seed is asked with a number."""
    import torch

    recipe = desk.predictor.recipe
    desk.predictor.recipe = msgspec.structs.replace(recipe, seed=seed)
    drawn: list[np.ndarray] = []
    head = desk.predictor.policy.head
    predict = head.predict

    def spied(hidden: Any, batch: Any) -> Any:
        state = torch.get_rng_state()
        drawn.append(torch.randn(4).numpy())
        torch.set_rng_state(state)
        return predict(hidden, batch)

    head.predict = spied
    try:
        scene = scene_of(1)
        mind = Asked("here", lambda: Here(desk, desk.metadata()))
        mind.begin(scene, None)
        mind._noise = number
        mind.act(World(scene).view(), scene, "lift the block", None)
    finally:
        head.predict, desk.predictor.recipe = predict, recipe
    return drawn[0]
