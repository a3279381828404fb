"""Sample n of a mixture: first which view, then which source of it, then which sample.

Two schedules stand on top of each other, so that the ratio of the views is exact whatever their
sources are, and no product of denominators makes a period too long. The weights of the views come
from the user; inside a view sources come by their number of samples unless weights of their own
are given. Nothing here touches a file: a plan is arithmetic on counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import UsageError
from finedata.shard.order.schedule import Schedule, by_size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    from finedata.shard.order.source import SourceOrder


@dataclass(frozen=True, slots=True)
class Draws:
    """What steps start..stop-1 of a mixture draw, one entry a step.

    Attributes:
        n: (n,) int64: the step.
        view: (n,) int64: index into the mixture's views.
        source: (n,) int64: index into that view's sources.
        ordinal: (n,) int64: how often that source of that view was drawn before.
        epoch: (n,) int64: of that source in that view.
        shard: (n,) int64: index into the source's shards.
        rank: (n,) int64: which eligible sample of the shard.
    """

    n: np.ndarray
    view: np.ndarray
    source: np.ndarray
    ordinal: np.ndarray
    epoch: np.ndarray
    shard: np.ndarray
    rank: np.ndarray


class View:
    """A way to look at the shards: which samples, with which words.

    Args:
        name: As the user writes it in a mixture.
        orders: Source to the order of its samples.
        weights: Source to weight; by number of samples where None.
        seed: Breaks ties of the schedule.

    Raises:
        UsageError: A weight is above zero and its source has no sample in this view, or a
            weight names no source.
    """

    def __init__(
        self,
        name: str,
        *,
        orders: Mapping[str, SourceOrder],
        weights: Mapping[str, Fraction] | None = None,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.orders = [orders[source] for source in sorted(orders)]
        self.sources = tuple(sorted(orders))
        self.size = sum(order.size for order in self.orders)
        place = f"the sources of view {name}"
        chosen = weights or by_size({source: orders[source].size for source in orders})
        unknown = sorted(set(chosen) - set(orders))
        if unknown:
            raise UsageError(place=place, found=", ".join(unknown), wanted=", ".join(self.sources))
        empty = [name for name, weight in chosen.items() if weight > 0 and not orders[name].size]
        if empty or not self.size:
            raise UsageError(
                place=place,
                found=f"no sample in {', '.join(empty) or 'any source'}",
                wanted="samples in every source whose weight is above zero",
                next_command="finedata info SHARDS  # which sets and texts there are",
            )
        filled = {source: chosen.get(source, chosen[next(iter(chosen))] * 0) for source in orders}
        self.schedule = Schedule.of(filled, seed=seed, place=place)


class Mixture:
    """Views in an exact ratio.

    Args:
        views: The views of the mixture.
        weights: View to exact weight; see `finedata.shard.order.schedule.exact_weights`.
        seed: Breaks ties of the schedule.

    Raises:
        UsageError: A weight names no view, or the weights are no weights.
    """

    def __init__(
        self, views: list[View], *, weights: Mapping[str, Fraction], seed: int = 0
    ) -> None:
        self.views = sorted(views, key=lambda view: view.name)
        names = [view.name for view in self.views]
        if sorted(weights) != names:
            raise UsageError(place="mix", found=", ".join(sorted(weights)), wanted=", ".join(names))
        self.schedule = Schedule.of(weights, seed=seed)

    def draw(self, start: int, stop: int) -> Draws:
        """What steps start..stop-1 draw."""
        views, turns = self.schedule.slice(start, stop)
        columns = {
            name: np.empty(len(views), np.int64)
            for name in ("source", "ordinal", "epoch", "shard", "rank")
        }
        for number, view in enumerate(self.views):
            of_view = np.flatnonzero(views == number)
            if not len(of_view):
                continue
            # Turns of one view follow each other, so its own schedule is read in one slice.
            first = int(turns[of_view[0]])
            sources, ordinals = view.schedule.slice(first, first + len(of_view))
            columns["source"][of_view] = sources
            columns["ordinal"][of_view] = ordinals
            for source in map(int, np.unique(sources)):
                here = of_view[sources == source]
                place = view.orders[source].place(columns["ordinal"][here])
                columns["epoch"][here] = place.epoch
                columns["shard"][here] = place.shard
                columns["rank"][here] = place.rank
        return Draws(
            n=np.arange(start, stop, dtype=np.int64), view=views.astype(np.int64), **columns
        )

    def drawn(self, n: int) -> dict[tuple[str, str], int]:
        """How often each (view, source) is drawn in the first n steps."""
        counts: dict[tuple[str, str], int] = {}
        for view, turns in zip(self.views, self.schedule.drawn(n), strict=True):
            for source, count in zip(view.sources, view.schedule.drawn(turns), strict=True):
                counts[view.name, source] = count
        return counts
