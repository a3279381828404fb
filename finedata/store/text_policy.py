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

__all__ = ["of_one_run", "passing_rows"]

_SEEN = pl.col("review_status").is_in(["accepted", "edited"]) | (pl.col("origin") == "human")
_MEASURED = pl.col("origin").is_in(["kinematic", "source"])


def passing_rows(dataset: Dataset, table: str) -> pl.LazyFrame:
    """Rows of a table of annotations that pass a policy, with the strictest one they pass.

    Args:
        dataset: The dataset.
        table: `facts`, `steps`, `traces` or `instructions`.

    Returns:
        The table's columns and `policy`: `reviewed` or `not_contradicted`.
    """
    rows = dataset.table(table).filter(pl.col("review_status") != "rejected")
    if table == "facts":
        rows = rows.filter(pl.col("kinematic_verdict") != "contradicted")
    if table == "instructions":
        bad = (
            dataset.table("facts")
            .filter(
                (pl.col("review_status") == "rejected")
                | (pl.col("kinematic_verdict") == "contradicted")
            )
            .select("fact_id")
        )
        fallen = (
            rows.filter(pl.col("fact_ids").list.len() > 0)
            .select("instruction_id", fact_id="fact_ids")
            .explode("fact_id")
            .join(bad, on="fact_id", how="semi")
            .select("instruction_id")
            .unique()
        )
        rows = rows.join(fallen, on="instruction_id", how="anti", maintain_order="left")
    policy = pl.when(_SEEN).then(pl.lit("reviewed")).otherwise(pl.lit("not_contradicted"))
    return rows.with_columns(policy.alias("policy"))


def of_one_run(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Of each episode, the rows of its one run; in no order.

    Args:
        rows: Rows that pass, with their provenance.
    """
    runs = (
        rows.group_by("episode_id", "run_id")
        .agg(_SEEN.any().alias("seen"), _MEASURED.all().alias("measured"))
        .sort("episode_id", "seen", "measured", "run_id", descending=[False, True, False, False])
        .group_by("episode_id", maintain_order=True)
        .first()
        .select("episode_id", "run_id")
    )
    return rows.join(runs, on=["episode_id", "run_id"], how="semi")
