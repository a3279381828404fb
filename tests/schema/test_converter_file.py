"""Converter files: every one decodes; what does not decode is named with its path."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from finedata.errors import SpecError, UsageError
from finedata.schema.converter_file import (
    converter_json_schema,
    decode_converter,
    find_converter,
    list_converters,
)

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "converters").glob("*.toml"))
TEXT = (ROOT / "converters" / "bridge_v2.toml").read_text()
OPTION = """
[options.order]
default = "euler_xyz_extrinsic"
choices = ["euler_xyz_extrinsic", "rotation_vector"]
why = "two papers disagree"

# The authors' own build"""
# A file with one doubt, which the rotation of the first variant's action leaves to the user.
WITH_OPTION = TEXT.replace("\n# The authors' own build", OPTION, 1).replace(
    'feature = "steps/action", columns = [3, 6], encoding = "euler_xyz_extrinsic"',
    'feature = "steps/action", columns = [3, 6], encoding = "option:order"',
    1,
)


def test_the_walk_found_every_file() -> None:
    assert len(FILES) >= 10
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


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_choice_of_every_option_decodes(file: Path) -> None:
    found = find_converter(file.stem)
    for name, option in found.converter.options.items():
        assert f'"option:{name}"' in found.text, "an option that nothing asks"
        assert option.why
        decoded = [find_converter(file.stem, choices={name: choice}) for choice in option.choices]
        assert len({repr(one.converter.variants) for one in decoded}) == len(option.choices)


def test_published_schema_is_the_codes() -> None:
    published = (ROOT / "schemas" / "converter.schema.json").read_text()
    assert published == converter_json_schema()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEXT.replace('"euler_xyz_extrinsic"', '"option:anything"', 1), True),
        (TEXT.replace('"euler_xyz_extrinsic"', '"optional"', 1), False),
        (TEXT.replace('reader = "rlds"', 'reader = "rosbag"', 1), False),
        (TEXT.replace("composition =", "compositon =", 1), False),
    ],
)
def test_the_published_schema_knows_options_and_refuses_what_we_refuse(
    text: str, *, says: bool
) -> None:
    assert text != TEXT
    checked = jsonschema.Draft202012Validator(json.loads(converter_json_schema()))
    assert checked.is_valid(tomllib.loads(text)) is says


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "composition =",
            "compositon =",
            r"`compositon` - at `\$\.variants\[0\]\.arms\[0\]\.action`",
        ),
        (
            "fps = 5.0",
            'fps = "five"',
            r"Expected `float.*`, got `str` - at `\$\.variants\[0\]\.time\.fps`",
        ),
        ("fps = 5.0", "fps = 0.0", r"> 0\.0 - at `\$\.variants\[0\]\.time\.fps`"),
        ('reader = "rlds"', 'reader = "rosbag"', r"\$\.variants\[0\]\.reader"),
        (
            "columns = [3, 6]",
            "columns = [3, 7]",
            r"not the 3 columns .*\$\.variants\[0\]\.arms\[0\]\.state\.rot",
        ),
        (
            "columns = [0, 3]",
            "columns = [0, 2]",
            r"not 3 columns.*\$\.variants\[0\]\.arms\[0\]\.state\.position",
        ),
        ('name = "image_1"', 'name = "image_0"', r"second camera named 'image_0'"),
        (
            "[variants.time]",
            '[[variants.vectors]]\nname = "action.hand"\npieces = [{ feature = "x" }]\n'
            'width = 2\nnames = ["thumb"]\n\n[variants.time]',
            r"1 names for a width of 2.*\$\.variants\[0\]\.vectors\[0\]\.names",
        ),
        ('left = "+y"', 'left = "-y"', "not a right-handed frame"),
        ('left = "+y"', 'left = "+x"', "not a right-handed frame"),
        ('refers_to = "previous_target"\n', "", "without `composition` and `refers_to`"),
        ('reference = "delta"', 'reference = "next_state"', "recorded pose beside"),
        ("name =", "name ==", "not TOML"),
        ("[variants.time]\n", "", r"\$"),
        # What came with several forms, rates and arms.
        ('name = "oxe"', 'name = "bridge_dataset"', r"second variant .*\$\.variants\[1\]\.name"),
        ("fps = 5.0\n", "", r"neither `fps` nor `fps_feature`.*\$\.variants\[0\]\.time"),
        ("fps = 5.0\n", 'rate = "from_timestamps"\n', "`rate = from_timestamps` without"),
        ('space = "ee"', 'space = "undeclared"', "arms and space `undeclared` exclude"),
        ('space = "ee"', 'space = "joint"', "space `joint` without `joints`"),
        (
            'feature = "steps/observation/image_0"\nrole',
            'feature = "steps/observation/*"\nrole',
            r"a `\*` goes with the name `\*`",
        ),
        ("[-1.0, 0.0, 0.0]", "[1.0, 0.0, 0.0]", "not orthonormal with determinant"),
        ('encoding = "euler_xyz_extrinsic"', 'encoding = "option:doubt"', "`option:doubt`"),
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


