"""What a LeRobot dataset's `meta/` and `annotations/` say, and how far they are believed.

Versions 2.0, 2.1 and 3.0 differ in the form of their tables only. Totals and splits are never
believed where the files say otherwise. A damaged line costs what it described and nothing else:
a look-up that misses in a damaged table is an error, one that misses in a whole table is empty.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import msgspec

from finedata.errors import CorruptRecordError, FeatureError, MissingFeatureError, SourceError
from finedata.readers.damage import HEAD_BYTES, impostor
from finedata.readers.lerobot.table import ParquetRows
from finedata.schema.identity import task_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from finedata.readers.files import SourceFolder
    from finedata.readers.lerobot.files import DatasetFiles

_LOG = logging.getLogger(__name__)

# A vocabulary has hundreds of entries; an index beyond this is damage, not a long list.
_LARGEST_INDEX = 65_535
_SPLIT_RANGE = re.compile(r"\s*(\d{1,12})\s*:\s*(\d{1,12})\s*")


@dataclass(frozen=True)
class DatasetInfo:
    """`meta/info.json`, as far as it has the expected form.

    Attributes:
        values: The whole object.
        features: Its declared features: name to what is said of each.
    """

    values: dict[str, Any]
    features: dict[str, dict[str, Any]]

    def text(self, key: str) -> str:
        """A text; empty where there is none."""
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def template(self, key: str) -> str | None:
        """A file name template."""
        return self.text(key) or None

    @property
    def fps(self) -> float | None:
        """Frames a second, where that is a positive number."""
        value = self.values.get("fps")
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if 0 < value < float("inf") else None

    def no_fps(self, place: str) -> MissingFeatureError:
        """The error of a rate that is not there, or is no number.

        Args:
            place: The info.json.
        """
        value = self.values.get("fps")
        found = "no fps" if value is None else f"fps {value!r}, which is {_kind_of(value)}"
        return MissingFeatureError(
            place=place,
            found=found,
            wanted="fps, a number of frames a second above 0",
            next_command=f'write "fps": 30 (the true rate) into {place}',
        )

    @property
    def video_keys(self) -> tuple[str, ...]:
        """Cameras that are declared as videos or as images (which may be videos after all)."""
        return tuple(
            name
            for name, feature in self.features.items()
            if name and feature.get("dtype") in ("video", "image")
        )

    def split(self, episode: int) -> str:
        """The split whose range covers an episode; else the first one, ranges being unreliable."""
        splits = self.values.get("splits")
        if not isinstance(splits, dict) or not splits:
            return ""
        for name, span in cast("dict[str, Any]", splits).items():
            match = _SPLIT_RANGE.fullmatch(span) if isinstance(span, str) else None
            if match is not None and int(match.group(1)) <= episode < int(match.group(2)):
                return name
        return next(iter(cast("dict[str, Any]", splits)))

    def shape(self, feature: str) -> tuple[int, ...] | None:
        """The declared shape of a feature."""
        shape = self.features.get(feature, {}).get("shape")
        if not isinstance(shape, list):
            return None
        sizes = cast("list[Any]", shape)
        if any(not isinstance(size, int) or isinstance(size, bool) or size < 0 for size in sizes):
            return None
        return tuple(sizes)

    def column_names(self, feature: str) -> tuple[str, ...] | None:
        """Names of a feature's columns in any of their spellings, not yet counted.

        A list, a list inside a list (G1), an object of one list (`{"motors": [...]}`) or of
        several, an object of positions (`{"x": 0}`), and the key `name` for `names` (early
        RoboCOIN).
        """
        declared = self.features.get(feature, {})
        return _flat_names(declared.get("names", declared.get("name")))


def read_info(folder: SourceFolder, files: DatasetFiles) -> DatasetInfo:
    """Read `meta/info.json` of a dataset.

    Raises:
        SourceError: It is not a JSON object, or its features are not one.
        OSError: The disk or the network failed.
    """
    place = f"{folder.address}/{files.prefix}meta/info.json"
    data = folder.read_all(f"{files.prefix}meta/info.json")
    values = _decode_json(data)
    if not isinstance(values, dict):
        other = impostor(data[:HEAD_BYTES], size=len(data))
        raise SourceError(
            place=place,
            found=other or f"{len(data)} bytes that are no JSON object",
            wanted="the info.json of a LeRobot dataset, one JSON object",
            next_command=f"python -m json.tool {place}  # shows where it breaks; or fetch it again",
        )
    values = cast("dict[str, Any]", values)
    features = values.get("features", {})
    if not isinstance(features, dict):
        raise SourceError(
            place=place, found="`features` that is no JSON object", wanted="feature to description"
        )
    return DatasetInfo(
        values,
        {
            name: cast("dict[str, Any]", feature)
            for name, feature in cast("dict[str, Any]", features).items()
            if isinstance(feature, dict)
        },
    )


class DatasetMeta:
    """Tasks, episodes and vocabularies of one dataset, each read when first asked for."""

    def __init__(self, folder: SourceFolder, files: DatasetFiles) -> None:
        self._folder = folder
        self._files = files
        # Indices that the table of tasks has more than once, with different texts.
        self._twice: set[int] = set()

    def task(self, index: int, *, episode: int | None = None) -> str:
        """The text of a task index; empty where no table has one.

        Args:
            index: The index.
            episode: Whose one task it must be where the table of tasks does not know it: then
                the row of that episode is asked.

        Raises:
            FeatureError: It may have stood in a line that cannot be read.
        """
        text = self._tasks[0].get(index)
        if not text and episode is not None:
            others = self.episode_tasks(episode)
            if len(others) == 1:
                return others[0]
        wanted = f"a row for task_index {index}"
        return self._found(text, self._tasks[1], "tasks", wanted) or ""

    def episode_tasks(self, index: int) -> list[str]:
        """The tasks that the row of an episode names; none where there is no such row."""
        listed = self._episodes[0].get(index, {}).get("tasks")
        values = cast("list[Any]", listed) if isinstance(listed, list) else [listed]
        return [text for text in values if isinstance(text, str) and text.strip()]

    def task_flags(self, indices: Iterable[int], *, episode: int) -> tuple[str, ...]:
        """A receipt's flags: what is wrong with the words for these indices of an episode.

        Two tables, or two lines of one, name different tasks; or a line is damaged that may have
        named one.
        """
        texts = {self._tasks[0].get(index) or "" for index in indices} - {""}
        others = self.episode_tasks(episode)
        differs = bool(others) and not {task_id(one) for one in texts} <= {
            task_id(one) for one in others
        }
        known, damage = self._tasks
        flags: list[str] = []
        if damage and not set(indices) <= set(known):
            flags.append("annotation_unreadable")
        if differs or not self._twice.isdisjoint(indices):
            flags.append("task_differs")
        return tuple(flags)

    @property
    def has_tasks(self) -> bool:
        """Whether there is a table of tasks."""
        return bool(self._tasks[0] or self._tasks[1])

    def episode(self, index: int) -> dict[str, Any]:
        """What is said of an episode; empty where nothing is.

        Raises:
            FeatureError: It may have stood in a line that cannot be read.
        """
        wanted = f"a row for episode {index}"
        row = self._found(self._episodes[0].get(index), self._episodes[1], "episodes", wanted)
        return row or {}

    @property
    def episodes(self) -> dict[int, dict[str, Any]]:
        """Every readable row about an episode, by its index."""
        return self._episodes[0]

    @property
    def vocabularies(self) -> tuple[str, ...]:
        """`<stem>#<key>` of every JSONL file under `annotations/`."""
        return tuple(self._vocabularies)

    def vocabulary(self, name: str) -> list[str]:
        """The texts of a vocabulary by index; empty where an index is not used.

        Raises:
            FeatureError: A line of its file cannot be read.
        """
        texts, damage = self._vocabularies[name]
        if damage:
            place = f"{self._files.prefix}annotations/{name.partition('#')[0]}.jsonl"
            raise FeatureError(place=place, found=damage, wanted="JSON lines")
        return list(texts)

    @cached_property
    def _vocabularies(self) -> dict[str, tuple[list[str], str]]:
        found: dict[str, tuple[list[str], str]] = {}
        for name in sorted(self._files.sizes):
            if name.startswith("annotations/") and name.endswith(".jsonl"):
                stem = name.removeprefix("annotations/").removesuffix(".jsonl")
                rows, damage = self._json_lines(name)
                for key, texts in _vocabulary(rows).items():
                    found[f"{stem}#{key}"] = (texts, damage)
        return found

    @cached_property
    def _tasks(self) -> tuple[dict[int, str], str]:
        damage = ""
        rows: list[dict[str, Any]] = []
        if "meta/tasks.parquet" in self._files.sizes:
            rows, damage = self._parquet_rows("meta/tasks.parquet", skip="")
        elif "meta/tasks.jsonl" in self._files.sizes:
            rows, damage = self._json_lines("meta/tasks.jsonl")
        tasks: dict[int, str] = {}
        for row in map(_with_whole_numbers, rows):
            # pandas' index: unnamed in older writers, `task` in newer ones
            text = row.get("task", row.get("__index_level_0__"))
            index = row.get("task_index")
            if isinstance(index, int) and (text is None or isinstance(text, str)):
                first = tasks.setdefault(index, text or "")
                if first != (text or "") and index not in self._twice:
                    self._twice.add(index)
                    _LOG.warning(
                        "%s/%smeta/%s: task_index %d is %r and also %r: the first is taken, and "
                        "its episodes are flagged task_differs",
                        self._folder.address,
                        self._files.prefix,
                        self._name_of("tasks"),
                        index,
                        first,
                        text or "",
                    )
            else:
                damage = damage or f"a row without task_index and task ({str(row)[:80]})"
        return tasks, damage

    @cached_property
    def _episodes(self) -> tuple[dict[int, dict[str, Any]], str]:
        names = sorted(
            name
            for name in self._files.sizes
            if name.startswith("meta/episodes/") and name.endswith(".parquet")
        )
        rows: list[dict[str, Any]] = []
        damage = ""
        if names:
            for name in names:
                more, bad = self._parquet_rows(name, skip="stats/")
                rows, damage = rows + more, damage or bad
        elif "meta/episodes.jsonl" in self._files.sizes:
            rows, damage = self._json_lines("meta/episodes.jsonl")
        episodes: dict[int, dict[str, Any]] = {}
        for row in map(_with_whole_numbers, rows):
            index = row.get("episode_index")
            if isinstance(index, int) and not isinstance(index, bool) and index >= 0:
                episodes.setdefault(index, row)
            else:
                damage = damage or f"a row without episode_index ({str(row)[:80]})"
        return episodes, damage

    def _json_lines(self, name: str) -> tuple[list[dict[str, Any]], str]:
        """(objects, what is wrong with the first line that is none)."""
        rows: list[dict[str, Any]] = []
        data = self._read(name)
        whole = _decode_json(data)
        if isinstance(whole, dict) and data.strip().count(b"\n"):
            # one object over several lines: what it says is plain
            return [cast("dict[str, Any]", whole)], ""
        if isinstance(whole, list):
            listed = cast("list[Any]", whole)
            return [row for row in listed if isinstance(row, dict)], ""
        damage = impostor(data[:HEAD_BYTES], size=len(data)) or "" if data else ""
        for number, line in enumerate(data.split(b"\n"), 1):
            if not line.strip():
                continue
            row = _decode_json(line)
            if isinstance(row, dict):
                rows.append(cast("dict[str, Any]", row))
            else:
                damage = damage or (
                    f"no JSON object in line {number} ({_shown(line)}); each line must be one "
                    f"object: jq -c . {name} writes it so"
                )
        return rows, damage

    def _parquet_rows(self, name: str, *, skip: str) -> tuple[list[dict[str, Any]], str]:
        """(rows, what is wrong), without the columns whose names begin with `skip`."""
        reader = self._folder.open(f"{self._files.prefix}{name}")
        try:
            table = ParquetRows(reader, name=name)
            names = [key for key in table.schema.names if not (skip and key.startswith(skip))]
            columns = [
                cast("list[Any]", table.column(key, first=0, last=table.rows).to_pylist())
                for key in names
            ]
        except (CorruptRecordError, UnicodeDecodeError) as error:
            return [], " ".join(str(error).split())
        finally:
            reader.close()
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)], ""

    def _read(self, name: str) -> bytes:
        return self._folder.read_all(f"{self._files.prefix}{name}")

    def _found(self, value: Any, damage: str, table: str, wanted: str) -> Any:
        if value is None and damage:
            place = f"{self._files.prefix}meta/{self._name_of(table)}"
            raise FeatureError(place=place, found=damage, wanted=wanted)
        return value

    def _name_of(self, table: str) -> str:
        """The file or folder of a table below `meta/`."""
        names = (f"{table}.parquet", f"{table}.jsonl")
        return next((one for one in names if f"meta/{one}" in self._files.sizes), table)


def _with_whole_numbers(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose indices and length are integers: pandas makes floats of columns with a gap."""
    return {
        key: int(value)
        if isinstance(value, float)
        and value.is_integer()
        and (key.endswith("_index") or key == "length")
        else value
        for key, value in row.items()
    }


