"""The account of LeRobot datasets: what info.json declares, what each file of rows and video holds.

`meta/info.json` is read as plain JSON, tables by pyarrow alone. What a feature is decides its
declared dtype, or the type of its column where info.json says nothing: never its name. Whose rows
are whose decides the column `episode_index`; a v2.x file, one episode each, is also named after it.

The first shown frame of a video file is its zero: an episode of a shared file begins
`from_timestamp` seconds after that.
"""

from __future__ import annotations

import json
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.convert.account.things import (
    DAMAGE,
    Declared,
    Inventory,
    Pictures,
    SourceEpisode,
    VideoWindow,
    reading,
    said,
)
from finedata.readers.files import file_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.readers.files import SourceFolder

_INFO = "meta/info.json"
_OWN = frozenset({"timestamp", "frame_index", "episode_index", "index", "task_index"})
_EPISODE_FILE = re.compile(r"episode_?(\d+)\.(?:parquet|mp4)$", re.IGNORECASE)
_SHARED_FILE = re.compile(r"chunk-?_?(\d+)/file-?_?(\d+)\.(?:parquet|mp4)$", re.IGNORECASE)
_SPACE = re.compile(r"\s*")


def lerobot_inventory(folder: SourceFolder) -> Inventory:
    """List what the LeRobot datasets below a folder declare and hold.

    Raises:
        OSError: The disk or the network failed.
    """
    names = [file.name for file in folder.files() if not _is_hidden(file.name)]
    prefixes = sorted(
        name.removesuffix(_INFO) for name in names if f"/{name}".endswith(f"/{_INFO}")
    )
    inventory = Inventory({}, lambda: iter(()))
    datasets = [_Dataset(folder, prefix, _below(names, prefix, prefixes)) for prefix in prefixes]
    for dataset in datasets:
        for name, declared in dataset.declared().items():
            inventory.things.setdefault(name, declared)
        inventory.absent |= dataset.absent()
        inventory.tasks |= dataset.tasks()
        inventory.notes += dataset.notes
    inventory.episodes = lambda: (
        episode for dataset in datasets for episode in dataset.episodes(inventory)
    )
    return inventory


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _below(names: list[str], prefix: str, prefixes: list[str]) -> list[str]:
    """The files of a dataset, without those of datasets further down."""
    deeper = [other for other in prefixes if other != prefix and other.startswith(prefix)]
    return [
        name.removeprefix(prefix)
        for name in names
        if name.startswith(prefix) and not any(name.startswith(other) for other in deeper)
    ]


