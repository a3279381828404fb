"""LeRobot datasets as a source: v2.0, v2.1 and v3.0, one or a folder of many.

A v2.x data file is one episode, a v3.0 data file many: whose rows are whose, its `episode_index`
column and `meta/episodes` must agree upon. Shards, episodes and features are those of
`finedata.readers.episode`. Nothing is imported of LeRobot, nothing is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import CorruptRecordError, FeatureError, SourceError
from finedata.readers.episode import Found, Shard
from finedata.readers.files import open_folder
from finedata.readers.lerobot.dataset import LerobotDataset
from finedata.readers.lerobot.episode import LerobotEpisode
from finedata.readers.lerobot.files import find_datasets, recognises
from finedata.readers.lerobot.table import ParquetRows, is_truncated, to_numbers
from finedata.readers.lerobot.video import VideoIndexes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from finedata.readers.files import SourceFolder
    from finedata.readers.lerobot.files import DataFile

__all__ = ["LerobotShard", "LerobotSource", "open_lerobot", "recognises"]


def open_lerobot(address: str | Path) -> LerobotSource:
    """Open a LeRobot dataset, or a folder with any number of them at any depth.

    Raises:
        UsageError: There is no such folder.
        SourceError: No `meta/info.json` below it, the only one cannot be read, or no data file.
        OSError: The disk or the network failed.
    """
    folder = open_folder(address)
    datasets = [LerobotDataset(folder, files) for files in find_datasets(folder.files())]
    if not datasets:
        raise SourceError(
            place=folder.address,
            found="no meta/info.json",
            wanted="a LeRobot dataset, or a folder of some",
            next_command=f"ls {folder.address}",
        )
    if len(datasets) == 1 and datasets[0].problem is not None:
        raise datasets[0].problem
    if not any(dataset.data_files for dataset in datasets):
        raise SourceError(
            place=folder.address,
            found=_found_instead(folder, datasets),
            wanted="rows where meta/info.json says: " + _wanted_rows(datasets),
            next_command=(
                "give the files those names, or fetch the dataset again whole: "
                "hf download --repo-type dataset NAME --local-dir DIR"
            ),
        )
    return LerobotSource(folder, tuple(datasets))


def _wanted_rows(datasets: list[LerobotDataset]) -> str:
    said = {dataset.info.template("data_path") or "data/**/*.parquet" for dataset in datasets}
    return ", ".join(sorted(said))


def _found_instead(folder: SourceFolder, datasets: list[LerobotDataset]) -> str:
    """Which Parquet files lie there under other names."""
    prefixes = tuple(f"{dataset.files.prefix}meta/" for dataset in datasets)
    others = [
        file.name
        for file in folder.files()
        if file.name.endswith(".parquet") and not file.name.startswith(prefixes)
    ]
    if not others:
        return "a description, and no Parquet file of rows"
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return f"a description, and rows under other names: {', '.join(others[:3])}{more}"


@dataclass(frozen=True)
class LerobotSource:
    """One or many LeRobot datasets; see `Source`.

    Attributes:
        folder: Where they lie.
        datasets: Each, by path.
    """

    folder: SourceFolder
    datasets: tuple[LerobotDataset, ...]

    @property
    def version(self) -> str:
        """The format's version; several ones joined by commas."""
        versions = {dataset.info.text("codebase_version") for dataset in self.datasets}
        return ",".join(sorted(versions - {""}))

    @property
    def one_part(self) -> bool:
        """Whether there is exactly one dataset: one feature set, one rate."""
        return len(self.datasets) == 1

    @property
    def byte_ranges(self) -> bool:
        """False: places are rows of a data file."""
        return False

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The data files, by dataset and number; those too that are declared and not there."""
        return self._shards

    @property
    def missing_shards(self) -> tuple[str, ...]:
        """Data files that a description declares and that are not there."""
        return self._missing

    def scan(self, shard: int) -> Iterator[tuple[Found, LerobotEpisode | None]]:
        """Every episode of a data file in the order of rows; see `Source.scan`."""
        dataset, file = self._files[shard]
        if file.is_absent:
            yield from _all_absent(dataset, file)
            return
        try:
            opened = LerobotShard(self.folder, dataset, file)
        except SourceError as error:
            yield from _all_broken(dataset, file, error)
            return
        try:
            for found in opened.found:
                yield found, None if found.reason else opened.episode(found)
        finally:
            opened.close()

    def open_shard(self, shard: int) -> LerobotShard:
        """Open a data file for its episodes.

        Raises:
            SourceError: It cannot be read.
            OSError: The disk or the network failed.
        """
        dataset, file = self._files[shard]
        return LerobotShard(self.folder, dataset, file)

    @cached_property
    def _shards(self) -> tuple[Shard, ...]:
        return tuple(_shard(dataset, file) for dataset, file in self._files)

    @cached_property
    def _missing(self) -> tuple[str, ...]:
        return tuple(
            f"{dataset.files.prefix}{file.name}"
            for dataset in self.datasets
            for file in dataset.absent_files()
        )

    @cached_property
    def _files(self) -> list[tuple[LerobotDataset, DataFile]]:
        return [
            (dataset, file)
            for dataset in self.datasets
            for file in sorted(
                [*dataset.data_files, *dataset.absent_files()],
                key=lambda file: (file.number, file.name),
            )
        ]


class LerobotShard:
    """An open data file; see `OpenShard`.

    Attributes:
        found: Its episodes, broken ones too, in the order of their rows.
    """

    def __init__(self, folder: SourceFolder, dataset: LerobotDataset, file: DataFile) -> None:
        """Open the file and find whose rows are whose.

        Raises:
            SourceError: It cannot be read, or its dataset's info.json cannot.
            OSError: The disk or the network failed.
        """
        if dataset.problem is not None:
            raise dataset.problem
        self._dataset = dataset
        self._file = file
        self._indexes = VideoIndexes(folder)
        name = f"{dataset.files.prefix}{file.name}"
        try:
            reader = folder.open(name)
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise _UnreadableError(
                place=name, found=error.strerror or "nothing", wanted="a readable file"
            ) from error
        try:
            self._table = ParquetRows(reader, name=name)
            self._places = list(_places(dataset, file, self._table))
        except BaseException:
            reader.close()
            raise
        self.found = [
            Found(
                number,
                place.first,
                place.last - place.first,
                *(place.problem or (None, "")),
                flags=place.flags + _task_flags(dataset, self._table, place),
            )
            for number, place in enumerate(self._places)
        ]

    def episode(self, found: Found) -> LerobotEpisode:
        """The episode at a place that the scan found.

        Raises:
            SourceError: The file has other rows there by now.
        """
        mine = self.found[found.number] if found.number < len(self.found) else None
        if (
            mine is None
            or mine.reason
            or (mine.offset, mine.length) != (found.offset, found.length)
        ):
            raise SourceError(
                place=f"{self._table.name}, episode {found.number} of the file",
                found="other rows than the scan found",
                wanted=f"rows {found.offset} to {found.offset + found.length}",
            )
        place = self._places[found.number]
        return LerobotEpisode(
            self._dataset,
            self._table,
            self._file,
            place.episode,
            place.first,
            place.last,
            self._indexes,
        )

    def close(self) -> None:
        """Release the file."""
        self._table.close()


class _UnreadableError(SourceError):
    """A file that cannot be opened, and will not be the next time either."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Rows [first, last) of an episode; (reason, message) where they cannot be one."""

    episode: int
    first: int
    last: int
    problem: tuple[str, str] | tuple[()] = ()
    flags: tuple[str, ...] = ()


