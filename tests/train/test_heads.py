"""Losses equal what is computed by hand; masked numbers and masked tokens count nowhere."""

from __future__ import annotations

import numpy as np
import pytest
from train.recipes import recipe

torch = pytest.importorskip("torch", reason="torch is not installed")

from finedata.train.heads.dit import DitHead  # noqa: E402
from finedata.train.heads.oft import OftHead  # noqa: E402

N, LENGTH, HIDDEN, HORIZON, WIDTH = 3, 9, 16, 4, 5
DIT = {
    "head": "gr00t", "dit_width": 32, "dit_heads": 4, "dit_layers": 2, "dit_dropout": 0.0,
    "dit_future": 2, "dit_mlp": 16, "noise_repeats": 2,
}  # fmt: skip


@pytest.fixture
def batch() -> dict:
    torch.manual_seed(2)
    mask = torch.rand(N, HORIZON, WIDTH) > 0.3
    mask[2] = False
    length = torch.tensor([9, 7, 5])
    return {
        "length": length.int(),
        "seen": torch.arange(LENGTH) < length[:, None],
        "action": torch.randn(N, HORIZON, WIDTH).masked_fill(~mask, float("nan")),
        "action_mask": mask,
        "state": torch.randn(N, 3),
        "state_mask": torch.ones(N, 3, dtype=torch.bool),
    }


def hand_mlp(head: OftHead, x: np.ndarray) -> np.ndarray:
    """The MLP by NumPy, from the formula of QwenOFT."""
    weights = {name: value.detach().double().numpy() for name, value in head.named_parameters()}

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = np.maximum(linear(norm(x, "mlp.0"), "mlp.1"), 0)
    for block in ("mlp.3", "mlp.4"):
        x = x + np.maximum(linear(norm(x, f"{block}.norm"), f"{block}.linear"), 0)
    return linear(norm(x, "mlp.5"), "mlp.6")


def test_the_l1_loss_by_hand(batch: dict) -> None:
    head = OftHead(recipe(horizon=HORIZON), hidden=HIDDEN, state_dim=0, action_dim=WIDTH)
    hidden = torch.randn(N, LENGTH, HIDDEN)
    total = 0.0
    for k in range(N):
        length = int(batch["length"][k])
        found = hand_mlp(head, hidden[k, length - HORIZON : length].double().numpy())
        mask = batch["action_mask"][k].numpy()
        total += np.abs(found - batch["action"][k].double().numpy())[mask].sum()
    loss = head.losses(hidden, batch)["l1"]
    assert loss.item() == pytest.approx(total, rel=1e-5)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())
    assert head.counts(batch)["l1"] == batch["action_mask"].sum()
    assert head.predict(hidden, batch).shape == (N, HORIZON, WIDTH)


def test_the_flow_loss_by_hand(batch: dict) -> None:
    head = DitHead(recipe(horizon=HORIZON, **DIT), hidden=HIDDEN, state_dim=3, action_dim=WIDTH)
    hidden = torch.randn(N, LENGTH, HIDDEN)
    torch.manual_seed(5)
    found = head.losses(hidden, batch)["flow"].item()
    torch.manual_seed(5)
    noise = torch.randn(2 * N, HORIZON, WIDTH)
    drawn = torch.rand(2 * N).numpy().astype(np.float64) ** (1 / 1.5)
    total = 0.0
    for k in range(2 * N):
        one = {name: value[k // 2 : k // 2 + 1] for name, value in batch.items()}
        t = (0.999 - min(drawn[k], 0.999)) / 0.999
        action = torch.where(one["action_mask"], one["action"], 0)[0]
        mixed = (1 - t) * noise[k] + t * action
        velocity = head.velocity(
            mixed[None], torch.tensor([t]).float(), hidden[k // 2 : k // 2 + 1], one
        )[0]
        squares = (velocity - (action - noise[k])) ** 2
        total += squares[one["action_mask"][0]].sum().item()
    assert found == pytest.approx(total, rel=1e-4)
    assert head.counts(batch)["flow"] == 2 * batch["action_mask"].sum()


def test_times_are_of_the_beta_distribution(batch: dict) -> None:
    times = []
    head = DitHead(recipe(horizon=HORIZON, **DIT), hidden=HIDDEN, state_dim=0, action_dim=WIDTH)
    head.velocity = lambda noised, time, *_: times.append(time) or torch.zeros_like(noised)
    big = {name: value[:1].repeat_interleave(4000, 0) for name, value in batch.items()}
    torch.manual_seed(0)
    head.losses(torch.randn(1, LENGTH, HIDDEN).expand(4000, -1, -1), big)
    # t = 1 - B, B ~ Beta(1.5, 1): mean 0.4, and P(t < 0.5) = 1 - 0.5 ** 1.5
    assert times[0].mean().item() == pytest.approx(0.4, abs=0.01)
    assert (times[0] < 0.5).double().mean().item() == pytest.approx(1 - 0.5**1.5, abs=0.02)


def test_padding_of_the_prompt_reaches_nothing(batch: dict) -> None:
    head = DitHead(recipe(horizon=HORIZON, **DIT), hidden=HIDDEN, state_dim=3, action_dim=WIDTH)
    hidden = torch.randn(N, LENGTH, HIDDEN)
    noised, time = torch.randn(N, HORIZON, WIDTH), torch.rand(N)
    before = head.velocity(noised, time, hidden, batch)
    other = hidden.clone()
    other[1, 7:] = 100.0
    assert torch.equal(head.velocity(noised, time, other, batch), before)
    other[1, 6] = 100.0
    assert not torch.allclose(head.velocity(noised, time, other, batch)[1], before[1])


def test_euler_steps_follow_a_constant_velocity(batch: dict) -> None:
    head = DitHead(recipe(horizon=HORIZON, **DIT), hidden=HIDDEN, state_dim=0, action_dim=WIDTH)
    head.velocity = lambda noised, time, *_: (
        torch.full_like(noised, 2.0) * (1 + time[:, None, None])
    )
    torch.manual_seed(3)
    noise = torch.randn(N, HORIZON, WIDTH)
    torch.manual_seed(3)
    found = head.predict(torch.zeros(N, LENGTH, HIDDEN), batch)
    # times are 0, 1/4, 1/2 and 3/4
    assert torch.allclose(found, noise + 2.0 * (1 + 0.375), atol=1e-6)
