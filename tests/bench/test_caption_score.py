"""The arithmetic of captions: the released scorer's own numbers, its holes, and their closing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finedata.bench.scores.caption import (
    JudgedLine,
    label_each,
    score_nothing,
    score_released,
    score_strict,
)
from finedata.schema.dimension import DIMENSIONS
from finedata.schema.enums import LABELS

COLUMNS = {
    "G": "facts", "C": "claims", "M": "match", "P": "partial", "X": "contradiction",
    "O": "omission", "H": "hallucinated", "A": "aligned", "consistency": "consistency",
    "coverage": "coverage", "omission_rate": "omission_rate",
    "anti_hallucination": "anti_hallucination", "hallucination_rate": "hallucination_rate",
}  # fmt: skip


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def dimension_of(fact_id: str) -> str:
    return fact_id.rpartition("_")[0]


def judged_of(labels: dict) -> list[JudgedLine]:
    return [JudgedLine(one, dimension_of(one), label) for one, _, _, label in labels["facts"]]


@pytest.fixture(scope="module")
def released(real_data: Path) -> Path:
    return real_data / "robofine_bench"


@pytest.mark.parametrize(
    ("labels", "scores", "count"),
    [
        ("judge_labels.jsonl", "released_scores.jsonl", 40),
        ("droid_149029_labels.jsonl", "droid_149029_scores.jsonl", 13),
    ],
)
def test_stored_labels_give_the_stored_numbers(
    released: Path, labels: str, scores: str, count: int
) -> None:
    head, *stored = lines_of(released / scores)
    judged = lines_of(released / labels)
    assert len(judged) == len(stored) == count
    clamped = []
    for given_labels, wanted in zip(judged, stored, strict=True):
        assert given_labels["sample_id"] == wanted["sample_id"]
        assert given_labels.get("run") == wanted.get("run")
        lines = judged_of(given_labels)
        hallucinated = given_labels["hallucinated_actions"]
        found = score_released(lines, hallucinated=hallucinated)
        rounded = wanted.get("source") == "dataset_summary.json"
        absent = wanted.get("missing_columns", [])
        for dimension, numbers in wanted["capabilities"].items():
            tally = found.dimensions[dimension]
            for column, number in zip(head["columns"], numbers, strict=True):
                if column not in absent:
                    value = getattr(tally, COLUMNS[column])
                    tolerance = 1e-4 if rounded else 1e-12
                    assert value == (number and pytest.approx(number, abs=tolerance)), column
        names = (
            "consistency_score", "weighted_coverage", "weighted_anti_hallucination",
            "caption_score",
        )  # fmt: skip
        assert found.rounded() == tuple(wanted[name] for name in names)
        asked = {line.fact_id: line.dimension for line in lines}
        labelled = label_each(list(asked), lines)
        assert labelled.problem == ""
        strict = score_strict(asked, labelled.labels, hallucinated=hallucinated)
        if strict != found:
            clamped.append((found.anti_hallucination, strict.anti_hallucination, strict.overall))
    if count == 40:
        assert clamped == [(-1.25, 0.0, pytest.approx(2 / 3))]
    else:
        assert clamped == []


def test_the_stored_summary_is_the_mean_of_its_means(released: Path) -> None:
    summary = json.loads((released / "released_summary.json").read_text())
    parts = [
        summary[f"mean_{name}"]
        for name in ("consistency_score", "weighted_coverage", "weighted_anti_hallucination")
    ]
    assert sum(parts) / 3 == pytest.approx(summary["mean_caption_score"], abs=1e-4)
    capabilities = summary["per_capability"]
    assert sum(one["total_G"] for one in capabilities.values()) == 11_631
    for one in capabilities.values():
        aligned = one["total_M"] + one["total_P"] + one["total_X"]
        assert one["total_G"] == aligned + one["total_O"]
        assert one["total_C"] == aligned + one["total_H"]


def test_a_caption_that_says_nothing() -> None:
    asked = {"action_sequence_1": "action_sequence", "target_object_1": "target_object"}
    omitted = [JudgedLine(one, dimension, "omission") for one, dimension in asked.items()]
    assert score_released(omitted, hallucinated=0).rounded() == (0, 0, 1, 0.3333)
    nothing = score_nothing(asked)
    assert nothing.overall == 0
    assert nothing.dimensions["target_object"].omission == 1


def test_a_fact_that_the_judge_drops() -> None:
    asked = {"action_sequence_1": "action_sequence", "action_sequence_2": "action_sequence"}
    lines = [JudgedLine("action_sequence_1", "action_sequence", "match")]
    assert score_released(lines, hallucinated=0).coverage == 1
    labelled = label_each(list(asked), lines)
    assert labelled.missing == ["action_sequence_2"]
    assert "1 fact left out: action_sequence_2" in labelled.problem
    assert score_strict(asked, labelled.labels, hallucinated=0).coverage == 0.5


def test_hallucinations_without_end() -> None:
    lines = [JudgedLine("action_sequence_1", "action_sequence", "match")]
    found = score_released(lines, hallucinated=4)
    assert (found.anti_hallucination, found.overall) == (-3, pytest.approx(-1 / 3))
    strict = score_strict(
        {"action_sequence_1": "action_sequence"}, {"action_sequence_1": "match"}, hallucinated=4
    )
    assert (strict.anti_hallucination, strict.overall) == (0, pytest.approx(2 / 3))


def test_what_was_not_asked_for_and_what_was_said_twice() -> None:
    lines = [
        JudgedLine("a", "action_sequence", "match"),
        JudgedLine("a", "action_sequence", "contradiction"),
        JudgedLine("b", "target_object", "fine"),
        JudgedLine("z", "colour", "match"),
    ]
    labelled = label_each(["a", "b", "c"], lines)
    assert labelled.labels == {"a": "contradiction", "b": "omission", "c": "omission"}
    assert (labelled.repeated, labelled.unknown) == (["a"], ["z"])
    assert (labelled.unlabelled, labelled.missing) == (["b"], ["c"])
    # the released scorer counts the fact twice and drops the others without a word
    assert score_released(lines, hallucinated=0).dimensions["action_sequence"].facts == 2


FACTS = st.lists(st.tuples(st.sampled_from(DIMENSIONS), st.sampled_from(LABELS)), max_size=30)


@given(FACTS, st.integers(0, 40))
def test_strict_is_bounded_and_equal_where_there_is_no_hole(
    facts: list[tuple[str, str]], hallucinated: int
) -> None:
    lines = [JudgedLine(str(n), dimension, label) for n, (dimension, label) in enumerate(facts)]
    asked = {line.fact_id: line.dimension for line in lines}
    labelled = label_each(list(asked), lines)
    strict = score_strict(asked, labelled.labels, hallucinated=hallucinated)
    parts = (strict.consistency, strict.coverage, strict.anti_hallucination, strict.overall)
    assert all(0 <= part <= 1 for part in parts)
    released = score_released(lines, hallucinated=hallucinated)
    if released.anti_hallucination >= 0:
        assert strict == released
    else:
        assert strict.dimensions == released.dimensions


BETTER = {
    "contradiction": ("partial", "match"), "partial": ("match",), "omission": ("match",),
    "match": (),
}  # fmt: skip


@given(FACTS.filter(bool), st.integers(0, 40), st.data())
def test_strict_is_monotone(
    facts: list[tuple[str, str]], hallucinated: int, data: st.DataObject
) -> None:
    asked = {str(number): dimension for number, (dimension, _) in enumerate(facts)}
    labels = {str(number): label for number, (_, label) in enumerate(facts)}
    before = score_strict(asked, labels, hallucinated=hallucinated)
    which = data.draw(st.sampled_from(sorted(asked)))
    for better in BETTER[labels[which]]:
        after = score_strict(asked, labels | {which: better}, hallucinated=hallucinated)
        # matching an omission opens its dimension: consistency is a mean over more of them
        assert after.coverage >= before.coverage
        assert after.overall >= before.overall - 1e-12
        assert after.consistency >= before.consistency - 1e-12
    fewer = score_strict(asked, labels, hallucinated=max(0, hallucinated - 1))
    assert fewer.overall >= before.overall
    # coverage alone rises with every better label
    if labels[which] == "omission":
        half = score_strict(asked, labels | {which: "partial"}, hallucinated=hallucinated)
        assert half.coverage > before.coverage
