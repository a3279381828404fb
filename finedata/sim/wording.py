"""What is said to a policy: goals that name only the goal, and fine texts that name the manner too.

Phrasings are templates filled with synonyms, drawn with a seed. Some templates are held out: no
demonstration is ever described with them, so that success under them tells of words that were not
learnt by heart. Words of a factor are the same in both, or a held-out phrasing would ask for a
vocabulary and not for a sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
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
    "with the {arm} arm, grasp the {colour} block {approach}, turn it {rotation} and put it in the"
    " {side} half of the tray",
    "use the {arm} gripper to take the {colour} cube {approach}; rotate it {rotation}, then set it"
    " down on the {side} side of the tray",
    "the {arm} arm picks the {colour} block up {approach}, rotates it {rotation} and places it in"
    " the {side} half of the tray",
    "grasp the {colour} block {approach} with the {arm} gripper, turn it {rotation}, and place it"
    " on the {side} side of the tray",
    "put the {colour} cube in the {side} half of the tray: {arm} arm, grasp {approach}, turn"
    " {rotation}",
    "approach the {colour} block {approach} with the {arm} arm, lift it, turn it {rotation} and"
    " lower it onto the {side} side of the tray",
    "move the {colour} block to the {side} side of the tray with the {arm} arm; take it {approach}"
    " and rotate it {rotation} on the way",
    "take the {colour} cube {approach} using the {arm} arm, spin it {rotation}, put it down in the"
    " {side} half of the tray",
)
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
    rng = np.random.Generator(np.random.PCG64([seed, 4]))
    templates = {
        ("raw", False): GOALS,
        ("raw", True): GOALS_HELD_OUT,
        ("fine", False): FINE,
        ("fine", True): FINE_HELD_OUT,
    }[wording, held_out]
    template = templates[int(rng.random() * len(templates))]
    words = {
        name: _SAID[value][int(rng.random() * len(_SAID[value]))]
        for name, value in (("approach", wish.approach), ("rotation", wish.rotation))
    }
    return template.format(
        colour=wish.colour, arm=wish.arm, side=wish.side, **_WHERE[wish.place], **words
    )
