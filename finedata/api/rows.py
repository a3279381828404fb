"""Rows of a query, to be read by a person or by another program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import polars as pl


def rows_text(rows: pl.DataFrame, form: Literal["json", "csv", ""] = "") -> str:
    """Rows as a table, as one JSON array of objects, or as CSV with a header.

    Pictures are told as size and sha256.
    """
    from finedata.store.tables import rows as told

    if form == "json":
        return told.rows_as_json(rows)
    return told.rows_as_csv(rows) if form == "csv" else told.rows_as_text(rows)


def write_rows(rows: pl.DataFrame, path: str | Path) -> None:
    """Write rows as a Parquet file, whole or not at all."""
    from finedata.store.atomic import atomic_path

    with atomic_path(Path(path)) as partial:
        rows.write_parquet(partial)
