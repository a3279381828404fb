"""A folder of shards as one noun: `Shards.open(path)`.

`shards.json` is read; everything else is mapped when it is first used, and of what is mapped only a
bounded number stays open. Memory is that of the list of tars, however many samples there are: no
list over samples or episodes is ever made.

Every byte that a stream reads is opened here and nowhere else. Shards that are somewhere else than
in a folder have to stand behind `open`, `_open_table`, `_open_tar` and `fine_bits`.
"""

from __future__ import annotations

import mmap
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import ConformError, UsageError
from finedata.schema.shards_file import SHARDS_FILE, decode_shards
from finedata.shard.files import episodes_path, frames_path, index_path, member_crc32c, tar_folder
from finedata.shard.mapped import MappedTable
from finedata.shard.remote import RemoteFiles, open_remote
from finedata.store.remote.stores import is_remote

if TYPE_CHECKING:
    from typing import Self

    from finedata.schema.shards_file import Policy, ShardSet, ShardsFile, TextRevision

__all__ = ["Shards"]

# Descriptors are scarcer than memory: most systems allow a process 1,024 of them.
_OPEN_TARS = 256
_OPEN_INDEXES = 256
_OPEN_TABLES = 64
_BITS: dict[Policy, str] = {"not_contradicted": "fg.bits", "reviewed": "fg_reviewed.bits"}


