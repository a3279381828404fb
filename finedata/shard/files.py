"""Where everything in a shards folder is, and how its Arrow files are cut.

Arrow files are mapped and never loaded, so a row must be found by arithmetic: every record batch
but the last has the same number of rows, whoever wrote the file and in how many pieces.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, cast

import google_crc32c
import pyarrow as pa

from finedata.schema.documents import FileDigest
from finedata.schema.tables.shards import BATCH_ROWS
from finedata.store.atomic import atomic_path
from finedata.store.run.ledger import LEDGER_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = [
    "ROLES_FILE",
    "episodes_path",
    "file_digest",
    "frames_path",
    "index_path",
    "is_shards",
    "member_crc32c",
    "share_ledgers",
    "tar_folder",
    "tar_name",
    "write_arrow",
]

ROLES_FILE = "roles.toml"
member_crc32c = cast(
    "Callable[[bytes], int]",
    google_crc32c.value,  # pyright: ignore[reportUnknownMemberType]
)
"""CRC-32C of the bytes of a member, as `shard_index` has it."""
_SHARDS_FILE = "shards.json"
# How the sides are called in names of tars: readers detect splits by these words.
_SPLITS = {"train": "train", "heldout": "test"}


def is_shards(root: Path) -> bool:
    """Whether a folder holds finished shards."""
    return (root / _SHARDS_FILE).is_file()


def share_ledgers(root: Path, base: str = "*") -> list[Path]:
    """Ledgers of the shares of a run that makes shards, or adds to them (`base`: of which run)."""
    found = sorted((root / LEDGER_FOLDER).glob(f"{base}-*-of-*.sqlite"))
    return [path for path in found if path.name.startswith(("shards-", "append-"))]


def tar_folder(root: Path, set_name: str) -> Path:
    """The folder of a set's tars."""
    return root / "tars" / set_name


def tar_name(side: str, number: int) -> str:
    """Name of a tar: `train-000123.tar`, or `test-…` on the held-out side.

    Never "of N": appended tars rename nothing.
    """
    return f"{_SPLITS[side]}-{number:06d}.tar"


def index_path(tar: Path) -> Path:
    """Our index of a tar, beside it: `train-000123.index.arrow`."""
    return tar.with_name(f"{tar.stem}.index.arrow")


def episodes_path(root: Path, set_name: str) -> Path:
    """The table `shard_episodes` of a set."""
    return root / "episodes" / f"{set_name}.arrow"


def frames_path(root: Path, set_name: str) -> Path:
    """The table `shard_frames` of a set."""
    return root / "frames" / f"{set_name}.arrow"


def write_arrow(path: Path, rows: Iterable[pa.Table], *, schema: pa.Schema) -> None:
    """Write an Arrow file (IPC file format, uncompressed) at once.

    Args:
        path: The file.
        rows: Tables of that schema, in order and of any length; one after the other is held.
        schema: Of the file, with its tag.

    Raises:
        OutputError: The disk is full, or the file cannot be written.
    """
    with (
        atomic_path(path) as partial,
        pa.OSFile(str(partial), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        waiting = schema.empty_table()
        for piece in rows:
            waiting = pa.concat_tables([waiting, piece])
            while waiting.num_rows >= BATCH_ROWS:
                _write_batch(writer, waiting.slice(0, BATCH_ROWS))
                waiting = waiting.slice(BATCH_ROWS)
        if waiting.num_rows:
            _write_batch(writer, waiting)


def _write_batch(writer: Any, rows: pa.Table) -> None:
    # Chunks of one batch are joined, or the writer would make a batch of each.
    for batch in rows.combine_chunks().to_batches():
        writer.write_batch(batch)


def file_digest(root: Path, path: Path) -> FileDigest:
    """Path from the root, size and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileDigest(
        path=path.relative_to(root).as_posix(), bytes=path.stat().st_size, sha256=digest
    )
