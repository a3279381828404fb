"""The judge of sentences: what a step's wording claims, each claim held against the motion.

The same judge as for facts, fed with the claims that a clause makes plainly. A sentence says more
than a value, so a clause counts only where it can be read in one way: what stands behind "before",
"until" or "so that" is of another moment, what names a place is no direction, and a number is an
extent only behind "by" or "for". Better a false wording kept than a true one thrown away.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from finedata.kinematic.judge.run import judge
from finedata.kinematic.words import vocabulary as say
from finedata.kinematic.words.steps import episode_steps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.kinematic.measured import Measured

__all__ = ["arm_contradiction", "contradiction", "measured_wording", "verb_contradiction"]

_ELSEWHERE = re.compile(
    r"\b(?:before|after|until|till|when|once|so that|in order to|ready to|to be|prior)\b.*"
)
_CLAUSES = re.compile(r"[;,.]\s|\s+(?:and|then|while|as)\s+")
_PLACE = re.compile(
    r"\b(?:on|at|in|of|with|near|inside|beside|over|onto|its|far) (?:the |its )?(?:\w+ )?"
    r"(?:left|right|front|back|top|bottom|upper|lower|up|down)\b(?: side| edge| half| corner)?"
)
_FINGERS = r"(?:gripper|fingers?|jaws?|claws?)"
_OPENS = re.compile(
    rf"\b{_FINGERS} (?:opens?|closes?)\b"
    rf"|\b(?:opens?|closes?|opening|closing) (?:the |its |both )?(?:left |right )?{_FINGERS}\b"
)
_TURNS = re.compile(r"\b(?:rotat|turn|twist|tilt|spin|swivel|flip)\w*")
_AMOUNT = re.compile(r"\b(?:by|for) (?:about |roughly |around |approximately |some )?\d")
_FROM = re.compile(
    r"\b(?:approach|reach|com|descend)\w* .*?(\bfrom (?:directly )?(?:the )?"
    r"(?:above|below|top|left|right|front|back)\b)"
)
_MOVES = ("move", "lift", "lower")
_ELLIPTIC = re.compile(
    r"(?:slightly )?(?:(?:to|toward|towards) the (?:left|right)\b|up\b|down\b"
    r"|(?:up|down|left|right|for|back)ward)"
)
# The verb at a sentence's beginning, behind the arm that it may name.
_LEADING = re.compile(
    r"(?:the )?(?:robot(?:'s)? )?(?:(?:left|right) )?(?:(?:robot )?(?:arm|gripper|hand) )?"
    r"(?:\w+ly )?(picks up|pick up|lets go|stays still|\w+)\b"
)
_RESTS = re.compile(r"\b(?:hold|steady|steadies|keep|wait|stay|hover|still|brac|stabili)")
_RESTING_VERBS = frozenset(["Hold", "Wait", "Hover", "Lean", "Position"])


def contradiction(
    text: str, measured: Measured, *, frames: tuple[int, int], arm: str | None, object: str | None
) -> str:
    """The first claim of a sentence that the motion contradicts, and what it shows; "" if none.

    Args:
        text: The sentence.
        measured: The episode.
        frames: First frame that it is about, and one past the last.
        arm: Which arm acts: `left`, `right`, `both`; anything else: not said.
        object: What is acted on.

    Example:
        >>> import numpy as np
        >>> from finedata.kinematic.measure import measure
        >>> from finedata.kinematic.motion import ArmMotion, EpisodeMotion
        >>> arm = ArmMotion("right", gripper_open=np.repeat([1.0, 0.0], 20))
        >>> measured = measure(EpisodeMotion((arm,), fps=10.0, frames=40))
        >>> where = {"frames": (15, 25), "arm": "right", "object": None}
        >>> contradiction("The gripper opens.", measured, **where)
        'gripper_state "gripper opens": it does not open, but close'
        >>> contradiction("The gripper closes.", measured, **where)
        ''
    """
    for slot, value in _claims(text):
        fact = {
            "slot": slot,
            "value": value,
            "text": say.normal(text),
            "actor": arm,
            "object": object,
            "start_frame": frames[0],
            "end_frame": frames[1],
        }
        found = judge(fact, measured)
        if found.verdict == "contradicted":
            return f'{slot} "{value}": {found.why}'
    return ""


def verb_contradiction(
    verb: str, measured: Measured, *, frames: tuple[int, int], arm: str | None, object: str | None
) -> str:
    """The same of a step's verb."""
    fact = {
        "slot": "primitive_action",
        "value": verb,
        "actor": arm,
        "object": object,
        "start_frame": frames[0],
        "end_frame": frames[1],
    }
    found = judge(fact, measured)
    if found.verdict != "contradicted":
        return ""
    return f'primitive_action "{verb.casefold()}": {found.why}'


def arm_contradiction(
    arm: str | None, text: str, verb: str | None, measured: Measured, *, frames: tuple[int, int]
) -> str:
    """The same of the arm that is said to act; one that holds or waits need not move."""
    resting = verb in _RESTING_VERBS or _RESTS.search(say.normal(text)) is not None
    if arm not in ("left", "right", "both") or resting:
        return ""
    fact = {
        "slot": "actor",
        "value": f"{arm} arm",
        "start_frame": frames[0],
        "end_frame": frames[1],
    }
    found = judge(fact, measured)
    return f"actor {arm!r}: {found.why}" if found.verdict == "contradicted" else ""


def measured_wording(measured: Measured, *, frames: tuple[int, int], arm: str | None) -> str:
    """What the motion itself says of some frames: its longest stretches; "" where it says nothing.

    Args:
        measured: The episode.
        frames: The first, and one past the last.
        arm: Whose stretches; None or another word: any arm's.
    """
    start, end = frames
    said: list[str] = []
    for step in episode_steps(measured):
        inside = min(end, step.segment.end_frame) - max(start, step.segment.start_frame)
        long = 2 * inside > step.segment.end_frame - step.segment.start_frame
        longest = 2 * inside > end - start
        if step.arm != "none" and (long or longest) and arm in (step.arm, "both", "none", None):
            said.append(step.text.replace(f" {step.when}", ""))
    moving = [text for text in said if "stays still" not in text]
    return " ".join(dict.fromkeys(moving or said))


def _claims(text: str) -> Iterator[tuple[str, str]]:
    """Slot and value of every claim that a sentence makes plainly."""
    moves = False
    for part in _CLAUSES.split(_ELSEWHERE.sub("", text.casefold())):
        clause = say.normal(part)
        if not clause or say.is_negated(clause):
            continue
        # "up and to the left": the verb is that of the clause before
        moves = say.verb_claim(clause) in _MOVES or (moves and _ELLIPTIC.match(clause) is not None)
        verb = _LEADING.match(clause)
        if verb is not None and say.verb_claim(verb.group(1)) is not None:
            yield "primitive_action", verb.group(1)
        yield from _claims_of_clause(clause, moves=moves)


def _claims_of_clause(clause: str, *, moves: bool) -> Iterator[tuple[str, str]]:
    if opens := _OPENS.search(clause):
        yield "gripper_state", opens.group()
    elif _TURNS.search(clause):
        if say.rotation_claim(clause) is not None:
            yield "rotation_direction", clause
        if say.angle_rad(clause) is not None:
            yield "rotation_angle", clause
    elif came := _FROM.search(clause):
        yield "approach_direction", came.group(1)
    elif moves:
        way = _PLACE.sub(" ", clause)
        if say.directions(way) is not None:
            yield "translation_direction", way
        if _AMOUNT.search(clause) and say.extent_m(clause) is not None:
            yield "translation_extent", clause
