"""The judge of what a teacher says: confirmed, contradicted or untestable, by the measured motion.

Three rules. A fact is contradicted only where its range of frames holds nothing like it; the range
itself is the teacher's, and may be off, so a claim needs to be true of a part of it only. Words
that can be read in two ways, and what the motion cannot show, are untestable. Where a fact does
not say which arm it means, it is true of any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finedata.kinematic.judge import body as judge_body
from finedata.kinematic.judge import grip as judge_grip
from finedata.kinematic.judge import path as judge_path
from finedata.kinematic.judge import turn as judge_turn
from finedata.kinematic.judge.claims import EpisodeJudgement, Judged, Measurement, Omission
from finedata.kinematic.judge.question import Question, untestable
from finedata.kinematic.words import vocabulary as say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from finedata.kinematic.judge.claims import Fact
    from finedata.kinematic.measured import ArmMeasured, Measured
    from finedata.kinematic.motion import ArmName

_OF_ARM: dict[str, Callable[[Question, ArmMeasured], Judged]] = {
    "primitive_action": judge_grip.primitive_action,
    "gripper_state": judge_grip.gripper_state,
    "approach_direction": judge_path.approach_direction,
    "translation_direction": judge_path.translation_direction,
    "translation_extent": judge_path.translation_extent,
    "path_shape": judge_path.path_shape,
    "rotation_direction": judge_turn.rotation_direction,
    "rotation_angle": judge_turn.rotation_angle,
    "retry": judge_grip.retry,
    "failure": judge_grip.failure,
    "attempt_count": judge_grip.attempt_count,
}
_OF_BODY: dict[str, Callable[[Question, Measured], Judged]] = {
    "base_motion": judge_body.base_motion,
    "torso_motion": judge_body.torso_motion,
    "camera_motion": judge_body.camera_motion,
}
_MENTIONS_RETRY = ("retry", "failure", "recovery_result", "attempt_count")


def judge(fact: Fact, measured: Measured) -> Judged:
    """Hold one fact against the motion.

    Args:
        fact: Columns of the table `facts`; see `claims`. What it lacks counts as null.
        measured: The episode.

    Returns:
        The verdict, and what was measured for it; never a guess.

    Example:
        >>> import numpy as np
        >>> from finedata.kinematic.measure import measure
        >>> from finedata.kinematic.motion import ArmMotion, EpisodeMotion
        >>> arm = ArmMotion("right", gripper_open=np.repeat([1.0, 0.0], 20))
        >>> measured = measure(EpisodeMotion((arm,), fps=10.0, frames=40))
        >>> fact = {"slot": "gripper_state", "value": "opens", "start_frame": 15, "end_frame": 25}
        >>> judge(fact, measured).verdict
        'contradicted'
    """
    question = Question.of(fact, measured)
    if question is None:
        return untestable("its frames lie outside the episode")
    slot = question.slot
    if slot in _OF_BODY:
        return _OF_BODY[slot](question, measured)
    if slot == "actor":
        return judge_grip.actor(question, measured)
    if slot not in _OF_ARM:
        return untestable("motion does not show it")
    return _of_arms(question, measured, _OF_ARM[slot])


def judge_episode(facts: Sequence[Fact], measured: Measured) -> EpisodeJudgement:
    """Hold all facts of an episode against its motion, and find what they leave out.

    Args:
        facts: All facts of one teacher about the episode.
        measured: The episode.

    Returns:
        Verdicts in the order of the facts; omissions: retries that no fact mentions. A fact that
        claims one attempt where there were more is contradicted, and does not mention them.
    """
    judged = tuple(judge(fact, measured) for fact in facts)
    known: set[tuple[str, int]] = set()
    for fact, verdict in zip(facts, judged, strict=True):
        if fact.get("slot") in _MENTIONS_RETRY and verdict.verdict != "contradicted":
            question = Question.of(fact, measured)
            if question is not None and _speaks_of_retry(fact, question):
                known.update(_tries_near(question, measured))
    omissions = [
        _omission(arm.name, one.start_frame, one.end_frame, one.count)
        for arm in measured.arms
        for number, one in enumerate(arm.tries)
        if one.count > 1 and (arm.name, number) not in known
    ]
    return EpisodeJudgement(judged, tuple(omissions))


def _of_arms(
    question: Question, measured: Measured, one: Callable[[Question, ArmMeasured], Judged]
) -> Judged:
    """A verdict over the arms that the fact may mean."""
    arms = {arm.name: arm for arm in measured.arms}
    if not arms:
        return untestable("no arm is recorded")
    wanted = list(arms) if question.actor is None else [question.actor]
    if question.actor == "both":
        wanted = ["right", "left"]
    missing = [name for name in wanted if name not in arms]
    if missing:
        none = Measurement("arms_of_that_name", 0.0, "count", 1.0)
        return Judged("contradicted", none, f"there is no {missing[0]} arm")
    if question.actor is None and any(arm.active for arm in arms.values()):
        wanted = [name for name in wanted if arms[name].active]
    found = [one(question, arms[name]) for name in wanted]
    if question.actor is None:
        ranked = ("confirmed", "untestable", "contradicted")
    else:
        ranked = ("contradicted", "untestable", "confirmed")
    return min(found, key=lambda judged: ranked.index(judged.verdict))


def _speaks_of_retry(fact: Fact, question: Question) -> bool:
    if fact.get("slot") != "attempt_count":
        return not say.stationary(question.value) and question.value not in ("no", "none")
    number = fact.get("value_number")
    count = say.count_claim(question.value) if number is None else int(number)
    return count is not None and count > 1


def _tries_near(question: Question, measured: Measured) -> set[tuple[str, int]]:
    margin = round(measured.fps)
    return {
        (arm.name, number)
        for arm in measured.arms
        if question.actor in (None, "both", arm.name)
        for number, one in enumerate(arm.tries)
        if one.start_frame < question.end + margin and one.end_frame > question.start - margin
    }


def _omission(arm: ArmName, start: int, end: int, count: int) -> Omission:
    measurement = Measurement("grasp_attempts", float(count), "count", float(count), float(count))
    why = f"the {arm} arm tries {count} times to grasp, and no fact says so"
    return Omission("retry", arm, start, end, measurement, why)
