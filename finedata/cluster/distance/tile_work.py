"""The work of one tile: read and scale its motion, digest it, compute its distances.

The digest stands for everything that the distances depend on, so that a stored tile is believed
only for the very same motion, scale and cost.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from finedata.cluster.distance.motion import UnitRanges, prepare, ranges_of, unit_ranges
from finedata.motion.dtw.distances import FrameCost, Tracks, dtw_all_pairs, dtw_cross

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.cluster.distance.motion import UnitTracks
    from finedata.cluster.distance.tiles import Tile

# Raised when the same motion would give other numbers.
_KERNELS = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """A tile's motion in memory, scaled; one entry of `rows` and `columns` for each arm."""

    tile: Tile
    rows: list[Tracks]
    columns: list[Tracks] = field(default_factory=list[Tracks])
    group_offsets: NDArray[np.int64] | None = None


class KnownRanges:
    """The scale of the large unit at hand: its motion is read once for it, not once a tile."""

    def __init__(self, tracks: UnitTracks) -> None:
        self._tracks = tracks
        self._unit = -1
        self._ranges: UnitRanges | None = None

    def of(self, unit: int) -> UnitRanges:
        """The scale of one unit."""
        if self._ranges is None or unit != self._unit:
            self._unit, self._ranges = unit, unit_ranges(self._tracks, unit)
        return self._ranges


def load(
    tile: Tile, tracks: UnitTracks, *, ranges: KnownRanges, dtype: type[np.floating]
) -> Loaded:
    """Read and scale a tile's motion."""
    plan = tile.plan
    if plan is None:
        return _load_units(tile, tracks, dtype)
    first = int(tracks.unit_offsets[plan.unit])
    own = ranges.of(plan.unit)

    def block(numbers: NDArray[np.int64]) -> list[Tracks]:
        return prepare(
            tracks.read_some(numbers + first),
            lengths=tracks.lengths[numbers + first],
            ranges=own,
            unit_of_track=np.zeros(len(numbers), np.int64),
            arms=tracks.arms,
            dtype=dtype,
        )

    row, column = (plan.order[plan.bounds[b] : plan.bounds[b + 1]] for b in tile.blocks)
    if plan.subset is not None and tile.kind == "sample":
        return Loaded(tile=tile, rows=block(plan.subset.sample))
    if tile.kind == "block":
        return Loaded(tile=tile, rows=block(row))
    rows = row if plan.subset is None else plan.subset.landmarks
    return Loaded(tile=tile, rows=block(rows), columns=block(column))


def _load_units(tile: Tile, tracks: UnitTracks, dtype: type[np.floating]) -> Loaded:
    offsets = tracks.unit_offsets[tile.units[0] : tile.units[1] + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    lengths = tracks.lengths[first:last]
    rows = tracks.read(first, last)
    groups = offsets - first
    starts = np.concatenate([[0], np.cumsum(lengths)])[groups[:-1]]
    scaled = prepare(
        rows,
        lengths=lengths,
        ranges=ranges_of(rows, starts),
        unit_of_track=np.repeat(np.arange(len(groups) - 1), np.diff(groups)),
        arms=tracks.arms,
        dtype=dtype,
    )
    return Loaded(tile=tile, rows=scaled, group_offsets=groups)


def digest(
    loaded: Loaded, *, cost: FrameCost, band: float | None, dtype: type[np.floating]
) -> bytes:
    """32 bytes that stand for everything the tile's distances depend on."""
    found = hashlib.blake2b(digest_size=32)
    found.update(f"{_KERNELS} {cost} {band} {np.dtype(dtype).name} {loaded.tile.kind}".encode())
    if loaded.group_offsets is not None:
        found.update(np.ascontiguousarray(loaded.group_offsets).tobytes())
    for side in (loaded.rows, loaded.columns):
        for arm in side:
            found.update(np.array(arm.values.shape, np.int64).tobytes())
            found.update(arm.offsets.tobytes())
            found.update(arm.values)  # pyright: ignore[reportArgumentType]  (an array is a buffer)
    return found.digest()


def compute(
    loaded: Loaded,
    *,
    cost: FrameCost,
    band: float | None,
    dtype: type[np.floating],
    threads: int | None = None,
    device: str = "cpu",
) -> NDArray[np.floating]:
    """The tile's distances, flat; those of several arms are added."""
    total: NDArray[np.floating] | None = None
    for arm, rows in enumerate(loaded.rows):
        if loaded.columns:
            found = dtw_cross(
                rows,
                loaded.columns[arm],
                cost=cost,
                band=band,
                dtype=dtype,
                threads=threads,
                device=device,
            ).ravel()
        else:
            found = dtw_all_pairs(
                rows,
                group_offsets=loaded.group_offsets,
                cost=cost,
                band=band,
                dtype=dtype,
                threads=threads,
                device=device,
            )
        total = found if total is None else total + found
    return np.zeros(0, dtype) if total is None else total
