"""Claims about where a tool goes: direction, extent, shape, and the approach to a grasp."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from finedata.kinematic.directions import AXES
from finedata.kinematic.judge.claims import Judged, Measurement
from finedata.kinematic.judge.question import travel_along, untestable
from finedata.kinematic.words import vocabulary as say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.kinematic.judge.question import Question, Travel
    from finedata.kinematic.measured import ArmMeasured

STILL_M = 0.012
"""Less than this is noise and drift."""
MOVED_M = 0.025
"""More than this is a motion."""
_CONFIRM_SHARE, _DENY_SHARE = 0.35, 0.2


def along_directions(
    words: Sequence[str], travels: dict[str, Travel], *, name: str, still_m: float = STILL_M
) -> Judged:
    """Hold claimed directions against the travel along each direction.

    A direction is there where the longest way in its sense is a good part of the longest way in
    any; it is absent where it is hardly more than noise beside it.

    Args:
        words: Claimed directions; each has to be there.
        travels: Direction to travel, of every direction that can be measured.
        name: Begin of the measurement's name.
        still_m: Less than this is nothing.
    """
    widest = max(travel.forth for travel in travels.values())
    worst: Judged | None = None
    for word in words:
        if word not in travels:
            return untestable(f"motion {word} is not recorded")
        forth = travels[word].forth
        least = max(still_m, _CONFIRM_SHARE * widest)
        measured = Measurement(f"{name}_{word}", forth, "m", least)
        if forth >= least:
            judged = Judged("confirmed", measured, f"it goes {forth:.3f} m {word}")
        elif forth < max(still_m, _DENY_SHARE * widest):
            return Judged("contradicted", measured, f"it goes only {forth:.3f} m {word}")
        else:
            judged = untestable(f"it goes {forth:.3f} m {word}, and {widest:.3f} m", measured)
        if worst is None or judged.verdict == "untestable":
            worst = judged
    return worst or untestable("no direction is claimed")


def _travels(question: Question, arm: ArmMeasured) -> dict[str, Travel]:
    return {word: travel_along(arm.track_m, axis, question) for word, axis in AXES.items()}


def _claimed(question: Question) -> tuple[str, ...] | None:
    words = say.directions(question.value)
    if words is None and not say.is_negated(question.value):
        words = say.directions(question.text) if not _names_direction(question.value) else None
    return words


def _names_direction(value: str) -> bool:
    """Whether a value names a direction in a way that was ambiguous: the text will not help."""
    return any(word in value for word in ("left", "right", "up", "down", "forward", "back"))


def translation_direction(question: Question, arm: ArmMeasured) -> Judged:
    """Which way something moves."""
    words = _claimed(question)
    if words is None:
        return untestable("no direction in robot terms")
    if not arm.has_pose or not arm.has_axes:
        return untestable("no pose in known base axes")
    judged = along_directions(words, _travels(question, arm), name="travel")
    if judged.verdict == "contradicted" and question.of_object_alone(arm):
        return untestable("the thing may move by itself", judged.measurement)
    return judged


def translation_extent(question: Question, arm: ArmMeasured) -> Judged:
    """How far something moves: net way, longest way along any axis, or the whole path."""
    claimed = question.number if question.unit == "m" else None
    if claimed is None:
        claimed = say.extent_m(question.value)
    if claimed is None and not question.value:
        claimed = say.extent_m(question.text)
    if claimed is None:
        return untestable("no length")
    if not arm.has_pose:
        return untestable("no pose")
    track = arm.track_m[question.start : question.end + 1]
    words = say.directions(question.text) or ()
    ways = [float(np.sqrt(((track - track[0]) ** 2).sum(axis=1).max()))]
    ways += [float(np.sqrt(((track[-1] - track[0]) ** 2).sum()))]
    if arm.has_axes:
        travels = _travels(question, arm)
        ways += [travels[word].forth for word in words] or [
            max(travel.forth for travel in travels.values())
        ]
    whole = max(_path_m(question, arm), *ways)
    low, high = min(ways), whole
    main = ways[0]
    lower, upper = max(0.0, 0.66 * low - 0.02), 1.5 * high + 0.02
    measured = Measurement("travel", main, "m", lower, upper)
    if lower <= claimed <= upper:
        return Judged("confirmed", measured, f"it moves by {main:.3f} m")
    if claimed < 0.45 * low - 0.03 or claimed > 2.0 * high + 0.04:
        if question.of_object_alone(arm):
            return untestable("the thing may move by itself", measured)
        return Judged("contradicted", measured, f"it moves by {main:.3f} m, not {claimed:.3f} m")
    return untestable(f"it moves by {main:.3f} m, which may be meant", measured)


def _path_m(question: Question, arm: ArmMeasured) -> float:
    """Paths of the pieces within the frames; those cut by them count by their share."""
    total = 0.0
    for segment in arm.segments:
        first, end = max(segment.start_frame, question.start), min(segment.end_frame, question.end)
        if first < end and segment.action != "idle":
            total += segment.path_m * (end - first) / (segment.end_frame - segment.start_frame)
    return total


def path_shape(question: Question, arm: ArmMeasured) -> Judged:
    """What shape a path has; several pieces with corners between them are none of the shapes."""
    claimed = say.shape_claim(question.value) or (
        say.shape_claim(question.text) if not question.value else None
    )
    if claimed is None:
        return untestable("no shape that is measured")
    if not arm.has_pose:
        return untestable("no pose")
    pieces = [
        segment
        for segment in arm.segments
        if segment.path_shape != "none"
        and min(segment.end_frame, question.end) - max(segment.start_frame, question.start)
        > 0.3 * (segment.end_frame - segment.start_frame)
    ]
    if not pieces:
        return untestable("nothing moves far enough")
    main = max(pieces, key=lambda segment: segment.path_m)
    straight = all(piece.path_shape == "straight" for piece in pieces)
    measured = Measurement("straightness_deficit", main.path_m - main.extent_m, "m")
    if any(piece.path_shape == claimed for piece in pieces) and (claimed != "straight" or straight):
        return Judged("confirmed", measured, f"its path is {claimed}")
    clear = main.path_m > 0.08
    bent = main.path_shape in ("zigzag", "circular", "arc") and main.straightness < 0.95
    if clear and claimed == "straight" and bent:
        return Judged("contradicted", measured, f"its path is {main.path_shape}")
    if clear and claimed != "straight" and straight and len(pieces) == 1:
        return Judged("contradicted", measured, "its path is straight")
    return untestable(f"its longest piece is {main.path_shape}", measured)


def approach_direction(question: Question, arm: ArmMeasured) -> Judged:
    """From where the gripper comes before it closes."""
    words = say.sources(question.value)
    if words is None and not question.value:
        words = say.sources(question.text)
    if words is None:
        return untestable("no direction in robot terms")
    if not arm.has_pose or not arm.has_axes:
        return untestable("no pose in known base axes")
    windows = [
        (begin, event.start_frame)
        for begin, event in zip(arm.approaches, arm.events, strict=True)
        if begin >= 0
        and event.frame >= question.start - question.fps
        and begin < question.end + question.fps
    ]
    inside = [
        window for window in windows if window[0] < question.end and window[1] >= question.start
    ]
    verdicts: list[Judged] = []
    for begin, end in inside or windows:
        near = replace(question, start=begin, end=end)
        verdicts.append(along_directions(words, _travels(near, arm), name="approach"))
    if not verdicts:
        return untestable("no approach to a closing gripper")
    ranked = ("confirmed", "untestable", "contradicted")
    return min(verdicts, key=lambda judged: ranked.index(judged.verdict))
