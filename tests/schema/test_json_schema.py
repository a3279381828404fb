"""Schemas of our types read alike, however the library at hand lays out docstrings."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from finedata.schema.converter_file import converter_json_schema
from finedata.schema.json_schema import json_schema

if TYPE_CHECKING:
    from collections.abc import Callable


class Step(msgspec.Struct, forbid_unknown_fields=True):
    """One step of a task.

    It has a verb:
        indented further on purpose.
    """

    verb: str
    description: int
    before: Step | None = None


DEDENTED = "One step of a task.\n\nIt has a verb:\n    indented further on purpose."


def _indented(text: str) -> str:
    """As msgspec before 0.23 gives a docstring: only the first line without its indentation."""
    first, *rest = inspect.cleandoc(text).split("\n")
    return "\n".join([first, *(f"    {line}" if line else line for line in rest)])


def _laid_out(node: Any, layout: Callable[[str], str]) -> Any:
    if isinstance(node, list):
        return [_laid_out(item, layout) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: layout(value)
        if key == "description" and isinstance(value, str)
        else _laid_out(value, layout)
        for key, value in node.items()
    }


def test_the_schema_names_its_parts() -> None:
    schema = json_schema(Step)
    assert schema["$defs"]["Step"]["required"] == ["verb", "description"]
    assert schema["$defs"]["Step"]["properties"]["description"] == {"type": "integer"}
    assert schema["$defs"]["Step"]["description"] == DEDENTED


@pytest.mark.parametrize("layout", [_indented, inspect.cleandoc, lambda text: f"{text}\n    "])
def test_text_is_the_same_for_indented_and_dedented_docstrings(
    monkeypatch: pytest.MonkeyPatch, layout: Callable[[str], str]
) -> None:
    ours, page = json_schema(Step), converter_json_schema()
    library = msgspec.json.schema  # noqa: TID251

    def laid_out(type_: Any) -> Any:
        return _laid_out(library(type_), layout)

    monkeypatch.setattr(msgspec.json, "schema", laid_out)
    assert (layout(DEDENTED) == DEDENTED) is (layout is inspect.cleandoc), "the layouts differ"
    assert json_schema(Step) == ours
    assert converter_json_schema() == page


def test_text_is_the_same_where_python_dedents_docstrings(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = json_schema(Step)
    for text in (_indented(DEDENTED), DEDENTED):
        monkeypatch.setattr(Step, "__doc__", text)
        assert json_schema(Step) == ours


@pytest.mark.parametrize("null_first", [True, False])
def test_null_is_the_last_alternative(monkeypatch: pytest.MonkeyPatch, null_first: bool) -> None:
    ours = [{"$ref": "#/$defs/Step"}, {"type": "null"}]
    schema = msgspec.json.schema(Step)  # noqa: TID251
    before = schema["$defs"]["Step"]["properties"]["before"]
    before["anyOf"] = ours[::-1] if null_first else ours
    monkeypatch.setattr(msgspec.json, "schema", lambda _: schema)
    assert json_schema(Step)["$defs"]["Step"]["properties"]["before"]["anyOf"] == ours
