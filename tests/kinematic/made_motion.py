"""Made motion with known truth: what was planned is known, poses come from SciPy's rotations.

Nothing of finedata's arithmetic is used: positions are planned in robot terms (forward, left,
up), then written in a base frame whose axes are drawn, with noise on every frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, cos, pi, radians, sin

import numpy as np
from scipy.spatial.transform import Rotation

from finedata.kinematic.motion import ArmMotion, EpisodeMotion
from finedata.schema.converter import BaseAxes

UNIT = {
    "forward": (1, 0, 0),
    "backward": (-1, 0, 0),
    "left": (0, 1, 0),
    "right": (0, -1, 0),
    "up": (0, 0, 1),
    "down": (0, 0, -1),
}
BACK = {"forward": "backward", "left": "right", "up": "down"}
BACK |= {b: a for a, b in BACK.items()}


@dataclass
class Planned:
    """One primitive action as it was planned."""

    arm: str
    action: str
    start: int
    end: int
    direction: tuple[str, ...] = ()
    extent_m: float = 0.0
    shape: str = "none"
    axis: str = "none"
    sense: str = "none"
    angle_rad: float = 0.0
    approach: str = ""


@dataclass
class Truth:
    planned: list[Planned] = field(default_factory=list)
    tries: dict[str, list[int]] = field(default_factory=dict)
    active: set[str] = field(default_factory=set)


def _jerk(n):
    s = np.arange(1, n + 1) / n
    return 10 * s**3 - 15 * s**4 + 6 * s**5


class Arm:
    """Writes one arm's motion, primitive by primitive, in robot terms."""

    def __init__(self, rng, name, fps):
        self.rng, self.name, self.fps = rng, name, fps
        tilt = Rotation.from_rotvec(rng.normal(0, radians(4), 3))
        down = Rotation.from_euler("xyz", [pi, 0, rng.uniform(-pi, pi)])
        self.p = [np.array([0.4, 0.0, 0.35])]
        self.r = [tilt * down]
        self.g = [1.0]
        self.planned: list[Planned] = []
        self.tries: list[int] = []

    def frames(self, seconds, least=3):
        return max(least, ceil(seconds * self.fps))

    def _append(self, points, rotations, grip):
        start = len(self.p)
        self.p += list(points)
        self.r += list(rotations)
        self.g += list(grip)
        return start - 1, len(self.p) - 1

    def rest(self, seconds):
        n = self.frames(seconds, 1)
        self._append([self.p[-1]] * n, [self.r[-1]] * n, [self.g[-1]] * n)

    def _vector(self, words, extent):
        v = np.sum([UNIT[w] for w in words], axis=0) / np.sqrt(len(words))
        side = np.cross(v, self.rng.normal(size=3))
        off = Rotation.from_rotvec(side / np.linalg.norm(side) * radians(self.rng.uniform(0, 8)))
        return off.apply(v) * extent

    def _duration(self, way, angle=0.0):
        return max(
            way / self.rng.uniform(0.08, 0.2), angle / radians(self.rng.uniform(30, 60)), 0.8
        )

    def move(self, action, words, extent, *, turn=None, approach="", **more):
        v = self._vector(words, extent)
        angle = turn[2] if turn else 0.0
        n = self.frames(self._duration(extent, angle))
        s = _jerk(n)
        points = self.p[-1] + s[:, None] * v
        rotations, axis, sense = self._turned(turn, s)
        start, end = self._append(points, rotations, [self.g[-1]] * n)
        self.planned.append(
            Planned(
                self.name,
                action,
                start,
                end,
                tuple(words),
                extent,
                "straight",
                axis,
                sense,
                angle,
                approach,
            )
        )
        return self.planned[-1]

    def _turned(self, turn, s):
        if turn is None:
            return [self.r[-1]] * len(s), "none", "none"
        axis, sense, angle = turn
        if axis == "approach":
            u = self.r[-1].apply([0, 0, 1]) * (1 if sense == "clockwise" else -1)
        elif axis == "lateral":
            u = np.array([0, 1.0, 0]) * (1 if sense == "tilts forward" else -1)
        else:
            u = np.array([1.0, 0, 0]) * (1 if sense == "tilts right" else -1)
        return [Rotation.from_rotvec(u * angle * k) * self.r[-1] for k in s], axis, sense

    def rotate(self, turn):
        n = self.frames(self._duration(0, turn[2]))
        s = _jerk(n)
        rotations, axis, sense = self._turned(turn, s)
        start, end = self._append([self.p[-1]] * n, rotations, [self.g[-1]] * n)
        self.planned.append(
            Planned(self.name, "rotate", start, end, axis=axis, sense=sense, angle_rad=turn[2])
        )

    def curve(self, action, shape):
        rng = self.rng
        heading = rng.uniform(0, 2 * pi)
        e1 = np.array([cos(heading), sin(heading), 0])
        e2 = np.array([-sin(heading), cos(heading), 0.0]) * rng.choice([-1, 1])
        if shape == "zigzag":
            legs, leg = int(rng.integers(3, 6)), rng.uniform(0.09, 0.16)
            start = len(self.p) - 1
            for k in range(legs):
                n = self.frames(leg / rng.uniform(0.12, 0.25), 4)
                step = e1 * leg * (1 if k % 2 == 0 else -1) + e2 * rng.uniform(0, 0.02)
                points = self.p[-1] + _jerk(n)[:, None] * step
                self._append(points, [self.r[-1]] * n, [self.g[-1]] * n)
            end = len(self.p) - 1
        else:
            radius = rng.uniform(0.08, 0.14)
            sweep = (
                radians(rng.uniform(90, 200)) if shape == "arc" else radians(rng.uniform(400, 700))
            )
            n = self.frames(radius * sweep / rng.uniform(0.12, 0.2), 8)
            a = _jerk(n)[:, None] * sweep
            points = self.p[-1] + radius * (np.sin(a) * e1 + (1 - np.cos(a)) * e2)
            start, end = self._append(points, [self.r[-1]] * n, [self.g[-1]] * n)
        self.planned.append(Planned(self.name, action, start, end, shape=shape))

    def grip(self, action, to):
        n = self.frames(self.rng.uniform(0.3, 0.6), 2)
        if self.rng.random() < 0.5:
            self.rest(self.rng.uniform(0.1, 0.4))
        g = self.g[-1] + (to - self.g[-1]) * np.linspace(0, 1, n + 1)[1:]
        start, end = self._append([self.p[-1]] * n, [self.r[-1]] * n, g)
        self.planned.append(Planned(self.name, action, start, end))
        if self.rng.random() < 0.5:
            self.rest(self.rng.uniform(0.1, 0.4))


