"""Columns of `facts` that teachers fill as they are told: declared in the table, and nowhere else.

A nullable column whose declaration says `asked` is a key of `more` in every fact of the teacher's
answer: the prompt tells of it, the answer's JSON schema has it, the check holds it to its type and
closed list, and the row takes it. What needs more thought than that (a slot, an anchor, a unit) is
a field of its own in `answers.py`. While no column says `asked`, prompts and schemas are as
published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from finedata.schema.tables.annotation import FACTS
from finedata.teachers.protocol import UnusableAnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.schema.columns import Column

_JSON: dict[str, tuple[str, type]] = {
    "string": ("string", str),
    "bool": ("boolean", bool),
    "int32": ("integer", int),
    "int64": ("integer", int),
    "float32": ("number", float),
    "float64": ("number", float),
}


def asked_columns() -> tuple[Column, ...]:
    """Those of `facts`."""
    return tuple(column for column in FACTS.columns if column.asked)


def asked_schema(columns: Sequence[Column]) -> dict[str, Any]:
    """JSON schema of a fact's `more`."""
    return {
        "type": "object",
        "properties": {column.name: _schema_of(column) for column in columns},
        "required": [column.name for column in columns],
        "additionalProperties": False,
    }


def _schema_of(column: Column) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": _JSON[column.type][0]}
    if column.enum is not None:
        kind["enum"] = list(column.enum)
    return {"anyOf": [kind, {"type": "null"}]}


def asked_text(columns: Sequence[Column]) -> str:
    """What the prompt says of them; empty where there is none."""
    if not columns:
        return ""
    lines = [f"- {column.name}: {column.asked}{_choices(column)}" for column in columns]
    return "\n".join(
        [
            "Every fact also has `more`, an object with these keys; null where you cannot tell:",
            *lines,
        ]
    )


def _choices(column: Column) -> str:
    return "" if column.enum is None else f" ({', '.join(column.enum)})"


def asked_values(
    given: Mapping[str, Any], columns: Sequence[Column], *, place: str
) -> dict[str, Any]:
    """What a fact says of them: column to its value.

    Args:
        given: `more` of the answer's fact; keys that nobody asked for are let pass.
        columns: Those asked for.
        place: The fact.

    Raises:
        UnusableAnswerError: A value is of another type, or not of its list.
    """
    found: dict[str, Any] = {}
    for column in columns:
        value = given.get(column.name)
        if value is not None:
            try:
                value = cast("Any", msgspec.convert(value, _JSON[column.type][1], strict=False))
            except msgspec.ValidationError as error:
                raise UnusableAnswerError(
                    place=f"{place}, {column.name}", found=f"{error}", wanted=column.asked
                ) from error
            if column.enum is not None and value not in column.enum:
                raise UnusableAnswerError(
                    place=f"{place}, {column.name}",
                    found=f"{value!r}",
                    wanted=f"one of {', '.join(column.enum)}",
                )
        found[column.name] = value
    return found
