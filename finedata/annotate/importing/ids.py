"""Which episode of a dataset a released id means: by name, by the source's number, never by guess.

Released files count episodes as the source does. The receipts know that: of a LeRobot source, its
folder and the episode's number; of a source in numbered shards, shard and record, of the split
`train` where several splits have such a shard, since that is what ReFineVLA trains on. Two episodes
that an id could mean are none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from finedata.errors import ConformError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.store.dataset import Dataset

__all__ = ["By", "Episodes", "Key", "Matched", "Unmatched"]

By = Literal["source", "dataset"]
Unmatched = Literal["refuse", "skip"]

_SHARD = re.compile(r"(?:-(?P<split>train)\.[^-]*)?-(?P<number>\d+)-of-\d+$")
_LEROBOT = re.compile(
    r"(?:(?P<folder>.*)/)?data/chunk-\d+/(?:episode_(?P<number>\d+)|file-\d+)\.\w+$"
)
_NUMBER = re.compile(r"#(\d+)$")
_SAMPLE = re.compile(r"(?P<prefix>[^-]+)-(?P<subset>.+)-(?P<number>\d+)$")


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """How a released file names an episode; what it does not say is None.

    Attributes:
        name: As a reader of the file would say it.
        given: What the file says of the episode.
        text: An id as text.
        folder: Of the LeRobot dataset that the file lies in, `/` between its parts.
        number: Of the episode there.
        shard: Number of the source's shard.
        record: Of the record in it.
    """

    name: str
    given: Any
    text: str | None = None
    folder: str | None = None
    number: int | None = None
    shard: int | None = None
    record: int | None = None


class Matched(msgspec.Struct, frozen=True, kw_only=True):
    """An episode that a released id means.

    Attributes:
        name: The released id.
        episode_id: The episode.
        row: Its row of `episodes`: id, part, length, fps, cameras.
        given: What the file says of it.
    """

    name: str
    episode_id: str
    row: dict[str, Any]
    given: Any


class Episodes:
    """The episodes of a dataset, by all that a released id may be.

    Args:
        dataset: The dataset.
        by: See `import_annotations`.
        ids: See `import_annotations`.

    Attributes:
        root: Root of the dataset.
        order: Ids in the dataset's order.
        missing: Released ids that mean no episode, and why.
    """

    def __init__(self, dataset: Dataset, *, by: By, ids: Path | None) -> None:
        self.root = dataset.root
        self._by = by
        columns = ("episode_id", "part", "episode_index", "length", "fps", "cameras")
        rows = dataset.episodes.select(columns).collect()
        self._rows = {row["episode_id"]: row for row in rows.iter_rows(named=True)}
        self.order = list(self._rows)
        self.missing: list[tuple[str, str]] = []
        self._numbers: dict[int, set[str]] = defaultdict(set)
        self._folders: dict[str, set[str]] = defaultdict(set)
        self._records: dict[tuple[int, int], set[str]] = defaultdict(set)
        self._trained: dict[tuple[int, int], set[str]] = defaultdict(set)
        if by == "source":
            self._read_receipts(dataset)
        else:
            folders = {part.name: part.path for part in dataset.parts}
            for episode_id, row in self._rows.items():
                self._numbers[row["episode_index"]].add(episode_id)
                self._folders[folders[row["part"]]].add(episode_id)
        self._ids = {} if ids is None else _read_ids(ids)
        self._seen: dict[str, str] = {}

    def of(self, key: Key) -> Matched | None:
        """The episode that a released id means; None, and noted, where there is none.

        Raises:
            ConformError: Two ids mean the same episode.
        """
        found = self._find(key)
        if len(found) != 1:
            why = "no such episode" if not found else f"could be {len(found)} episodes"
            self.missing.append((key.name, why))
            return None
        [episode_id] = found
        before = self._seen.setdefault(episode_id, key.name)
        if before != key.name:
            raise ConformError(
                place=key.name,
                found=f"episode {episode_id}, which {before} means too",
                wanted="every episode once",
            )
        row = self._rows[episode_id]
        return Matched(name=key.name, episode_id=episode_id, row=row, given=key.given)

    def advice(self) -> str:
        """What to try where nothing was found."""
        if self._by == "source":
            return "--by dataset, if an export of this dataset wrote the file; or --ids FILE"
        return f'--ids FILE; finedata query {self.root} "select episode_id, locator from receipts"'

    def _find(self, key: Key) -> set[str]:
        mapped = self._ids.get(key.text or key.name)
        if mapped is not None:
            return {mapped} & set(self._rows)
        if key.text is not None:
            if key.text in self._rows:
                return {key.text}
            sample = _SAMPLE.match(key.text)
            if sample is None or sample["subset"] not in self._base_names():
                return set()
            return self._numbered(int(sample["number"]), sample["subset"])
        if key.shard is not None and key.record is not None:
            place = key.shard, key.record
            return self._trained.get(place) or self._records.get(place, set())
        return set() if key.number is None else self._numbered(key.number, key.folder)

    def _numbered(self, number: int, folder: str | None) -> set[str]:
        """Episodes of a number, of a folder where the source has several."""
        found = self._numbers.get(number, set())
        if len(self._folders) < 2 or folder is None:
            return found
        ends = [name for name in self._folders if _ends_with(name, folder)]
        return found & set().union(*(self._folders[name] for name in ends))

    def _base_names(self) -> set[str]:
        return {name.rsplit("/", 1)[-1] for name in self._folders}

    def _read_receipts(self, dataset: Dataset) -> None:
        columns = ("episode_id", "locator", "source_file", "source_record")
        for episode_id, locator, file, record in (
            dataset.receipts.select(columns).collect().iter_rows()
        ):
            if episode_id not in self._rows:
                continue
            shard = _SHARD.search(file)
            if shard and record is not None:
                place = int(shard["number"]), record
                self._records[place].add(episode_id)
                if shard["split"]:
                    self._trained[place].add(episode_id)
            lerobot = _LEROBOT.match(file)
            number = lerobot and (lerobot["number"] or _last(locator))
            if lerobot and number:
                self._numbers[int(number)].add(episode_id)
                self._folders[lerobot["folder"] or ""].add(episode_id)


def _last(locator: str) -> str | None:
    found = _NUMBER.search(locator)
    return found[1] if found else None


def _ends_with(name: str, folder: str) -> bool:
    return name == folder or name.endswith("/" + folder) or folder.endswith("/" + name)


def _read_ids(path: Path) -> dict[str, str]:
    """Released id to episode_id, from JSON Lines.

    Raises:
        UsageError: The file cannot be read, or a line is no such pair.
    """

    class Pair(msgspec.Struct):
        id: str | int
        episode_id: str

    try:
        lines = msgspec.json.Decoder(Pair).decode_lines(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(
            parameter="ids",
            place=f"ids {path}",
            found=str(error),
            wanted='JSON Lines of {"id": ..., "episode_id": ...}',
        ) from error
    return {str(pair.id): pair.episode_id for pair in lines}
