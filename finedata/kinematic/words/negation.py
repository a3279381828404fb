"""Whether words deny what they say: one list of such words for every reader of facts."""

from __future__ import annotations

import re

_NEGATED = re.compile(
    r"n't\b|\b(?:not|without|never|no|neither|nor|instead|fails? to|cannot|unable)\b"
)


def is_negated(text: str) -> bool:
    """Whether a normal text says that something is not so."""
    return _NEGATED.search(text) is not None
