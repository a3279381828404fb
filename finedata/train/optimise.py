# pyright: basic, reportMissingImports=false
"""How weights change: a function of the recipe, the step and the batch, and of nothing before.

The learning rate follows from the step's number, and so does every random number. What is left as
state are the weights, AdamW's two moments and the averaged weights.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from finedata.schema.recipe_file import Recipe
    from finedata.train.policy import Policy


def reseed(seed: int, step: int, rank: int) -> None:
    """Begin torch's random numbers of a step anew, from (seed, step, rank) alone."""
    digest = hashlib.sha256(f"finedata.train {seed} {step} {rank}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def learning_rate(step: int, recipe: Recipe) -> float:
    """What the highest learning rates are multiplied with at a step (the first is 0).

    Linear warm-up, then a constant or half a cosine down to `lr_min_ratio` at the last step, as
    `cosine_with_min_lr` of transformers.
    """
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    if recipe.schedule == "constant":
        return 1.0
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    wave = (1 + math.cos(math.pi * min(1.0, done))) / 2
    return recipe.lr_min_ratio + (1 - recipe.lr_min_ratio) * wave


def make_optimiser(
    policy: Policy, recipe: Recipe, *, device: torch.device, world: int = 1
) -> torch.optim.AdamW:
    """AdamW over groups of vision encoder, language model and head; matrices alone decay.

    Args:
        policy: Whose weights.
        recipe: For rates, decay and moments.
        device: Where they are.
        world: Ranks; on CPUs several keep the plain loop, because shards of weights need it.
    """
    vision = {id(p) for p in policy.backbone.vision.parameters()}
    head = {id(p) for p in policy.head.parameters()}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for parameter in policy.parameters():
        if parameter.requires_grad:
            known = id(parameter)
            part = "vision" if known in vision else "head" if known in head else "vlm"
            groups.setdefault((part, parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "name": f"{part} {'matrices' if decays else 'vectors'}",
                "highest_lr": getattr(recipe, f"lr_{part}"),
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (part, decays), parameters in groups.items()
        ],
        lr=0.0,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.epsilon,
        fused=device.type == "cuda" or world == 1,
        foreach=False,
    )


def set_learning_rates(optimiser: torch.optim.Optimizer, step: int, recipe: Recipe) -> float:
    """Set every group's learning rate for a step; returns the factor."""
    factor = learning_rate(step, recipe)
    for group in optimiser.param_groups:
        group["lr"] = group["highest_lr"] * factor
    return factor


class Average:
    """The exponentially moving average of weights (EMA).

    Early on the average follows faster, at (1 + step) / (10 + step), as TensorFlow's
    `ExponentialMovingAverage` does: otherwise it would be the first weights for long.

    Args:
        policy: Whose trainable weights are averaged.
        decay: What is kept at each step.
    """

    def __init__(self, policy: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Any] = {
            name: p.detach().clone() for name, p in policy.named_parameters() if p.requires_grad
        }
        self._whole = not any(hasattr(one, "full_tensor") for one in self.weights.values())

    @torch.no_grad()
    def update(self, policy: nn.Module, step: int) -> None:
        """Move towards the weights after a step (the first is 0)."""
        keep = min(self.decay, (1 + step) / (10 + step))
        mine = [p.detach() for name, p in policy.named_parameters() if name in self.weights]
        if self._whole:  # all at once: a small policy has many small tensors
            held = list(self.weights.values())
            torch._foreach_lerp_(held, mine, 1 - keep)  # pyright: ignore[reportPrivateImportUsage]
            return
        for average, parameter in zip(self.weights.values(), mine, strict=True):
            average.lerp_(parameter, 1 - keep)

    @torch.no_grad()
    def swap(self, policy: nn.Module) -> None:
        """Exchange the policy's weights and the averaged ones; twice changes nothing."""
        for name, parameter in policy.named_parameters():
            if name in self.weights:
                held = parameter.detach().clone()
                parameter.copy_(self.weights[name])
                self.weights[name].copy_(held)
