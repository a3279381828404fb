"""Recipes of tests: `tiny_oft` with changes."""

from __future__ import annotations

from typing import Any

import msgspec

from finedata.schema.recipe_file import Recipe, find_recipe

TINY = find_recipe("tiny_oft").recipe


def recipe(**changes: Any) -> Recipe:
    return msgspec.structs.replace(TINY, **changes)
