"""Windows of states and actions of a batch, cut from the frames tables when they are drawn.

Each number stands once on disk, so horizon, stride and history are nothing but which rows are
gathered. Before an episode's first frame the first one stands, behind its last the last one, both
masked; a number that is not finite, is not commanded (`action_valid`) or that a part lacks is
masked and has the role's fill. What becomes of the numbers is in `finedata.shard.stream.codec`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from finedata.errors import UsageError
from finedata.schema.codecs_file import VectorCodec
from finedata.shard.stream.codec import given_names, normalise_masked, scale, turned_places
from finedata.shard.stream.parts import Part, Pick, vector_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from finedata.schema.roles_file import RolesFile, VectorRole
    from finedata.schema.shards_file import ShardSet, Statistics
    from finedata.shard.mapped import MappedTable
    from finedata.shard.shards import Shards
    from finedata.shard.stream.settings import Numbers


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
    kind: Literal["state", "action"]
    steps: int
    names: tuple[str, ...]


class VectorReader:
    """Reads the vectors of batches.

    Args:
        shards: The shards.
        roles: The roles.
        parts: By the sequence's number of the set.
        numbers: What is asked for.
        statistics: Of actions that are not absolute, by embodiment, space and role.

    Attributes:
        vectors: The roles as they are given.
        codecs: Name of a set and role to how its numbers are written.

    Raises:
        UsageError: A role mixes states and actions, a quaternion of a role is not whole, an action
            has no state to refer to, or there are no statistics to normalise by.
    """

    def __init__(
        self,
        shards: Shards,
        roles: RolesFile,
        parts: list[Part],
        numbers: Numbers,
        statistics: Sequence[Statistics] = (),
    ) -> None:
        self._shards = shards
        # Held here, and not opened by path again for every batch.
        self._frames = lru_cache(maxsize=None)(shards.frames)
        self._episodes = lru_cache(maxsize=None)(shards.episodes)
        self._parts = parts
        self._numbers = numbers
        self._roles = roles.vectors
        self.vectors = [self._vector(role, vector) for role, vector in roles.vectors.items()]
        before = {"state": numbers.history, "action": 0}
        self._steps = {
            vector.role: numbers.stride * (np.arange(vector.steps) - before[vector.kind])
            for vector in self.vectors
        }
        self.codecs = {
            (part.name, vector.role): self._codec(part, vector, statistics)
            for part in parts
            for vector in self.vectors
        }
        self._references = {
            (part.name, vector.role): _states_of(shards.sets[part.name], part, vector.role)
            for part in parts
            for vector in self.vectors
            if vector.kind == "action" and numbers.action != "absolute"
        }

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
        codec = self.codecs[part.name, vector.role]
        if vector.kind == "action" and "action_valid" in frames.columns:
            counts &= frames.take("action_valid", rows)
        if codec.action == "absolute":
            values, mask = normalise_masked(codec, values, mask)
        else:
            states = self._references[part.name, vector.role]
            at = rows if codec.action == "delta" else first + now
            state = self._gather(frames, states, at, self._roles[vector.role])
            values, mask = normalise_masked(codec, values, mask, *state)
        # Padding is masked last: until here it is turned and scaled like what it repeats.
        mask &= counts[:, :, None]
        return values, mask

    def _vector(self, role: str, vector: VectorRole) -> Vector:
        kind = vector_kind(role, self._parts)
        steps = self._numbers.horizon if kind == "action" else self._numbers.history + 1
        rotation = self._numbers.rotation
        names = given_names(vector.names, rotation=rotation, place=f"vector role {role}")
        return Vector(role, kind, steps, names)

    def _codec(self, part: Part, vector: Vector, statistics: Sequence[Statistics]) -> VectorCodec:
        """How the numbers of a role of a part are written."""
        one, role = self._shards.sets[part.name], self._roles[vector.role]
        width = len(role.names)
        centre, half, filled = [0.0] * width, [1.0] * width, [False] * width
        action = self._numbers.action if vector.kind == "action" else "absolute"
        turned = turned_places(role.names, place=f"vector role {vector.role}")
        for pick in part.vectors[vector.role]:
            for name, place in zip(pick.names, pick.places, strict=True):
                filled[place] = True
                if self._numbers.normalise == "none" or place in turned:
                    continue
                if action == "absolute":
                    found = _statistics(self._shards.document.statistics, one, pick.feature, [name])
                else:
                    found = _statistics(statistics, one, vector.role, role.names)
                    name = role.names[place]
                at = found.names.index(name)
                centre[place], half[place] = scale(found, at, how=self._numbers.normalise)
        return VectorCodec(
            source=one.source,
            part=one.part,
            embodiment=one.embodiment,
            role=vector.role,
            kind=vector.kind,
            names=role.names,
            given_names=vector.names,
            filled=tuple(filled),
            action=action,
            rotation=self._numbers.rotation,
            normalise=self._numbers.normalise,
            centre=tuple(centre),
            half=tuple(half),
            fill=role.fill,
        )

    def _gather(
        self, frames: MappedTable, picks: tuple[Pick, ...], rows: np.ndarray, vector: VectorRole
    ) -> tuple[np.ndarray, np.ndarray]:
        if len(picks) == 1 and len(picks[0].places) == len(vector.names):
            # One feature fills the role, most often as it stands: nothing to lay out.
            (pick,) = picks
            found = frames.take(pick.feature, rows).reshape(*rows.shape, -1)
            found = np.asarray(found[..., _order(pick)], np.float32)
            real = np.isfinite(found)
            if not real.all():
                found = np.where(real, found, np.float32(vector.fill))
            return found, real
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


@lru_cache(maxsize=1024)
def _order(pick: Pick) -> slice | list[int]:
    """Columns of the feature in the order of the role, of a pick that fills it."""
    return _run(tuple(pick.columns[pick.places.index(k)] for k in range(len(pick.places))))


@lru_cache(maxsize=1024)
def _run(places: tuple[int, ...]) -> slice | list[int]:
    """Places as a slice where they follow each other: a view instead of a gather."""
    begin, end = places[0], places[-1] + 1
    return slice(begin, end) if places == tuple(range(begin, end)) else list(places)


def _statistics(
    known: Iterable[Statistics], one: ShardSet, feature: str, names: Sequence[str]
) -> Statistics:
    for found in known:
        key = found.embodiment, found.space, found.feature
        if key == (one.embodiment, one.space, feature) and set(names) <= set(found.names):
            return found
    raise UsageError(
        place=f"normalise: {feature} of {one.embodiment} in space {one.space}",
        found="no statistics of it in the shards",
        wanted="statistics, or normalise='none'",
    )


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
