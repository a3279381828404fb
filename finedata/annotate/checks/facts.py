"""Which atomic facts of an answer are kept: of closed dimensions and slots, anchored, none twice.

What can be repaired is repaired with a note, what cannot is an `AnswerError`. Anchors must be in
range, and no text may be empty. Duplicates go by the rules of RoboFine-Bench's extraction prompt: a
text occurs once in a dimension, and of facts with the same dimension, slot, object and anchor the
more specific one stays.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from finedata.annotate.asking.answers import (
    AtomsAnswer,
    Fact,
    RawFact,
    decode_answer,
    refuse,
    words,
)
from finedata.annotate.asking.columns import asked_columns, asked_values
from finedata.annotate.checks.steps import find_arm
from finedata.annotate.checks.verbs import VerbList, find_verb
from finedata.schema.dimension import DIMENSIONS, SLOT_DIMENSION, SLOTS
from finedata.schema.enums import FACT_UNITS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

_STEP_NUMBER = re.compile(r"\bsteps?[ _]*#?\d", re.IGNORECASE)
_STEP = re.compile(r"step_?(\d+)")
_BETWEEN = re.compile(r"between_?(?:step_?)?(\d+)(?:_and)?_?(?:step_?)?(\d+)")
_WHOLE = ("episode", "episode_start", "episode_end")
_FIXED = {"initial_configuration": "episode_start", "final_configuration": "episode_end"}
_UNITS = {
    **dict.fromkeys(("metre", "metres", "meter", "meters"), "m"),
    **dict.fromkeys(("radian", "radians"), "rad"),
    **dict.fromkeys(("second", "seconds", "sec"), "s"),
    **dict.fromkeys(("counts", "times"), "count"),
}
# What teachers write in spite of the request, and what it is in ours.
_SCALES = {
    "cm": ("m", 0.01),
    "mm": ("m", 0.001),
    "deg": ("rad", math.pi / 180),
    "degree": ("rad", math.pi / 180),
    "degrees": ("rad", math.pi / 180),
    "°": ("rad", math.pi / 180),
    "turn": ("rad", math.tau),
}
_TURNS = frozenset(
    ["turn", "turns", "rotation", "rotations", "revolution", "revolutions", "rev", "revs"]
)
_TURNED = frozenset(["rotation_angle", "rotation_direction", "base_motion", "camera_motion"])


def check_facts(
    value: Any, *, steps: int, verbs: VerbList = "full"
) -> tuple[list[Fact], list[str]]:
    """Check atomic facts.

    Args:
        value: The decoded answer.
        steps: Steps of the episode; anchors name them from 1.
        verbs: The list of verbs of the run. With `full`, the value of a primitive action that is
            a form or a synonym of one is written as that verb.

    Returns:
        Facts in canonical order of their dimensions, each as the teacher ordered them, and notes
        of what was repaired.

    Raises:
        AnswerError: No fact, an unknown dimension or slot, an anchor that names no step, an empty
            value or text, or a text that names a step by its number.
    """
    answer = decode_answer(value, AtomsAnswer)
    if not answer.facts:
        refuse("facts", "no fact", "at least one")
    notes: list[str] = []
    facts = [
        _checked(raw, f"fact {number}", steps=steps, verbs=verbs, notes=notes)
        for number, raw in enumerate(answer.facts, start=1)
    ]
    kept = deduplicated(facts, notes)
    kept.sort(key=lambda fact: DIMENSIONS.index(fact.dimension))
    return kept, notes


def _checked(raw: RawFact, place: str, *, steps: int, verbs: VerbList, notes: list[str]) -> Fact:
    dimension, slot = _dimension_and_slot(raw, place, notes)
    value, text = words(str(raw.value)), words(raw.text)
    if not value or not text:
        refuse(place, "an empty text", "a value and a sentence")
    if _STEP_NUMBER.search(text):
        refuse(place, f"{text!r}", "a sentence that names no step by its number")
    anchor, step, next_step = _anchor(raw.anchor, dimension, place, steps=steps, notes=notes)
    actor = find_arm(raw.actor)
    if slot == "actor":
        actor = find_arm(value)
        if actor is None or actor == "none":
            refuse(place, f"the actor {value!r}", "left, right or both")
        value = actor
    if slot == "primitive_action" and verbs == "full":
        verb = (find_verb(value, verbs=verbs, whole=True) or value).casefold()
        if verb != value.casefold():
            notes.append(f"{place}: verb {value!r} read as {verb!r}")
            value = verb
    number, unit = _quantity(raw, slot, place, notes)
    return Fact(
        dimension=dimension,
        slot=slot,
        value=value,
        text=text,
        anchor=anchor,
        object=words(raw.object or "") or None,
        actor=actor,
        number=number,
        unit=unit,
        step=step,
        next_step=next_step,
        confidence=_confidence(raw.confidence, place, notes),
        more=asked_values(raw.more, asked_columns(), place=place),
    )


def _dimension_and_slot(raw: RawFact, place: str, notes: list[str]) -> tuple[str, str]:
    dimension, slot = _name(raw.dimension), _name(raw.slot)
    if slot not in SLOT_DIMENSION:
        wanted = ", ".join(SLOTS.get(dimension, tuple(SLOT_DIMENSION)))
        refuse(place, f"the slot {raw.slot!r}", f"one of {wanted}")
    if dimension not in SLOTS:
        refuse(place, f"the dimension {raw.dimension!r}", f"one of {', '.join(DIMENSIONS)}")
    if SLOT_DIMENSION[slot] != dimension:
        # a slot belongs to one dimension only, so there is no doubt which was meant
        notes.append(f"{place}: {slot} moved from {dimension} to {SLOT_DIMENSION[slot]}")
    return SLOT_DIMENSION[slot], slot


def _name(text: str) -> str:
    return re.sub(r"[\s-]+", "_", text.strip()).casefold()


def read_anchor(text: str, *, steps: int) -> tuple[str, int | None, int | None] | None:
    """Read an anchor: its kind, its step and the next one, counted from 0.

    Args:
        text: `step_2`, `between_step_1_and_step_2`, `between_1_2`, `episode_start`, ...
        steps: How many steps there are.

    Returns:
        None where it is no anchor, or names a step that is not there.

    Example:
        >>> read_anchor("between_step_1_and_step_2", steps=2)
        ('between', 0, 1)
        >>> read_anchor("step_3", steps=2) is None
        True
    """
    name = _name(text)
    if name in _WHOLE:
        return name, None, None
    if match := _STEP.fullmatch(name):
        step = int(match[1]) - 1
        return ("step", step, None) if 0 <= step < steps else None
    if match := _BETWEEN.fullmatch(name):
        first, second = int(match[1]) - 1, int(match[2]) - 1
        return ("between", first, second) if 0 <= first < second < steps else None
    return None


def _anchor(
    text: str | None, dimension: str, place: str, *, steps: int, notes: list[str]
) -> tuple[str, int | None, int | None]:
    fixed = _FIXED.get(dimension)
    if text is None or not text.strip():
        # the published form writes null for what belongs to no step
        return fixed or "episode", None, None
    found = read_anchor(text, steps=steps)
    if found is None:
        refuse(place, f"the anchor {text!r}", f"step_1 to step_{steps}, or another kind")
    if fixed is not None and found[0] != fixed:
        notes.append(f"{place}: anchor {text} of {dimension} read as {fixed}")
        return fixed, None, None
    return found


def _quantity(
    raw: RawFact, slot: str, place: str, notes: list[str]
) -> tuple[float | None, str | None]:
    """A number with its unit, or neither."""
    if raw.number is None:
        return None, None
    unit = words(raw.unit or "").casefold()
    unit = _UNITS.get(unit, unit)
    number = float(raw.number)
    if unit in _TURNS:
        # of a robot or a tool that turns, an angle; elsewhere ("two turns of the lid") how often
        unit = "turn" if slot in _TURNED else "count"
        if unit == "count":
            notes.append(f"{place}: {raw.number:g} {raw.unit} counted")
    if unit in _SCALES:
        unit, scale = _SCALES[unit]
        notes.append(f"{place}: {raw.number:g} {raw.unit} written in {unit}")
        number *= scale
    if unit not in FACT_UNITS or not math.isfinite(number):
        notes.append(f"{place}: {raw.number:g} {raw.unit!r} left out, as it has no known unit")
        return None, None
    return number, unit


def _confidence(value: float | None, place: str, notes: list[str]) -> float | None:
    if value is None:
        return None
    if not 0.0 <= value <= 1.0:
        notes.append(f"{place}: confidence {value:g} left out, as it is not in 0 to 1")
        return None
    return float(value)


def deduplicated(facts: Sequence[Fact], notes: list[str]) -> list[Fact]:
    """Facts without duplicates, in their order.

    Args:
        facts: Any facts.
        notes: What is dropped is noted here.
    """
    once = _one_of_each(facts, _text_key, notes, "the same text")
    return _one_of_each(once, _place_key, notes, "the same slot, object and anchor")


def _one_of_each(
    facts: Sequence[Fact], key: Callable[[Fact], Hashable], notes: list[str], why: str
) -> list[Fact]:
    best: dict[Hashable, Fact] = {}
    for fact in facts:
        name = key(fact)
        known = best.get(name)
        if known is None:
            best[name] = fact
            continue
        # of equals the first stays; its place in the order stays either way
        kept, dropped = (fact, known) if _specific(fact) > _specific(known) else (known, fact)
        best[name] = kept
        notes.append(f"{dropped.dimension}: {dropped.text!r} dropped, {why} as {kept.text!r}")
    return list(best.values())


def _text_key(fact: Fact) -> Hashable:
    return fact.dimension, fact.text.casefold().rstrip(" .!")


def _place_key(fact: Fact) -> Hashable:
    thing = (fact.object or "").casefold()
    return fact.dimension, fact.slot, thing, fact.anchor, fact.step, fact.next_step


def _specific(fact: Fact) -> tuple[bool, int, int]:
    """More specific: with a number, then more words of value, then more words of text."""
    return fact.number is not None, len(fact.value.split()), len(fact.text.split())
