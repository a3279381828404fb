"""How a stretch of motion is said as a step: arms, base and torso in one order of time.

Each sentence stands for itself and holds its times, which makes it unique in its episode.
"""

from __future__ import annotations

from math import degrees
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.kinematic.measured import Measured, Segment

_VERBS = {
    "idle": "stays still",
    "reach": "reaches",
    "grasp": "closes its gripper to grasp",
    "lift": "lifts",
    "transport": "carries",
    "lower": "lowers",
    "release": "opens its gripper to release",
    "open": "opens its gripper",
    "retract": "retracts",
    "rotate": "rotates its tool",
    "push": "pushes or drags with its gripper closed",
    "move": "moves",
}
SHAPE_WORDS = {
    "straight": "in a straight line",
    "arc": "along an arc",
    "circular": "in a circle",
    "zigzag": "back and forth",
    "curved": "along a curved path",
}
"""Shape of a path as a sentence has it."""


class StepWords(msgspec.Struct, frozen=True, gc=False):
    """A step in words.

    Attributes:
        segment: Its stretch.
        text: Its sentence.
        when: Its times, as sentences have them.
        arm: Whose it is, `none` for the body's.
        verb: Its primitive action.
        track: `arm`, `base` or `torso`.
        way: The directions of an arm's stretch, joined; "" where there are none.
    """

    segment: Segment
    text: str
    when: str
    arm: str
    verb: str
    track: str
    way: str


def joined(words: Sequence[str]) -> str:
    """Join words as in prose: `forward, left and up`."""
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} and {words[-1]}"


def episode_steps(measured: Measured) -> list[StepWords]:
    """Every stretch of the arms, of the base and of the torso, in the order of their beginnings."""
    fps = measured.fps
    steps: list[StepWords] = []
    for arm in measured.arms:
        name = arm.name
        for one in arm.segments:
            when = _during(one, fps)
            way = joined(one.direction) if one.direction else ""
            text = f"The {name} arm {_phrase(one, way)} {when}."
            steps.append(StepWords(one, text, when, name, one.action, "arm", way))
    for one in measured.body.base_moves:
        when = _during(one, fps)
        text = f"The base {base_words(one)} {when}."
        steps.append(StepWords(one, text, when, "none", "drive", "base", ""))
    for one in measured.body.torso_moves:
        when = _during(one, fps)
        text = f"The torso moves {one.direction[0]} {when}."
        steps.append(StepWords(one, text, when, "none", "raise", "torso", ""))
    steps.sort(key=lambda step: step.segment.start_frame)
    return steps


def base_words(segment: Segment) -> str:
    """How the base goes: `drives forward by 0.60 m and turns left by 45 degrees`."""
    found: list[str] = []
    if segment.direction:
        found.append(f"drives {joined(segment.direction)} by {segment.extent_m:.2f} m")
    if segment.rotation_axis != "none":
        side = "left" if segment.rotation_vector_rad[2] > 0 else "right"
        found.append(f"turns {side} by {degrees(segment.rotation_rad):.0f} degrees")
    return joined(found) if found else "moves to and fro"


def _during(segment: Segment, fps: float) -> str:
    return f"between {segment.start_frame / fps:.2f} s and {segment.end_frame / fps:.2f} s"


def _phrase(segment: Segment, way: str) -> str:
    action, shape, sense = segment.action, segment.path_shape, segment.rotation_sense
    words = _VERBS[action]
    if way and shape != "zigzag":
        # "lifts up" says one thing twice
        plain = action in ("lift", "lower") and len(segment.direction) == 1
        said = "" if plain else f" {way}"
        words = f"{words}{said} by {segment.extent_m:.2f} m"
    elif shape in ("zigzag", "circular"):
        words = f"{words} {SHAPE_WORDS[shape]}"
    if sense not in ("none", "unknown"):
        words = f"{words}{'' if action == 'rotate' else ', turning'} {_turn(segment)}"
    return words


def _turn(segment: Segment) -> str:
    sense = segment.rotation_sense.removeprefix("tilts ")
    tilt = "with its upper side going " if segment.rotation_axis in ("lateral", "frontal") else ""
    return f"{tilt}{sense} by {degrees(segment.rotation_rad):.0f} degrees"
