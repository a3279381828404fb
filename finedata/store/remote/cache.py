"""A bounded folder of remote files, shared by every process of a machine.

Who wants a file brings it under a lock, so that it comes once whoever asks; it takes its name only
when its digest is right. What is in the way of the bound is removed in the order of furthest next
use, which streams know exactly and write down beside the files; files that nobody plans to read go
first. A file that is mapped stays readable when its name is gone, so removing disturbs nobody.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from finedata.errors import OutputError, SourceError
from finedata.store.atomic import output_errors, write_atomic
from finedata.store.lock import locked, take_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

__all__ = ["FileCache", "NextUse"]

_TRIES = 2
_PARTIAL = ".partial"


class NextUse(msgspec.Struct, frozen=True):
    """When a process will read what, as far as it knows.

    Attributes:
        pid: The process; a plan of one that has ended counts for nothing.
        distance: File, relative to the cache, to samples from now; 0 is being read.
    """

    pid: int
    distance: dict[str, float]


@dataclass(frozen=True)
class FileCache:
    """The folder.

    Args:
        folder: Made where it is missing.
        max_bytes: Of files that can be removed; see `bring`.
    """

    folder: Path
    max_bytes: int

    def bring(
        self,
        name: str,
        *,
        size: int,
        sha256: str | None,
        pieces: Callable[[], Iterator[bytes]],
        removable: bool,
        still: Callable[[], bool] | None = None,
    ) -> bool:
        """Have a file here, whole and right; whether it came now.

        Args:
            name: Relative to the folder.
            size: In bytes.
            sha256: Of its content; None where nobody knows it and `pieces` checks what it gives.
            pieces: Gives its content; called again if the first was wrong.
            removable: Whether it counts against the bound and may be removed for others.
            still: Asked when it is this caller's turn: whether it is wanted yet.

        Raises:
            SourceError: It came with other bytes, twice, or did not come.
            OutputError: The disk is full, or the bound is too small for what is being read.
        """
        path = self.folder / name
        if self.has(name, size):
            return False
        with locked(self._lock_of(name)):
            if self.has(name, size) or (still is not None and not still()):
                return False
            partial = path.with_name(f".{path.name}.partial")
            with output_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with self._room(size, partial) if removable else _nothing():
                    self._fill(partial, path, size, sha256, pieces)
                with output_errors(path):
                    partial.rename(path)
            finally:
                with suppress(OSError):
                    partial.unlink(missing_ok=True)
        return True

    def has(self, name: str, size: int) -> bool:
        """Whether a file is here; what has its name was checked when it came."""
        try:
            return (self.folder / name).stat().st_size == size
        except OSError:
            return False

    def plan(self, owner: str, distance: dict[str, float]) -> None:
        """Tell other processes what this one will read, and when.

        Raises:
            OutputError: The disk is full.
        """
        content = msgspec.json.encode(NextUse(os.getpid(), distance))
        write_atomic(self.folder / ".plans" / f"{owner}.json", content)

    def forget(self, owner: str) -> None:
        """Take a plan back."""
        with suppress(OSError):
            (self.folder / ".plans" / f"{owner}.json").unlink(missing_ok=True)

    def _fill(
        self,
        partial: Path,
        path: Path,
        size: int,
        sha256: str | None,
        pieces: Callable[[], Iterator[bytes]],
    ) -> None:
        found = ""
        for _ in range(_TRIES):
            digest = hashlib.sha256()
            with output_errors(path), partial.open("r+b" if partial.exists() else "wb") as file:
                file.truncate(0)
                for piece in pieces() if size else ():
                    digest.update(piece)
                    file.write(piece)
            found = digest.hexdigest()
            if sha256 in (found, None):
                return
        raise SourceError(
            place=f"{path}, while it was fetched",
            found=f"bytes with SHA-256 {found[:16]}…",
            wanted=f"{(sha256 or '')[:16]}…, as shards.json says",
            next_command="finedata verify the shards where they were published from",
        )

    @contextmanager
    def _room(self, size: int, partial: Path) -> Generator[None]:
        """Remove files until there is room, and hold it by a file of that size."""
        with locked(self.folder / ".locks" / ".room.lock"):
            files = self._files()
            taken = sum(files.values())
            if taken + size > self.max_bytes:
                distance = self._distances()
                taken -= self._remove_leftovers(files)
                whole = [name for name in files if not name.endswith(_PARTIAL)]
                order = sorted(whole, key=lambda name: distance.get(name, float("inf")))
                while taken + size > self.max_bytes and order:
                    name = order.pop()
                    if distance.get(name, float("inf")) <= 0:
                        order.append(name)
                        break
                    with output_errors(self.folder / name):
                        (self.folder / name).unlink(missing_ok=True)
                    taken -= files[name]
                if taken + size > self.max_bytes:
                    raise OutputError(
                        place=f"cache {self.folder}",
                        found=f"{taken:,} bytes that are being read, and {size:,} more",
                        wanted=f"at most {self.max_bytes:,}",
                        next_command="a larger cache_bytes, or a smaller group of the stream",
                    )
            with output_errors(partial), partial.open("wb") as file:
                file.truncate(size)
        yield

    def _files(self) -> dict[str, int]:
        """Removable files, and those on their way, with their sizes."""
        found: dict[str, int] = {}
        for path in self.folder.rglob("*.tar*"):
            if path.suffix == ".tar" or path.name.endswith(".tar.partial"):
                with suppress(FileNotFoundError):
                    found[path.relative_to(self.folder).as_posix()] = path.stat().st_size
        return found

    def _distances(self) -> dict[str, float]:
        """The nearest next use of each file, over all plans of living processes."""
        nearest: dict[str, float] = {}
        for path in (self.folder / ".plans").glob("*.json"):
            with suppress(FileNotFoundError, msgspec.DecodeError):
                plan = msgspec.json.decode(path.read_bytes(), type=NextUse)
                if not _is_alive(plan.pid):
                    path.unlink(missing_ok=True)
                    continue
                for name, distance in plan.distance.items():
                    nearest[name] = min(distance, nearest.get(name, float("inf")))
        return nearest

    def _remove_leftovers(self, files: dict[str, int]) -> int:
        """Remove what killed processes left half-way; how many bytes that was."""
        removed = 0
        for name in [name for name in files if name.endswith(_PARTIAL)]:
            folder, _, hidden = name.rpartition("/")
            whole = f"{folder}/{hidden.removeprefix('.').removesuffix(_PARTIAL)}".lstrip("/")
            lock = take_lock(self._lock_of(whole), wait=False)
            if lock is None:
                continue
            try:
                with output_errors(self.folder / name):
                    (self.folder / name).unlink(missing_ok=True)
                removed += files.pop(name)
            finally:
                lock.release()
        return removed

    def _lock_of(self, name: str) -> Path:
        return self.folder / ".locks" / f"{name.replace('/', '--')}.lock"


@contextmanager
def _nothing() -> Generator[None]:
    yield


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
