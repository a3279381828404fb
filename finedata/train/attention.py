# pyright: basic, reportMissingImports=false
"""What a policy looks at: attention of chosen tokens to the pictures of a prompt.

Weights are those of the language model's own attention matrices, over all heads and all layers that
have one; linear layers have none, and a model of linear layers alone is refused, not guessed at. Of
each place of a picture `max` is the largest weight over layers, heads and asking tokens, `mean` the
mean, and `top` the mean of the k largest (ReFineVLA's pseudo-code takes the maximum of those k,
which is the maximum whatever k is).

Source of the maps: ReFineVLA (arXiv 2505.19080), Figure 6 and appendix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from finedata.train.predict import Predictor
    from finedata.train.robot import Observation

__all__ = ["ACTIONS", "HOW", "Attention", "How", "attention_of", "pooled"]

How = Literal["max", "mean", "top"]
HOW: tuple[How, ...] = ("max", "mean", "top")
ACTIONS = "actions"
"""The query of the tokens that foretell actions; any other is a word of the prompt."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention:
    """Attention of one policy at one moment.

    Attributes:
        layers: Layers whose matrices these are, from 0.
        layers_in_all: How many there are.
        heads: Of each.
        maps: Query -> how -> camera -> (rows, columns) float64 weights.
        on_pictures: Query -> share of its attention that is on pictures, the mean over layers,
            heads and tokens.
        said: Tokens that were said behind the prompt.
    """

    layers: tuple[int, ...]
    layers_in_all: int
    heads: int
    maps: dict[str, dict[How, dict[str, np.ndarray]]]
    on_pictures: dict[str, float]
    said: int


def pooled(weights: torch.Tensor, how: How, *, k: int) -> torch.Tensor:
    """One weight for each place that is attended to.

    Args:
        weights: (..., places); all else is pooled over.
        how: See the module.
        k: How many the mean of `top` is of.
    """
    flat = weights.flatten(0, -2)
    if how == "max":
        return flat.amax(0)
    if how == "mean":
        return flat.mean(0)
    return flat.topk(min(k, len(flat)), dim=0).values.mean(0)


@torch.no_grad()
def attention_of(
    predictor: Predictor,
    observation: Observation,
    *,
    queries: Sequence[str] = (ACTIONS,),
    k: int = 5,
) -> Attention:
    """Attention at one moment.

    Args:
        predictor: The policy.
        observation: What it sees and is told.
        queries: `actions`, or words of the instruction.
        k: See `pooled`.

    Raises:
        UsageError: A word is not in the prompt, the policy has no tokens of actions, or the model
            has no attention matrices.
    """
    policy, settings = predictor.policy, predictor.settings
    if predictor.recipe.head == "steer":
        raise UsageError(
            parameter="run",
            place=f"attention of {predictor.recipe.backbone}",
            found="a policy over words, without a vision-language model",
            wanted="one whose layers attend to pictures and words",
        )
    batch = predictor.seen([observation])
    length = int(batch["length"][0])
    places = {
        query: predictor.encoder.places(observation.text, query)
        for query in queries
        if query != ACTIONS
    }
    said = 0
    if ACTIONS in queries:
        if policy.head.queries:
            places[ACTIONS] = list(range(length - policy.head.queries, length))
        elif predictor.speaks:
            batch, places[ACTIONS], said = _spoken(predictor, batch, length)
        else:
            raise UsageError(
                parameter="query",
                found=f"{ACTIONS} of the head {predictor.recipe.head}, which attends to the prompt "
                "from outside",
                wanted="a word of the instruction",
            )
    matrices = _matrices(policy.backbone, batch)
    found: dict[int, torch.Tensor] = {k: v for k, v in enumerate(matrices) if v is not None}
    if not found:
        raise UsageError(
            parameter="run",
            place=f"attention of {predictor.recipe.backbone}",
            found=f"{len(policy.backbone.blocks)} layers, none with an attention matrix",
            wanted="a model with at least one layer that is not linear",
        )
    every = torch.stack([matrix[0].double() for matrix in found.values()])
    visual = torch.cat(
        [torch.arange(a, a + rows * columns) for a, rows, columns in settings.pictures]
    )
    maps: dict[str, dict[How, dict[str, np.ndarray]]] = {}
    on_pictures: dict[str, float] = {}
    for query in queries:
        weights = every[:, :, places[query]]
        on_pictures[query] = float(weights[..., visual].sum(-1).mean())
        maps[query] = {}
        for how in HOW:
            at = pooled(weights, how, k=k).cpu().numpy()
            maps[query][how] = {
                camera: at[first : first + rows * columns].reshape(rows, columns)
                for camera, (first, rows, columns) in zip(
                    predictor.cameras, settings.pictures, strict=True
                )
            }
    return Attention(
        layers=tuple(sorted(found)),
        layers_in_all=len(policy.backbone.blocks),
        heads=int(every.shape[1]),
        maps=maps,
        on_pictures=on_pictures,
        said=said,
    )


def _spoken(
    predictor: Predictor, batch: dict[str, torch.Tensor], length: int
) -> tuple[dict[str, torch.Tensor], list[int], int]:
    """The prompt with what the policy says behind it, and where its actions are predicted."""
    head = predictor.policy.head
    ids = head.say(predictor.policy.backbone, batch)["tokens"][0]
    whole = torch.cat([batch["ids"][0, :length], torch.tensor(ids, device=batch["ids"].device)])
    last = batch["positions"][0, :, length - 1 : length]
    after = last + torch.arange(1, len(ids) + 1, device=last.device)
    seen = torch.cat([batch["seen"][0, :length], torch.ones(len(ids), dtype=torch.bool)])
    acts = [length - 1 + k for k, token in enumerate(ids) if token >= head.first]
    return (
        {
            **{name: batch[name] for name in ("pixels", "points", "pointed") if name in batch},
            "ids": whole[None],
            "positions": torch.cat([batch["positions"][0, :, :length], after], -1)[None],
            "seen": seen[None],
            "answer": (torch.arange(len(whole)) >= length)[None],
        },
        acts,
        len(ids),
    )


def _matrices(backbone: Any, batch: dict[str, torch.Tensor]) -> list[torch.Tensor | None]:
    """(1, heads, tokens, tokens) of each layer; None of one that has none."""
    model = backbone.model
    before = model.config.get_text_config()._attn_implementation
    kept: dict[int, torch.Tensor] = {}
    hooks = []
    for number, block in enumerate(backbone.blocks):
        attention = getattr(block, "self_attn", None)
        if attention is None:
            continue

        def keep(_: Any, __: Any, output: Any, number: int = number) -> None:
            if isinstance(output, tuple) and len(output) > 1 and output[1] is not None:
                kept[number] = output[1].detach()

        hooks.append(attention.register_forward_hook(keep))
    try:
        model.set_attn_implementation("eager")
        backbone.run(batch)
    finally:
        model.set_attn_implementation(before)
        for hook in hooks:
            hook.remove()
    return [kept.get(number) for number in range(len(backbone.blocks))]
