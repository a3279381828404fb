"""Sentences of steps held against motion whose truth is known, and what stands in their place."""

from __future__ import annotations

import numpy as np
import pytest

from finedata.annotate.asking.answers import Step
from finedata.annotate.checks.step_wording import borne_out_steps
from finedata.kinematic import ArmMotion, EpisodeMotion, Measured, measure
from finedata.kinematic.judge.wording import contradiction, measured_wording
from finedata.motion.quaternion import multiply as product
from finedata.schema.converter import BaseAxes

FPS, UP, TURN, GRIP = 20.0, (0, 40), (40, 80), (80, 120)


def arm_motion(name: str, *, moving: bool = True) -> ArmMotion:
    """Rises 20 cm in two seconds, turns clockwise by 90 degrees in two, closes in two."""
    k = np.arange(120)
    position = np.zeros((120, 3))
    position[:, 0], position[:, 2] = 0.3, 0.1
    angle = np.zeros(120)
    gripper = np.ones(120)
    if moving:
        position[:, 2] += 0.2 * np.clip(k / 38, 0, 1)
        angle = np.pi / 2 * np.clip((k - 40) / 38, 0, 1)
        gripper = np.clip((105 - k) / 10, 0.0, 1.0)
    turn = np.stack([0 * angle, 0 * angle, np.sin(angle / 2), np.cos(angle / 2)], axis=1)
    down = np.tile([0.0, 1.0, 0.0, 0.0], (120, 1))
    return ArmMotion(
        "right" if name == "right" else "left",
        position_m=position,
        quaternion_xyzw=product(down, turn),
        gripper_open=gripper,
        base_axes=BaseAxes(forward="+x", left="+y", up="+z"),
        tool_frame="flange",
    )


@pytest.fixture(scope="module")
def one() -> Measured:
    return measure(EpisodeMotion((arm_motion("right"),), fps=FPS, frames=120))


@pytest.fixture(scope="module")
def two() -> Measured:
    """The left arm rests."""
    arms = (arm_motion("right"), arm_motion("left", moving=False))
    return measure(EpisodeMotion(arms, fps=FPS, frames=120))


LIES = [
    (UP, "Lowers the cup.", "primitive_action"),
    (UP, "The right arm carefully picks up the cup.", "primitive_action"),
    (UP, "Release the cup.", "primitive_action"),
    (UP, "Moves the gripper downward by 20 cm.", "translation_direction"),
    (UP, "Slowly moves up and to the left.", "translation_direction"),
    (UP, "Lifts the cup by 70 cm.", "translation_extent"),
    (UP, "Turns the wrist clockwise.", "rotation_direction"),
    (TURN, "Turns the wrist counter-clockwise.", "rotation_direction"),
    (TURN, "Turns the wrist clockwise by 270 degrees.", "rotation_angle"),
    (TURN, "The gripper turns by two full turns.", "rotation_angle"),
    (UP, "Closes the gripper.", "gripper_state"),
    (GRIP, "The gripper opens and waits.", "gripper_state"),
]
BORNE_OUT = [
    (UP, "Lifts the cup up by 20 cm, away from the table."),
    (UP, "Moves up to the cup on the left."),
    (UP, "Lifts the lid 30 cm wide, which lies on the right side of the bowl."),
    (UP, "Raises the gripper before it moves to the left and opens."),
    (UP, "Does not move left."),
    (UP, "Opens the drawer."),
    (UP, "Lifts the closed box with the left handle."),
    (TURN, "Turns the wrist clockwise by a quarter turn."),
    (TURN, "Turns the wrist until the gripper closes."),
    (GRIP, "The gripper closes on the cup, so that it can be moved down."),
    (GRIP, "Grasps the upper left corner of the cloth."),
    (UP, "Moves the red cup."),
    (UP, ""),
]


@pytest.mark.parametrize(("frames", "text", "slot"), LIES)
def test_a_false_sentence_is_contradicted(one, frames, text, slot) -> None:
    found = contradiction(text, one, frames=frames, arm="right", object=None)
    assert found.startswith(slot)
    assert ": it " in found or ": the tool" in found


@pytest.mark.parametrize(("frames", "text"), BORNE_OUT)
def test_a_true_or_doubtful_sentence_is_not(one, frames, text) -> None:
    assert contradiction(text, one, frames=frames, arm="right", object=None) == ""


def step(text: str, frames=UP, **more) -> Step:
    given = {"verb": "Move", "object": "cup", "arm": "right"}
    return Step(text=text, start_frame=frames[0], end_frame=frames[1], **{**given, **more})


@pytest.mark.parametrize(("frames", "text", "slot"), LIES)
def test_the_sources_own_words_come_first(one, frames, text, slot) -> None:
    [told] = borne_out_steps([step(text, frames, verb=None, text_original="do it")], one)
    assert told.text == "do it"
    assert told.reworded.startswith(slot)
    assert (told.arm, told.object) == ("right", "cup")


def test_then_verb_and_object_then_the_motions_words(one) -> None:
    down = "Moves the cup down."
    [told] = borne_out_steps([step(down, text_original="lower the cup")], one)
    assert told.text == "Move the cup."
    [told] = borne_out_steps([step(down, verb="Lower")], one)
    assert told.text.startswith("The right arm")
    assert "up" in told.text or "lifts" in told.text or "reaches" in told.text
    assert told.verb is None
    assert told.reworded.startswith('primitive_action "lower"')
    assert not contradiction(told.text, one, frames=UP, arm="right", object="cup")


def test_an_arm_that_rests_does_not_act_but_may_hold(two) -> None:
    [told] = borne_out_steps([step("The left arm moves the cup.", arm="left")], two)
    assert told.arm is None
    assert told.text == "Move the cup."
    assert "actor" in told.reworded
    held = step("The left arm holds the cup.", arm="left", verb="Hold")
    assert borne_out_steps([held], two) == [held]


def test_what_is_borne_out_stays_and_without_motion_all_does(one) -> None:
    for frames, text in BORNE_OUT[:-1]:
        given = step(text, frames, verb=None)
        assert borne_out_steps([given], one) == [given]
    lies = [step(text, frames) for frames, text, _ in LIES]
    assert borne_out_steps(lies, None) == lies


@pytest.mark.parametrize("frames", [UP, TURN, GRIP, (0, 120), (30, 90)])
def test_the_motions_own_words_are_never_contradicted(one, frames) -> None:
    text = measured_wording(one, frames=frames, arm="right")
    assert text
    assert contradiction(text, one, frames=frames, arm="right", object="cup") == ""
