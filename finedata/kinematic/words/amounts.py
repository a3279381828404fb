"""What a teacher's words claim of amounts, grippers, shapes and verbs; see `vocabulary`."""

from __future__ import annotations

import re
from math import radians, tau

from finedata.kinematic.words.negation import is_negated

_NUMBER = r"(\d+(?:\.\d+)?)(?: ?(?:-|to) ?(\d+(?:\.\d+)?))?"
_LENGTH = re.compile(rf"{_NUMBER} ?(mm|millimet\w*|cm|centimet\w*|m|met(?:er|re)s?|inch(?:es)?)\b")
_ANGLE = re.compile(rf"{_NUMBER} ?(?:°|deg\b|degrees?\b)")
_ROTATIONS = re.compile(
    r"\b(\d+(?:\.\d+)?|one|two|three|four|five) (?:(?:full|complete|whole) )?"
    r"(?:turn|rotation|revolution)s?\b"
)
_TURNS = (("quarter turn", 90.0), ("half turn", 180.0), ("full turn", 360.0))


def extent_m(text: str) -> float | None:
    """A length that a normal text says once.

    Example:
        >>> extent_m("about 20 cm to the left")
        0.2
    """
    found = _LENGTH.findall(text)
    if len(found) != 1:
        return None
    low, high, unit = found[0]
    value = 0.5 * (float(low) + float(high)) if high else float(low)
    scale = 0.0254 if unit.startswith("inch") else 1.0
    scale = 0.001 if unit.startswith(("mm", "milli")) else scale
    return value * (0.01 if unit.startswith(("cm", "centi")) else scale)


def angle_rad(text: str) -> float | None:
    """An angle that a normal text says once, in degrees or in turns.

    Example:
        >>> round(angle_rad("3.5 rotations"), 2)
        21.99
    """
    counts: list[str] = _ROTATIONS.findall(text)
    angles = [tau * (_CARDINALS.get(count) or float(count)) for count in counts]
    angles += [
        radians(0.5 * (float(low) + float(high)) if high else float(low))
        for low, high in _ANGLE.findall(text)
    ]
    rest = _ROTATIONS.sub(" ", text)
    angles += [radians(degrees) for words, degrees in _TURNS if words in rest]
    return angles[0] if len(angles) == 1 else None


_CARDINALS = {
    "one": 1,
    "once": 1,
    "single": 1,
    "first": 1,
    "two": 2,
    "twice": 2,
    "second": 2,
    "three": 3,
    "third": 3,
    "four": 4,
    "five": 5,
}


def count_claim(text: str) -> int | None:
    """A count that a normal text says once: digits or words."""
    found = {int(word) for word in re.findall(r"\b\d+\b", text)}
    found |= {_CARDINALS[word] for word in text.split() if word in _CARDINALS}
    return found.pop() if len(found) == 1 else None


def closing_claim(text: str) -> tuple[str, bool] | None:
    """`close` or `open`, and whether that is a state that lasts; None where it is not said.

    Example:
        >>> closing_claim("the gripper stays closed")
        ('close', True)
    """
    if is_negated(text) or re.search(r"\b(?:half|partial|partially|slightly|semi)\b", text):
        return None
    closes = re.search(r"\bclos(?:e|es|ed|ing)\b|\bgrips?\b", text)
    opens = re.search(r"\bopen(?:s|ed|ing)?\b|\breleas(?:es|e|ed|ing)\b", text)
    if (closes is None) == (opens is None):
        return None
    lasts = re.search(r"\b(?:remains?|stays?|keeps?|kept|holds?|held|still|maintains?)\b", text)
    adjective = re.fullmatch(r"(?:the )?(?:gripper )?(?:is )?(?:closed|open)", text)
    return ("close" if closes else "open"), bool(lasts or adjective)


def shape_claim(text: str) -> str | None:
    """`straight`, `arc`, `circular` or `zigzag`, where a normal text says one of them."""
    if is_negated(text):
        return None
    found = [
        shape
        for shape, pattern in (
            ("straight", r"\bstraight|\blinear|\bdirect line"),
            ("arc", r"\barc|\barch|\bcurve|\bsemi ?circ"),
            ("circular", r"(?<!semi)(?<!semi )\bcircular|\bcircles?\b|\bspiral"),
            ("zigzag", r"\bzig ?zag|\bback and forth|\bto and fro|\bside to side|\breciprocat"),
        )
        if re.search(pattern, text)
    ]
    return found[0] if len(found) == 1 else None


_VERBS = (
    ("still", r"stays? still|stays? in place|waits?|idles?|idle|remains? still|holds? still"),
    (
        "grasp",
        r"re ?grasps?|grasp(?:s|ed|ing)?|grab(?:s|bing)?|grips?|pick(?:s|ed|ing)? up|pinch(?:es)?",
    ),
    ("release", r"releas(?:e|es|ed|ing)|lets? go|drops?"),
    ("lift", r"lift(?:s|ed|ing)?|rais(?:e|es|ed|ing)|elevates?"),
    ("lower", r"lower(?:s|ed|ing)?|descends?"),
    ("rotate", r"rotat(?:e|es|ed|ing)|twist(?:s|ed|ing)?|tilt(?:s|ed|ing)?|pour(?:s|ed|ing)?"),
    (
        "move",
        r"mov(?:e|es|ed|ing)|reach(?:es|ed|ing)?|approach(?:es|ed|ing)?|transports?|carr(?:y|ies)|"
        r"brings?|transfers?|retracts?|withdraws?|retreats?|push(?:es|ed|ing)?|pulls?|slides?|drags?",
    ),
)


def verb_claim(text: str) -> str | None:
    """The family of a verb at the beginning of a normal text; None for others and for negations."""
    if is_negated(text):
        return None
    found: list[tuple[int, str]] = []
    for family, pattern in _VERBS:
        match = re.search(rf"\b(?:{pattern})\b", text)
        if match is not None:
            found.append((match.start(), family))
    return min(found)[1] if found else None