def _shown(line: bytes) -> str:
    """The beginning of a line, for a message."""
    text = line[:40].decode(errors="replace").strip()
    return repr(text + ("..." if len(line) > 40 else ""))


def _kind_of(value: Any) -> str:
    return "text" if isinstance(value, str) else f"no such number ({type(value).__name__})"


def _decode_json(data: bytes) -> Any:
    """The value, or `None` where this is no JSON."""
    try:
        return msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _flat_names(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        if entries and all(isinstance(at, int) for at in entries.values()):
            return tuple(sorted(entries, key=lambda name: entries[name]))
        value = list(entries.values())
    if not isinstance(value, list):
        return None
    names: list[str] = []
    for entry in cast("list[Any]", value):
        inner = (entry,) if isinstance(entry, str) else _flat_names(entry)
        if inner is None:
            return None
        names += inner
    return tuple(names)


def _vocabulary(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Key -> texts by index, of rows like `{"subtask_index": 3, "subtask": "..."}`."""
    texts: dict[str, dict[int, str]] = {}
    for row in rows:
        index = next((value for key, value in row.items() if key.endswith("_index")), None)
        if not isinstance(index, int) or not 0 <= index <= _LARGEST_INDEX:
            continue
        for key, value in row.items():
            if isinstance(value, str):
                texts.setdefault(key, {})[index] = value
    return {
        key: [known.get(index, "") for index in range(max(known) + 1)]
        for key, known in texts.items()
    }
