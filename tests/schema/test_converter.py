"""The vocabularies of converter files are those of the rooms that follow them."""

from __future__ import annotations

from typing import get_args, get_type_hints

from finedata.motion import ENCODING_WIDTH, Composition, RotationEncoding
from finedata.motion.kinematics import MODELS
from finedata.schema import converter, converter_file
from finedata.schema.enums import RECEIPT_FLAGS, SPACES


def test_both_rooms_mean_the_same_encodings() -> None:
    """schema/ and motion/ do not import each other; here they are held together."""
    widths = dict(converter_file._ROTATION_WIDTH)
    # Four columns, of which the numbers themselves tell whether they are the one or the other.
    assert widths.pop("quaternion_or_euler") == 4
    assert widths == dict(ENCODING_WIDTH)
    assert get_args(converter.RotationEncoding) == (
        *get_args(RotationEncoding),
        "quaternion_or_euler",
    )
    composition = get_type_hints(converter.ActionSpec)["composition"]
    assert set(get_args(get_args(composition)[0])) == set(get_args(Composition))


def test_every_model_is_one_that_motion_knows() -> None:
    named = get_type_hints(converter.ArmSpec)["model"]
    assert set(get_args(get_args(named)[0])) == set(MODELS)


def test_spaces_and_what_is_left_out_are_in_the_published_lists() -> None:
    assert get_args(get_type_hints(converter.Variant)["space"]) == tuple(SPACES)
    for kind in get_args(converter.LeftOut):
        assert f"{kind}_not_converted" in RECEIPT_FLAGS
