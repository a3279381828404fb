"""Checking the answers about actions and steps: repaired and said so, or refused.

The released pipeline of FineVLA takes unparsable text for an instruction, and its raw step notes
for refined ones whenever the lengths agree; both are refusals here (`AnswerError`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finedata.annotate.asking.answers import (
    Action,
    RawStep,
    RefineAnswer,
    SequenceAnswer,
    Step,
    StepsAnswer,
    decode_answer,
    refuse,
    words,
)
from finedata.annotate.checks.verbs import VerbList, find_verb, verbs_of
from finedata.schema.identity import normalise_instruction

if TYPE_CHECKING:
    from collections.abc import Sequence

_ARMS = {
    **dict.fromkeys(("left", "left arm", "left gripper", "left hand", "l"), "left"),
    **dict.fromkeys(("right", "right arm", "right gripper", "right hand", "r"), "right"),
    **dict.fromkeys(("both", "both arms", "both hands", "left and right", "bimanual"), "both"),
    **dict.fromkeys(("none", "no arm"), "none"),
}


def find_arm(text: str | None) -> str | None:
    """`left`, `right`, `both` or `none`; None where a text says no arm.

    Example:
        >>> find_arm("Left arm")
        'left'
    """
    if text is None:
        return None
    return _ARMS.get(words(text.replace("_", " ")).casefold().removeprefix("the "))


def check_sequence(value: Any, *, verbs: VerbList = "full") -> tuple[list[Action], str, list[str]]:
    """Check the action sequence.

    Args:
        value: The decoded answer.
        verbs: Which list verbs are of.

    Returns:
        Actions, the main object, and notes of what was repaired.

    Raises:
        AnswerError: No action, a verb that is not of the list, or no main object.
    """
    answer = decode_answer(value, SequenceAnswer)
    notes: list[str] = []
    if not answer.action_sequence:
        refuse("action_sequence", "no action", "at least one")
    if not words(answer.main_object):
        refuse("main_object", "an empty text", "the object the task is about")
    actions = [
        Action(
            verb=_verb(action.verb, f"action {number}", notes, verbs),
            object=words(action.object),
            arm=find_arm(action.arm),
            detail=words(action.detail),
        )
        for number, action in enumerate(answer.action_sequence, start=1)
    ]
    return actions, words(answer.main_object), notes


def check_steps(
    value: Any,
    *,
    frames: int,
    arms: int,
    instruction: str,
    slack_frames: int = 1,
    verbs: VerbList = "full",
) -> tuple[list[Step], list[str]]:
    """Check refined steps.

    Args:
        value: The decoded answer.
        frames: Frames of the episode.
        arms: Arms of the robot: of one arm, steps cannot overlap and are cut at the next one.
        instruction: The raw instruction; to repeat it is no step.
        slack_frames: A step that ends this far past the episode ends with it: the distance of two
            pictures that were shown.
        verbs: Which list verbs are of.

    Returns:
        Steps in order, and notes of what was repaired.

    Raises:
        AnswerError: No step, an empty text, a verb that is not of the list, or frames outside the
            episode, reversed or out of order.
    """
    answer = decode_answer(value, StepsAnswer)
    notes: list[str] = []
    if not answer.steps:
        refuse("steps", "no step", "at least one")
    steps: list[Step] = []
    for number, raw in enumerate(answer.steps, start=1):
        start, end = _range(raw, number, frames=frames, slack=slack_frames, notes=notes)
        if steps and start < steps[-1].start_frame:
            refuse(
                f"step {number}", f"frame {start}", f"{steps[-1].start_frame} or later, in order"
            )
        steps.append(_step(raw, number, start, end, notes, verbs))
    if arms == 1:
        steps = _without_overlap(steps, notes)
    _refuse_copies(steps, [instruction] * len(steps), what="the request")
    return steps, notes


def check_refined(
    value: Any, *, source: Sequence[Step], verbs: VerbList = "full"
) -> tuple[list[Step], list[str]]:
    """Check steps that refine the source's: the same number, the same frames, another text.

    Args:
        value: The decoded answer.
        source: The source's steps, with their notes as `text`.
        verbs: Which list verbs are of.

    Raises:
        AnswerError: Another number of steps, an empty text, a verb that is not of the list, or
            the source's notes given back.
    """
    answer = decode_answer(value, RefineAnswer)
    notes: list[str] = []
    if len(answer.steps) != len(source):
        refuse("steps", f"{len(answer.steps)} steps", f"{len(source)}, as were given")
    steps: list[Step] = []
    for number, (raw, given) in enumerate(zip(answer.steps, source, strict=True), start=1):
        step = _step(raw, number, given.start_frame, given.end_frame, notes, verbs)
        steps.append(_with_original(step, given.text))
    _refuse_copies(steps, [step.text for step in source], what="the source's note")
    return steps, notes


def _with_original(step: Step, text: str) -> Step:
    return Step(
        text=step.text,
        start_frame=step.start_frame,
        end_frame=step.end_frame,
        verb=step.verb,
        object=step.object,
        arm=step.arm,
        text_original=text,
    )


def _step(
    raw: RawStep, number: int, start: int, end: int, notes: list[str], verbs: VerbList
) -> Step:
    text = words(raw.text)
    if not text:
        refuse(f"step {number}", "an empty text", "a sentence")
    return Step(
        text=text,
        start_frame=start,
        end_frame=end,
        verb=_verb(raw.verb, f"step {number}", notes, verbs),
        object=words(raw.object or "") or None,
        arm=find_arm(raw.arm),
    )


def _range(
    raw: RawStep, number: int, *, frames: int, slack: int, notes: list[str]
) -> tuple[int, int]:
    """The step's frames, those of a rounded end cut to the episode."""
    if raw.start_frame is None or raw.end_frame is None:
        refuse(f"step {number}", "no frames", "start_frame and end_frame")
    start, end = round(raw.start_frame), round(raw.end_frame)
    if not (0 <= start < frames and start < end <= frames + slack):
        refuse(
            f"step {number}",
            f"frames {start} to {end}",
            f"a range inside the episode's {frames} frames",
        )
    if end > frames:
        notes.append(f"step {number}: end {end} cut to {frames}")
    return start, min(end, frames)


