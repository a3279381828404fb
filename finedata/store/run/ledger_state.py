"""What ledgers tell of their runs to somebody who only looks: settings, how far, running or not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from finedata.errors import OutputError
from finedata.store.lock import take_lock
from finedata.store.run.ledger import LEDGER_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LedgerState", "ledger_item", "ledger_states"]


class LedgerState(msgspec.Struct, frozen=True, kw_only=True):
    """One run as its ledger has it.

    Attributes:
        name: Which ledger of the folder.
        running: Whether a process holds it now; else it ended or was stopped.
        settings: What the run was told, in words.
        finished: Kind of item to how many are finished.
        begun_at: When the run first began, UTC; "" where unknown.
        last_at: When its newest item was finished, UTC; "" where none is.
    """

    name: str
    running: bool
    settings: dict[str, str]
    finished: dict[str, int]
    begun_at: str
    last_at: str


def ledger_states(root: Path) -> list[LedgerState]:
    """The runs that wrote in a folder, by name; nothing is changed.

    Raises:
        OutputError: A ledger is damaged.
    """
    folder = root / LEDGER_FOLDER
    return [
        _state(path)
        for path in sorted(folder.glob("*.sqlite"))
        if path.name != "calls.sqlite"  # of another layout; see `teachers.calls`
    ]


def ledger_item(path: Path, kind: str) -> bytes | None:
    """The payload of item 0 of a kind in a ledger; None where it has none. Nothing is changed.

    Raises:
        OutputError: The ledger is damaged.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as ledger:
            row = ledger.execute(
                "select payload from items where kind = ? and number = 0", (kind,)
            ).fetchone()
    except sqlite3.Error as error:
        raise OutputError(
            place=str(path), found=f"{error}", wanted="a ledger that can be read"
        ) from error
    return None if row is None else row[0]


def _state(path: Path) -> LedgerState:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as ledger:
            words = dict(ledger.execute("select key, value from run").fetchall())
            counts = dict(
                ledger.execute("select kind, count(*) from items group by kind order by kind")
            )
            (last,) = ledger.execute("select max(finished_at) from items").fetchone()
    except sqlite3.Error as error:
        raise OutputError(
            place=str(path), found=f"{error}", wanted="a ledger that can be read"
        ) from error
    return LedgerState(
        name=path.stem,
        running=_is_held(path.with_suffix(".lock")),
        settings={
            key.removeprefix("setting:"): value
            for key, value in sorted(words.items())
            if key.startswith("setting:")
        },
        finished=counts,
        begun_at=_time(words.get("begun_at")),
        last_at=_time(last),
    )


def _is_held(path: Path) -> bool:
    if not path.is_file():
        return False
    lock = take_lock(path, wait=False)
    if lock is None:
        return True
    lock.release()
    return False


def _time(seconds: str | float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S")
