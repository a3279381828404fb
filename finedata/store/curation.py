"""Writing a table of `curation/`: rows come in, one whole, conforming, sorted file goes out.

Gate and cluster write their answers here. A file is replaced at once or not at all, and the same
rows give the same bytes, in whatever order they come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.errors import UsageError
from finedata.schema.conform import conform
from finedata.schema.tables import build_schema, declared_table
from finedata.store.atomic import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_curation"]

_TABLES = ("clusters", "gate", "representatives")


def write_curation(root: Path, table: str, frame: pl.DataFrame | pa.Table) -> Path:
    """Write a table of `curation/`, replacing the one that is there.

    Args:
        root: Root of the dataset.
        table: `gate`, `clusters` or `representatives`.
        frame: Its rows, with the published columns in any order. Integers and floats of another
            width are cast where nothing is lost.

    Returns:
        The file.

    Raises:
        UsageError: Another table is named.
        ConformError: The rows do not conform to the published schema; nothing was written.
        OutputError: The file cannot be written.
    """
    if table not in _TABLES:
        raise UsageError(place="table", found=f"{table!r}", wanted=f"one of {', '.join(_TABLES)}")
    declared = declared_table(table)
    rows = frame.to_arrow() if isinstance(frame, pl.DataFrame) else frame
    rows = _in_one_form(rows, build_schema(declared))
    rows = rows.sort_by("episode_id") if "episode_id" in rows.column_names else rows  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    rows = conform(rows, table, cast=True)
    path = root / declared.file
    with atomic_path(path) as partial:
        pq.write_table(rows, partial, compression="zstd")  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    return path


def _in_one_form(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Columns in the published order: a file must not depend on the caller's."""
    known = [name for name in schema.names if name in rows.column_names]
    others = [name for name in rows.column_names if name not in schema.names]
    return rows.select([*known, *others]).combine_chunks()
