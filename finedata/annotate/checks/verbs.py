"""The closed lists of verbs for action sequences, each with what a description of it must say.

`released` is the list of FineVLA's annotation pipeline (arXiv 2605.27284): fourteen verbs, hints in
our own words. It is narrower than the data it was made for: the paper counts 47 verbs, and of the
primitive actions in RoboFine-Bench's ground truth a third is outside it (lift, approach, retract,
lower, pull, ...). A teacher that saw a lift had to call it something else, or was refused and paid
again. `full`, the default, holds every verb seen there and those of the ten sources' tasks.

Forms are folded in both lists (picks up, lifting, pick_up), and a direction or the arm behind a
verb is let go (move downward, retract arm). Synonyms are folded in `full` only: of `released`
nothing else than its own verbs is taken, as its point is to be that list.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

from finedata.annotate.checks.verb_forms import forms

__all__ = ["VERB_LISTS", "VerbList", "find_verb", "verb_table", "verbs_of"]

VerbList = Literal["full", "released"]

_RELEASED: dict[str, str] = {
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
_FURTHER: dict[str, str] = {
    "Approach": "what is approached, from which side, and where the gripper stops before it",
    "Reach": "towards what, along which way, and how far the arm stretches",
    "Lift": "what is lifted, from what, how high and along which path",
    "Lower": "what is lowered, onto or into what, and how far",
    "Retract": "from what, in which direction and how far the arm goes back",
    "Transport": "what is carried, from where to where, at what height",
    "Position": "what is brought where, and its orientation there",
    "Align": "what is lined up with what, and along which edge or axis",
    "Hover": "above or beside what, and at what distance",
    "Extend": "which arm or part stretches out, in which direction and how far",
    "Shift": "what is displaced a little, in which direction and how far",
    "Slide": "what slides along what, in which direction and how far",
    "Pull": "the contact point, the direction and how far the object comes along",
    "Lean": "what is leant against what, and at what angle",
    "Flip": "about which edge or axis, and which side lies up at the end",
    "Tilt": "about which axis, to which side and about how far",
    "Twist": "about which axis, the sense and about how far",
    "Pour": "what is poured, from what into what, and how the vessel is tilted",
    "Stack": "what is put on what, and how the edges lie",
    "Drop": "from what height, and where and how it comes to rest",
    "Throw": "in which direction, and where it comes to rest",
    "Touch": "which part touches what, and where",
    "Hold": "what is held, where, and meanwhile what",
    "Squeeze": "which part is squeezed, how far, and what that causes",
    "Open": "what is opened, at which part, in which direction and how far",
    "Close": "what is closed, at which part, in which direction and how far",
    "Hand over": "from which hand to which, and where each holds it",
    "Hang": "what is hung on what, at which part",
    "Attach": "which part is joined to what, and how it is held there",
    "Detach": "which part is taken off what, and in which direction",
    "Screw": "the axis, the sense, how often, and how deep it sits",
    "Unscrew": "the axis, the sense, how often, and where it goes",
    "Cover": "with what, and what is covered",
    "Uncover": "what is taken off, and in which direction",
    "Fold": "along which line, which edge goes where",
    "Unfold": "which edge is drawn where, and how it lies at the end",
    "Spread": "what is spread, over what, and how far",
    "Straighten": "what is straightened, at which ends, and how it lies at the end",
    "Roll": "what is rolled, about which axis, in which direction and how far",
    "Wrap": "what is wrapped around what, and how often",
    "Tie": "which ends, with which knot",
    "Scoop": "with what, what is scooped, from where",
    "Stir": "with what, in what, the sense and how often",
    "Shake": "what is shaken, along which direction and how often",
    "Dip": "what is dipped into what, and how deep",
    "Cut": "with what, where, and in which direction",
    "Peel": "what is peeled off what, from which end",
    "Scrub": "with what, over which area, along which strokes and how often",
    "Brush": "with what, over which area, in which direction",
    "Draw": "with what, what is drawn or written, and where",
    "Scan": "what is held before what, at what distance",
    "Tap": "with which part, on what exactly, and how often",
    "Strike": "what strikes what, at which point, and how hard",
    "Plug": "which plug into which socket, and from which side",
    "Unplug": "which plug from which socket, and in which direction",
    "Sort": "what is put where, and by what",
    "Gather": "what is brought together, and where",
    "Drive": "where the base goes, in which direction and how far",
    "Wait": "which arm stays still, where, and for what",
}
VERB_LISTS: dict[VerbList, dict[str, str]] = {
    "full": {**_RELEASED, **_FURTHER},
    "released": _RELEASED,
}
"""List -> verb -> what to specify, in the order of the list."""

# Only what means the same: "carry" says more than "move", so it is Transport's.
_SYNONYMS: dict[str, tuple[str, ...]] = {
    "Grasp": ("grip", "clutch", "clasp", "pinch", "clamp", "take hold of", "regrasp"),
    "Grab": ("seize", "snatch", "catch"),
    "Drag": ("haul", "tow"),
    "Pick up": ("pick", "pickup", "take up", "take"),
    "Place": ("put", "put down", "set", "set down", "place down", "lay", "lay down", "deposit"),
    "Move": ("translate", "travel", "relocate", "go", "displace"),
    "Rotate": ("turn", "spin", "revolve", "swivel", "reorient"),
    "Insert": ("put in", "slot in", "slot"),
    "Push": ("shove", "nudge"),
    "Wipe": ("wipe off", "wipe down", "wipe up", "clean"),
    "Sweep": ("sweep up", "sweep away"),
    "Knock": ("knock over", "knock down", "topple", "tip over"),
    "Release": ("let go", "let go of", "unhand"),
    "Press": ("press down", "push down", "depress", "click"),
    "Approach": ("near", "close in on", "draw near"),
    "Reach": ("reach for", "reach out", "reach toward", "reach towards", "reach to"),
    "Lift": ("raise", "elevate", "lift up", "hoist"),
    "Lower": ("descend", "let down"),
    "Retract": ("withdraw", "retreat", "recede", "back off", "back away"),
    "Transport": ("carry", "convey", "transfer", "bring", "deliver"),
    "Position": ("reposition", "adjust"),
    "Align": ("line up", "center", "centre"),
    "Extend": ("stretch", "stretch out"),
    "Slide": ("glide",),
    "Pull": ("tug", "pull out", "pull open"),
    "Lean": ("prop",),
    "Flip": ("turn over", "flip over", "overturn", "invert"),
    "Tilt": ("tip", "incline"),
    "Pour": ("pour out", "empty"),
    "Stack": ("pile", "pile up", "stack up"),
    "Drop": ("drop off", "let fall"),
    "Throw": ("toss", "cast"),
    "Touch": ("contact", "make contact", "make contact with"),
    "Hold": ("keep hold of", "steady", "stabilize", "stabilise"),
    "Squeeze": ("compress",),
    "Open": ("unlatch",),
    "Close": ("shut", "latch"),
    "Hand over": ("hand", "pass", "give", "handover"),
    "Hang": ("hang up", "suspend"),
    "Attach": ("fasten", "connect", "mount", "join"),
    "Detach": ("remove", "take off", "disconnect", "unmount"),
    "Screw": ("tighten", "screw in"),
    "Unscrew": ("loosen",),
    "Cover": ("put the lid on",),
    "Fold": ("fold up", "fold over"),
    "Unfold": ("unroll",),
    "Spread": ("spread out", "smear"),
    "Straighten": ("smooth", "smooth out", "flatten"),
    "Roll": ("roll up",),
    "Wrap": ("wind", "coil"),
    "Scoop": ("ladle", "spoon", "scoop up"),
    "Stir": ("mix", "whisk"),
    "Shake": ("shake out",),
    "Dip": ("dunk", "immerse"),
    "Cut": ("slice", "chop"),
    "Peel": ("peel off",),
    "Scrub": ("rub", "polish"),
    "Draw": ("write", "trace"),
    "Tap": ("pat",),
    "Strike": ("hit", "hammer", "beat"),
    "Plug": ("plug in",),
    "Unplug": ("pull the plug",),
    "Gather": ("collect",),
    "Wait": ("pause", "idle", "stay", "stay still", "remain", "stand still"),
}
# What may stand behind a verb and be no part of it: which way, and what moves.
_BEHIND = frozenset(
    re.split(
        " ",
        "up upward upwards down downward downwards left leftward leftwards right rightward "
        "rightwards forward forwards backward backwards back away out outward outwards in inward "
        "inwards aside vertically horizontally diagonally sideways slightly clockwise "
        "counterclockwise to toward towards the its and arm gripper hand tool wrist effector end",
    )
)


def verbs_of(verbs: VerbList) -> tuple[str, ...]:
    """The verbs of a list, in its order."""
    return tuple(VERB_LISTS[verbs])


def find_verb(text: str, *, verbs: VerbList = "full", whole: bool = False) -> str | None:
    """The verb of the list that a text is, whatever its case, underscores or form.

    Args:
        text: What a teacher wrote.
        verbs: Which list.
        whole: Whether the text must be the verb and nothing else.

    Returns:
        The verb as the list spells it; None where it is none of them.

    Example:
        >>> find_verb("picks_up"), find_verb("lifting"), find_verb("retract arm")
        ('Pick up', 'Lift', 'Retract')
        >>> find_verb("Lift", verbs="released") is None
        True
    """
    words = re.sub(r"[\s_-]+", " ", text).strip(" .").casefold().split(" ")
    known = _known(verbs)
    for end in range(len(words), 0, -1):
        verb = known.get(" ".join(words[:end]))
        if verb is not None:
            behind = words[end:]
            return verb if not behind or (not whole and _BEHIND.issuperset(behind)) else None
    return None


@cache
def _known(verbs: VerbList) -> dict[str, str]:
    """Every form of every verb of a list, and of its synonyms in `full`, to the verb."""
    known: dict[str, str] = {}
    listed = verbs_of(verbs)
    if verbs == "full":
        for verb, others in _SYNONYMS.items():
            for other in others:
                known.update(dict.fromkeys(forms(other), verb))
    # last, so that a form of a verb of the list is that verb's
    for verb in listed:
        known.update(dict.fromkeys(forms(verb.casefold()), verb))
    return known


def verb_table(verbs: VerbList) -> str:
    """A list as the prompts show it, one verb a line."""
    return "\n".join(f"- {verb}: say {hint}" for verb, hint in VERB_LISTS[verbs].items())
