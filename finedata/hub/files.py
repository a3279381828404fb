"""Which files are published, under which names, and how two files are known to be the same.

Only what a dataset or shards consist of goes up, by folder and ending: ledgers, reports, films and
whatever else lies in the folder stay. A dataset is at the root of its repository, where LeRobot
looks for it; shards are at the root too, or in `shards/` where a dataset is beside them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finedata.errors import OutputError, UsageError
from finedata.shard.files import ROLES_FILE, is_shards
from finedata.shard.shards import Shards
from finedata.store.dataset import ANNOTATIONS, open_dataset
from finedata.store.dataset_file import DATASET_FILE
from finedata.store.tables.table import annotation_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from finedata.store.dataset import Dataset

CARD = "README.md"
MARKERS = (DATASET_FILE, "shards.json", "shards/shards.json")
"""Files whose presence means that all others are there."""
SHARDS_FOLDER = "shards"
_REGULAR_BYTES = 10 << 20
_CHUNK = 1 << 20
_FOLDERS_OF_PARTS = {
    "meta": (".json", ".parquet"),
    "data": (".parquet",),
    "videos": (".mp4",),
}
_FOLDERS_OF_DATASETS = ("annotations", "curation")
_FOLDERS_OF_SHARDS = ("episodes", "frames", "tars", "text")
# In which order files go up; a reader that comes too early finds no marker.
_RANKS = {"tars": 0, "data": 0, "videos": 0}


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is to be in the repository.

    Attributes:
        path: There.
        kind: Of its folder: `tars`, `data`, `videos`, `meta`, `text`, ...
        local: Here; None where `content` has the bytes.
        size: In bytes.
        mtime_ns: When it was written; another time means other bytes than those that were hashed.
        content: Bytes that were made for this.
    """

    path: str
    kind: str
    local: Path | None
    size: int
    mtime_ns: int = 0
    content: bytes = b""

    @property
    def rank(self) -> int:
        """Large files first, then tables; markers and the card last."""
        return 2 if self.is_last else _RANKS.get(self.kind, 1)

    @property
    def is_last(self) -> bool:
        """Whether readers take its presence for that of all others."""
        return self.path in (*MARKERS, CARD)

    def check_unchanged(self) -> None:
        """Refuse a file that was written to since it was listed.

        Raises:
            OutputError: It was, or it is gone.
        """
        if self.local is None:
            return
        try:
            now = self.local.stat()
            same = (now.st_size, now.st_mtime_ns) == (self.size, self.mtime_ns)
        except FileNotFoundError:
            same = False
        if not same:
            raise OutputError(
                place=str(self.local),
                found="a file that changed while it was being published",
                wanted="files that nobody writes to meanwhile",
                next_command="run the same command again: it continues where it stopped",
            )


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file is known by: SHA-256 as an LFS object, git's SHA-1 as a regular file."""

    size: int
    sha256: str
    git_sha1: str

    def is_of(self, remote: Any) -> bool:
        """Whether a file of the repository (huggingface_hub's `RepoFile`) is this one."""
        if remote is None or remote.size != self.size:
            return False
        if remote.lfs is not None:
            return remote.lfs.sha256 == self.sha256
        return remote.blob_id == self.git_sha1


@dataclass(frozen=True)
class Publication:
    """What is to be published: a dataset, shards, or both.

    Attributes:
        dataset: The dataset; None where there is none.
        shards: The shards; None where there are none.
        tables_only: Whether pictures, videos and tars stay here.
    """

    dataset: Dataset | None
    shards: Shards | None
    tables_only: bool = False

    @property
    def shards_prefix(self) -> str:
        """Folder of the shards in the repository, with a slash; empty at its root."""
        return f"{SHARDS_FOLDER}/" if self.dataset is not None else ""

    @property
    def roots(self) -> list[Path]:
        """The folders."""
        return [one.root for one in (self.dataset, self.shards) if one is not None]

    @property
    def has_lerobot_root(self) -> bool:
        """Whether the repository itself is a LeRobot dataset: one part, at the root."""
        dataset = self.dataset
        return (
            dataset is not None
            and not self.tables_only
            and [part.path for part in dataset.parts] == ["."]
        )

    def uploads(self) -> list[Upload]:
        """All files but the card, in the order in which they go up.

        Raises:
            UsageError: There is a link among them: what it leads to may change.
        """
        found: list[Upload] = []
        if self.dataset is not None:
            found += _of_dataset(self.dataset, tables_only=self.tables_only)
        if self.shards is not None:
            found += _of_shards(
                self.shards.root, prefix=self.shards_prefix, tables_only=self.tables_only
            )
        return sorted(found, key=lambda one: (one.rank, one.path))

    def owns(self, path: str) -> bool:
        """Whether a file of the repository is of the kind that this publication would write."""
        if self.dataset is not None and _is_of_dataset(path, self.dataset):
            return True
        if self.shards is None or not path.startswith(self.shards_prefix):
            return False
        inside = path.removeprefix(self.shards_prefix)
        return inside.split("/")[0] in (*_FOLDERS_OF_SHARDS, "shards.json", ROLES_FILE)


