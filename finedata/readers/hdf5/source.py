"""Folders of HDF5 recordings: one file is one episode, or holds one group for each of many.

Files count wherever below the folder they lie, and give every dataset and attribute by path
(`finedata.readers.hdf5.demos` says which groups of a file are episodes of their own). Files are
opened one at a time and read in small blocks; a damaged one is a `Found` with its reason. Nothing
here knows a dataset: which features mean what is the converter file's.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.errors import CorruptRecordError, SourceError
from finedata.readers.episode import Found, Shard
from finedata.readers.files import SourceFile, SourceFolder, open_folder
from finedata.readers.hdf5.demos import absent_demonstrations, demonstrations, samples_differ
from finedata.readers.hdf5.episode import Hdf5Episode
from finedata.readers.hdf5.file import Hdf5File

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Hdf5Shard", "Hdf5Source", "open_hdf5", "recognises"]

_ENDINGS = (".hdf5", ".h5")
_SPLITS = ("train", "val", "test")
# Their presence says that another family is at home here.
_OTHER_FAMILIES = ("meta/info.json", "features.json")
# Errors of opening that stay the same however often one tries.
_UNREADABLE = (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError)


@dataclass(frozen=True, slots=True)
class Hdf5Source:
    """A folder of HDF5 recordings; see `Source`.

    Attributes:
        folder: Where it lies.
        shards: Its files sorted by path; the split is the folder `train`, `val` or `test` on the
            way to the file, where there is one.
    """

    folder: SourceFolder
    shards: tuple[Shard, ...]
    version: str = ""
    missing_shards: tuple[str, ...] = ()
    one_part: bool = False
    byte_ranges: bool = False

    def scan(self, shard: int) -> Iterator[tuple[Found, Hdf5Episode | None]]:
        """The one record of a file, or each of its demonstrations; see `Source.scan`."""
        name, size = self.shards[shard].file, self.shards[shard].size
        try:
            file = Hdf5File(self.folder.open(name), name=name)
        except CorruptRecordError as error:
            yield _damaged(0, size, error), None
            return
        except _UNREADABLE as error:
            message = f"{type(error).__name__}: {error.strerror or 'cannot be opened'}"
            yield Found(0, 0, size, "unreadable_file", message), None
            return
        with closing(file):
            try:
                groups = demonstrations(file)
                absent = absent_demonstrations(file, groups) if groups else []
            except CorruptRecordError as error:
                yield _damaged(0, size, error), None
                return
            if not groups:
                yield Found(0, 0, size), Hdf5Episode(file, shared=True)
            for number, group in enumerate(groups):
                yield _demonstration(file, number, group, groups, size=size)
            for number, (missing, place) in enumerate(absent, len(groups)):
                message = f"{missing} is declared in {place}, and is no group of this file"
                yield Found(number, 0, size, "absent", message), None

    def open_shard(self, shard: int) -> Hdf5Shard:
        """Open a file for its episode; see `Source.open_shard`."""
        return Hdf5Shard(self.folder, self.shards[shard].file)


def _damaged(number: int, size: int, error: CorruptRecordError) -> Found:
    cut = size == 0 or "truncated" in error.found
    return Found(number, 0, size, "truncated" if cut else "unparsable", error.found)


def _demonstration(
    file: Hdf5File, number: int, group: str, groups: list[str], *, size: int
) -> tuple[Found, Hdf5Episode | None]:
    """One of a file's demonstrations: damage of it is no damage of the others."""
    try:
        flags = ("declared_length_differs",) if samples_differ(file, group) else ()
    except CorruptRecordError as error:
        return _damaged(number, size, error), None
    episode = Hdf5Episode(file, shared=True, group=group, groups=groups)
    return Found(number, 0, size, flags=flags), episode


class Hdf5Shard:
    """A file that `Hdf5Source.scan` found episodes in; see `OpenShard`."""

    def __init__(self, folder: SourceFolder, name: str) -> None:
        self._folder, self._name = folder, name
        self._open: list[Hdf5Episode] = []
        self._groups: list[str] | None = None

    def episode(self, found: Found) -> Hdf5Episode:
        """One of the file's episodes.

        Raises:
            SourceError: The file is gone, or is no HDF5 file any more, or has fewer episodes.
        """
        try:
            file = Hdf5File(self._folder.open(self._name), name=self._name)
        except _UNREADABLE as error:
            raise SourceError(
                place=self._name,
                found=f"{type(error).__name__}: {error.strerror or 'cannot be opened'}",
                wanted="the file as it was when the plan was made",
            ) from error
        try:
            episode = self._one(file, found.number)
        except BaseException:
            file.close()
            raise
        self._open.append(episode)
        return episode

    def _one(self, file: Hdf5File, number: int) -> Hdf5Episode:
        if self._groups is None:
            self._groups = demonstrations(file)
        groups = self._groups
        if number >= max(1, len(groups)):
            raise SourceError(
                place=self._name,
                found=f"a request for record {number}",
                wanted=f"one below {max(1, len(groups))}, its number of demonstrations",
            )
        return Hdf5Episode(file, group=groups[number] if groups else "", groups=groups)

    def close(self) -> None:
        """Close whatever is still open."""
        while self._open:
            self._open.pop().close()


def open_hdf5(address: str | Path) -> Hdf5Source:
    """Open a folder of HDF5 recordings; nothing is read but its listing.

    Args:
        address: A local folder, or an address that fsspec knows.

    Raises:
        SourceError: No `*.hdf5` or `*.h5` file lies below it.
        UsageError: There is no such folder.
    """
    folder = open_folder(address)
    shards = tuple(
        Shard(file.name, file.size, _split_of(file.name))
        for file in sorted(folder.files())
        if _is_recording(file.name)
    )
    if not shards:
        raise SourceError(
            place=folder.address,
            found="no HDF5 file",
            wanted=f"at least one file ending in {' or '.join(_ENDINGS)}",
            next_command=f"ls {folder.address}",
        )
    return Hdf5Source(folder, shards)


def recognises(files: list[SourceFile]) -> bool:
    """Whether a listing looks like a folder of HDF5 recordings."""
    names = [file.name for file in files]
    if any(
        name == other or name.endswith(f"/{other}") for name in names for other in _OTHER_FAMILIES
    ):
        return False
    return any(map(_is_recording, names))


def _is_recording(name: str) -> bool:
    """Archives packed on a Mac hold a shadow `._x.hdf5` of each file: no recording."""
    return name.lower().endswith(_ENDINGS) and not name.split("/")[-1].startswith("._")


def _split_of(name: str) -> str:
    return next((part for part in name.split("/")[:-1] if part in _SPLITS), "")
