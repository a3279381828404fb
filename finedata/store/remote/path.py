"""A path that lies elsewhere: what reading code asks of a `Path`, over byte ranges.

Every reader of datasets is written against folders. Instead of a second one of each, a remote
folder answers the same questions: names by listing (asked once), bytes by exact ranges. Nothing is
written there; whoever tries is told to fetch the dataset first.
"""

from __future__ import annotations

import io
from fnmatch import fnmatchcase
from functools import total_ordering
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from finedata.errors import UsageError
from finedata.store.atomic import atomic_path
from finedata.store.remote.stores import is_remote, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from finedata.store.remote.stores import RemoteStore

__all__ = ["RemotePath", "buffered", "fetch_file", "open_root", "readable", "remote_store"]

# The end of a Parquet file: its footer, asked for again and again.
_TAIL_BYTES = 64 << 10
_KEPT_TAIL_BYTES = 16 << 20
_KEPT_TAILS = 256
_BUFFER_BYTES = 1 << 20


def open_root(root: str | Path) -> Path:
    """A folder by its path or address.

    Returns:
        A `Path`, or a `RemotePath` that answers as one.
    """
    if isinstance(root, RemotePath):
        return cast("Path", root)
    if not is_remote(root):
        return Path(root)
    store, inside = open_store(str(root))
    return cast("Path", RemotePath(store, inside))


def readable(path: Path) -> Any:
    """What Arrow opens: the path, or a file object over ranges."""
    return path.open("rb") if isinstance(path, RemotePath) else path


def buffered(path: Path) -> Any:
    """The same for libraries that read a little at a time."""
    if not isinstance(path, RemotePath):
        return path
    # The reader is a raw file in all that a buffer asks of one.
    return _NamedReader(path.open("rb"), buffer_size=_BUFFER_BYTES)


def fetch_file(source: Path, target: Path) -> int:
    """Bring a file here, whole, in one request; its bytes.

    Raises:
        SourceError: It ended before its size, or the network failed.
        OutputError: The disk is full, or it cannot be written.
    """
    found = cast("RemotePath", source)
    size = found.stat().st_size
    with atomic_path(target) as partial, partial.open("wb") as file:
        for piece in found.store.pieces(found.inside, 0, size) if size else ():
            file.write(piece)
    return size


def remote_store(path: object) -> RemoteStore | None:
    """The store of a path that lies elsewhere."""
    return path.store if isinstance(path, RemotePath) else None


@total_ordering
class RemotePath:
    """See the module.

    Args:
        store: Where it lies.
        inside: The path there; "" for its root.
    """

    __slots__ = ("inside", "store")

    def __init__(self, store: RemoteStore, inside: str) -> None:
        self.store = store
        self.inside = inside

    def __str__(self) -> str:
        return f"{self.store.address}/{self.inside}" if self.inside else self.store.address

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __lt__(self, other: RemotePath) -> bool:
        return str(self) < str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __truediv__(self, name: str) -> RemotePath:
        joined = PurePosixPath(self.inside) / str(name)
        return RemotePath(self.store, "" if str(joined) == "." else str(joined))

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross a process boundary by the pinned address."""
        return open_root, (str(self),)

    @property
    def name(self) -> str:
        """Its last part."""
        return PurePosixPath(self.inside).name or self.store.address.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Its last part without the ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The ending."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """The folder around it."""
        above = str(PurePosixPath(self.inside).parent)
        return RemotePath(self.store, "" if above == "." else above)

    def relative_to(self, other: RemotePath) -> PurePosixPath:
        """The path from a folder around it."""
        return PurePosixPath(self.inside).relative_to(other.inside or ".")

    def as_posix(self) -> str:
        """Its address."""
        return str(self)

    def resolve(self, *, strict: bool = False) -> RemotePath:
        """Itself: there are no links."""
        if strict:
            self.stat()
        return self

    def is_file(self) -> bool:
        """Whether there is such a file; of a web server, by asking it."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there is a file below it."""
        prefix = f"{self.inside}/" if self.inside else ""
        return any(name.startswith(prefix) for name in self.store.files())

    def exists(self) -> bool:
        """Whether it is a file or a folder."""
        return self.is_file() or self.is_dir()

    def stat(self) -> Any:
        """With `st_size`.

        Raises:
            FileNotFoundError: There is no such file.
        """
        return SimpleNamespace(st_size=self.store.size(self.inside))

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Files below it that match, `*` being one part of a path."""
        parts = pattern.split("/")
        for name in self._below():
            found = name.split("/")
            if len(found) == len(parts) and all(map(fnmatchcase, found, parts)):
                yield self / name

    def rglob(self, pattern: str) -> Iterator[RemotePath]:
        """Files at any depth below it whose last parts match; `**` is any folder."""
        parts = [part for part in pattern.split("/") if part != "**"]
        for name in self._below():
            found = name.split("/")
            if fnmatchcase(found[-1], parts[-1]) and all(one in found[:-1] for one in parts[:-1]):
                yield self / name

    def read_bytes(self) -> bytes:
        """All of it.

        Raises:
            FileNotFoundError: There is no such file.
        """
        return self.store.read(self.inside, 0, self.store.size(self.inside))

    def read_text(self, encoding: str = "utf-8") -> str:
        """All of it, decoded."""
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> RemoteFile:
        """A file object over ranges."""
        if mode != "rb":
            self.mkdir()
        return RemoteFile(self.store, self.inside)

    def mkdir(self, *_: object, **__: object) -> NoReturn:
        """Refuse: nothing is written elsewhere.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            place=str(self),
            found="a dataset that lies elsewhere",
            wanted="one on this machine: only reading works remotely",
            next_command=f"finedata pull {self.store.address} --out DIR",
        )

    def __fspath__(self) -> NoReturn:
        """Refuse: what wants a name of this machine's would look for it here."""
        self.mkdir()

    touch = unlink = rename = write_bytes = write_text = with_name = with_suffix = mkdir

    def _below(self) -> Iterator[str]:
        prefix = f"{self.inside}/" if self.inside else ""
        for name in self.store.files():
            if name.startswith(prefix):
                yield name[len(prefix) :]


class _NamedReader(io.BufferedReader):
    """A buffer that says in errors what it reads."""

    @property
    def name(self) -> str:
        """The address of the file."""
        return str(cast("RemoteFile", self.raw).name)


class RemoteFile(io.RawIOBase):
    """A remote file for libraries that read and seek; the end of a file is asked for once."""

    def __init__(self, store: RemoteStore, inside: str) -> None:
        super().__init__()
        self._store = store
        self._inside = inside
        self._size = store.size(inside)
        self._position = 0
        self.name = f"{store.address}/{inside}"

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, as any file does."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Bytes from here on, all where no size is given."""
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        data = self._bytes(self._position, self._position + wanted) if wanted else b""
        self._position += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer; less only at the end of the file."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _bytes(self, start: int, stop: int) -> bytes:
        tails = self._store.tails
        begin, tail = tails.get(self._inside, (self._size, b""))
        if start >= begin:
            return tail[start - begin : stop - begin]
        near_the_end = start >= self._size - _TAIL_BYTES
        if not near_the_end and not (stop == self._size and stop - start <= _KEPT_TAIL_BYTES):
            return self._store.read(self._inside, start, stop)
        # What is known of the end is not asked for again.
        begin_now = min(start, max(0, self._size - _TAIL_BYTES))
        tail = self._store.read(self._inside, begin_now, begin) + tail
        tails[self._inside] = begin_now, tail
        if len(tails) > _KEPT_TAILS:
            tails.pop(next(iter(tails)), None)
        return tail[start - begin_now : stop - begin_now]
