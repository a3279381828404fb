"""A column of `facts` that says what a teacher is asked for needs nothing else."""

from __future__ import annotations

import jsonschema
import pytest

from finedata.annotate.asking import answers, prompt
from finedata.annotate.asking import columns as asked
from finedata.annotate.asking.columns import asked_columns, asked_schema, asked_text, asked_values
from finedata.annotate.checks import facts as check_facts
from finedata.schema.columns import Column
from finedata.teachers.protocol import UnusableAnswerError

COLUMNS = (
    Column("grip", "string", "how", nullable=True, enum=("firm", "loose"), asked="how it is held"),
    Column("force", "float32", "newtons", nullable=True, asked="the force in newtons"),
)


@pytest.fixture
def two(monkeypatch):
    for module in (asked, answers, check_facts, prompt):
        monkeypatch.setattr(module, "asked_columns", lambda: COLUMNS)
    prompt.load_prompt.cache_clear()
    yield
    prompt.load_prompt.cache_clear()


def test_what_is_asked_is_filled_in_by_kind() -> None:
    given = {"grip": "firm", "force": "2.5", "else": 1}
    assert asked_values(given, COLUMNS, place="fact 1") == {"grip": "firm", "force": 2.5}
    assert asked_values({}, COLUMNS, place="fact 1") == {"grip": None, "force": None}
    jsonschema.validate({"grip": None, "force": 2.5}, asked_schema(COLUMNS))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"grip": "soft", "force": None}, asked_schema(COLUMNS))


@pytest.mark.parametrize("wrong", [{"grip": "soft"}, {"force": "strong"}, {"grip": ["firm"]}])
def test_what_is_no_value_is_asked_for_again(wrong: dict) -> None:
    with pytest.raises(UnusableAnswerError, match="fact 1, "):
        asked_values(wrong, COLUMNS, place="fact 1")


def test_the_prompt_tells_of_it_and_has_another_hash(two) -> None:
    told = prompt.load_prompt("facts_atoms.v2", bimanual=True)
    assert told.name == "facts_atoms.v2+asked+bimanual.v1"
    assert "- grip: how it is held (firm, loose)\n- force: the force in newtons\n\n" in told.text
    assert told.text.index("- force:") < told.text.index("Answer with one JSON object")
    assert prompt.load_prompt("facts_steps.v2").name == "facts_steps.v2"


def test_a_checked_fact_carries_it(two) -> None:
    fact = {
        "dimension": "target_object", "slot": "color", "value": "red", "text": "The cup is red.",
        "anchor": "episode", "more": {"grip": "loose"},
    }  # fmt: skip
    (checked,), _ = check_facts.check_facts({"facts": [fact]}, steps=1)
    assert checked.more == {"grip": "loose", "force": None}


def test_columns_that_are_asked_can_be(monkeypatch) -> None:
    assert asked_text(()) == ""
    for column in asked_columns():
        assert column.nullable, f"{column.name}: facts of the motion have none"
        assert column.type in asked._JSON
