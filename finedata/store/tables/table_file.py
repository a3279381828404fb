"""One Parquet file by itself, whatever table it is of: whether it reads, how many rows it has.

For those who look at files and not at rows: `verify` without a source, the card of a repository.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["count_rows", "read_through"]


def read_through(path: Path) -> None:
    """Read every page of a file; a flipped bit in a compressed one does not unpack.

    Raises:
        OSError: A page does not unpack, or the disk failed; pyarrow's own errors are among them.
    """
    with pq.ParquetFile(path) as file:
        batches: Any = file.iter_batches(batch_size=4096)  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
        for _ in batches:
            pass


def count_rows(path: Path) -> int:
    """Rows of a file, by its footer.

    Raises:
        OSError: As `read_through`.
    """
    metadata: Any = pq.read_metadata(path)  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    return metadata.num_rows
