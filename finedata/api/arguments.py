"""Arguments that several verbs take, in the forms that people write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

__all__ = ["Names", "Views", "listed"]

Names: TypeAlias = str | Sequence[str]
"""Names: a sequence, or one text with commas."""
Views: TypeAlias = int | Literal["all"] | Sequence[str]
"""Cameras a teacher sees: so many, all, or by name."""


def listed(names: Names) -> tuple[str, ...]:
    """The names; empty ones are left out."""
    parts = names.split(",") if isinstance(names, str) else names
    return tuple(part.strip() for part in parts if part.strip())
