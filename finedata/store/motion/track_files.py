"""Numbers of chosen episodes of a data file, read without its pictures.

Only the named columns are read, batch by batch, so neither the file's pictures nor its size
matter. The rows must be those that the table of episodes says, or the file is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.errors import ConformError
from finedata.store.lerobot.layout import DATA_FILE_COLUMNS, data_file
from finedata.store.remote.path import readable
from finedata.store.tables.row_groups import DataFile, column_array

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

__all__ = ["BATCH_ROWS", "scan_episodes", "whole_episodes"]

# Rows of one Arrow batch: a few megabytes, whatever the width.
BATCH_ROWS = 65_536
_EPISODE = "episode_index"


def scan_episodes(
    folder: Path, rows: pl.DataFrame, *, columns: Sequence[str], batch_rows: int = BATCH_ROWS
) -> Iterator[tuple[pl.DataFrame, dict[str, NDArray[Any]]]]:
    """Read numbers of chosen episodes of a part, file by file, in batches of whole episodes.

    Args:
        folder: Folder of the part.
        rows: Their rows of meta/episodes by ascending `episode_index`, with `episode_index`,
            `length` and `DATA_FILE_COLUMNS`.
        columns: Numeric columns wanted.
        batch_rows: Rows of one Arrow batch.

    Yields:
        Some of the rows, and the numbers of all their frames, one episode after the other: column
        to (frames,) or (frames, n).

    Raises:
        ConformError: A file cannot be read, or has other rows for an episode.
    """
    for file_rows in rows.partition_by(*DATA_FILE_COLUMNS, maintain_order=True):
        done = 0
        for count, values in whole_episodes(
            folder / data_file(file_rows.row(0, named=True)),
            columns=columns,
            indices=file_rows["episode_index"].to_numpy(),
            lengths=file_rows["length"].to_numpy(),
            batch_rows=batch_rows,
        ):
            yield file_rows.slice(done, count), dict(zip(columns, values, strict=True))
            done += count


def whole_episodes(
    path: Path,
    *,
    columns: Sequence[str],
    indices: NDArray[np.int64],
    lengths: NDArray[np.int64],
    batch_rows: int,
) -> Iterator[tuple[int, list[NDArray[Any]]]]:
    """Read chosen episodes of a file, about as many at once as `batch_rows` rows hold.

    Args:
        path: The file.
        columns: Numeric columns wanted.
        indices: (E,) episode_index of the episodes, ascending.
        lengths: (E,) rows of each.
        batch_rows: Rows of one Arrow batch.

    Yields:
        How many episodes follow, and their rows of each column, (rows,) or (rows, n).

    Raises:
        ConformError: The file cannot be read, or has other rows for an episode.
    """
    done = 0
    waiting: list[list[NDArray[Any]]] = []
    for batch in _batches(path, [_EPISODE, *columns], indices, batch_rows):
        waiting.append(batch)
        held = sum(len(one[0]) for one in waiting)
        ends = np.cumsum(lengths[done:])
        whole = int(np.searchsorted(ends, held, side="right"))
        if not whole:
            continue
        joined = [np.concatenate(values) for values in zip(*waiting, strict=True)]
        cut = int(ends[whole - 1])
        expected = np.repeat(indices[done : done + whole], lengths[done : done + whole])
        if not np.array_equal(joined[0][:cut], expected):
            break
        yield whole, [values[:cut] for values in joined[1:]]
        waiting = [[values[cut:] for values in joined]]
        done += whole
    if done < len(indices) or sum(len(one[0]) for one in waiting):
        raise ConformError(
            place=str(path),
            found=f"other rows for episode_index {int(indices[min(done, len(indices) - 1)])}",
            wanted=f"{int(lengths[min(done, len(lengths) - 1)])} rows side by side, as its row of"
            " the table of episodes says",
            next_command="finedata verify, with the source",
        )


def _batches(
    path: Path, names: list[str], indices: NDArray[np.int64], batch_rows: int
) -> Iterator[list[NDArray[Any]]]:
    """Rows of the wanted episodes, in the file's order."""
    try:
        data = DataFile.open(path)
        file: Any = pq.ParquetFile(readable(path), metadata=data.metadata)  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
        with file:
            # A row group is one episode or less: too small to share between threads (half as fast).
            batches = file.iter_batches(
                batch_rows, row_groups=data.groups_of(indices), columns=names, use_threads=False
            )
            for batch in batches:
                values = [column_array(batch.column(name)) for name in names]
                wanted = np.isin(values[0], indices)
                if not wanted.all():
                    values = [one[wanted] for one in values]
                yield values
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise ConformError(
            place=str(path),
            found=f"{error}",
            wanted=f"a Parquet file with {', '.join(names)}",
            next_command="finedata verify, with the source",
        ) from error
