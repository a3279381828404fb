"""Facts about made motion: for each planned action true sentences, and lies of every kind."""

from __future__ import annotations

from math import degrees

from kinematic.made_motion import BACK, UNIT

SAY = {
    "left": ("left", "to the left", "leftwards"),
    "right": ("right", "to the right", "toward the right"),
    "up": ("up", "upward", "raises it"),
    "down": ("down", "downwards", "lowers it"),
    "forward": ("forward", "away from the robot"),
    "backward": ("backward", "toward the robot", "towards its base"),
}
SENSES = {
    "clockwise": ("clockwise", "CW"),
    "counter-clockwise": ("anticlockwise", "counter-clockwise", "ccw"),
    "tilts forward": ("tilts forward",),
    "tilts backward": ("is tilted backward",),
    "tilts left": ("tilts to the left",),
    "tilts right": ("tilts to the right",),
}
WRONG = {
    "clockwise": "counter-clockwise",
    "tilts forward": "tilts backward",
    "tilts left": "tilts right",
}
WRONG |= {b: a for a, b in WRONG.items()}
COMES = {
    "above": ("from above", "from below"),
    "the front": ("from the near side", "from behind"),
    "the right": ("from the right side", "from the left"),
}
SHAPE = {"zigzag": "back and forth", "arc": "along an arc", "circular": "in a circle"}


def _pick(rng, words):
    return str(words[int(rng.integers(len(words)))])


def made_facts(motion, truth, rng):
    """(is true, kind of claim, fact) of one episode."""
    for planned in truth.planned:
        yield from _path(planned, rng)
        yield from _turn(planned, rng)
        yield from _grip(planned)
        yield from _actor(planned, motion, truth)
    yield from _tries(motion, truth)


def fact(planned, slot, value, text="", *, actor="", **more):
    return {
        "slot": slot,
        "value": value,
        "text": text,
        "start_frame": planned.start,
        "end_frame": planned.end,
        "actor": actor or planned.arm,
        **more,
    }


def _path(p, rng):
    if p.direction:
        words = " and ".join(_pick(rng, SAY[word]) for word in p.direction)
        yield True, "direction", fact(p, "translation_direction", words)
        back = [BACK[word] for word in p.direction]
        words = " and ".join(_pick(rng, SAY[word]) for word in back)
        yield False, "direction", fact(p, "translation_direction", words)
        aside = [word for word in UNIT if word not in p.direction and word not in back]
        words = _pick(rng, SAY[_pick(rng, aside)])
        yield False, "direction aside", fact(p, "translation_direction", words)
        yield True, "extent", fact(p, "translation_extent", f"about {100 * p.extent_m:.0f} cm")
        wrong = {"value_number": 4 * p.extent_m + 0.05, "unit": "m"}
        yield False, "extent", fact(p, "translation_extent", "far", **wrong)
    if p.shape in SHAPE:
        yield True, "shape", fact(p, "path_shape", SHAPE[p.shape])
        yield False, "shape", fact(p, "path_shape", "in a straight line")
    elif p.extent_m > 0.1:
        yield True, "shape", fact(p, "path_shape", "straight")
        yield False, "shape", fact(p, "path_shape", "zig-zag")
    if p.approach:
        right, wrong = COMES[p.approach]
        yield True, "approach", fact(p, "approach_direction", right)
        yield False, "approach", fact(p, "approach_direction", wrong)


def _turn(p, rng):
    text = f"The gripper of the {p.arm} arm turns."
    if p.axis != "none":
        sense = _pick(rng, SENSES[p.sense])
        yield True, "sense", fact(p, "rotation_direction", sense, text)
        sense = _pick(rng, SENSES[WRONG[p.sense]])
        yield False, "sense", fact(p, "rotation_direction", sense, text)
        other = "clockwise" if p.axis == "lateral" else "tilts forward"
        yield False, "axis", fact(p, "rotation_direction", other, text)
        angle = degrees(p.angle_rad)
        yield True, "angle", fact(p, "rotation_angle", f"about {angle:.0f} degrees", text)
        yield False, "angle", fact(p, "rotation_angle", f"{2 * angle + 40:.0f}°", text)
    elif p.action in ("reach", "lift", "lower", "retract"):
        yield False, "invented rotation", fact(p, "rotation_direction", "clockwise", text)


def _grip(p):
    if p.action in ("grasp", "release", "open"):
        right, wrong = ("closes", "opens") if p.action == "grasp" else ("opens", "closes")
        yield True, "gripper", fact(p, "gripper_state", right)
        yield False, "gripper", fact(p, "gripper_state", wrong)
    if p.action not in ("open", "push", "move"):
        yield True, "verb", fact(p, "primitive_action", p.action)
    if p.action in ("lift", "lower"):
        wrong = "lower" if p.action == "lift" else "lift"
        yield False, "verb", fact(p, "primitive_action", wrong)


def _actor(p, motion, truth):
    yield True, "arm", {**fact(p, "actor", p.arm), "actor": None}
    other = "left" if p.arm == "right" else "right"
    margin = motion.fps
    busy = any(
        q.arm == other and q.start < p.end + margin and q.end > p.start - margin
        for q in truth.planned
    )
    if not busy:
        yield False, "arm", {**fact(p, "actor", other), "actor": None}
        if p.direction:
            yield (
                False,
                "arm of motion",
                fact(p, "translation_direction", p.direction[0], actor=other),
            )


def _tries(motion, truth):
    for arm, tries in truth.tries.items():
        for count in tries:
            base = {"start_frame": 0, "end_frame": motion.frames, "actor": arm}
            text = "The gripper attempts to grasp the cup."
            base["text"] = text
            right = {"slot": "attempt_count", "value": str(count), **base}
            yield True, "attempts", right
            wrong = {"slot": "attempt_count", "value": f"{count + 1} attempts", **base}
            yield False, "attempts", wrong
            again = {"slot": "retry", "value": "re-grasps the cup", **base}
            yield count > 1, "retry", again
            if count > 1:
                yield False, "missing retry", {"slot": "attempt_count", "value": "once", **base}
                yield False, "missing retry", {"slot": "retry", "value": "no retry", **base}
