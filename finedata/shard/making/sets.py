"""Which set every episode belongs to: its source, part, tier and side, decided before anything.

A held-out episode is in no training file, so a leak needs a bug here and in no filter later. What
the gate found to be one recording twice stays together: the pair is linked, and a linked group is
held out as one. Under `task`, an episode is linked to its task as well. The side of a group comes
from a hash of its name and of nothing else, so neither a seed nor episodes that are added later
move anybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from finedata.errors import UsageError
from finedata.schema.identity import task_id
from finedata.shard.order.permute import derive_key
from finedata.store.merge.licence import check_licences

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from finedata.shard.making.settings import ShardSettings
    from finedata.store.dataset import Dataset

__all__ = ["SetKey", "Sorted", "leaks", "set_names", "sort_episodes"]

TIERS = ("rep", "rest", "unlabelled", "failed")
_RECEIPT = ("source_file", "source_record", "byte_offset", "byte_length", "source_sha256")
_HASH_RANGE = 1 << 64


@dataclass(frozen=True, slots=True, order=True)
class SetKey:
    """What makes a set."""

    source: str
    part: str
    tier: str
    side: str


@dataclass(frozen=True, slots=True)
class Sorted:
    """Episodes of some datasets, each with its tier and side.

    Attributes:
        rows: Columns of `episodes` (without statistics), those of `shard_episodes`, and `dataset`
            (its place in the list), `tier`, `side`, `group` (what is held out together).
        left_out: Reason to how many episodes are in no set.
    """

    rows: pl.DataFrame
    left_out: dict[str, int]


def sort_episodes(
    datasets: Sequence[Dataset],
    settings: ShardSettings,
    *,
    allow_mixed_licences: bool = False,
    known_licences: Sequence[tuple[str, str]] = (),
    known_sides: Mapping[str, str] | None = None,
) -> Sorted:
    """Give every episode its tier and side.

    Args:
        datasets: Finished datasets with gate and representatives.
        settings: What was asked for.
        allow_mixed_licences: Whether to put together what `licence_conflicts` would refuse.
        known_licences: Source and licence of what is in the shards already.
        known_sides: Episodes that are in shards already, and their sides: they keep them, and what
            is linked to them follows.

    Raises:
        UsageError: A dataset without gate or representatives, an episode in two datasets, licences
            that do not go together, one part in two forms, a condition that is wrong, or a held-out
            list of which no id is there.
    """
    for dataset in datasets:
        _check_curated(dataset)
    _check_parts(datasets)
    # A join promises no order, and the errors below name the first of what they found.
    rows = pl.concat(
        [_read(dataset, number) for number, dataset in enumerate(datasets)], how="diagonal_relaxed"
    ).sort("episode_id", "dataset")
    _check_ids(rows, datasets)
    if not allow_mixed_licences and (len(datasets) > 1 or known_licences):
        check_licences(
            (str(source), str(licence))
            for source, licence in (
                *rows.select("source", "licence").unique().iter_rows(),
                *known_licences,
            )
        )
    rows = rows.with_columns(
        tier=pl.when(pl.col("verdict") == "fail")
        .then(pl.lit("failed"))
        .when(pl.col("task") == "")
        .then(pl.lit("unlabelled"))
        .when(pl.col("rank").is_not_null())
        .then(pl.lit("rep"))
        .otherwise(pl.lit("rest"))
    )
    rows = _with_sides(rows, settings, known_sides or {})
    return _selected(rows, datasets, settings)


def leaks(rows: pl.DataFrame, ids: Iterable[str]) -> list[str]:
    """Training episodes that a list of held-out ids names, or that are copies of one it names.

    Args:
        rows: Of `Sorted`.
        ids: Ids of episodes or tasks, or instructions.
    """
    named = set(ids)
    tasks = {found for one in named if (found := task_id(one))} | named
    wanted = rows.filter(
        pl.col("episode_id").is_in(list(named)) | pl.col("task_id").is_in(list(tasks))
    )
    groups = wanted["group"].unique().to_list()
    found = rows.filter((pl.col("side") == "train") & pl.col("group").is_in(groups))
    by_name = wanted.filter(pl.col("side") == "train")["episode_id"].to_list()
    return sorted({*found["episode_id"].to_list(), *by_name})


def set_names(
    keys: Iterable[SetKey], *, known: Mapping[SetKey, str] | None = None
) -> dict[SetKey, str]:
    """A name for each set, unique; sets that are there already keep theirs."""
    names = dict(known or {})
    taken = set(names.values())
    for key in sorted(set(keys) - set(names)):
        base = "-".join(_slug(text) for text in (key.source, key.part, key.tier, key.side))
        name, number = base, 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        names[key] = name
        taken.add(name)
    return names


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-") or "x"


def _check_curated(dataset: Dataset) -> None:
    for table, verb in (("gate", "gate"), ("representatives", "cluster")):
        if not (dataset.root / "curation" / f"{table}.parquet").is_file():
            raise UsageError(
                place=str(dataset.root),
                found=f"no table {table}",
                wanted="a dataset that was gated and clustered: tiers come from there",
                next_command=f"finedata {verb} {dataset.root}",
            )


def _check_parts(datasets: Sequence[Dataset]) -> None:
    """Refuse two datasets that call two things by one source and part."""
    seen: dict[tuple[str, str], tuple[int, object]] = {}
    for number, dataset in enumerate(datasets):
        for part in dataset.parts:
            shape = (part.embodiment, part.fps, dataset.features(part.name))
            for source in dataset.info.sources:
                first, known = seen.setdefault((source.name, part.name), (number, shape))
                if known != shape:
                    raise UsageError(
                        place=f"part {part.name} of {source.name}",
                        found=f"two forms of it, in {datasets[first].root} and {dataset.root}",
                        wanted="one set of features, shapes and rate for each source and part",
                        next_command=f"finedata merge {datasets[first].root} {dataset.root} "
                        "--out DIR  # gives them names of their own",
                    )


def _read(dataset: Dataset, number: int) -> pl.DataFrame:
    names = dataset.episodes.collect_schema().names()
    rows = dataset.episodes.select(name for name in names if not name.startswith("stats/"))
    for beside in (
        dataset.table("receipts").select("episode_id", "flags", *_RECEIPT),
        dataset.table("gate").select("episode_id", "verdict", "duplicate_of", gate_score="score"),
        dataset.table("clusters").select("episode_id", "cluster_id"),
        dataset.table("representatives").select("episode_id", "rank"),
    ):
        rows = rows.join(beside, on="episode_id", how="left")
    return rows.with_columns(dataset=pl.lit(number, pl.Int32)).collect()


def _check_ids(rows: pl.DataFrame, datasets: Sequence[Dataset]) -> None:
    """Refuse one id twice, ids that differ in case only, and episodes without a verdict."""
    lower = rows.select("episode_id", "dataset", key=pl.col("episode_id").str.to_lowercase())
    twice = lower.filter(pl.col("key").is_duplicated()).sort("key", "dataset", "episode_id")
    if twice.height:
        (first, one, _), (second, other, _) = twice.rows()[:2]
        raise UsageError(
            place=f"episode {first}",
            found=f"it in {datasets[int(one)].root}, and {second} in {datasets[int(other)].root}",
            wanted="every episode once, and no two ids that differ in case only",
            next_command=f"finedata export {datasets[int(other)].root} --out DIR --where "
            f"\"episode_id not in ('{second}')\"",
        )
    ungated = rows.filter(pl.col("verdict").is_null())
    if ungated.height:
        first = ungated.row(0, named=True)
        root = datasets[int(first["dataset"])].root
        raise UsageError(
            place=f"episode {first['episode_id']} of {root}",
            found=f"no verdict of it and of {ungated.height - 1} others",
            wanted="every episode gated",
            next_command=f"finedata gate {root}",
        )


def _with_sides(
    rows: pl.DataFrame, settings: ShardSettings, known: Mapping[str, str]
) -> pl.DataFrame:
    groups = _groups(rows, by_task=settings.held_out_by == "task")
    rows = rows.with_columns(group=pl.Series(groups, dtype=pl.String))
    out = _held_out_groups(rows, settings)
    fixed: dict[str, str] = {}
    for episode, group in zip(rows["episode_id"], rows["group"], strict=True):
        side = known.get(episode)
        if side is None:
            continue
        if fixed.setdefault(group, side) != side:
            raise UsageError(
                place=f"episode {episode}",
                found="copies of it, or others of its task, on both sides of the shards",
                wanted="what is linked on one side",
                next_command="make the shards anew",
            )
    sides = [fixed.get(group, "heldout" if group in out else "train") for group in rows["group"]]
    return rows.with_columns(side=pl.Series(sides, dtype=pl.String))


def _groups(rows: pl.DataFrame, *, by_task: bool) -> list[str]:
    """Of each row, the name of the group that is held out as one: linked episodes and tasks."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while (above := parent.get(node, node)) != node:
            parent[node] = parent.get(above, above)
            node = above
        return node

    def link(one: str, other: str) -> None:
        # The smaller name is on top, so a group's name does not depend on the order of rows.
        low, high = sorted((root(one), root(other)))
        if low != high:
            parent[high] = low

    columns = rows.select("episode_id", "duplicate_of", "task_id")
    for episode, duplicate_of, task in columns.iter_rows():
        if duplicate_of is not None:
            link(episode, duplicate_of)
        if by_task and task is not None:
            # Sorted before every episode id, which begins with a letter or digit.
            link(f" {task}", episode)
    return [root(episode) for episode in rows["episode_id"]]