def _without_overlap(steps: list[Step], notes: list[str]) -> list[Step]:
    """Cut each step at the next one's beginning: one arm does one thing at a time."""
    cut: list[Step] = []
    for number, (step, after) in enumerate(zip(steps, [*steps[1:], None], strict=True), start=1):
        if after is None or step.end_frame <= after.start_frame:
            cut.append(step)
            continue
        if after.start_frame == step.start_frame:
            refuse(
                f"steps {number} and {number + 1}",
                f"both from frame {step.start_frame}",
                "one after the other, as there is one arm",
            )
        notes.append(f"step {number}: end {step.end_frame} cut to {after.start_frame}")
        cut.append(_until(step, after.start_frame))
    return cut


def _until(step: Step, end_frame: int) -> Step:
    return Step(
        text=step.text,
        start_frame=step.start_frame,
        end_frame=end_frame,
        verb=step.verb,
        object=step.object,
        arm=step.arm,
        text_original=step.text_original,
    )


def _refuse_copies(steps: Sequence[Step], raw: Sequence[str], *, what: str) -> None:
    """Raw text passed off as fine-grained is no answer."""
    copied = [
        normalise_instruction(step.text) == normalise_instruction(text)
        for step, text in zip(steps, raw, strict=True)
    ]
    if all(copied):
        refuse("steps", f"nothing but {what}, word for word", "a description of each")


def _verb(text: str, place: str, notes: list[str], verbs: VerbList) -> str:
    verb = find_verb(text, verbs=verbs)
    if verb is None:
        refuse(place, f"the verb {text!r}", f"one of {', '.join(verbs_of(verbs))}")
    if verb != text:
        notes.append(f"{place}: verb {text!r} read as {verb!r}")
    return verb
