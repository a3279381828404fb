"""Windows of states and actions of a batch, cut from the frames tables when they are drawn.

Each number stands once on disk, so horizon, stride and history are nothing but which rows are
gathered. Before an episode's first frame the first one stands, behind its last the last one, both
masked; a number that is not finite, is not commanded (`action_valid`) or that a part lacks is
masked and has the role's fill.

What actions may refer to, as FineVLA's `UnifyJointAction` does it: *delta* has position a - s and
rotation R_a R_s^-1 (in the base) of each step against the state of that step; *relative* has
position R_s^-1 (a - s) and rotation R_s^-1 R_a (in the tool) against the state at the sample's
frame; joints are a - s in both. Grippers stay absolute.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import UsageError
from finedata.motion.quaternion import canonicalise, conjugate, multiply, rotate
from finedata.motion.rotation import from_quaternion_xyzw
from finedata.shard.stream.parts import Part, Pick, vector_kind

if TYPE_CHECKING:
    from finedata.motion.rotation import RotationEncoding
    from finedata.schema.roles_file import RolesFile, VectorRole
    from finedata.schema.shards_file import ShardSet, Statistics
    from finedata.shard.mapped import MappedTable
    from finedata.shard.shards import Shards
    from finedata.shard.stream.settings import Numbers

__all__ = ["Vector", "VectorReader"]

_QUATERNION = ("qx", "qy", "qz", "qw")
_WRITTEN: dict[str, tuple[RotationEncoding, tuple[str, ...]]] = {
    "quaternion": ("quaternion_xyzw", _QUATERNION),
    "6d": ("rotation_6d", tuple(f"r{k}" for k in range(6))),
    "euler": ("euler_xyz_extrinsic", ("roll", "pitch", "yaw")),
}
_IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector role as a stream gives it.

    Attributes:
        role: Its name.
        kind: `state` or `action`.
        steps: Of its window.
        names: Of its numbers, rotations as they are written.
    """

    role: str
    kind: str
    steps: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Groups:
    """Where positions and quaternions of a role are: places of their numbers, in pairs by arm."""

    quaternions: tuple[tuple[int, ...], ...]
    positions: tuple[tuple[int, ...] | None, ...]
    grippers: tuple[int, ...]


