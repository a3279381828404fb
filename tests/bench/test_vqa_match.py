"""Short answers: the published matcher with its holes, and the strict one without them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finedata.bench.scores.vqa_match import (
    answers_of,
    parse_released,
    parse_strict,
    right_released,
    right_strict,
    shown_options,
)
from finedata.teachers.protocol import UnusableAnswerError

OPTIONS = ["from above", "from the left", "from the left side", "open"]


@pytest.mark.parametrize(
    ("kind", "response", "released", "strict"),
    [
        ("yes_no", "Yes", "yes", "yes"),
        ("yes_no", "no.", "no", "no"),
        ("yes_no", "No, it stays closed", "no", "no"),
        ("yes_no", "none", "no", None),
        ("yes_no", "not sure", "no", None),
        ("yes_no", "nobody can tell", "no", None),
        ("yes_no", "no, wait, yes", "no", None),
        ("yes_no", "I think yes", "yes", None),
        ("yes_no", "yes and no", "yes", None),
        ("yes_no", "**Yes**", "yes", "yes"),
        ("number", "3", "3", "3"),
        ("number", "three times", "3", "3"),
        ("number", "none", "1", None),
        ("number", "someone", "1", None),
        ("number", "-2", "2", "-2"),
        ("number", "2.5", "2", "5/2"),
        ("number", "2 or 3", "2", None),
        ("number", "twelve", None, "12"),
        ("number", "two, i.e. 2", "2", "2"),
        ("multiple_choice", "B", "B", "from the left"),
        ("multiple_choice", "B. from the left", "B", "from the left"),
        ("multiple_choice", "(b)", None, "from the left"),
        ("multiple_choice", "A gripper closes", "A", None),
        ("multiple_choice", "From the left side.", "B", "from the left side"),
        ("multiple_choice", "A. from the left", "A", None),
        ("multiple_choice", "Answer: D", "D", "open"),
        ("multiple_choice", "Z", None, None),
        ("multiple_choice", "it opens from above", "A", None),
    ],
)
def test_what_is_understood(
    kind: str, response: str, released: str | None, strict: str | None
) -> None:
    assert parse_released(kind, response, OPTIONS) == released
    assert parse_strict(kind, response, OPTIONS) == strict


def test_none_is_a_wrong_yes_and_a_right_no_only_as_published() -> None:
    assert right_released("yes_no", "none", "No", [])
    assert not right_strict("yes_no", "none", "No", [])
    assert right_released("number", "none", "1", [])
    assert not right_strict("number", "none", "1", [])


@pytest.mark.parametrize(
    ("kind", "response", "answer", "right"),
    [
        ("number", "03", "3", False),
        ("number", "two", "two", False),
        ("number", "2", "2 times", True),
        ("number", "many", "many", True),
        ("yes_no", "yes", "Yes", True),
        ("yes_no", "yes", "Yes.", False),
        ("yes_no", "unknown", "Unknown", True),
        ("multiple_choice", "Answer B", "from the left", True),
        ("multiple_choice", "\u9009\u62e9B", "from the left", True),
        ("multiple_choice", "answer: above, from above", "from above", True),
        ("multiple_choice", "the answers say from above", "from above", False),
        ("multiple_choice", "answer: Z, from above", "from above", False),
    ],
)
def test_what_the_published_matcher_does_with_what_is_right(
    kind: str, response: str, answer: str, right: bool
) -> None:
    """Read in `vqa_eval.py` of the release (xlang-ai/FineVLA, 737a55d), line by line."""
    assert right_released(kind, response, answer, OPTIONS) is right


def test_a_choice_whose_answer_is_no_option_is_never_right() -> None:
    assert not right_released("multiple_choice", "A", "from below", OPTIONS)
    assert not right_strict("multiple_choice", "from below", "from below", OPTIONS)
    assert right_released("multiple_choice", "a", "FROM ABOVE", OPTIONS)
    assert right_strict("multiple_choice", "a", "FROM ABOVE", OPTIONS)


def test_answers_by_id_by_number_and_in_brackets() -> None:
    ids = ["s1_q1", "s1_q2", "s1_q3"]
    text = '```json\n{"answers": {"Q1": "yes", "[s1_q2]": 3, "s1_q3": true, "s9": "no"}}\n```'
    assert answers_of(text, ids) == {"s1_q1": "yes", "s1_q2": "3", "s1_q3": "yes"}
    assert answers_of('{"s1_q1": "no", "Q7": "x", "s1_q2": null}', ids) == {"s1_q1": "no"}
    listed = '[{"question_id": "s1_q1", "answer": "B"}]'
    assert answers_of(listed, ids) == {"s1_q1": "B"}
    with pytest.raises(UnusableAnswerError):
        answers_of("yes", ids)


def test_options_are_shuffled_by_the_question() -> None:
    assert shown_options("q", OPTIONS) == shown_options("q", OPTIONS)
    assert sorted(shown_options("q", OPTIONS)) == sorted(OPTIONS)
    assert len({tuple(shown_options(str(n), OPTIONS)) for n in range(30)}) > 5


@given(st.sampled_from(["yes_no", "number", "multiple_choice"]), st.text(max_size=30))
def test_whatever_is_right_in_strict_is_said_plainly(kind: str, text: str) -> None:
    answer = {"yes_no": "yes", "number": "3", "multiple_choice": "open"}[kind]
    if right_strict(kind, text, answer, OPTIONS):
        folded = text.casefold()
        assert any(word in folded for word in ("yes", "3", "three", "thrice", "open", "d"))


@given(st.sampled_from([("yes_no", "no"), ("number", "7"), ("multiple_choice", "open")]))
def test_the_plain_answer_is_right_in_both(pair: tuple[str, str]) -> None:
    kind, answer = pair
    assert right_strict(kind, answer, answer, OPTIONS)
    assert right_released(kind, answer, answer, OPTIONS)
