"""The connection of the call ledger: transactions that nest, threads that take turns, one error.

Whatever SQLite has to complain about becomes an `OutputError` that names the file.

Processes take turns at opening and closing. While the first connection turns the file to its
write-ahead log, or the last one folds that log back, SQLite tells a newcomer that the database is
locked at once, whatever time it was given to wait (https://sqlite.org/wal.html, section 8).
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from finedata.errors import OutputError
from finedata.store.lock import locked

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_BUSY_S = 120.0  # how long other processes are waited for


class CallDatabase:
    """One SQLite file, for all threads of a process.

    A commit survives the death of the process; `CallWriter.durable` makes it survive the loss of
    power, for many at once.

    Args:
        path: The file; made where it is missing.
        layout: Statements that make what is missing in it.

    Raises:
        OutputError: It cannot be opened.
    """

    def __init__(self, path: Path, *, layout: str) -> None:
        self.path = path
        self._guard = threading.RLock()
        self._depth = 0
        with locked(_turn(path)):
            with self._errors():
                self._connection = sqlite3.connect(
                    path, isolation_level=None, timeout=_BUSY_S, check_same_thread=False
                )
            try:
                with self._errors():
                    self._connection.execute("pragma journal_mode = wal")
                    self._connection.execute("pragma synchronous = normal")
                    self._connection.executescript(layout)
            except BaseException:
                self._connection.close()
                raise

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of a `select`."""
        with self._errors():
            return self._connection.execute(statement, values).fetchall()

    def change(self, statement: str, values: tuple[Any, ...] = ()) -> int:
        """Insert or update; how many rows that were."""
        with self._errors():
            return self._connection.execute(statement, values).rowcount

    @contextmanager
    def transaction(self) -> Generator[None]:
        """One transaction around several of these; inner ones are part of the outermost."""
        with self._errors():
            self._depth += 1
            try:
                if self._depth == 1:
                    self._connection.execute("begin immediate")
                yield
                if self._depth == 1:
                    self._connection.execute("commit")
            except BaseException:
                if self._depth == 1 and self._connection.in_transaction:
                    self._connection.execute("rollback")
                raise
            finally:
                self._depth -= 1

    def close(self) -> None:
        """Close the connection."""
        with locked(_turn(self.path)), self._guard:
            self._connection.close()

    @contextmanager
    def _errors(self) -> Generator[None]:
        with self._guard:
            try:
                yield
            except sqlite3.Error as error:
                raise OutputError(
                    place=str(self.path),
                    found=f"{error}",
                    wanted="a ledger of calls that can be read and written",
                    next_command="free space or allow writing there, then run the same "
                    "command again",
                ) from error


def _turn(path: Path) -> Path:
    """Lock of whoever opens or closes the file."""
    return path.with_suffix(".lock")
