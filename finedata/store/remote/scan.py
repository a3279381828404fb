"""Lazy Polars frames over Parquet files that lie elsewhere: only the columns that a query names.

Polars reads `hf://` from the public Hub alone and gives no account of its requests, so the pages
are fetched here: footers once, then of each column chunk one range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import polars as pl
import pyarrow.parquet as pq

from finedata.store.damaged import reading
from finedata.store.remote.path import readable, remote_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["scan_tables"]

_BATCH_ROWS = 65_536


def scan_tables(files: Sequence[Path]) -> pl.LazyFrame:
    """Scan Parquet files of one schema, here or elsewhere.

    Args:
        files: At least one.

    Raises:
        ConformError: The first file, where it lies elsewhere, is damaged.
    """
    if remote_store(files[0]) is None:
        return pl.scan_parquet(list(files))
    from polars.io.plugins import register_io_source

    with reading(files[0]):
        schema: Any = pq.read_schema(readable(files[0]))  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    empty = _frame(schema.empty_table())

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        for rows in _batches(files, with_columns, batch_size or _BATCH_ROWS):
            chosen = rows if left is None else rows.head(left)
            if left is not None:
                left -= chosen.height
            yield chosen if predicate is None else chosen.filter(predicate)
            if left == 0:
                return

    return register_io_source(source, schema=empty.schema, is_pure=True)


def _batches(
    files: Sequence[Path], columns: list[str] | None, batch_rows: int
) -> Iterator[pl.DataFrame]:
    for path in files:
        with reading(path), pq.ParquetFile(readable(path), pre_buffer=True) as file:
            if columns is not None and not columns:
                # Rows are only counted: the footer knows.
                yield pl.select(pl.repeat(None, file.metadata.num_rows).alias("rows"))
                continue
            batches: Any = cast("Any", file).iter_batches(batch_rows, columns=columns)
            for batch in batches:
                rows = _frame(batch)
                yield rows if columns is None else rows.select(columns)


def _frame(rows: Any) -> pl.DataFrame:
    return cast("pl.DataFrame", pl.from_arrow(rows))  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
