# pyright: basic, reportMissingImports=false
"""A backbone with a head: from a batch to the sums of its loss terms, or to actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from finedata.errors import UsageError
from finedata.train.annotator.model import AnnotatorHead
from finedata.train.backbone import load_backbone
from finedata.train.heads.dit import DitHead
from finedata.train.heads.oft import OftHead
from finedata.train.heads.steer import SteerHead
from finedata.train.heads.tokens import TokenHead
from finedata.train.words import WordsBackbone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.schema.recipe_file import Recipe
    from finedata.train.backbone import Backbone

_HEADS: dict[str, Any] = {"oft": OftHead, "gr00t": DitHead}


class Policy(nn.Module):
    """What is trained.

    Args:
        backbone: The body.
        head: One with `terms`, `weights`, `queries`, `counts`, `losses` and `predict`; see
            `OftHead`. `TokenHead` and `AnnotatorHead` have `say` in the place of `predict`.
        bf16: Run the body in bfloat16 over fp32 parameters; the head stays in fp32, as FineVLA's.
    """

    def __init__(self, backbone: Backbone, head: Any, *, bf16: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.bf16 = bf16
        self.notes: list[str] = []

    def forward(
        self, batch: Mapping[str, torch.Tensor], *, predict: bool = False, reasoning: bool = False
    ) -> dict[str, Any]:
        """Sums of the loss terms, or `{"action": (n, horizon, action_dim)}`, still normalised.

        Args:
            batch: See `finedata.train.data.inputs`.
            predict: Give actions.
            reasoning: And what is said beside them, `text` and its parts `reasoning`; see
                `TokenHead.say`.

        Raises:
            UsageError: The head does not reason.
        """
        if predict and isinstance(self.head, TokenHead):
            with torch.autocast(batch["ids"].device.type, torch.bfloat16, enabled=self.bf16):
                return self.head.say(self.backbone, batch, reasoning=reasoning)
        if reasoning:
            raise UsageError(
                parameter="reasoning", found="a head without words", wanted="the head tokens"
            )
        with torch.autocast(batch["ids"].device.type, torch.bfloat16, enabled=self.bf16):
            hidden = self.backbone(batch)
        hidden = hidden.float()
        if predict:
            return {"action": self.head.predict(hidden, batch)}
        return self.head.losses(hidden, batch)


def make_policy(
    recipe: Recipe,
    *,
    state_dim: int,
    action_dim: int,
    states: Sequence[str] = (),
    actions: Sequence[str] = (),
    meta: bool = False,
) -> Policy:
    """The policy of a recipe, with fresh weights where the backbone brings none.

    Args:
        recipe: Which.
        state_dim: Width of the states that the head is given.
        action_dim: Width of an action.
        states: Names of the states' numbers, which the head `steer` goes by.
        actions: Names of an action's numbers.
        meta: Make it without memory for weights.

    Raises:
        UsageError: The backbone lacks what the recipe wants of it.
    """
    torch.manual_seed(recipe.seed)
    if recipe.head == "steer":
        return _make_steered(recipe, states=states, actions=actions, meta=meta)
    backbone = load_backbone(recipe, meta=meta)
    with torch.device("meta" if meta else "cpu"):
        if recipe.head == "tokens":
            backbone.attend(recipe)
            head = TokenHead(recipe, backbone, action_dim=action_dim)
        elif recipe.head == "annotator":
            head = AnnotatorHead(recipe, backbone)
        else:
            head = _HEADS[recipe.head](
                recipe, hidden=backbone.width, state_dim=state_dim, action_dim=action_dim
            )
        if recipe.lora_rank:
            backbone.add_lora(recipe)
    notes = backbone.freeze(recipe)
    policy = Policy(backbone, head, bf16=recipe.precision == "bf16")
    policy.notes += notes
    return policy


def _make_steered(
    recipe: Recipe, *, states: Sequence[str], actions: Sequence[str], meta: bool
) -> Policy:
    """The head `steer` over a body of words."""
    with torch.device("meta" if meta else "cpu"):
        backbone: Any = WordsBackbone(recipe)
        head = SteerHead(recipe, hidden=backbone.width, states=states, actions=actions)
    return Policy(backbone, head, bf16=recipe.precision == "bf16")