HORIZONTAL = ("forward", "backward", "left", "right")


def any_turn(rng, *, approach_only=False):
    axis = (
        "approach" if approach_only else rng.choice(["approach", "approach", "lateral", "frontal"])
    )
    senses = {
        "approach": ("clockwise", "counter-clockwise"),
        "lateral": ("tilts forward", "tilts backward"),
        "frontal": ("tilts left", "tilts right"),
    }[str(axis)]
    return str(axis), str(rng.choice(senses)), radians(rng.uniform(30, 150))


def ways(rng):
    words = [str(rng.choice(HORIZONTAL))]
    if rng.random() < 0.4:
        other = (
            ("left", "right") if words[0] in ("forward", "backward") else ("forward", "backward")
        )
        words.append(str(rng.choice(other)))
    return tuple(words)


def pick_and_place(arm, rng):
    """Reach, grasp (with failures), lift, carry, lower, release, retract."""
    closed = rng.uniform(0.0, 0.6)
    first = ways(rng)
    arm.move("reach", first, rng.uniform(0.08, 0.25))
    if rng.random() < 0.3:
        arm.rest(rng.uniform(1.6, 2.5))
    last, source = [(("down",), "above"), (("forward",), "the front"), (("left",), "the right")][
        int(rng.choice(3, p=[0.7, 0.15, 0.15]))
    ]
    if not np.isclose(np.dot(UNIT[last[0]], np.sum([UNIT[w] for w in first], axis=0)), 0):
        last, source = ("down",), "above"
    reach = arm.move("reach", last, rng.uniform(0.06, 0.16))
    reach.approach = source
    count = 1
    while rng.random() < 0.3 and count < 4:
        arm.grip("grasp", rng.uniform(0.0, 0.1))
        arm.rest(rng.uniform(0.2, 0.6))
        arm.grip("open", 1.0)
        if rng.random() < 0.5:
            arm.move("retract", ("up",), rng.uniform(0.04, 0.06))
            arm.move("reach", ("down",), rng.uniform(0.04, 0.06)).approach = ""
        count += 1
    arm.tries.append(count)
    arm.grip("grasp", closed)
    if rng.random() < 0.15:
        arm.move("push", ways(rng), rng.uniform(0.08, 0.2))
    else:
        arm.move("lift", ("up",), rng.uniform(0.06, 0.18))
        what = rng.random()
        if what < 0.5:
            turn = any_turn(rng, approach_only=True) if rng.random() < 0.4 else None
            arm.move("transport", ways(rng), rng.uniform(0.1, 0.3), turn=turn)
        elif what < 0.65:
            arm.curve("transport", "arc")
        elif what < 0.8:
            arm.curve("move", "zigzag")
        elif what < 0.9:
            arm.curve("move", "circular")
        if rng.random() < 0.4:
            arm.rotate(any_turn(rng))
        if rng.random() < 0.2:
            arm.rest(rng.uniform(1.6, 2.5))
        arm.move("lower", ("down",), rng.uniform(0.05, 0.14))
    arm.grip("release", 1.0)
    arm.move("retract", ("up",), rng.uniform(0.06, 0.2))


