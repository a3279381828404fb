"""Rows of annotations for an export, by episode: those of one run that pass the text policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from finedata.store.text_policy import of_one_run, passing_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.store.dataset import Dataset

__all__ = ["chosen_rows"]


def chosen_rows(
    dataset: Dataset, table: str, *, episode_ids: Sequence[str], order: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Rows of one run for each episode that has any; see `finedata.store.text_policy`.

    Args:
        dataset: The dataset.
        table: `facts`, `steps` or `traces`.
        episode_ids: Which episodes.
        order: Columns by which an episode's rows are sorted.

    Returns:
        Episode id to rows.
    """
    rows = passing_rows(dataset, table).filter(pl.col("episode_id").is_in(list(episode_ids)))
    chosen = of_one_run(rows).sort("episode_id", *order, nulls_last=True).drop("policy").collect()
    found: dict[str, list[dict[str, Any]]] = {}
    for row in chosen.iter_rows(named=True):
        found.setdefault(row["episode_id"], []).append(row)
    return found
