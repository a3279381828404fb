"""Tables of words of shards: all that may be shown, where a stream finds it by arithmetic.

The rule of what may be shown, and of which run, is `finedata.store.text_policy`. Here its rows are
sorted and counted, so that an episode's number leads to its facts, and to the text that stands for
it. Episodes are taken as many at a time as have some hundred thousand rows, over the borders of
sets: memory does not grow with the datasets, and a corpus of many small sets is not read once for
each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from finedata.errors import UsageError
from finedata.schema.conform import conform
from finedata.schema.tables.all import arrow_schema
from finedata.shard.files import file_digest, write_arrow
from finedata.shard.mapped import MappedTable
from finedata.store.tables.table import REVISED
from finedata.store.text_policy import chosen_runs, judged_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from finedata.schema.documents import FileDigest
    from finedata.store.dataset import Dataset

# Every lot of episodes costs a pass over all rows, so lots are large; what is made of them (Arrow,
# checked rows, batches of a file) goes through memory in small pieces.
_ROWS_AT_ONCE = 200_000
_PIECE_ROWS = 50_000
_ORDER = {
    "instructions": ("kind", "order", "instruction_id"),
    "facts": ("start_frame", "dimension", "fact_id"),
    "traces": ("frame_index", "trace_id"),
}
# Beside them where a sample is an episode: what an annotator learns to write of it.
_STEPS = {"steps": ("start_frame", "step_index", "step_id")}
_TRACES_RUN = "trace_run_id"
_STEPS_RUN = "step_run_id"


@dataclass(frozen=True, slots=True)
class WrittenWords:
    """What `write_words` wrote.

    Attributes:
        files: The tables, with paths relative to their folder.
        rows: Table to its number of rows.
        left_out: See `TextRevision`.
        runs: Runs of annotation that are in it, sorted.
    """

    files: list[FileDigest]
    rows: dict[str, int]
    left_out: dict[str, int]
    runs: list[str]


def write_words(
    folder: Path,
    datasets: Sequence[Dataset],
    sets: Mapping[str, Sequence[str] | pl.Series],
    *,
    before: Path | None = None,
    steps: bool = False,
) -> WrittenWords:
    """Write the tables of words of each set into `<folder>/<set>/`.

    Args:
        folder: Where.
        datasets: Where the episodes are.
        sets: Name to the ids of its episodes, in the order of their numbers.
        before: Folder of an earlier revision: words of episodes that no dataset has stay as there.
        steps: Write steps too.

    Returns:
        Counts over all sets.

    Raises:
        UsageError: The datasets have none of the episodes, or one twice; or one has no words in
            an earlier revision either.
        ConformError: A row does not conform.
        OutputError: The disk is full.
    """
    places = pl.concat(
        [
            pl.DataFrame({"episode_id": pl.Series(ids, dtype=pl.String)}).select(
                "episode_id",
                pl.lit(number, pl.Int32).alias("set"),
                pl.int_range(pl.len(), dtype=pl.Int32).alias("episode"),
            )
            for number, ids in enumerate(sets.values())
        ]
        or [_no_places()]
    )
    kept = _not_there(places["episode_id"], datasets)
    earlier = _earlier_places(before, kept)
    order = _ORDER | (_STEPS if steps else {})
    judged = {table: _judged(datasets, table) for table in order}
    if before is not None and earlier.height:
        for table, rows_of_datasets in judged.items():
            others = rows_of_datasets.join(earlier.lazy(), on="episode_id", how="anti")
            judged[table] = pl.concat([others, _earlier_rows(before, earlier, table)])
    runs = _chosen(judged, places)
    files: list[FileDigest] = []
    rows: dict[str, int] = {}
    left_out: dict[str, int] = {}
    of_set = {name: places.filter(set=number) for number, name in enumerate(sets)}
    columns = {name: {"episode_id": part["episode_id"]} for name, part in of_set.items()}
    used: set[str] = set()
    for table in order:
        named = f"text_{table}"
        rows[named] = 0
        counts = _counts(judged[table], places)
        # At least one, at most all.
        at_once = -(-places.height * _ROWS_AT_ONCE // max(sum(counts.values()), _ROWS_AT_ONCE))
        blocks = (places.slice(start, at_once) for start in range(0, places.height, at_once))
        pieces = _pieces(judged[table], runs, blocks, table=table, sets=list(sets))
        for name, group in groupby(pieces, key=itemgetter(0)):
            summary = _Summary(of_set[name].height)
            path = folder / name / f"{table}.arrow"
            told = (summary.add(piece) for _, piece in group)
            write_arrow(path, told, schema=arrow_schema(named))
            files.append(file_digest(folder, path))
            rows[named] += summary.num_rows
            used |= summary.runs
            columns[name] |= summary.columns(table)
        counts["another_run"] = counts.pop(None, 0) - rows[named]
        left_out |= {f"{table}: {reason}": n for reason, n in sorted(counts.items()) if n}
    rows["text_episodes"] = places.height
    schema = arrow_schema("text_episodes")
    for name, part in of_set.items():
        of_runs = part.join(runs, on="episode_id", how="left", maintain_order="left")
        found = pl.DataFrame(columns[name]).with_columns(of_runs["run_id", "trace_run_id"])
        piece = _arrow(found.select(schema.names), "text_episodes")
        path = folder / name / "episodes.arrow"
        write_arrow(path, [piece], schema=schema)
        files.append(file_digest(folder, path))
    return WrittenWords(
        files=files, rows=dict(sorted(rows.items())), left_out=left_out, runs=sorted(used)
    )


def _no_places() -> pl.DataFrame:
    return pl.DataFrame(schema={"episode_id": pl.String, "set": pl.Int32, "episode": pl.Int32})


def _not_there(ids: pl.Series, datasets: Sequence[Dataset]) -> pl.Series:
    """Those of the episodes that are in no dataset."""
    known = pl.concat([dataset.episodes.select("episode_id") for dataset in datasets]).collect()
    known = known.filter(pl.col("episode_id").is_in(ids.implode()))["episode_id"]
    twice = known.filter(known.is_duplicated()).unique().sort()
    if len(twice) or not len(known):
        raise UsageError(
            place=f"episode {twice[0]}" if len(twice) else "the datasets given",
            found="it in two datasets" if len(twice) else "no episode of the shards",
            wanted="datasets that were sharded, each once",
            next_command="finedata info SHARDS  # which they were",
        )
    return ids.filter(~ids.is_in(known.implode()))


def _earlier_places(before: Path | None, kept: pl.Series) -> pl.DataFrame:
    """`episode_id`, `folder` (of its set) and `episode` of what is taken from a revision before."""
    found: list[pl.DataFrame] = [
        pl.DataFrame(schema={"episode_id": pl.String, "folder": pl.String, "episode": pl.Int32})
    ]
    # By its own sets: an episode may have moved to another one since.
    for path in sorted(before.glob("*/episodes.arrow")) if before and len(kept) else ():
        ids = column(MappedTable(path, name="text_episodes"), "episode_id")
        of_set = pl.DataFrame({"episode_id": ids, "folder": path.parent.name}).with_columns(
            episode=pl.int_range(pl.len(), dtype=pl.Int32)
        )
        found.append(of_set.filter(pl.col("episode_id").is_in(kept.implode())))
    places = pl.concat(found)
    missing = kept.filter(~kept.is_in(places["episode_id"].implode())).sort()
    if len(missing):
        raise UsageError(
            place=f"episode {missing[0]} of the shards",
            found=f"it in none of the datasets given, as {len(missing)} episodes are",
            wanted="the datasets that were sharded: words of theirs are in no revision yet",
            next_command="finedata info SHARDS  # which they were",
        )
    return places


def _earlier_rows(before: Path, places: pl.DataFrame, table: str) -> pl.LazyFrame:
    """Rows of a revision before, in the form of `_judged`."""
    named = f"text_{table}"
    frames: list[pl.LazyFrame] = []
    for name in places["folder"].unique().sort():
        path = before / name / f"{table}.arrow"
        if table in _STEPS and not path.is_file():
            continue  # words of before steps were among them
        MappedTable(path, name=named)  # a damaged file is named as every other
        frames.append(
            pl.scan_ipc(path)
            .join(places.lazy().filter(folder=name), on="episode", how="inner")
            .with_columns(left_out=pl.lit(None, pl.String))
            .select(_judged_columns(table))
        )
    if frames:
        return pl.concat(frames)
    nothing = _polars(arrow_schema(named).empty_table()).with_columns(
        episode_id=pl.lit(None, pl.String), left_out=pl.lit(None, pl.String)
    )
    return nothing.lazy().select(_judged_columns(table))


def _judged_columns(table: str) -> list[str]:
    names = [name for name in arrow_schema(f"text_{table}").names if name != "episode"]
    return ["episode_id", "left_out", *names]


def _judged(datasets: Sequence[Dataset], table: str) -> pl.LazyFrame:
    """Rows of all datasets with `policy`, `left_out` and `reviewer`."""
    frames: list[pl.LazyFrame] = []
    for dataset in datasets:
        last = (
            dataset.table("reviews")
            .filter(pl.col("target_table") == table)
            .sort("decided_at", "review_id")
            .group_by("target_id", maintain_order=True)
            .agg(pl.col("reviewer").last())
        )
        frames.append(
            _told_once(judged_rows(dataset, table), table)
            .join(last, left_on=REVISED[table], right_on="target_id", how="left")
            .select(_judged_columns(table))
        )
    return pl.concat(frames)


def _told_once(rows: pl.LazyFrame, table: str) -> pl.LazyFrame:
    """Without steps that became part of another."""
    return rows.filter(pl.col("merged_into").is_null()) if table == "steps" else rows


def _chosen(judged: Mapping[str, pl.LazyFrame], places: pl.DataFrame) -> pl.DataFrame:
    """Of each episode, the run of its facts and fine-grained text, of its traces, of its steps."""
    said_by = ("episode_id", "run_id", "review_status", "origin")
    ids = places.lazy().select("episode_id")
    passing = {
        table: rows.filter(pl.col("left_out").is_null()).join(ids, on="episode_id", how="semi")
        for table, rows in judged.items()
    }
    fine = passing["instructions"].filter(pl.col("kind") == "fine_grained").select(said_by)
    both = pl.concat([fine, passing["facts"].select(said_by)])
    run = ["episode_id", "run_id"]
    # Runs that have such a text, where one has; else all.
    matters = both.join(fine.select(run), on=run, how="semi")
    others = both.join(fine.select("episode_id"), on="episode_id", how="anti")
    words = chosen_runs(pl.concat([matters, others]))
    others = {_TRACES_RUN: passing["traces"]}
    if "steps" in passing:
        others[_STEPS_RUN] = passing["steps"].filter(pl.col("origin") != "source")
    for name, rows in others.items():
        runs = chosen_runs(rows).rename({"run_id": name})
        words = words.join(runs, on="episode_id", how="full", coalesce=True)
    return words.collect(engine="streaming")


def _pieces(
    judged: pl.LazyFrame,
    runs: pl.DataFrame,
    blocks: Iterable[pl.DataFrame],
    *,
    table: str,
    sets: Sequence[str],
) -> Iterator[tuple[str, pa.Table]]:
    """Names of sets and rows of theirs, in the order of the files; at least one piece a set."""
    passing = judged.filter(pl.col("left_out").is_null())
    of_table = {"traces": _TRACES_RUN, "steps": _STEPS_RUN}.get(table, "chosen_run")
    of_run = pl.col("run_id") == pl.col(of_table)
    if table == "instructions":
        of_run = (pl.col("kind") != "fine_grained") | of_run.fill_null(value=False)
    if table == "steps":
        of_run = (pl.col("origin") == "source") | of_run.fill_null(value=False)
    runs = runs.rename({"run_id": "chosen_run"})
    schema = arrow_schema(f"text_{table}")
    for block in blocks:
        known = block.join(runs, on="episode_id", how="left", maintain_order="left")
        # A condition on a column reaches the files' readers, a join does not: other episodes' words
        # are never made, in half the time and memory.
        of_block = pl.col("episode_id").is_in(block["episode_id"].implode())
        found = (
            passing.filter(of_block)
            .join(known.lazy(), on="episode_id", how="inner")
            .filter(of_run)
            .select("set", *schema.names)
            .sort("set", "episode", *(_ORDER | _STEPS)[table])
            .collect(engine="streaming")
        )
        of_set = cast("NDArray[np.int32]", found["set"].to_numpy())
        rows = found.drop("set")
        del found
        for number in cast("list[int]", block["set"].unique().sort().to_list()):
            begin, end = np.searchsorted(of_set, [number, number + 1]).tolist()
            for piece in _whole_episodes(rows.slice(begin, end - begin)):
                yield sets[number], _arrow(piece, f"text_{table}")


def _whole_episodes(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Rows in pieces that no episode is in two of; at least one, be it empty."""
    episode = cast("NDArray[np.int32]", rows["episode"].to_numpy())
    begin = 0
    while True:
        end = min(begin + _PIECE_ROWS, len(episode))
        if end > begin:
            end = int(cast("np.int64", np.searchsorted(episode, episode[end - 1], side="right")))
        yield rows.slice(begin, end - begin)
        begin = end
        if begin == len(episode):
            return


