"""Files of words beside the episodes: CSV, JSON and JSONL, indexed by key, read once.

Annotation files cover thousands of episodes in tens of megabytes, so a file is read once per
process and its JSON records stay bytes until one is asked for: the index costs little more than
the file, and a record of the wrong shape concerns its own episode only. What is remembered is
bounded in bytes.

Names come from data (paths and features of the source), so a name that would leave the source
folder is refused. Links inside the folder are followed: download caches are made of them.
"""

from __future__ import annotations

import csv
import errno
import io
from collections import OrderedDict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from finedata.readers.files import RangeReader, SourceFolder

__all__ = [
    "MAX_SIDECAR_BYTES",
    "Sidecar",
    "forget_sidecars",
    "inside_name",
    "is_pattern",
    "matching_names",
    "open_sidecar",
]

MAX_SIDECAR_BYTES = 256 << 20
# Least recently used files are forgotten beyond this; the newest one is always kept.
_REMEMBERED_BYTES = 256 << 20
_REMEMBERED_FILES = 256
# Listings and remote sizes are small; beyond this many they are asked for again.
_REMEMBERED_NAMES = 4096
# A name from data can be absent in all these ways; any other I/O error is one that may pass.
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}

# msgspec's decoding errors are no ValueErrors; those are wrong types and bytes that are not UTF-8.
_NOT_OF_ITS_FORM = (msgspec.MsgspecError, ValueError, RecursionError, csv.Error)

Problem = Literal["missing", "unreadable"]


class Sidecar:
    """A sidecar file: its bytes, and indices of its records that are built when asked for.

    Attributes:
        name: Relative to the source folder; its suffix (`.csv`, `.jsonl`, any other: JSON) says
            its form.
        data: All of its bytes; empty where there is a problem.
        problem: `missing`, `unreadable` (larger than `MAX_SIDECAR_BYTES`), or `None`.
    """

    def __init__(self, name: str, data: bytes, problem: Problem | None = None) -> None:
        self.name = name
        self.data = data
        self.problem: Problem | None = problem
        self._indices: dict[str | None, Mapping[str, msgspec.Raw] | None] = {}

    def records(self, *, key_field: str | None) -> Mapping[str, msgspec.Raw] | None:
        """The records as JSON, by key; of two records with one key the first counts.

        Args:
            key_field: Field of each record that holds its key, a text or an integer; `None` where
                the file is one JSON object whose own keys count. Records without a key are
                passed over.

        Returns:
            Views of the file's bytes; `None` where it has no such record: missing, empty, not of
            its form, or a list of something else.
        """
        if key_field not in self._indices:
            self._indices[key_field] = self._index(key_field) or None
        return self._indices[key_field]

    def _index(self, key_field: str | None) -> Mapping[str, msgspec.Raw] | None:
        name = self.name.lower()
        try:
            if key_field is None:
                return msgspec.json.decode(self.data, type=dict[str, msgspec.Raw])
            if name.endswith(".csv"):
                return _by_field(_csv_records(self.data), key_field)
            if name.endswith(".jsonl"):
                lines = (line for line in self.data.splitlines() if line.strip())
                return _by_field((msgspec.Raw(line) for line in lines), key_field)
            return _by_field(msgspec.json.decode(self.data, type=list[msgspec.Raw]), key_field)
        except _NOT_OF_ITS_FORM:
            return None


# (address of the folder, name, size) to the file
_sidecars: OrderedDict[tuple[str, str, int], Sidecar] = OrderedDict()
_listings: dict[tuple[str, str], list[str]] = {}
_remote_sizes: dict[tuple[str, str], int] = {}


