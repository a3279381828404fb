"""The only writer of the published tables: what a file of one holds, and when it is there.

Decided here, for every table and every caller:

- Rows pass through `conform` before they are stored; a file is zstd and appears whole or not at
  all. The same rows give the same bytes.
- Tables of `curation/`, and `calls`, are replaced as a whole (`write_table`). The others of
  `annotations/` only grow, by new files whose number nobody else takes (`append_rows`). Several
  tables that are written together appear together: their names are noted before the first file
  takes its own, and until that note is gone the files count for nothing (`annotation_files`), so
  kill -9 leaves the old or the new.
- A changed row is a new row of the same id with the next revision (`TableWriter.revise`). It must
  be made of the newest one, so of two that change a row at once the second is told.
- Decisions of people wait in a journal, and move into files in the same way (`compact_reviews`).
"""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.errors import StaleRowError, UsageError
from finedata.schema.conform import conform
from finedata.schema.tables.all import arrow_schema, declared_table
from finedata.store.atomic import atomic_path, output_errors, sync_folder, write_atomic
from finedata.store.lock import locked
from finedata.store.review_journal import ReviewJournal, has_journal
from finedata.store.run.ledger import LEDGER_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = [
    "CURATION",
    "REVISED",
    "TableFile",
    "TableWriter",
    "annotation_files",
    "append_rows",
    "compact_reviews",
    "part_path",
    "undo_unfinished",
    "write_table",
]

CURATION = ("receipts", "gate", "clusters", "representatives")
"""Tables of `curation/`."""

REVISED = {
    "steps": "step_id",
    "facts": "fact_id",
    "traces": "trace_id",
    "instructions": "instruction_id",
}
"""Tables whose rows may be written again, and the column of their ids."""

_APPENDED = (*REVISED, "reviews")
_ITEMS_PER_GROUP = 1_000
_ROWS_PER_GROUP = 100_000
_ROWS_AT_ONCE = 5_000
_PART = re.compile(r"part-(\d+)\.parquet")

Item = TypeVar("Item")


class TableFile(Generic[Item]):
    """One file of a table that is being written, a row group at a time.

    It appears when the block ends well, with an empty row group where nothing was written.

    Args:
        path: The file; its writer answers for being the only one.
        table: Name of the table.
        build: Makes rows of a list of items; None where items are rows as dictionaries. Of no
            items it must give the same schema.
        copied: Whether the rows come from files of that table: they were checked then, and go
            over as they are.

    Example:
        >>> with TableFile(path, "receipts") as file:  # doctest: +SKIP
        ...     file.add(row)
    """

    def __init__(
        self,
        path: Path,
        table: str,
        *,
        build: Callable[[list[Item]], pa.Table] | None = None,
        copied: bool = False,
    ) -> None:
        self._path = path
        self._table = table
        self._build = build or self._of_rows
        self._copied = copied
        self._items: list[Item] = []
        self._atomic: AbstractContextManager[Path] = atomic_path(path)
        self._partial = path  # the unfinished file, once the block is entered
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        self._partial = self._atomic.__enter__()
        return self

    def add(self, item: Item) -> None:
        """Append an item; a thousand are one row group.

        Raises:
            ConformError: One of the thousand does not conform.
            OutputError: The disk is full, or the file cannot be written.
        """
        self._items.append(item)
        if len(self._items) >= _ITEMS_PER_GROUP:
            self._flush()

    def write(self, rows: pa.Table) -> None:
        """Write rows as one row group (of a million at most), after what was added.

        Raises:
            ConformError: They do not conform, or have other columns than those before.
            OutputError: The disk is full, or the file cannot be written.
        """
        if self._items:
            self._flush()
        if not self._copied:
            rows = conform(rows, self._table)
        with output_errors(self._path):
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._partial, rows.schema, compression="zstd")
            self._writer.write_table(rows)

    def _flush(self) -> None:
        items, self._items = self._items, []
        self.write(self._build(items))

    def _of_rows(self, rows: list[Any]) -> pa.Table:
        return pa.Table.from_pylist(rows, schema=arrow_schema(self._table))

    def finish(self) -> None:
        """Write the rest and the footer; the file still takes its name with the block's end."""
        if self._items or self._writer is None:
            self._flush()
        with output_errors(self._path):
            cast("pq.ParquetWriter", self._writer).close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failure = error
        try:
            if kind is None:
                self.finish()
            elif self._writer is not None:
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


