"""One LeRobot dataset of a folder: its files, its info and its description, each read once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from finedata.errors import CorruptRecordError, FeatureError, SourceError
from finedata.readers.lerobot.files import DataFile, fill_template
from finedata.readers.lerobot.meta import DatasetInfo, DatasetMeta, read_info
from finedata.readers.lerobot.table import ParquetRows, to_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from finedata.readers.files import SourceFolder
    from finedata.readers.lerobot.files import DatasetFiles, FileNumber

_DATA_TEMPLATES = {
    1: "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    2: "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
}
_CHUNK_SIZE = 1000
# Data files whose columns are looked at for those that a file lacks.
_SAMPLED_FILES = 16


class LerobotDataset:
    """A dataset below the opened folder.

    Attributes:
        folder: The opened folder, which names are relative to.
        files: The dataset's files.
        problem: What is wrong with its info.json; its episodes cannot be read then.
    """

    def __init__(self, folder: SourceFolder, files: DatasetFiles) -> None:
        self.folder = folder
        self.files = files
        self.problem: SourceError | None = None
        try:
            self.info = read_info(folder, files)
        except SourceError as error:
            self.info = DatasetInfo({}, {})
            self.problem = error
        self.data_files = files.data_files(self.info.template("data_path"))
        self._video_places: dict[str, dict[int, tuple[int, int]]] = {}

    @cached_property
    def meta(self) -> DatasetMeta:
        """Its tables."""
        return DatasetMeta(self.folder, self.files)

    @cached_property
    def videos(self) -> dict[str, dict[FileNumber, str]]:
        """Cameras that have a video file at all, and their files by number."""
        found = self.files.videos(self.info.video_keys, self.info.template("video_path"))
        return {key: files for key, files in found.items() if files}

    def has_column(self, feature: str) -> bool:
        """Whether any of the first and evenly spread data files has the column."""
        return feature in self._sampled_columns

    @cached_property
    def _sampled_columns(self) -> set[str]:
        step = max(1, len(self.data_files) // _SAMPLED_FILES)
        found: set[str] = set()
        for file in self.data_files[::step]:
            reader = self.folder.open(f"{self.files.prefix}{file.name}")
            try:
                found |= set(ParquetRows(reader, name=file.name).schema.names)
            except CorruptRecordError:
                continue  # its own episodes say so
            finally:
                reader.close()
        return found

    @property
    def name(self) -> str:
        """The last name of its folder."""
        if self.files.path:
            return self.files.path.rsplit("/", 1)[-1]
        address = self.folder.address
        if "://" in address:
            return address.rstrip("/").rsplit("/", 1)[-1]
        return Path(address).resolve().name

    def is_one_per_file(self, file: DataFile) -> bool:
        """Whether a data file is one episode (v2.x), by its own name."""
        return len(file.number) == 1

    @cached_property
    def declared_in(self) -> dict[FileNumber, list[int]]:
        """The episodes that the description puts into each file, in the order of their rows."""
        found: dict[FileNumber, list[tuple[int, int]]] = {}
        for index, row in self.meta.episodes.items():
            number: FileNumber = (index,)
            chunk, file = row.get("data/chunk_index"), row.get("data/file_index")
            if isinstance(chunk, int) and isinstance(file, int):
                number = (chunk, file)
            start = row.get("dataset_from_index")
            found.setdefault(number, []).append((start if isinstance(start, int) else 0, index))
        return {number: [index for _, index in sorted(rows)] for number, rows in found.items()}

    def elsewhere(self, episodes: Iterable[int], file: DataFile) -> set[int]:
        """Those of some episodes whose rows another file holds than the one that is said."""
        wanted = set(episodes)
        if not wanted:
            return set()
        return wanted & {
            episode
            for number, held in self._held.items()
            for episode in held
            if number != file.number
        }

    @cached_property
    def _held(self) -> dict[FileNumber, set[int]]:
        """The episodes whose rows each readable file holds; asked only where some are missed."""
        found: dict[FileNumber, set[int]] = {}
        for file in self.data_files:
            reader = self.folder.open(f"{self.files.prefix}{file.name}")
            try:
                table = ParquetRows(reader, name=file.name)
                if table.has("episode_index"):
                    column = table.column("episode_index", first=0, last=table.rows)
                    values = to_numbers(column, feature="episode_index").reshape(-1)
                    whole = values[np.isfinite(values)]
                    found[file.number] = {int(value) for value in np.unique(whole)}
            except (CorruptRecordError, FeatureError):
                continue  # its own episodes say so
            finally:
                reader.close()
        return found

    @cached_property
    def file_of(self) -> dict[int, FileNumber]:
        """The file that the description puts each episode into."""
        return {episode: number for number, every in self.declared_in.items() for episode in every}

    def video_places(self, feature: str) -> dict[int, tuple[int, int]]:
        """By the declared lengths: where each episode begins in its video file of a camera.

        Returns:
            Episode to (frames of the episodes before it, frames of all), for files whose episodes
            all have a length and a start.
        """
        if feature not in self._video_places:
            self._video_places[feature] = dict(_places_by_length(self.meta.episodes, feature))
        return self._video_places[feature]

    def absent_files(self) -> list[DataFile]:
        """Data files that the description declares and the folder lacks."""
        if self.problem is not None:
            return []
        there = {file.number for file in self.data_files}
        discarded = self.info.values.get("discarded_episode_indices")
        skipped = cast("list[Any]", discarded) if isinstance(discarded, list) else []
        return [
            DataFile(self._declared_name(number), 0, number, is_absent=True)
            for number in sorted(self.declared_in)
            if number not in there and not (len(number) == 1 and number[0] in skipped)
        ]

    def _declared_name(self, number: FileNumber) -> str:
        size = self.info.values.get("chunks_size")
        chunk_size = size if isinstance(size, int) and size > 0 else _CHUNK_SIZE
        values = (
            {"episode_index": number[0], "episode_chunk": number[0] // chunk_size}
            if len(number) == 1
            else {"chunk_index": number[0], "file_index": number[1]}
        )
        usual = _DATA_TEMPLATES[len(number)]
        name = fill_template(self.info.template("data_path"), values) or usual
        if ".." in name or name.startswith("/"):
            name = usual
        return fill_template(name, values) or name


def _places_by_length(
    episodes: dict[int, dict[str, Any]], feature: str
) -> Iterator[tuple[int, tuple[int, int]]]:
    files: dict[tuple[Any, ...], list[tuple[float, int, Any]]] = {}
    for episode, row in episodes.items():
        start = row.get(f"videos/{feature}/from_timestamp")
        if isinstance(start, int | float):
            number = tuple(row.get(f"videos/{feature}/{key}_index") for key in ("chunk", "file"))
            files.setdefault(number, []).append((float(start), episode, row.get("length")))
    for rows in files.values():
        lengths = [length for _, _, length in rows if isinstance(length, int) and length >= 0]
        if len(lengths) < len(rows):
            continue
        before = 0
        for _, episode, length in sorted(rows):
            yield episode, (before, sum(lengths))
            before += length
