"""Claims about base, torso and head."""

from __future__ import annotations

from math import radians
from typing import TYPE_CHECKING

import numpy as np

from finedata.kinematic.body import (
    LEAST_DRIVE_M,
    LEAST_JOINT_RAD,
    LEAST_LIFT_M,
    LEAST_SPIN_RAD,
)
from finedata.kinematic.directions import AXES
from finedata.kinematic.judge.claims import Judged, Measurement
from finedata.kinematic.judge.path import along_directions
from finedata.kinematic.judge.question import Travel, travel_along, untestable
from finedata.kinematic.words import vocabulary as say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.kinematic.judge.question import Question
    from finedata.kinematic.measured import Measured

_STILL_M, _STILL_RAD, _STILL_JOINT_RAD = 0.02, radians(3.0), 0.03
_PLANE = ("forward", "backward", "left", "right")
_TURNING = ("turn", "rotat", "spin", "pivot", "clockwise")


def base_motion(question: Question, measured: Measured) -> Judged:
    """The base drives, turns, or stands."""
    track = measured.body.base_track
    if not len(track):
        return untestable("no base is recorded")
    words = question.value or question.text
    driven = np.where([True, True, False], track, 0.0)
    piece = track[question.start : question.end + 1] - track[question.start]
    way = float(np.sqrt((piece[:, :2] ** 2).sum(axis=1).max()))
    turn = float(np.abs(piece[:, 2]).max())
    if say.stationary(words):
        return _stands(way, turn)
    if any(word in words for word in _TURNING):
        return _turns(words, question, track)
    claimed = say.directions(words)
    if claimed is not None:
        travels = {word: travel_along(driven, AXES[word], question) for word in _PLANE}
        return along_directions(claimed, travels, name="base_travel", still_m=_STILL_M)
    if not any(word in words for word in ("driv", "mov", "travel", "roll", "navigat")):
        return untestable("no motion of the base in these words")
    measurement = Measurement("base_travel", way, "m", LEAST_DRIVE_M)
    if way >= LEAST_DRIVE_M or turn >= LEAST_SPIN_RAD:
        return Judged("confirmed", measurement, "the base moves")
    if way < _STILL_M and turn < _STILL_RAD:
        return Judged("contradicted", measurement, "the base stands")
    return untestable("the base hardly moves", measurement)


def _stands(way: float, turn: float) -> Judged:
    measurement = Measurement("base_travel", way, "m", 0.0, LEAST_DRIVE_M)
    if way < LEAST_DRIVE_M and turn < LEAST_SPIN_RAD:
        return Judged("confirmed", measurement, "the base stands")
    if way >= 2.0 * LEAST_DRIVE_M or turn >= 2.0 * LEAST_SPIN_RAD:
        return Judged("contradicted", measurement, "the base moves")
    return untestable("the base hardly moves", measurement)


def _turns(words: str, question: Question, track: NDArray[np.float64]) -> Judged:
    left = "left" in words or "counterclockwise" in words
    right = "right" in words or " clockwise" in f" {words}"
    if left == right or say.is_negated(words):
        return untestable("no sense of turning")
    spun = np.where([False, False, True], track, 0.0)
    travel: Travel = travel_along(spun, (0.0, 0.0, 1.0 if left else -1.0), question)
    least = max(LEAST_SPIN_RAD, 0.5 * travel.back)
    measurement = Measurement("base_turn", travel.forth, "rad", least)
    if travel.forth >= least:
        return Judged("confirmed", measurement, "it turns so")
    if travel.forth < max(_STILL_RAD, 0.25 * travel.back):
        return Judged("contradicted", measurement, "it does not turn so")
    return untestable("it hardly turns, or both ways", measurement)


def torso_motion(question: Question, measured: Measured) -> Judged:
    """The torso rises or sinks where its height is recorded; else it moves or not."""
    track, words = measured.body.torso_track, question.value or question.text
    if not len(track):
        return untestable("no torso is recorded")
    claimed = say.directions(words)
    if not measured.body.torso_is_lift:
        return _joints("torso", track, question, words)
    if claimed is None:
        return _joints("torso", track, question, words, unit_m=True)
    height = np.zeros((len(track), 3))
    height[:, 2] = track[:, 0]
    travels = {word: travel_along(height, AXES[word], question) for word in ("up", "down")}
    return along_directions(claimed, travels, name="torso_travel", still_m=0.5 * LEAST_LIFT_M)


def camera_motion(question: Question, measured: Measured) -> Judged:
    """The head moves, or not; a camera at a wrist moves with its arm and is not meant."""
    track, words = measured.body.head_track, question.value or question.text
    if not len(track) or "wrist" in f"{question.value} {question.text}":
        return untestable("no head is recorded")
    return _joints("head", track, question, words)


def _joints(
    name: str,
    track: NDArray[np.float64],
    question: Question,
    words: str,
    *,
    unit_m: bool = False,
) -> Judged:
    """Moving or not, of joints whose directions nobody declares."""
    piece = track[question.start : question.end + 1]
    moved = float((piece.max(axis=0) - piece.min(axis=0)).max())
    least, still = (LEAST_LIFT_M, 0.01) if unit_m else (LEAST_JOINT_RAD, _STILL_JOINT_RAD)
    unit = "m" if unit_m else "rad"
    if say.stationary(words):
        measurement = Measurement(f"{name}_joint_range", moved, unit, 0.0, least)
        if moved < least:
            return Judged("confirmed", measurement, f"the {name} stays")
        if moved >= 2.0 * least:
            return Judged("contradicted", measurement, f"the {name} moves")
        return untestable(f"the {name} hardly moves", measurement)
    measurement = Measurement(f"{name}_joint_range", moved, unit, least)
    if moved < still:
        return Judged("contradicted", measurement, f"the {name} does not move")
    plain = words in ("moves", "moving", "move", "motion", "yes", f"the {name} moves")
    if moved >= least and plain:
        return Judged("confirmed", measurement, f"the {name} moves")
    return untestable("in which sense its joints move is not declared", measurement)
