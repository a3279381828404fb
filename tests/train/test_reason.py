"""Reasoning of the head `steer`: what is said, what it weighs, and what actions see of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch

import finedata as fd
from finedata.errors import ConformError, SpecError, UsageError
from finedata.schema.recipe_file import find_recipe
from finedata.train.heads.reason import ASKED_EVERY, Reasoning

_SMALL: dict[str, Any] = {
    "backbone": "words:trained", "lr_vlm": 3e-3, "steer_width": 32, "batch": 8, "micro_batch": 8,
    "steps": 2, "warmup": 1, "log_every": 1, "save_every": 2, "ema": 0.0, "traces": "hold",
}  # fmt: skip


def reasoning(order: str, *, budget: int = 12) -> Reasoning:
    torch.manual_seed(0)
    recipe = msgspec.structs.replace(
        find_recipe("steer_state").recipe, order=order, reasoning_tokens=budget, steer_width=16
    )
    return Reasoning(recipe)


def trained(net: Reasoning, known: torch.Tensor, thought: torch.Tensor) -> float:
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    batch = {"thought": thought}
    for _ in range(150):
        optimiser.zero_grad()
        loss = net.told(known, batch)[1] / net.count(batch)
        loss.backward()
        optimiser.step()
    return loss.item()


def test_what_is_said_depends_on_what_is_known_and_actions_see_it() -> None:
    torch.set_num_threads(1)
    net = reasoning("reasoning_first")
    # Few are asked for words; their neighbours are alike, so that all are learnt.
    known = torch.randn(4, 16).repeat_interleave(ASKED_EVERY, 0)
    thought = torch.zeros(4, 12, dtype=torch.int32)
    for k in range(4):
        thought[k, : k + 3] = torch.tensor([7 + k] * (k + 2) + [1])
    thought = thought.repeat_interleave(ASKED_EVERY, 0)
    assert trained(net, known, thought) < 0.05
    with torch.no_grad():
        told, _ = net.told(known, {"thought": thought})
        said = net.think(known)
        # What it says by itself is what it was taught, so actions know the same of it.
        assert torch.allclose(told, said, atol=1e-4)
        others, _ = net.told(known, {"thought": thought.roll(ASKED_EVERY, 0)})
    assert not torch.allclose(told, others, atol=1e-2)


def test_actions_that_come_first_know_nothing_of_words() -> None:
    net = reasoning("action_first")
    known = torch.randn(2 * ASKED_EVERY, 16, requires_grad=True)
    thought = torch.randint(2, 9, (2 * ASKED_EVERY, 12), dtype=torch.int32)
    told, losses = net.told(known, {"thought": thought})
    assert told is known
    assert net.think(known) is known
    losses.backward()
    moved = known.grad.abs().sum(1) > 0  # yet they share what is known, of those asked
    assert moved.nonzero()[:, 0].tolist() == [0, ASKED_EVERY]
    assert int(net.count({"thought": thought})) == 24


@pytest.mark.parametrize("views", [2, 3, 4, 5, 8])
def test_every_view_of_a_mixture_is_asked_in_its_share(views: int) -> None:
    """In a mixture of 1:1 every other sample is of one view, and in 1:4 every fifth."""
    net = reasoning("action_first")
    place = torch.arange(10 * 128)
    asked = []
    for view in range(views):
        thought = ((place % views == view)[:, None] * torch.ones(12)).int().reshape(10, 128, 12)
        asked.append(sum(int(net.count({"thought": one})) // 12 for one in thought))
    assert sum(asked) == 80
    assert max(asked) - min(asked) <= 0.4 * 80 / views


def test_a_batch_without_traces_has_no_words() -> None:
    for order in ("action_first", "reasoning_first"):
        net = reasoning(order)
        thought = torch.zeros(4, 12, dtype=torch.int32)
        told, losses = net.told(torch.randn(4, 16), {"thought": thought})
        assert losses.item() == 0
        assert torch.isfinite(told).all()


def test_a_trace_that_is_too_long_or_lacks_a_part_is_said() -> None:
    class Batch:
        episode_id = ("e",)
        frame_index = torch.tensor([3]).numpy()
        encoded = None
        trace: tuple[Any, ...] = ()

    parts = (
        "observation",
        "situation_analysis",
        "spatial_reasoning",
        "task_planning",
        "sub_action",
    )
    batch: Any = Batch()
    batch.encoded = {}
    batch.trace = (dict.fromkeys(parts, "a b") | {"logical_steps": ["a"]},)
    with pytest.raises(UsageError, match="trace of e frame 3"):
        reasoning("action_first").add_traces(batch, None)
    net = reasoning("action_first", budget=64)
    net.add_traces(batch, None)
    words = batch.encoded["thought"][0]
    assert words.shape == (64,)
    assert (words == 1).sum() == 1
    assert (words[: words.tolist().index(1)] > 1).all()
    batch.trace = ({**batch.trace[0], "sub_action": ""},)
    with pytest.raises(ConformError, match="sub_action"):
        net.add_traces(batch, None)
    with pytest.raises(SpecError, match="nothing reads while `order`"):
        find_recipe("steer_state", changes={"reasoning_weight": "1.0"})
    with pytest.raises(SpecError, match="`traces`"):
        find_recipe("steer_state", changes={"order": "action_first", "traces": "none"})


def test_both_orders_are_trained_on_recorded_traces_and_act(tmp_path: Path) -> None:
    fd.sim_record(tmp_path / "ds", episodes=6, pictures=0)
    dataset = fd.open(tmp_path / "ds")
    dataset.gate()
    dataset.cluster(budget=6)
    dataset.shard(tmp_path / "shards")
    for order in ("action_first", "reasoning_first"):
        done = fd.recipe(
            "steer_state", mix="raw=1", order=order, reasoning_weight=0.3, **_SMALL
        ).train(tmp_path / "shards", out=tmp_path / order, workers=0, device="cpu")
        flow, said = (done.last["terms"][name] for name in ("flow", "reasoning"))
        assert done.last["loss"] == pytest.approx(flow + 0.3 * said)
        assert 2 < said < 8  # a thousand words, hardly trained
        found = fd.sim_evaluate(
            tmp_path / order, out=tmp_path / f"{order}.jsonl", scenes=1, device="cpu"
        )
        assert found.episodes[0].fault == ""
