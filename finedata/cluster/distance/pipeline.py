"""From units to distances, tile after tile, on an engine.

One thread reads and scales the next tile while the cores compute this one; the caller groups what
came out meanwhile (the kernels let go of the interpreter). Finished tiles go to a store under
their numbers, together with a digest of all they depend on, and are taken from there when that
digest is the same.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from finedata.cluster.distance.tile_work import KnownRanges, Loaded, compute, digest, load
from finedata.cluster.distance.tiles import Tile, condensed_places
from finedata.engine.local import LocalEngine
from finedata.engine.run_plan import run_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from finedata.cluster.distance.motion import UnitTracks
    from finedata.cluster.distance.tiles import Subset, UnitPlan
    from finedata.engine.engine import Engine
    from finedata.motion.dtw.distances import FrameCost

TILE = "tile"
_DIGEST_BYTES = 32


class TileStore(Protocol):
    """Where finished tiles are kept; `finedata.store.run.ledger.Ledger` is one."""

    def get(self, kind: str, number: int, /) -> bytes | None:
        """A finished item, or None."""
        ...

    def put(self, kind: str, number: int, payload: bytes, /) -> None:
        """Keep a finished item, durably."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """How distances are computed.

    Args:
        cost: Between two frames.
        band: See `finedata.motion.dtw.distances`.
        dtype: float32 or float64.
        threads: All cores by default.
        device: `cpu` or `cuda`.
    """

    cost: FrameCost
    band: float | None = None
    dtype: type[np.floating] = np.float32
    threads: int | None = None
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitDistances:
    """The distances of one unit of N tracks.

    Args:
        unit: Its number.
        size: N.
        condensed: (N (N - 1) / 2,) all pairs; None for a unit with landmarks.
        subset: Its landmarks and sample, where it has some.
        to_landmarks: (M, N) distances of each landmark to each track; where it has some.
        sample: (S (S - 1) / 2,) all pairs of the sample, where it has one.
    """

    unit: int
    size: int
    condensed: NDArray[np.floating] | None = None
    subset: Subset | None = None
    to_landmarks: NDArray[np.floating] | None = None
    sample: NDArray[np.floating] | None = None


def unit_distances(
    tracks: UnitTracks,
    *,
    tiles: Sequence[Tile],
    kernel: Kernel,
    store: TileStore | None = None,
    first_number: int = 0,
    on_tile: Callable[[Tile, bool], None] | None = None,
    engine: Engine | None = None,
) -> Iterator[list[UnitDistances]]:
    """Compute the distances of units.

    Args:
        tracks: The units.
        tiles: Their plan, from `plan_tiles`.
        kernel: How.
        store: Where finished tiles are; None to keep none.
        first_number: Added to the tiles' numbers in the store.
        on_tile: Called after each tile with it and whether it was computed now.
        engine: Where tiles are computed; in this process by default, where the kernels' threads
            take all cores.

    Yields:
        The units of a tile, in their order, or a large unit by itself when its last tile is done.

    Raises:
        FeatureError: A track is not finite.
        OutputError: The store cannot be written.
    """
    unit_ranges = KnownRanges(tracks)
    large = LargeUnit(kernel.dtype)
    taken: set[int] = set()

    def read(tile: Tile) -> _TileJob:
        loaded = load(tile, tracks, ranges=unit_ranges, dtype=kernel.dtype)
        key = digest(loaded, cost=kernel.cost, band=kernel.band, dtype=kernel.dtype)
        return _TileJob(tile=tile, loaded=loaded, key=key, kernel=kernel)

    def jobs() -> Iterator[_TileJob]:
        with ThreadPoolExecutor(1) as reader:
            coming = deque(reader.submit(read, tile) for tile in tiles[:1])
            for tile in tiles[1:]:
                coming.append(reader.submit(read, tile))
                yield coming.popleft().result()
            for last in coming:
                yield last.result()

    def known(job: _TileJob) -> NDArray[np.floating] | None:
        values = _stored(store, first_number + job.tile.number, job.key, job.tile, kernel.dtype)
        if values is not None:
            taken.add(job.tile.number)
        return values

    done = run_jobs(
        _distances, jobs(), engine=engine or LocalEngine(workers=1), known=known, in_flight=1
    )
    for job, values in done:
        tile, key = job.tile, job.key
        computed = tile.number not in taken
        if computed and store is not None:
            store.put(TILE, first_number + tile.number, key + _bytes_of(values))
        if tile.plan is None:
            found = units_of_tile(tile, values, tracks.unit_offsets)
        else:
            found = large.add(tile, values)
        del job, values
        if on_tile is not None:
            on_tile(tile, computed)
        if found:
            yield found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _TileJob:
    """A tile that is read and scaled, and how its distances are computed."""

    tile: Tile
    loaded: Loaded
    key: bytes
    kernel: Kernel


def _distances(job: _TileJob) -> NDArray[np.floating]:
    kernel = job.kernel
    return compute(
        job.loaded,
        cost=kernel.cost,
        band=kernel.band,
        dtype=kernel.dtype,
        threads=kernel.threads,
        device=kernel.device,
    )


def units_of_tile(
    tile: Tile, values: NDArray[np.floating], unit_offsets: NDArray[np.int64]
) -> list[UnitDistances]:
    """Cut the distances of a tile of small units into those of its units."""
    sizes = np.diff(unit_offsets[tile.units[0] : tile.units[1] + 1])
    ends = np.cumsum(sizes * (sizes - 1) // 2).tolist()
    found: list[UnitDistances] = []
    begin = 0
    for unit, size, end in zip(range(*tile.units), sizes.tolist(), ends, strict=True):
        found.append(UnitDistances(unit=unit, size=size, condensed=values[begin:end]))
        begin = end
    return found


class LargeUnit:
    """A large unit whose tiles come one by one."""

    def __init__(self, dtype: type[np.floating]) -> None:
        self._dtype = dtype
        self._values: NDArray[np.floating] | None = None
        self._sample: NDArray[np.floating] | None = None
        self._done = 0

    def add(self, tile: Tile, values: NDArray[np.floating]) -> list[UnitDistances]:
        """Take a tile; the whole unit after its last one."""
        plan = tile.plan
        if plan is None:
            return []
        size = len(plan.order)
        if self._values is None:
            rows = (size - 1) / 2 if plan.subset is None else len(plan.subset.landmarks)
            self._values = np.zeros(int(rows * size), self._dtype)
        row, column = (plan.order[plan.bounds[b] : plan.bounds[b + 1]] for b in tile.blocks)
        if tile.kind == "sample":
            self._sample = values
        elif tile.kind == "landmark":
            self._values.reshape(-1, size)[:, column] = values.reshape(-1, len(column))
        elif tile.kind == "block":
            first, second = np.triu_indices(len(row), k=1)
            self._values[condensed_places(row[first], row[second], size)] = values
        else:
            places = condensed_places(row[:, None], column[None, :], size)
            self._values[places] = values.reshape(places.shape)
        self._done += 1
        return [self._whole(plan, size)] if self._done == plan.tiles else []

    def _whole(self, plan: UnitPlan, size: int) -> UnitDistances:
        values, sample = self._values, self._sample
        self._values, self._sample, self._done = None, None, 0
        if plan.subset is None or values is None:
            return UnitDistances(unit=plan.unit, size=size, condensed=values)
        among = values.reshape(-1, size)
        # A landmark and itself, and two landmarks: once, so that the matrix is symmetric.
        square = among[:, plan.subset.landmarks]
        upper = np.triu(square, k=1)
        among[:, plan.subset.landmarks] = upper + upper.T
        return UnitDistances(
            unit=plan.unit, size=size, subset=plan.subset, to_landmarks=among, sample=sample
        )


class MemoryStore:
    """A store of tiles that lasts as long as the process."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], bytes] = {}

    def get(self, kind: str, number: int, /) -> bytes | None:
        """See `TileStore`."""
        return self._held.get((kind, number))

    def put(self, kind: str, number: int, payload: bytes, /) -> None:
        """See `TileStore`."""
        self._held[kind, number] = payload


