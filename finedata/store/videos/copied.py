"""Video files of the output, byte for byte those of the source: linked, or copied.

A file is written beside and renamed. The cheapest way that is right is taken by the caller, in
this order:

- `place_video`: a hard link where the file system can (`copy_video` from a remote source);
- `finedata.store.videos.remux`: the same pictures at other times, by stream copy, none decoded;
- `finedata.store.videos.transcode`: decoded and encoded anew, lossy, only when asked.

Nothing here needs a video library.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Protocol

from finedata.errors import CorruptRecordError
from finedata.store.atomic import output_errors
from finedata.store.remote.path import fetch_file, remote_store
from finedata.store.videos.files import fresh_path, reading_errors

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["copy_video", "place_video"]

_COPY_BYTES = 8 << 20


class _RangeReader(Protocol):
    """What `copy_video` needs of `finedata.readers.files.RangeReader` (a room above this one)."""

    size: int

    def read(self, offset: int, length: int) -> bytes: ...


def place_video(source: Path, target: Path) -> None:
    """Put the same bytes at `target`: a hard link, or a copy where none can be made.

    Never a symbolic link: the dataset stays whole when it is moved. A link shares its bytes with
    the source, so nothing may ever write into a placed file; this package only replaces files.
    The bytes of a link are on the disk already; that it outlives a power cut is up to the caller,
    who syncs the folder once for many links (`finedata.store.atomic.sync_folder`).

    Raises:
        OutputError: The disk is full, or `target` cannot be written.
        SourceError: There is no such source.
    """
    if remote_store(source) is not None:
        fetch_file(source, target)
        return
    with reading_errors(source):
        real = source.resolve(strict=True)  # a link of a symbolic link would be one
        real.stat()
    if target.exists() and target.samefile(real):
        return  # renaming a file onto its other name would leave both
    if _linked(real, target):
        return
    with fresh_path(target) as partial:
        shutil.copyfile(real, partial)


def _linked(real: Path, target: Path) -> bool:
    """Make `target` another name of the file, where the file system can."""
    partial = target.with_name(f".{target.name}.partial")
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)  # a killed run's: never written into, it may be a link
        try:
            os.link(real, partial)
        except OSError:
            return False
        partial.rename(target)
    return True


def copy_video(reader: _RangeReader, target: Path) -> None:
    """Copy a file of a source (a remote one) byte by byte.

    Raises:
        OutputError: The disk is full, or `target` cannot be written.
        CorruptRecordError: The source ended before its size.
        SourceError: It could not be read.
    """
    with fresh_path(target) as partial, partial.open("wb") as output:
        done = 0
        while done < reader.size:
            with reading_errors(target.name):
                data = reader.read(done, min(_COPY_BYTES, reader.size - done))
            if not data:
                raise CorruptRecordError(
                    place=f"the source of {target.name}",
                    found=f"{done} bytes",
                    wanted=f"the {reader.size} that it has",
                )
            output.write(data)
            done += len(data)
