"""Which processes that write the ledger are alive: a lock on a file each, released by any death.

A folder comes in. A lock, unlike a process number, is let go of however the process ends, is not
given to another one later, and works across containers that share the folder.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from typing import TYPE_CHECKING

from finedata.store.atomic import output_errors

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Owner"]


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
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._path(self.name), os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.alive"

    def is_alive(self, name: str) -> bool:
        """Whether the process of that name still runs; itself it always does."""
        if name == self.name:
            return True
        try:
            lock = os.open(self._path(name), os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(
                lock, fcntl.LOCK_SH | fcntl.LOCK_NB
            )  # two who look do not mislead each other
        except OSError:
            return True
        finally:
            os.close(lock)
        return False

    def forget(self, name: str) -> None:
        """Remove the file of a process that is dead and has nothing in flight any more."""
        self._path(name).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the lock."""
        self._path(self.name).unlink(missing_ok=True)
        os.close(self._lock)