class _Dataset:
    """One dataset: its description and its files, each opened once."""

    def __init__(self, folder: SourceFolder, prefix: str, names: list[str]) -> None:
        self._folder, self._prefix, self._names = folder, prefix, names
        self.notes: list[str] = []
        info = self._json(_INFO)
        self._info: dict[str, Any] = info if isinstance(info, dict) else {}
        features = self._info.get("features")
        self._features: dict[str, Any] = features if isinstance(features, dict) else {}
        self._tasks = self._read_tasks()
        self._rows = self._read_episodes()
        self._videos = self._video_files()
        self._data = sorted(
            (name for name in names if self._number(name, "parquet") is not None),
            key=lambda name: (self._number(name, "parquet"), name),
        )

    def declared(self) -> dict[str, Declared]:
        """What info.json declares, by its dtype."""
        found: dict[str, Declared] = {}
        for name, feature in self._features.items():
            said_of: Any = cast("Any", feature if isinstance(feature, dict) else {})
            dtype: Any = said_of.get("dtype")
            if not isinstance(dtype, str) or not name:
                continue
            kind = {"video": "camera", "image": "camera", "string": "text"}.get(dtype, "numbers")
            place = f"{self._prefix}{_INFO}"
            found[name] = Declared(name, cast("Any", kind), place, made_anew=name in _OWN)
        return found

    def tasks(self) -> dict[str, str]:
        """The texts of its table of tasks."""
        return {text: f"{self._prefix}meta/tasks" for text in self._tasks.values() if text}

    def absent(self) -> dict[str, str]:
        """Declared episodes that no file of rows is there for."""
        places = [self._number(name, "parquet") for name in self._data]
        found: dict[str, str] = {}
        for index, row in self._rows.items():
            shared = (row.get("data/chunk_index"), row.get("data/file_index"))
            if (index,) not in places and shared not in places and None not in shared[:1]:
                found[f"{self._prefix}episode {index}"] = f"{self._prefix}meta/episodes"
        return found

    def episodes(self, inventory: Inventory) -> Iterator[SourceEpisode]:
        """The episodes of every file of rows, in the order of rows."""
        for name in self._data:
            file = f"{self._prefix}{name}"
            number = self._number(name, "parquet") or ()
            try:
                with closing(file_object(self._folder.open(file))) as opened:
                    table = _Rows(opened, file)
                    yield from self._of_file(table, file, number, inventory)
            except DAMAGE as error:
                if len(number) == 1:
                    yield SourceEpisode(file, 0, f"episode {number[0]}", unread=said(error))
                else:
                    inventory.notes.append(f"{file}: not looked into: {said(error)}")

    def _of_file(
        self, table: _Rows, file: str, number: tuple[int, ...], inventory: Inventory
    ) -> Iterator[SourceEpisode]:
        for name in table.names:
            if name not in inventory.things:
                kind = table.kind(name)
                inventory.things[name] = Declared(name, kind, file, made_anew=name in _OWN)
        if len(number) == 1:
            runs = [(number[0], 0, table.rows)]
        else:
            runs = _runs(table.numbers("episode_index"))
        for record, (index, first, last) in enumerate(runs):
            yield self._episode(table, file, number, record, index, first, last)

    def _episode(
        self,
        table: _Rows,
        file: str,
        number: tuple[int, ...],
        record: int,
        index: int,
        first: int,
        last: int,
    ) -> SourceEpisode:
        row = self._rows.get(index, {})
        length = row.get("length")
        episode = SourceEpisode(
            file,
            record,
            f"episode {index}",
            length=last - first,
            declared_length=_whole(length),
            texts=self._texts(table, first, last, row),
        )
        if len(number) == 1 and episode.declared_length not in (None, last - first):
            episode.doubts["declared_length_differs"] = f"{episode.declared_length} rows declared"
        said_file = (row.get("data/chunk_index"), row.get("data/file_index"))
        if len(number) == 2 and None not in said_file and said_file != number:
            episode.doubts["episode_file_differs"] = f"{said_file} is said to be its file"
        if len(number) == 1 and "episode_index" in table.names:
            others = set(table.numbers("episode_index").tolist()) - {index}
            if others:
                episode.doubts["episode_number_differs"] = f"rows of episode {min(others)}"
        for name in table.names:
            if table.kind(name) == "camera":
                read = reading(table.pictures, name, first, last)
                episode.cameras[name] = Pictures(last - first, read)
            else:
                episode.values[name] = reading(table.values, name, first, last)
        for name, declared in self.declared().items():
            if declared.kind == "camera" and name not in table.names:
                episode.cameras[name] = self._window(name, index, number, row)
        return episode

    def _window(
        self, camera: str, index: int, number: tuple[int, ...], row: dict[str, Any]
    ) -> VideoWindow | None:
        """Where an episode's frames of a camera are; `None` where there is no file for it."""
        files = self._videos.get(camera, {})
        if len(number) == 1:
            file = files.get((index,))
            return None if file is None else VideoWindow(f"{self._prefix}{file}")
        place = tuple(row.get(f"videos/{camera}/{key}_index") for key in ("chunk", "file"))
        start = row.get(f"videos/{camera}/from_timestamp")
        file = files.get(cast("Any", place))
        if file is None or not isinstance(start, int | float) or start != start:
            return None
        return VideoWindow(f"{self._prefix}{file}", float(start))

    def _texts(self, table: _Rows, first: int, last: int, row: dict[str, Any]) -> dict[str, str]:
        """The tasks of an episode's rows, then what meta/episodes says."""
        found: dict[str, str] = {}
        if "task_index" in table.names:
            numbers = table.numbers("task_index")[first:last]
            for index in dict.fromkeys(numbers.tolist()):
                text = self._tasks.get(int(index)) if index == index else None
                if text:
                    found.setdefault(text, "task_index")
        said = row.get("tasks")
        for text in cast("list[Any]", said) if isinstance(said, list) else [said]:
            if isinstance(text, str) and text and not found:
                found.setdefault(text, "meta/episodes")
        return found

    def _number(self, name: str, ending: str) -> tuple[int, ...] | None:
        """(episode,) or (chunk, file), by a file's own name."""
        if not name.lower().endswith(f".{ending}") or name.startswith("meta/"):
            return None
        match = _SHARED_FILE.search(name) or _EPISODE_FILE.search(name)
        return None if match is None else tuple(int(number) for number in match.groups())

    def _video_files(self) -> dict[str, dict[tuple[int, ...], str]]:
        """Camera to its video files by number: a camera's key is a folder on the way to them."""
        found: dict[str, dict[tuple[int, ...], str]] = {}
        keys = {name for name, declared in self.declared().items() if declared.kind == "camera"}
        for name in self._names:
            number = self._number(name, "mp4")
            if number is None:
                continue
            for part in name.split("/")[:-1]:
                if part in keys:
                    found.setdefault(part, {}).setdefault(number, name)
        return found

    def _read_tasks(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for row in self._table("meta/tasks"):
            index = row.pop("task_index", None)
            # pandas keeps the texts in its index, whose column has a name of its own.
            named = [text for key, text in row.items() if key == "task" or key[:2] == "__"]
            text = next((text for text in named if isinstance(text, str)), None)
            if isinstance(index, int | float) and index == index and text is not None:
                found.setdefault(int(index), text)
        return found

    def _read_episodes(self) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        for row in self._table("meta/episodes"):
            index = row.get("episode_index")
            if isinstance(index, int | float) and not isinstance(index, bool) and index == index:
                found.setdefault(int(index), row)
        return found

    def _table(self, stem: str) -> list[dict[str, Any]]:
        """The rows of a table of meta/, in whatever form it is written."""
        rows: list[dict[str, Any]] = []
        for name in self._names:
            if not name.startswith(stem):
                continue
            place = f"{self._prefix}{name}"
            try:
                if name.endswith(".parquet"):
                    with closing(file_object(self._folder.open(place))) as opened:
                        table: Any = pq.ParquetFile(opened)
                        columns = [c for c in table.schema_arrow.names if c[:6] != "stats/"]
                        rows += table.read(columns=columns).to_pylist()
                elif name.endswith((".jsonl", ".json")):
                    rows += _json_values(self._folder.read_all(place))
            except DAMAGE as error:
                self.notes.append(f"{place}: not looked into: {said(error)}")
        return [row for row in rows if isinstance(cast("Any", row), dict)]

    def _json(self, name: str) -> Any:
        try:
            return json.loads(self._folder.read_all(f"{self._prefix}{name}").decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            self.notes.append(f"{self._prefix}{name}: not looked into: {said(error)}")
            return None


class _Rows:
    """An open file of rows, its columns read when asked for."""

    def __init__(self, opened: Any, place: str) -> None:
        self._file: Any = pq.ParquetFile(opened)
        self._place = place
        self._schema: Any = self._file.schema_arrow
        self.names: list[str] = list(dict.fromkeys(self._schema.names))
        self.rows: int = self._file.metadata.num_rows
        self._known: dict[str, Any] = {}

    def kind(self, name: str) -> Any:
        """What the type of a column says that it holds."""
        kind: Any = self._schema.field(self._schema.names.index(name)).type
        if pa.types.is_struct(kind):
            return "camera" if cast("Any", kind).get_field_index("bytes") >= 0 else "numbers"
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return "camera"
        return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else "numbers"

    def column(self, name: str) -> Any:
        """A whole column."""
        if name not in self._known:
            table = self._file.read(columns=[name], use_threads=False)
            self._known[name] = table.column(table.schema.names.index(name)).combine_chunks()
        return self._known[name]

    def numbers(self, name: str) -> np.ndarray:
        """A column of one number a row."""
        values = self.values(name, 0, self.rows)
        return np.asarray(values).reshape(self.rows, -1)[:, 0]

    def values(self, name: str, first: int, last: int) -> np.ndarray | list[Any]:
        """Rows of a column: an array of one row of numbers each, or texts and objects."""
        column = self.column(name).slice(first, last - first)
        flat = column
        while pa.types.is_nested(flat.type) and not pa.types.is_struct(flat.type):
            flat = flat.flatten()
        plain = pa.types.is_primitive(flat.type) and not flat.null_count
        if not plain or not (last - first) or len(flat) % (last - first):
            return cast("list[Any]", column.to_pylist())
        return flat.to_numpy(zero_copy_only=False).reshape(last - first, -1)

    def pictures(self, name: str, first: int, last: int) -> list[bytes]:
        """The encoded pictures of rows; an empty one where they are not in the column."""
        column = self.column(name).slice(first, last - first)
        if pa.types.is_struct(column.type):
            column = column.field("bytes")
        return [picture or b"" for picture in cast("list[bytes | None]", column.to_pylist())]


def _whole(value: Any) -> int | None:
    """A whole number, also one that passed through pandas; `None` where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value)


def _runs(index: np.ndarray) -> list[tuple[int, int, int]]:
    """(episode, first row, last row + 1) of each run of equal numbers."""
    if not len(index):
        return []
    starts = [0, *(np.flatnonzero(index[1:] != index[:-1]) + 1).tolist()]
    ends = [*starts[1:], len(index)]
    return [(int(index[a]), a, b) for a, b in zip(starts, ends, strict=True)]


def _json_values(data: bytes) -> list[Any]:
    """The values of a file of JSON: one a line, or one after the other over several lines."""
    text, decoder, values = data.decode("utf-8-sig"), json.JSONDecoder(), list[Any]()
    at = _next_value(text, 0)
    while at < len(text):
        value, end = decoder.raw_decode(text, at)
        values += cast("list[Any]", value) if isinstance(value, list) else [value]
        at = _next_value(text, end)
    return values


def _next_value(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()
