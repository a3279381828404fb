"""What a teacher's words claim, in closed words; nothing where they can be read in two ways.

Tolerant of spelling ("to the left", "leftwards", "anti-clockwise", "raises"), never guessing: what
names a place ("to the left of the bowl"), a negation or another's point of view claims nothing
here.
"""

from __future__ import annotations

import re

from finedata.kinematic.words.amounts import (
    angle_rad,
    closing_claim,
    count_claim,
    extent_m,
    shape_claim,
    verb_claim,
)
from finedata.kinematic.words.negation import is_negated

__all__ = [
    "angle_rad",
    "arm_claim",
    "closing_claim",
    "count_claim",
    "directions",
    "extent_m",
    "is_negated",
    "mentions_robot",
    "normal",
    "rotation_claim",
    "shape_claim",
    "sources",
    "stationary",
    "verb_claim",
]

_SPACES = re.compile(r"\s+")
_ARM_WORD = (
    r"(?:robot(?:ic)? )?"
    r"(?:arm|gripper|hand|end effector|effector|manipulator|wrist|claw|fingers?)s?"
)
_ARM = re.compile(rf"\b(left|right)(?: (?:side|most))? {_ARM_WORD}\b")
_BOTH = re.compile(
    rf"\b(?:both|two) {_ARM_WORD}\b|\bbimanual|\bboth\b$|\bleft and right {_ARM_WORD}"
)
_ROBOT = re.compile(rf"\b(?:robot|tool|{_ARM_WORD})\b")
_STILL = re.compile(
    r"\b(?:stationary|still|static|fixed|motionless|idle|(?:not|no|without) (?:\w+ )?"
    r"(?:move|moving|motion|movement)|does(?:n't| not) move|no (?:base|torso|camera|head) motion|"
    r"none)\b"
)

_WORDS = {
    "left": "left",
    "leftward": "left",
    "leftwards": "left",
    "right": "right",
    "rightward": "right",
    "rightwards": "right",
    "up": "up",
    "upward": "up",
    "upwards": "up",
    "raise": "up",
    "raises": "up",
    "raised": "up",
    "raising": "up",
    "lifts": "up",
    "lift": "up",
    "lifted": "up",
    "lifting": "up",
    "rises": "up",
    "rising": "up",
    "ascends": "up",
    "ascending": "up",
    "down": "down",
    "downward": "down",
    "downwards": "down",
    "lowers": "down",
    "lowering": "down",
    "lowered": "down",
    "descends": "down",
    "descending": "down",
    "forward": "forward",
    "forwards": "forward",
    "backward": "backward",
    "backwards": "backward",
    "back": "backward",
}
# What may follow a direction: else it is part of the name of a thing or a place.
_FOLLOW = frozenset(
    [
        "and",
        "or",
        "then",
        "by",
        "about",
        "around",
        "roughly",
        "approximately",
        "slightly",
        "while",
        "until",
        "before",
        "after",
        "from",
        "with",
        "between",
        "during",
        "for",
        "at",
        "along",
        "through",
        "in",
        "direction",
        "side",
        "diagonally",
        "horizontally",
        "vertically",
        "straight",
        "directly",
        "to",
        "toward",
        "towards",
        "into",
        "over",
    ]
)
_OWN = r"(?:the )?(?:robot|robot's|its|base|robot base|body|itself|robot body|its base|its body)\b"
_TO_ROBOT = re.compile(rf"\b(?:toward|towards|closer to|back to|nearer to) {_OWN}")
_FROM_ROBOT = re.compile(rf"\baway from {_OWN}|^away$|\bfarther away\b|\bfurther away\b")
_FROM_TO = re.compile(r"\bfrom (?:the )?(?:far )?(?:left|right|top|bottom|front|back) to (?:the )?")


def normal(text: str | None) -> str:
    """Fold case, white space, hyphens and the spellings of "counterclockwise".

    Example:
        >>> normal("Anti-Clockwise,  by 90 degrees.")
        'counterclockwise by 90 degrees'
    """
    folded = (text or "").casefold().replace("\u2019", "'")
    folded = re.sub(r"(?<=[a-z])[-_/](?=[a-z])", " ", folded)
    folded = re.sub(r"[^a-z0-9.°'\-+ ]|\.(?!\d)", " ", folded)
    folded = re.sub(r"\b(?:counter|anti) ?clockwise\b|\bccw\b", "counterclockwise", folded)
    folded = re.sub(r"\bcw\b", "clockwise", folded)
    return _SPACES.sub(" ", folded).strip()


def mentions_robot(text: str) -> bool:
    """Whether a normal text speaks of the robot, an arm, a gripper."""
    return _ROBOT.search(text) is not None


