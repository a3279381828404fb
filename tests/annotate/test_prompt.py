from __future__ import annotations

import hashlib
import re
from importlib.resources import files

import pytest

from finedata.annotate.asking.prompt import PROMPTS, fill, load_prompt, prompt_name, slot_table
from finedata.annotate.checks.verbs import VERB_LISTS, VerbList
from finedata.errors import UsageError
from finedata.schema.dimension import SLOT_DIMENSION

FOLDER = files("finedata.annotate") / "prompts"
PUBLISHED = {
    "bimanual.v1": "9a77f1fc13ec5b92",
    "facts_atoms.v1": "d4e3d08eacc9419f",
    "facts_refine.v1": "c8c4af26c58ed2b6",
    "facts_sequence.v1": "75b7969d59dee870",
    "facts_steps.v1": "3aa818dd822e2422",
    "trace.v1": "eedabf0b43262cc0",
}


@pytest.mark.parametrize("name", PROMPTS.values())
def test_the_hash_is_that_of_the_file(name: str) -> None:
    data = (FOLDER / f"{name}.md").read_bytes()
    assert load_prompt(name).sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", ["facts_sequence.v1", "facts_steps.v2", "facts_atoms.v2"])
def test_two_arms_get_a_supplement_and_another_hash(name: str) -> None:
    one, two = load_prompt(name), load_prompt(name, bimanual=True)
    assert "two arms" in two.text
    assert "two arms" not in one.text
    assert one.sha256 != two.sha256
    assert "{{bimanual}}" not in one.text + two.text


@pytest.mark.parametrize("verbs", VERB_LISTS)
def test_all_slots_and_verbs_are_told(verbs: VerbList) -> None:
    assert all(f"- {slot}:" in slot_table() for slot in SLOT_DIMENSION)
    values = {"instruction": "x", "arms": "one", "last_frame": "9", "duration_s": "2"}
    text = fill(load_prompt(prompt_name("sequence", verbs)), values, verbs=verbs)
    assert re.findall(r"^- (.+): say ", text, re.MULTILINE) == list(VERB_LISTS[verbs])
    assert "{{" not in text


def test_published_prompts_never_change() -> None:
    """The released verbs are asked for as ever, so that paid answers are found again."""
    assert {name: load_prompt(name).sha256[:16] for name in PUBLISHED} == PUBLISHED
    assert {prompt_name(stage, "released") for stage in PROMPTS} <= PUBLISHED.keys()


def test_braces_in_a_value_are_text() -> None:
    values = {"instruction": "{{arms}}", "arms": "one", "last_frame": "9", "duration_s": "2"}
    assert "asked to do: {{arms}}" in fill(load_prompt("facts_sequence.v1"), values)


def test_a_value_too_few_or_too_many_is_refused() -> None:
    with pytest.raises(UsageError):
        fill(load_prompt("facts_sequence.v1"), {"instruction": "x"})
    with pytest.raises(UsageError):
        load_prompt("facts_sequence.v999")
