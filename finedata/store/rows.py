"""Query results as text: rows come in, JSON or CSV goes out.

Our own encoder, because the usual ones fail on what robot data holds: a picture becomes its
size and sha256, never megabytes of base64; NaN and infinities, which JSON does not know,
become null.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
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
    """A table for a person: the first rows, columns as wide as they are."""
    plain = pl.DataFrame(
        {
            name: [_short(_plain(value)) for value in frame.get_column(name).head(_MOST_ROWS)]
            for name in frame.columns
        },
        schema=dict.fromkeys(frame.columns, pl.String),
    )
    with pl.Config(
        tbl_rows=_MOST_ROWS,
        tbl_cols=-1,
        fmt_str_lengths=_MOST_CHARACTERS,
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
        tbl_formatting="ASCII_MARKDOWN",
        tbl_width_chars=-1,
    ):
        text = str(plain)
    more = frame.height - plain.height
    return f"{text}\n({more} more rows; --json, --csv or --parquet give all)" if more else text


def _short(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(_cell(value))
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 3] + "..."


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
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any] | tuple[Any, ...]", value)]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value
