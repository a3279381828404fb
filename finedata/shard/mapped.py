"""Arrow files that are mapped and never loaded, in which a row is found by arithmetic.

A stream looks up numbers and words of every sample it gives. Kept in memory they would be copied
into every worker; read as Parquet they would be decoded again and again. An uncompressed Arrow
file whose record batches all have `BATCH_ROWS` rows (schemas/README.md) needs neither: the system
shares its pages between processes, and row r lies in batch r // BATCH_ROWS. Only the footer and
small views of the batches in use are kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from finedata.errors import ConformError
from finedata.schema.conform import read_schema_tag
from finedata.schema.tables.shards import BATCH_ROWS

if TYPE_CHECKING:
    from pathlib import Path


class MappedTable:
    """A table of a shards folder, mapped.

    Args:
        path: The file.
        name: Of the published table.

    Raises:
        ConformError: It is not there, is damaged, or is another table or version.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        self.path = path
        try:
            self._map = pa.memory_map(str(path), "r")
            self._file: Any = pa.ipc.open_file(self._map)
        except (OSError, pa.ArrowInvalid) as error:
            raise self.damaged(found=str(error).splitlines()[0]) from error
        self.schema: pa.Schema = self._file.schema
        self.columns = frozenset(self.schema.names)
        read_schema_tag(self.schema.metadata, place=str(path), wanted=name)
        batches = int(self._file.num_record_batches)
        last = self._file.get_batch(batches - 1).num_rows if batches else 0
        self.num_rows: int = max(batches - 1, 0) * BATCH_ROWS + last
        # Views, not copies: an entry is some hundred bytes.
        self._batch = lru_cache(maxsize=64)(self._file.get_batch)
        self._view = lru_cache(maxsize=1024)(self._open_view)
        self._full = batches if last == BATCH_ROWS else batches - 1
        self._stacked = lru_cache(maxsize=None)(self._stack)

    def __len__(self) -> int:
        return self.num_rows

    def numbers(self, column: str, start: int, stop: int) -> np.ndarray:
        """Rows start..stop-1 of a column without nulls: (n,), (n, width) or of more axes.

        A view of the file where the rows lie in one batch; do not write to it.
        """
        batch, first = divmod(start, BATCH_ROWS)
        if stop - start <= BATCH_ROWS - first:
            return self._view(batch, column)[first : first + stop - start]
        pieces = [self._view(batch, column)[first:]]
        left = stop - start - len(pieces[0])
        while left > 0:
            batch += 1
            pieces.append(self._view(batch, column)[:left])
            left -= len(pieces[-1])
        return np.concatenate(pieces)

    def take(self, column: str, rows: np.ndarray) -> np.ndarray:
        """These rows of a column without nulls: a copy, of the shape of `rows` (and width).

        Args:
            column: Its name.
            rows: int64 of any shape, in any order.
        """
        if self.num_rows <= BATCH_ROWS:
            return self._view(0, column)[rows]
        batch, at = np.divmod(rows, BATCH_ROWS)
        stacked = self._stacked(column)
        if stacked is not None and (batch.size == 0 or int(batch.max()) < len(stacked)):
            if stacked.dtype == np.uint8 and stacked.shape[1] == BATCH_ROWS // 8:
                return (stacked[batch, at >> 3] >> (at & 7).astype(np.uint8) & 1).astype(bool)
            return stacked[batch, at]
        found = np.unique(batch)
        if len(found) == 1:
            return self._view(int(found[0]), column)[at]
        out = np.empty((*rows.shape, *self._view(0, column).shape[1:]), self._view(0, column).dtype)
        for one in map(int, found):
            here = batch == one
            out[here] = self._view(one, column)[at[here]]
        return out

    def value(self, column: str, row: int) -> Any:
        """One value of any column as a Python object; null as None."""
        batch, at = divmod(row, BATCH_ROWS)
        return self._batch(batch).column(column)[at].as_py()

    def rows(self, start: int, stop: int, *, columns: list[str] | None = None) -> pa.Table:
        """Rows start..stop-1 as an Arrow table that shares the file's memory."""
        names = self.schema.names if columns is None else columns
        schema = pa.schema([cast("Any", self.schema).field(name) for name in names])
        pieces: list[pa.RecordBatch] = []
        for batch in range(start // BATCH_ROWS, -(-stop // BATCH_ROWS) if stop > start else 0):
            at = batch * BATCH_ROWS
            low, high = max(start - at, 0), min(stop - at, BATCH_ROWS)
            pieces.append(self._batch(batch).select(names).slice(low, high - low))
        return pa.Table.from_batches(pieces, schema)

    def damaged(
        self, found: str, *, wanted: str = "the file as shards.json has it"
    ) -> ConformError:
        """The error that names this file."""
        return ConformError(
            place=str(self.path),
            found=found,
            wanted=wanted,
            next_command="finedata verify SHARDS  # which files are as they were written",
        )

    def _stack(self, column: str) -> np.ndarray | None:
        """All full batches of a column as one array over the file; None where they are not so.

        Of truth values it is (batches, bytes) of their bits, the first one lowest.

        Batches of the same rows and types have the same length in the file, so batch b begins b
        strides behind the first. One gather then serves rows of any batches, which matters because
        the frames of a step-shuffled batch lie all over the file.
        """
        if self._full < 2:
            return None
        view = self._view(0, column)
        firsts = [self._address(k, column) for k in range(self._full)]
        strides = set(np.diff(firsts).tolist())
        if len(strides) != 1:
            return None
        if view.dtype == bool:
            if BATCH_ROWS % 8:
                return None
            bits = self._batch(0).column(column).buffers()[1]
            view = np.frombuffer(bits, np.uint8, BATCH_ROWS // 8)
        shape, inner = (self._full, *view.shape), view.strides
        return np.lib.stride_tricks.as_strided(
            view, shape, (strides.pop(), *inner), writeable=False
        )

    def _address(self, batch: int, column: str) -> int:
        """Where the numbers of a column of a batch begin in memory."""
        values = self._batch(batch).column(column)
        if values.null_count:
            raise self.damaged(found=f"nulls in column {column}", wanted="numbers")
        flat, _ = _innermost(values)
        if flat.offset % 8 and pa.types.is_boolean(flat.type):
            raise self.damaged(found=f"bits of column {column} inside a byte", wanted="whole bytes")
        return int(flat.buffers()[1].address) + flat.offset * flat.type.bit_width // 8

    def _open_view(self, batch: int, column: str) -> np.ndarray:
        values = self._batch(batch).column(column)
        if values.null_count:
            raise self.damaged(found=f"nulls in column {column}", wanted="numbers")
        flat, shape = _innermost(values)
        return cast("np.ndarray", flat.to_numpy(zero_copy_only=False)).reshape(-1, *shape)


def _innermost(values: Any) -> tuple[Any, tuple[int, ...]]:
    """The numbers of lists of fixed sizes, and the sizes, the outermost first."""
    shape: list[int] = []
    while pa.types.is_fixed_size_list(values.type):
        shape.append(values.type.list_size)
        values = values.flatten()
    return values, tuple(shape)
