"""Numbers of a set of shards: one row an episode, one row a frame, no pictures.

State and action stand in the tars once, as a chunk of the default horizon for those who read tars
alone. A stream wants another horizon, a stride, a history, so it cuts its windows out of these
tables, where every number stands once: row `first_row + frame_index` is that frame. What repeats or
follows from a row's place (`index`, `task_index`, `timestamp`) is left out.

Receipts, verdicts, clusters and ranks are copied beside each episode as they were: the way back
from a sample to its source file must not depend on a dataset that may be gone or gated anew.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

from finedata.schema.conform import conform
from finedata.schema.tables.all import arrow_schema, schema_tag
from finedata.shard.files import write_arrow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from finedata.store.dataset import Dataset
    from finedata.store.episode import Episode

_LEFT_OUT = ("index", "episode_index", "task_index", "timestamp", "frame_index")
_FRAMES_AT_ONCE = 16_384
_RECEIPT = (
    "episode_id",
    "source_revision",
    "source_file",
    "source_record",
    "byte_offset",
    "byte_length",
    "source_sha256",
)
_EPISODE = (
    "episode_id",
    "length",
    "fps",
    "task",
    "task_id",
    "licence",
    "success",
    "cameras_missing",
)


def write_episodes(
    path: Path, *, dataset: Dataset, episode_ids: Sequence[str], first_row: int = 0
) -> None:
    """Write `episodes/<set>.arrow`.

    Args:
        path: The file.
        dataset: Where the episodes are.
        episode_ids: Which, in the order of their numbers.
        first_row: Row of the first one's first frame.

    Raises:
        ConformError: A table of the dataset is damaged.
        OutputError: The disk is full.
    """
    chosen = pl.LazyFrame({"episode_id": list(episode_ids)})
    beside = [
        dataset.episodes.select(*_EPISODE),
        dataset.table("receipts").select(*_RECEIPT),
        dataset.table("gate").select("episode_id", "verdict", gate_score="score"),
        dataset.table("clusters").select("episode_id", "cluster_id"),
        dataset.table("representatives").select("episode_id", "rank"),
    ]
    for table in beside:
        chosen = chosen.join(table, on="episode_id", how="left", maintain_order="left")
    before = pl.col("length").cast(pl.Int64).cum_sum() - pl.col("length")
    rows = chosen.with_columns(first_row=before + first_row).collect()
    schema = arrow_schema("shard_episodes")
    table = rows.select(schema.names).to_arrow()
    write_arrow(path, [conform(table, "shard_episodes", cast=True)], schema=schema)


def frame_columns(dataset: Dataset, part: str) -> list[str]:
    """Which columns of a part's frames its shards keep."""
    return [
        name
        for name, feature in dataset.features(part).items()
        if feature.dtype not in ("image", "video", "string") and name not in _LEFT_OUT
    ]


def write_frames(
    path: Path,
    episodes: Iterator[Episode],
    *,
    columns: Sequence[str],
    first: int = 0,
    before: Iterable[pa.Table] = (),
) -> None:
    """Write `frames/<set>.arrow`.

    Args:
        path: The file.
        episodes: In the order of their numbers.
        columns: See `frame_columns`.
        first: Number of the first episode.
        before: Rows of earlier episodes, where shards are appended to.

    Raises:
        ConformError: A file of the dataset is damaged.
        OutputError: The disk is full.
    """
    pieces = chain(before, _pieces(episodes, list(columns), first))
    head = next(pieces)
    schema = cast("Any", head.schema).with_metadata(schema_tag("shard_frames"))
    tagged = (piece.replace_schema_metadata(schema.metadata) for piece in chain([head], pieces))
    write_arrow(path, tagged, schema=schema)


def _pieces(episodes: Iterator[Episode], columns: list[str], first: int) -> Iterator[pa.Table]:
    """Rows of some episodes at a time, checked where their part says what its numbers mean."""
    waiting: list[pa.Table] = []
    rows = 0
    for number, episode in enumerate(episodes, start=first):
        numbers = episode.rows(columns)
        place = {
            "episode": np.full(len(episode), number, np.int32),
            "frame_index": np.arange(len(episode), dtype=np.int32),
        }
        piece = pa.table({name: _column(values) for name, values in {**place, **numbers}.items()})
        if episode.row["space"] != "undeclared":
            piece = conform(piece, "shard_frames")
        waiting.append(piece)
        rows += len(episode)
        if rows >= _FRAMES_AT_ONCE:
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def _column(values: np.ndarray) -> Any:
    """Numbers (n, ...) as lists of fixed sizes, one in the other as the feature's axes are."""
    arrays: Any = pa.FixedSizeListArray
    column: Any = pa.array(values.reshape(-1))
    for width in values.shape[:0:-1]:
        column = arrays.from_arrays(column, width)
    return column
