"""FineVLA's Table 1 for a dataset: how much is annotated, and how much finer it is than before.

One row a source and one for all. Words are counted between white space; the newest revision of an
annotation counts, and none that a person rejected.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from finedata.schema.dimension import DIMENSIONS
from finedata.store.dataset import open_dataset
from finedata.store.export.starvla import fine_grained_steps
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset

__all__ = ["DatasetSummary", "SourceSummary", "summarise"]


class SourceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table.

    Attributes:
        source: The source, or `all`.
        trajectories: Episodes.
        frames: Time steps.
        annotated: Episodes with a fine-grained instruction.
        steps: Steps of these instructions.
        raw_words: Mean words of the raw instruction, over episodes that have one.
        fine_words: Mean words of the fine-grained instruction, over episodes that have one.
        density: Fine words over raw words, over episodes that have both.
        verbs: Distinct first words of the primitive actions that facts and steps name.
        facts: Facts.
        facts_per_dimension: The same by dimension, all ten in canonical order.
    """

    source: str
    trajectories: int
    frames: int
    annotated: int
    steps: int
    raw_words: float | None
    fine_words: float | None
    density: float | None
    verbs: int
    facts: int
    facts_per_dimension: dict[str, int]


class DatasetSummary(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """The table; `all` is over every episode, not a mean of the sources."""

    sources: list[SourceSummary]
    all: SourceSummary


def summarise(root: str | Path) -> DatasetSummary:
    """Sum up a dataset.

    Raises:
        UsageError: There is no dataset.

    Example:
        >>> summarise("bridge").all.density  # doctest: +SKIP
    """
    dataset = open_dataset(Path(root))
    episodes = _episodes(dataset)
    facts = _facts(dataset, episodes)
    verbs = _verbs(dataset, episodes)
    names = episodes["source"].unique().sort().to_list()
    rows = [
        _row(
            name,
            episodes.filter(pl.col("source") == name),
            facts.filter(pl.col("source") == name),
            verbs.filter(pl.col("source") == name),
        )
        for name in names
    ]
    return DatasetSummary(sources=rows, all=_row("all", episodes, facts, verbs))


def _episodes(dataset: Dataset) -> pl.DataFrame:
    """Episodes with the words of both instructions; null where there is none."""
    episodes = dataset.episodes.select("episode_id", "source", "length", "task").collect()
    steps_of = fine_grained_steps(dataset, episode_ids=episodes["episode_id"].to_list())
    fine = pl.DataFrame(
        {
            "episode_id": list(steps_of),
            "steps": [len(steps) for steps in steps_of.values()],
            "fine": [sum(len(step.split()) for step in steps) for steps in steps_of.values()],
        },
        schema={"episode_id": pl.String, "steps": pl.Int64, "fine": pl.Int64},
    )
    words = pl.col("task").str.extract_all(r"\S+").list.len().cast(pl.Int64)
    raw = pl.when(words > 0).then(words).alias("raw")
    return episodes.with_columns(raw).join(fine, on="episode_id", how="left")


def _facts(dataset: Dataset, episodes: pl.DataFrame) -> pl.DataFrame:
    """Facts by source and dimension."""
    counted = (
        dataset.facts.filter(pl.col("review_status") != "rejected")
        .group_by("episode_id", "dimension")
        .agg(pl.len().alias("facts"))
        .collect()
    )
    sources = episodes.select("episode_id", "source")
    return counted.join(sources, on="episode_id").select("source", "dimension", "facts")


def _verbs(dataset: Dataset, episodes: pl.DataFrame) -> pl.DataFrame:
    """Distinct verbs by source."""
    of_facts = dataset.facts.filter(
        (pl.col("slot") == "primitive_action") & (pl.col("review_status") != "rejected")
    ).select("episode_id", pl.col("value").alias("verb"))
    of_steps = dataset.steps.filter(
        pl.col("primitive_action").is_not_null() & (pl.col("review_status") != "rejected")
    ).select("episode_id", pl.col("primitive_action").alias("verb"))
    first_word = pl.col("verb").str.to_lowercase().str.extract(r"([\p{L}-]+)")
    said = pl.concat([of_facts, of_steps]).with_columns(first_word).drop_nulls().unique().collect()
    sources = episodes.select("episode_id", "source")
    return said.join(sources, on="episode_id").select("source", "verb").unique()


def _row(
    name: str, episodes: pl.DataFrame, facts: pl.DataFrame, verbs: pl.DataFrame
) -> SourceSummary:
    both = episodes.filter(pl.col("raw").is_not_null() & pl.col("fine").is_not_null())
    by_dimension = dict(facts.group_by("dimension").agg(pl.col("facts").sum()).iter_rows())
    return SourceSummary(
        source=name,
        trajectories=episodes.height,
        frames=int(episodes["length"].sum()),
        annotated=episodes["fine"].count(),
        steps=int(episodes["steps"].sum()),
        raw_words=_mean(episodes["raw"]),
        fine_words=_mean(episodes["fine"]),
        density=int(both["fine"].sum()) / int(both["raw"].sum()) if both.height else None,
        verbs=verbs["verb"].n_unique(),
        facts=int(facts["facts"].sum()),
        facts_per_dimension={name: int(by_dimension.get(name, 0)) for name in DIMENSIONS},
    )


def _mean(values: pl.Series) -> float | None:
    known = values.drop_nulls()
    return float(known.sum()) / len(known) if len(known) else None
