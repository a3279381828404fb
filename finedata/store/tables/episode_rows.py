"""Rows of single episodes out of tables of a million: where they lie is learnt once, then kept.

Ids are hashes, so no statistics of a Parquet file say where an episode's rows are, and to look for
them is to read a column of a million ids for every page. That column is read once for every file;
what stays in memory is where the stretches of each episode begin, a few bytes each. Files are
only ever added, and one that grew or went is told by its size and time of change. Of the episodes
that were shown last the rows themselves are kept too: a decision about a fact on a screen reads
no file.

A dataset that lies elsewhere is not indexed: its rows are asked for as they are needed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from finedata.schema.tables.all import arrow_schema
from finedata.store.damaged import reading
from finedata.store.remote.path import readable, remote_store
from finedata.store.tables.table import REVISED, annotation_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from finedata.store.dataset import Dataset
    from finedata.store.episode import Episode

__all__ = [
    "EpisodeRows",
    "episodes_saying",
    "newest_facts",
    "newest_of",
    "text_key",
    "text_keys",
    "unjudged_of",
]

_MOST_KEPT = 96
_BATCH_ROWS = 1 << 14
_Stamp = tuple[str, int, int]
_compute: Any = pc  # its stub is partly untyped


class _Runs(NamedTuple):
    """Stretches of rows of one episode each, sorted by the episode's hash."""

    episode: NDArray[np.uint64]
    start: NDArray[np.uint32]
    rows: NDArray[np.uint32]


class EpisodeRows:
    """Episodes and their annotations, for all threads of a server.

    Args:
        dataset: The dataset.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._remote = remote_store(dataset.root) is not None
        self._guard = threading.RLock()
        self._runs: dict[_Stamp, _Runs] = {}
        self._kept: OrderedDict[tuple[str, str], tuple[Any, pl.DataFrame]] = OrderedDict()
        self._episodes: OrderedDict[str, Episode] = OrderedDict()

    def episode(self, episode_id: str) -> Episode:
        """An episode.

        Raises:
            UsageError: There is none of that name.
        """
        with self._guard:
            found = self._episodes.get(episode_id)
            if found is None:
                found = self._episodes[episode_id] = self._dataset.episode(episode_id)
            self._episodes.move_to_end(episode_id)
            while len(self._episodes) > _MOST_KEPT:
                self._episodes.popitem(last=False)
            return found

    def history(self, table: str, episode_id: str) -> pl.DataFrame:
        """An episode's rows of a table of annotations, every revision of each.

        Raises:
            ConformError: A file is damaged.
        """
        if self._remote:
            of_it = pl.col("episode_id") == episode_id
            return self._dataset.history(table).filter(of_it).collect()
        with self._guard:
            files = {_stamp(path): path for path in annotation_files(self._dataset.root, table)}
            key, stamps = (table, episode_id), tuple(files)
            known = self._kept.get(key)
            if known is None or known[0] != stamps:
                known = self._kept[key] = (stamps, self._read(table, episode_id, files))
            self._kept.move_to_end(key)
            while len(self._kept) > len(REVISED) * _MOST_KEPT:
                self._kept.popitem(last=False)
            return known[1]

    def newest(self, table: str, episode_id: str) -> pl.DataFrame:
        """An episode's rows of a table of annotations, the newest revision of each."""
        return newest_of(table, self.history(table, episode_id))

    def _read(self, table: str, episode_id: str, files: dict[_Stamp, Path]) -> pl.DataFrame:
        name = text_key(episode_id)
        found = [self._dataset.history(table).head(0).collect()]
        for stamp, path in files.items():
            runs = self._runs.get(stamp)
            if runs is None:
                runs = self._runs[stamp] = _runs_of(path)
            first = np.searchsorted(runs.episode, name, "left")
            last = np.searchsorted(runs.episode, name, "right")
            for k in range(int(first), int(last)):
                scanned = pl.scan_parquet(path).slice(int(runs.start[k]), int(runs.rows[k]))
                found.append(scanned.collect())
        whole = pl.concat(found)
        own = whole.filter(pl.col("episode_id") == episode_id)  # two ids may share a hash
        # made anew: a few rows of a file would keep all the texts of its pages in memory
        return pl.DataFrame(own.to_dicts(), schema=own.schema)


