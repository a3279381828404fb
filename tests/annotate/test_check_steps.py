from __future__ import annotations

import pytest
from annotate.scripted import fact

from finedata.annotate.asking.answers import AnswerError, Step
from finedata.annotate.checks.facts import check_facts
from finedata.annotate.checks.steps import check_refined, check_sequence, check_steps, find_arm
from finedata.annotate.checks.verbs import VerbList


def step(start: int, end: int, text: str = "Grasps the cup by its rim.", **more):
    return {
        "verb": "Grasp",
        "object": "cup",
        "arm": "right",
        "text": text,
        "start_frame": start,
        "end_frame": end,
        **more,
    }


def checked(*steps, arms: int = 1, **more):
    return check_steps(
        {"steps": list(steps)}, frames=20, arms=arms, instruction="take the cup", **more
    )


@pytest.mark.parametrize(
    ("said", "verbs"),
    [("Lift", "released"), ("Stack", "released"), ("", "full"), ("vanish", "full")],
)
def test_other_verbs_are_refused(said: str, verbs: VerbList) -> None:
    action = {"verb": said, "object": "cup", "arm": "right", "detail": ""}
    with pytest.raises(AnswerError, match="verb"):
        check_sequence({"action_sequence": [action], "main_object": "cup"}, verbs=verbs)


def test_a_folded_verb_is_noted() -> None:
    action = {"verb": "lifting", "object": "cup", "arm": "right", "detail": ""}
    actions, _, notes = check_sequence({"action_sequence": [action], "main_object": "cup"})
    assert actions[0].verb == "Lift"
    assert notes == ["action 1: verb 'lifting' read as 'Lift'"]


def test_a_sequence_without_an_action_or_object_is_refused() -> None:
    with pytest.raises(AnswerError):
        check_sequence({"action_sequence": [], "main_object": "cup"})
    action = {"verb": "Grasp", "object": "cup", "arm": "right", "detail": ""}
    with pytest.raises(AnswerError):
        check_sequence({"action_sequence": [action], "main_object": " "})


@pytest.mark.parametrize("said", ["left", "Left arm", "the left gripper"])
def test_arms_are_found(said: str) -> None:
    assert find_arm(said) == "left"
    assert find_arm("arm") is None


def test_steps_keep_their_frames() -> None:
    steps, notes = checked(step(0, 8), step(8, 20, "Lifts it."))
    assert [(one.start_frame, one.end_frame) for one in steps] == [(0, 8), (8, 20)]
    assert notes == []


def test_an_end_just_past_the_episode_is_cut_and_noted() -> None:
    steps, notes = checked(step(0, 25), slack_frames=5)
    assert steps[0].end_frame == 20
    assert "cut to 20" in notes[0]


@pytest.mark.parametrize(
    "steps",
    [
        [step(0, 40)],
        [step(20, 21)],
        [step(5, 5)],
        [step(9, 3)],
        [step(-1, 3)],
        [step(10, 12), step(3, 5)],
        [step(0, 5, "  ")],
        [step(0, 5, "Take the CUP.")],
        [step(None, 5)],
        [step(3, 9), step(3, 7)],
        [],
    ],
)
def test_bad_steps_are_refused(steps) -> None:
    with pytest.raises(AnswerError):
        checked(*steps)


def test_one_arm_does_one_thing_at_a_time_and_two_do_not() -> None:
    steps, notes = checked(step(0, 12), step(8, 20, "Lifts it."))
    assert (steps[0].end_frame, len(notes)) == (8, 1)
    steps, notes = checked(step(0, 12), step(8, 20, "Lifts it."), arms=2)
    assert (steps[0].end_frame, notes) == (12, [])


SOURCE = [
    Step(text="grab", start_frame=0, end_frame=4),
    Step(text="lift", start_frame=4, end_frame=9),
]


def refined(*texts: str):
    return check_refined({"steps": [step(0, 0, text) for text in texts]}, source=SOURCE)


def test_refined_steps_keep_the_sources_frames_and_notes() -> None:
    steps, _ = refined("Grabs the red cup.", "Lifts it by 10 cm.")
    assert [(s.start_frame, s.end_frame, s.text_original) for s in steps] == [
        (0, 4, "grab"),
        (4, 9, "lift"),
    ]


@pytest.mark.parametrize("texts", [("grab", "Lift."), ("Grabs it.",), ("a", "b", "c"), ("a", " ")])
def test_raw_notes_or_another_number_of_steps_are_no_refinement(texts) -> None:
    with pytest.raises(AnswerError):
        refined(*texts)


