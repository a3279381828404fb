"""Where the rows of an episode are in a data file: its row groups, found by the footer.

finedata writes one row group for each slab of an episode (`store/lerobot/write.py`), so an episode
has one or many; a data file of another writer may hold several episodes in one. Both are the same
here: an episode is a list of stretches, each of one row group. A footer is parsed once and kept;
each reading thread has an open file of its own, so any number of them may read at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.store.damaged import damaged_file, reading
from finedata.store.remote.path import readable, remote_store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_EPISODE = "episode_index"
# Footers that are kept: a reader that goes through a dataset in order needs one.
_KEPT_FOOTERS = 16


class Stretch(NamedTuple):
    """Rows of one episode that lie in one row group: `rows` of them from row `start` of it."""

    group: int
    start: int
    rows: int


@dataclass(slots=True, eq=False)
class DataFile:
    """A data file of a part, opened by `open`.

    Attributes:
        path: The file.
        metadata: Its footer.
        schema: Its Arrow schema.
        first: (G,) int64, the lowest `episode_index` of each row group.
        last: (G,) int64, the highest.
    """

    path: Path
    metadata: Any
    schema: pa.Schema
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    _mixed: dict[int, NDArray[np.int64]] = field(default_factory=dict[int, "NDArray[np.int64]"])
    # A reader that nobody uses at the moment: opening one takes as long as reading an episode's
    # numbers. Taking it out and putting one in are single operations, so threads never share one.
    _idle: deque[Any] = field(default_factory=lambda: deque[Any](maxlen=1))

    @classmethod
    def open(cls, path: Path) -> DataFile:
        """Read the footer.

        Raises:
            ConformError: The file is not there, or is damaged.
        """
        with reading(path), pq.ParquetFile(readable(path)) as file:  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
            leaves = [file.schema.column(i).path for i in range(len(file.schema.names))]
            if _EPISODE not in leaves:
                raise damaged_file(
                    path, found=f"no column {_EPISODE!r}", wanted="the frames of a part"
                )
            ranges = _episode_ranges(file, leaves.index(_EPISODE))
            return cls(path, file.metadata, file.schema_arrow, ranges[:, 0], ranges[:, 1])

    def stretches(self, episode_index: int) -> list[Stretch]:
        """Where an episode's rows are, in their order; [] where it is not in this file.

        Raises:
            ConformError: A row group that several episodes share cannot be read, or its rows of
                this one do not lie side by side.
        """
        held = np.flatnonzero((self.first <= episode_index) & (episode_index <= self.last))
        found: list[Stretch] = []
        for group in held.tolist():
            if self.first[group] == self.last[group]:
                found.append(Stretch(group, 0, int(self.metadata.row_group(group).num_rows)))
                continue
            if group not in self._mixed:
                values = self.read(group, columns=[_EPISODE])[_EPISODE].to_numpy()
                self._mixed[group] = values
            own = np.flatnonzero(self._mixed[group] == episode_index)
            if not len(own):
                continue
            if own[-1] - own[0] + 1 != len(own):
                raise damaged_file(
                    self.path,
                    found=f"rows of episode_index {episode_index} apart from each other",
                    wanted="the rows of an episode side by side",
                )
            found.append(Stretch(group, int(own[0]), len(own)))
        return found

    def groups_of(self, indices: NDArray[np.int64]) -> list[int]:
        """Row groups that can hold one of some episodes, given by ascending `episode_index`."""
        low = np.searchsorted(indices, self.first)
        high = np.searchsorted(indices, self.last, side="right")
        return np.flatnonzero(high > low).tolist()

    def bytes_of(self, groups: Sequence[int]) -> int:
        """How many bytes some row groups take in the file."""
        total = 0
        for group in groups:
            row_group = self.metadata.row_group(group)
            columns = (row_group.column(i) for i in range(row_group.num_columns))
            total += sum(int(column.total_compressed_size) for column in columns)
        return total

    def read(self, group: int, *, columns: Sequence[str] | None = None) -> Any:
        """A row group as an Arrow table.

        Args:
            group: Its number.
            columns: Columns wanted, or leaves of them (`observation.images.front.bytes`).

        Raises:
            ConformError: It is damaged.
        """
        with reading(self.path):
            try:
                file: Any = self._idle.pop()
            except IndexError:
                # Reading ahead in threads of its own helps a distant file, and costs a local one.
                file = pq.ParquetFile(  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
                    readable(self.path),
                    metadata=self.metadata,
                    pre_buffer=remote_store(self.path) is not None,
                )
            found = file.read_row_group(group, columns=columns, use_threads=False)
            self._idle.append(file)
        return found


class DataFileCache:
    """Data files whose footers were parsed lately; safe to share between threads."""

    def __init__(self) -> None:
        self._files: dict[Path, DataFile] = {}

    def open(self, path: Path) -> DataFile:
        """The data file at a path.

        Raises:
            ConformError: It is not there, or is damaged.
        """
        found = self._files.get(path)
        if found is None:
            found = DataFile.open(path)
            kept = list(self._files.items())[-(_KEPT_FOOTERS - 1) :]
            self._files = {**dict(kept), path: found}
        return found


def column_array(column: Any) -> NDArray[Any]:
    """An Arrow array of numbers: (rows,), (rows, n) of a vector, (rows, n, m, ...) of nested lists.

    A column of texts is an array of Python strings.
    """
    if pa.types.is_list(column.type):
        shape: list[int] = [len(column)]
        while pa.types.is_list(column.type):
            inner = column.flatten()
            # finedata writes every list of a column as long as the others
            shape.append(len(inner) // max(1, len(column)))
            column = inner
        return column.to_numpy(zero_copy_only=False).reshape(shape)
    if pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size
        return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return column.to_numpy(zero_copy_only=False)


def _episode_ranges(file: Any, leaf: int) -> NDArray[np.int64]:
    """(G, 2): first and last `episode_index` of every row group, (0, -1) of an empty one."""
    metadata = file.metadata
    ranges = np.zeros((metadata.num_row_groups, 2), np.int64)
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(leaf).statistics
        if statistics is not None and statistics.has_min_max:
            ranges[group] = statistics.min, statistics.max
        else:
            values = file.read_row_group(group, columns=[_EPISODE])[_EPISODE].to_numpy()
            ranges[group] = (values.min(), values.max()) if len(values) else (0, -1)
    return ranges
