"""The page of the converters/ room is generated, and says what the files say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from finedata.papers import paper_room
from finedata.schema.converter_file import decode_converter, list_converters
from finedata.schema.converter_table import converters_page, source_rows
from finedata.schema.publish import publish_converters_page

ROOM = Path(str(paper_room("converters")))
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


@pytest.mark.parametrize("word", ["options", "doubts", "variants", "fps"])
def test_the_guide_explains_every_key(word: str) -> None:
    guide = (ROOM.parent / "docs/converters.md").read_text(encoding="utf-8")
    assert f"`{word}`" in guide