def facts(*found, steps: int = 2):
    return check_facts({"facts": list(found)}, steps=steps)


def test_a_fact_is_typed_and_anchored() -> None:
    [found], _ = facts(
        fact("trajectory_and_orientation", "translation_extent", "10 cm", "It moves by 10 cm.")
        | {"number": 10, "unit": "cm", "anchor": "step_2"}
    )
    assert (found.number, found.unit) == (pytest.approx(0.1), "m")
    assert (found.anchor, found.step) == ("step", 1)


@pytest.mark.parametrize(
    ("anchor", "wanted"),
    [
        ("step_1", ("step", 0, None)),
        ("Step 2", ("step", 1, None)),
        ("between_step_1_and_step_2", ("between", 0, 1)),
        ("between_step_1_step_2", ("between", 0, 1)),
        ("between_1_2", ("between", 0, 1)),
        ("episode", ("episode", None, None)),
        ("episode_end", ("episode_end", None, None)),
        (None, ("episode", None, None)),
    ],
)
def test_anchors(anchor, wanted) -> None:
    [found], _ = facts(fact("target_object", "color", "red", "It is red.", anchor=anchor))
    assert (found.anchor, found.step, found.next_step) == wanted


@pytest.mark.parametrize(
    "bad",
    [
        fact("target_object", "flavour", "sweet", "It is sweet."),
        fact("taste", "color", "red", "It is red."),
        fact("target_object", "color", "red", "It is red.", anchor="step_3"),
        fact("target_object", "color", "red", "It is red.", anchor="step_0"),
        fact("target_object", "color", "red", "It is red.", anchor="between_2_1"),
        fact("target_object", "color", "red", "It is red.", anchor="later"),
        fact("target_object", "color", " ", "It is red."),
        fact("target_object", "color", "red", "\n"),
        fact("target_object", "color", "red", "In step 2 it is red."),
        fact("active_actor", "actor", "the robot", "The robot acts."),
    ],
)
def test_bad_facts_are_refused(bad) -> None:
    with pytest.raises(AnswerError):
        facts(fact("target_object", "category", "cup", "It is a cup."), bad)


@pytest.mark.parametrize("value", [{"facts": []}, {}, "text", [1], {"facts": [{"slot": "color"}]}])
def test_answers_of_another_form_are_refused(value) -> None:
    with pytest.raises(AnswerError):
        check_facts(value, steps=2)


def test_a_slot_goes_to_its_dimension() -> None:
    [found], notes = facts(fact("initial_configuration", "color", "red", "It is red."))
    assert found.dimension == "target_object"
    assert len(notes) == 1


def test_a_configuration_is_anchored_to_its_end_of_the_episode() -> None:
    [found], notes = facts(fact("final_configuration", "final_pose", "upright", "It ends upright."))
    assert (found.anchor, found.step) == ("episode_end", None)
    assert len(notes) == 1


def test_a_text_occurs_once_in_a_dimension() -> None:
    found, notes = facts(
        fact("target_object", "color", "red", "The cup is red."),
        fact("target_object", "material", "red", "the cup  is red"),
    )
    assert len(found) == 1
    assert len(notes) == 1


def test_of_facts_in_one_place_the_more_specific_stays() -> None:
    vague = fact("target_object", "color", "red", "The cup is red.")
    exact = fact("target_object", "color", "dark red with a white rim", "Its colour is dark red.")
    other = fact("target_object", "color", "red", "The lid is red.", object="lid")
    for pair in ([vague, exact], [exact, vague]):
        found, _ = facts(*pair, other)
        assert {one.value for one in found if one.object == "cup"} == {exact["value"]}
        assert len(found) == 2


def test_facts_come_in_the_order_of_dimensions() -> None:
    found, _ = facts(
        fact("body_motion", "base_motion", "none", "The base stands still."),
        fact("action_sequence", "primitive_action", "grasp", "It grasps."),
    )
    assert [one.dimension for one in found] == ["action_sequence", "body_motion"]


def test_what_cannot_be_measured_is_left_out_and_noted() -> None:
    [found], notes = facts(
        fact("target_object", "color", "red", "It is red.", number=3, unit="bananas", confidence=7)
    )
    assert (found.number, found.unit, found.confidence) == (None, None, None)
    assert len(notes) == 2
