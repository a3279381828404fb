"""The files of shards that lie elsewhere, brought to a bounded cache on this machine.

Readers map files, so files must be here. Small ones (tables, words, indexes of tars) come when they
are first opened and stay; tars come whole, one request each, and go again when the cache is full.
Every file is held against its digest in `shards.json` before it has a name here. Files lie under
the shards' identity: the same shards from two addresses, or in two text revisions, are fetched
once.

`Shards.open(address)` gives shards over one; what is said of addresses there is decided here.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from finedata.errors import SourceError, UsageError
from finedata.schema.shards_file import SHARDS_FILE, decode_shards
from finedata.shard.files import ROLES_FILE, member_crc32c
from finedata.shard.mapped import MappedTable
from finedata.store.atomic import write_atomic
from finedata.store.lock import locked
from finedata.store.remote.cache import FileCache
from finedata.store.remote.path import open_root, remote_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from finedata.schema.shards_file import ShardsFile
    from finedata.shard.ranges import Ranges
    from finedata.store.remote.path import RemotePath
    from finedata.store.remote.stores import RemoteStore

_DOCUMENTS = "documents"
CACHE_BYTES = 64_000_000_000
"""Bound of a cache where none is given."""


def open_remote(
    address: str, *, cache: str | Path | None = None, cache_bytes: int | None = None
) -> tuple[RemoteFiles, ShardsFile]:
    """Open the files of shards by their address, and their shards.json.

    Args:
        address: `hf://datasets/org/name[@revision][/folder]`, `hf://buckets/...`, `https://...`,
            `s3://...`, `gs://...`; or what `RemoteFiles.address` gave.
        cache: Folder of the cache; `FINEDATA_CACHE`, or `finedata` in the user's cache folder.
        cache_bytes: Its bound for tars.

    Raises:
        UsageError: There are no shards for who asks.
        ConformError: Its shards.json is damaged.
        SourceError: The network or the server failed.
    """
    place, hash_sign, more = address.partition("#")
    if hash_sign:
        size, document_sha256, folder = more.split(":", 2)
        known = Path(folder) / _DOCUMENTS / f"{document_sha256}.json"
        files = FileCache(Path(folder), int(size))
        document = decode_shards(known.read_bytes(), place=str(known))
        return RemoteFiles(open_root(place), document, files, document_sha256), document
    root = open_root(place)
    try:
        content = (root / SHARDS_FILE).read_bytes()
    except FileNotFoundError as error:
        raise UsageError(
            place=str(root),
            found=f"no {SHARDS_FILE}",
            wanted="the address of finished shards",
            next_command="finedata publish SHARDS --repo-id org/name",
        ) from error
    document = decode_shards(content, place=f"{root}/{SHARDS_FILE}")
    files = FileCache(
        Path(cache) if cache is not None else _default_cache(), cache_bytes or CACHE_BYTES
    )
    sha256 = hashlib.sha256(content).hexdigest()
    known = files.folder / _DOCUMENTS / f"{sha256}.json"
    known.parent.mkdir(parents=True, exist_ok=True)
    with locked(known.with_suffix(".lock")):  # several processes of a node begin at once
        write_atomic(known, content)
    made = RemoteFiles(root, document, files, sha256)
    made.bring_roles()
    return made, document


class RemoteFiles:
    """See the module.

    Args:
        place: Where they lie, pinned where that can be; a `RemotePath`.
        document: Their shards.json.
        cache: Where files come to.
        document_sha256: Of shards.json, under which the cache keeps it.

    Attributes:
        root: Their folder in the cache.
    """

    def __init__(
        self, place: Path, document: ShardsFile, cache: FileCache, document_sha256: str
    ) -> None:
        self.place = place
        self.cache = cache
        self.root = cache.folder / document.identity[:16]
        self._document_sha256 = document_sha256
        self._tars = {one.name: one.tars for one in document.sets}
        self._digests = {
            file.path: (file.bytes, file.sha256)
            for one in document.sets
            for file in (one.episodes_file, one.frames_file)
        } | {file.path: (file.bytes, file.sha256) for text in document.texts for file in text.files}
        self._views: dict[str, memoryview] = {}

    @property
    def address(self) -> str:
        """What opens the same shards over the same cache in another process, asking nobody."""
        cache = self.cache
        return f"{self.place}#{cache.max_bytes}:{self._document_sha256}:{cache.folder.absolute()}"

    @property
    def store(self) -> RemoteStore:
        """Where bytes come from; its `traffic` counts them."""
        return cast("RemoteStore", remote_store(self.place))

    def bring_roles(self) -> None:
        """Have the file of roles here, as it is there now; people edit it."""
        try:
            roles = (self.place / ROLES_FILE).read_bytes()
        except FileNotFoundError:
            (self.root / ROLES_FILE).unlink(missing_ok=True)
        else:
            self.root.mkdir(parents=True, exist_ok=True)
            with locked(self.root / "roles.lock"):
                write_atomic(self.root / ROLES_FILE, roles)

    def bring(self, inside: str) -> None:
        """Have a table, a file of words or an index here; of others, nothing is known.

        Raises:
            SourceError: The network failed, or it came with other bytes.
            OutputError: The disk is full.
        """
        if inside in self._digests:
            size, sha256 = self._digests[inside]
            self._bring(inside, size, sha256, removable=False)
        elif inside.startswith("tars/"):
            _, set_name, file = inside.split("/")
            stem = file.removesuffix(".index.arrow")
            names = [tar.name for tar in self._tars[set_name]]
            self._bring_index(set_name, names.index(f"{stem}.tar"))

    def bring_tar(
        self, set_name: str, number: int, *, still: Callable[[], bool] | None = None
    ) -> bool:
        """Have a tar and its index here; whether the tar came now.

        Args:
            set_name: Its set.
            number: Its number there.
            still: See `FileCache.bring`.

        Raises:
            SourceError: The network failed, or it came with other bytes.
            OutputError: The disk is full, or the cache too small.
        """
        self._bring_index(set_name, number)
        tar = self._tars[set_name][number]
        inside = f"tars/{set_name}/{tar.name}"
        return self._bring(inside, tar.bytes, tar.sha256, removable=True, still=still)

    def has_tar(self, set_name: str, number: int) -> bool:
        """Whether a tar is here."""
        return self.cache.has(
            self.cached_name(set_name, number), self._tars[set_name][number].bytes
        )

    def cached_name(self, set_name: str, number: int) -> str:
        """A tar's name in the cache."""
        return f"{self.root.name}/tars/{set_name}/{self._tars[set_name][number].name}"

    def mapped(
        self, set_name: str, number: int, open_tar: Callable[[str, int], memoryview]
    ) -> memoryview:
        """All bytes of a tar, mapped; a tar that left the cache is let go of."""
        return self._mapped(
            self.cached_name(set_name, number),
            lambda: self.bring_tar(set_name, number),
            lambda: open_tar(set_name, number),
        )

    def ranges_name(self, set_name: str, number: int, words: str) -> str:
        """The name in the cache of the ranges of a tar that some words want."""
        return self.cached_name(set_name, number).removesuffix(".tar") + f".{words}.tar"

    def bring_ranges(
        self,
        set_name: str,
        number: int,
        ranges: Ranges,
        *,
        still: Callable[[], bool] | None = None,
    ) -> bool:
        """Have some ranges of a tar here, in a file of their own; whether they came now.

        Args:
            set_name: Its set.
            number: The tar's number there.
            ranges: Of it.
            still: See `FileCache.bring`.

        Raises:
            SourceError: The network failed, or they came with other bytes.
            OutputError: The disk is full, or the cache too small.
        """
        tar = f"tars/{set_name}/{self._tars[set_name][number].name}"
        index = MappedTable(self.root / tar.replace(".tar", ".index.arrow"), name="shard_index")
        offset, size, crc = (
            index.take(f"member_{name}", ranges.places).reshape(-1)
            for name in ("offset", "size", "crc32c")
        )
        of = np.searchsorted(ranges.begin, offset, side="right") - 1

        def pieces() -> Iterator[bytes]:
            # Nobody has a digest of these ranges: each is held against the CRC of its members.
            for k, (begin, end) in enumerate(
                zip(ranges.begin.tolist(), ranges.end.tolist(), strict=True)
            ):
                mine = [
                    (at - begin, at - begin + length, wanted)
                    for at, length, wanted in zip(
                        offset[of == k].tolist(),
                        size[of == k].tolist(),
                        crc[of == k].tolist(),
                        strict=True,
                    )
                ]
                for again in (True, False):
                    content = self.store.read(self._inside(tar), begin, end)
                    if all(member_crc32c(content[a:b]) == wanted for a, b, wanted in mine):
                        break
                    if not again:
                        raise SourceError(
                            place=f"{self.place / tar}, bytes {begin} to {end - 1}",
                            found="other bytes than were written",
                            wanted="those of the CRC-32C that the index has of every member",
                            next_command="finedata verify the shards where they were published",
                        )
                yield content

        return self.cache.bring(
            self.ranges_name(set_name, number, ranges.name),
            size=ranges.total_bytes,
            sha256=None,
            pieces=pieces,
            removable=True,
            still=still,
        )

    def mapped_ranges(self, set_name: str, number: int, ranges: Ranges) -> memoryview:
        """The file of some ranges of a tar, mapped."""
        name = self.ranges_name(set_name, number, ranges.name)

        def open_file() -> memoryview:
            with (self.cache.folder / name).open("rb") as file:
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

        return self._mapped(name, lambda: self.bring_ranges(set_name, number, ranges), open_file)

    def _mapped(
        self, name: str, bring: Callable[[], object], open_file: Callable[[], memoryview]
    ) -> memoryview:
        known = self._views.get(name)
        if known is not None and (self.cache.folder / name).exists():
            return known
        bring()
        self._views = {
            one: view for one, view in self._views.items() if (self.cache.folder / one).exists()
        }
        self._views[name] = open_file()
        return self._views[name]

    def _bring_index(self, set_name: str, number: int) -> None:
        tar = self._tars[set_name][number]
        inside = f"tars/{set_name}/{tar.name.removesuffix('.tar')}.index.arrow"
        if not (self.root / inside).is_file():
            size = self.store.size(self._inside(inside))
            self._bring(inside, size, tar.index_sha256, removable=False)

    def _bring(
        self,
        inside: str,
        size: int,
        sha256: str,
        *,
        removable: bool,
        still: Callable[[], bool] | None = None,
    ) -> bool:
        def pieces() -> Iterator[bytes]:
            return self.store.pieces(self._inside(inside), 0, size)

        name = f"{self.root.name}/{inside}"
        return self.cache.bring(
            name, size=size, sha256=sha256, pieces=pieces, removable=removable, still=still
        )

    def _inside(self, name: str) -> str:
        return cast("RemotePath", self.place / name).inside


def _default_cache() -> Path:
    named = os.environ.get("FINEDATA_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finedata"
