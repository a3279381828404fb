"""Appending to the tables of `annotations/`: a run's rows become new files, all of them or none.

Rows come in episode by episode; one new `part-NNNNN.parquet` a table goes out, sorted as they
came, in row groups of about 100,000 rows. The names of the files are written down before the first
of them appears and forgotten after the last, so a run that is killed in between is undone by the
next one, which then writes the same bytes.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.schema.conform import conform
from finedata.schema.tables import build_schema, declared_table
from finedata.store.atomic import atomic_path, output_errors, write_atomic
from finedata.store.ledger import LEDGER_FOLDER

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

__all__ = ["Appender", "append_rows", "undo_unfinished"]

_ROWS_PER_GROUP = 100_000
_ROWS_AT_ONCE = 5_000
_PART = re.compile(r"part-(\d+)\.parquet")


@contextmanager
def append_rows(root: Path, tables: Sequence[str]) -> Generator[Appender]:
    """Write rows of some tables of `annotations/`; a table without rows gets no file.

    Args:
        root: Root of the dataset.
        tables: Tables that may get rows, the one that proves an episode done last.

    Yields:
        What takes the rows.

    Raises:
        ConformError: A row does not conform; nothing was written.
        OutputError: The files cannot be written, or another run is writing them.
    """
    with _lock(root):
        _undo(root)
        with ExitStack() as stack:
            appender = Appender(root, tables, stack)
            yield appender
            appender.finish()
            if appender.files:
                write_atomic(_journal(root), msgspec.json.encode(appender.files))
            # the files take their names when the stack is left, the last table first
        _journal(root).unlink(missing_ok=True)


def undo_unfinished(root: Path) -> None:
    """Remove the files of a run that was killed while they took their names."""
    if _journal(root).exists():
        with _lock(root):
            _undo(root)


def _undo(root: Path) -> None:
    journal = _journal(root)
    if journal.exists():
        for name in msgspec.json.decode(journal.read_bytes(), type=dict[str, str]).values():
            (root / name).unlink(missing_ok=True)
        journal.unlink()


def _journal(root: Path) -> Path:
    return root / LEDGER_FOLDER / "annotate-files.json"


@contextmanager
def _lock(root: Path) -> Generator[None]:
    home = root / LEDGER_FOLDER
    with output_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(home / "annotate.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        # another run's writing takes seconds: wait for it
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Appender:
    """Takes rows of several tables; see `append_rows`."""

    def __init__(self, root: Path, tables: Sequence[str], stack: ExitStack) -> None:
        self._root = root
        self._stack = stack
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in tables}
        self._tables: dict[str, list[pa.Table]] = {name: [] for name in tables}
        self.files: dict[str, str] = {}
        self.counts: dict[str, int] = dict.fromkeys(tables, 0)

    def add(self, table: str, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows as dictionaries."""
        pending = self._rows[table]
        pending.extend(rows)
        if len(pending) >= _ROWS_AT_ONCE:
            self._convert(table)

    def add_table(self, table: str, rows: pa.Table) -> None:
        """Append rows as an Arrow table."""
        self._convert(table)
        if rows.num_rows:
            self._tables[table].append(conform(rows, table))
            self.counts[table] += rows.num_rows
            self._flush(table, at_least=_ROWS_PER_GROUP)

    def _convert(self, table: str) -> None:
        rows, self._rows[table] = self._rows[table], []
        if rows:
            schema = build_schema(declared_table(table))
            self.add_table(table, pa.Table.from_pylist(rows, schema=schema))

    def _flush(self, table: str, *, at_least: int) -> None:
        pending = self._tables[table]
        if not pending or sum(piece.num_rows for piece in pending) < at_least:
            return
        rows = pa.concat_tables(pending).combine_chunks()
        self._tables[table] = []
        with output_errors(self._root):
            self._writer(table, rows.schema).write_table(rows)

    def _writer(self, table: str, schema: pa.Schema) -> pq.ParquetWriter:
        if table not in self._writers:
            folder = self._root / "annotations" / table
            path = folder / f"part-{_next_number(folder):05d}.parquet"
            partial = self._stack.enter_context(atomic_path(path))
            self._writers[table] = pq.ParquetWriter(partial, schema, compression="zstd")
            # a failed run closes it too, before its file is removed
            self._stack.callback(self._writers[table].close)
            self.files[table] = path.relative_to(self._root).as_posix()
        return self._writers[table]

    def finish(self) -> None:
        """Write what is pending, and close the files under their hidden names."""
        for table in self._rows:
            self._convert(table)
            self._flush(table, at_least=1)
        for writer in self._writers.values():
            with output_errors(self._root):
                writer.close()


def _next_number(folder: Path) -> int:
    """One past the highest there; 0 is for what came with the sources."""
    numbers = [_PART.fullmatch(path.name) for path in folder.glob("part-*.parquet")]
    return max([int(match[1]) for match in numbers if match], default=0) + 1
