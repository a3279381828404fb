"""What each stage's answer must be: its types, and the JSON schema that is sent to the teacher.

An answer that does not fit is an `AnswerError` that says what is wrong; one that fits is a frozen
struct. The schemas name every property as required and allow no other, the strictest form that
servers with structured output accept; the types are as lenient as a value's meaning allows.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar, cast

import msgspec

from finedata.annotate.asking.columns import asked_columns, asked_schema
from finedata.annotate.checks.verbs import VerbList, verbs_of
from finedata.schema.dimension import DIMENSIONS, SLOT_DIMENSION
from finedata.schema.enums import ACTORS, FACT_UNITS
from finedata.teachers.protocol import UnusableAnswerError

__all__ = [
    "ATOMS_SCHEMA",
    "Action",
    "AnswerError",
    "AtomsAnswer",
    "Fact",
    "RawAction",
    "RawFact",
    "RawStep",
    "RefineAnswer",
    "SequenceAnswer",
    "Step",
    "StepsAnswer",
    "decode_answer",
    "refine_schema",
    "refuse",
    "sequence_schema",
    "steps_schema",
    "words",
]

_Number = float | int | None


class AnswerError(UnusableAnswerError):
    """An answer that does not say what was asked for: it is asked for again, and never used."""


class RawAction(msgspec.Struct, frozen=True):
    """An action as the teacher writes it."""

    verb: str
    object: str = ""
    arm: str | None = None
    detail: str = ""


class SequenceAnswer(msgspec.Struct, frozen=True):
    """Answer of the first stage."""

    action_sequence: list[RawAction]
    main_object: str


class RawStep(msgspec.Struct, frozen=True):
    """A step as the teacher writes it; frames are null where they were given."""

    verb: str
    text: str
    object: str | None = None
    arm: str | None = None
    start_frame: _Number = None
    end_frame: _Number = None


class StepsAnswer(msgspec.Struct, frozen=True):
    """Answer of the second stage."""

    steps: list[RawStep]


class RefineAnswer(msgspec.Struct, frozen=True):
    """Answer of the second stage where the source has steps of its own."""

    steps: list[RawStep]


class RawFact(msgspec.Struct, frozen=True):
    """A fact as the teacher writes it."""

    dimension: str
    slot: str
    value: str | float | int
    text: str
    object: str | None = None
    actor: str | None = None
    number: _Number = None
    unit: str | None = None
    anchor: str | None = None
    confidence: _Number = None
    more: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class AtomsAnswer(msgspec.Struct, frozen=True):
    """Answer of the third stage."""

    facts: list[RawFact]


class Action(msgspec.Struct, frozen=True):
    """An action of the sequence, checked."""

    verb: str
    object: str
    arm: str | None
    detail: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step, checked: half-open frames inside the episode.

    Attributes:
        text: What happens.
        start_frame: First frame.
        end_frame: One past the last.
        verb: A verb of the list; None where a source's step has none.
        object: What it acts on.
        arm: Acting arm.
        text_original: The source's own note, where the frames are the source's.
        reworded: Why `text` is not what the teacher wrote; see `step_wording`.
    """

    text: str
    start_frame: int
    end_frame: int
    verb: str | None = None
    object: str | None = None
    arm: str | None = None
    text_original: str | None = None
    reworded: str | None = None


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """A fact, checked; `step` and `next_step` count from 0, `more` is of `asked_columns`."""

    dimension: str
    slot: str
    value: str
    text: str
    anchor: str
    object: str | None = None
    actor: str | None = None
    number: float | None = None
    unit: str | None = None
    step: int | None = None
    next_step: int | None = None
    confidence: float | None = None
    more: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


Answer = TypeVar("Answer")


def decode_answer(value: Any, kind: type[Answer]) -> Answer:
    """Give a decoded JSON value its type.

    Args:
        value: What the answer's JSON holds.
        kind: The answer's type. Further keys are let pass; a list where an object with one list
            is wanted is taken for that list.

    Raises:
        AnswerError: It is something else.
    """
    fields = msgspec.structs.fields(kind)  # pyright: ignore[reportArgumentType]  (a Struct type)
    lists = [field.encode_name for field in fields if field.required]
    if isinstance(value, list) and len(lists) == 1:
        value = {lists[0]: cast("Any", value)}
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise AnswerError(
            place="the answer", found=str(error), wanted="JSON of the asked form"
        ) from error


def refuse(place: str, found: str, wanted: str) -> NoReturn:
    """Refuse an answer.

    Raises:
        AnswerError: Always.
    """
    raise AnswerError(place=place, found=found, wanted=wanted)


def words(text: str) -> str:
    """A text with its white space collapsed.

    Example:
        >>> words(" the  cup ")
        'the cup'
    """
    return " ".join(text.split())


def _closed_object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _or_null(kind: str) -> dict[str, Any]:
    return {"anyOf": [{"type": kind}, {"type": "null"}]}


def _enum_or_null(values: tuple[str, ...]) -> dict[str, Any]:
    return {"anyOf": [{"type": "string", "enum": list(values)}, {"type": "null"}]}


_TEXT: dict[str, Any] = {"type": "string"}
_ARM: dict[str, Any] = {"type": "string", "enum": list(ACTORS)}
_FRAME: dict[str, Any] = {"type": "integer"}


def _verb(verbs: VerbList) -> dict[str, Any]:
    return {"type": "string", "enum": list(verbs_of(verbs))}


def sequence_schema(verbs: VerbList) -> dict[str, Any]:
    """JSON schema of the action sequence."""
    action = _closed_object(verb=_verb(verbs), object=_TEXT, arm=_ARM, detail=_TEXT)
    return _closed_object(action_sequence=_list_of(action), main_object=_TEXT)


def steps_schema(verbs: VerbList) -> dict[str, Any]:
    """JSON schema of the refined steps."""
    said = {"verb": _verb(verbs), "object": _TEXT, "arm": _ARM, "text": _TEXT}
    return _closed_object(
        steps=_list_of(_closed_object(**said, start_frame=_FRAME, end_frame=_FRAME))
    )


def refine_schema(verbs: VerbList) -> dict[str, Any]:
    """JSON schema of refined steps whose frames are the source's."""
    said = {"verb": _verb(verbs), "object": _TEXT, "arm": _ARM, "text": _TEXT}
    return _closed_object(steps=_list_of(_closed_object(**said)))


ATOMS_SCHEMA = _closed_object(
    facts=_list_of(
        _closed_object(
            dimension={"type": "string", "enum": list(DIMENSIONS)},
            slot={"type": "string", "enum": list(SLOT_DIMENSION)},
            object=_or_null("string"),
            actor=_enum_or_null(ACTORS),
            value=_TEXT,
            number=_or_null("number"),
            unit=_enum_or_null(FACT_UNITS),
            text=_TEXT,
            anchor=_TEXT,
            confidence={"type": "number"},
            **({"more": asked_schema(asked_columns())} if asked_columns() else {}),
        )
    )
)
"""JSON schema of the atomic facts."""