def random_axes(rng):
    names = "xyz"
    one, two = rng.permutation(3)[:2]
    sf, sl = rng.choice([-1, 1], 2)
    forward, left = np.eye(3)[one] * sf, np.eye(3)[two] * sl
    up = np.cross(forward, left)

    def word(vector):
        return ("+" if vector.sum() > 0 else "-") + names[int(np.argmax(np.abs(vector)))]

    return BaseAxes(forward=word(forward), left=word(left), up=word(up)), np.stack(
        [forward, left, up]
    )


def written(arm, rng, total, axes, matrix, *, noise_m=0.001, noise_rad=0.005, known=True):
    """An arm's plan as columns in its base frame, with noise; frames after its end rest."""
    n = len(arm.p)
    p = np.array(arm.p + [arm.p[-1]] * (total - n)) @ matrix
    p += rng.normal(0, noise_m, p.shape)
    r = Rotation.concatenate(arm.r + [arm.r[-1]] * (total - n))
    q = (
        Rotation.from_matrix(matrix.T)
        * r
        * Rotation.from_rotvec(rng.normal(0, noise_rad, (total, 3)))
    )
    g = np.array(arm.g + [arm.g[-1]] * (total - n)) + rng.normal(0, 0.008, total)
    return ArmMotion(
        name=arm.name,
        position_m=p.astype(np.float32),
        quaternion_xyzw=q.as_quat().astype(np.float32),
        gripper_open=g.astype(np.float32),
        base_axes=axes if known else None,
        tool_frame="flange",
    )


def made_episode(seed, *, arms=None, fps=None):
    """A drawn episode and the truth about it."""
    rng = np.random.default_rng(seed)
    fps = fps or float(rng.choice([3, 5, 10, 15, 30]))
    names = ("right", "left") if (arms or (2 if rng.random() < 0.3 else 1)) == 2 else ("right",)
    axes, matrix = random_axes(rng)
    made, truth = [], Truth()
    wait = 0.0
    acting = names if len(names) == 1 or rng.random() < 0.5 else (str(rng.choice(names)),)
    for name in names:
        arm = Arm(rng, name, fps)
        if name in acting:
            arm.rest(rng.uniform(0.1, 0.5) + wait)
            pick_and_place(arm, rng)
            arm.rest(rng.uniform(0.1, 0.5))
            wait = rng.choice([0.0, len(arm.p) / fps])
            truth.active.add(name)
        truth.planned += arm.planned
        truth.tries[name] = arm.tries
        made.append(arm)
    total = max(len(arm.p) for arm in made)
    noise = rng.uniform(0.0005, 0.0012)
    motions = tuple(written(arm, rng, total, axes, matrix, noise_m=noise) for arm in made)
    return EpisodeMotion(motions, fps=fps, frames=total), truth
