"""Which episodes the demo corpus has and where they lie: counts and a seed go in, drafts come out.

Each task is done once by each of its ways, exactly; most other episodes repeat one of these with
small deviations (near duplicates), and a few stray far. Broken episodes come on top. All are
shuffled over files and splits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from corpora.arm import Variation
from corpora.defects import DEFECTS
from corpora.ways import TASKS, Task, Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corpora.truth import Kind

__all__ = ["Draft", "Placement", "Shard", "lay_out", "plan_episodes"]

_EXACT = Variation()
_NEAR = Variation(waypoint_m=0.002, angle_rad=0.01, layout_m=0.002, start_m=0.003, pace=0.04)
_FAR = Variation(waypoint_m=0.015, angle_rad=0.12, layout_m=0.012, start_m=0.04, pace=0.25)

_ROOT = "/nfs/kun2/users/homer/datasets/bridge_data_all"


@dataclass(frozen=True)
class Draft:
    """One episode before it is made.

    Args:
        number: Unique; decides its random numbers, so that no episode depends on the others.
        task: What is done.
        way: How.
        variation: How far from the way.
        kind: See `EpisodeTruth`.
        defect: What will be broken.
        original: `number` of the episode that it repeats.
    """

    number: int
    task: Task
    way: Way
    variation: Variation
    kind: Kind = "good"
    defect: str | None = None
    original: int | None = None


@dataclass(frozen=True)
class Placement:
    """A draft and its key in the source: `file_path` and `source_episode_id`."""

    draft: Draft
    file_path: str
    source_episode_id: int


@dataclass(frozen=True)
class Shard:
    """One file: its split, its number among the split's `count` files, its records in order."""

    split: str
    index: int
    count: int
    records: tuple[Placement, ...]


def plan_episodes(*, episodes: int, seed: int, with_defects: bool) -> list[Draft]:
    """Decide what there is.

    Args:
        episodes: Number of whole episodes.
        seed: Decides the order.
        with_defects: Whether one broken episode of each of the `DEFECTS` that may stand anywhere
            comes on top.

    Returns:
        The drafts in the order of their records.
    """
    drafts: list[Draft] = []
    for number in range(episodes):
        turn, which = divmod(number, len(TASKS))
        task = TASKS[which]
        way_number = turn % len(task.ways)
        draft = Draft(number, task, task.ways[way_number], _EXACT)
        if turn >= len(task.ways):
            # Three near duplicates, then one that strays.
            near = (turn - len(task.ways)) % 4 < 3
            original = way_number * len(TASKS) + which
            draft = replace(
                draft,
                variation=_NEAR if near else _FAR,
                kind="near_duplicate" if near else "good",
                original=original if near else None,
            )
        drafts.append(draft)
    if with_defects:
        planted = [name for name, defect in DEFECTS.items() if defect.everywhere]
        drafts += [_broken(episodes + k, name, k) for k, name in enumerate(planted)]
    order = np.random.default_rng([seed, 1]).permutation(len(drafts))
    return [drafts[index] for index in order.tolist()]


def _broken(number: int, defect: str, turn: int, task: Task | None = None) -> Draft:
    task = task or TASKS[turn % len(TASKS)]
    way = task.ways[turn % len(task.ways)]
    return Draft(number, task, way, _FAR, kind=DEFECTS[defect].kind, defect=defect)


def lay_out(
    drafts: Sequence[Draft],
    *,
    splits: Sequence[tuple[str, float]],
    shards: int,
    duplicate_id: bool = False,
    truncate_last: bool = False,
) -> list[Shard]:
    """Decide where everything lies.

    Args:
        drafts: In the order of their records.
        splits: Names and fractions; fractions are relative to their sum.
        shards: Number of files, shared by the splits according to their fractions, at least one
            each.
        duplicate_id: Whether the first file gets one more record, with the key of another in it.
        truncate_last: Whether the last file gets one more record, to be cut off.

    Returns:
        The files in order; a split too small for one record has none.
    """
    fractions = np.array([fraction for _, fraction in splits], np.float64)
    fractions /= fractions.sum()
    bounds = [0, *np.rint(np.cumsum(fractions) * len(drafts)).astype(int).tolist()]
    groups: list[tuple[str, int, int, list[Draft]]] = []
    for (split, _), fraction, low, high in zip(
        splits, fractions.tolist(), bounds, bounds[1:], strict=False
    ):
        count = min(max(1, round(shards * fraction)), high - low)
        edges = np.linspace(low, high, count + 1).round().astype(int).tolist()
        groups += [
            (split, index, count, list(drafts[edges[index] : edges[index + 1]]))
            for index in range(count)
        ]
    if truncate_last:
        groups[-1][3].append(_broken(len(drafts) + 1, "truncated", 1))

    counters: dict[str, int] = {}
    files = [
        Shard(split, index, count, tuple(_place(draft, split, counters) for draft in records))
        for split, index, count, records in groups
    ]
    if duplicate_id:
        files[0] = _with_duplicate(files[0], len(drafts))
    return files


def _place(draft: Draft, split: str, counters: dict[str, int]) -> Placement:
    # Episodes without language are scripted ones in the real corpus, and have a tree of their own.
    scripted = draft.defect == "empty_instruction"
    tree = "scripted_numpy_256" if scripted else "numpy_256"
    path = f"{_ROOT}/{tree}/{draft.task.folder}/{split}/out.npy"
    number = counters.get(path, 0)
    counters[path] = number + 1
    return Placement(draft, path, number)


def _with_duplicate(shard: Shard, number: int) -> Shard:
    first = next(place for place in shard.records if place.draft.defect is None)
    twin = _broken(number, "duplicate_id", 2, first.draft.task)
    return replace(shard, records=(*shard.records, replace(first, draft=twin)))
