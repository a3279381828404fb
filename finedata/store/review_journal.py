"""The journal of decisions: a person's click is on the disk before it is acknowledged.

`annotations/reviews/journal.sqlite`, SQLite with a write-ahead log, one row a decision, until
`store.table.compact_reviews` moves them into Parquet; readers see both as one table. It lies with
the annotations and not under `.finedata/`, because it is data of the dataset.

SQLite takes a log or a file that was cut for one that was never longer, and says nothing. So
`journal.head` beside it holds the number of the last acknowledged decision, every decision has
its digest, and numbers have no gaps: what is lost is said, and nothing can be written on top.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import threading
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from finedata.errors import ConformError, OutputError, UsageError
from finedata.schema.conform import conform
from finedata.schema.tables.all import arrow_schema
from finedata.store.atomic import atomic_path, output_errors, sync_folder
from finedata.store.lock import locked
from finedata.store.run.ledger import LEDGER_FOLDER

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["ReviewJournal", "has_journal", "journal_path", "read_journal"]

_BUSY_S = 60.0
_MAGIC = b"SQLite format 3\0"
_HEAD = re.compile(rb"(\d{20})\n")
_LAYOUT = """
create table decisions (
    seq integer primary key, review_id text not null unique, row text not null,
    sha256 text not null
);
create table compacted (review_id text primary key, sha256 text not null) without rowid;
create table state (compacted_seq integer not null);
insert into state values (0);
"""


def journal_path(root: Path) -> Path:
    """The file of a dataset's journal."""
    return root / "annotations" / "reviews" / "journal.sqlite"


