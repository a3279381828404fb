"""Statistics of actions that refer to states: of the numbers that a policy is trained on.

The statistics in `shards.json` are of absolute numbers; what an action is relative to is an
argument of the stream, and so is the horizon. So these are counted when a stream first asks for
them, over the very windows it gives: every step of the chunks of at most `_FRAMES` evenly spaced
frames of each set of a training side, whatever the mixture. Steps behind the end of an episode,
actions that were not commanded and what a part lacks count nowhere. Mean, deviation and extremes
are of all of them; the quantiles of chunks with about `_QUANTILE_ROWS` steps in a set. They are
rounded to float32, so that two machines agree on their digest in all but rare cases.

They are kept in the shards' `.finedata/statistics/`, one file for each identity, roles, kind of
action, horizon and stride. Where the shards may not be written to, each process counts them anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from finedata.errors import OutputError, UsageError
from finedata.schema.documents import digest_of
from finedata.schema.roles_file import roles_digest
from finedata.schema.shards_file import Statistics  # noqa: TC001  (msgspec reads it at run time)
from finedata.schema.strict import Strict
from finedata.shard.statistics import COUNTED_TIERS, Moments
from finedata.shard.stream.numbers import VectorReader
from finedata.shard.stream.parts import resolve
from finedata.shard.stream.settings import Numbers
from finedata.store.atomic import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.schema.roles_file import RolesFile
    from finedata.shard.shards import Shards

_FRAMES = 1_000_000
_QUANTILE_ROWS = 2_000_000
_ROWS_AT_ONCE = 65_536


class _Kept(Strict, frozen=True, kw_only=True):
    """The file."""

    key: str
    statistics: tuple[Statistics, ...]


def action_statistics(shards: Shards, roles: RolesFile, numbers: Numbers) -> tuple[Statistics, ...]:
    """Statistics of the action roles, by embodiment, space and role.

    Args:
        shards: The shards.
        roles: The roles; sets of parts that they do not name count nowhere.
        numbers: What actions refer to, the horizon and the stride; the rest does not matter.

    Returns:
        `feature` is the name of the role; `names` are its numbers in the shards.

    Raises:
        ConformError: A table of the shards is damaged.
    """
    key = digest_of(
        {
            "finedata.schema": "action-statistics",
            "finedata.version": 1,
            "shards": shards.identity,
            "roles": roles_digest(roles),
            "action": numbers.action,
            "horizon": numbers.horizon,
            "stride": numbers.stride,
        }
    )
    path = shards.root / ".finedata" / "statistics" / f"{key[:16]}.json"
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
        if kept.key == key:
            return kept.statistics
    except (OSError, msgspec.DecodeError):
        pass  # Not counted yet, or cut off; either way it is counted now.
    found = _count(shards, roles, numbers)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, msgspec.json.encode(_Kept(key=key, statistics=found)))
    except (OSError, OutputError):
        pass  # Shards may stand where nobody writes: then they are counted each time.
    return found


def statistics_digest(used: Sequence[Statistics]) -> str:
    """Digest of statistics, their numbers as shortest decimal texts."""
    plain = msgspec.to_builtins(used)
    return digest_of([{k: repr(v) for k, v in sorted(one.items())} for one in plain])


def _count(shards: Shards, roles: RolesFile, numbers: Numbers) -> tuple[Statistics, ...]:
    plain = Numbers(horizon=numbers.horizon, stride=numbers.stride, action=numbers.action)
    named = {(part.source, part.part) for part in roles.parts}
    found: dict[tuple[str, str, str], Moments] = {}
    for one in sorted(shards.sets.values(), key=lambda one: one.name):
        counts = one.side == "train" and one.tier in COUNTED_TIERS and one.frames
        if not counts or (one.source, one.part) not in named:
            continue
        try:
            part = resolve(one, roles)
            reader = VectorReader(shards, roles, [part], plain)
        except UsageError:
            continue  # A stream of this set says itself what is wrong with it.
        wanted = [
            vector.role
            for vector in reader.vectors
            if vector.kind == "action" and part.vectors[vector.role]
        ]
        moments = {
            role: found.setdefault(
                (one.embodiment, one.space, role), Moments(len(roles.vectors[role].names))
            )
            for role in wanted
        }
        if moments:
            _add_set(shards, one.name, reader, moments, horizon=numbers.horizon)
    return tuple(
        _rounded(moments.statistics(embodiment, space, role, roles.vectors[role].names))
        for (embodiment, space, role), moments in sorted(found.items())
    )


def _add_set(
    shards: Shards, name: str, reader: VectorReader, moments: dict[str, Moments], *, horizon: int
) -> None:
    frames = shards.frames(name)
    rows = np.arange(0, len(frames), -(-len(frames) // _FRAMES))
    every = -(-len(rows) * horizon // _QUANTILE_ROWS)
    at_once = max(1, _ROWS_AT_ONCE // horizon)
    for start in range(0, len(rows), at_once):
        here = rows[start : start + at_once]
        episode = frames.take("episode", here).astype(np.int64)
        read = reader.read(0, episode, frames.take("frame_index", here).astype(np.int64))
        for role, counted in moments.items():
            values, mask = read[role]
            real = np.where(mask, values, np.nan).astype(np.float64)
            counted.add(real.reshape(-1, counted.width))
            counted.sample.append(real[-start % every :: every].reshape(-1, counted.width))


def _rounded(found: Statistics) -> Statistics:
    def short(values: list[float | None]) -> list[float | None]:
        return [None if value is None else float(np.float32(value)) for value in values]

    names = ("mean", "std", "min", "max", "q01", "q99")
    return msgspec.structs.replace(found, **{name: short(getattr(found, name)) for name in names})