class VectorReader:
    """Reads the vectors of batches.

    Args:
        shards: The shards.
        roles: The roles.
        parts: By the sequence's number of the set.
        numbers: What is asked for.

    Raises:
        UsageError: A role mixes states and actions, a quaternion of a role is not whole, an action
            has no state to refer to, or there are no statistics to normalise by.
    """

    def __init__(
        self, shards: Shards, roles: RolesFile, parts: list[Part], numbers: Numbers
    ) -> None:
        self._shards = shards
        # Held here, and not opened by path again for every batch.
        self._frames = lru_cache(maxsize=None)(shards.frames)
        self._episodes = lru_cache(maxsize=None)(shards.episodes)
        self._parts = parts
        self._numbers = numbers
        self._roles = roles.vectors
        self._groups = {role: _groups(role, vector) for role, vector in roles.vectors.items()}
        self.vectors = [self._vector(role, vector) for role, vector in roles.vectors.items()]
        before = {"state": numbers.history, "action": 0}
        self._steps = {
            vector.role: numbers.stride * (np.arange(vector.steps) - before[vector.kind])
            for vector in self.vectors
        }
        self._scales: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        if numbers.normalise != "none":
            for part in parts:
                for role in roles.vectors:
                    self._scales[part.name, role] = self._scale(shards.sets[part.name], part, role)
        if numbers.action != "absolute":
            for part in parts:
                for vector in self.vectors:
                    if vector.kind == "action":
                        _states_of(shards.sets[part.name], part, vector.role)

    def read(
        self, shard_set: int, episode: np.ndarray, frame_index: np.ndarray
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The windows of all roles, of samples of one set.

        Args:
            shard_set: The sequence's number of the set.
            episode: (n,) numbers of episodes.
            frame_index: (n,) frames.

        Returns:
            Role to (n, steps, width) float32 and the mask of the same shape, true where a number
            is real.
        """
        part = self._parts[shard_set]
        episodes = self._episodes(part.name)
        first = episodes.take("first_row", episode)[:, None]
        last = episodes.take("length", episode)[:, None] - 1
        now = frame_index[:, None]
        return {
            vector.role: self._window(part, vector, first, last, now) for vector in self.vectors
        }

    def _window(
        self, part: Part, vector: Vector, first: np.ndarray, last: np.ndarray, now: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """One role; the first row, the last frame and the frame of each sample are (n, 1)."""
        frames = self._frames(part.name)
        wanted = now + self._steps[vector.role]
        inside = np.maximum(np.minimum(wanted, last), 0)
        rows = first + inside
        picks = part.vectors[vector.role]
        values, mask = self._gather(frames, picks, rows, self._roles[vector.role])
        counts = wanted == inside
        if vector.kind == "action":
            if "action_valid" in frames.columns:
                counts &= frames.take("action_valid", rows)
            if self._numbers.action == "delta":
                values = self._referred(part, vector.role, values, mask, rows)
            elif self._numbers.action == "relative":
                values = self._referred(part, vector.role, values, mask, first + now)
        scale = self._scales.get((part.name, vector.role))
        if scale is not None:
            values = np.where(mask, values * scale[0] + scale[1], values)
        values, mask = self._written(vector.role, values, mask)
        # Padding is masked last: until here it is turned and scaled like what it repeats.
        return values, mask & counts[:, :, None]

    def _vector(self, role: str, vector: VectorRole) -> Vector:
        kind = vector_kind(role, self._parts)
        steps = self._numbers.horizon if kind == "action" else self._numbers.history + 1
        names = list(vector.names)
        for places in reversed(self._groups[role].quaternions):
            prefix = names[places[0]].removesuffix("qx")
            written = _WRITTEN[self._numbers.rotation][1]
            names[places[0] : places[0] + 4] = [prefix + name for name in written]
        return Vector(role, kind, steps, tuple(names))

    def _gather(
        self, frames: MappedTable, picks: tuple[Pick, ...], rows: np.ndarray, vector: VectorRole
    ) -> tuple[np.ndarray, np.ndarray]:
        values = np.full((*rows.shape, len(vector.names)), vector.fill, np.float32)
        mask = np.zeros(values.shape, bool)
        for pick in picks:
            found = frames.take(pick.feature, rows).reshape(*rows.shape, -1)
            found = found[..., _run(pick.columns)]
            real = np.isfinite(found)
            if not real.all():
                found = np.where(real, found, np.float32(vector.fill))
            values[..., _run(pick.places)] = found
            mask[..., _run(pick.places)] = real
        return values, mask

    def _referred(
        self, part: Part, role: str, values: np.ndarray, mask: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        """Absolute actions against states; `rows` (n, steps) or (n, 1) say which."""
        picks = _states_of(self._shards.sets[part.name], part, role)
        state, there = self._gather(self._frames(part.name), picks, rows, self._roles[role])
        state = np.broadcast_to(state, values.shape)
        mask &= there
        groups = self._groups[role]
        out = values - state
        out[..., list(groups.grippers)] = values[..., list(groups.grippers)]
        for quaternion, position in zip(groups.quaternions, groups.positions, strict=True):
            q = list(quaternion)
            whole = mask[..., q].all(-1, keepdims=True)
            # Absent rotations have the fill, which is none: they turn by nothing.
            turned = np.where(whole, values[..., q], _IDENTITY)
            inverse = conjugate(np.where(whole, state[..., q], _IDENTITY))
            if self._numbers.action == "delta":
                out[..., q] = canonicalise(multiply(turned, inverse))
                continue
            out[..., q] = canonicalise(multiply(inverse, turned))
            if position is not None:
                p = list(position)
                out[..., p] = rotate(inverse, out[..., p])
                mask[..., p] &= whole & mask[..., p].all(-1, keepdims=True)
        return np.where(mask, out, np.float32(self._roles[role].fill)).astype(np.float32)

    def _written(
        self, role: str, values: np.ndarray, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rotations as they are asked for; a rotation is masked as a whole."""
        encoding, names = _WRITTEN[self._numbers.rotation]
        if encoding == "quaternion_xyzw" and mask.all():
            return values, mask
        for places in reversed(self._groups[role].quaternions):
            begin = places[0]
            whole = mask[..., list(places)].all(-1, keepdims=True)
            if encoding == "quaternion_xyzw":
                mask[..., list(places)] = whole
                continue
            unit = np.where(whole, values[..., list(places)], _IDENTITY)
            turned = from_quaternion_xyzw(unit.reshape(-1, 4), encoding=encoding)
            turned = turned.reshape(*unit.shape[:-1], len(names)).astype(np.float32)
            turned = np.where(whole, turned, np.float32(self._roles[role].fill))
            wide = np.broadcast_to(whole, turned.shape)
            values = np.concatenate([values[..., :begin], turned, values[..., begin + 4 :]], -1)
            mask = np.concatenate([mask[..., :begin], wide, mask[..., begin + 4 :]], -1)
        return values, mask

    def _scale(self, one: ShardSet, part: Part, role: str) -> tuple[np.ndarray, np.ndarray]:
        """Factor and summand of every number of a role: y = x * factor + summand.

        Quantile and min-max bring [q01, q99] and [min, max] to [-1, 1], as openpi's `Normalize`
        does; numbers outside stay outside. A constant number becomes 0 whatever its value.
        """
        factor, summand = (
            np.ones(len(self._roles[role].names)),
            np.zeros(len(self._roles[role].names)),
        )
        turned = {place for group in self._groups[role].quaternions for place in group}
        for pick in part.vectors[role]:
            found = self._statistics(one, pick)
            for name, place in zip(pick.names, pick.places, strict=True):
                if place not in turned:
                    at = found.names.index(name)
                    factor[place], summand[place] = _line(found, at, self._numbers.normalise)
        return factor.astype(np.float32), summand.astype(np.float32)

    def _statistics(self, one: ShardSet, pick: Pick) -> Statistics:
        for found in self._shards.document.statistics:
            key = found.embodiment, found.space, found.feature
            if key == (one.embodiment, one.space, pick.feature) and set(pick.names) <= set(
                found.names
            ):
                return found
        raise UsageError(
            place=f"normalise: {pick.feature} of {one.embodiment} in space {one.space}",
            found="no statistics of it in the shards",
            wanted="statistics, or normalise='none'",
        )


@lru_cache(maxsize=1024)
def _run(places: tuple[int, ...]) -> slice | list[int]:
    """Places as a slice where they follow each other: a view instead of a gather."""
    begin, end = places[0], places[-1] + 1
    return slice(begin, end) if places == tuple(range(begin, end)) else list(places)


def _line(found: Statistics, at: int, how: str) -> tuple[float, float]:
    columns = {
        "quantile": (found.q01, found.q99),
        "min-max": (found.min, found.max),
        "mean-std": (found.mean, found.std),
    }[how]
    low, high = (column[at] for column in columns)
    if low is None or high is None:
        return 1.0, 0.0
    centre, half = (low, high) if how == "mean-std" else ((low + high) / 2, (high - low) / 2)
    if half <= 0:
        return 0.0, 0.0
    return 1 / half, -centre / half


def _groups(role: str, vector: VectorRole) -> _Groups:
    place = {name: k for k, name in enumerate(vector.names)}
    quaternions: list[tuple[int, ...]] = []
    positions: list[tuple[int, ...] | None] = []
    for name in vector.names:
        if not name.endswith("qx"):
            continue
        prefix = name.removesuffix("qx")
        wanted = [prefix + end for end in _QUATERNION]
        begin = place[name]
        if list(vector.names[begin : begin + 4]) != wanted:
            raise UsageError(
                place=f"vector role {role}",
                found=", ".join(vector.names[begin : begin + 4]),
                wanted=", ".join(wanted) + ", next to each other",
            )
        quaternions.append(tuple(range(begin, begin + 4)))
        axes = [place.get(prefix + axis) for axis in "xyz"]
        known = [axis for axis in axes if axis is not None]
        positions.append(tuple(known) if len(known) == 3 else None)
    grippers = tuple(k for k, name in enumerate(vector.names) if name.endswith("gripper"))
    return _Groups(tuple(quaternions), tuple(positions), grippers)


def _states_of(one: ShardSet, part: Part, role: str) -> tuple[Pick, ...]:
    """The states that a role's actions refer to: those of the same names.

    Raises:
        UsageError: There is none, or nobody said what the part's numbers mean.
    """
    if one.space == "undeclared":
        raise UsageError(
            place=f"actions of {one.source}, part {one.part}",
            found="numbers of undeclared meaning",
            wanted="action='absolute': only positions, rotations and joints can refer to a state",
        )
    features = {feature.name: feature.names for feature in one.features}
    found: list[Pick] = []
    for pick in part.vectors[role]:
        inner = pick.feature.removeprefix("action").removeprefix(".")
        state = f"observation.{inner or 'state'}"
        missing = [name for name in pick.names if name not in features.get(state, [])]
        if missing:
            raise UsageError(
                place=f"actions of {one.source}, part {one.part}",
                found=f"no {missing[0]} in {state}",
                wanted="a state for every action that refers to one",
            )
        columns = tuple(features[state].index(name) for name in pick.names)
        found.append(Pick(state, pick.names, columns, pick.places))
    return tuple(found)
