"""What is said to a policy: goals that name only the goal, and fine texts that name the manner too.

Phrasings are templates filled with synonyms, drawn with a seed. Some templates are held out: no
demonstration is ever described with them, so that success under them tells of words that were not
learnt by heart. Words of a factor are the same in both, or a held-out phrasing would ask for a
vocabulary and not for a sentence.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import numpy as np

from finedata.sim.factors import MANNERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.sim.factors import Wish

Wording = Literal["raw", "fine"]

GOALS = (
    "put the {colour} block {inside}",
    "place the {colour} block on the {place}",
    "move the {colour} cube to the {place}",
    "the {colour} block goes {into}",
    "bring the {colour} cube over to the {place}",
    "tidy the {colour} block away {into}",
)
GOALS_HELD_OUT = (
    "I want the {colour} block {inside}",
    "could you set the {colour} cube down {inside}",
    "drop off the {colour} block at the {place}",
)
FINE = (
    "[with the {arm} arm, ]grasp the {colour} block[ {approach}][, turn it {rotation}] and put it"
    " in the [{side} half of the ]tray",
    "[use the {arm} gripper to ]take the {colour} cube[ {approach}][; rotate it {rotation}], then"
    " set it down on the [{side} side of the ]tray",
    "the [{arm} arm|robot] picks the {colour} block up[ {approach}][, rotates it {rotation}] and"
    " places it in the [{side} half of the ]tray",
    "grasp the {colour} block[ {approach}][ with the {arm} gripper][, turn it {rotation}], and"
    " place it on the [{side} side of the ]tray",
    "put the {colour} cube in the [{side} half of the ]tray[: {arm} arm][, grasp {approach}]"
    "[, turn {rotation}]",
    "approach the {colour} block[ {approach}][ with the {arm} arm], lift it[, turn it {rotation}]"
    " and lower it onto the [{side} side of the ]tray",
    "move the {colour} block to the [{side} side of the ]tray[ with the {arm} arm]; take it"
    "[ {approach}][ and rotate it {rotation} on the way]",
    "take the {colour} cube[ {approach}][ using the {arm} arm][, spin it {rotation}], put it down"
    " in the [{side} half of the ]tray",
)
"""In brackets: what is said only if the value is known, and behind the bar what is said if not."""
FINE_HELD_OUT = (
    "the {colour} block should end in the {side} half of the tray, lifted {approach} by the {arm}"
    " arm and turned {rotation}",
    "{arm} arm: pick the {colour} cube {approach}, rotate {rotation}, place it on the {side} side"
    " of the tray",
    "while it is held by the {arm} gripper, turn the {colour} block {rotation}; grasp it"
    " {approach} and leave it in the {side} half of the tray",
)
_SAID = {
    "above": ("from above", "from the top"),
    "side": ("from the side", "sideways"),
    "clockwise": ("clockwise", "to the right, clockwise"),
    "counter-clockwise": ("counter-clockwise", "anticlockwise"),
}
_IF_KNOWN = re.compile(r"\[(?P<said>[^\]|]*\{(?P<name>\w+)\}[^\]|]*)(?:\|(?P<else>[^\]]*))?\]")
_WHERE = {
    "tray": {"place": "tray", "inside": "in the tray", "into": "into the tray"},
    "mat": {"place": "mat", "inside": "on the mat", "into": "onto the mat"},
}


def goal(wish: Wish) -> str:
    """The goal in the plainest words; the same for every manner.

    Example:
        >>> from finedata.sim.factors import Wish
        >>> goal(
        ...     Wish(colour="red", arm="left", approach="above", rotation="clockwise", side="left")
        ... )
        'put the red block in the tray'
    """
    return GOALS[0].format(colour=wish.colour, **_WHERE[wish.place])


def say(wish: Wish, *, wording: Wording, seed: int, held_out: bool = False) -> str:
    """A phrasing.

    Args:
        wish: What is wished.
        wording: `raw` names the goal only, `fine` the manner too.
        seed: Which phrasing and which synonyms.
        held_out: Take a phrasing that describes no demonstration.

    Raises:
        ValueError: A fine text of a goal that fine texts do not speak of.
    """
    if wording == "fine" and not wish.in_fine_texts:
        msg = f"no fine text speaks of the {wish.place} and a {wish.colour} block"
        raise ValueError(msg)
    if wording == "raw":
        templates = GOALS_HELD_OUT if held_out else GOALS
        rng = np.random.Generator(np.random.PCG64([seed, 4]))
        template = templates[int(rng.random() * len(templates))]
        return template.format(colour=wish.colour, **_WHERE[wish.place])
    known = {name: getattr(wish, name) for name in ("colour", *MANNERS)}
    return describe(known, seed=seed, held_out=held_out)


def describe(known: Mapping[str, str], *, seed: int, held_out: bool = False) -> str:
    """A fine-grained text of what is known; what is not known is left out.

    Args:
        known: `colour`, and of the factors of the manner those that are known.
        seed: Which phrasing and which synonyms.
        held_out: Take a phrasing that describes no demonstration; everything must be known.

    Example:
        >>> describe({"colour": "red", "arm": "left"}, seed=3)
        'grasp the red block with the left gripper, and place it on the tray'
    """
    rng = np.random.Generator(np.random.PCG64([seed, 4]))
    templates = FINE_HELD_OUT if held_out else FINE
    template = templates[int(rng.random() * len(templates))]
    drawn = {name: float(rng.random()) for name in ("approach", "rotation")}
    words = dict(known)
    for name, which in drawn.items():
        if name in known:
            synonyms = _SAID[known[name]]
            words[name] = synonyms[int(which * len(synonyms))]

    def told(found: re.Match[str]) -> str:
        return found["said"] if found["name"] in words else found["else"] or ""

    return _IF_KNOWN.sub(told, template).format(**words)
