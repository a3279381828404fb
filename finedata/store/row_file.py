"""One Parquet file of a table, written row group by row group, whole or not there.

Items come in one at a time, of whatever kind; a function turns a thousand of them into an Arrow
table; the file appears when the block ends well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import pyarrow.parquet as pq

from finedata.store.atomic import atomic_path, output_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    import pyarrow as pa

__all__ = ["RowFile"]

_ITEMS_PER_GROUP = 1_000

Item = TypeVar("Item")


class RowFile(Generic[Item]):
    """A table's file that is being written.

    Args:
        path: The file.
        build: Makes a table of a list of items; always with the same schema, also of no items.
    """

    def __init__(self, path: Path, build: Callable[[list[Item]], pa.Table]) -> None:
        self._path = path
        self._build = build
        self._items: list[Item] = []
        self._atomic: AbstractContextManager[Path] = atomic_path(path)
        self._partial = path  # the unfinished file, once the block is entered
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        self._partial = self._atomic.__enter__()
        return self

    def add(self, item: Item) -> None:
        """Append an item.

        Raises:
            OutputError: The disk is full, or the file cannot be written.
        """
        self._items.append(item)
        if len(self._items) >= _ITEMS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        table = self._build(self._items)
        with output_errors(self._path):
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._partial, table.schema, compression="zstd")
            self._writer.write_table(table)
        self._items = []

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failure = error
        try:
            if kind is None and (self._items or self._writer is None):
                self._flush()
            if self._writer is not None:
                with output_errors(self._path):
                    self._writer.close()
        except BaseException as found:
            failure = failure or found
        if self._writer is not None:
            # Or its finaliser would try again.
            self._writer.is_open = False
        self._atomic.__exit__(type(failure) if failure else None, failure, trace)
        if failure is not None and failure is not error:
            raise failure
