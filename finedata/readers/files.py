"""Source folders, local or remote: list files with their sizes, read ranges of bytes.

A folder is a path or an fsspec address (`gs://`, `s3://`, `hf://`, `https://`, `memory://`).
Ranges, not memory maps: a file that shrinks while it is read is then an error with a name instead
of a dead process, and the source's pages do not count as memory of ours.
"""

from __future__ import annotations

import errno
import io
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from finedata.errors import MissingExtraError, UsageError, install_command

if TYPE_CHECKING:
    from collections.abc import Generator

    from _typeshed import WriteableBuffer

__all__ = [
    "RangeFile",
    "RangeReader",
    "SourceFile",
    "SourceFolder",
    "file_object",
    "local_path",
    "open_folder",
]

# One remote range request fetches at least this much; local reads are exact.
_REMOTE_BLOCK_BYTES = 8 << 20
_FILE_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class SourceFile:
    """A file of a source: its name relative to the folder, and its size."""

    name: str
    size: int


class RangeReader(Protocol):
    """An open file that gives byte ranges."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Read up to `length` bytes at `offset`; fewer only at the end of the file."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class SourceFolder(Protocol):
    """A folder of source files."""

    address: str

    def files(self) -> list[SourceFile]:
        """List every file below the folder, sorted by name; hidden ones are none of the source's.

        Hidden is what begins with a dot, or lies in a folder that does: caches, checkpoints of
        notebooks, what macOS puts beside files (`._name`, `__MACOSX/`).
        """
        ...

    def read_all(self, name: str) -> bytes:
        """Read a small file whole."""
        ...

    def open(self, name: str) -> RangeReader:
        """Open a file for range reads."""
        ...

    def child(self, name: str) -> SourceFolder:
        """The folder `name` below this one."""
        ...


def open_folder(address: str | Path) -> SourceFolder:
    """Open a source folder.

    Args:
        address: A local path, or an address with a scheme that fsspec knows.

    Raises:
        UsageError: There is no such folder.
    """
    text = str(address)
    if "://" in text and not text.startswith("file://"):
        return _RemoteFolder(text)
    path = Path(text.removeprefix("file://"))
    if not path.is_dir():
        raise UsageError(
            parameter="input",
            place=f"input {text}",
            found="a file" if path.exists() else "nothing there",
            wanted="the folder of a source dataset",
            next_command=f"ls {path.parent}",
        )
    return _LocalFolder(path)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def local_path(folder: SourceFolder, name: str) -> Path | None:
    """The path of a file on this machine; `None` where it lies elsewhere."""
    return folder.path / name if isinstance(folder, _LocalFolder) else None


def file_object(reader: RangeReader) -> io.BufferedReader:
    """A range reader as a Python file, for libraries that want one; closing it closes both."""
    return io.BufferedReader(_OwnedFile(reader), buffer_size=_FILE_BUFFER_BYTES)


class RangeFile(io.RawIOBase):
    """A range reader as the raw file object that other libraries read from.

    Attributes:
        failure: The reader's first error. Libraries wrap it, or hide it, in one of their own.
    """

    def __init__(self, reader: RangeReader) -> None:
        super().__init__()
        self._reader = reader
        self._position = 0
        self.failure: OSError | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as any file does."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._reader.size}
        self._position = max(0, base[whence] + offset)
        return self._position

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes from anywhere; fewer only at the end of the file.

        Raises:
            OSError: The disk or the network failed.
        """
        try:
            return self._reader.read(offset, length)
        except OSError as error:
            self.failure = self.failure or error
            raise

    def read(self, size: int | None = -1) -> bytes:
        """Bytes from here on, all where no size is given."""
        left = max(0, self._reader.size - self._position)
        data = self.read_at(self._position, left if size is None or size < 0 else min(size, left))
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        """All from here on."""
        return self.read()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer; less only at the end of the file."""
        view = memoryview(buffer).cast("B")
        data = self.read_at(self._position, len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


class _OwnedFile(RangeFile):
    """One that closes its reader."""

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
        super().close()


class _LocalFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.address = str(path)

    def files(self) -> list[SourceFile]:
        names = (
            (entry.relative_to(self.path).as_posix(), entry)
            for entry in self.path.rglob("*")
            if entry.is_file()
        )
        return sorted(
            SourceFile(name, entry.stat().st_size) for name, entry in names if not _is_hidden(name)
        )

    def read_all(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def open(self, name: str) -> RangeReader:
        return _LocalReader(self.path / name)

    def child(self, name: str) -> SourceFolder:
        return _LocalFolder(self.path / name)


class _LocalReader:
    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._descriptor, length, offset)
        if len(data) == length or offset + len(data) >= self.size:
            return data
        # One pread gives at most 2 GiB, and a network file system may give less.
        parts = [data]
        done = len(data)
        while done < length:
            data = os.pread(self._descriptor, length - done, offset + done)
            if not data:
                break
            parts.append(data)
            done += len(data)
        return b"".join(parts)

    def close(self) -> None:
        # Twice does no harm, as with Python's own files; the number may be another file's by then.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _RemoteFolder:
    def __init__(self, address: str) -> None:
        import fsspec  # pyright: ignore[reportMissingTypeStubs]  (it has none)

        self.address = address.rstrip("/")
        try:
            found = cast(
                "tuple[Any, str]",
                fsspec.core.url_to_fs(self.address),  # pyright: ignore[reportUnknownMemberType]
            )
        except ImportError as error:
            raise MissingExtraError(
                parameter="input",
                place=f"input {address}",
                found=f"no library for this kind of address ({error})",
                wanted="the one that fsspec names",
                next_command=install_command("remote"),
            ) from error
        except ValueError as error:
            raise UsageError(
                parameter="input",
                place=f"input {address}",
                found=f"{error}",
                wanted="a local folder, or gs://, s3://, hf://, https://",
            ) from error
        self._filesystem, self._root = found

    def files(self) -> list[SourceFile]:
        root = self._root.rstrip("/")
        with _network_errors(self.address):
            found = cast("dict[str, dict[str, Any]]", self._filesystem.find(root, detail=True))
        if not found:
            raise UsageError(
                parameter="input",
                place=f"input {self.address}",
                found="no file",
                wanted="the folder of a source dataset",
            )
        sizes = {
            path: entry.get("size")
            for path, entry in found.items()
            if not _is_hidden(path[len(root) :].lstrip("/"))
        }
        # Listings of HTTP servers are links without sizes; those are asked for all at once.
        unsized = [path for path, size in sizes.items() if size is None]
        if unsized:
            with _network_errors(self.address):
                sizes |= dict(zip(unsized, self._filesystem.sizes(unsized), strict=True))
        return sorted(
            SourceFile(path[len(root) :].lstrip("/"), int(size or 0))
            for path, size in sizes.items()
        )

    def read_all(self, name: str) -> bytes:
        with _network_errors(f"{self.address}/{name}"):
            return cast("bytes", self._filesystem.cat_file(f"{self._root}/{name}"))

    def open(self, name: str) -> RangeReader:
        return _RemoteReader(self._filesystem, f"{self._root}/{name}")

    def child(self, name: str) -> SourceFolder:
        return _RemoteFolder(f"{self.address}/{name}")


class _RemoteReader:
    def __init__(self, filesystem: Any, path: str) -> None:
        with _network_errors(path):
            self._file = filesystem.open(path, "rb", block_size=_REMOTE_BLOCK_BYTES)
            self.size = int(filesystem.size(path))
        self.path = path

    def read(self, offset: int, length: int) -> bytes:
        with _network_errors(self.path):
            self._file.seek(offset)
            return cast("bytes", self._file.read(length))

    def close(self) -> None:
        self._file.close()


@contextmanager
def _network_errors(path: str) -> Generator[None]:
    """Every library behind fsspec has errors of its own; to a caller they are all I/O errors."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        msg = f"{path}: {type(error).__name__}: {error}"
        raise OSError(errno.EIO, msg) from error
