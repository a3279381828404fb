"""Episodes of finished parts copied into a new part, with numbers that are contiguous again.

A whole part is linked, file by file. Of others, rows are copied row group by row group (pictures
byte for byte) and only `episode_index`, `index` and `task_index` change; a video file that any
chosen episode is in is linked whole, so that every `from_timestamp` stays right. Numbers depend on
the order of the slices and of the rows alone, so the same call gives the same bytes.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.errors import ConformError
from finedata.store.atomic import write_atomic
from finedata.store.damaged import damaged_file, reading
from finedata.store.dataset_file import PartEntry
from finedata.store.lerobot.layout import (
    EPISODES_PER_META_FILE,
    INFO_PATH,
    TASKS_PATH,
    data_path,
    episodes_path,
    extend_splits,
    picture_column,
    read_features,
    read_info,
    split_ranges,
    video_cameras,
    video_file,
    video_path,
)
from finedata.store.lerobot.stats import FeatureStats, StatsMerger
from finedata.store.lerobot.write import write_stats, write_tasks
from finedata.store.merge.part_files import DataFiles, DataReader, MetaFiles, read_tasks
from finedata.store.remote.path import readable
from finedata.store.tables.arrow_compute import compute
from finedata.store.videos.copied import place_video

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path
    from typing import Self

_ROWS_AT_ONCE = 1_000


@dataclass(frozen=True)
class PartSlice:
    """Episodes of a part of a finished dataset, in the order that they have there.

    Attributes:
        root: Folder of the part.
        episode_ids: Which; `None` for all.
        split: Only those of this split (`train` where none is named); `None` for all.
    """

    root: Path
    episode_ids: Collection[str] | None = None
    split: str | None = None

    def tables(self) -> Iterator[pa.Table]:
        """The chosen rows of meta/episodes, at most a thousand at a time."""
        wanted = None if self.episode_ids is None else pa.array(self.episode_ids, pa.string())
        for path in sorted(self.root.glob("meta/episodes/*/*.parquet")):
            with reading(path), pq.ParquetFile(readable(path)) as file:
                for batch in cast("Any", file).iter_batches(batch_size=_ROWS_AT_ONCE):
                    rows: Any = pa.Table.from_batches([batch])
                    if wanted is not None:
                        rows = rows.filter(compute("is_in", rows["episode_id"], value_set=wanted))
                    if self.split is not None:
                        splits = compute("fill_null", rows["split"], "train")
                        rows = rows.filter(compute("equal", splits, self.split))
                    if rows.num_rows:
                        yield rows


def link_part(source: Path, target: Path, *, name: str, entry: PartEntry, path: str) -> PartEntry:
    """Link every file of a part under another name; only meta/episodes is written anew.

    Args:
        source: Folder of the part.
        target: Folder of the new one.
        name: Name of the new part, as `episodes.part` will say it.
        entry: What the old marker says of it.
        path: Folder of the new part, relative to its dataset.

    Raises:
        OutputError: The disk is full, or the file cannot be written.
    """
    patterns = ["meta/*", "data/*/*.parquet", "videos/*/*/*.mp4"]
    for pattern in [*patterns, *(["meta/episodes/*/*"] if name == entry.name else [])]:
        for file in sorted(source.glob(pattern)):
            if file.is_file() and not file.name.startswith("."):
                place_video(file, target / file.relative_to(source))
    if name != entry.name:
        with MetaFiles(target) as rows:
            for table in PartSlice(source).tables():
                rows.write(_replaced(table, {"part": pa.repeat(name, table.num_rows)}))
    return msgspec.structs.replace(entry, name=name, path=path)


def copy_part(slices: Sequence[PartSlice], target: Path, *, name: str, path: str) -> PartEntry:
    """Write one part of the episodes of some others; their features and rates must be equal.

    Args:
        slices: Where the episodes are, in the order that they shall have.
        target: Folder of the new part.
        name: Its name.
        path: Its folder, relative to its dataset.

    Raises:
        ConformError: A file of a part is not as its tables say.
        OutputError: The disk is full, or the file cannot be written.
    """
    info = read_info(slices[0].root)
    copier = _Copier(target, name)
    with copier:
        for part in slices:
            copier.add(part)
    copier.write_meta(slices[0], info)
    return PartEntry(
        name=name,
        path=path,
        embodiment=info["robot_type"],
        fps=float(info["fps"]),
        episodes=copier.episodes,
        frames=copier.frames,
    )


@dataclass
class _Copier:
    """A part that is being written."""

    target: Path
    name: str
    episodes: int = 0
    frames: int = 0
    tasks: dict[str, int] = field(default_factory=dict[str, int])
    merger: StatsMerger = field(default_factory=StatsMerger)
    splits: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])
    videos: dict[str, dict[Path, int]] = field(default_factory=dict[str, "dict[Path, int]"])

    def __enter__(self) -> Self:
        self._stack = ExitStack().__enter__()
        self._rows = self._stack.enter_context(MetaFiles(self.target))
        self._data = self._stack.enter_context(DataFiles(self.target))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*cast("Any", error))

    def add(self, part: PartSlice) -> None:
        """Copy a slice."""
        tasks = read_tasks(part.root)
        reader = DataReader(part.root)
        for table in part.tables():
            changed = self._copy_rows(part, tasks, reader, table)
            self._rows.write(_replaced(table, changed))

    def _copy_rows(
        self, part: PartSlice, tasks: dict[int, str], reader: DataReader, table: pa.Table
    ) -> dict[str, Any]:
        """Copy a stretch of episodes; give the columns of meta/episodes that are other now."""
        changed: dict[str, list[Any]] = {}

        def put(**columns: Any) -> None:
            for column, value in columns.items():
                changed.setdefault(column, []).append(value)

        names = [column for column in table.column_names if not column.startswith("stats/")]
        for row in cast("Any", table.select(names)).to_pylist():
            length = int(row["length"])
            task_index = self.tasks.setdefault(row["task"], len(self.tasks))
            _, data_chunk, data_file = data_path(self._copy_frames(tasks, reader, row))
            _, meta_chunk, meta_file = episodes_path(self.episodes // EPISODES_PER_META_FILE)
            put(
                **{
                    "part": self.name,
                    "episode_index": self.episodes,
                    "task_index": task_index,
                    "data/chunk_index": data_chunk,
                    "data/file_index": data_file,
                    "dataset_from_index": self.frames,
                    "dataset_to_index": self.frames + length,
                    "meta/episodes/chunk_index": meta_chunk,
                    "meta/episodes/file_index": meta_file,
                }
            )
            put(**self._link_videos(part, row))
            self.episodes += 1
            self.frames += length
            extend_splits(self.splits, row["split"] or "train", episodes=self.episodes)
        for stats in _row_stats(table):
            self.merger.add(stats)
        return changed

    def _copy_frames(self, tasks: dict[int, str], reader: DataReader, row: dict[str, Any]) -> int:
        """Copy the rows of an episode; the number of the data file that they are in now."""
        stretches, size = reader.find(row)
        file = self._data.file_for(reader.schema, size)
        done = 0
        for stretch in stretches:
            rows = reader.read(stretch)
            count = rows.num_rows
            columns: dict[str, Any] = {
                column: _one_chunk(rows[column]) for column in rows.column_names
            }
            first = self.frames + done
            columns["index"] = pa.array(np.arange(first, first + count), pa.int64())
            columns["episode_index"] = pa.array(np.full(count, self.episodes), pa.int64())
            columns["task_index"] = self._new_tasks(columns["task_index"], tasks, reader)
            file.write_rows(columns)
            done += count
        if done != row["length"]:
            raise damaged_file(
                reader.path,
                found=f"{done} rows of episode {row['episode_id']}",
                wanted=f"{row['length']}, as meta/episodes says",
            )
        return self._data.number

    def _new_tasks(self, old: Any, tasks: dict[int, str], reader: DataReader) -> Any:
        found: np.ndarray = old.to_numpy()
        new = np.empty_like(found)
        for task_index in np.unique(found).tolist():
            if task_index not in tasks:
                raise ConformError(
                    place=f"{reader.path}, column task_index",
                    found=f"{task_index}",
                    wanted=f"a task of {TASKS_PATH}",
                )
            text = tasks[task_index]
            new[found == task_index] = self.tasks.setdefault(text, len(self.tasks))
        return pa.array(new, pa.int64())

    def _link_videos(self, part: PartSlice, row: dict[str, Any]) -> dict[str, int]:
        """Link the video files of an episode where they are new; their numbers."""
        numbers: dict[str, int] = {}
        for camera in video_cameras(row):
            source = part.root / video_file(row, camera=camera)
            known = self.videos.setdefault(camera, {})
            number = known.get(source)
            new = len(known) if number is None else number
            path, chunk_index, file_index = video_path(camera, new)
            if number is None:
                known[source] = new
                place_video(source, self.target / path)
            prefix = f"videos/{picture_column(camera)}"
            numbers[f"{prefix}/chunk_index"] = chunk_index
            numbers[f"{prefix}/file_index"] = file_index
        return numbers

    def write_meta(self, first: PartSlice, info: dict[str, Any]) -> None:
        """Write tasks, statistics and info.json."""
        info |= {
            "total_episodes": self.episodes,
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "splits": split_ranges(self.splits, self.episodes),
        }
        stats = self.merger.result()
        write_tasks(self.target, list(self.tasks))
        write_stats(self.target, read_features(first.root), stats)
        text = msgspec.json.format(msgspec.json.encode(info), indent=2)
        write_atomic(self.target / INFO_PATH, text + b"\n")


def _row_stats(table: pa.Table) -> list[dict[str, FeatureStats]]:
    """The `stats/<feature>/<name>` columns as the statistics of each row."""
    rows: list[dict[str, FeatureStats]] = [{} for _ in range(table.num_rows)]
    for column in table.column_names:
        if not column.startswith("stats/"):
            continue
        feature, _, key = column.removeprefix("stats/").rpartition("/")
        for row, values in zip(rows, cast("Any", table[column]).to_pylist(), strict=True):
            if values is not None:
                flat = np.asarray(values, np.float64).reshape(-1).tolist()
                row.setdefault(feature, {})[key] = flat
    return rows


def _replaced(table: pa.Table, columns: dict[str, Any]) -> pa.Table:
    """The table with some columns' values exchanged; its schema stays as it is."""
    schema: Any = table.schema
    arrays: list[Any] = [
        pa.array(columns[name], schema.field(name).type)
        if isinstance(columns.get(name), list)
        else columns.get(name, table[name])
        for name in table.column_names
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _one_chunk(column: Any) -> Any:
    """A column as one array, without a copy where it is one already."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
