"""One ranking of representatives over all units, merged from the orders of single units.

For a budget, who stands for whom depends on where the ranking is cut, so the distances of the
units that have some are read once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.cluster.choose.select import rank_tasks, uncovered_distances
from finedata.cluster.distance.condensed import square_of
from finedata.cluster.distance.pipeline import TILE, stored_distances
from finedata.cluster.group.one import choose
from finedata.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from finedata.cluster.clusters import Chosen, UnitClusters
    from finedata.cluster.distance.pipeline import TileStore, UnitDistances
    from finedata.cluster.group.units import UnitWork
    from finedata.cluster.settings import ClusterSettings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Representatives:
    """The chosen episodes of all units; rank is the position in these arrays.

    Args:
        unit: (R,) number of the unit, counted over all `UnitClusters`.
        member: (R,) number of the episode in its unit.
        represents: (R,) episodes that it stands for, itself included.
        radius: (R,) largest distance to one of them; NaN where unknown.
        score: (R,) what it was ranked by, never growing.
        role: (R,) why it was chosen.
    """

    unit: NDArray[np.int64]
    member: NDArray[np.int64]
    represents: NDArray[np.int64]
    radius: NDArray[np.float64]
    score: NDArray[np.float64]
    role: list[str]


def offsets_of(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Where each of some pieces begins, and where the last ends; [0] of none."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def rank_units(
    clusters: Sequence[UnitClusters],
    *,
    settings: ClusterSettings,
    works: Sequence[UnitWork],
    store: TileStore,
) -> Representatives:
    """Choose among all units and rank the chosen.

    Args:
        clusters: Of all units, those of the first work first.
        settings: The rules.
        works: What they were made by.
        store: Where their tiles are; looked at for a budget only.

    Returns:
        The representatives; a smaller budget is the beginning of a larger one.
    """
    if settings.preset == "finevla":
        return _rank_random(clusters, settings.budget)
    orders = [one.order for one in clusters]
    ranking = rank_tasks(orders, uncovered=uncovered_distances(orders))
    task, position, score = ranking.task, ranking.position, ranking.score
    bounds = offsets_of([len(order.member) for order in orders])
    places = bounds[task] + position
    members = np.concatenate([np.zeros(0, np.int64), *(order.member for order in orders)])[places]
    if settings.budget is None:
        chosen: Sequence[Chosen | None] = [one.chosen for one in clusters]
        kept = _is_chosen(clusters, task, members)
        task, members, score, places = task[kept], members[kept], score[kept], places[kept]
    else:
        cut = slice(0, settings.budget)
        task, members, score, places = task[cut], members[cut], score[cut], places[cut]
        chosen = _chosen_by_budget(clusters, task, members, works, store)
    roles = [role for order in orders for role in order.role]
    represents, radius = np.zeros(len(task), np.int64), np.zeros(len(task))
    by_task = np.argsort(task, kind="stable")
    starts = np.searchsorted(task[by_task], np.arange(len(clusters) + 1))
    for unit, one in enumerate(chosen):
        if one is None:
            continue
        own = by_task[starts[unit] : starts[unit + 1]]
        # Both are in the order of choice.
        represents[own], radius[own] = one.represents, one.radius
    return Representatives(
        unit=task,
        member=members,
        represents=represents,
        radius=radius,
        score=score,
        role=[roles[place] for place in places.tolist()],
    )


def _is_chosen(
    clusters: Sequence[UnitClusters],
    task: NDArray[np.int64],
    members: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which of the ranked episodes their own units chose."""
    first = offsets_of([len(one.labels) for one in clusters])
    flags = np.zeros(int(first[-1]), np.bool_)
    for unit, one in enumerate(clusters):
        if one.chosen is not None:
            flags[first[unit] + one.chosen.member] = True
    return flags[first[task] + members]


def _chosen_by_budget(
    clusters: Sequence[UnitClusters],
    task: NDArray[np.int64],
    members: NDArray[np.int64],
    works: Sequence[UnitWork],
    store: TileStore,
) -> list[Chosen | None]:
    """Who stands for whom, unit by unit: distances are read again from the store."""
    by_task = np.argsort(task, kind="stable")
    starts = np.searchsorted(task[by_task], np.arange(len(clusters) + 1))
    found: list[Chosen | None] = [None] * len(clusters)
    begin = 0
    for work in works:
        count = len(work.tracks)
        wanted = {u for u in range(count) if starts[begin + u] < starts[begin + u + 1]}
        for unit in _again(work, store, wanted):
            own = members[by_task[starts[begin + unit.unit] : starts[begin + unit.unit + 1]]]
            if unit.subset is not None and unit.to_landmarks is not None:
                chosen = choose(unit.to_landmarks, own, candidates=unit.subset.landmarks)
            elif unit.condensed is not None:
                chosen = choose(square_of(unit.condensed), own)
            else:
                continue
            found[begin + unit.unit] = chosen
        begin += count
    return found


def _again(work: UnitWork, store: TileStore, wanted: set[int]) -> Iterator[UnitDistances]:
    """Distances that are in the store since a moment ago."""

    def get(number: int) -> bytes:
        payload = store.get(TILE, work.first_number + number)
        if payload is None:
            raise OutputError(
                place=f"tile {work.first_number + number}",
                found="nothing in the store",
                wanted="what was put there",
                next_command="run the same command again",
            )
        return payload

    return stored_distances(
        get,
        tiles=work.tiles,
        unit_offsets=work.tracks.unit_offsets,
        dtype=work.kernel.dtype,
        wanted=wanted,
    )


def _rank_random(clusters: Sequence[UnitClusters], budget: int | None) -> Representatives:
    """Drawn members, those of large clusters first: the released code has no order of its own."""
    drawn = [(unit, one.chosen) for unit, one in enumerate(clusters) if one.chosen is not None]
    empty = np.zeros(0, np.int64)
    unit = np.repeat(
        np.array([unit for unit, _ in drawn], np.int64), [len(one.member) for _, one in drawn]
    )
    member = np.concatenate([empty, *(one.member for _, one in drawn)])
    represents = np.concatenate([empty, *(one.represents for _, one in drawn)])
    radius = np.concatenate([empty.astype(np.float64), *(one.radius for _, one in drawn)])
    order = np.lexsort((np.arange(len(unit)), unit, -represents))[:budget]
    return Representatives(
        unit=unit[order],
        member=member[order],
        represents=represents[order],
        radius=radius[order],
        score=represents[order].astype(np.float64),
        role=["random"] * len(order),
    )
