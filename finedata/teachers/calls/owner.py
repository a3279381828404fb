"""Which processes that write the ledger are alive: a lock on a file each, released by any death.

A lock, unlike a process number, is let go of however the process ends, is not given to another one
later, and works across containers that share the folder.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from finedata.store.lock import locked, take_lock

if TYPE_CHECKING:
    from pathlib import Path


class Owner:
    """This process among those that write one ledger; holds its lock until `close`.

    Args:
        folder: Where the lock files are; made where it is missing.

    Raises:
        OutputError: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = secrets.token_hex(8)
        self._lock = take_lock(self._path(self.name), wait=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.alive"

    def is_alive(self, name: str) -> bool:
        """Whether the process of that name still runs; itself it always does."""
        if name == self.name:
            return True
        with locked(self._folder / "look.lock"):  # two who look do not mislead each other
            if not self._path(name).exists():
                return False
            lock = take_lock(self._path(name), wait=False)
            if lock is None:
                return True
            lock.release()
            return False

    def forget(self, name: str) -> None:
        """Remove the file of a process that is dead and has nothing in flight any more."""
        self._path(name).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the lock."""
        self._path(self.name).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.release()
