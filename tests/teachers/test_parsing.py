from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finedata.teachers.parsing import parse_answer, parse_json
from finedata.teachers.protocol import UnusableAnswerError


class Step(msgspec.Struct, forbid_unknown_fields=True):
    verb: str
    start: int


GOOD = {"verb": "Pick up", "start": 3}
PLAIN = json.dumps(GOOD)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).filter(lambda value: isinstance(value, (dict, list)))


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"  {PLAIN}\n",
        f"```json\n{PLAIN}\n```",
        f"```\n{PLAIN}\n```\n",
        f"Sure, here it is:\n\n```JSON\n{PLAIN}\n```\nAnything else?",
        f"I think [1] of {{it}}: {PLAIN} That is all.",
        '{"verb": "Pick up", "start": 3,}',
        '```json\n{"verb": "Pick up",\n "start": 3,\n}\n```',
        f"```json\n{PLAIN}",
        f"<think>maybe {{}} or []</think>{PLAIN}",
    ],
)
def test_what_is_meant_is_read(text: str) -> None:
    assert parse_answer(text, Step) == Step("Pick up", 3)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "empty text"),
        (" \n", "empty text"),
        ("I cannot see that.", "no JSON"),
        (PLAIN[:-5], "ends early"),
        (PLAIN[:-1], "ends early"),
        ('{"verb": "Pick', "ends early"),
        (f"see [1] and {PLAIN[:-3]}", "ends early"),
        ('{"verb": "Pick up"}', "start"),
        ('{"verb": "Pick up", "start": "3"}', r"\$.start"),
        ('{"verb": "Pick up", "start": 3, "more": 1}', "more"),
        ("[1, 2]", "another shape"),
        ("[" * 100_000, "nested|early|told"),
    ],
)
def test_half_an_answer_is_none(text: str, found: str) -> None:
    with pytest.raises(UnusableAnswerError, match=found):
        parse_answer(text, Step, place="call x")


def test_a_cut_list_is_not_its_first_items() -> None:
    with pytest.raises(UnusableAnswerError, match="ends early"):
        parse_answer('[{"verb": "a", "start": 1}, {"verb": "b", "st', list[Step])


@given(JSON, st.sampled_from(["{}", "```json\n{}\n```", "Here:\n```\n{}\n```\nBye."]))
def test_any_json_comes_back(value: Any, around: str) -> None:
    text = around.replace("{}", json.dumps(value), 1)
    assert parse_json(text) == value


@given(JSON, st.data())
def test_a_cut_text_never_reads_as_another_whole(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(UnusableAnswerError):
        parse_json(text[:cut])
