"""English forms of a verb: lift, lifts, lifted, lifting; of `pick up` those of its first word.

Written by rule and a list of the irregular ones among our verbs, and checked against one another
in the tests. A stemmer would fold too much (`position` and `posit`), a lemmatiser brings a model.
"""

from __future__ import annotations

import re

_VOWELS = "aeiou"
# Base -> past, participle (and further spellings); the rest of their forms go by rule.
_PAST = {
    "beat": ("beat", "beaten"),
    "bring": ("brought",),
    "cast": ("cast",),
    "catch": ("caught",),
    "cut": ("cut",),
    "draw": ("drew", "drawn"),
    "drive": ("drove", "driven"),
    "fall": ("fell", "fallen"),
    "give": ("gave", "given"),
    "go": ("went", "gone"),
    "hang": ("hung", "hanged"),
    "hit": ("hit",),
    "hold": ("held",),
    "keep": ("kept",),
    "lay": ("laid",),
    "lean": ("leaned", "leant"),
    "let": ("let",),
    "make": ("made",),
    "put": ("put",),
    "set": ("set",),
    "shake": ("shook", "shaken"),
    "shut": ("shut",),
    "slide": ("slid",),
    "spin": ("spun",),
    "spread": ("spread",),
    "stand": ("stood",),
    "strike": ("struck",),
    "sweep": ("swept",),
    "take": ("took", "taken"),
    "throw": ("threw", "thrown"),
    "wind": ("wound",),
    "withdraw": ("withdrew", "withdrawn"),
    "write": ("wrote", "written"),
}
# Stressed on the last syllable, or of one: the last letter is doubled.
_DOUBLED = frozenset(
    re.split(
        " ",
        "chop clap cut dip drag drop flip grab grip hit hug let nod pat pin plug put rub set shut "
        "skip slip slot spin stir tap tip trap tug unplug unwrap wrap zip",
    )
)
_IRREGULAR_ING = {"tie": "tying", "untie": "untying"}


def forms(verb: str) -> frozenset[str]:
    """All forms of a verb in lower case, its base among them.

    Example:
        >>> sorted(forms("pick up"))
        ['pick up', 'picked up', 'picking up', 'picks up']
        >>> sorted(forms("slide"))
        ['slid', 'slide', 'slides', 'sliding']
    """
    base, space, rest = verb.partition(" ")
    found = (base, _third(base), _ing(base), *_past(base))
    return frozenset(f"{form}{space}{rest}" for form in found)


def _third(base: str) -> str:
    if base.endswith(("s", "sh", "ch", "x", "z", "o")):
        return f"{base}es"
    if base.endswith("y") and base[-2] not in _VOWELS:
        return f"{base[:-1]}ies"
    return f"{base}s"


def _ing(base: str) -> str:
    if base in _IRREGULAR_ING:
        return _IRREGULAR_ING[base]
    if base in _DOUBLED:
        return f"{base}{base[-1]}ing"
    if base.endswith("e") and not base.endswith(("ee", "ye", "oe")):
        return f"{base[:-1]}ing"
    return f"{base}ing"


def _past(base: str) -> tuple[str, ...]:
    if base in _PAST:
        return _PAST[base]
    if base in _DOUBLED:
        return (f"{base}{base[-1]}ed",)
    if base.endswith("e"):
        return (f"{base}d",)
    if base.endswith("y") and base[-2] not in _VOWELS:
        return (f"{base[:-1]}ied",)
    return (f"{base}ed",)