class ReviewJournal:
    """Takes decisions; for all threads of a process, and several processes at once.

    Args:
        root: Root of the dataset; the journal is made where it is missing.

    Raises:
        ConformError: It is damaged.
        OutputError: It cannot be made or opened.

    Example:
        >>> with ReviewJournal(root) as journal:  # doctest: +SKIP
        ...     journal.append(decision)  # durable from here on
    """

    def __init__(self, root: Path) -> None:
        self._path = journal_path(root)
        self._lock = root / LEDGER_FOLDER / "reviews.lock"
        self._guard = threading.Lock()
        with locked(self._lock):
            if not has_journal(root):
                _make(self._path)
            _read(self._path)  # refuses a damaged one before SQLite can write to it
            with _errors(self._path):
                self._connection = _connect(self._path)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write a decision; it outlives the loss of power once this has returned.

        The same decision a second time, as of a client that got no answer, changes nothing.

        Args:
            row: Every column of `reviews`.

        Raises:
            ConformError: The row does not conform.
            UsageError: Another decision has its `review_id`.
            OutputError: It cannot be written; it may not be taken for decided.
        """
        text = _text_of(row)
        review_id, digest = str(row["review_id"]), _digest(text)
        with self._turn():
            known = self._connection.execute(
                "select sha256 from decisions where review_id = :id "
                "union all select sha256 from compacted where review_id = :id",
                {"id": review_id},
            ).fetchone()
            if known is None:
                self._connection.execute("begin immediate")
                [last] = self._connection.execute(
                    "select max((select coalesce(max(seq), 0) from decisions), compacted_seq) "
                    "from state"
                ).fetchone()
                self._connection.execute(
                    "insert into decisions values (?, ?, ?, ?)",
                    (last + 1, review_id, text, digest),
                )
                self._connection.execute("commit")
                _write_head(self._path, last + 1)
        if known is not None and known[0] != digest:
            raise UsageError(
                place=f"review_id {review_id!r}",
                found="another decision of that name",
                wanted="a new name for every decision",
            )

    def decisions(self) -> tuple[list[dict[str, Any]], int]:
        """The decisions that wait here, in their order, and the number of the last one.

        Raises:
            ConformError: The journal is damaged.
        """
        return _read(self._path)

    def forget(self, last: int) -> None:
        """Take out the decisions up to a number: they are in files now.

        Raises:
            OutputError: It cannot be written.
        """
        with self._turn():
            self._connection.execute("begin immediate")
            self._connection.execute(
                "insert into compacted select review_id, sha256 from decisions where seq <= ?",
                (last,),
            )
            self._connection.execute("delete from decisions where seq <= ?", (last,))
            self._connection.execute(
                "update state set compacted_seq = max(compacted_seq, ?)", (last,)
            )
            self._connection.execute("commit")

    @contextmanager
    def _turn(self) -> Generator[None]:
        with self._guard, locked(self._lock), _errors(self._path):
            try:
                yield
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("rollback")
                raise

    def close(self) -> None:
        """Close it."""
        with self._guard, _errors(self._path):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_journal(root: Path) -> pa.Table:
    """The decisions that wait in a dataset's journal, as the table `reviews`.

    Raises:
        ConformError: The journal is damaged: decisions that were acknowledged are not there.
    """
    path = journal_path(root)
    decisions = _read(path)[0] if has_journal(root) else []
    return conform(pa.Table.from_pylist(decisions, schema=arrow_schema("reviews")), "reviews")


def has_journal(root: Path) -> bool:
    """Whether a dataset has a journal, or what is left of one."""
    return any(journal_path(root).parent.glob("journal.*"))


def _text_of(row: Mapping[str, Any]) -> str:
    """A decision as JSON, in the form that its column types give it."""
    schema = arrow_schema("reviews")
    if lost := [name for name in (*schema.names, *row) if (name in row) != (name in schema.names)]:
        raise ConformError(
            place=f"table 'reviews', column {lost[0]!r}",
            found="no such column" if lost[0] not in row else "a column of that name",
            wanted=f"the columns {', '.join(schema.names)}",
        )
    try:
        table = pa.Table.from_pylist([dict(row)], schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ConformError(
            place="table 'reviews', a new decision",
            found=f"{error}".splitlines()[0],
            wanted="values of the types of schemas/v1/reviews.json",
        ) from error
    [conformed] = conform(table, "reviews").to_pylist()
    return msgspec.json.encode(conformed).decode()


def _row_of(text: str) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.json.decode(text)
    return row | {"decided_at": datetime.fromisoformat(row["decided_at"])}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _head_path(path: Path) -> Path:
    return path.with_name("journal.head")


def _write_head(path: Path, last: int) -> None:
    """Note the last acknowledged number, in place: a sector is written whole or not at all."""
    head = _head_path(path)
    with output_errors(head):
        made = not head.exists()
        descriptor = os.open(head, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, f"{last:020d}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if made:
            sync_folder(head.parent)


def _make(path: Path) -> None:
    with atomic_path(path) as partial, _errors(path):
        for left in path.parent.glob(f"{partial.name}*"):
            left.unlink()
        connection = sqlite3.connect(partial, isolation_level=None)
        try:
            connection.execute("pragma journal_mode = wal")
            connection.executescript(_LAYOUT)
        finally:
            connection.close()  # folds its log back: the file alone is whole
    _write_head(path, 0)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, timeout=_BUSY_S, check_same_thread=False
    )
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = extra")  # a commit returns after it is on the disk
    return connection


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """All decisions and the last number, having proved that none is lost; changes nothing."""
    acknowledged = _acknowledged(path)
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise _damaged(path, f"{error.strerror}", acknowledged) from error
    if magic != _MAGIC:
        # SQLite takes an empty file for a new one and throws its log away
        raise _damaged(path, "no SQLite file", acknowledged)
    try:
        connection = _open_to_read(path)
        try:
            connection.execute("begin")  # one moment for both questions
            [(compacted,)] = connection.execute("select compacted_seq from state").fetchall()
            rows = connection.execute(
                "select seq, row, sha256 from decisions order by seq"
            ).fetchall()
        finally:
            connection.close()
    # a row that was cut away is no row, and a page of zeros has rows without values
    except (sqlite3.DatabaseError, ValueError) as error:
        raise _damaged(path, f"{error}", acknowledged) from error
    if not isinstance(compacted, int):
        raise _damaged(path, "no number of what is in files", acknowledged)
    decisions: list[dict[str, Any]] = []
    for number, (seq, text, digest) in enumerate(rows, compacted + 1):
        if seq != number or not isinstance(text, str) or _digest(text) != digest:
            raise _damaged(path, f"decision {number} is not as it was written", acknowledged)
        decisions.append(_row_of(text))
    last = compacted + len(rows)
    if last < acknowledged:
        raise _damaged(path, f"{last} decisions", acknowledged)
    return decisions, last


def _open_to_read(path: Path) -> sqlite3.Connection:
    log = path.with_name(f"{path.name}-wal")
    # where nothing can be written SQLite cannot share its index of the log, and needs none
    fixed = not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size)
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if fixed else ''}",
        uri=True,
        isolation_level=None,
        timeout=_BUSY_S,
    )


def _acknowledged(path: Path) -> int:
    """Number of the last decision that was acknowledged; 0 where that was never noted."""
    try:
        found = _head_path(path).read_bytes()
    except FileNotFoundError:
        return 0
    match = _HEAD.fullmatch(found)
    if match is None:
        raise ConformError(
            place=str(_head_path(path)),
            found=f"{len(found)} bytes that are no number",
            wanted="the number of the last decision",
            next_command=f"restore {path.parent} from a copy, or remove journal.head to go on "
            "with the decisions that journal.sqlite holds",
        )
    return int(match[1])


def _damaged(path: Path, found: str, acknowledged: int) -> ConformError:
    return ConformError(
        place=str(path),
        found=found,
        wanted=f"the decisions up to number {acknowledged}, which were acknowledged",
        next_command=f"restore {path.parent} from a copy; or remove journal.head to go on with "
        "what can be read, or all of journal.* to begin a new journal",
    )


@contextmanager
def _errors(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OutputError(
            place=str(path),
            found=f"{error}",
            wanted="a journal that can be read and written",
            next_command="free space or allow writing there, then decide again",
        ) from error