def _shard(dataset: LerobotDataset, file: DataFile) -> Shard:
    name = f"{dataset.files.prefix}{file.name}"
    if dataset.is_one_per_file(file):
        return Shard(name, file.size, dataset.info.split(file.number[0]), 1)
    declared = dataset.declared_in.get(file.number, [])
    split = dataset.info.split(declared[0]) if declared else ""
    return Shard(name, file.size, split, len(declared) or None)


def _places(dataset: LerobotDataset, file: DataFile, table: ParquetRows) -> Iterator[_Place]:
    """Whose rows are whose, by the first row; declared episodes without rows come last."""
    if dataset.is_one_per_file(file):
        yield _whole_file(dataset, file.number[0], table)
        return
    declared = dataset.declared_in.get(file.number, [])
    runs = _runs(table)
    if runs is None:
        yield from _declared_places(dataset, declared, table.rows)
        return
    places = [_checked(dataset, file, run, runs) for run in runs]
    there = {episode for episode, _, _ in runs}
    there |= dataset.elsewhere([one for one in declared if one not in there], file)
    absent = [
        _Place(
            episode,
            table.rows,
            table.rows,
            ("absent", f"episode {episode} is declared, and has no row"),
        )
        for episode in declared
        if episode not in there
    ]
    yield from (*places, *absent)


