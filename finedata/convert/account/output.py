"""The finished dataset by its raw files: Parquet footers, columns and tables, by pyarrow alone.

The account asks the output nothing through the code that wrote it or that reads it for users: how
many rows an episode has, which columns there are, which texts belong to whom.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.convert.account.things import DAMAGE, said
from finedata.errors import FinedataError
from finedata.schema.tables.all import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from finedata.convert.verify.report import VerifyReport
    from finedata.store.dataset_file import DatasetFile

_CAMERA = "observation.images."
_TABLES_OPEN = 2


@contextmanager
def damage_of(place: object, report: VerifyReport) -> Generator[None]:
    """Turn whatever reading a damaged output raises into a problem there."""
    try:
        yield
    except FinedataError as error:
        report.add(f"{error.place}", error.found, error.wanted)
    except (*DAMAGE, AttributeError, pl.exceptions.PolarsError) as error:
        report.add(f"{place}", said(error), "what finedata wrote there")


@dataclass(slots=True)
class StoredEpisode:
    """One written episode: its row of `episodes`, its receipt, and its rows.

    Attributes:
        row: The row of `meta/episodes`.
        receipt: Its receipt.
        cameras: Stored cameras: name to whether it is a video.
        texts: Every text that is stored of it, originals too.
    """

    row: dict[str, Any]
    receipt: dict[str, Any]
    cameras: dict[str, bool] = field(default_factory=dict[str, bool])
    texts: set[str] = field(default_factory=set[str])

    @property
    def part(self) -> str:
        """The part that holds it."""
        return self.row["part"]


class Output:
    """A dataset's files, opened as they are needed."""

    def __init__(self, root: Path, info: DatasetFile) -> None:
        self.root, self.info = root, info
        self.paths = {part.name: root / part.path for part in info.parts}
        self.features = {name: _features(path) for name, path in self.paths.items()}
        self.cameras = {
            name: [f for f in features if features[f].get("dtype") in ("image", "video")]
            for name, features in self.features.items()
        }
        self.receipts = _rows(sorted(root.glob("curation/receipts.parquet")))
        self.repeated: list[str] = []
        stored = [
            row
            for path in self.paths.values()
            for row in _rows(sorted(path.glob("meta/episodes/*/*.parquet")), skip="stats/")
        ]
        rows = self._by_id(stored, "episode_id")
        self._by_id(self.receipts, "episode_id")
        self.episodes = {
            receipt["episode_id"]: self._stored(rows[receipt["episode_id"]], receipt)
            for receipt in self.receipts
            if receipt["episode_id"] in rows
        }
        self._annotations = {
            table: [
                row
                for row in _rows(sorted(root.glob(f"annotations/{table}/*.parquet")))
                if row.get("origin") == "source" and not row.get("revision")
            ]
            for table in ("instructions", "steps")
        }
        for rows_of in self._annotations.values():
            for row in rows_of:
                episode = self.episodes.get(row["episode_id"])
                if episode is not None:
                    episode.texts |= {row["text"], row.get("text_original") or row["text"]}
        self._tables: OrderedDict[Path, Any] = OrderedDict()

    def _stored(self, row: dict[str, Any], receipt: dict[str, Any]) -> StoredEpisode:
        features = self.features.get(row["part"], {})
        cameras = {
            name.removeprefix(_CAMERA): feature.get("dtype") == "video"
            for name, feature in features.items()
            if feature.get("dtype") in ("image", "video")
        }
        return StoredEpisode(row, receipt, cameras, {row["task"], *row["tasks"]} - {""})

    def lacking_columns(self) -> list[tuple[Path, str]]:
        """Published columns that a file of a table lacks."""
        files = [(path, "receipts") for path in self.root.glob("curation/receipts.parquet")]
        for table in ("instructions", "steps"):
            files += [(path, table) for path in self.root.glob(f"annotations/{table}/*.parquet")]
        for part in self.paths.values():
            files += [(path, "episodes") for path in part.glob("meta/episodes/*/*.parquet")]
        lacking: list[tuple[Path, str]] = []
        for path, table in sorted(files):
            published: Any = arrow_schema(table)
            with pq.ParquetFile(path) as opened:
                there = set(opened.schema_arrow.names)
            lacking += [(path, name) for name in published.names if name not in there]
        return lacking

    def _by_id(self, rows: list[dict[str, Any]], key: str) -> dict[str, dict[str, Any]]:
        """Rows by their id; one that is there twice is remembered."""
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            if row[key] in found:
                self.repeated.append(f"{key} {row[key]}")
            found[row[key]] = row
        return found

    def annotations(self, table: str) -> dict[str, dict[str, dict[str, Any]]]:
        """The rows that came with the source: episode to id to row, in the order of the files."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        key = "instruction_id" if table == "instructions" else "step_id"
        for row in self._by_id(self._annotations[table], key).values():
            found.setdefault(row["episode_id"], {})[row[key]] = row
        return found

    def video(self, episode: StoredEpisode, camera: str) -> tuple[Path, float] | None:
        """The file of a camera's video, and when the episode begins in it, in seconds."""
        key = f"videos/{_CAMERA}{camera}"
        chunk, file = episode.row.get(f"{key}/chunk_index"), episode.row.get(f"{key}/file_index")
        start = episode.row.get(f"{key}/from_timestamp")
        if chunk is None or file is None or start is None:
            return None
        name = f"videos/{_CAMERA}{camera}/chunk-{chunk:03d}/file-{file:03d}.mp4"
        return self.paths[episode.part] / name, float(start)

    def values(self, episode: StoredEpisode, column: str) -> np.ndarray | list[Any] | None:
        """An episode's rows of a column: one row of numbers each, or texts; `None` without it."""
        table, first, last = self._span(episode)
        if column not in table.names:
            return None
        stored = table.column(column).slice(first, last - first)
        flat = stored
        while pa.types.is_nested(flat.type) and not pa.types.is_struct(flat.type):
            flat = flat.flatten()
        if not pa.types.is_primitive(flat.type) or flat.null_count or last == first:
            return cast("list[Any]", stored.to_pylist())
        return flat.to_numpy(zero_copy_only=False).reshape(last - first, -1)

    def columns(self, episode: StoredEpisode) -> list[str]:
        """The columns of an episode's data file."""
        return list(self._span(episode)[0].names)

    def rows(self, episode: StoredEpisode) -> int:
        """How many rows carry the episode's index."""
        _, first, last = self._span(episode)
        return last - first

    def pictures(self, episode: StoredEpisode, camera: str) -> list[bytes]:
        """An episode's encoded pictures of a camera."""
        table, first, last = self._span(episode)
        return table.pictures(f"{_CAMERA}{camera}", first, last)

    def _span(self, episode: StoredEpisode) -> tuple[_DataFile, int, int]:
        chunk, file = episode.row["data/chunk_index"], episode.row["data/file_index"]
        name = f"data/chunk-{chunk:03d}/file-{file:03d}.parquet"
        path = self.paths[episode.part] / name
        if path not in self._tables:
            while len(self._tables) >= _TABLES_OPEN:
                self._tables.popitem(last=False)[1].close()
            self._tables[path] = _DataFile(path)
        table: _DataFile = self._tables[path]
        return table, *table.span(episode.row["episode_index"])

    def close(self) -> None:
        """Close the files."""
        while self._tables:
            self._tables.popitem()[1].close()


