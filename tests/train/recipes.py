"""Recipes of tests: a shipped one with changes; and what the first step of one really costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from finedata.schema.recipe_file import Recipe, RecipeFile, find_recipe

if TYPE_CHECKING:
    from pathlib import Path


def recipe_file(name: str = "tiny_oft", **changes: Any) -> RecipeFile:
    found = find_recipe(name)
    return msgspec.structs.replace(
        found, recipe=msgspec.structs.replace(found.recipe, **changes), changed={}
    )


def recipe(**changes: Any) -> Recipe:
    return recipe_file(**changes).recipe


def estimated_over_counted(file: RecipeFile, shards: Path, run: Path) -> float:
    """Operations that a run believes in, of those that torch counts in its first step."""
    from torch.utils.flop_counter import FlopCounterMode

    from finedata.train.loop import Trainer

    trainer: Any = Trainer(file, shards, run, device="cpu", workers=0)
    with FlopCounterMode(display=False) as counter:
        last = trainer.train(stop=1).last
    believed = last["mfu"]["of_matmul"] * trainer._matmul * last["step_s"]
    return believed / counter.get_total_flops()
