"""The score of one caption from a judge's labels, in the modes `released` and `strict`.

A judge labels each ground-truth fact `match`, `partial`, `contradiction` or `omission` and lists
actions that never happened. With M, P, X, O the labels of a dimension, H the hallucinated actions
(of `action_sequence` only), A = M + P + X and G = A + O:

    consistency         mean over dimensions with A > 0 of (M + P/2) / A; 0 without any
    coverage            mean over dimensions with G > 0 of (M + P/2) / G; 0 without any
    anti-hallucination  1 - H / G of action_sequence; 1 where G is 0
    overall             mean of the three

Source: RoboFine-Bench's released `atomic_eval/scoring.py` (direct alignment). Its holes, which
`released` keeps: G is what the judge returned, so a fact that it drops leaves the denominator;
anti-hallucination has no lower end; a caption that says nothing scores 1/3. `strict` counts each
fact that was asked for once, ends anti-hallucination at 0, and gives nothing for nothing.

Neither is monotone in every label: to say something half right where nothing was said adds to
coverage and may take from consistency. A better label of what was said, and a match in place of an
omission, never lower a score.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.schema.dimension import DIMENSIONS
from finedata.schema.enums import LABELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FACT_SCORE: dict[str, float] = {"match": 1.0, "partial": 0.5, "contradiction": 0.0, "omission": 0.0}
"""Label -> what the fact adds."""

# the worse first: of two labels for one fact, the worse counts
_WORST_FIRST = ("contradiction", "omission", "partial", "match")
_ACTIONS = "action_sequence"


@dataclass(frozen=True)
class JudgedLine:
    """One line of a judge's answer, as it came.

    Attributes:
        fact_id: Which fact, in the judge's words.
        dimension: Which dimension, in the judge's words.
        label: The label, in the judge's words.
        evidence: What it gave for it.
    """

    fact_id: str
    dimension: str
    label: str
    evidence: str = ""


@dataclass(frozen=True)
class Tally:
    """Labels of one dimension: M, P, X, O and H of the formulas."""

    match: int = 0
    partial: int = 0
    contradiction: int = 0
    omission: int = 0
    hallucinated: int = 0

    @property
    def aligned(self) -> int:
        """A: facts that the caption addresses."""
        return self.match + self.partial + self.contradiction

    @property
    def facts(self) -> int:
        """G: facts in all."""
        return self.aligned + self.omission

    @property
    def claims(self) -> int:
        """C: what the caption says, hallucinations among it."""
        return self.aligned + self.hallucinated

    @property
    def consistency(self) -> float | None:
        """(M + P/2) / A."""
        return (self.match + 0.5 * self.partial) / self.aligned if self.aligned else None

    @property
    def coverage(self) -> float | None:
        """(M + P/2) / G."""
        return (self.match + 0.5 * self.partial) / self.facts if self.facts else None

    @property
    def omission_rate(self) -> float | None:
        """The released scorer's: 1 - coverage, not O / G."""
        return None if self.coverage is None else 1 - self.coverage

    @property
    def hallucination_rate(self) -> float | None:
        """H / C; the released summary's, with another denominator than the sample's."""
        return self.hallucinated / self.claims if self.claims else None

    @property
    def anti_hallucination(self) -> float | None:
        """1 - H / C."""
        return 1 - self.hallucinated / self.claims if self.claims else None


NOTHING = Tally()


@dataclass(frozen=True)
class CaptionScore:
    """The score of one caption, unrounded.

    Attributes:
        dimensions: Dimension -> its labels, all ten.
        consistency: See the module.
        coverage: See the module.
        anti_hallucination: See the module.
    """

    dimensions: Mapping[str, Tally]
    consistency: float
    coverage: float
    anti_hallucination: float

    @property
    def overall(self) -> float:
        """CaptionScore: the mean of the three."""
        return (self.consistency + self.coverage + self.anti_hallucination) / 3

    def rounded(self) -> tuple[float, float, float, float]:
        """The four numbers as the released scorer stores them: overall is of unrounded parts."""
        return (
            round(self.consistency, 4),
            round(self.coverage, 4),
            round(self.anti_hallucination, 4),
            round(self.overall, 4),
        )


