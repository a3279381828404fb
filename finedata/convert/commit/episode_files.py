"""The files of a part's `meta/episodes`: rows with their statistics, a fixed number in each file.

A file is written the moment it is full. LeRobot's tools want an entry for every feature of every
episode, so a camera that was not there, or of which no picture was decoded, gets statistics that
count nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from finedata.schema.tables.all import arrow_schema
from finedata.store.lerobot.layout import EPISODES_PER_META_FILE, episodes_path
from finedata.store.lerobot.write import stats_columns
from finedata.store.tables.table import TableFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from finedata.store.lerobot.layout import Feature
    from finedata.store.lerobot.stats import FeatureStats

# Statistics of a camera that was not there: every picture is black. None counts.
_NAMES = ("min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99")
BLACK_STATS: FeatureStats = {name: [0.0, 0.0, 0.0] for name in _NAMES} | {"count": [0.0]}
_LEROBOT_COLUMNS = (
    "data/chunk_index",
    "data/file_index",
    "dataset_from_index",
    "dataset_to_index",
    "meta/episodes/chunk_index",
    "meta/episodes/file_index",
)
_VIDEO_COLUMNS = (
    ("chunk_index", pa.int64()),
    ("file_index", pa.int64()),
    ("from_timestamp", pa.float64()),
    ("to_timestamp", pa.float64()),
)


class EpisodeFiles:
    """meta/episodes: rows with their statistics, in files of a fixed number of episodes.

    Args:
        root: Folder of the part.
        features: Those that have statistics.
        videos: Features that are stored as video.
        absent: Statistics, of a count of zero, of a feature that an episode has none of; black
            where none is named.
    """

    def __init__(
        self,
        root: Path,
        features: dict[str, Feature],
        *,
        videos: Sequence[str],
        absent: Mapping[str, FeatureStats],
    ) -> None:
        self._absent = {name: absent.get(name, BLACK_STATS) for name in features}
        self._out = root
        self._features = features
        self._videos = videos
        self._count = 0
        self._file: TableFile[tuple[dict[str, Any], dict[str, FeatureStats]]] | None = None

    def __enter__(self) -> Self:
        return self

    def add(self, row: dict[str, Any], stats: dict[str, FeatureStats]) -> None:
        """Add an episode; the next file is begun where one is full."""
        number, inside = divmod(self._count, EPISODES_PER_META_FILE)
        path, chunk_index, file_index = episodes_path(number)
        if self._file is None or inside == 0:
            self.__exit__(None, None, None)
            self._file = TableFile(self._out / path, "episodes", build=self._table).__enter__()
        place = {
            "meta/episodes/chunk_index": chunk_index,
            "meta/episodes/file_index": file_index,
        }
        self._file.add((row | place, self._absent | stats))
        self._count += 1

    def _table(self, items: list[tuple[dict[str, Any], dict[str, FeatureStats]]]) -> pa.Table:
        schema = arrow_schema("episodes")
        for name in _LEROBOT_COLUMNS:
            schema = schema.append(  # pyright: ignore[reportUnknownMemberType]  (half-typed stub)
                pa.field(name, pa.int64(), nullable=False)
            )
        for name in self._videos:
            for key, kind in _VIDEO_COLUMNS:
                schema = schema.append(  # pyright: ignore[reportUnknownMemberType]  (half-typed stub)
                    pa.field(f"videos/{name}/{key}", kind, nullable=False)
                )
        table = pa.Table.from_pylist([row for row, _ in items], schema=schema)
        for column, values in stats_columns(self._features, [stats for _, stats in items]):
            table = table.append_column(column, values)
        return table

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.__exit__(kind, error, trace)