class Shards:
    """A finished folder of shards.

    Args:
        root: The folder.
        document: Its `shards.json`.
        remote: Where its files come from, where they are not here yet.

    Attributes:
        sets: Name to what `shards.json` says of the set.
        identity: Digest of tars, numbers and episodes: what the order of streams depends on.
        remote: Where files are fetched from, for shards that lie elsewhere.

    Example:
        >>> shards = Shards.open("shards")  # doctest: +SKIP
        >>> shards.member("bridge_v2-bridge-rep-train", 0, 17, "image_0.jpg")  # doctest: +SKIP
    """

    def __init__(
        self, root: Path, document: ShardsFile, *, remote: RemoteFiles | None = None
    ) -> None:
        self.root = root
        self.remote = remote
        self.document = document
        self.sets: dict[str, ShardSet] = {one.name: one for one in document.sets}
        self.identity = document.identity
        self._table = lru_cache(maxsize=_OPEN_TABLES)(self._open_table)
        self._index = lru_cache(maxsize=_OPEN_INDEXES)(self._open_index)
        self._tar = lru_cache(maxsize=_OPEN_TARS)(self._open_tar)

    @classmethod
    def open(
        cls,
        root: str | Path,
        *,
        cache: str | Path | None = None,
        cache_bytes: int | None = None,
    ) -> Self:
        """Open a folder of shards, or shards that lie elsewhere.

        Args:
            root: The folder, or an address; see `finedata.shard.remote`.
            cache: Folder of the cache, of an address.
            cache_bytes: Bound of the cache.

        Raises:
            UsageError: There is no finished one.
            ConformError: Its shards.json is damaged, or of another version.
        """
        if is_remote(root):
            remote, document = open_remote(str(root), cache=cache, cache_bytes=cache_bytes)
            return cls(remote.root, document, remote=remote)
        path = Path(root)
        try:
            content = (path / SHARDS_FILE).read_bytes()
        except OSError as error:
            raise UsageError(
                place=str(path),
                found=f"no {SHARDS_FILE}",
                wanted="a finished folder of shards",
                next_command=f"finedata shard DATASET --out {path}  # makes or finishes it",
            ) from error
        return cls(path, decode_shards(content, place=str(path / SHARDS_FILE)))

    @property
    def address(self) -> str:
        """What opens these shards in another process."""
        return str(self.root.absolute()) if self.remote is None else self.remote.address

    @property
    def commit(self) -> str:
        """The commit of a repository that they are read at; "" where there is none."""
        return "" if self.remote is None else self.remote.store.commit

    @property
    def pinned(self) -> str:
        """The address that names this publication for ever; "" where there is none."""
        return str(self.remote.place) if self.remote is not None and self.commit else ""

    def file(self, inside: str) -> Path:
        """A file by its path in the folder; what lies elsewhere is fetched first."""
        if self.remote is not None:
            self.remote.bring(inside)
        return self.root / inside

    def episodes(self, set_name: str) -> MappedTable:
        """`shard_episodes` of a set."""
        return self._table(episodes_path(self.root, self._set(set_name).name), "shard_episodes")

    def frames(self, set_name: str) -> MappedTable:
        """`shard_frames` of a set: row `first_row + frame_index` of an episode."""
        return self._table(frames_path(self.root, self._set(set_name).name), "shard_frames")

    def index(self, set_name: str, number: int) -> MappedTable:
        """`shard_index` of a set's tar, by the tar's place in the list."""
        return self._index(set_name, number)

    def text_revision(self, revision: str | None = None) -> TextRevision:
        """A text revision by its name; the last one by default.

        Raises:
            UsageError: There is none of that name, or none at all.
        """
        texts = self.document.texts
        found = [text for text in texts if revision in (None, text.revision)]
        if not found:
            raise UsageError(
                place=f"text revision of {self.root}",
                found=revision or "none",
                wanted=", ".join(text.revision for text in texts) or "one",
                next_command=f"finedata shard {self.root} --text DATASET",
            )
        return found[-1]

    def text(self, set_name: str, table: str, *, revision: str | None = None) -> MappedTable:
        """A table of words of a set: `episodes`, `instructions`, `facts`, `traces`, or `steps`."""
        name = self.text_revision(revision).revision
        path = self.root / "text" / name / self._set(set_name).name / f"{table}.arrow"
        return self._table(path, f"text_{table}")

    def fine_bits(self, set_name: str, *, revision: str, policy: Policy) -> np.ndarray:
        """One bit a sample of a set, little bit order: whether it has fine-grained text; mapped.

        Raises:
            ConformError: The file is not there, or of another size than the set's samples need.
        """
        path = self.file(f"text/{revision}/{self._set(set_name).name}/{_BITS[policy]}")
        wanted = -(-self.sets[set_name].samples // 8)
        found = path.stat().st_size if path.is_file() else None
        if found != wanted:
            raise self._damaged(
                path,
                "nothing" if found is None else f"{found} bytes",
                f"{wanted} bytes, one bit a sample",
            )
        return np.memmap(path, np.uint8, mode="r") if wanted else np.zeros(0, np.uint8)

    def tar_path(self, set_name: str, number: int) -> Path:
        """The file of a tar, by its place in the set's list."""
        return tar_folder(self.root, set_name) / self._set(set_name).tars[number].name

    def tar(self, set_name: str, number: int) -> memoryview:
        """All bytes of a tar, mapped.

        Raises:
            ConformError: The file is not there, or of another size than shards.json says.
        """
        if self.remote is not None:
            return self.remote.mapped(set_name, number, self._open_tar)
        return self._tar(set_name, number)

    def member(self, set_name: str, number: int, place: int, member: str) -> bytes:
        """One member of one sample, checked.

        Args:
            set_name: The set.
            number: The tar's place in the set's list.
            place: The sample's place in the tar.
            member: Its suffix, one of the set's `members`.

        Raises:
            UsageError: The set has no such member.
            ConformError: The bytes are not those that were written.
        """
        members = self._set(set_name).members
        if member not in members:
            raise UsageError(
                place=f"set {set_name}", found=f"member {member!r}", wanted=", ".join(members)
            )
        index, column = self.index(set_name, number), members.index(member)
        offset = int(index.numbers("member_offset", place, place + 1)[0, column])
        size = int(index.numbers("member_size", place, place + 1)[0, column])
        content = bytes(self.tar(set_name, number)[offset : offset + size])
        wanted = int(index.numbers("member_crc32c", place, place + 1)[0, column])
        if member_crc32c(content) != wanted:
            raise self._damaged(
                self.tar_path(set_name, number),
                f"other bytes in member {member} of sample {place}, {size} bytes from {offset}",
            )
        return content

    def _set(self, name: str) -> ShardSet:
        found = self.sets.get(name)
        if found is None:
            raise UsageError(
                place=f"set of {self.root}", found=repr(name), wanted=", ".join(sorted(self.sets))
            )
        return found

    def _open_table(self, path: Path, name: str) -> MappedTable:
        return MappedTable(self.file(path.relative_to(self.root).as_posix()), name=name)

    def _open_index(self, set_name: str, number: int) -> MappedTable:
        return self._open_table(index_path(self.tar_path(set_name, number)), "shard_index")

    def _open_tar(self, set_name: str, number: int) -> memoryview:
        path = self.tar_path(set_name, number)
        size = self._set(set_name).tars[number].bytes
        try:
            with path.open("rb") as file:
                view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise self._damaged(path, str(error)) from error
        if len(view) != size:
            raise self._damaged(path, f"{len(view)} bytes", f"{size}")
        return view

    def _damaged(self, path: Path, found: str, wanted: str = "the file as written") -> ConformError:
        return ConformError(
            place=str(path),
            found=found,
            wanted=wanted,
            next_command=f"finedata verify {self.root}  # which files are as they were written",
        )
