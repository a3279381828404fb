"""The lists of verbs, their forms, and what the benchmark's own annotators wrote."""

from __future__ import annotations

import json
from math import tau
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finedata.annotate.asking.stages import sequence_request
from finedata.annotate.checks.facts import check_facts
from finedata.annotate.checks.verb_forms import forms
from finedata.annotate.checks.verbs import (
    _SYNONYMS,  # pyright: ignore[reportPrivateUsage]
    VERB_LISTS,
    VerbList,
    find_verb,
    verbs_of,
)
from finedata.annotate.results import EpisodeContext
from finedata.annotate.settings import AnnotateSettings
from finedata.kinematic.words import vocabulary as say
from finedata.schema.dimension import SLOT_DIMENSION

RELEASED = (
    *("Grasp", "Grab", "Drag", "Pick up", "Place", "Move", "Rotate"),
    *("Insert", "Push", "Wipe", "Sweep", "Knock", "Release", "Press"),
)


def test_the_released_list_is_the_papers_and_the_full_one_holds_it() -> None:
    assert verbs_of("released") == RELEASED
    assert verbs_of("full")[:14] == RELEASED
    assert len(verbs_of("full")) >= 47


@pytest.mark.parametrize(
    ("verb", "others"),
    [
        ("lift", {"lifts", "lifted", "lifting"}),
        ("place", {"places", "placed", "placing"}),
        ("push", {"pushes", "pushed", "pushing"}),
        ("pick up", {"picks up", "picked up", "picking up"}),
        ("flip", {"flips", "flipped", "flipping"}),
        ("tie", {"ties", "tied", "tying"}),
        ("carry", {"carries", "carried", "carrying"}),
        ("hold", {"holds", "held", "holding"}),
        ("cover", {"covers", "covered", "covering"}),
        ("put down", {"puts down", "put down", "putting down"}),
        ("stir", {"stirs", "stirred", "stirring"}),
    ],
)
def test_forms(verb: str, others: set[str]) -> None:
    assert forms(verb) == {verb, *others}


@pytest.mark.parametrize(
    ("said", "verb"),
    [
        ("PICK UP", "Pick up"),
        ("pick_up", "Pick up"),
        ("picks up", "Pick up"),
        ("lifting", "Lift"),
        ("raised", "Lift"),
        ("move downward", "Move"),
        ("retract arm", "Retract"),
        ("retracts the left arm", "Retract"),
        ("make contact", "Touch"),
        ("turns over", "Flip"),
        ("turn", "Rotate"),
        ("slid", "Slide"),
        ("put down", "Place"),
        ("carries", "Transport"),
    ],
)
def test_a_verb_is_found_whatever_its_form(said: str, verb: str) -> None:
    assert find_verb(said) == verb


@pytest.mark.parametrize(
    ("said", "verbs"),
    [
        *[(said, "released") for said in ("Lift", "Stack", "put", "raises", "turn over")],
        *[(said, "full") for said in ("", "the cup", "think", "pick and place", "lift the cup")],
    ],
)
def test_what_is_no_verb_of_the_list_is_none(said: str, verbs: VerbList) -> None:
    assert find_verb(said, verbs=verbs) is None


@pytest.mark.parametrize("verbs", VERB_LISTS)
def test_every_verb_is_itself_in_every_form(verbs: VerbList) -> None:
    for verb in verbs_of(verbs):
        for form in forms(verb.casefold()):
            assert find_verb(form, verbs=verbs) == verb, form


def test_a_synonym_has_one_verb_and_is_none_itself() -> None:
    others = [other for those in _SYNONYMS.values() for other in those]
    assert len(others) == len(set(others))
    assert not {other.capitalize() for other in others} & set(verbs_of("full"))
    for verb, those in _SYNONYMS.items():
        assert {find_verb(form) for other in those for form in forms(other)} == {verb}


@given(st.text(max_size=30))
def test_any_text_is_a_verb_of_the_list_or_none(said: str) -> None:
    for verbs in VERB_LISTS:
        assert find_verb(said, verbs=verbs) in {None, *verbs_of(verbs)}


def test_the_list_decides_what_is_asked_and_what_the_run_is_called() -> None:
    full = AnnotateSettings(teacher="openai", model="m")
    released = AnnotateSettings(teacher="openai", model="m", verbs="released")
    assert full.run_id("facts") != released.run_id("facts")
    assert full.run_id("traces") == released.run_id("traces")
    # the name of runs from before there was a choice
    assert released.run_id("facts") == "344e97c9d5af6d8a"
    row = {"episode_id": "a", "task": "x", "length": 9, "fps": 3.0, "arms": ["right"]}
    context = EpisodeContext(row=row, source_steps=[])
    for settings in (full, released):
        request = sequence_request(context, [], settings)
        action: Any = request.schema["properties"]["action_sequence"]
        assert action["items"]["properties"]["verb"]["enum"] == list(verbs_of(settings.verbs))
        assert ("Lift" in request.prompt) == (settings is full)


def a_fact(slot: str, value: str, **more: Any) -> dict[str, Any]:
    return {
        "dimension": SLOT_DIMENSION[slot],
        "slot": slot,
        "object": None,
        "actor": None,
        "value": value,
        "number": None,
        "unit": None,
        "text": f"{slot} is {value}",
        "anchor": None,
        "confidence": 1.0,
        **more,
    }


