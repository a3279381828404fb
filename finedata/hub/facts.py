"""What a card tells, counted from the tables: where episodes went, facts by dimension, reviews."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from finedata.schema.dimension import DIMENSIONS

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset

_LOOKED_AT = ("accepted", "edited", "rejected")
# Who wrote rows, in the Hub's closed words for it.
_CREATORS = {
    "human": "expert-generated",
    "source": "found",
    "teacher": "machine-generated",
    "kinematic": "machine-generated",
    "assembled": "machine-generated",
}


@dataclass(frozen=True, slots=True)
class DimensionCounts:
    """Facts of one of the ten dimensions.

    Attributes:
        dimension: Its name.
        facts: How many.
        confirmed: Of them, by the motion.
        contradicted: By the motion.
        untestable: Of which the motion says nothing.
        reviewed: That a person accepted, edited or rejected.
        accepted: Of these, as they were.
    """

    dimension: str
    facts: int
    confirmed: int
    contradicted: int
    untestable: int
    reviewed: int
    accepted: int


@dataclass(frozen=True, slots=True)
class AnnotationCounts:
    """What words there are.

    Attributes:
        rows: Table to rows.
        dimensions: Facts by dimension, all ten, in their order.
        creators: Who wrote them, in the Hub's words, sorted.
        origins: Table to origin to rows.
    """

    rows: dict[str, int]
    dimensions: list[DimensionCounts]
    creators: list[str]
    origins: dict[str, dict[str, int]]


def count_funnel(dataset: Dataset) -> dict[str, int]:
    """Episodes that each step left, by the step; steps that have not run are not in it."""
    counts = dataset.info.counts
    found = {
        "found in the sources": counts["found"],
        "written": counts["written"],
    }
    verdicts = dict(dataset.verdicts.group_by("verdict").len().collect().iter_rows())
    if verdicts:
        found["let through by the gate"] = counts["written"] - verdicts.get("fail", 0)
    for name, table in (("clustered", "clusters"), ("representatives", "representatives")):
        rows = dataset.table(table).select(pl.col("episode_id").n_unique()).collect().item()
        if rows:
            found[name] = rows
    described = dataset.facts.select(pl.col("episode_id").n_unique()).collect().item()
    if described:
        found["with fine-grained facts"] = described
    return found


def count_annotations(dataset: Dataset) -> AnnotationCounts:
    """Count steps, facts, traces and instructions, and who wrote them."""
    rows: dict[str, int] = {}
    origins: dict[str, dict[str, int]] = {}
    for table in ("steps", "facts", "traces", "instructions"):
        by = dataset.table(table).group_by("origin").len().sort("origin").collect()
        if by.height:
            origins[table] = dict(by.iter_rows())
            rows[table] = sum(origins[table].values())
    looked_at = pl.col("review_status").is_in(_LOOKED_AT)
    verdict = pl.col("kinematic_verdict")
    counted = (
        dataset.facts.group_by("dimension")
        .agg(
            facts=pl.len(),
            confirmed=(verdict == "confirmed").sum(),
            contradicted=(verdict == "contradicted").sum(),
            untestable=(verdict == "untestable").sum(),
            reviewed=looked_at.sum(),
            accepted=(pl.col("review_status") == "accepted").sum(),
        )
        .collect()
    )
    known = {row[0]: row for row in counted.iter_rows()}
    return AnnotationCounts(
        rows=rows,
        dimensions=[
            DimensionCounts(*known.get(name, (name, 0, 0, 0, 0, 0, 0))) for name in DIMENSIONS
        ],
        creators=sorted({_CREATORS[one] for table in origins.values() for one in table}),
        origins=origins,
    )