def _held_out_groups(rows: pl.DataFrame, settings: ShardSettings) -> set[str]:
    names = rows["group"].unique()
    if not settings.held_out_ids:
        limit = settings.share * _HASH_RANGE
        return {
            name for name in names if limit and derive_key("finedata.heldout", name.strip()) < limit
        }
    listed = set(settings.held_out_ids)
    column = "episode_id"
    if settings.held_out_by == "task":
        column = "task_id"
        listed |= {found for one in listed if (found := task_id(one))}
    found = rows.filter(pl.col(column).is_in(list(listed)))
    if not found.height:
        raise UsageError(
            place="held_out",
            found=f"{len(settings.held_out_ids)} ids, none of which is a {column} here",
            wanted=f"ids of {settings.held_out_by}s of these datasets, one a line",
        )
    return set(found["group"])


def _selected(rows: pl.DataFrame, datasets: Sequence[Dataset], settings: ShardSettings) -> Sorted:
    left_out: dict[str, int] = {}

    def keep(rows: pl.DataFrame, condition: Any, reason: str) -> pl.DataFrame:
        kept = rows.filter(condition)
        if kept.height < rows.height:
            left_out[reason] = rows.height - kept.height
        return kept

    if settings.where.strip():
        wanted = [one for dataset in datasets for one in dataset.episode_ids_where(settings.where)]
        rows = keep(rows, pl.col("episode_id").is_in(wanted), "where")
    if not settings.with_failed:
        for tier in ("failed", "unlabelled"):
            rows = keep(rows, pl.col("tier") != tier, tier)
    # Known since the conversion; a picture that cannot be shown must not be found out in training.
    flagged = pl.col("flags").list.contains("undecodable_picture").fill_null(value=False)
    rows = keep(rows, ~flagged, "undecodable_picture")
    if not rows.height:
        raise UsageError(
            place="the episodes to shard",
            found=f"none; left out: {left_out or 'none, as there is none'}",
            wanted="at least one",
            next_command=f'finedata query {datasets[0].root} "select verdict, count(*) from gate '
            'group by verdict"',
        )
    return Sorted(rows, left_out)
