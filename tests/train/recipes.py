"""Recipes of tests: a shipped one with changes."""

from __future__ import annotations

from typing import Any

import msgspec

from finedata.schema.recipe_file import Recipe, RecipeFile, find_recipe


def recipe_file(name: str = "tiny_oft", **changes: Any) -> RecipeFile:
    found = find_recipe(name)
    return msgspec.structs.replace(
        found, recipe=msgspec.structs.replace(found.recipe, **changes), changed={}
    )


def recipe(**changes: Any) -> Recipe:
    return recipe_file(**changes).recipe
