"""How many units are compared and grouped at once, without a dataset.

Distances are computed tile by tile; meanwhile the units of the tile before are grouped in another
thread. `finedata cluster` and the benchmarks call the same functions here.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.cluster.distance.pipeline import (
    Kernel,
    UnitDistances,
    unit_distances,
)
from finedata.cluster.distance.tiles import Tile, TileLimits, plan_tiles
from finedata.cluster.group.one import group_unit, subset_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from finedata.cluster.clusters import UnitClusters
    from finedata.cluster.distance.motion import UnitTracks
    from finedata.cluster.distance.pipeline import TileStore
    from finedata.cluster.distance.tiles import Subset
    from finedata.cluster.settings import ClusterSettings
    from finedata.engine.engine import Engine

# Tiles whose units wait to be grouped: more would only hold memory.
_WAITING = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitWork:
    """Units of one layout and one cost, and their tiles.

    Args:
        tracks: The units.
        tiles: Their tiles.
        kernel: How distances are computed.
        first_number: Added to the tiles' numbers in the store.
        fixed_k: See `group_unit`.
    """

    tracks: UnitTracks
    tiles: list[Tile]
    kernel: Kernel
    first_number: int = 0
    fixed_k: int | None = None


def plan_units(
    tracks: UnitTracks,
    *,
    settings: ClusterSettings,
    kernel: Kernel,
    names: Sequence[str] | None = None,
    row_bytes: int = 64,
    limits: TileLimits | None = None,
    first_number: int = 0,
    fixed_k: int | None = None,
) -> UnitWork:
    """Cut units into tiles.

    Args:
        tracks: The units.
        settings: The rules.
        kernel: How distances are computed.
        names: What chance for each unit depends on; its number by default.
        row_bytes: Of a raw frame.
        limits: What a tile may cost.
        first_number: Number of the first tile in the store.
        fixed_k: See `group_unit`.
    """

    def subset(unit: int, size: int) -> Subset | None:
        return subset_for(size, settings=settings, name=names[unit] if names else f"{unit}")

    tiles = plan_tiles(
        tracks,
        limits=limits or TileLimits(),
        item_bytes=np.dtype(kernel.dtype).itemsize,
        row_bytes=row_bytes,
        subset_of=subset,
    )
    return UnitWork(
        tracks=tracks,
        tiles=tiles,
        kernel=kernel,
        first_number=first_number,
        fixed_k=fixed_k,
    )


def cluster_units(
    work: UnitWork,
    *,
    settings: ClusterSettings,
    quality: NDArray[np.float64] | None = None,
    store: TileStore | None = None,
    on_tile: Callable[[Tile, bool], None] | None = None,
    engine: Engine | None = None,
) -> list[UnitClusters]:
    """Compare and group units.

    Args:
        work: The units and their tiles, from `plan_units`.
        settings: The rules.
        quality: (N,) of every track, in [0, 1]; 1 for all by default.
        store: Where finished tiles are kept, e.g. a `Ledger`; None to keep none.
        on_tile: Called after each tile with it and whether it was computed now.
        engine: Where tiles are computed; see `unit_distances`.

    Returns:
        One for each unit, in order.

    Raises:
        FeatureError: A track is not finite.
        OutputError: The store cannot be written.
    """
    offsets = work.tracks.unit_offsets
    best = np.ones(int(offsets[-1])) if quality is None else quality

    def group(units: list[UnitDistances]) -> list[UnitClusters]:
        return [
            group_unit(
                unit,
                quality=best[offsets[unit.unit] : offsets[unit.unit + 1]],
                settings=settings,
                fixed_k=work.fixed_k,
            )
            for unit in units
        ]

    done: list[UnitClusters] = []
    waiting: deque[Future[list[UnitClusters]]] = deque()
    with ThreadPoolExecutor(1) as grouper:
        for units in unit_distances(
            work.tracks,
            tiles=work.tiles,
            kernel=work.kernel,
            store=store,
            first_number=work.first_number,
            on_tile=on_tile,
            engine=engine,
        ):
            waiting.append(grouper.submit(group, units))
            del units
            while len(waiting) > _WAITING:
                done += waiting.popleft().result()
        for one in waiting:
            done += one.result()
    return done