def newest_facts(dataset: Dataset, *columns: str) -> dict[str, NDArray[Any]]:
    """Some columns of the newest revision of every fact, in their order, as small numbers.

    A million facts as they are stored would be a gigabyte. Texts are read as the dictionaries that
    Parquet holds, so no more than a few thousand of them are ever there at once.

    Args:
        dataset: The dataset.
        columns: Which; `revision` is read besides.

    Returns:
        Column to its values: of `fact_id` the bytes of the names, of other texts their keys (see
        `text_key`), of numbers the numbers. None of them has nulls.

    Raises:
        ConformError: A file is damaged.
    """
    schema: Any = arrow_schema("facts")
    names = list(dict.fromkeys([*columns, "fact_id", "revision"]))
    texts = [name for name in names if schema.field(name).type == pa.string()]
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    for path in annotation_files(dataset.root, "facts"):
        for batch in _batches(path, names, texts):
            for name in names:
                values: Any = batch.column(batch.schema.get_field_index(name))
                found[name].append(_as_numbers(name, values, text=name in texts))
    empty = {name: np.zeros(0, np.uint64 if name in texts else np.int32) for name in names}
    rows = {name: np.concatenate(found.pop(name) or [empty[name]]) for name in names}
    pa.default_memory_pool().release_unused()
    if len(rows["revision"]) and rows["revision"].max():
        order = np.lexsort((rows["revision"], rows["fact_id"]))
        ordered = rows["fact_id"][order]
        newest = np.sort(order[np.append(ordered[1:] != ordered[:-1], [True])])
        rows = {name: values[newest] for name, values in rows.items()}
    return rows


def episodes_saying(dataset: Dataset, words: str) -> list[str]:
    """Episodes of which the newest revision of a fact holds these words, in any letters.

    Raises:
        ConformError: A file is damaged.
    """
    found: dict[tuple[str, int], str] = {}  # fact and revision -> episode
    newest: dict[str, int] = {}
    columns = ["fact_id", "episode_id", "revision", "text"]
    for path in annotation_files(dataset.root, "facts"):
        for batch in _batches(path, columns, []):
            text, revision = (
                batch.column(batch.schema.get_field_index(n)) for n in ("text", "revision")
            )
            for row in _rows_where(batch, _compute.match_substring(text, words, ignore_case=True)):
                found[row["fact_id"], row["revision"]] = row["episode_id"]
            for row in _rows_where(batch, _compute.greater(revision, 0)):
                newest[row["fact_id"]] = max(newest.get(row["fact_id"], 0), row["revision"])
    held = [one for (fact, n), one in found.items() if newest.get(fact, 0) <= n]
    return list(dict.fromkeys(held))


def _rows_where(batch: Any, mask: Any) -> list[dict[str, Any]]:
    return batch.filter(mask).drop_columns(["text"]).to_pylist()


def text_key(text: str) -> np.uint64:
    """The number that stands for a text in `newest_facts`."""
    return np.uint64(pl.Series([text]).hash(0)[0])


def text_keys(texts: pl.Series) -> NDArray[np.uint64]:
    """The numbers that stand for texts in `newest_facts`."""
    return texts.hash(0).to_numpy()


def _as_numbers(name: str, values: Any, *, text: bool) -> NDArray[Any]:
    if not text:
        return values.to_numpy(zero_copy_only=False)
    if name == "fact_id":
        return np.array([one.encode() for one in values.dictionary_decode().to_pylist()], "S")
    known = pl.Series(values.dictionary.to_pylist(), dtype=pl.String)
    return text_keys(known)[values.indices.to_numpy(zero_copy_only=False)]


def _batches(path: Path, columns: list[str], texts: list[str]) -> Iterator[Any]:
    with (
        reading(path),
        pq.ParquetFile(readable(path), read_dictionary=texts) as file,  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    ):
        opened = cast("Any", file)
        yield from opened.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False)


def newest_of(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """The newest revision of each row."""
    if not rows.height or not rows["revision"].max():
        return rows
    key = REVISED[table]
    newest = pl.col("revision") == pl.col("revision").max().over(key)
    return rows.filter(newest).unique(key, keep="last", maintain_order=True)


def unjudged_of(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """The newest revision of each row before any person had said anything about it."""
    judged = pl.col("review_status") != "unreviewed"
    first = pl.when(judged).then("revision").min().over(REVISED[table])
    rows = rows.filter(first.is_null() | (pl.col("revision") < first))
    return newest_of(table, rows.filter(pl.col("review_status") == "unreviewed"))


def _stamp(path: Path) -> _Stamp:
    known = path.stat()
    return path.name, known.st_size, known.st_mtime_ns


def _runs_of(path: Path) -> _Runs:
    column = ["episode_id"]
    found = [
        _as_numbers("episode_id", batch.column(0), text=True)
        for batch in _batches(path, column, column)
    ]
    values = np.concatenate(found) if found else np.zeros(0, np.uint64)
    if not len(values):
        return _Runs(values, *(np.zeros(0, np.uint32) for _ in range(2)))
    start = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    rows = np.diff(np.append(start, len(values)))
    order = np.argsort(values[start], kind="stable")
    return _Runs(
        values[start][order], start[order].astype(np.uint32), rows[order].astype(np.uint32)
    )
