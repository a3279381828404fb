"""Files and folders that are whole or not there: write beside, fsync, rename.

A reader that lists the folder meanwhile sees only what is finished: the unfinished is hidden and
ends in `.partial` (LeRobot reads every `*.parquet`, hidden ones too).
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from finedata.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = [
    "atomic_folder",
    "atomic_path",
    "check_new_folder",
    "output_errors",
    "sync_folder",
    "write_atomic",
]


@contextmanager
def atomic_path(path: Path) -> Generator[Path]:
    """Give a path to write to; on leaving, that file becomes `path`, durably.

    The folder is made where it is missing. When the block raises, the unfinished file is
    removed and `path` stays as it was.

    Raises:
        OutputError: The disk is full, or the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            _sync_file(partial)
            partial.rename(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a small file at once.

    Raises:
        OutputError: The disk is full, or the file cannot be written.
    """
    with atomic_path(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_folder(path: Path) -> Generator[Path]:
    """Give a new folder to write to; on leaving, it becomes `path`, durably.

    What a killed run left of it is removed first. When the block raises, so is the new folder.

    Args:
        path: Nothing, or an empty folder; see `check_new_folder`.

    Raises:
        OutputError: The folder cannot be made or renamed.
    """
    partial = path.with_name(f".{path.name}.partial")
    with output_errors(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    try:
        yield partial
        with output_errors(path):
            if path.exists():
                path.rmdir()
            partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    with output_errors(path):
        sync_folder(path.parent)


def check_new_folder(path: Path) -> None:
    """Refuse to write where something is.

    Raises:
        UsageError: There is a file, or a folder that is not empty, or the path names none.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(
            place=str(path),
            found="something there already",
            wanted="a new folder, or an empty one",
            next_command="choose another --out",
        )
    if path.name in ("", ".."):
        raise UsageError(place=str(path), found="no name for a folder", wanted="a new folder")


@contextmanager
def output_errors(path: Path) -> Generator[None]:
    """Turn what the operating system says about a write into an `OutputError` with a next step."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            place=str(path),
            found=f"{error.strerror or error}",
            wanted="room and permission to write it",
            next_command="free space or choose another --out, then run the same command again: "
            "it continues where it stopped",
        ) from error


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable, where the system can sync folders."""
    if not hasattr(os, "O_DIRECTORY"):  # pragma: no cover  (Windows)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