def _arrow(rows: pl.DataFrame, table: str) -> pa.Table:
    return conform(rows.to_arrow(compat_level=pl.CompatLevel.oldest()), table, cast=True)


class _Summary:
    """Where each episode's rows of one table of a set are, and which text is shown."""

    def __init__(self, episodes: int) -> None:
        self.num_rows = 0
        self.runs: set[str] = set()
        self._counts = np.zeros(episodes, np.int64)
        self._shown: list[pl.DataFrame] = []

    def add(self, piece: pa.Table) -> pa.Table:
        names = ["episode", "run_id"]
        fine = "instruction_id" in piece.column_names
        if fine:
            names += ["kind", "policy", "order", "instruction_id"]
        rows = _polars(piece.select(names))
        self._counts += np.bincount(rows["episode"].to_numpy(), minlength=len(self._counts))
        self.runs.update(rows["run_id"].unique())
        if fine:
            shown = (
                rows.with_columns(fine_grained=pl.int_range(pl.len()) + self.num_rows)
                .filter(pl.col("kind") == "fine_grained")
                .sort("episode", pl.col("policy") != "reviewed", "order", "instruction_id")
                .group_by("episode", maintain_order=True)
                .first()
            )
            self._shown.append(shown.select("episode", "fine_grained", "policy"))
        self.num_rows += piece.num_rows
        return piece

    def columns(self, table: str) -> dict[str, Any]:
        thing = table.removesuffix("s")
        found: dict[str, Any] = {
            f"first_{thing}": np.cumsum(self._counts) - self._counts,
            table: self._counts,
        }
        if self._shown:
            every = pl.DataFrame({"episode": pl.int_range(len(self._counts), eager=True)})
            shown = every.join(
                pl.concat(self._shown).cast({"episode": pl.Int64}),
                on="episode",
                how="left",
                maintain_order="left",
            )
            found |= {name: shown[name] for name in ("fine_grained", "policy")}
        return found


def _counts(judged: pl.LazyFrame, places: pl.DataFrame) -> dict[str | None, int]:
    """Why rows of these episodes are left out, to how many are; None: they pass."""
    counts = (
        judged.join(places.lazy().select("episode_id"), on="episode_id", how="semi")
        .group_by("left_out")
        .agg(pl.len())
        .collect(engine="streaming")
    )
    return dict(counts.iter_rows())


def column(table: MappedTable, name: str) -> pl.Series:
    """All of a column of a mapped table."""
    return _polars(table.rows(0, len(table), columns=[name]))[name]


def _polars(table: pa.Table) -> pl.DataFrame:
    return cast("pl.DataFrame", pl.from_arrow(table))  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
