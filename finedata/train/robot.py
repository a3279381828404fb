"""What a policy is asked and what it answers, in the robot's own numbers.

A checkpoint keeps how each part of its shards wrote its numbers (`codecs.json`). Parts whose
numbers are written alike are one robot here: whoever asks names it once, gives states by the names
that the part has, and gets absolute actions by names, quaternions of unit length. Numbers that a
role has and the part has not are neither asked for nor answered.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from finedata.errors import UsageError
from finedata.shard.stream.codec import denormalise, normalise_masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from finedata.annotate.trace_text import Trace
    from finedata.schema.codecs_file import CodecsFile, VectorCodec

__all__ = ["MOST_SIDE", "Observation", "Predicted", "Robot", "robot_named", "robots_of"]

# Height, width and colours, of which there are as many.
_AXES = 3
MOST_SIDE = 8192
"""Pixels of a picture."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """What a robot sees and is told.

    Attributes:
        pictures: Picture role to (height, width, 3) uint8, RGB, of any size; None where the robot
            has no such camera.
        text: What to do, as the training's words were.
        states: State role to its numbers now, by `Robot.names` of the role.
        depths: Picture role to (height, width) metres, of any size, 0 where there is none; None
            where the robot has no depth of it. Only of a policy that is told of space.
        matrices: Picture role to the (3, 3) matrix of its pinhole, in pixels of its picture; the
            published default otherwise.
    """

    pictures: Mapping[str, np.ndarray | None]
    text: str
    states: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    depths: Mapping[str, np.ndarray | None] = field(default_factory=dict[str, "np.ndarray | None"])
    matrices: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])

    def picture(self, camera: str) -> np.ndarray | None:
        """The picture of a camera.

        Raises:
            UsageError: It is missing, or no picture.
        """
        if camera not in self.pictures:
            raise UsageError(
                place=f"picture {camera}",
                found=f"pictures {', '.join(self.pictures) or '(none)'}",
                wanted=f"one of {camera}, or nil where the robot has no such camera",
            )
        picture = self.pictures[camera]
        if picture is None:
            return None
        shaped = picture.ndim == _AXES and picture.shape[-1] == _AXES and 0 not in picture.shape
        if not shaped or picture.dtype != np.uint8 or max(picture.shape) > MOST_SIDE:
            raise UsageError(
                place=f"picture {camera}",
                found=f"{picture.dtype} of shape {picture.shape}",
                wanted=f"uint8 (height, width, 3), RGB, no side above {MOST_SIDE}",
            )
        return picture


@dataclass(frozen=True, kw_only=True, eq=False)
class Predicted:
    """A policy's answer.

    Attributes:
        given: (horizon, action_dim) float32, normalised and as rotations are written; see
            `Robot.actions_of`.
        text: What was said besides; empty where nothing was asked for.
        reasoning: Its parts, where they are whole.
    """

    given: np.ndarray
    text: str = ""
    reasoning: Trace | None = None


@dataclass(frozen=True, kw_only=True)
class Robot:
    """How one robot's numbers are written.

    Attributes:
        name: The embodiment; with source and part where parts of one embodiment differ.
        codecs: Role to how it is written.
        inputs: State roles that the head is given, side by side.
        actions: Action roles that are predicted, side by side.
    """

    name: str
    codecs: Mapping[str, VectorCodec]
    inputs: tuple[str, ...]
    actions: tuple[str, ...]

    @property
    def states(self) -> tuple[str, ...]:
        """All state roles."""
        return tuple(role for role, codec in self.codecs.items() if codec.kind == "state")

    @property
    def needed(self) -> tuple[str, ...]:
        """State roles without which nothing can be predicted."""
        wanted = [*self.inputs, *filter(None, map(self.reference, self.actions))]
        return tuple(role for role in self.states if role in wanted)

    @property
    def steps_alone(self) -> bool:
        """Whether each step of a chunk needs the state of its own time (`delta`)."""
        return any(self.codecs[role].action == "delta" for role in self.actions)

    def names(self, role: str) -> tuple[str, ...]:
        """The numbers that the robot has of a role."""
        codec = self.codecs[role]
        return tuple(name for name, has in zip(codec.names, codec.filled, strict=True) if has)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Of all action roles, side by side."""
        return tuple(name for role in self.actions for name in self.names(role))

    def reference(self, role: str) -> str:
        """The state role that actions of a role refer to; empty where they are absolute.

        Raises:
            UsageError: There is none of the same numbers.
        """
        codec = self.codecs[role]
        if codec.action == "absolute":
            return ""
        for other in self.states:
            if self.codecs[other].names == codec.names:
                return other
        raise UsageError(
            place=f"action role {role} of {self.name}",
            found=f"{codec.action} actions and no state of the same numbers",
            wanted="a state role with them, which they refer to",
        )

    def state_of(self, observation: Observation, role: str) -> np.ndarray:
        """(width,) float32 of a state role by `VectorCodec.names`, filled where there is nothing.

        Raises:
            UsageError: It is missing, of another width, or no finite numbers.
        """
        codec, names = self.codecs[role], self.names(role)
        found = observation.states.get(role)
        if found is None:
            raise UsageError(
                place=f"state {role}", found="none", wanted=f"{len(names)} numbers: {_list(names)}"
            )
        if found.shape != (len(names),):
            raise UsageError(
                place=f"state {role} of {self.name}",
                found=f"an array of shape {found.shape}",
                wanted=f"({len(names)},): {_list(names)}",
            )
        wrong = [name for name, x in zip(names, found, strict=True) if not np.isfinite(x)]
        if wrong:
            raise UsageError(
                place=f"state {role}", found=f"no number as {_list(wrong)}", wanted="finite numbers"
            )
        whole = np.full(len(codec.names), codec.fill, np.float32)
        whole[np.asarray(codec.filled)] = found
        return whole

    def inputs_of(self, observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        """What the head is given of states, as in training: (state_dim,) float32 and its mask.

        Raises:
            UsageError: See `state_of`.
        """
        parts = [
            normalise_masked(
                self.codecs[role],
                self.state_of(observation, role)[None],
                np.array(self.codecs[role].filled)[None],
            )
            for role in self.inputs
        ]
        values, mask = (
            np.concatenate([part[k][0] for part in parts] or [np.zeros(0)]) for k in (0, 1)
        )
        return values.astype(np.float32), mask.astype(bool)

    def actions_of(self, given: np.ndarray, observation: Observation) -> np.ndarray:
        """Absolute actions of what was predicted.

        Args:
            given: (steps, action_dim); of `delta` actions one step, that of the state's time.
            observation: Of the time of the prediction; its states are what actions refer to.

        Returns:
            (steps, width) float32 by `action_names`; quaternions of unit length.

        Raises:
            UsageError: See `state_of`; or several steps of `delta`; or what was predicted is no
                finite number.
        """
        found: list[np.ndarray] = []
        begin = 0
        for role in self.actions:
            codec = self.codecs[role]
            end = begin + len(codec.given_names)
            reference, state = self.reference(role), None
            if codec.action == "delta" and len(given) != 1:
                raise UsageError(
                    place=f"{len(given)} steps of {role} of {self.name}",
                    found="delta actions, each of which refers to the state of its own time",
                    wanted="one step with the state of its time",
                )
            if reference:
                state = self.state_of(observation, reference)
                state = state[None] if codec.action == "delta" else state
            whole = denormalise(codec, given[:, begin:end], state=state)
            found.append(whole[:, np.asarray(codec.filled)])
            begin = end
        actions = np.concatenate(found, -1)
        if not np.isfinite(actions).all():
            raise UsageError(
                place=f"prediction for {self.name}",
                found="actions that are no finite numbers",
                wanted="numbers; no robot is given others",
            )
        return actions


def robots_of(
    codecs: CodecsFile, *, inputs: Sequence[str], actions: Sequence[str]
) -> dict[str, Robot]:
    """The robots of a checkpoint by name.

    Args:
        codecs: Its document.
        inputs: State roles that the head is given.
        actions: Action roles that are predicted.
    """
    parts: dict[tuple[str, str, str], dict[str, VectorCodec]] = defaultdict(dict)
    for codec in codecs.codecs:
        parts[codec.embodiment, codec.source, codec.part][codec.role] = codec
    robots: dict[str, Robot] = {}
    for embodiment in sorted({key[0] for key in parts}):
        mine = {key: of for key, of in sorted(parts.items()) if key[0] == embodiment}
        alike = len({_how(of.values()) for of in mine.values()}) == 1
        for (_, source, part), of in mine.items():
            name = embodiment if alike else f"{embodiment}:{source}/{part}"
            robots.setdefault(
                name, Robot(name=name, codecs=of, inputs=tuple(inputs), actions=tuple(actions))
            )
    return robots


def robot_named(robots: Mapping[str, Robot], name: str) -> Robot:
    """A robot by its name; the only one where none is named.

    Raises:
        UsageError: There is none of that name, or none is named and there are several.
    """
    if not name and len(robots) == 1:
        return next(iter(robots.values()))
    if name not in robots:
        raise UsageError(
            place="embodiment",
            found=repr(name) if name else "none",
            wanted=f"one that the policy was trained on: {', '.join(robots)}",
        )
    return robots[name]


def _how(codecs: Iterable[VectorCodec]) -> frozenset[VectorCodec]:
    return frozenset(msgspec.structs.replace(codec, source="", part="") for codec in codecs)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
