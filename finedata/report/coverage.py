"""What a budget covers: our choice against random and longest-first, as three curves.

For every budget: the mean, over all episodes, of the distance to the nearest chosen episode of the
same task. Ours takes the representatives by their rank; random takes episodes at random, twenty
times; longest takes the longest first. An episode whose task has no chosen one counts what
selection counts for it (`finedata.cluster.choose.select.uncovered_distances`). Tasks that were
compared with landmarks only are left out and counted: not all of their distances are known.

Tasks do not lower each other's distances, so one task's matrix is in memory at a time, and each
choice of each strategy adds what it takes away at its place in that strategy's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
import polars as pl

from finedata.cluster.choose.coverage import task_totals
from finedata.cluster.distance.condensed import square_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.store.dataset import Dataset

SEEDS = 20
_POINTS = 160

# Episode ids and condensed distances of one task of one part, all pairs.
Unit: TypeAlias = "tuple[list[str], NDArray[np.floating]]"
Units: TypeAlias = Callable[[], Iterable[Unit]]


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """Each strategy's place of each episode, and how many places are looked at."""

    place: NDArray[np.int64]  # (strategies, episodes)
    budget: int


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Mean distance to the nearest chosen episode, at each budget of `Coverage.budgets`.

    `low` and `high` are the smallest and largest over the seeds, of the random curve only. Ours
    ends at the number of representatives: it has as many values as there are budgets up to it.
    """

    mean: list[float]
    low: list[float]
    high: list[float]


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """The curves, or a note why there are none.

    Attributes:
        episodes: Episodes whose tasks have all distances.
        left_out: Clustered episodes whose tasks have not.
        representatives: Of those episodes.
        budgets: Chosen episodes, ascending, from 0.
        ours: By rank.
        random: Mean and range of `SEEDS` seeds.
        longest: Longest first.
        random_needs: Smallest budget at which random (mean) is as good as all representatives;
            `None` if none of the budgets is.
        note: Why there are no curves; empty where there are.
    """

    episodes: int
    left_out: int
    representatives: int
    budgets: list[int]
    ours: Curve
    random: Curve
    longest: Curve
    random_needs: int | None
    note: str


def read_coverage(dataset: Dataset, *, units: Units, seed: int = 0) -> Coverage:
    """Compute the curves of a dataset.

    Args:
        dataset: The dataset.
        units: Gives every unit that has all its distances, each time anew.
        seed: The random curve uses `seed` to `seed + SEEDS - 1`.
    """
    ranks = dataset.representatives.select("episode_id", "rank")
    rows = (
        dataset.clusters.select("episode_id", "part", "task_id")
        .join(ranks, on="episode_id", how="left")
        .join(dataset.episodes.select("episode_id", "length"), on="episode_id", how="inner")
        .sort("episode_id")
        .collect()
    )
    if not rows.height:
        return _without("Nothing is clustered yet.", 0)
    if not rows["rank"].is_not_null().any():
        return _without("No representatives are chosen yet.", rows.height)
    known = _known(rows, units)
    if not known:
        return _without(
            "No task has all its distances in this folder's ledger: clustered elsewhere, or by "
            "landmarks, or the ledger was removed.",
            rows.height,
        )
    inside = rows.filter(pl.col("episode_id").is_in(list(known)))
    number = {episode_id: i for i, episode_id in enumerate(inside["episode_id"].to_list())}
    chosen = inside.with_row_index("at").filter(pl.col("rank").is_not_null()).sort("rank")
    ours = chosen["at"].to_numpy().astype(np.int64)
    if not len(ours):
        return _without("No representative is in a task whose distances are known.", rows.height)

    def numbered() -> Iterable[tuple[NDArray[np.int64], NDArray[np.floating]]]:
        seen: set[int] = set()
        for ids, condensed in units():
            if known.issuperset(ids):
                members = [number[i] for i in ids]
                seen.update(members)
                yield np.array(members, np.int64), condensed
        # A task of one episode needs no distance, and may have no unit.
        for alone in sorted(set(number.values()) - seen):
            yield np.array([alone], np.int64), np.zeros(0)

    lengths = inside["length"].to_numpy()
    found = curves_of(numbered(), ours=ours, lengths=lengths, seed=seed)
    return msgspec.structs.replace(found, left_out=rows.height - inside.height)


def _known(rows: pl.DataFrame, units: Units) -> set[str]:
    """Episodes in units that are clustered whole, and those alone in their task."""
    clustered = set(rows["episode_id"].to_list())
    known: set[str] = set()
    for ids, condensed in units():
        if clustered.issuperset(ids) and np.isfinite(condensed).all():
            known.update(ids)
    sizes = rows.filter(pl.len().over("part", "task_id") == 1)
    known.update(sizes["episode_id"].to_list())
    return known


def _without(note: str, episodes: int) -> Coverage:
    empty = Curve(mean=[], low=[], high=[])
    return Coverage(
        episodes=0, left_out=episodes, representatives=0, budgets=[], ours=empty, random=empty,
        longest=empty, random_needs=None, note=note,
    )  # fmt: skip


def curves_of(
    units: Iterable[tuple[NDArray[np.int64], NDArray[np.floating]]],
    *,
    ours: NDArray[np.int64],
    lengths: NDArray[np.integer],
    seed: int = 0,
) -> Coverage:
    """Compute the curves from numbers alone.

    Args:
        units: (members, condensed): the numbers of a unit's episodes and their distances; each
            episode of 0 to E - 1 is in one unit.
        ours: (R,) numbers of the representatives by rank, R >= 1.
        lengths: (E,) frames; of equal ones the first number counts as longer.
        seed: See `read_coverage`.

    Returns:
        Curves up to twice as many choices as there are representatives.
    """
    count = len(lengths)
    order = _orders(count, ours, lengths, seed)
    total = _totals(units, order)
    curves = total / max(count, 1)
    last = order.budget
    budgets = _budgets(len(ours), last)
    random = curves[2:, budgets]
    ahead = np.flatnonzero(curves[2:].mean(axis=0) <= curves[0, len(ours)] + 1e-12)
    return Coverage(
        episodes=count,
        left_out=0,
        representatives=len(ours),
        budgets=budgets.tolist(),
        ours=_curve(curves[0, budgets[budgets <= len(ours)]]),
        random=Curve(
            mean=random.mean(axis=0).tolist(),
            low=random.min(axis=0).tolist(),
            high=random.max(axis=0).tolist(),
        ),
        longest=_curve(curves[1, budgets]),
        random_needs=int(ahead[0]) if len(ahead) else None,
        note="",
    )


def _curve(values: NDArray[np.float64]) -> Curve:
    return Curve(mean=values.tolist(), low=[], high=[])


def _orders(count: int, ours: NDArray[np.int64], lengths: NDArray[np.integer], seed: int) -> _Order:
    place = np.full((2 + SEEDS, count), count, np.int64)
    place[0, ours] = np.arange(len(ours))
    place[1, np.lexsort((np.arange(count), -lengths.astype(np.int64)))] = np.arange(count)
    for k in range(SEEDS):
        generator = np.random.Generator(np.random.PCG64(seed + k))
        place[2 + k, generator.permutation(count)] = np.arange(count)
    return _Order(place, min(count, max(2 * len(ours), 10)))


def _totals(
    units: Iterable[tuple[NDArray[np.int64], NDArray[np.floating]]], order: _Order
) -> NDArray[np.float64]:
    """(strategies, budget + 1) total distance of all episodes after so many choices."""
    strategies = len(order.place)
    change = np.zeros((strategies, order.budget + 1))
    # The first choice in a unit takes away what its episodes counted while it had none.
    first: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    sizes: list[int] = []
    diameters: list[float] = []
    for members, condensed in units:
        square = square_of(condensed)
        sizes.append(len(members))
        diameters.append(float(condensed.max(initial=0.0)))
        places = np.full(strategies, -1, np.int64)
        totals = np.zeros(strategies)
        for k in range(strategies):
            own = order.place[k, members]
            chosen = np.argsort(own, kind="stable")
            chosen = chosen[own[chosen] < order.budget]
            if not len(chosen):
                continue
            after = task_totals(square, chosen)
            at = own[chosen] + 1
            places[k], totals[k] = at[0], after[0]
            np.add.at(change[k], at[1:], np.diff(after))
        first.append((places, totals))
    uncovered = _uncovered(np.array(sizes), np.array(diameters))
    for (places, totals), size, worth in zip(first, sizes, uncovered, strict=True):
        change[:, 0] += size * worth
        some = np.flatnonzero(places >= 0)
        change[some, places[some]] += totals[some] - size * worth
    return np.maximum(np.cumsum(change, axis=1), 0.0)


def _uncovered(sizes: NDArray[np.int64], diameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `finedata.cluster.choose.select.uncovered_distances` has it."""
    known = diameters[sizes > 1]
    usual = float(np.median(known)) if len(known) else 1.0
    return np.maximum(diameters, usual if usual > 0 else 1.0)


def _budgets(representatives: int, last: int) -> NDArray[np.int64]:
    """At most about 160 budgets from 0 to the last, the number of representatives among them."""
    spread = np.linspace(0, last, min(last + 1, _POINTS)).round().astype(np.int64)
    return np.unique(np.concatenate([spread, [min(representatives, last), last]]))
