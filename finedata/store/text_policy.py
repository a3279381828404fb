"""Which words of an episode may be shown: one rule for exports, shards and benchmarks.

A row passes `not_contradicted` unless a person rejected it or the motion contradicts it; it passes
`reviewed` if besides a person accepted, edited or wrote it. A fine-grained instruction is made of
facts, so it falls with any fact that it names, and passes `reviewed` only if a person looked at it
itself. Several runs may have annotated an episode; their rows are never mixed: of several runs one
with rows that a person accepted, edited or wrote goes before one without, a person's or teacher's
before the source's and the motion's, then the lower `run_id`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset

__all__ = ["chosen_runs", "judged_rows", "of_one_run", "passing_rows"]

_SEEN = pl.col("review_status").is_in(["accepted", "edited"]) | (pl.col("origin") == "human")
_MEASURED = pl.col("origin").is_in(["kinematic", "source"])
_REJECTED = pl.col("review_status") == "rejected"
_CONTRADICTED = pl.col("kinematic_verdict") == "contradicted"


def judged_rows(dataset: Dataset, table: str) -> pl.LazyFrame:
    """Rows of a table of annotations, each with the strictest policy that it passes.

    Args:
        dataset: The dataset.
        table: `facts`, `steps`, `traces` or `instructions`.

    Returns:
        The table's columns, `policy` (`reviewed` or `not_contradicted`; null where it passes none)
        and `left_out` (why it passes none: `rejected`, `contradicted` or, of an instruction,
        `fact_left_out`; else null).
    """
    rows = dataset.table(table)
    reason = pl.when(_REJECTED).then(pl.lit("rejected"))
    if table == "facts":
        reason = reason.when(_CONTRADICTED).then(pl.lit("contradicted"))
    if table == "instructions":
        bad = dataset.table("facts").filter(_REJECTED | _CONTRADICTED).select("fact_id")
        fallen = (
            rows.filter(pl.col("fact_ids").list.len() > 0)
            .select("instruction_id", fact_id="fact_ids")
            .explode("fact_id")
            .join(bad, on="fact_id", how="semi")
            .select("instruction_id", fallen=pl.lit(value=True))
            .unique("instruction_id")
        )
        rows = rows.join(fallen, on="instruction_id", how="left", maintain_order="left")
        reason = reason.when(pl.col("fallen")).then(pl.lit("fact_left_out"))
    policy = (
        pl.when(pl.col("left_out").is_null() & _SEEN)
        .then(pl.lit("reviewed"))
        .when(pl.col("left_out").is_null())
        .then(pl.lit("not_contradicted"))
    )
    judged = rows.with_columns(left_out=reason.otherwise(None)).with_columns(policy=policy)
    return judged.drop("fallen", strict=False)


def passing_rows(dataset: Dataset, table: str) -> pl.LazyFrame:
    """Rows of a table of annotations that pass a policy, with the strictest one they pass.

    Args:
        dataset: The dataset.
        table: `facts`, `steps`, `traces` or `instructions`.

    Returns:
        The table's columns and `policy`: `reviewed` or `not_contradicted`.
    """
    judged = judged_rows(dataset, table)
    return judged.filter(pl.col("left_out").is_null()).drop("left_out")


def chosen_runs(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The one run of each episode: `episode_id` and `run_id`.

    Args:
        rows: Rows that pass, with their provenance; of several tables where a run is chosen for
            all of them.
    """
    return (
        rows.group_by("episode_id", "run_id")
        .agg(_SEEN.any().alias("seen"), _MEASURED.all().alias("measured"))
        .sort("episode_id", "seen", "measured", "run_id", descending=[False, True, False, False])
        .group_by("episode_id", maintain_order=True)
        .first()
        .select("episode_id", "run_id")
    )


def of_one_run(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Of each episode, the rows of its one run; in no order.

    Args:
        rows: Rows that pass, with their provenance.
    """
    return rows.join(chosen_runs(rows), on=["episode_id", "run_id"], how="semi")
