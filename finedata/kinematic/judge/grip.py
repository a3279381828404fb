"""Claims about what an arm does: which one acts, its gripper, its verbs, its attempts."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from finedata.kinematic.directions import AXES
from finedata.kinematic.judge.claims import Judged, Measurement
from finedata.kinematic.judge.path import MOVED_M, STILL_M, along_directions
from finedata.kinematic.judge.question import travel_along, untestable
from finedata.kinematic.judge.turn import STILL_RAD, TURNED_RAD, total_turn
from finedata.kinematic.measured import ACTIVE_JOINT_RAD
from finedata.kinematic.words import vocabulary as say

if TYPE_CHECKING:
    from finedata.kinematic.judge.question import Question
    from finedata.kinematic.measured import ArmMeasured, Measured

# A teacher's frames may be this far off an event that takes a moment.
_MARGIN_S = 0.5
# One opening of the gripper counts like this much of a way, where arms are compared.
_EVENT_M, _LEVER_M = 0.1, 0.12
# The same where arms are compared by their joints alone, and what of a joint is noise.
_EVENT_RAD, _STILL_JOINT_RAD = 0.3, 0.03
_OTHER_TRIES = ("insert", "push", "pull", "place", "placing", "hang", "press", "wipe", "stack")
_GRASP_WORDS = ("grasp", "grip", "grab", "pick", "clos", "attempt", "tries", "try", "retry")


def _busy_m(question: Question, arm: ArmMeasured) -> float:
    """How much an arm does within the frames: its way, with rotation and fingers made metres."""
    track = arm.track_m[question.start : question.end + 1]
    total = float(np.sqrt(((track - track[0]) ** 2).sum(axis=1).max()))
    if arm.has_rotation:
        total += _LEVER_M * total_turn(question, arm)
    events = [*question.events(arm, "close"), *question.events(arm, "open")]
    return total + _EVENT_M * len(events)


def _busy_rad(question: Question, arm: ArmMeasured) -> float:
    """The same of an arm whose joints are known: its widest joint, with fingers made radians."""
    events = [*question.events(arm, "close"), *question.events(arm, "open")]
    return arm.joint_range_rad + _EVENT_RAD * len(events)


def actor(question: Question, measured: Measured) -> Judged:
    """Which arm acts: one that does hardly anything while the other works does not."""
    claimed = say.arm_claim(question.value) or question.actor
    if claimed is None:
        return untestable("no arm is named")
    arms = {arm.name: arm for arm in measured.arms}
    wanted = ("right", "left") if claimed == "both" else (claimed,)
    for name in wanted:
        if name not in arms and arms:
            none = Measurement("arms_of_that_name", 0.0, "count", 1.0)
            return Judged("contradicted", none, f"there is no {name} arm")
    if not arms:
        return untestable("no arm is recorded")
    if not all(arm.is_watched for arm in arms.values()):
        return untestable("of an arm neither pose nor joints are recorded")
    if all(arm.has_pose for arm in arms.values()):
        busy = {name: _busy_m(question, arm) for name, arm in arms.items()}
        unit, moved, still = "m", MOVED_M, STILL_M
    elif not question.whole:
        return untestable("joints are not looked at frame by frame")
    elif not all(isfinite(arm.joint_range_rad) for arm in arms.values()):
        return untestable("of one arm only a pose is recorded, of the other only joints")
    else:
        busy = {name: _busy_rad(question, arm) for name, arm in arms.items()}
        unit, moved, still = "rad", ACTIVE_JOINT_RAD, _STILL_JOINT_RAD
    most = max(busy.values())
    least = min(busy[name] for name in wanted)
    measurement = Measurement("arm_activity", least, unit, max(moved, 0.3 * most))
    if least >= max(moved, 0.3 * most):
        return Judged("confirmed", measurement, "it acts")
    if most >= 1.4 * moved and least < max(still, 0.15 * most):
        return Judged("contradicted", measurement, "it does nothing while the other arm acts")
    return untestable("it does a little", measurement)


def gripper_state(question: Question, arm: ArmMeasured) -> Judged:
    """The gripper opens or closes, or stays so."""
    claim = say.closing_claim(question.value)
    if claim is None and not question.value:
        claim = say.closing_claim(question.text)
    if claim is None:
        return untestable("neither opening nor closing, or both")
    if not arm.has_gripper:
        return untestable("no gripper is recorded")
    kind, lasts = claim
    if lasts:
        return _lasting(kind, question, arm)
    return _event(kind, question, arm)


def _event(kind: str, question: Question, arm: ArmMeasured) -> Judged:
    """An event within the frames confirms; the opposite one alone, or none, contradicts."""
    other = "open" if kind == "close" else "close"
    first, last = question.start / question.fps, question.end / question.fps
    inside = question.events(arm, kind)
    if inside:
        time_s = inside[0].frame / question.fps
        measured = Measurement(f"gripper_{kind}_time", time_s, "s", first, last)
        return Judged("confirmed", measured, f"it does at {time_s:.2f} s")
    none = Measurement(f"gripper_{kind}_events", 0.0, "count", 1.0)
    if question.events(arm, other):
        return Judged("contradicted", none, f"it does not {kind}, but {other}")
    near = question.events(arm, kind, margin_s=_MARGIN_S)
    if near:
        time_s = near[0].frame / question.fps
        measured = Measurement(f"gripper_{kind}_time", time_s, "s", first, last)
        return Judged("confirmed", measured, f"it does at {time_s:.2f} s, close by")
    if question.events(arm, kind, margin_s=2.0 * _MARGIN_S):
        return untestable("it does, but later or earlier", none)
    return Judged("contradicted", none, f"it does not {kind} in these frames")


def _lasting(kind: str, question: Question, arm: ArmMeasured) -> Judged:
    closed = float(arm.gripper_closed[question.start : question.end].mean())
    share = closed if kind == "close" else 1.0 - closed
    seconds = (question.end - question.start) / question.fps
    measured = Measurement(f"gripper_{kind}_duration", share * seconds, "s", 0.7 * seconds, seconds)
    if share >= 0.7:
        return Judged("confirmed", measured, "it is so")
    if share <= 0.1 and not question.events(arm, kind, margin_s=_MARGIN_S):
        return Judged("contradicted", measured, "it is not so at any time")
    return untestable("it is so for a part of the time", measured)


def primitive_action(question: Question, arm: ArmMeasured) -> Judged:
    """A verb that needs a gripper event, a way or a rotation."""
    verb = say.verb_claim(question.value)
    if verb is None:
        return untestable("no verb that motion shows")
    if verb in ("grasp", "release"):
        if not arm.has_gripper:
            return untestable("no gripper is recorded")
        judged = _event("close" if verb == "grasp" else "open", question, arm)
        already = verb == "release" and not question.events(arm, "close")
        if judged.verdict == "contradicted" and already and not arm.events:
            return untestable("its gripper never moves", judged.measurement)
        return judged
    if verb == "rotate":
        return _rotates(question, arm)
    if not arm.has_pose:
        return untestable("no pose")
    if verb in ("lift", "lower"):
        if not arm.has_axes:
            return untestable("no base axes")
        travels = {word: travel_along(arm.track_m, axis, question) for word, axis in AXES.items()}
        word = "up" if verb == "lift" else "down"
        judged = along_directions((word,), travels, name="travel")
        if judged.verdict == "contradicted" and question.of_object_alone(arm):
            return untestable("the thing may move by itself", judged.measurement)
        return judged
    return _moves(question, arm, still=verb == "still")


def _rotates(question: Question, arm: ArmMeasured) -> Judged:
    if not arm.has_rotation:
        return untestable("no rotation is recorded")
    total = total_turn(question, arm)
    measured = Measurement("rotation", total, "rad", TURNED_RAD)
    if total >= TURNED_RAD:
        return Judged("confirmed", measured, "the tool turns")
    if total < STILL_RAD and not question.of_object_alone(arm):
        return Judged("contradicted", measured, "the tool does not turn")
    return untestable("the tool hardly turns", measured)


def _moves(question: Question, arm: ArmMeasured, *, still: bool) -> Judged:
    track = arm.track_m[question.start : question.end + 1]
    far = float(np.sqrt(((track - track[0]) ** 2).sum(axis=1).max()))
    if still:
        measured = Measurement("travel", far, "m", 0.0, MOVED_M)
        verdict = "confirmed" if far < MOVED_M else "contradicted"
        if MOVED_M <= far < 3.0 * MOVED_M:
            return untestable("it moves a little", measured)
        return Judged(verdict, measured, f"it moves by {far:.3f} m")
    measured = Measurement("travel", far, "m", MOVED_M)
    if far >= MOVED_M:
        return Judged("confirmed", measured, f"it moves by {far:.3f} m")
    turns = arm.has_rotation and total_turn(question, arm) >= TURNED_RAD
    if far < STILL_M and not turns and not question.of_object_alone(arm):
        return Judged("contradicted", measured, "the arm stays where it is")
    return untestable("it hardly moves", measured)


def _attempts(question: Question, arm: ArmMeasured) -> list[int]:
    """Attempts of each grasp within the frames, or of the nearest ones."""
    margin = round(question.fps)
    return [
        one.count
        for one in arm.tries
        if one.start_frame < question.end + margin and one.end_frame > question.start - margin
    ]


def _about_grasps(question: Question) -> bool:
    words = f"{question.value} {question.text}"
    if any(word in words for word in _OTHER_TRIES):
        return "grasp" in words
    return any(word in words for word in _GRASP_WORDS) or not question.text


def attempt_count(question: Question, arm: ArmMeasured) -> Judged:
    """How often it tries to grasp."""
    number = question.number if question.unit in ("count", None) else None
    claimed = say.count_claim(question.value) if number is None else round(number)
    if claimed is None or claimed < 1 or not arm.has_gripper or not _about_grasps(question):
        return untestable("no count of grasps")
    counts = _attempts(question, arm)
    most = max(counts, default=0)
    measured = Measurement("grasp_attempts", float(most), "count", float(claimed), float(claimed))
    if claimed == most or (claimed in counts and claimed > 1):
        return Judged("confirmed", measured, f"it tries {claimed} times")
    if not counts and claimed == 1:
        return untestable("no grasp in these frames", measured)
    if claimed == len(counts) and most == 1:
        return untestable("as many grasps, of different things", measured)
    return Judged("contradicted", measured, f"it tries {most} times")


def retry(question: Question, arm: ArmMeasured) -> Judged:
    """It grasps again, or not."""
    if not arm.has_gripper or not _about_grasps(question):
        return untestable("not about grasping")
    most = max(_attempts(question, arm), default=0)
    denied = question.value in ("no", "none", "no retry", "false") or say.is_negated(question.value)
    if denied:
        measured = Measurement("grasp_attempts", float(most), "count", 0.0, 1.0)
        verdict = "confirmed" if most <= 1 else "contradicted"
        return Judged(verdict, measured, f"it tries {most} times")
    measured = Measurement("grasp_attempts", float(most), "count", 2.0)
    if most >= 2:
        return Judged("confirmed", measured, f"it tries {most} times")
    return Judged("contradicted", measured, "its gripper closes on the thing only once")


def failure(question: Question, arm: ArmMeasured) -> Judged:
    """A grasp fails: shown by the next one; a thing that slips is not in the motion."""
    if not arm.has_gripper or not any(word in question.text for word in ("grasp", "grip", "pick")):
        return untestable("not about grasping")
    most = max(_attempts(question, arm), default=0)
    measured = Measurement("grasp_attempts", float(most), "count", 2.0)
    denied = question.value in ("no", "none", "no failure") or say.stationary(question.value)
    if denied:
        verdict = "contradicted" if most >= 2 else "untestable"
        return Judged(verdict, measured, f"it tries {most} times")
    if most >= 2:
        return Judged("confirmed", measured, f"it tries {most} times")
    return untestable("a failure without a repeated grasp leaves no trace", measured)
