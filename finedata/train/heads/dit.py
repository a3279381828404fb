# pyright: basic, reportMissingImports=false
"""A flow-matching transformer that attends to the backbone's hidden states (GR00T N1.5).

Tokens are the state (where a recipe has one), some learned ones, and one for each step of the
chunk. Layers are cross-attention to the prompt and self-attention in turn, their norms shifted and
scaled by the time. It learns the velocity from noise to action: with t from Beta(1.5, 1),
x_t = (1 - t) noise + t action, and the target is action - noise. Several draws of noise and time
share one pass of the backbone. A prediction begins at noise and takes four Euler steps.

Unlike FineVLA's fork, padding of the prompt is masked in cross-attention, and padded steps of a
chunk in the loss.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.schema.recipe_file import Recipe

# Time is cut into so many buckets, and Beta's support ends a little before 1.
_BUCKETS, _LONGEST = 1000, 0.999
_TIME_WIDTH = 256


class _Attention(nn.Module):
    """Attention from x to a context; to itself where there is none."""

    def __init__(self, width: int, context: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key, self.value = nn.Linear(context, width), nn.Linear(context, width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        query, key, value = (
            one.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for one in (self.query(x), self.key(context), self.value(context))
        )
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return functional.dropout(
            self.out(found.transpose(1, 2).flatten(2)), self.dropout, self.training
        )


class _Layer(nn.Module):
    def __init__(self, width: int, context: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.time = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = _Attention(width, context, heads, dropout)
        self.mlp_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(
        self,
        x: torch.Tensor,
        time: torch.Tensor,
        context: torch.Tensor | None,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        scale, shift = self.time(functional.silu(time))[:, None].chunk(2, -1)
        normed = self.norm(x) * (1 + scale) + shift
        x = x + self.attention(normed, normed if context is None else context, mask)
        return x + functional.dropout(self.mlp(self.mlp_norm(x)), self.dropout, self.training)


class DitHead(nn.Module):
    """The transformer, with encoders of state and actions and a decoder of actions.

    Args:
        recipe: For all that begins with `dit` or `noise`.
        hidden: Width of the backbone.
        state_dim: Width of the state; 0 for none.
        action_dim: Width of an action.
    """

    terms = ("flow",)
    weights = (1.0,)
    answer = fit = None
    answer_tokens = 0
    queries = 0

    def __init__(self, recipe: Recipe, *, hidden: int, state_dim: int, action_dim: int) -> None:
        super().__init__()
        width = recipe.dit_width
        self.horizon, self.action_dim = recipe.horizon, action_dim
        self.repeats, self.beta, self.euler = (
            recipe.noise_repeats, recipe.noise_beta, recipe.noise_steps,
        )  # fmt: skip
        self.state = _two_layers(state_dim, recipe.dit_mlp, width) if state_dim else None
        self.future = nn.Parameter(torch.randn(recipe.dit_future, width) * 0.02)
        self.places = nn.Parameter(torch.randn(recipe.horizon, width) * 0.02)
        self.action_in = nn.Linear(action_dim, width)
        self.action_time = nn.Linear(2 * width, width)
        self.action_out = nn.Linear(width, width)
        self.time = nn.Sequential(nn.Linear(_TIME_WIDTH, width), nn.SiLU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(
            _Layer(width, width if k % 2 else hidden, recipe.dit_heads, recipe.dit_dropout)
            for k in range(recipe.dit_layers)
        )
        self.out_time = nn.Linear(width, 2 * width)
        self.out_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.decoder = _two_layers(width, recipe.dit_mlp, action_dim)

    @property
    def tokens(self) -> int:
        """How many a layer works on, the state's left out."""
        return self.horizon + len(self.future)

    def counts(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """How many numbers each term is a mean of."""
        return {"flow": batch["action_mask"].sum() * self.repeats}

    def losses(
        self, hidden: torch.Tensor, batch: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The sum of each term; draws noise and times from torch's generator."""
        again = {
            name: batch[name].repeat_interleave(self.repeats, 0)
            for name in ("action", "action_mask", "seen", "state", "state_mask")
            if name in batch
        }
        hidden = hidden.repeat_interleave(self.repeats, 0)
        action = again["action"].masked_fill(~again["action_mask"], 0)
        noise = torch.randn_like(action)
        # Source: GR00T N1.5, FlowmatchingActionHead.sample_time. Beta(b, 1) is U^(1/b).
        beta = torch.rand(len(action), device=action.device) ** (1 / self.beta)
        time = (_LONGEST - beta.clamp(max=_LONGEST)) / _LONGEST
        mixed = torch.lerp(noise, action, time[:, None, None])
        found = self.velocity(mixed, time, hidden, again)
        squares = (found - (action - noise)).square()
        return {"flow": squares.masked_fill(~again["action_mask"], 0).sum()}

    def predict(self, hidden: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Chunks (n, horizon, action_dim); the noise is torch's generator's."""
        found = torch.randn(len(hidden), self.horizon, self.action_dim, device=hidden.device)
        for step in range(self.euler):
            time = torch.full((len(found),), step / self.euler, device=found.device)
            found = found + self.velocity(found, time, hidden, batch) / self.euler
        return found

    def velocity(
        self,
        noised: torch.Tensor,
        time: torch.Tensor,
        hidden: torch.Tensor,
        batch: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """(n, horizon, action_dim) velocities at noised chunks, times (n,) and hidden states.

        Args:
            noised: (n, horizon, action_dim).
            time: (n,), 0 is noise and 1 the action.
            hidden: (n, length, hidden).
            batch: For `seen` (n, length) and `state` (n, state_dim).
        """
        bucket = (time * _BUCKETS).long().clamp(max=_BUCKETS - 1).float()
        at = _waves(bucket, self.places.shape[1])[:, None].expand(-1, self.horizon, -1)
        action = self.action_time(torch.cat([self.action_in(noised), at], -1))
        action = self.action_out(functional.silu(action)) + self.places
        tokens = [self.future.expand(len(noised), -1, -1), action]
        if self.state is not None:
            state = batch["state"].masked_fill(~batch["state_mask"], 0)
            tokens.insert(0, self.state(state)[:, None])
        x = torch.cat(tokens, 1)
        embedded = self.time(_waves(bucket, _TIME_WIDTH))
        mask = batch["seen"][:, None, None, :]
        for number, layer in enumerate(self.layers):
            across = number % 2 == 0
            x = layer(x, embedded, hidden if across else None, mask if across else None)
        scale, shift = self.out_time(functional.silu(embedded))[:, None].chunk(2, -1)
        x = self.out_norm(x) * (1 + scale) + shift
        return self.decoder(x[:, -self.horizon :])


def _two_layers(inner: int, hidden: int, outer: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inner, hidden), nn.ReLU(), nn.Linear(hidden, outer))


def _waves(bucket: torch.Tensor, width: int) -> torch.Tensor:
    """Sines and cosines of (n,) buckets: (n, width)."""
    half = width // 2
    rate = torch.exp(-math.log(10_000.0) / half * torch.arange(half, device=bucket.device))
    angle = bucket[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], -1)
