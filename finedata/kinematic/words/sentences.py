"""How measured facts are said: one row of numbers and one sentence for each.

Each sentence stands for itself and holds its times, which makes it unique in its episode. Rows go
into one flat list, `WIDTH` entries each, and no object is kept for a fact: a core writes tens of
thousands of facts a second so.
"""

from __future__ import annotations

from math import degrees, sqrt
from typing import TYPE_CHECKING, Any

from finedata.kinematic.body import LEAST_DRIVE_M, LEAST_JOINT_RAD
from finedata.kinematic.directions import SOURCE_WORDS, direction_words
from finedata.kinematic.words.fact_kinds import kind_of
from finedata.kinematic.words.steps import SHAPE_WORDS, base_words, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.kinematic.measured import ArmMeasured, Measured
    from finedata.kinematic.words.steps import StepWords

COLUMNS = (
    *("kind", "value", "value_number", "actor", "text", "step_index", "next_step_index"),
    *("start_frame", "end_frame", "measured", "lower", "upper"),
)
"""What stands in a row; `kind` is an index into `fact_kinds.KINDS`."""
WIDTH = len(COLUMNS)

_ACTOR = kind_of("actor", "arm_path_length")
_ACTOR_JOINTS = kind_of("actor", "arm_joint_range")
_TRAVELS = kind_of("primitive_action", "travel")
_ROTATES = kind_of("primitive_action", "rotation")
_GRIPS = kind_of("primitive_action", "gripper_time")
_GRIPPER = kind_of("gripper_state", "gripper_time")
_APPROACH = kind_of("approach_direction", "approach_travel")
_DIRECTION = kind_of("translation_direction", "travel")
_EXTENT = kind_of("translation_extent", "travel")
_SENSE = kind_of("rotation_direction", "rotation")
_ANGLE = kind_of("rotation_angle", "rotation")
_SHAPE = kind_of("path_shape", "path_length")
_RETRY = kind_of("retry", "grasp_attempts")
_ATTEMPTS = kind_of("attempt_count", "grasp_attempts")
_DRIVES = kind_of("base_motion", "base_travel")
_SPINS = kind_of("base_motion", "base_turn")
_RISES = kind_of("torso_motion", "torso_rise")
_TORSO = kind_of("torso_motion", "torso_joint_range")
_HEAD = kind_of("camera_motion", "head_joint_range")

_ABOUT = {
    "approach": " as seen along its approach axis",
    "vertical": " as seen from above",
    "lateral": "",
    "frontal": "",
}


def episode_facts(measured: Measured, steps: Sequence[StepWords], out: list[Any]) -> None:
    """Append every fact: that of the actor, then in the order of the steps, retries, joints.

    Args:
        measured: What was measured.
        steps: Its steps.
        out: Flat rows, as `COLUMNS` says.
    """
    fps = measured.fps
    _actor_fact(measured, out)
    arms = {arm.name: arm for arm in measured.arms}
    places: dict[tuple[str, int], int] = {}
    for number, step in enumerate(steps):
        if step.track == "base":
            _base_fact(step, number, out)
        elif step.track == "torso":
            _torso_fact(step, number, out)
        elif step.segment.event >= 0:
            places[step.arm, step.segment.event] = number
            _gripper_facts(arms[step.arm], step, number, fps, out)
        elif step.verb != "idle":
            _motion_facts(step, number, fps, out)
    for arm in measured.arms:
        _retry_facts(arm, places, fps, out)
    _joint_facts(measured, out)


def _actor_fact(measured: Measured, out: list[Any]) -> None:
    """Which arm acts, where there is a choice, and where every arm's motion was recorded."""
    acting = [arm for arm in measured.arms if arm.active]
    if len(measured.arms) < 2 or not acting or not all(arm.is_watched for arm in measured.arms):
        return
    value = "both" if len(acting) > 1 else acting[0].name
    who = "Both arms act" if len(acting) > 1 else f"Only the {value} arm acts"
    if all(arm.has_pose for arm in acting):
        kind, least = _ACTOR, min(arm.path_m for arm in acting)
    else:
        by_joints = [arm for arm in acting if not arm.has_pose]
        kind, least = _ACTOR_JOINTS, min(arm.joint_range_rad for arm in by_joints)
    out += (kind, value, None, value, f"{who} in the episode.", None, None)
    out += (0, measured.frames, least, None, None)


