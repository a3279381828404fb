"""Why episodes were set aside, most frequent reason first, with a few ids to look at.

An episode is counted under the first check that it failed, and under every check that it met: the
first numbers add up, the second say how often a check alone would have refused it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import polars as pl

from finedata.schema import enums

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset

_EXAMPLES = 3


class ReasonFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A reason and the episodes it met.

    Attributes:
        step: convert or gate.
        reason: Its name.
        meaning: In words; empty where the name is all there is.
        first: Episodes it set aside (the first failed check).
        any: Episodes it met at all.
        examples: The first few ids in order.
    """

    step: str
    reason: str
    meaning: str
    first: int
    any: int
    examples: list[str]


class CheckFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A check of the gate over all its episodes; values are in the check's own unit."""

    name: str
    made: int
    failed: int
    median: float | None
    largest: float | None
    limits: list[float]


def read_reasons(dataset: Dataset) -> list[ReasonFacts]:
    """Why episodes failed conversion, then why the gate refused them, most frequent first."""
    failed = (
        dataset.receipts.filter(pl.col("status") == "failed")
        .select("episode_id", pl.col("reason").fill_null("unknown"))
        .sort("episode_id")
        .group_by("reason", maintain_order=True)
        .agg(pl.len().alias("n"), pl.col("episode_id").head(_EXAMPLES).alias("ids"))
        .sort("n", "reason", descending=[True, False])
        .collect()
    )
    meanings = enums.meanings_of(enums.RECEIPT_REASONS)
    found = [
        ReasonFacts(
            step="convert", reason=reason, meaning=meanings.get(reason, ""), first=n, any=n,
            examples=list(ids),
        )
        for reason, n, ids in failed.iter_rows()
    ]  # fmt: skip
    refused = dataset.verdicts.filter(pl.col("verdict") == "fail").sort("episode_id")
    first = dict(
        refused.group_by(pl.col("reason").fill_null("unknown")).len().collect().iter_rows()
    )
    every = (
        refused.select(
            "episode_id",
            # A row that names its first reason only still counts under it.
            pl.when(pl.col("reasons").list.len() > 0)
            .then(pl.col("reasons"))
            .otherwise(pl.concat_list(pl.col("reason").fill_null("unknown")))
            .alias("reason"),
        )
        .explode("reason")
        .group_by("reason", maintain_order=True)
        .agg(pl.len().alias("n"), pl.col("episode_id").head(_EXAMPLES).alias("ids"))
        .collect()
    )
    checks = enums.meanings_of(enums.GATE_CHECKS)
    for reason, n, ids in sorted(
        every.iter_rows(), key=lambda row: (-first.get(row[0], 0), -row[1], row[0])
    ):
        count = int(first.get(reason, 0))
        found.append(
            ReasonFacts(
                step="gate",
                reason=reason,
                meaning=checks.get(reason, ""),
                first=count,
                any=n,
                examples=list(ids),
            )
        )
    return found


def read_checks(dataset: Dataset) -> list[CheckFacts]:
    """Every check of the gate, by name."""
    rows = (
        dataset.verdicts.select("checks")
        .explode("checks", empty_as_null=False)
        .select(pl.col("checks").struct.unnest())
        .drop_nulls("name")
        .group_by("name", maintain_order=True)
        .agg(
            pl.len().alias("made"),
            (~pl.col("passed")).sum().alias("failed"),
            pl.col("value").drop_nulls().drop_nans().median().alias("median"),
            pl.col("value").drop_nulls().drop_nans().max().alias("largest"),
            pl.col("limit").drop_nulls().drop_nans().unique().sort().head(3).alias("limits"),
        )
        .sort("name")
        .collect()
    )
    return [CheckFacts(**row) for row in rows.iter_rows(named=True)]


def read_flags(dataset: Dataset) -> list[tuple[str, int, str]]:
    """Flags of written episodes: name, episodes and meaning, most frequent first."""
    rows = (
        dataset.receipts.filter(pl.col("status") == "written")
        .select(pl.col("flags").explode(empty_as_null=True).alias("flag"))
        .drop_nulls()
        .group_by("flag")
        .len()
        .sort("len", "flag", descending=[True, False])
        .collect()
    )
    meanings = enums.meanings_of(enums.RECEIPT_FLAGS)
    return [(name, count, meanings.get(name, "")) for name, count in rows.iter_rows()]