def write_table(root: Path, table: str, rows: pl.DataFrame | pa.Table | Iterable[pa.Table]) -> Path:
    """Write a table of `curation/`, or `calls`, replacing the one that is there.

    Args:
        root: Root of the dataset.
        table: `receipts`, `gate`, `clusters`, `representatives` or `calls`.
        rows: Its rows, with the published columns. Given as a whole they are sorted by their key,
            columns may be in any order, and integers and floats of another width are cast where
            nothing is lost. Given as several tables they are written as they come, a row group
            each.

    Returns:
        The file.

    Raises:
        UsageError: Another table is named.
        ConformError: The rows do not conform to the published schema; the old file stays.
        OutputError: The file cannot be written.
    """
    whole = (*CURATION, "calls")
    if table not in whole:
        raise UsageError(place="table", found=f"{table!r}", wanted=f"one of {', '.join(whole)}")
    path = root / declared_table(table).file.replace("*", "00000")
    if isinstance(rows, pl.DataFrame | pa.Table):
        rows = [_sorted(rows, table)]
    with locked(_lock_path(root)), TableFile[Any](path, table) as file:
        for group in rows:
            file.write(group)
    return path


def _sorted(rows: pl.DataFrame | pa.Table, table: str) -> pa.Table:
    """Rows in an order and form that do not depend on the caller's."""
    found = rows.to_arrow() if isinstance(rows, pl.DataFrame) else rows
    declared, schema = declared_table(table), arrow_schema(table)
    known = [name for name in schema.names if name in found.column_names]
    others = [name for name in found.column_names if name not in schema.names]
    found = found.select([*known, *others]).combine_chunks()
    if set(declared.key) <= set(known):
        found = found.sort_by([(name, "ascending") for name in declared.key])  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    return conform(found, table, cast=True)


def part_path(root: Path, table: str, number: int) -> Path:
    """A file of an annotation table; number 0 is what came with the sources."""
    return root / declared_table(table).file.replace("*", f"{number:05d}")


def annotation_files(root: Path, table: str) -> list[Path]:
    """The files of an annotation table, in the order of their numbers.

    What a run is still putting there, or was killed over, is left out.
    """
    unfinished = set(_unfinished(root).values())
    found = sorted(root.glob(f"annotations/{table}/*.parquet"))
    # asked again: a run may have begun to rename in between
    unfinished |= set(_unfinished(root).values())
    return [path for path in found if path.relative_to(root).as_posix() not in unfinished]


@contextmanager
def append_rows(root: Path, tables: Sequence[str]) -> Generator[TableWriter]:
    """Write rows of some tables of `annotations/`; a table without rows gets no file.

    All rows are there when the block has ended well, or none. Others that write wait meanwhile.

    Args:
        root: Root of the dataset.
        tables: Tables that may get rows, the one that proves an episode done last.

    Yields:
        What takes the rows.

    Raises:
        UsageError: A table is not appended to.
        ConformError: A row does not conform; nothing was written.
        StaleRowError: A row to revise is not the newest of its id; nothing was written.
        OutputError: The files cannot be written.

    Example:
        >>> with append_rows(root, ("steps", "facts")) as writer:  # doctest: +SKIP
        ...     writer.add("facts", rows)
        ...     writer.revise("steps", [revised("steps", step, text="grasp the cup")])
    """
    for table in tables:
        if table not in _APPENDED:
            raise UsageError(
                place="table", found=f"{table!r}", wanted=f"one of {', '.join(_APPENDED)}"
            )
    with locked(_lock_path(root)):
        _undo(root)
        with ExitStack() as stack:
            writer = TableWriter(root, tables, stack)
            yield writer
            writer.finish()
            if writer.files:
                write_atomic(_note_path(root), msgspec.json.encode(writer.files))
            # the files take their names when the stack is left, the last table first
        if writer.files:
            with output_errors(root):
                _note_path(root).unlink()
                sync_folder(_note_path(root).parent)


