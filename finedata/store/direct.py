"""A file for output only, written past the page cache where the system can.

Pieces of any size are gathered, and blocks of four megabytes go straight to the disk. A corpus
is written once and not read again soon, so caching it only costs: copying it into fresh
cache pages took more time than everything else a conversion does (benchmarks/RESULTS.md), and
pushed the source, which is read twice, out of the cache. Where a file system refuses (EINVAL),
the file is an ordinary one.
"""

from __future__ import annotations

import errno
import mmap
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DirectFile"]

# A multiple of every block size in use; also what is written at a time.
_BLOCK_BYTES = 4 << 20
_O_DIRECT = getattr(os, "O_DIRECT", 0)


class DirectFile:
    """A new file that takes bytes and is closed; what Arrow asks of a Python file.

    Args:
        path: The file; an old one is replaced.

    Raises:
        OSError: From here and every method, what the system says.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._direct = bool(_O_DIRECT)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            self._descriptor = os.open(path, flags | _O_DIRECT, 0o644)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._direct = False
            self._descriptor = os.open(path, flags, 0o644)
        # Anonymous memory of its own mapping begins on a page, as direct writes ask.
        self._view = memoryview(mmap.mmap(-1, _BLOCK_BYTES))
        self._filled = 0
        self._written = 0
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take bytes; they are on their way when a block is full, or at the end."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            count = min(len(view) - done, _BLOCK_BYTES - self._filled)
            self._view[self._filled : self._filled + count] = view[done : done + count]
            self._filled += count
            done += count
            if self._filled == _BLOCK_BYTES:
                self._drain()
        return len(view)

    def tell(self) -> int:
        """How many bytes were taken so far."""
        return self._written + self._filled

    def flush(self) -> None:
        """Nothing: part of a block cannot go past the cache."""

    def writable(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Write the rest and close; syncing is the caller's."""
        if self.closed:
            return
        self.closed = True
        try:
            if self._filled:
                # The last block is not whole, which a direct write would have to be.
                self._go_through_the_cache()
                self._drain()
        finally:
            os.close(self._descriptor)

    def _drain(self) -> None:
        done = 0
        while done < self._filled:
            try:
                done += os.write(self._descriptor, self._view[done : self._filled])
            except OSError as error:
                if error.errno != errno.EINVAL or not self._go_through_the_cache():
                    raise
        self._written += self._filled
        self._filled = 0

    def _go_through_the_cache(self) -> bool:
        """Make the rest of the file an ordinary one; whether it was not before."""
        if not self._direct:
            return False
        self._direct = False
        # opened anew at the same place: changing the flags of an open file is POSIX only
        place = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        ordinary = os.open(self._path, os.O_WRONLY)
        os.close(self._descriptor)
        self._descriptor = ordinary
        os.lseek(ordinary, place, os.SEEK_SET)
        return True
