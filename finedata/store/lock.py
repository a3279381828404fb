"""One way to keep two processes from writing the same thing: a lock on a file beside it.

The system releases the lock however its holder ends, so nothing of a killed process is left to
clear away, and it works across containers that share the folder. Where the file system knows no
such locks, `filelock` falls back to a marker file.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from finedata.store.atomic import output_errors

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from filelock import BaseFileLock

__all__ = ["locked", "take_lock"]

_LOOK_AGAIN_S = 0.02


def take_lock(path: Path, *, wait: bool) -> BaseFileLock | None:
    """Take a lock and keep it until `release`, from whatever thread.

    Args:
        path: File of the lock; it and its folder are made where they are missing.
        wait: Whether to wait for another holder.

    Returns:
        The lock; None where another holds it and `wait` is false.

    Raises:
        OutputError: The file cannot be made.
    """
    lock = FileLock(path, thread_local=False)
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=-1 if wait else 0, poll_interval=_LOOK_AGAIN_S)
        except Timeout:
            return None
    return lock


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold a lock during a block, having waited for it.

    Raises:
        OutputError: The file cannot be made.
    """
    lock = take_lock(path, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