class TableWriter:
    """Takes rows of several annotation tables; see `append_rows`.

    Attributes:
        files: Table -> its new file, relative to the root.
        counts: Table -> how many rows it got.
    """

    def __init__(self, root: Path, tables: Sequence[str], stack: ExitStack) -> None:
        self._root = root
        self._stack = stack
        self._open: dict[str, TableFile[Any]] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in tables}
        self._tables: dict[str, list[pa.Table]] = {name: [] for name in tables}
        self._revised: dict[tuple[str, str], int] = {}
        self.files: dict[str, str] = {}
        self.counts: dict[str, int] = dict.fromkeys(tables, 0)

    def add(self, table: str, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows as dictionaries with every column."""
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

    def revise(self, table: str, rows: Iterable[dict[str, Any]]) -> None:
        """Write rows again that were changed, as `schema.makers.revised` makes them.

        Args:
            table: `steps`, `facts`, `traces` or `instructions`.
            rows: Rows with every column, and the revision that follows the one they were made of.

        Raises:
            UsageError: Rows of that table are not revised, or there is no row of an id.
            StaleRowError: The row was made of another revision than the newest: somebody changed
                it in the meantime.
        """
        if table not in REVISED:
            raise UsageError(
                place="table", found=f"{table!r}", wanted=f"one of {', '.join(REVISED)}"
            )
        given, key = list(rows), REVISED[table]
        newest = self._newest(table, [row[key] for row in given])
        for row in given:
            row_id, seen = row[key], row["revision"] - 1
            place, found = f"table {table!r}, {key} {row_id!r}", newest.get(row_id)
            if found is None:
                raise UsageError(place=place, found="no such row", wanted="a row that is there")
            if found != seen:
                raise StaleRowError(
                    place=place,
                    found=f"revision {found} of it",
                    wanted=f"revision {seen}, of which the change was made",
                    next_command="read the row again and repeat the change",
                )
            newest[row_id] = self._revised[table, row_id] = row["revision"]
        self.add(table, given)

    def _newest(self, table: str, ids: list[str]) -> dict[str, int]:
        """Newest revision of each id, of what is stored and what this writer revised."""
        newest: dict[str, int] = {}
        if ids and (files := annotation_files(self._root, table)):
            found = (
                pl.scan_parquet(files)
                .select(REVISED[table], "revision")
                .filter(pl.col(REVISED[table]).is_in(ids))
                .group_by(REVISED[table])
                .max()
                .collect()
            )
            newest = dict(found.iter_rows())
        own = {row_id: self._revised.get((table, row_id)) for row_id in ids}
        return newest | {row_id: number for row_id, number in own.items() if number is not None}

    def _convert(self, table: str) -> None:
        rows, self._rows[table] = self._rows[table], []
        if rows:
            self.add_table(table, pa.Table.from_pylist(rows, schema=arrow_schema(table)))

    def _flush(self, table: str, *, at_least: int) -> None:
        pending = self._tables[table]
        if not pending or sum(piece.num_rows for piece in pending) < at_least:
            return
        self._tables[table] = []
        self._file(table).write(pa.concat_tables(pending).combine_chunks())

    def _file(self, table: str) -> TableFile[Any]:
        if table not in self._open:
            path = part_path(self._root, table, _next_number(self._root, table))
            self._open[table] = self._stack.enter_context(TableFile[Any](path, table))
            self.files[table] = path.relative_to(self._root).as_posix()
        return self._open[table]

    def finish(self) -> None:
        """Write what is pending, and close the files under their hidden names."""
        for table in self._rows:
            self._convert(table)
            self._flush(table, at_least=1)
        for file in self._open.values():
            file.finish()


def compact_reviews(
    root: Path, *, apply: Callable[[TableWriter, list[dict[str, Any]]], None] | None = None
) -> int:
    """Move the decisions of the journal into a file of `annotations/reviews/`.

    Killed at any moment and called again, it loses none and doubles none: a decision leaves the
    journal after its file is there for good, and one that is in both counts once.

    Args:
        root: Root of the dataset.
        apply: Called with a writer of all annotation tables and the decisions, in their order, to
            write what they change: both are there afterwards, or neither.

    Returns:
        How many decisions were moved.

    Raises:
        ConformError: The journal is damaged; nothing was written.
        OutputError: A file cannot be written.
    """
    if not has_journal(root):
        return 0
    with ReviewJournal(root) as journal:
        with append_rows(root, _APPENDED) as writer:
            decisions, last = journal.decisions()
            stored = _review_ids(root)
            new = [row for row in decisions if row["review_id"] not in stored]
            if new and apply is not None:
                apply(writer, new)
            writer.add("reviews", new)
        journal.forget(last)
    return len(new)


def _review_ids(root: Path) -> set[str]:
    found: set[str] = set()
    for path in annotation_files(root, "reviews"):
        with pq.ParquetFile(path) as file:
            column: Any = file.read(columns=["review_id"])["review_id"]  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
        found.update(column.to_pylist())
    return found


def undo_unfinished(root: Path) -> None:
    """Remove the files of a run that was killed while they took their names."""
    if _note_path(root).exists():
        with locked(_lock_path(root)):
            _undo(root)


def _undo(root: Path) -> None:
    unfinished = _unfinished(root)
    with output_errors(root):
        for name in unfinished.values():
            (root / name).unlink(missing_ok=True)
            if (root / name).parent.is_dir():
                sync_folder((root / name).parent)
        _note_path(root).unlink(missing_ok=True)


def _unfinished(root: Path) -> dict[str, str]:
    """Table -> file that has its name, or may have, and does not count yet."""
    try:
        note = _note_path(root).read_bytes()
    except FileNotFoundError:
        return {}
    return msgspec.json.decode(note, type=dict[str, str])


def _note_path(root: Path) -> Path:
    return root / LEDGER_FOLDER / "annotate-files.json"


def _lock_path(root: Path) -> Path:
    return root / LEDGER_FOLDER / "tables.lock"


def _next_number(root: Path, table: str) -> int:
    """One past the highest there; 0 is for what came with the sources."""
    folder = part_path(root, table, 0).parent
    numbers = [_PART.fullmatch(path.name) for path in folder.glob("part-*.parquet")]
    return max([int(match[1]) for match in numbers if match], default=0) + 1