@dataclass(frozen=True)
class Labelled:
    """What a judge's answer says of each fact that was asked for.

    Attributes:
        labels: Fact id -> label; `omission` where the judge left the fact out.
        evidence: Fact id -> what the judge gave for it.
        missing: Facts that the judge left out.
        repeated: Facts that it labelled more than once.
        unknown: Ids that were not asked for.
        unlabelled: Facts whose label is none of the four.
    """

    labels: dict[str, str]
    evidence: dict[str, str]
    missing: list[str]
    repeated: list[str]
    unknown: list[str]
    unlabelled: list[str]

    @property
    def problem(self) -> str:
        """What is wrong with the answer in words; empty where it is as asked."""
        kinds = {
            "left out": self.missing,
            "given twice": self.repeated,
            "not asked for": self.unknown,
            "with another label": self.unlabelled,
        }
        return "; ".join(
            f"{len(ids)} fact{'s' if len(ids) > 1 else ''} {what}: {', '.join(ids[:3])}"
            for what, ids in kinds.items()
            if ids
        )


def score_released(judged: Iterable[JudgedLine], *, hallucinated: int) -> CaptionScore:
    """Score as published: what the judge returned is all there is.

    Args:
        judged: The judge's lines. A line of an unknown dimension or label is dropped silently.
        hallucinated: How many hallucinated actions it listed.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in DIMENSIONS}
    for line in judged:
        if line.dimension in counts and line.label in LABELS:
            counts[line.dimension][line.label] += 1
    return _scored(counts, hallucinated)


def score_strict(
    dimension_of: Mapping[str, str], labels: Mapping[str, str], *, hallucinated: int
) -> CaptionScore:
    """Score every fact that was asked for once.

    Args:
        dimension_of: Fact id -> dimension, of all facts of the video.
        labels: Fact id -> label; see `label_each`.
        hallucinated: How many hallucinated actions the judge listed.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in DIMENSIONS}
    for fact_id, dimension in dimension_of.items():
        counts[dimension][labels.get(fact_id, "omission")] += 1
    score = _scored(counts, hallucinated)
    return CaptionScore(
        score.dimensions,
        score.consistency,
        score.coverage,
        max(0.0, score.anti_hallucination),
    )


def score_nothing(dimension_of: Mapping[str, str]) -> CaptionScore:
    """The strict score of a caption that is missing or says nothing: zero, every fact omitted."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in DIMENSIONS}
    for dimension in dimension_of.values():
        counts[dimension]["omission"] += 1
    return CaptionScore(_tallies(counts, 0), 0.0, 0.0, 0.0)


def label_each(fact_ids: Sequence[str], judged: Iterable[JudgedLine]) -> Labelled:
    """Hold a judge's answer against the ids that were asked.

    Of several labels for one fact the worst counts, a contradiction before an omission.
    """
    asked = set(fact_ids)
    found: dict[str, list[JudgedLine]] = {}
    unknown: list[str] = []
    unlabelled: list[str] = []
    for line in judged:
        if line.fact_id not in asked:
            unknown.append(line.fact_id)
        elif line.label not in LABELS:
            unlabelled.append(line.fact_id)
        else:
            found.setdefault(line.fact_id, []).append(line)
    labels: dict[str, str] = {}
    evidence: dict[str, str] = {}
    for fact_id in fact_ids:
        lines = found.get(fact_id)
        if lines:
            worst = min(lines, key=lambda line: _WORST_FIRST.index(line.label))
            labels[fact_id], evidence[fact_id] = worst.label, worst.evidence
        else:
            labels[fact_id] = "omission"
    return Labelled(
        labels=labels,
        evidence=evidence,
        missing=[one for one in fact_ids if one not in found and one not in unlabelled],
        repeated=[one for one, lines in found.items() if len(lines) > 1],
        unknown=unknown,
        unlabelled=unlabelled,
    )


def _scored(counts: Mapping[str, Counter[str]], hallucinated: int) -> CaptionScore:
    dimensions = _tallies(counts, hallucinated)
    consistent = [t.consistency for t in dimensions.values() if t.consistency is not None]
    covered = [t.coverage for t in dimensions.values() if t.coverage is not None]
    actions = dimensions[_ACTIONS].facts
    return CaptionScore(
        dimensions,
        sum(consistent) / len(consistent) if consistent else 0.0,
        sum(covered) / len(covered) if covered else 0.0,
        1 - hallucinated / actions if actions else 1.0,
    )


def _tallies(counts: Mapping[str, Counter[str]], hallucinated: int) -> dict[str, Tally]:
    return {
        name: Tally(
            *(count[label] for label in ("match", "partial", "contradiction", "omission")),
            hallucinated=hallucinated if name == _ACTIONS else 0,
        )
        for name, count in counts.items()
    }
