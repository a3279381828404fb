"""The files of a part while its episodes are copied: what is read, and what is written.

Rows of meta/episodes and of data files come in and go out, a stretch at a time, so that memory
stays flat; where a file ends depends on counts and sizes alone.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from finedata.store.atomic import atomic_path, output_errors
from finedata.store.damaged import damaged_file
from finedata.store.lerobot.layout import (
    CHUNK_FILES,
    DATA_FILE_MB,
    EPISODES_PER_META_FILE,
    TASKS_PATH,
    data_path,
    episodes_path,
)
from finedata.store.lerobot.write import DataFileWriter

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path
    from typing import Self

    import numpy as np

__all__ = ["DataFiles", "DataReader", "EpisodeRows", "read_tasks", "reading"]


class EpisodeRows:
    """The files of meta/episodes that are being written, each of a fixed number of rows."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._count = 0
        self._stack = ExitStack()
        self._writer: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, rows: pa.Table) -> None:
        """Append rows; all have the schema of the first."""
        self._schema = self._schema or rows.schema
        rows = rows.select(self._schema.names).cast(self._schema)
        while rows.num_rows:
            number, inside = divmod(self._count, EPISODES_PER_META_FILE)
            if inside == 0:
                self.__exit__(None, None, None)
                path = self._root / episodes_path(number)[0]
                partial = self._stack.enter_context(atomic_path(path))
                writer = pq.ParquetWriter(partial, self._schema, compression="zstd")
                self._writer = self._stack.enter_context(writer)
            taken = min(rows.num_rows, EPISODES_PER_META_FILE - inside)
            with output_errors(self._root):
                cast("Any", self._writer).write_table(rows.slice(0, taken))
            rows = rows.slice(taken)
            self._count += taken

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*cast("Any", error))
        self._stack = ExitStack()


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
    """The data files of a part that are read; the one that was asked for last stays open."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file: pq.ParquetFile | None = None
        self._ranges: list[tuple[int, int]] = []
        self.path = root
        self.schema: pa.Schema = pa.schema([])

    def __enter__(self) -> Self:
        return self

    def find(self, row: dict[str, Any]) -> tuple[list[int], int]:
        """Row groups of an episode in their order, and about how many bytes it has."""
        number = row["data/chunk_index"] * CHUNK_FILES + row["data/file_index"]
        path = self._root / data_path(number)[0]
        if path != self.path or self._file is None:
            self.__exit__()
            self.path = path
            with reading(path):
                self._file = pq.ParquetFile(path)
                self.schema = self._file.schema_arrow
                self._ranges = _episode_ranges(self._file)
        index = row["episode_index"]
        groups = [i for i, (low, high) in enumerate(self._ranges) if low <= index <= high]
        bytes_, rows = 0, 0
        for group in groups:
            metadata: Any = self._file.metadata.row_group(group)
            columns = [metadata.column(i) for i in range(metadata.num_columns)]
            bytes_ += sum(int(column.total_compressed_size) for column in columns)
            rows += int(metadata.num_rows)
        return groups, bytes_ * int(row["length"]) // max(rows, 1)

    def read(self, group: int, episode_index: int) -> pa.Table:
        """The rows of a group that are of an episode."""
        with reading(self.path):
            table: Any = cast("Any", self._file).read_row_group(group)
        low, high = self._ranges[group]
        if low == high:
            return table
        return table.filter(
            # The stubs know no kernel that compares with a plain number.
            cast("Any", pc).equal(table["episode_index"], episode_index)
        )

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn what Arrow or the system says about a file of a dataset into a `ConformError`."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise damaged_file(path, found=error, wanted="a file as finedata wrote it") from error


def read_tasks(root: Path) -> dict[int, str]:
    """Task text by task_index, from a part's meta/tasks.parquet.

    Raises:
        ConformError: It is not there, or is damaged.
    """
    path = root / TASKS_PATH
    with reading(path):
        table: Any = pq.read_table(path)  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    # Ours and newer writers name the column `task`; older ones leave pandas' own name.
    words = "task" if "task" in table.column_names else "__index_level_0__"
    if lost := {"task_index", words} - set(table.column_names):
        raise damaged_file(
            path, found=f"no column {min(lost)!r}", wanted="the columns task_index and task"
        )
    return dict(zip(table["task_index"].to_pylist(), table[words].to_pylist(), strict=True))


def _episode_ranges(file: pq.ParquetFile) -> list[tuple[int, int]]:
    """First and last `episode_index` of every row group."""
    leaves = [file.schema.column(i).path for i in range(len(file.schema.names))]
    leaf = leaves.index("episode_index")
    ranges: list[tuple[int, int]] = []
    for group in range(file.num_row_groups):
        statistics: Any = file.metadata.row_group(group).column(leaf).statistics
        if statistics is not None and statistics.has_min_max:
            ranges.append((int(statistics.min), int(statistics.max)))
        else:
            table: Any = cast("Any", file).read_row_group(group, columns=["episode_index"])
            values: np.ndarray = table["episode_index"].to_numpy()
            ranges.append((int(values.min()), int(values.max())) if len(values) else (0, -1))
    return ranges