def encodings(text: str, **choices: str) -> tuple[str, str]:
    """The encodings of the first variant's state and action."""
    found = decode_converter(text, origin="mine.toml", choices=choices)
    (arm,) = found.converter.variants[0].arms
    assert arm.state.rotation is not None
    assert arm.action.rotation is not None
    return arm.state.rotation.encoding, arm.action.rotation.encoding


def test_an_option_stands_for_its_default_or_the_choice() -> None:
    assert WITH_OPTION.count('"option:order"') == 1
    assert encodings(WITH_OPTION) == ("euler_xyz_extrinsic", "euler_xyz_extrinsic")
    assert encodings(WITH_OPTION, order="rotation_vector") == (
        "euler_xyz_extrinsic",
        "rotation_vector",
    )


def test_a_choice_changes_no_text_and_no_digest() -> None:
    """What a dataset records is the file as it was written; the choices are recorded beside it."""
    found = decode_converter(WITH_OPTION, origin="a", choices={"order": "rotation_vector"})
    assert found.text == WITH_OPTION
    assert found.sha256 == hashlib.sha256(WITH_OPTION.encode()).hexdigest()


def test_a_choice_is_checked_like_anything_else() -> None:
    """The choice stands in the file: four columns are asked of three."""
    text = WITH_OPTION.replace('"rotation_vector"]', '"rotation_vector", "quaternion_xyzw"]')
    with pytest.raises(SpecError, match="not the 4 columns of `quaternion_xyzw`"):
        encodings(text, order="quaternion_xyzw")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"order": "quaternion_xyzw"}, r"option order=quaternion_xyzw.*one of euler_xyz_extrins"),
        ({"ordre": "rotation_vector"}, r"option ordre=rotation_vector: .*options order of mine"),
    ],
)
def test_unknown_options_and_choices_are_wrong_usage(choices: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        decode_converter(WITH_OPTION, origin="mine.toml", choices=choices)
    assert not isinstance(caught.value, SpecError)
    with pytest.raises(UsageError, match=r"options \(none\) of mine"):
        decode_converter(TEXT, origin="mine.toml", choices={"order": "rotation_vector"})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('default = "euler_xyz_extrinsic"', 'default = "quaternion_wxyz"', "wxyz', not a choice"),
        ('default = "euler_xyz_extrinsic"\n', "", "default"),
        ("[options.order]", "[optoins.order]", "optoins|option:order"),
        (OPTION, '\noptions = "order"\n# The', "options|option:order"),
    ],
)
def test_what_is_wrong_with_an_option_is_named(old: str, new: str, message: str) -> None:
    assert old in WITH_OPTION
    with pytest.raises(SpecError, match=message):
        decode_converter(WITH_OPTION.replace(old, new, 1), origin="mine.toml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b'name = "\xf7"')
    with pytest.raises(SpecError, match=r"mine\.toml.*utf-8"):
        find_converter(str(path))
