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
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import polars as pl

__all__ = ["rows_as_csv", "rows_as_json"]


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


def _cell(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value


def _plain(value: Any) -> Any:
    """A value as JSON knows them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value
