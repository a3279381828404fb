"""Which of an episode's annotations an export takes: one run's, and none that was rejected.

A dataset and episode ids come in, rows by episode go out. An episode may have been annotated by
several runs; their rows are never mixed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.store.dataset import Dataset

__all__ = ["chosen_rows"]


def chosen_rows(
    dataset: Dataset, table: str, *, episode_ids: Sequence[str], order: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Rows of one run for each episode that has any.

    Of several runs, one with rows that a person accepted, edited or wrote goes before one without,
    a person's or teacher's before the source's and the motion's, then the lower `run_id`.

    Args:
        dataset: The dataset.
        table: `facts`, `steps` or `traces`.
        episode_ids: Which episodes.
        order: Columns by which an episode's rows are sorted.

    Returns:
        Episode id to rows. Facts that the motion contradicts are left out.
    """
    seen = pl.col("review_status").is_in(["accepted", "edited"]) | (pl.col("origin") == "human")
    measured = pl.col("origin").is_in(["kinematic", "source"])
    rows = (
        dataset.table(table)
        .filter(pl.col("episode_id").is_in(list(episode_ids)))
        .filter(pl.col("review_status") != "rejected")
        .with_columns(
            seen.max().over("episode_id", "run_id").alias("_seen"),
            measured.min().over("episode_id", "run_id").alias("_measured"),
        )
    )
    if table == "facts":
        rows = rows.filter(pl.col("kinematic_verdict") != "contradicted")
    sorted_rows = rows.sort(
        ["episode_id", "_seen", "_measured", "run_id", *order],
        descending=[False, True, False, False, *[False] * len(order)],
        nulls_last=True,
    ).collect()
    found: dict[str, list[dict[str, Any]]] = {}
    for row in sorted_rows.drop("_seen", "_measured").iter_rows(named=True):
        kept = found.setdefault(row["episode_id"], [])
        if not kept or kept[0]["run_id"] == row["run_id"]:
            kept.append(row)
    return found