@pytest.mark.parametrize(
    ("slot", "unit", "number", "wanted"),
    [
        ("rotation_angle", "turns", 3.5, (3.5 * tau, "rad")),
        ("rotation_angle", "rotations", 0.25, (0.25 * tau, "rad")),
        ("base_motion", "revolution", 1, (tau, "rad")),
        ("rotation_angle", "°", 180, (tau / 2, "rad")),
        ("path_shape", "turns", 2, (2.0, "count")),
        ("attempt_count", "turns", 2, (2.0, "count")),
        ("rotation_angle", "furlongs", 2, (None, None)),
    ],
)
def test_turns_are_angles_of_what_turns_and_counts_elsewhere(
    slot: str, unit: str, number: float, wanted: tuple[float, str]
) -> None:
    facts, notes = check_facts({"facts": [a_fact(slot, "x", number=number, unit=unit)]}, steps=1)
    assert (facts[0].number, facts[0].unit) == pytest.approx(wanted)
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("said", "turns"),
    [
        ("3.5 rotations", 3.5),
        ("two full turns", 2.0),
        ("half turn", 0.5),
        ("a full turn", 1.0),
        ("one revolution", 1.0),
        ("90 degrees", 0.25),
    ],
)
def test_the_motions_judge_reads_turns(said: str, turns: float) -> None:
    assert say.angle_rad(said) == pytest.approx(turns * tau)
    assert say.angle_rad(f"{said}, then 2 turns") is None


def test_values_of_primitive_actions_are_folded_with_the_full_list_only() -> None:
    answer = {"facts": [a_fact("primitive_action", "picks_up")]}
    assert check_facts(answer, steps=1)[0][0].value == "pick up"
    assert check_facts(answer, steps=1, verbs="released")[0][0].value == "picks_up"
    # a direction is a part of the value
    answer = {"facts": [a_fact("primitive_action", "move downward")]}
    assert check_facts(answer, steps=1)[0][0].value == "move downward"


@pytest.fixture(scope="module")
def benchmark_facts(real_data: Path) -> dict[str, list[dict[str, Any]]]:
    """The ground truth of RoboFine-Bench by sample, as a teacher would have answered it."""
    samples: dict[str, list[dict[str, Any]]] = {}
    for name in ("judge_labels.jsonl", "droid_149029_labels.jsonl"):
        for line in (real_data / "robofine_bench" / name).read_text().splitlines():
            sample = json.loads(line)
            samples[sample["sample_id"]] = [
                a_fact(
                    slot,
                    value,
                    text=f"{fact_id}: {value}",
                    dimension=fact_id.rsplit("_", 1)[0],
                    # the labels leave out of what it is: two relations are of two things
                    object=fact_id,
                )
                for fact_id, slot, value, _ in sample["facts"]
            ]
    return samples


def test_the_benchmarks_own_facts_pass(benchmark_facts: dict[str, list[dict[str, Any]]]) -> None:
    given = passed = 0
    folded: set[str] = set()
    for facts in benchmark_facts.values():
        # each of its own step, as the labels do not keep the anchors
        placed = [{**fact, "anchor": f"step_{k}"} for k, fact in enumerate(facts, start=1)]
        kept, notes = check_facts({"facts": placed}, steps=len(placed))
        given, passed = given + len(facts), passed + len(kept)
        assert not [note for note in notes if "moved from" in note]
        folded |= {note.partition(": ")[2] for note in notes if "verb" in note}
    assert (given, passed) == (644, 644)
    assert folded == {
        "verb 'pick_up' read as 'pick up'",
        "verb 'translate' read as 'move'",
        "verb 'make contact' read as 'touch'",
    }


def test_every_verb_of_the_benchmark_is_in_the_full_list(
    benchmark_facts: dict[str, list[dict[str, Any]]],
) -> None:
    facts = [fact for of in benchmark_facts.values() for fact in of]
    verbs = [fact["value"] for fact in facts if fact["slot"] == "primitive_action"]
    assert (len(facts), len(verbs), len(set(verbs))) == (644, 204, 32)
    assert [verb for verb in verbs if find_verb(verb) is None] == []
    # what the paper's own fourteen refuse, beyond "move downward" and "move backward"
    assert sum(find_verb(verb, verbs="released") is None for verb in verbs) == 71


def test_the_benchmarks_values_are_read_or_left(
    benchmark_facts: dict[str, list[dict[str, Any]]],
) -> None:
    """What the motion's judge makes of them: closed words, numbers, or nothing; never an error."""
    read: dict[str, set[str]] = {}
    readers = {
        "gripper_state": say.closing_claim,
        "rotation_angle": say.angle_rad,
        "rotation_direction": say.rotation_claim,
        "attempt_count": say.count_claim,
        "path_shape": say.shape_claim,
        "actor": say.arm_claim,
    }
    for fact in (fact for of in benchmark_facts.values() for fact in of):
        reader = readers.get(fact["slot"])
        if reader is not None and reader(say.normal(fact["value"])) is None:
            read.setdefault(fact["slot"], set()).add(fact["value"])
    assert read == {}
