"""How a verb's result looks to a person: a table of its fields, in a terminal and in a notebook.

One way for all of them: a field that holds nothing is left out, counts by name stand on one line,
and a list of records becomes a table of its own. Machines take `msgspec.json.encode`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from html import escape
from typing import Any, cast

__all__ = ["Summary"]

_MOST_ROWS = 20


class Summary:
    """What a verb did: `print` shows it as a table, and so does a notebook.

    Mixed into structs and dataclasses; brings no field of its own.

    Example:
        >>> from finedata.store.merge.run import MergeSummary
        >>> print(
        ...     MergeSummary(
        ...         out="c", parts=["a", "b"], episodes=12, frames=240, failed=0,
        ...         licences={"MIT": ["x"]}, left_out={},
        ...     )
        ... )  # fmt: skip
        MergeSummary
          out       c
          parts     a, b
          episodes  12
          frames    240
          failed    0
          licences  MIT x
    """

    __slots__ = ()

    def __str__(self) -> str:
        shown = [(name.replace("_", " "), value) for name, value in _fields(self) if _holds(value)]
        wide = max((len(name) for name, _ in shown), default=0)
        lines = [type(self).__name__]
        for name, value in shown:
            first, *others = _lines(value)
            lines.append(f"  {name:<{wide}}  {first}")
            lines += [f"  {'':<{wide}}  {line}" for line in others]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        return f"<b>{type(self).__name__}</b>{_html_table(_fields(self))}"


def _fields(record: object) -> list[tuple[str, Any]]:
    if is_dataclass(record):
        names = [field.name for field in fields(record) if not field.name.startswith("_")]
    else:
        names = list(cast("Any", record).__struct_fields__)
    return [(name, getattr(record, name)) for name in names]


def _is_record(value: object) -> bool:
    return is_dataclass(value) or hasattr(value, "__struct_fields__")


def _holds(value: object) -> bool:
    """Whether a field says anything; zero and false do."""
    return not (value is None or (isinstance(value, str | Mapping | Sequence) and not value))


def _records(value: object) -> list[Any]:
    """The records of a list of records, else none."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return []
    items = list(cast("Sequence[Any]", value))
    return items if items and all(_is_record(item) for item in items) else []


def _columns(records: list[Any]) -> list[str]:
    """Fields that any of the records has a use for."""
    return [
        name
        for name, _ in _fields(records[0])
        if any(_holds(getattr(record, name)) for record in records)
    ]


def _lines(value: object) -> list[str]:
    """A value as lines of text; a list of records as an aligned table."""
    records = _records(value)
    if not records:
        if isinstance(value, Sequence) and not isinstance(value, str):
            items = [_text(item) for item in cast("Sequence[Any]", value)]
            # words on one line, sentences on one each
            return items if any(" " in item for item in items) else [", ".join(items)]
        return _text(value).splitlines() or [""]
    names = _columns(records)
    rows = [[name.replace("_", " ") for name in names]]
    rows += [[_text(getattr(one, name)) for name in names] for one in records[:_MOST_ROWS]]
    widths = [max(len(row[k]) for row in rows) for k in range(len(names))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [*lines, *_more(records)]


def _more(records: list[Any]) -> list[str]:
    return [f"... {len(records) - _MOST_ROWS} more"] if len(records) > _MOST_ROWS else []


def _text(value: object) -> str:
    """A value in a line."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return ", ".join(f"{key} {_text(item)}" for key, item in items)
    if _is_record(value):
        return ", ".join(f"{name} {_text(item)}" for name, item in _fields(value) if _holds(item))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_text(item) for item in cast("Sequence[Any]", value))
    return "" if value is None else str(value)


def _html_table(named: list[tuple[str, Any]]) -> str:
    rows = [
        f"<tr><th style='text-align:left'>{escape(name.replace('_', ' '))}</th>"
        f"<td style='text-align:left'>{_html(value)}</td></tr>"
        for name, value in named
        if _holds(value)
    ]
    return f"<table>{''.join(rows)}</table>"


def _html(value: object) -> str:
    records = _records(value)
    if records:
        names = _columns(records)
        head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(_text(getattr(one, name)))}</td>' for name in names)}</tr>"
            for one in records[:_MOST_ROWS]
        )
        more = "".join(escape(line) for line in _more(records))
        return f"<table><tr>{head}</tr>{body}</table>{more}"
    if _is_record(value):
        return _html_table(_fields(value))
    return "<br>".join(escape(line) for line in _lines(value))