def inside_name(name: str) -> str | None:
    r"""Normalise a name that came from data, or refuse it.

    Empty parts and `.` are dropped, so that an empty field at the front of a template does no
    harm.

    Returns:
        The name relative to the source folder; `None` where it holds `..` as a part, a backslash
        or a control character, or where nothing is left.

    Example:
        >>> inside_name("/label//a.json"), inside_name("a/../../b")
        ('label/a.json', None)
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    unsafe = any(character == "\\" or character < " " for character in name)
    return None if unsafe or not parts or ".." in parts else "/".join(parts)


def is_pattern(name: str) -> bool:
    """Whether the last part of a name is a pattern: whether it holds `*`, `?` or `[`."""
    return any(character in name.rpartition("/")[2] for character in "*?[")


def matching_names(folder: SourceFolder, pattern: str) -> list[str]:
    """The files whose last part matches a pattern's last part, sorted.

    Its folder is listed once per process (and, as folders are, with all that is below it).

    Args:
        folder: The source folder.
        pattern: Normalised by `inside_name`.

    Raises:
        OSError: The folder cannot be listed for now.
    """
    parent, _, last = pattern.rpartition("/")
    place = (folder.address, parent)
    if place not in _listings:
        if len(_listings) >= _REMEMBERED_NAMES:
            _listings.clear()
        _listings[place] = _list(folder, parent)
    prefix = f"{parent}/" if parent else ""
    return [prefix + name for name in _listings[place] if fnmatchcase(name, last)]


def open_sidecar(folder: SourceFolder, name: str) -> Sidecar:
    """A sidecar file, read once per process while what is remembered stays within its bound.

    A local file is read again when its size has changed.

    Args:
        folder: The source folder.
        name: Normalised by `inside_name`.

    Raises:
        OSError: It cannot be read for now; that it is not there is no error.
    """
    try:
        return _remembered(folder, name)
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno in _ABSENT:
            return Sidecar(name, b"", "missing")
        raise


def _remembered(folder: SourceFolder, name: str) -> Sidecar:
    remote = (folder.address, name) if "://" in folder.address else None
    size = _remote_sizes.get(remote) if remote is not None else None
    if size is not None and (folder.address, name, size) in _sidecars:
        _sidecars.move_to_end((folder.address, name, size))
        return _sidecars[folder.address, name, size]
    reader = folder.open(name)
    try:
        place = (folder.address, name, reader.size)
        if place not in _sidecars:
            _remember(place, _read(name, reader))
    finally:
        reader.close()
    if remote is not None:
        if len(_remote_sizes) >= _REMEMBERED_NAMES:
            _remote_sizes.clear()
        _remote_sizes[remote] = place[2]
    _sidecars.move_to_end(place)
    return _sidecars[place]


def _read(name: str, reader: RangeReader) -> Sidecar:
    if reader.size > MAX_SIDECAR_BYTES:
        return Sidecar(name, b"", "unreadable")
    # Some editors open a UTF-8 file with a byte order mark.
    return Sidecar(name, reader.read(0, reader.size).removeprefix(b"\xef\xbb\xbf"))


def _remember(place: tuple[str, str, int], sidecar: Sidecar) -> None:
    _sidecars[place] = sidecar
    while len(_sidecars) > 1 and (
        len(_sidecars) > _REMEMBERED_FILES
        or sum(len(kept.data) for kept in _sidecars.values()) > _REMEMBERED_BYTES
    ):
        _sidecars.popitem(last=False)


def _list(folder: SourceFolder, parent: str) -> list[str]:
    """The names right in a folder; none where there is no such folder."""
    try:
        found = (folder.child(parent) if parent else folder).files()
    except (FileNotFoundError, NotADirectoryError, UsageError):
        return []
    return sorted(file.name for file in found if "/" not in file.name)


def _csv_records(data: bytes) -> list[msgspec.Raw]:
    """The rows of a CSV file with a header, as JSON objects of texts."""
    rows = csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""), strict=True)
    return [
        msgspec.Raw(
            msgspec.json.encode(
                {column: cell for column, cell in row.items() if isinstance(column, str)}
            )
        )
        for row in rows
    ]


def _by_field(records: Iterable[msgspec.Raw], key_field: str) -> dict[str, msgspec.Raw]:
    """Index records by one field; their other fields are passed over undecoded."""
    keyed = msgspec.defstruct("Keyed", [("key", str | int)], rename={"key": key_field})
    decoder = msgspec.json.Decoder(keyed)
    index: dict[str, msgspec.Raw] = {}
    for record in records:
        try:
            key = str(cast("Any", decoder.decode(record)).key)
        except _NOT_OF_ITS_FORM:
            continue
        index.setdefault(key, record)
    return index


def forget_sidecars() -> None:
    """Forget every file that was read: between runs they may have changed."""
    _sidecars.clear()
    _listings.clear()
    _remote_sizes.clear()