def read_roots(roots: Sequence[str | Path], *, tables_only: bool = False) -> Publication:
    """Open what is to be published.

    Args:
        roots: A finished dataset, finished shards, or one of each.
        tables_only: Leave pictures, videos and tars here.

    Raises:
        UsageError: It is neither, or there are two of a kind.
    """
    from pathlib import Path

    paths = [Path(root) for root in roots]
    shards = [Shards.open(path) for path in paths if is_shards(path)]
    datasets = [open_dataset(path) for path in paths if not is_shards(path)]
    if len(shards) > 1 or len(datasets) > 1 or not paths:
        raise UsageError(
            parameter="roots",
            found=f"{len(datasets)} datasets and {len(shards)} folders of shards",
            wanted="at most one of each: a repository holds one dataset",
            next_command="finedata merge A B --out C  # joins datasets",
        )
    return Publication(
        datasets[0] if datasets else None, shards[0] if shards else None, tables_only
    )


def digest_of_file(upload: Upload) -> Digest:
    """Read a file once and make both digests.

    Raises:
        OutputError: It cannot be read, or changed since it was listed.
    """
    sha256 = hashlib.sha256()
    # Only small files are ever stored as git's own.
    regular = upload.size < _REGULAR_BYTES
    git = hashlib.sha1(b"blob %d\0" % upload.size, usedforsecurity=False)
    for piece in _pieces(upload):
        sha256.update(piece)
        if regular:
            git.update(piece)
    upload.check_unchanged()
    return Digest(upload.size, sha256.hexdigest(), git.hexdigest() if regular else "")


def _pieces(upload: Upload) -> Iterator[bytes]:
    if upload.local is None:
        yield upload.content
        return
    upload.check_unchanged()
    with upload.local.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece


def _of_dataset(dataset: Dataset, *, tables_only: bool) -> Iterator[Upload]:
    root = dataset.root
    yield _upload(root, root / DATASET_FILE, kind="marker")
    for part in dataset.parts:
        for kind, endings in _FOLDERS_OF_PARTS.items():
            if not tables_only or kind == "meta":
                yield from _below(root, root / part.path / kind, kind, endings)
    yield from _below(root, root / "curation", "curation", (".parquet",))
    # Of annotations, files of a run that was killed half-way do not count.
    for table in ANNOTATIONS:
        for path in annotation_files(root, table):
            yield _upload(root, path, kind="annotations")


def _of_shards(root: Path, *, prefix: str, tables_only: bool) -> Iterator[Upload]:
    yield _upload(root, root / "shards.json", kind="marker", prefix=prefix)
    if (root / ROLES_FILE).is_file():
        yield _upload(root, root / ROLES_FILE, kind="roles", prefix=prefix)
    for kind in _FOLDERS_OF_SHARDS:
        if kind != "tars" or not tables_only:
            yield from _below(root, root / kind, kind, (), prefix=prefix)


def _below(
    root: Path, folder: Path, kind: str, endings: tuple[str, ...], *, prefix: str = ""
) -> Iterator[Upload]:
    for path in sorted(folder.rglob("*")):
        unfinished = path.name.endswith(".partial")
        if (endings and path.suffix not in endings) or unfinished or not path.is_file():
            continue
        if endings and path.name.startswith("."):
            continue
        yield _upload(root, path, kind=kind, prefix=prefix)


def _upload(root: Path, path: Path, *, kind: str, prefix: str = "") -> Upload:
    if path.is_symlink():
        raise UsageError(
            place=str(path), found="a symbolic link", wanted="the file itself, in the folder"
        )
    found = path.stat()
    name = prefix + path.relative_to(root).as_posix()
    return Upload(name, kind, path, found.st_size, found.st_mtime_ns)


def _is_of_dataset(path: str, dataset: Dataset) -> bool:
    if path == DATASET_FILE or path.split("/")[0] in _FOLDERS_OF_DATASETS:
        return True
    for part in dataset.parts:
        inside = path if part.path == "." else path.removeprefix(f"{part.path}/")
        if part.path != "." and inside == path:
            continue
        if inside.split("/")[0] in _FOLDERS_OF_PARTS:
            return True
    return False


def counts_by_kind(uploads: Sequence[Upload]) -> Mapping[str, tuple[int, int]]:
    """Kind to how many files and bytes."""
    found: dict[str, tuple[int, int]] = {}
    for one in uploads:
        files, size = found.get(one.kind, (0, 0))
        found[one.kind] = files + 1, size + one.size
    return dict(sorted(found.items()))
