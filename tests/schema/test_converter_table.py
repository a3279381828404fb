"""The page of the converters/ room is generated, and says what the files say."""

from __future__ import annotations

import json
import os
import re
import tomllib
import typing
from pathlib import Path
from typing import Any

import msgspec

from finedata.papers import paper_room
from finedata.schema.converter import Converter
from finedata.schema.converter_file import (
    converter_json_schema,
    decode_converter,
    list_converters,
)
from finedata.schema.converter_table import converters_page, source_rows
from finedata.schema.publish import publish_converters_page

ROOM = Path(str(paper_room("converters")))
GUIDE = ROOM.parent / "docs/converters.md"
SMALL = """
name = "small"
title = "Small | one"
story = "A story."
home = ""
licence = "MIT"
citation = "C"
revision = "1"
doubts = ["whether <b> is a tag"]

[options.arm]
default = "b"
choices = ["a", "b"]
why = "nobody knows"

[gate]
minimum_frames = 7
released_threshold = 0.25

[cluster]
k = 3

[[variants]]
name = "one"
reader = "lerobot"
embodiment = "unknown"
embodiment_feature = "dataset/robot_type"
space = "undeclared"
keep = ["*"]
episode = { locator = "x" }
time = { fps_feature = "dataset/fps" }
not_converted = { depth = ["depth_*"] }

[[variants]]
name = "two"
reader = "hdf5"
embodiment = "arm"
space = "undeclared"
episode = { locator = "x" }
time = { fps = 12.5 }

[[variants]]
name = "three"
reader = "hdf5"
embodiment = "arm"
space = "undeclared"
episode = { locator = "x" }
time = { timestamps = "t", rate = "from_timestamps" }
"""


def small_page() -> str:
    return converters_page([decode_converter(SMALL, origin="small").converter])


def test_the_committed_page_is_the_generated_one() -> None:
    if os.environ.get("FINEDATA_UPDATE_SCHEMAS") == "1":
        publish_converters_page(ROOM)
    assert (ROOM / "README.md").read_bytes() == converters_page().encode(), (
        "converters/README.md is stale: make schemas"
    )


def test_every_file_has_a_row_and_a_section() -> None:
    page = (ROOM / "README.md").read_text(encoding="utf-8")
    files = sorted(ROOM.glob("*.toml"))
    assert len(files) >= 11
    for path in files:
        assert f"[`{path.stem}`]({path.name})" in page
    for file in list_converters():
        assert f"### {file.converter.title}\n" in page
        for name in file.converter.options:
            assert f"`--option {name}=...`" in page
        for doubt in file.converter.doubts:
            assert f"- {' '.join(doubt.split())}\n" in page


def test_a_row_says_what_the_file_says() -> None:
    (row,) = source_rows([decode_converter(SMALL, origin="small").converter])
    assert row.readers == ("lerobot", "hdf5")
    assert row.robots == ("(named by the source)", "arm")
    assert row.fps == ("file", "12.5", "clock")
    assert row.options["arm"].choices == ("a", "b")
    assert [variant.name for variant in row.variants] == ["one", "two", "three"]


def test_the_table_and_the_section_of_a_source() -> None:
    page = small_page()
    (line,) = [line for line in page.splitlines() if line.startswith("| [`small`]")]
    assert [cell.strip() for cell in line.replace("\\|", "!").strip("|").split("|")] == [
        "[`small`](small.toml)", "Small ! one", "lerobot, hdf5", "3", "(named by the source), arm",
        "file, 12.5, clock", "undeclared", "MIT", "7 frames, 0.25", "3", "1 / 1 / 100",
    ]  # fmt: skip
    assert "- `--option arm=...`: `a`, `b` (default). nobody knows\n" in page
    assert "- whether &lt;b> is a tag\n" in page
    assert "- depth: `depth_*`\n" in page


def test_tables_have_equal_columns() -> None:
    lines = converters_page().splitlines()
    bars = {line.replace("\\|", "").count("|") for line in lines if line.startswith("|")}
    assert bars == {12}


def test_publishing_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    first = publish_converters_page(tmp_path).read_bytes()
    assert publish_converters_page(tmp_path).read_bytes() == first == converters_page().encode()


def test_the_page_ends_in_one_newline() -> None:
    assert converters_page().endswith("\n")
    assert not converters_page().endswith("\n\n")


def struct_keys(kind: type, seen: set[type]) -> set[str]:
    """Every key that a converter file may have, from the types that decode it."""
    if kind in seen:
        return set()
    seen.add(kind)
    keys: set[str] = set()
    for name, hint in typing.get_type_hints(kind).items():
        keys.add(name)
        for inner in inner_types(hint):
            keys |= struct_keys(inner, seen)
    return keys


def inner_types(hint: Any) -> list[type]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [inner for part in typing.get_args(hint) for inner in inner_types(part)]


def test_the_guide_explains_every_key() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    keys = struct_keys(Converter, set())
    assert len(keys) > 80
    missing = [
        key for key in sorted(keys) if not re.search(rf"`{key}\b|\b{key} =|, {key} `", guide)
    ]
    assert missing == []


def test_the_guide_explains_every_word() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    schema = json.dumps(json.loads(converter_json_schema()))
    words = {
        word
        for words in re.findall(r'"enum": \[([^\]]*)\]', schema)
        for word in json.loads(f"[{words}]")
    }
    words -= {"+x", "-x", "+y", "-y", "+z", "-z", None}
    assert len(words) > 50
    missing = [
        w
        for w in sorted(words)
        if w.removeprefix("observation.").removeprefix("action.") not in guide
    ]
    assert missing == []


def test_the_examples_of_the_guide_are_good() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 10
    whole, *parts = blocks
    assert decode_converter(whole, origin="the guide").converter.name == "my_arm"
    for part in parts:
        tomllib.loads(part)
