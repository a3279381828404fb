"""Steps whose wording the motion contradicts are told in other words, and the row says why.

Facts that the motion contradicts are kept with their verdict, as each stands alone. A step cannot
be left out: the fine-grained instruction would skip what was done, and policies learn from it. It
could be asked again, but the teacher saw the same pictures before and would be paid twice, and the
motion is read when rows are made, after the last answer. So the wording falls back, in this order,
to the first that the motion does not contradict: the step as the source wrote it, its verb and its
object, what the motion itself shows. The teacher's own answer stays in the ledger of calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from finedata.kinematic.judge.wording import (
    arm_contradiction,
    contradiction,
    measured_wording,
    verb_contradiction,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.annotate.asking.answers import Step
    from finedata.kinematic import Measured


def borne_out_steps(steps: Sequence[Step], measured: Measured | None) -> list[Step]:
    """The same steps, those that the motion contradicts in other words and with the reason.

    Args:
        steps: Steps of one episode.
        measured: Its motion; None where there is none, and nothing is contradicted.
    """
    if measured is None:
        return list(steps)
    return [_borne_out(step, measured) for step in steps]


def _borne_out(step: Step, measured: Measured) -> Step:
    frames, verb = (step.start_frame, step.end_frame), step.verb or ""
    wrong_arm = arm_contradiction(step.arm, step.text, step.verb, measured, frames=frames)
    arm = None if wrong_arm else step.arm

    def wrong(text: str) -> str:
        return contradiction(text, measured, frames=frames, arm=arm, object=step.object)

    wrong_verb = ""
    if verb:
        wrong_verb = verb_contradiction(verb, measured, frames=frames, arm=arm, object=step.object)
    why = wrong_arm or wrong_verb or wrong(step.text)
    if not why:
        return step
    plain = "" if wrong_verb else _plain(verb, step.object)
    wordings = (
        step.text_original or "",
        plain,
        measured_wording(measured, frames=frames, arm=arm),
    )
    said = next((text for text in wordings if text and not wrong(text)), "")
    return msgspec.structs.replace(
        step,
        text=said or _neutral(step.object),
        arm=arm,
        verb=None if wrong_verb else step.verb,
        reworded=why,
    )


def _neutral(thing: str | None) -> str:
    """A sentence that claims nothing of the motion, where nothing else is left."""
    return f"Works on {_with_article(thing)}." if thing else "The robot acts."


def _plain(verb: str, thing: str | None) -> str:
    """Verb and object as a sentence: `Pick up the cup.`."""
    if not verb:
        return ""
    if not thing:
        return f"{verb}."
    return f"{verb} {_with_article(thing)}."


def _with_article(thing: str) -> str:
    named = thing.casefold().startswith(("the ", "a ", "an ", "its ", "both "))
    return thing if named else f"the {thing}"
