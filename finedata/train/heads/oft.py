# pyright: basic, reportMissingImports=false
"""Action queries read out by an MLP (OpenVLA-OFT, as StarVLA's QwenOFT has it).

The prompt ends with one query token for each step of the chunk; the hidden state of each becomes
one action, by one MLP for all. The loss is the mean distance over numbers that are real.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.schema.recipe_file import Recipe


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.linear(self.norm(x)).relu()


class OftHead(nn.Module):
    """LN, Linear(H, 2H), ReLU, residual blocks, LN, Linear(2H, action_dim).

    Args:
        recipe: For `horizon` and `mlp_blocks`.
        hidden: Width H of the backbone.
        state_dim: Not used.
        action_dim: Width of an action.
    """

    terms = ("l1",)
    weights = (1.0,)
    answer = fit = None
    answer_tokens = 0

    def __init__(self, recipe: Recipe, *, hidden: int, state_dim: int, action_dim: int) -> None:
        super().__init__()
        del state_dim
        self.queries = recipe.horizon
        self.mlp = nn.Sequential(
            nn.LayerNorm(hidden),
            nn.Linear(hidden, 2 * hidden),
            nn.ReLU(),
            *(_Block(2 * hidden) for _ in range(recipe.mlp_blocks)),
            nn.LayerNorm(2 * hidden),
            nn.Linear(2 * hidden, action_dim),
        )

    def counts(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """How many numbers each term is a mean of."""
        return {"l1": batch["action_mask"].sum()}

    def losses(
        self, hidden: torch.Tensor, batch: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The sum of each term."""
        real = batch["action_mask"]
        action = batch["action"].masked_fill(~real, 0)  # nothing that is not real has a gradient
        distance = (self.predict(hidden, batch) - action).abs()
        return {"l1": distance.masked_fill(~real, 0).sum()}

    def predict(self, hidden: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Chunks (n, horizon, action_dim) from hidden states (n, length, H)."""
        places = batch["length"].long()[:, None] - self.queries
        places = places + torch.arange(self.queries, device=hidden.device)
        chosen = hidden.gather(1, places[:, :, None].expand(-1, -1, hidden.shape[-1]))
        return self.mlp(chosen)
