from __future__ import annotations

import pytest
from annotate.scripted import TRACE

from finedata.annotate.asking.answers import AnswerError
from finedata.annotate.trace_text import read_trace, trace_text

WANTED = read_trace(TRACE)

VARIANTS = {
    "lower case": TRACE.lower(),
    "numbered": TRACE.replace("<Observation>", "#1 <Observation>").replace(
        "<Situation Analysis>", "#2 <Situation Analysis>"
    ),
    "numbers inside": TRACE.replace("<Observation>", "<#1 Observation>"),
    "closing tags": (
        "<Observation>A cup stands on the table.</Observation>"
        "<Situation Analysis>Nothing is held yet.</Situation Analysis>"
        "<Spatial Reasoning>The cup is left of the gripper.</Spatial Reasoning>"
        "<Task Planning>Fetch it.<logical_steps><1>reach</1><2>grasp</2></logical_steps>"
        "<sub_action>move left</sub_action></Task Planning>"
    ),
    "underscores": TRACE.replace("<Situation Analysis>", "<situation_analysis>").replace(
        "<sub_action>", "<sub-action>"
    ),
    "headings": (
        "**Observation:** A cup stands on the table.\n\n**Situation Analysis:** Nothing is held "
        "yet.\n\n**Spatial Reasoning:** The cup is left of the gripper.\n\n## Task Planning\n"
        "Fetch it.\n\nLogical Steps:\n1. reach\n2. grasp\n\nsub_action: move left"
    ),
    "fence": f"```\n{TRACE}\n```",
    "thinking before": f"<Observation> <Task Planning> \nLet me see.\n{TRACE}",
}


@pytest.mark.parametrize("text", VARIANTS.values(), ids=VARIANTS)
def test_variants_say_the_same(text: str) -> None:
    found = read_trace(text)
    folded = [getattr(found, name) for name in found.__struct_fields__]
    wanted = [getattr(WANTED, name) for name in WANTED.__struct_fields__]
    assert str(folded).lower() == str(wanted).lower()


def test_the_text_reads_back() -> None:
    assert read_trace(trace_text(WANTED)) == WANTED


def test_planning_without_words_is_its_steps() -> None:
    found = read_trace(TRACE.replace("Fetch it.", ""))
    assert found.task_planning == "(1) reach (2) grasp"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot help with that.",
        TRACE.replace("A cup stands on the table.", ""),
        TRACE.replace("<Situation Analysis>", ""),
        TRACE.replace("The cup is left of the gripper.", " \n "),
        TRACE.partition("<Task Planning>")[0],
        TRACE.partition("<logical_steps>")[0],
        TRACE.partition("<sub_action>")[0],
        TRACE.replace("move left", ""),
        TRACE.replace("<1> reach <2> grasp", "<1> <2>"),
    ],
)
def test_a_part_that_is_missing_or_empty_is_no_trace(text: str) -> None:
    with pytest.raises(AnswerError):
        read_trace(text)
