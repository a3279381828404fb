"""What a run of annotation did, in numbers: for the command line, JSON and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from finedata.store.summary import Summary

if TYPE_CHECKING:
    from collections import Counter

__all__ = ["MOST_REASONS", "AnnotateSummary", "top_reasons"]

MOST_REASONS = 20
"""Reasons that a summary lists; the table `calls` has them all."""


class AnnotateSummary(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What a run did.

    Attributes:
        product: `facts`, `traces` or `kinematic`.
        teacher: Who answered.
        model: With which model; empty for `kinematic`.
        run_id: Name of the run, in every row.
        episodes: Episodes that were chosen.
        before: Of these, those that the same run had annotated before.
        done: Episodes whose rows were written now; an episode of traces counts once it has one.
        failed: Episodes (frames, for traces) without a good answer: they have no rows.
        not_applicable: Episodes of which this product says nothing, whatever is done: `notes` say
            why, and what to do.
        over_budget: The same where the budget was not enough.
        reasons: Why they failed -> how many, the most frequent first, at most twenty.
        rows: Table -> rows written now.
        verdicts: What the motion says of the facts written now.
        omissions: What the motion holds and the teacher's facts leave out -> how often; each has a
            row of the motion's own.
        reworded: Steps whose wording the motion contradicts; their rows say why, in other words.
        repaired: Answers that were repaired, in so many places.
        calls: Answers that were charged in this run.
        recorded: Questions that the ledger answered, for nothing.
        input_tokens: Tokens sent in this run; None where the server does not say.
        output_tokens: Tokens received in this run; the same.
        cost_usd: What this run cost; None where the price or the usage is unknown.
        cost_per_fact_usd: `cost_usd` over facts that the motion does not contradict.
        notes: What the user should know: why nothing was chosen or something is not applicable.
        files: New files, relative to the dataset.
    """

    product: Literal["facts", "traces", "kinematic"]
    teacher: str
    model: str
    run_id: str
    episodes: int
    before: int
    done: int
    failed: int = 0
    not_applicable: int = 0
    over_budget: int = 0
    reasons: dict[str, int] = {}
    rows: dict[str, int] = {}
    verdicts: dict[str, int] = {}
    omissions: dict[str, int] = {}
    reworded: int = 0
    repaired: int = 0
    calls: int = 0
    recorded: int = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cost_usd: float | None = 0.0
    cost_per_fact_usd: float | None = None
    notes: list[str] = []
    files: list[str] = []

    @property
    def succeeded(self) -> bool:
        """Whether there was nothing to do, or something was done: not where all failed."""
        return bool(self.done) or not (self.failed or self.over_budget)


def top_reasons(reasons: Counter[str]) -> dict[str, int]:
    """The most frequent reasons, ties by name."""
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:MOST_REASONS])
