"""Whether judges agree with each other, and scores with people."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from finedata.errors import UsageError
from finedata.schema.enums import LABELS
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from finedata.bench.result import Result

__all__ = [
    "JudgeAgreement",
    "RankAgreement",
    "agree_judges",
    "agree_ranks",
    "cohen_kappa",
    "read_human",
    "scores_by_model",
]


class JudgeAgreement(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """How two judges label the same facts of the same captions.

    Attributes:
        facts: How many both labelled.
        captions: Of how many captions.
        share: Equal labels.
        kappa: Cohen's, over the four labels; None where chance explains everything.
        by_label: Label -> kappa of that label against all others.
    """

    facts: int
    captions: int
    share: float
    kappa: float | None
    by_label: dict[str, float | None]


class RankAgreement(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """How scores go with what people say of the same models.

    Attributes:
        models: How many.
        pearson: Of the numbers; None where one of them does not vary.
        spearman: Of their ranks, ties at their mean.
    """

    models: int
    pearson: float | None
    spearman: float | None


def agree_judges(one: Result, other: Result) -> JudgeAgreement:
    """Compare two judges.

    Args:
        one: A result of captions.
        other: Of the same captions and facts, by another judge or another time.

    Raises:
        UsageError: They share no caption.
    """
    first, second = _labels(one), _labels(other)
    captions = {
        sample
        for sample, (text, _) in first.items()
        if sample in second and text == second[sample][0]
    }
    pairs = [
        (label, second[sample][1][name])
        for sample in sorted(captions)
        for name, label in first[sample][1].items()
        if name in second[sample][1]
    ]
    if not pairs:
        raise UsageError(
            place=f"{one.root} and {other.root}",
            found="no caption that both have judged",
            wanted="results of the same captions (share them with --store)",
        )
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return JudgeAgreement(
        facts=len(pairs),
        captions=len(captions),
        share=sum(x == y for x, y in pairs) / len(pairs),
        kappa=cohen_kappa(a, b),
        by_label={
            label: cohen_kappa([str(x == label) for x in a], [str(y == label) for y in b])
            for label in LABELS
        },
    )


def cohen_kappa(one: Sequence[str], other: Sequence[str]) -> float | None:
    """Cohen's kappa (Educational and Psychological Measurement 20, 1960, 37-46).

    Returns:
        None where both always say the same one thing: chance explains that too.

    Example:
        >>> cohen_kappa(["a", "a", "b", "b"], ["a", "b", "b", "b"])
        0.5
    """
    names = sorted({*one, *other})
    count = len(one)
    observed = sum(x == y for x, y in zip(one, other, strict=True)) / count
    chance = sum(one.count(name) * other.count(name) for name in names) / count**2
    return None if chance >= 1 else (observed - chance) / (1 - chance)


def agree_ranks(scores: Mapping[str, float], people: Mapping[str, float]) -> RankAgreement:
    """Correlate scores with what people say, model by model.

    Args:
        scores: Model -> score, the higher the better.
        people: Model -> what people gave it, the higher the better.

    Raises:
        UsageError: Fewer than three models have both.
    """
    models = sorted(set(scores) & set(people))
    if len(models) < 3:
        raise UsageError(
            place="human ranks",
            found=f"{len(models)} models with both",
            wanted="three or more",
        )
    one = np.asarray([scores[model] for model in models], np.float64)
    other = np.asarray([people[model] for model in models], np.float64)
    return RankAgreement(
        models=len(models),
        pearson=_pearson(one, other),
        spearman=_pearson(_ranks(one), _ranks(other)),
    )


def _pearson(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    if float(np.std(one)) == 0 or float(np.std(other)) == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    below = (values[:, None] > values[None, :]).sum(axis=1)
    same = (values[:, None] == values[None, :]).sum(axis=1)
    return below + (same + 1) / 2


def _labels(result: Result) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Sample id -> its caption and fact -> label, of what was judged in the first trial."""
    judged: dict[str, list[str]] = {
        row["sample_id"]: row["caption"] or []
        for row in result.answers
        if row["trial"] == 0 and row["judge_status"] == "ok"
    }
    names = {item["item_id"]: item["name"] for item in result.benchmark.items}
    found: dict[str, tuple[list[str], dict[str, str]]] = {
        sample: (caption, {}) for sample, caption in judged.items()
    }
    for row in result.scored().rows:
        if row["trial"] == 0 and row["sample_id"] in found and row["label"]:
            found[row["sample_id"]][1][names[row["item_id"]]] = row["label"]
    return found


def scores_by_model(results: Sequence[Result]) -> dict[str, float]:
    """Model -> its overall score in `strict`: of captions, or accuracy of questions.

    Raises:
        UsageError: One model has two results.
    """
    found: dict[str, float] = {}
    for one in results:
        metric = "overall" if one.summary.track == "caption" else "accuracy"
        model = one.summary.answerer.model
        if model in found:
            raise UsageError(
                place="results", found=f"two of {model}", wanted="one result of each model"
            )
        for score in one.summary.scores:
            place = (score.metric, score.mode, score.average, score.by)
            if place == (metric, "strict", "micro", "all") and score.value is not None:
                found[model] = score.value
    return found


def read_human(path: str | Path) -> dict[str, float]:
    """Model -> what people gave it, from a CSV with the columns model and score.

    Raises:
        UsageError: It is no such file.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return {row["model"]: float(row["score"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(
            place=str(path), found=f"{error}", wanted="a CSV with the columns model and score"
        ) from error