def _motion_facts(step: StepWords, number: int, fps: float, out: list[Any]) -> None:
    """A stretch without a gripper event: what is done, which way, how far, turning how."""
    segment, arm, when = step.segment, step.arm, step.when
    first, end, extent = segment.start_frame, segment.end_frame, segment.extent_m
    angle, sense = segment.rotation_rad, segment.rotation_sense
    rotates = step.verb == "rotate"
    out += (_ROTATES if rotates else _TRAVELS, step.verb, (end - first) / fps, arm, step.text)
    out += (number, None, first, end, angle if rotates else extent, None, None)
    if step.way:
        low, high = max(0.85 * extent - 0.01, 0.0), 1.15 * extent + 0.01
        length = f"{extent:.2f} m"
        out += (_DIRECTION, step.way, None, arm, f"The {arm} arm moves {step.way} {when}.")
        out += (number, None, first, end, extent, None, None)
        out += (_EXTENT, length, extent, arm, f"The {arm} arm moves by {length} {when}.")
        out += (number, None, first, end, extent, low, high)
    if segment.rotation_axis != "none":
        low, high = max(0.0, 0.85 * angle - 0.1), 1.15 * angle + 0.1
        if sense not in ("none", "unknown"):
            value = f"{sense}{_ABOUT[segment.rotation_axis]}"
            verb = value if sense.startswith("tilts") else f"turns {value}"
            out += (_SENSE, value, None, arm, f"The tool of the {arm} arm {verb} {when}.")
            out += (number, None, first, end, angle, low, high)
        value = f"{degrees(angle):.0f} degrees"
        out += (_ANGLE, value, angle, arm, f"The {arm} arm turns its tool by {value} {when}.")
        out += (number, None, first, end, angle, low, high)
    shape = segment.path_shape
    if shape != "none":
        out += (_SHAPE, shape, None, arm, f"The {arm} arm moves {SHAPE_WORDS[shape]} {when}.")
        out += (number, None, first, end, segment.path_m, None, None)


def _gripper_facts(
    arm: ArmMeasured, step: StepWords, number: int, fps: float, out: list[Any]
) -> None:
    """An opening or a closing, and where the gripper came from before it."""
    segment, name, when = step.segment, step.arm, step.when
    first, end, event = segment.start_frame, segment.end_frame, arm.events[segment.event]
    at = (number, None, first, end, event.frame / fps, first / fps, end / fps)
    out += (_GRIPS, step.verb, (end - first) / fps, name, step.text)
    out += at
    verb = "closes" if event.kind == "close" else "opens"
    out += (_GRIPPER, verb, None, name, f"The gripper of the {name} arm {verb} {when}.")
    out += at
    begin = arm.approaches[segment.event]
    if begin < 0 or not arm.has_axes:
        return
    x, y, z = (arm.track_m[event.start_frame] - arm.track_m[begin]).tolist()
    value = f"from {joined([SOURCE_WORDS[word] for word in direction_words((x, y, z))])}"
    text = f"The {name} arm comes {value} before its gripper closes {when}."
    out += (_APPROACH, value, None, name, text)
    out += (number, None, first, end, sqrt(x * x + y * y + z * z), None, None)


def _retry_facts(
    arm: ArmMeasured, places: dict[tuple[str, int], int], fps: float, out: list[Any]
) -> None:
    for one in arm.tries:
        if one.count < 2:
            continue
        first, end, count = one.start_frame, one.end_frame, float(one.count)
        when = f"between {first / fps:.2f} s and {end / fps:.2f} s"
        at = (places[arm.name, one.closings[0]], places[arm.name, one.closings[-1]], first, end)
        text = (
            f"The {arm.name} arm opens its gripper without having carried anything and grasps "
            f"again {when}."
        )
        out += (_RETRY, "grasps again", count - 1.0, arm.name, text)
        out += (*at, count, count, count)
        text = f"The {arm.name} arm makes {one.count} attempts to grasp {when}."
        out += (_ATTEMPTS, f"{one.count} attempts", count, arm.name, text)
        out += (*at, count, count, count)


def _base_fact(step: StepWords, number: int, out: list[Any]) -> None:
    segment = step.segment
    drives = segment.extent_m >= LEAST_DRIVE_M
    amount = segment.extent_m if drives else segment.rotation_rad
    out += (_DRIVES if drives else _SPINS, base_words(segment), amount, "none", step.text)
    out += (number, None, segment.start_frame, segment.end_frame, amount, None, None)


def _torso_fact(step: StepWords, number: int, out: list[Any]) -> None:
    segment = step.segment
    value = f"moves {segment.direction[0]}"
    out += (_RISES, value, segment.extent_m, "none", step.text, number, None)
    out += (segment.start_frame, segment.end_frame, segment.displacement_m[2], None, None)


def _joint_facts(measured: Measured, out: list[Any]) -> None:
    """Torso and head of which only joints are known: they move, or nothing is said."""
    body = measured.body
    torso = body.torso_track[:0] if body.torso_is_lift else body.torso_track
    for kind, name, track in ((_TORSO, "torso", torso), (_HEAD, "head", body.head_track)):
        if not len(track):
            continue
        moved = float((track.max(axis=0) - track.min(axis=0)).max())
        if moved >= LEAST_JOINT_RAD:
            out += (kind, "moves", moved, "none", f"The {name} moves in the episode.")
            out += (None, None, 0, measured.frames, moved, None, None)
