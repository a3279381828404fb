"""How a query's rows are printed: as JSON, as CSV, or as a table for a person.

Our own encoder, because the usual ones fail on what robot data holds: a picture becomes its
size and sha256, never megabytes of base64; NaN and infinities, which JSON does not know,
become null. Nothing is cut, and nothing is printed as an object's repr.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import textwrap
from datetime import date, datetime, time, timedelta
from typing import Any, cast

import msgspec
import polars as pl

__all__ = ["rows_as_csv", "rows_as_json", "rows_as_text"]


_MOST_ROWS = 50
_MOST_CHARACTERS = 60


def rows_as_json(frame: pl.DataFrame) -> str:
    """All rows as one JSON array of objects."""
    return msgspec.json.encode([_plain(row) for row in frame.iter_rows(named=True)]).decode()


def rows_as_csv(frame: pl.DataFrame) -> str:
    """All rows as CSV with a header; nested values are JSON inside their cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(frame.columns)
    for row in frame.iter_rows():
        writer.writerow([_cell(_plain(value)) for value in row])
    return text.getvalue()


def rows_as_text(frame: pl.DataFrame) -> str:
    """A table for a person: the first rows, nothing of them cut.

    Long texts are wrapped; of a single row they are shown as they are, to be copied.
    """
    shown = [[_said(_plain(value)) for value in row] for row in frame.head(_MOST_ROWS).iter_rows()]
    width = None if len(shown) == 1 else _MOST_CHARACTERS
    cells = [[_lines(text, width) for text in row] for row in [frame.columns, *shown]]
    widths = [
        max(len(line) for row in cells for line in row[column])
        for column in range(len(frame.columns))
    ]
    text = [_row(cells[0], widths), f"|{'|'.join('-' * (width + 2) for width in widths)}|"]
    text += [_row(row, widths) for row in cells[1:]]
    more = frame.height - len(shown)
    if more:
        text.append(f"({more} more rows; --json, --csv or --parquet give all)")
    return "\n".join(text)


def _row(cells: list[list[str]], widths: list[int]) -> str:
    """The lines of one row: its cells side by side, each as many lines as it needs."""
    height = max((len(lines) for lines in cells), default=0)
    padded = [lines + [""] * (height - len(lines)) for lines in cells]
    return "\n".join(
        "| " + " | ".join(one.ljust(width) for one, width in zip(line, widths, strict=True)) + " |"
        for line in zip(*padded, strict=True)
    )


def _lines(text: str, width: int | None) -> list[str]:
    lines: list[str] = []
    for line in text.splitlines():
        if width is None or len(line) <= width:
            lines.append(line)
        else:
            lines += textwrap.wrap(line, width, drop_whitespace=False)
    return lines or [""]


def _said(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(_cell(value))


def _cell(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value


def _plain(value: Any) -> Any:
    """A value as JSON knows them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, pl.Series):
        return [_plain(item) for item in value.to_list()]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any] | tuple[Any, ...]", value)]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value
