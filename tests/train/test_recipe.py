"""Recipes: strict, flat, and known by a digest that covers every default."""

from __future__ import annotations

import json

import msgspec
import pytest
from jsonschema import Draft202012Validator

from finedata.errors import SpecError, UsageError
from finedata.papers import paper_room
from finedata.schema.recipe_file import (
    Recipe,
    decode_recipe,
    find_recipe,
    list_recipes,
    recipe_digest,
    recipe_toml,
)

SHORT = """
version = 1
head = "oft"
backbone = "tiny:qwen3_vl"
query_token = "<|action|>"
steps = 4
batch = 8
micro_batch = 4
lr_vlm = 1e-3
lr_vision = 1e-3
lr_head = 1e-3
"""


@pytest.mark.parametrize("name", list_recipes())
def test_what_is_shipped_decodes_and_conforms_to_the_published_schema(name: str) -> None:
    found = find_recipe(name)
    assert found.name == name
    schema = json.loads((paper_room("schemas") / "v1" / "recipe.schema.json").read_text("utf-8"))
    Draft202012Validator(schema).validate(json.loads(msgspec.json.encode(found.recipe)))


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("stepz = 4", "did you mean `steps`"),
        ('steps = "four"', "steps"),
        ("dit_width = 64", "`dit_width`, which nothing reads while `head` is 'oft'"),
        ("lora_alpha = 8.0", "`lora_alpha`, which nothing reads while `lora_rank` is 0"),
        ('prompt = "go"', "without {text}"),
        ("batch = 7", "no multiple of `micro_batch`"),
        ("prompt_lengths = [128, 64]", "`prompt_lengths` [128, 64], not rising"),
        ("prompt_lengths = [4096]", "below `max_tokens`"),
        ('revision = "main"', "revision"),
        ("version = 2", "version"),
        ("steps = ", "not TOML"),
    ],
)
def test_what_is_wrong_is_named(line: str, wanted: str) -> None:
    key = line.split(" ")[0]
    kept = [one for one in SHORT.splitlines() if not one.startswith(f"{key} =")]
    with pytest.raises(SpecError) as refused:
        decode_recipe("\n".join([*kept, line]), place="mine.toml")
    assert wanted in str(refused.value)
    assert "mine.toml" in str(refused.value)


def test_the_head_oft_needs_a_query_token() -> None:
    with pytest.raises(SpecError, match="query_token"):
        decode_recipe(SHORT.replace("query_token", "# query_token"), place="x")


def test_changes_are_recorded_and_change_the_digest() -> None:
    plain = decode_recipe(SHORT, place="a/mine.toml")
    other = decode_recipe(
        SHORT, place="a/mine.toml", changes={"lr_vlm": "2e-4", "mix": "fg=2,raw=1", "steps": "9"}
    )
    assert (other.recipe.lr_vlm, other.recipe.mix, other.recipe.steps) == (2e-4, "fg=2,raw=1", 9)
    assert other.changed == {"lr_vlm": "2e-4", "mix": "fg=2,raw=1", "steps": "9"}
    assert plain.sha256 != other.sha256
    with pytest.raises(SpecError, match="stpes"):
        decode_recipe(SHORT, place="x", changes={"stpes": "1"})


def test_the_digest_covers_defaults_and_no_writing() -> None:
    plain = decode_recipe(SHORT, place="x")
    told = decode_recipe("# a comment\n" + recipe_toml(plain.recipe), place="y")
    assert told.recipe == plain.recipe
    assert told.sha256 == plain.sha256 == recipe_digest(plain.recipe)
    for key in Recipe.__struct_fields__:
        value = getattr(plain.recipe, key)
        if isinstance(value, bool | int | float):
            other = msgspec.structs.replace(plain.recipe, **{key: value + 1})
            assert recipe_digest(other) != plain.sha256, key


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match="tiny_oft"):
        find_recipe("tiny_otf")