def stored_distances(
    get: Callable[[int], bytes],
    *,
    tiles: Sequence[Tile],
    unit_offsets: NDArray[np.int64],
    dtype: type[np.floating],
    wanted: Collection[int],
) -> Iterator[UnitDistances]:
    """Read distances that a run has left, without looking at any motion.

    Args:
        get: Number of a tile to what was stored.
        tiles: The plan.
        unit_offsets: (U + 1,) the units.
        dtype: Of the distances.
        wanted: Numbers of units.

    Yields:
        The wanted units, in order.
    """
    large = LargeUnit(dtype)
    for tile in tiles:
        if all(unit not in wanted for unit in range(*tile.units)):
            continue
        values = payload_values(get(tile.number), dtype)
        if tile.plan is None:
            found = units_of_tile(tile, values, unit_offsets)
        else:
            found = large.add(tile, values)
        yield from (unit for unit in found if unit.unit in wanted)


def _bytes_of(values: NDArray[np.floating]) -> bytes:
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def _stored(
    store: TileStore | None, number: int, key: bytes, tile: Tile, dtype: type[np.floating]
) -> NDArray[np.floating] | None:
    """The tile's distances where the store has them for this very motion and cost."""
    payload = None if store is None else store.get(TILE, number)
    if payload is None or payload[:_DIGEST_BYTES] != key:
        return None
    values = payload_values(payload, dtype)
    return values if len(values) == tile.pairs else None


def payload_values(payload: bytes, dtype: type[np.floating]) -> NDArray[np.floating]:
    """The distances in a stored tile; read-only."""
    return np.frombuffer(payload, np.dtype(dtype).newbyteorder("<"), offset=_DIGEST_BYTES)