def stationary(text: str) -> bool:
    """Whether a normal text says that nothing moves."""
    return _STILL.search(text) is not None


def arm_claim(text: str) -> str | None:
    """`left`, `right` or `both`, where a normal text names exactly that.

    Example:
        >>> arm_claim("the left gripper moves to the right")
        'left'
    """
    if _BOTH.search(text):
        return "both"
    named = set(_ARM.findall(text))
    if text in ("left", "right"):
        named = {text}
    return named.pop() if len(named) == 1 else None


def directions(text: str) -> tuple[str, ...] | None:
    """The directions that a normal text claims, each once; None where there is none or a doubt.

    Example:
        >>> directions("moves upward and to the left")
        ('up', 'left')
        >>> directions("to the left of the bowl") is None
        True
    """
    if is_negated(text):
        return None
    text = _ARM.sub(" ", text)
    text = _FROM_TO.sub("to the ", text)
    text = re.sub(
        r"\bupside down\b|\bback and forth\b|\b(?:picks?|picking|set|put|puts) up\b", " ", text
    )
    found: list[str] = []
    if _TO_ROBOT.search(text):
        found.append("backward")
        text = _TO_ROBOT.sub(" ", text)
    if _FROM_ROBOT.search(text):
        found.append("forward")
        text = _FROM_ROBOT.sub(" ", text)
    tokens = text.split()
    for k, token in enumerate(tokens):
        word = _WORDS.get(token)
        if word is None:
            continue
        after = tokens[k + 1] if k + 1 < len(tokens) else ""
        verb = token[:4] in ("lift", "rais", "lowe", "desc", "asce", "risi", "rise")
        names_place = not verb and after and not _may_follow(after)
        if names_place or (
            token == "back" and after in ("to", "toward", "towards", "into", "from", "side")
        ):
            return None
        if word not in found:
            found.append(word)
    return tuple(found) or None


def _may_follow(after: str) -> bool:
    return after in _FOLLOW or after in _WORDS or after[0].isdigit()


_SOURCES = (
    (r"above|top|overhead|over|downwards?|descending", "down"),
    (r"below|underneath|beneath|under|bottom|upwards?", "up"),
    (r"left", "right"),
    (r"right", "left"),
    (r"front|near side|nearer side|closer side|near", "forward"),
    (r"back|behind|rear|far side|farther side|further side", "backward"),
)


def sources(text: str) -> tuple[str, ...] | None:
    """How a gripper moves that comes from where a normal text says; None where that is not said.

    Front is the side nearer to the robot.

    Example:
        >>> sources("from above and the left side")
        ('down', 'right')
    """
    if is_negated(text):
        return None
    text = _ARM.sub(" ", text)
    found = [way for pattern, way in _SOURCES if re.search(rf"\b(?:{pattern})\b", text)]
    pairs = ({"down", "up"}, {"left", "right"}, {"forward", "backward"})
    if not found or any(pair <= set(found) for pair in pairs):
        return None
    return tuple(found)


def rotation_claim(text: str) -> tuple[str, str | None] | None:
    """Sense and axis that a normal text claims, axis None where it is not said.

    Senses are those of `directions.rotation_words`, or `any` where only an axis is named.

    Example:
        >>> rotation_claim("rotates counterclockwise about the vertical axis")
        ('counter-clockwise', 'vertical')
    """
    if is_negated(text) or re.search(
        r"\bfrom (?:below|the (?:camera|front|side|left|right))\b", text
    ):
        return None
    axis = None
    if re.search(r"\bvertical(?: z)? axis|\bfrom above|\bz axis|\byaw|\bhorizontal plane", text):
        axis = "vertical"
    elif re.search(
        r"\bapproach(?:ing)? axis|\bits own axis|\btool axis|\bwrist axis|\bforearm axis", text
    ):
        axis = "approach"
    elif re.search(r"\blateral axis|\bpitch|\bleft right axis", text):
        axis = "lateral"
    elif re.search(r"\bforward backward axis|\bfrontal axis|\bforward axis", text):
        axis = "frontal"
    turns = [
        word
        for word, pattern in (
            ("clockwise", r"\bclockwise\b"),
            ("counter-clockwise", r"\bcounterclockwise\b"),
        )
        if re.search(pattern, text)
    ]
    tilts = set(
        re.findall(
            r"\b(?:tilt|tip|lean)(?:s|ed|ing|ping|ps)? (?:\w+ ){0,3}?(forward|backward|left|right)",
            text,
        )
    )
    if len(turns) + len(tilts) > 1:
        return None
    if turns:
        return turns[0], axis
    if tilts:
        way = tilts.pop()
        return f"tilts {way}", "lateral" if way in ("forward", "backward") else "frontal"
    return ("any", axis) if axis else None
