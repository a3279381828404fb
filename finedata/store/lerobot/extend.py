"""Columns added to a data file that is written already: an export's own, after LeRobot's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from finedata.store.atomic import atomic_path
from finedata.store.damaged import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["add_columns"]


def add_columns(
    path: Path,
    columns: Mapping[str, pa.DataType],
    *,
    values: Callable[[pa.Table], list[pa.Array[Any]]],
) -> None:
    """Write a data file anew with more columns, row group by row group.

    The old file keeps its bytes until the new one takes its name: it may be a link.

    Args:
        path: The file.
        columns: Name to type of what is added, after the columns that are there.
        values: Their arrays, for the rows of one row group.

    Raises:
        ConformError: The file is damaged.
        OutputError: The disk is full, or the file cannot be written.
    """
    with reading(path):
        file = pq.ParquetFile(path)
    with file, atomic_path(path) as partial:
        schema: Any = file.schema_arrow
        for name, kind in columns.items():
            schema = schema.append(pa.field(name, kind))
        schema = schema.with_metadata(_without_features(schema.metadata))
        compression: Any = file.metadata.row_group(0).column(0).compression
        with pq.ParquetWriter(partial, schema, compression=compression) as writer:
            for group in range(file.num_row_groups):
                with reading(path):
                    table = cast("Any", file).read_row_group(group)
                arrays = [*table.columns, *values(table)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _without_features(metadata: dict[bytes, bytes] | None) -> dict[bytes, bytes]:
    """`datasets` reads its features from here and would refuse columns that it does not name."""
    return {key: value for key, value in (metadata or {}).items() if key != b"huggingface"}
