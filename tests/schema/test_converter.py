"""Converter files: every one decodes; what does not decode is named with its path."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

import jsonschema
import pytest

from finedata.errors import SpecError
from finedata.motion import ENCODING_WIDTH, Composition, RotationEncoding
from finedata.schema import converter
from finedata.schema.converter import (
    converter_json_schema,
    decode_converter,
    find_converter,
    list_converters,
)

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "converters").glob("*.toml"))
TEXT = (ROOT / "converters" / "bridge_v2.toml").read_text()


def test_the_walk_found_every_file() -> None:
    assert len(FILES) >= 1
    assert [found.converter.name for found in list_converters()] == [file.stem for file in FILES]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_file_decodes_and_obeys_the_published_schema(file: Path) -> None:
    found = find_converter(file.stem)
    assert found.converter.name == file.stem
    assert found.text == file.read_text()
    assert find_converter(str(file)).sha256 == found.sha256
    for said in (found.converter.licence, found.converter.citation, found.converter.home):
        assert said
    schema = json.loads((ROOT / "schemas" / "converter.schema.json").read_text())
    jsonschema.validate(tomllib.loads(found.text), schema)
    assert found.text.startswith("#:schema ../schemas/converter.schema.json\n")


def test_published_schema_is_the_codes() -> None:
    published = (ROOT / "schemas" / "converter.schema.json").read_text()
    assert published == converter_json_schema()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "composition =",
            "compositon =",
            r"`compositon` - at `\$\.arms\[0\]\.action`",
        ),
        ("fps = 5.0", 'fps = "five"', r"Expected `float`, got `str` - at `\$\.time\.fps`"),
        ("fps = 5.0", "fps = 0.0", r"> 0\.0 - at `\$\.time\.fps`"),
        ('reader = "rlds"', 'reader = "rosbag"', r"\$\.reader"),
        ("columns = [3, 6]", "columns = [3, 7]", r"not the 3 columns .*\$\.arms\[0\]\.state\.rot"),
        ("columns = [0, 3]", "columns = [0, 2]", r"not 3 columns.*\$\.arms\[0\]\.state\.position"),
        ('name = "image_1"', 'name = "image_0"', r"second camera named 'image_0'"),
        ('left = "+y"', 'left = "-y"', "not a right-handed frame"),
        ('left = "+y"', 'left = "+x"', "not a right-handed frame"),
        ('refers_to = "previous_target"\n', "", "without `composition` and `refers_to`"),
        ('reference = "delta"', 'reference = "next_state"', "recorded pose beside"),
        ("name =", "name ==", "not TOML"),
        ("[time]\n", "", r"\$"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(SpecError, match=message) as caught:
        decode_converter(TEXT.replace(old, new, 1), origin="mine.toml")
    assert caught.value.place == "mine.toml"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["brigde_v2", "../pyproject", "bridge_v2.", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(SpecError):
        find_converter(name)


def test_both_rooms_mean_the_same_encodings() -> None:
    """schema/ and motion/ do not import each other; here they are held together."""
    assert dict(converter._ROTATION_WIDTH) == dict(ENCODING_WIDTH)
    assert get_args(converter.RotationEncoding) == get_args(RotationEncoding)
    composition = get_type_hints(converter.ActionSpec)["composition"]
    assert set(get_args(get_args(composition)[0])) == set(get_args(Composition))
