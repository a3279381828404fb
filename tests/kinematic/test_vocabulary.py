"""Words in, claims out: many ways to say a thing, and none where it is not said."""

from __future__ import annotations

from math import radians

import pytest

from finedata.kinematic.words import vocabulary as say


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("left", ("left",)),
        ("leftwards", ("left",)),
        ("To the left.", ("left",)),
        ("moves the cup upward", ("up",)),
        ("raises the cup", ("up",)),
        ("lowers the cup", ("down",)),
        ("towards the robot", ("backward",)),
        ("away from the robot base", ("forward",)),
        ("back", ("backward",)),
        ("forward-left", ("forward", "left")),
        ("up and to the right", ("up", "right")),
        ("from left to right", ("right",)),
        ("left by 20 cm", ("left",)),
        ("the left arm moves right", ("right",)),
        ("right gripper", None),
        ("picks up the cup", None),
        ("upside down", None),
        ("to the right of the plate", None),
        ("toward the left bowl", None),
        ("does not move left", None),
        ("doesn't move left", None),
        ("across the table", None),
        ("back and forth", None),
    ],
)
def test_directions(text, wanted):
    assert say.directions(say.normal(text)) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("from above", ("down",)),
        ("top-down", ("down",)),
        ("from the left side", ("right",)),
        ("from the front", ("forward",)),
        ("from behind the bowl", ("backward",)),
        ("the right arm comes from above", ("down",)),
        ("from the side", None),
        ("from left and right", None),
    ],
)
def test_sources(text, wanted):
    assert say.sources(say.normal(text)) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Clockwise", ("clockwise", None)),
        ("anti clockwise", ("counter-clockwise", None)),
        ("CCW about the vertical axis", ("counter-clockwise", "vertical")),
        ("counter-clockwise as seen along its approach axis", ("counter-clockwise", "approach")),
        ("tilts the cup forward", ("tilts forward", "lateral")),
        ("tilted to the left", ("tilts left", "frontal")),
        ("yaw", ("any", "vertical")),
        ("clockwise as seen from the camera", None),
        ("clockwise then counterclockwise", None),
        ("turns left", None),
    ],
)
def test_rotations(text, wanted):
    assert say.rotation_claim(say.normal(text)) == wanted


def test_numbers():
    assert say.extent_m("about 20 cm") == pytest.approx(0.2)
    assert say.extent_m("10-20 mm") == pytest.approx(0.015)
    assert say.extent_m("0.35 m") == pytest.approx(0.35)
    assert say.extent_m("a few centimetres") is None
    assert say.angle_rad("90 degrees") == pytest.approx(radians(90))
    assert say.angle_rad("45°") == pytest.approx(radians(45))
    assert say.angle_rad("a half turn") == pytest.approx(radians(180))
    assert say.angle_rad("slightly") is None
    assert say.count_claim("two attempts") == 2
    assert say.count_claim("3") == 3
    assert say.count_claim("one or two") is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("closes", ("close", False)),
        ("opening", ("open", False)),
        ("closed", ("close", True)),
        ("the gripper remains open", ("open", True)),
        ("opens then closes", None),
        ("partially closed", None),
        ("does not close", None),
    ],
)
def test_grippers(text, wanted):
    assert say.closing_claim(say.normal(text)) == wanted


def test_arms_shapes_and_verbs():
    assert say.arm_claim("the left gripper moves right") == "left"
    assert say.arm_claim("both arms") == "both"
    assert say.arm_claim("left and right arms") == "both"
    assert say.arm_claim("moves to the left") is None
    assert say.shape_claim("in a semicircular arc") == "arc"
    assert say.shape_claim("circular") == "circular"
    assert say.shape_claim("straight, then an arc") is None
    assert say.verb_claim("re-grasps".replace("-", " ")) == "grasp"
    assert say.verb_claim("lets go of the cup") == "release"
    assert say.verb_claim("lifts and rotates") == "lift"
    assert say.verb_claim("inserts") is None