class _DataFile:
    """An open file of rows; columns of numbers are read once."""

    def __init__(self, path: Path) -> None:
        self._file: Any = pq.ParquetFile(path)
        self.names: list[str] = list(self._file.schema_arrow.names)
        self._known: dict[str, Any] = {}
        index = self.column("episode_index").to_numpy(zero_copy_only=False)
        starts: list[int] = []
        if len(index):
            starts = [0, *(np.flatnonzero(np.diff(index)) + 1).tolist()]
        ends = [*starts[1:], len(index)]
        self._spans = {
            int(index[first]): (first, last) for first, last in zip(starts, ends, strict=True)
        }

    def span(self, episode: int) -> tuple[int, int]:
        """[first, last) of the rows that carry an index; none where no row does."""
        return self._spans.get(episode, (0, 0))

    def column(self, name: str) -> Any:
        """A whole column of numbers or texts."""
        if name not in self._known:
            self._known[name] = self._file.read(columns=[name], use_threads=False)[
                name
            ].combine_chunks()
        return self._known[name]

    def pictures(self, name: str, first: int, last: int) -> list[bytes]:
        """Rows [first, last) of a column of pictures; only their row groups are read."""
        groups: list[int] = []
        before, row = 0, 0
        for group in range(self._file.num_row_groups):
            count = self._file.metadata.row_group(group).num_rows
            if row < last and row + count > first:
                before = before if groups else row
                groups.append(group)
            row += count
        if not groups:
            return []
        table = self._file.read_row_groups(groups, columns=[f"{name}.bytes"], use_threads=False)
        column = table[name].combine_chunks().field("bytes")
        return [
            picture or b"" for picture in column.slice(first - before, last - first).to_pylist()
        ]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class StoredStats:
    """The `stats/` columns of a part's meta/episodes, by episode."""

    def __init__(self, part: Path) -> None:
        self._rows: dict[str, dict[str, Any]] = {}
        self.shapes: dict[str, dict[str, tuple[int, ...]]] = {}
        for path in sorted(part.glob("meta/episodes/*/*.parquet")):
            with pq.ParquetFile(path) as opened:
                file: Any = opened
                names = [n for n in file.schema_arrow.names if n.startswith("stats/")]
                table: pa.Table = file.read(columns=["episode_id", *names])
                for row in table.to_pylist():
                    self._rows[row.pop("episode_id")] = row

    def of(self, episode_id: str, column: str) -> Any:
        """A statistic as it is stored; `None` where it is not."""
        return self._rows.get(episode_id, {}).get(column)

    def episodes(self) -> Iterator[dict[str, dict[str, list[float]]]]:
        """The statistics of each episode: feature to flat lists; how they nest is remembered."""
        for row in self._rows.values():
            found: dict[str, dict[str, list[float]]] = {}
            for column, values in row.items():
                feature, _, key = column.removeprefix("stats/").rpartition("/")
                if values is not None:
                    nested = np.array(values, np.float64)  # a null becomes NaN
                    self.shapes.setdefault(feature, {})[key] = nested.shape
                    found.setdefault(feature, {})[key] = nested.reshape(-1).tolist()
            yield found


def stored_tasks(part: Path) -> list[tuple[int, str]]:
    """The table of tasks of a part: indices and texts."""
    rows = _rows([part / "meta/tasks.parquet"])
    return [(row["task_index"], row["task"]) for row in rows]


def _features(part: Path) -> dict[str, dict[str, Any]]:
    found = json.loads((part / "meta/info.json").read_bytes())["features"]
    return cast("dict[str, dict[str, Any]]", found)


def _rows(files: list[Path], *, skip: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in files:
        with pq.ParquetFile(path) as opened:
            file: Any = opened
            names = [n for n in file.schema_arrow.names if not (skip and n.startswith(skip))]
            found += file.read(columns=names).to_pylist()
    return found
