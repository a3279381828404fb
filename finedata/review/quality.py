"""How good facts and reviewers are, out of what people decided.

Precision is told from the audit share: facts that their names alone chose, so that it does not
matter where the doubt was that reviewers looked at first. Every decision counts, where one asks for
all, for the calibration of what machines said of themselves; the page says which it is. A fact is
right where a person accepted it as it was; one that was edited was not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
import polars as pl

from finedata.review.agreement import (
    Agreement,
    Share,
    cohen_kappa,
    krippendorff_alpha,
    share_of,
)
from finedata.review.opinions import known_answers, standing_opinions
from finedata.review.queue import in_audit
from finedata.schema.dimension import DIMENSIONS
from finedata.store.review_journal import has_journal, read_journal
from finedata.store.tables.episode_rows import newest_facts, text_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from finedata.review.opinions import Opinion
    from finedata.store.dataset import Dataset

__all__ = ["Named", "ReviewQuality", "Reviewer", "review_quality"]

_JUDGED = ("accept", "edit", "reject")
_MOST_SECONDS = 600.0  # a page that was left open is no work
_BINS = 5
_COLUMNS = (
    "review_id", "target_table", "target_id", "decision", "reviewer", "blind", "before", "seconds",
)  # fmt: skip


class Named(msgspec.Struct, frozen=True):
    """A share, of what."""

    name: str
    right: Share
    mean_confidence: float | None = None


class Reviewer(msgspec.Struct, frozen=True):
    """What one person did.

    Attributes:
        name: Who.
        decisions: Standing decisions by kind.
        facts_per_hour: Facts judged in an hour of work; None where no time is known.
        gold: Of facts with a known answer: how often theirs was the same.
    """

    name: str
    decisions: dict[str, int]
    facts_per_hour: float | None
    gold: Share


class ReviewQuality(msgspec.Struct, frozen=True):
    """Quality of facts and reviewers; see `review_quality`.

    Attributes:
        share: `audit`, or `all`: which facts precision and calibration are of.
        judged: Facts of that share that a person judged.
        precision: Right facts, all and by dimension.
        annotators: Right facts by who said them.
        confidence: Right facts by what their annotator said of itself.
        calibration_error: Mean distance of confidence and share over these bins; None where no
            fact has a confidence.
        kinematic: Right facts by what motion says of them.
        kappa: First against second opinion.
        pairs: The same by pairs of people.
        alpha: Krippendorff's, of all opinions.
        reviewers: By person.
        facts_per_hour: Of all people together, in an hour of one person's work.
        remaining: Unreviewed facts by dimension.
        hours_left: At that pace; None where it is not known.
    """

    share: Literal["audit", "all"]
    judged: int
    precision: list[Named]
    annotators: list[Named]
    confidence: list[Named]
    calibration_error: float | None
    kinematic: list[Named]
    kappa: Agreement
    pairs: dict[str, Agreement]
    alpha: Agreement
    reviewers: list[Reviewer]
    facts_per_hour: float | None
    remaining: dict[str, int]
    hours_left: float | None


class _Fact(msgspec.Struct):
    """What a decision says of a fact before it."""

    episode_id: str
    dimension: str
    origin: str
    annotator: str
    kinematic_verdict: str
    confidence: float | None = None


def review_quality(
    dataset: Dataset,
    *,
    share: Literal["audit", "all"] = "audit",
    gold: Mapping[str, str] | None = None,
) -> ReviewQuality:
    """Quality of facts and reviewers, of files and journal.

    Args:
        dataset: The dataset.
        share: Facts of the audit share, or all; those are the ones that somebody doubted first,
            so that their precision is too low.
        gold: Known answers that were given; others are told from agreement.

    Raises:
        ConformError: A table or the journal is damaged.
    """
    rows = dataset.table("reviews").select(_COLUMNS).collect()
    facts = rows.filter(pl.col("target_table") == "facts")
    opinions = standing_opinions(facts.drop("before", "seconds").iter_rows(named=True))
    standing = {one.review_id for one in opinions}
    held = facts.filter(pl.col("review_id").is_in(standing))
    before = {
        review_id: msgspec.json.decode(text, type=_Fact)
        for review_id, text in held.select("review_id", "before").iter_rows()
        if text is not None
    }
    first: dict[str, Opinion] = {}
    said: dict[str, list[Opinion]] = defaultdict(list)
    for one in opinions:
        if one.decision not in _JUDGED or one.review_id not in before:
            continue
        if not one.blind:
            first.setdefault(one.fact_id, one)
        said[one.fact_id].append(one)
    judged = [
        (before[one.review_id], one)
        for one in first.values()
        if before[one.review_id].origin != "human" and (share == "all" or in_audit(one.fact_id))
    ]
    pace = _pace(rows)
    remaining = _remaining(dataset)
    left = sum(remaining.values())
    every = pace.get("")
    confidence, error = _confidence(judged)
    return ReviewQuality(
        share=share,
        judged=len(judged),
        precision=_shares(judged, lambda fact: fact.dimension, DIMENSIONS, every=True),
        annotators=_shares(judged, lambda fact: fact.annotator),
        confidence=confidence,
        calibration_error=error,
        kinematic=_shares(
            judged,
            lambda fact: fact.kinematic_verdict,
            ("confirmed", "untestable", "contradicted"),
        ),
        kappa=_kappa(first, said, before),
        pairs=_pairs(first, said, before),
        alpha=krippendorff_alpha(
            [[one.decision for one in of] for of in said.values()],
            [before[of[0].review_id].episode_id for of in said.values()],
        ),
        reviewers=_reviewers(opinions, before, rows, pace, gold or {}),
        facts_per_hour=every,
        remaining=remaining,
        hours_left=left / every if every else None,
    )


def _shares(
    judged: Sequence[tuple[_Fact, Opinion]],
    key: Callable[[_Fact], str],
    order: Iterable[str] = (),
    *,
    every: bool = False,
) -> list[Named]:
    groups: dict[str, list[tuple[_Fact, Opinion]]] = {name: [] for name in order}
    for fact, one in judged:
        groups.setdefault(key(fact), []).append((fact, one))
    found = [Named(name, _share(of)) for name, of in groups.items() if of]
    return [Named("all", _share(judged)), *found] if every else found


def _share(of: Iterable[tuple[_Fact, Opinion]]) -> Share:
    pairs = list(of)
    return share_of(
        [one.decision == "accept" for _, one in pairs], [fact.episode_id for fact, _ in pairs]
    )


def _confidence(judged: Sequence[tuple[_Fact, Opinion]]) -> tuple[list[Named], float | None]:
    """Bins of confidence, and the mean distance of confidence and share, by facts."""
    bins: dict[int, list[tuple[_Fact, Opinion]]] = defaultdict(list)
    for fact, one in judged:
        if fact.confidence is not None:
            bins[min(int(fact.confidence * _BINS), _BINS - 1)].append((fact, one))
    found: list[Named] = []
    apart = count = 0.0
    for number in sorted(bins):
        of = bins[number]
        right = _share(of)
        mean = sum(fact.confidence or 0.0 for fact, _ in of) / len(of)
        found.append(Named(f"{number / _BINS:g} to {(number + 1) / _BINS:g}", right, mean))
        apart += abs(mean - (right.value or 0.0)) * len(of)
        count += len(of)
    return found, apart / count if count else None


def _twice(
    first: Mapping[str, Opinion], said: Mapping[str, list[Opinion]]
) -> list[tuple[Opinion, Opinion]]:
    """First and second opinions of one fact by two people."""
    found: list[tuple[Opinion, Opinion]] = []
    for fact_id, one in first.items():
        others = [o for o in said[fact_id] if o.blind and o.reviewer != one.reviewer]
        if others:
            found.append((one, others[0]))
    return found


def _kappa(
    first: Mapping[str, Opinion], said: Mapping[str, list[Opinion]], before: Mapping[str, _Fact]
) -> Agreement:
    pairs = _twice(first, said)
    return cohen_kappa(
        [one.decision for one, _ in pairs],
        [other.decision for _, other in pairs],
        [before[one.review_id].episode_id for one, _ in pairs],
    )


def _pairs(
    first: Mapping[str, Opinion], said: Mapping[str, list[Opinion]], before: Mapping[str, _Fact]
) -> dict[str, Agreement]:
    groups: dict[str, list[tuple[Opinion, Opinion]]] = defaultdict(list)
    for one, other in _twice(first, said):
        ordered = sorted((one, other), key=lambda opinion: opinion.reviewer)
        groups[f"{ordered[0].reviewer}, {ordered[1].reviewer}"].append((ordered[0], ordered[1]))
    return {
        name: cohen_kappa(
            [one.decision for one, _ in of],
            [other.decision for _, other in of],
            [before[one.review_id].episode_id for one, _ in of],
        )
        for name, of in sorted(groups.items())
    }


def _pace(rows: pl.DataFrame) -> dict[str, float]:
    """Facts judged in an hour of work by person; of all under the empty name."""
    judged = rows.filter(
        (pl.col("target_table") == "facts") & pl.col("decision").is_in([*_JUDGED, "add"])
    )
    facts: Counter[str] = Counter()
    seconds: dict[str, float] = {}
    for who, took in judged.select("reviewer", "seconds").drop_nulls().iter_rows():
        for name in (who, ""):
            facts[name] += 1
            seconds[name] = seconds.get(name, 0.0) + min(took, _MOST_SECONDS)
    return {name: facts[name] * 3600 / seconds[name] for name in facts if seconds[name]}


def _remaining(dataset: Dataset) -> dict[str, int]:
    rows = newest_facts(dataset, "fact_id", "dimension", "review_status")
    waits = rows["review_status"] == text_key("unreviewed")
    waiting = read_journal(dataset.root).to_pylist() if has_journal(dataset.root) else []
    done = {
        one.fact_id
        for one in standing_opinions(waiting)
        if not one.blind and one.decision in _JUDGED
    }
    if done:
        waits &= ~np.isin(rows["fact_id"], np.array(sorted(name.encode() for name in done)))
    dimensions = rows["dimension"][waits]
    counts = {name: int((dimensions == text_key(name)).sum()) for name in DIMENSIONS}
    return {name: count for name, count in counts.items() if count}


def _reviewers(
    opinions: Sequence[Opinion],
    before: Mapping[str, _Fact],
    rows: pl.DataFrame,
    pace: Mapping[str, float],
    gold: Mapping[str, str],
) -> list[Reviewer]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for who, decision in rows.select("reviewer", "decision").iter_rows():
        counts[who][decision] += 1
    found: list[Reviewer] = []
    for who in sorted(counts):
        # what they said themselves makes no answer known
        known = known_answers([one for one in opinions if one.reviewer != who], gold)
        asked = [
            one
            for one in opinions
            if one.reviewer == who
            and one.blind
            and one.fact_id in known
            and one.review_id in before
        ]
        right = share_of(
            [one.decision == known[one.fact_id] for one in asked],
            [before[one.review_id].episode_id for one in asked],
        )
        found.append(Reviewer(who, dict(sorted(counts[who].items())), pace.get(who), right))
    return found
