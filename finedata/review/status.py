"""How far people are with a dataset's facts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from finedata.review.changes import over
from finedata.store.review_journal import has_journal, read_journal

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset

__all__ = ["ReviewStatus", "review_status"]


class ReviewStatus(msgspec.Struct, frozen=True):
    """How far a review is.

    Attributes:
        facts: All facts.
        by_status: Facts by `review_status`, decisions of the journal included.
        decisions: Decisions by kind, undone ones included.
        reviewers: Decisions by reviewer.
        in_journal: Decisions that wait in the journal, safe, until `finedata review` ends or
            begins.
    """

    facts: int
    by_status: dict[str, int]
    decisions: dict[str, int]
    reviewers: dict[str, int]
    in_journal: int


def review_status(dataset: Dataset) -> ReviewStatus:
    """Count facts and decisions.

    Raises:
        ConformError: The journal or a table is damaged.
    """
    waiting = read_journal(dataset.root).to_pylist() if has_journal(dataset.root) else []
    by_status = {str(name): n for name, n in dataset.count("facts", by="review_status").items()}
    targets = {row["target_id"] for row in waiting}
    stored = dataset.facts.filter(pl.col("fact_id").is_in(targets)).collect().to_dicts()
    before = Counter(row["review_status"] for row in stored)
    after = Counter(row["review_status"] for row in over(stored, waiting, anywhere=True))
    counts = Counter(by_status)
    counts.subtract(before)
    counts.update(after)
    by_status = {name: n for name, n in sorted(counts.items()) if n}
    reviews = dataset.table("reviews").select("decision", "reviewer").collect()
    return ReviewStatus(
        facts=sum(by_status.values()),
        by_status=by_status,
        decisions=dict(sorted(reviews["decision"].value_counts().iter_rows())),
        reviewers=dict(sorted(reviews["reviewer"].value_counts().iter_rows())),
        in_journal=len(waiting),
    )
