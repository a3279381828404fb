"""The closed list of verbs for action sequences, each with what a description of it must say.

The fourteen verbs are those of FineVLA's annotation pipeline (arXiv 2605.27284); the hints are in
our own words. What a teacher writes comes in, the verb of the list goes out, or None: `Lift` and
`Stack`, which FineVLA's own examples use, are not in its list and are refused here.
"""

from __future__ import annotations

import re

__all__ = ["VERBS", "VERB_HINTS", "find_verb", "verb_table"]

VERB_HINTS: dict[str, str] = {
    "Grasp": "which part is closed on, from which side the gripper comes, how wide it opens",
    "Grab": "the part that is seized, from which side, and whether it is held at once",
    "Drag": "the contact point, the direction and distance along the surface, where it stops",
    "Pick up": "where it is held, how high and along which path it leaves the surface",
    "Place": "the exact target place, what it ends beside, in or on, and its final orientation",
    "Move": "what is carried or which arm travels, from where to where, direction and distance",
    "Rotate": "the axis, the sense (clockwise or counter-clockwise) and about how far",
    "Insert": "which end goes into what, the direction, how deep, and how it is aligned",
    "Push": "the contact point, the direction and how far the object is displaced",
    "Wipe": "with what, over which area, along which strokes and how often",
    "Sweep": "with what, what is gathered, from where to where",
    "Knock": "what strikes what, at which point, and what the strike causes",
    "Release": "where it is let go, at what height, and how the object comes to rest",
    "Press": "with which part, on what exactly, in which direction, and what it causes",
}
"""Verb -> what to specify, in the order of the list."""

VERBS: tuple[str, ...] = tuple(VERB_HINTS)
"""The fourteen verbs."""

_FOLDED = {verb.casefold(): verb for verb in VERBS}
# "Picks up", "Pushes": the third person of a verb of the list.
_THIRD_PERSON = {
    (first + ("es" if first.endswith(("sh", "ss")) else "s") + rest).casefold(): verb
    for verb in VERBS
    for first, space, after in [verb.partition(" ")]
    for rest in [space + after]
}


def find_verb(text: str) -> str | None:
    """The verb of the list that a text is, whatever its case, underscores or person.

    Args:
        text: What a teacher wrote.

    Returns:
        The verb as the list spells it; None where it is none of them.

    Example:
        >>> find_verb("picks_up")
        'Pick up'
        >>> find_verb("Lift") is None
        True
    """
    folded = re.sub(r"[\s_-]+", " ", text).strip(" .").casefold()
    return _FOLDED.get(folded) or _THIRD_PERSON.get(folded)


def verb_table() -> str:
    """The list as the prompts show it, one verb a line."""
    return "\n".join(f"- {verb}: say {hint}" for verb, hint in VERB_HINTS.items())
