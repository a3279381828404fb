"""Claims about rotations: sense, axis and angle, held against the summed rotation of the tool."""

from __future__ import annotations

from math import degrees, radians
from typing import TYPE_CHECKING

import numpy as np

from finedata.kinematic.judge.claims import Judged, Measurement
from finedata.kinematic.judge.question import Travel, travel_along, untestable
from finedata.kinematic.words import vocabulary as say

if TYPE_CHECKING:
    from finedata.kinematic.judge.question import Question
    from finedata.kinematic.measured import ArmMeasured, Vector3

TURNED_RAD = radians(12.0)
"""A rotation of at least this is one."""
STILL_RAD = radians(7.0)
"""A rotation of less than this is none."""
_CLEAR_RAD = radians(20.0)

_TILTS: dict[str, Vector3] = {
    "tilts forward": (0.0, 1.0, 0.0),
    "tilts backward": (0.0, -1.0, 0.0),
    "tilts right": (1.0, 0.0, 0.0),
    "tilts left": (-1.0, 0.0, 0.0),
}
_AXES: dict[str, Vector3] = {
    "vertical": (0.0, 0.0, 1.0),
    "lateral": (0.0, 1.0, 0.0),
    "frontal": (1.0, 0.0, 0.0),
}


def total_turn(question: Question, arm: ArmMeasured) -> float:
    """The largest rotation from the first frame of a fact's range, in radians."""
    turned = arm.turned_rad[question.start : question.end + 1]
    return float(np.sqrt(((turned - turned[0]) ** 2).sum(axis=1).max()))


def rotation_direction(question: Question, arm: ArmMeasured) -> Judged:
    """About what, and in which sense, the tool turns."""
    claim = say.rotation_claim(question.value)
    if claim is None and not say.is_negated(question.value):
        claim = say.rotation_claim(question.text)
    if claim is None:
        return untestable("no sense or axis in words that are defined")
    if not arm.has_rotation:
        return untestable("no rotation is recorded")
    judged = _judge_sense(*claim, question, arm)
    if judged.verdict != "untestable" and question.of_object_alone(arm):
        return untestable("the thing may turn by itself", judged.measurement)
    return judged


def _judge_sense(sense: str, axis: str | None, question: Question, arm: ArmMeasured) -> Judged:
    total = total_turn(question, arm)
    if total < STILL_RAD:
        measured = Measurement("rotation", total, "rad", TURNED_RAD)
        return Judged("contradicted", measured, "the tool does not turn")
    name, travel = _about(sense, axis, question, arm, total)
    if travel is None:
        return untestable("its axis cannot be told", Measurement("rotation", total, "rad"))
    forth, back = travel.forth, travel.back
    if sense == "any":
        forth, back = max(forth, back), 0.0
    least = max(TURNED_RAD, 0.5 * back, 0.4 * total)
    if max(forth, back) < max(TURNED_RAD, 0.4 * total):
        measured = Measurement(f"rotation_about_{name}", forth, "rad", least)
        if total >= _CLEAR_RAD and forth + back < 0.3 * total:
            return Judged("contradicted", measured, f"it turns, but not about the {name} axis")
        return untestable(f"it hardly turns about the {name} axis", measured)
    measured = Measurement(f"rotation_about_{name}", forth, "rad", least)
    if forth >= least:
        if sense == "any" and forth < 0.5 * total:
            return untestable("it turns about another axis as well", measured)
        return Judged("confirmed", measured, f"it turns {degrees(forth):.0f} degrees so")
    if forth < max(0.25 * back, radians(4.0)):
        return Judged("contradicted", measured, f"it turns {degrees(back):.0f} degrees against it")
    return untestable("it turns both ways", measured)


def _about(
    sense: str, axis: str | None, question: Question, arm: ArmMeasured, total: float
) -> tuple[str, Travel | None]:
    """Rotation in the claimed sense about the axis that the claim means."""
    if sense in _TILTS:
        name = "lateral" if sense in ("tilts forward", "tilts backward") else "frontal"
        if not arm.has_axes:
            return name, None
        return name, travel_along(arm.turned_rad, _TILTS[sense], question)
    turn = -1.0 if sense == "counter-clockwise" else 1.0
    if axis in ("lateral", "frontal"):
        # No convention says from which side clockwise is seen here.
        known = sense == "any" and arm.has_axes
        return axis, travel_along(arm.turned_rad, _AXES[axis], question) if known else None
    along = _along_approach(turn, question, arm) if len(arm.approach) else None
    above = None
    if arm.has_axes:
        above = travel_along(arm.turned_rad, (0.0, 0.0, -turn), question)
    if axis == "vertical":
        return "vertical", above
    if axis == "approach":
        return "approach", along
    if along is not None and (above is None or along.forth + along.back >= TURNED_RAD):
        return "approach", along
    if above is None:
        return "approach", None
    if along is None and max(above.forth, above.back) < 0.8 * total:
        # Where the tool points is unknown, and it does not turn about the vertical alone.
        return "vertical", None
    return "vertical", above


def _along_approach(turn: float, question: Question, arm: ArmMeasured) -> Travel:
    """Rotation about wherever the tool points at each moment."""
    first, end = question.start, min(question.end + 1, len(arm.turned_rad))
    steps = np.diff(arm.turned_rad[first:end], axis=0)
    way = np.zeros((end - first, 3))
    way[1:, 0] = np.cumsum(turn * np.einsum("tk,tk->t", steps, arm.approach[first : end - 1]))
    sum_of = way[:, 0]
    forth = float((sum_of - np.minimum.accumulate(sum_of)).max())
    back = float((np.maximum.accumulate(sum_of) - sum_of).max())
    return Travel(float(sum_of[-1]), forth, back)


def rotation_angle(question: Question, arm: ArmMeasured) -> Judged:
    """By how much the tool turns."""
    claimed = question.number if question.unit == "rad" else None
    if claimed is None:
        claimed = say.angle_rad(question.value)
    if claimed is None and not question.value:
        claimed = say.angle_rad(question.text)
    if claimed is None:
        return untestable("no angle")
    if not arm.has_rotation:
        return untestable("no rotation is recorded")
    turned = arm.turned_rad[question.start : question.end + 1]
    net = float(np.sqrt(((turned[-1] - turned[0]) ** 2).sum()))
    total = total_turn(question, arm)
    low, high = min(net, total), max(net, total)
    claimed = abs(claimed)
    lower, upper = max(0.0, 0.75 * low - radians(10.0)), 1.33 * high + radians(10.0)
    measured = Measurement("rotation", total, "rad", lower, upper)
    if lower <= claimed <= upper:
        return Judged("confirmed", measured, f"it turns by {degrees(total):.0f} degrees")
    if question.of_object_alone(arm):
        return untestable("the thing may turn by itself", measured)
    if claimed < 0.6 * low - radians(15.0) or claimed > 1.6 * high + radians(15.0):
        return Judged("contradicted", measured, f"it turns by {degrees(total):.0f} degrees")
    return untestable(f"it turns by {degrees(total):.0f} degrees, which may be meant", measured)
