"""Where the files of a copied part end: by counts and sizes alone, never by what was read together.

Rows of meta/episodes and of data files pass a stretch at a time, so that memory stays flat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from finedata.store.damaged import damaged_file, reading
from finedata.store.lerobot.layout import (
    DATA_FILE_MB,
    EPISODES_PER_META_FILE,
    TASKS_PATH,
    data_file,
    data_path,
    episodes_path,
)
from finedata.store.lerobot.write import DataFileWriter
from finedata.store.remote.path import readable
from finedata.store.tables.row_groups import DataFile, Stretch
from finedata.store.tables.table import TableFile

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self


__all__ = ["DataFiles", "DataReader", "MetaFiles", "read_tasks", "reading"]


class MetaFiles:
    """The files of meta/episodes that are being written, each of a fixed number of rows."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._count = 0
        self._file: TableFile[Any] | None = None
        self._schema: pa.Schema | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, rows: pa.Table) -> None:
        """Append rows; all have the schema of the first."""
        self._schema = self._schema or rows.schema
        rows = rows.select(self._schema.names).cast(self._schema)
        while rows.num_rows:
            number, inside = divmod(self._count, EPISODES_PER_META_FILE)
            if self._file is None or inside == 0:
                self.__exit__(None, None, None)
                path = self._root / episodes_path(number)[0]
                self._file = TableFile[Any](path, "episodes", copied=True).__enter__()
            taken = min(rows.num_rows, EPISODES_PER_META_FILE - inside)
            self._file.write(rows.slice(0, taken))
            rows = rows.slice(taken)
            self._count += taken

    def __exit__(self, *error: object) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.__exit__(*cast("Any", error))


class DataFiles:
    """The data files of a part that are being written, each of at most `DATA_FILE_MB`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file: DataFileWriter | None = None
        self._bytes = 0
        self.number = -1

    def __enter__(self) -> Self:
        return self

    def file_for(self, schema: pa.Schema, size: int) -> DataFileWriter:
        """The file that an episode of about so many bytes goes to; a new one where it is full."""
        if self._file is None or self._bytes + size > DATA_FILE_MB * 1024 * 1024:
            self.__exit__(None, None, None)
            self.number += 1
            path = self._root / data_path(self.number)[0]
            self._file = DataFileWriter(path, schema).__enter__()
            self._bytes = 0
        self._bytes += size
        return self._file

    def __exit__(self, *error: object) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.__exit__(*cast("Any", error))


class DataReader:
    """The data files of a part that are read; the footer of the last one is kept."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file: DataFile | None = None

    @property
    def path(self) -> Path:
        """The data file that was asked for last."""
        return self._root if self._file is None else self._file.path

    @property
    def schema(self) -> pa.Schema:
        """Its schema."""
        return pa.schema([]) if self._file is None else self._file.schema

    def find(self, row: dict[str, Any]) -> tuple[list[Stretch], int]:
        """Where an episode's rows are, in their order, and about how many bytes they have."""
        path = self._root / data_file(row)
        file = self._file
        if file is None or file.path != path:
            file = self._file = DataFile.open(path)
        found = file.stretches(row["episode_index"])
        groups = [stretch.group for stretch in found]
        rows = sum(int(file.metadata.row_group(group).num_rows) for group in groups)
        return found, file.bytes_of(groups) * int(row["length"]) // max(rows, 1)

    def read(self, stretch: Stretch) -> pa.Table:
        """The rows of a stretch."""
        table: Any = cast("DataFile", self._file).read(stretch.group)
        return table.slice(stretch.start, stretch.rows)


def read_tasks(root: Path) -> dict[int, str]:
    """Task text by task_index, from a part's meta/tasks.parquet.

    Raises:
        ConformError: It is not there, or is damaged.
    """
    path = root / TASKS_PATH
    with reading(path):
        table: Any = pq.read_table(readable(path))  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    # Ours and newer writers name the column `task`; older ones leave pandas' own name.
    words = "task" if "task" in table.column_names else "__index_level_0__"
    if lost := {"task_index", words} - set(table.column_names):
        raise damaged_file(
            path, found=f"no column {min(lost)!r}", wanted="the columns task_index and task"
        )
    return dict(zip(table["task_index"].to_pylist(), table[words].to_pylist(), strict=True))