def _whole_file(dataset: LerobotDataset, episode: int, table: ParquetRows) -> _Place:
    """The one episode of a v2.x file: its name, its column and the description are compared.

    Videos and tasks are found by the number in the file's name, so the name decides. A column
    that says another number may make the rows another episode's: the receipt says so.
    """
    flags: list[str] = []
    runs = _runs(table) or []
    numbers = sorted({number for number, _, _ in runs})
    if len(numbers) > 1:
        message = f"rows of the episodes {', '.join(map(str, numbers))} in the file of one"
        return _Place(episode, 0, table.rows, ("framing_error", message))
    if numbers and numbers[0] != episode:
        flags.append("episode_number_differs")
    length = dataset.meta.episodes.get(episode, {}).get("length")
    if isinstance(length, int) and length != table.rows:
        flags.append("declared_length_differs")
    return _Place(episode, 0, table.rows, flags=tuple(flags))


def _task_flags(dataset: LerobotDataset, table: ParquetRows, place: _Place) -> tuple[str, ...]:
    """What is doubtful about the task that the rows of an episode refer to."""
    if place.problem or not table.has("task_index"):
        return ()
    try:
        column = table.column("task_index", first=place.first, last=place.last)
        values = np.unique(to_numbers(column, feature="task_index"))
    except (FeatureError, CorruptRecordError):
        return ()  # whoever reads the tasks will say so
    indices = [int(value) for value in values if np.isfinite(value)]
    return dataset.meta.task_flags(indices, episode=place.episode)


def _runs(table: ParquetRows) -> list[tuple[int, int, int]] | None:
    """(episode, first row, last row + 1) of each run of the episode column; `None` without one."""
    if not table.has("episode_index"):
        return None
    try:
        column = table.column("episode_index", first=0, last=table.rows)
        values = to_numbers(column, feature="episode_index")
        if values.size != len(values) or not np.all(np.isfinite(values)):
            raise FeatureError(
                place="feature episode_index",
                found=f"{values.dtype} of shape {values.shape}",
                wanted="one number a row",
            )
    except FeatureError as error:
        raise CorruptRecordError(
            place=table.name, found=f"episode_index: {error.found}", wanted=error.wanted
        ) from error
    values = values.reshape(-1)
    if len(values) == 0:
        return []
    starts = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist()]
    ends = [*starts[1:], len(values)]
    return [(int(values[a]), a, b) for a, b in zip(starts, ends, strict=True)]


def _checked(
    dataset: LerobotDataset,
    file: DataFile,
    run: tuple[int, int, int],
    runs: list[tuple[int, int, int]],
) -> _Place:
    """A run of rows, checked against what the description says of its episode."""
    episode, first, last = run
    if sum(other == episode for other, _, _ in runs) > 1:
        message = f"rows of episode {episode} lie apart"
        return _Place(episode, first, last, ("framing_error", message))
    length = dataset.meta.episodes.get(episode, {}).get("length")
    if isinstance(length, int) and length != last - first:
        message = f"episode {episode} has {last - first} rows, and meta/episodes says {length}"
        return _Place(episode, first, last, ("framing_error", message))
    said = dataset.file_of.get(episode, file.number)
    flags = ("episode_file_differs",) if said != file.number else ()
    return _Place(episode, first, last, flags=flags)


def _declared_places(dataset: LerobotDataset, declared: list[int], rows: int) -> Iterator[_Place]:
    """Rows by the declared lengths alone, where the data does not say whose they are."""
    lengths = [dataset.meta.episodes[episode].get("length") for episode in declared]
    counts = [length for length in lengths if isinstance(length, int) and length >= 0]
    if len(counts) != len(lengths) or sum(counts) != rows:
        message = f"no episode_index in the data, and {sum(counts)} declared rows of {rows}"
        for episode in declared or [0]:
            yield _Place(episode, 0, rows, ("framing_error", message))
        return
    first = 0
    for episode, count in zip(declared, counts, strict=True):
        yield _Place(episode, first, first + count)
        first += count


def _all_absent(dataset: LerobotDataset, file: DataFile) -> Iterator[tuple[Found, None]]:
    """Every episode that the description puts into a file that is not there."""
    declared = dataset.declared_in[file.number]
    elsewhere = dataset.elsewhere(declared, file)
    absent = [episode for episode in declared if episode not in elsewhere]
    for number, episode in enumerate(absent):
        message = f"episode {episode} is declared, and its file is not there"
        yield Found(number, 0, 0, "absent", message), None


def _all_broken(
    dataset: LerobotDataset, file: DataFile, error: SourceError
) -> Iterator[tuple[Found, None]]:
    """Every episode that a file should hold, when the file itself cannot be read."""
    reason = "unparsable"
    if isinstance(error, _UnreadableError):
        reason = "unreadable_file"
    elif isinstance(error, CorruptRecordError) and is_truncated(error):
        reason = "truncated"
    declared = 1 if dataset.is_one_per_file(file) else len(dataset.declared_in.get(file.number, []))
    for number in range(max(1, declared)):
        yield Found(number, 0, 0, reason, f"{error.found}, wanted {error.wanted}"), None
