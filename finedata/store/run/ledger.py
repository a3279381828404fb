"""The ledger: what a long run has finished, so that a killed one continues.

A finished item is a kind, a number and a payload, written in one transaction; the next run of the
same command finds it. SQLite under `OUT/.finedata/`, or beside an output that must hold nothing
else, in WAL mode where the file system allows it. A ledger belongs to one run key, a hash of
everything that can change a byte of the output; another key in the same folder is refused. Clocks
and hosts may stand here and nowhere else.
"""

from __future__ import annotations

import platform
import sqlite3
import time
from typing import TYPE_CHECKING

from finedata.errors import OutputError, UsageError
from finedata.store.lock import take_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["LEDGER_FOLDER", "Ledger"]

LEDGER_FOLDER = ".finedata"

_LAYOUT = """
create table if not exists run (key text primary key, value text not null);
create table if not exists items (
    kind text not null, number integer not null, payload blob not null, finished_at real not null,
    primary key (kind, number)
) without rowid;
"""


class Ledger:
    """The finished items of one run; holds a lock on the output folder while it is open.

    Args:
        folder: The output folder; made where it is missing.
        run_key: Hash of everything that changes the output's bytes.
        settings: The same in words: name to value, for the message when keys differ.
        name: Which ledger of the folder: every process of a sharded run has its own.
        home: Folder of the ledger's own files; None for `OUT/.finedata/`. See `beside`.

    Raises:
        UsageError: The folder is not ours, or holds the work of other settings.
        OutputError: Another run is writing there, or it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        run_key: str,
        settings: dict[str, str],
        name: str = "ledger",
        home: Path | None = None,
    ) -> None:
        home = home or folder / LEDGER_FOLDER
        self._folder = folder
        self._file = home / f"{name}.sqlite"
        if home.parent == folder:
            _check_ours(folder, home)
        lock = take_lock(home / f"{name}.lock", wait=False)
        if lock is None:
            raise OutputError(
                place=str(folder),
                found="another run that is writing this folder",
                wanted="one run at a time",
                next_command="wait for it, or choose another --out",
            )
        self._lock = lock
        try:
            self._connection = sqlite3.connect(home / f"{name}.sqlite", isolation_level=None)
        except sqlite3.Error as error:
            self._lock.release()
            raise _broken(self._file, error) from error
        try:
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute("pragma synchronous = normal")
            self._connection.executescript(_LAYOUT)
            self._claim(run_key, settings)
        except sqlite3.Error as error:
            self.close()
            raise _broken(self._file, error) from error
        except BaseException:
            self.close()
            raise

    @classmethod
    def beside(cls, output: Path, *, run_key: str, settings: dict[str, str]) -> Self:
        """The ledger of an output that holds nothing but itself: a file, or a folder for others.

        Args:
            output: The file or folder, which need not be there. Its ledger is
                `.finedata/<name of the output>.sqlite` in the folder above it, with its lock.
            run_key: See the class.
            settings: See the class.

        Raises:
            UsageError: It is the work of other settings, or a folder that is not ours.
            OutputError: Another run is writing it, or the ledger cannot be written.

        Example:
            >>> with Ledger.beside(out, run_key=key, settings={}) as done:  # doctest: +SKIP
            ...     done.put("tar", 0, receipt)
        """
        home = output.parent / LEDGER_FOLDER
        known = (home / f"{output.name}.sqlite").exists()
        if not known and output.is_dir():
            _check_ours(output, home / output.name)
        return cls(output, run_key=run_key, settings=settings, name=output.name, home=home)

    def _claim(self, run_key: str, settings: dict[str, str]) -> None:
        known = dict(self._connection.execute("select key, value from run").fetchall())
        if not known:
            rows = {f"setting:{name}": value for name, value in settings.items()}
            rows |= {"run_key": run_key, "begun_at": str(time.time()), "host": platform.node()}
            self._connection.execute("begin immediate")
            self._connection.executemany("insert into run values (?, ?)", rows.items())
            self._connection.execute("commit")
            return
        if known.get("run_key") != run_key:
            changed = [
                f"{name} = {known.get(f'setting:{name}', 'none')} (now {value})"
                for name, value in settings.items()
                if known.get(f"setting:{name}") != value
            ]
            raise UsageError(
                place=str(self._folder),
                found=f"the work of other settings: {'; '.join(changed) or 'an older layout'}",
                wanted="the same settings, or an empty folder",
                next_command="choose another --out, or remove the folder",
            )

    def put(self, kind: str, number: int, payload: bytes) -> None:
        """Record a finished item, in a transaction of its own."""
        try:
            self._connection.execute(
                "insert or replace into items values (?, ?, ?, ?)",
                (kind, number, payload, time.time()),
            )
        except sqlite3.Error as error:
            raise _broken(self._file, error) from error

    def get(self, kind: str, number: int) -> bytes | None:
        """The payload of a finished item, or `None`."""
        try:
            row = self._connection.execute(
                "select payload from items where kind = ? and number = ?", (kind, number)
            ).fetchone()
        except sqlite3.Error as error:
            raise _broken(self._file, error) from error
        return None if row is None else row[0]

    def payloads(self, kind: str) -> Iterator[bytes]:
        """The payloads of a kind in the order of their numbers, one in memory at a time."""
        cursor = self._connection.execute(
            "select payload from items where kind = ? order by number", (kind,)
        )
        for (payload,) in cursor:
            yield payload

    def items(self, kind: str) -> Iterator[tuple[int, bytes]]:
        """The numbers and payloads of a kind, in the order of their numbers."""
        cursor = self._connection.execute(
            "select number, payload from items where kind = ? order by number", (kind,)
        )
        for number, payload in cursor:  # noqa: UP028  (delegating would close the cursor late)
            yield number, payload

    def close(self) -> None:
        """Close the ledger and release the folder."""
        self._connection.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _check_ours(folder: Path, home: Path) -> None:
    """Refuse to mix with files that somebody else put there."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            parameter="out",
            place=f"out {folder}",
            found="a file",
            wanted="a new folder, or one of ours",
        )
    if not folder.is_dir() or home.is_dir():
        return
    strangers = sorted(entry.name for entry in folder.iterdir())
    if strangers:
        shown = ", ".join(strangers[:5]) + (", ..." if len(strangers) > 5 else "")
        raise UsageError(
            parameter="out",
            place=f"out {folder}",
            found=f"a folder that finedata did not begin, with {shown} in it",
            wanted="a new or empty folder, or one that finedata was writing",
            next_command=f"--out {folder / 'finedata'}",
        )


def _broken(file: Path, error: sqlite3.Error) -> OutputError:
    # A conversion's ledger goes with its output; the others keep work on a finished dataset, which
    # nobody should be told to remove.
    remedy = "the output folder" if file.stem == "ledger" else f"{file}"
    return OutputError(
        place=str(file),
        found=f"{error}",
        wanted="a ledger that can be read and written",
        next_command="free space, then run the same command again; if the ledger is damaged, "
        f"remove {remedy} and start over",
    )
