"""How the comparisons of all units are cut into tiles, each of a bounded number of cells.

A tile is what is computed in one call, kept in the ledger under its number, and never computed
again. Many small units share one; a large unit is cut into blocks of tracks, sorted by length (so
that lanes are full), and each pair of blocks is one; a unit with landmarks has one for each block
of tracks, and one for a sample. The plan depends on lengths and limits, never on time, threads or
device; and no distance depends on the plan.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from finedata.cluster.distance.motion import UnitTracks

TileKind: TypeAlias = Literal["units", "block", "cross", "landmark", "sample"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileLimits:
    """What a tile may cost.

    Args:
        cells: Frame pairs, over all arms; more only where a track alone is longer than its root.
        bytes_: Of raw motion, and of distances.
        block: Tracks of a block of a large unit.
    """

    cells: int = 20_000_000_000
    bytes_: int = 64 << 20
    block: int = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subset:
    """The tracks that a unit too large for all pairs is compared by; numbered within the unit.

    Args:
        landmarks: (M,) compared with all tracks, ascending.
        sample: (S,) compared among themselves too, ascending: what the landmarks cost.
    """

    landmarks: NDArray[np.int64]
    sample: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitPlan:
    """How one large unit is compared.

    Args:
        unit: Its number.
        order: (N,) its tracks (numbered within the unit), sorted by length and then by number.
        bounds: (B + 1,) block b is `order[bounds[b]:bounds[b + 1]]`.
        subset: Its landmarks and sample; None where all pairs are compared.
        tiles: How many tiles it has.
    """

    unit: int
    order: NDArray[np.int64]
    bounds: NDArray[np.int64]
    subset: Subset | None
    tiles: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """One piece of work.

    Args:
        number: Its place in the plan.
        kind: `units`: all pairs within each of several units; `block`: all pairs of a block;
            `cross`: each track of a block with each of another; `landmark`: each landmark with
            each track of a block; `sample`: all pairs of the sample.
        units: First unit and one past the last.
        blocks: (row, column) block; (0, column) where the rows are landmarks.
        plan: The unit's plan; None for `units`.
        cells: Frame pairs, over all arms.
        pairs: Distances.
    """

    number: int
    kind: TileKind
    units: tuple[int, int]
    cells: int
    pairs: int
    blocks: tuple[int, int] = (0, 0)
    plan: UnitPlan | None = None


def plan_tiles(
    tracks: UnitTracks,
    *,
    limits: TileLimits,
    item_bytes: int,
    row_bytes: int,
    subset_of: Callable[[int, int], Subset | None],
) -> list[Tile]:
    """Cut the units into tiles, in the order of the units.

    Args:
        tracks: The units; only lengths are looked at.
        limits: What a tile may cost.
        item_bytes: Of one distance.
        row_bytes: Of one raw frame.
        subset_of: (unit, its size) to its landmarks and sample, or None for all pairs.

    Returns:
        The tiles, numbered from 0.
    """
    sizes = np.diff(tracks.unit_offsets)
    ends = np.concatenate([[0], np.cumsum(tracks.lengths)])[tracks.unit_offsets]
    squares = np.concatenate([[0], np.cumsum(tracks.lengths.astype(np.float64) ** 2)])
    frames = np.diff(ends)
    own = np.diff(squares[tracks.unit_offsets])
    cells = (frames.astype(np.float64) ** 2 - own) / 2 * len(tracks.arms)
    pairs = sizes * (sizes - 1) // 2
    weight = np.maximum(frames * row_bytes, pairs * item_bytes)
    tiles: list[Tile] = []
    first, held_cells, held_bytes = 0, 0.0, 0

    def close(end: int) -> None:
        nonlocal first, held_cells, held_bytes
        if end > first:
            tiles.append(
                Tile(
                    number=len(tiles),
                    kind="units",
                    units=(first, end),
                    cells=round(held_cells),
                    pairs=int(pairs[first:end].sum()),
                )
            )
        first, held_cells, held_bytes = end, 0.0, 0

    for unit in range(len(tracks)):
        chosen = subset_of(unit, int(sizes[unit]))
        small = chosen is None and cells[unit] <= limits.cells and weight[unit] <= limits.bytes_
        if not small or (
            held_cells + cells[unit] > limits.cells or held_bytes + weight[unit] > limits.bytes_
        ):
            close(unit)
        if small:
            held_cells += float(cells[unit])
            held_bytes += int(weight[unit])
            continue
        tiles += _large(tracks, unit, chosen, limits, row_bytes, number=len(tiles))
        first = unit + 1
    close(len(tracks))
    return tiles


def _large(
    tracks: UnitTracks,
    unit: int,
    subset: Subset | None,
    limits: TileLimits,
    row_bytes: int,
    *,
    number: int,
) -> list[Tile]:
    begin, end = int(tracks.unit_offsets[unit]), int(tracks.unit_offsets[unit + 1])
    lengths = tracks.lengths[begin:end]
    arms = len(tracks.arms)
    order = np.lexsort((np.arange(len(lengths)), lengths))
    rows = 0 if subset is None else int(lengths[subset.landmarks].sum())
    # A pair of blocks costs the product of their frames; landmarks cost theirs with each block.
    most = limits.cells / arms / rows if rows else (limits.cells / arms) ** 0.5
    bounds = _cut(lengths[order], min(most, limits.bytes_ / row_bytes), limits.block)
    pieces = list(_pieces(lengths, order, bounds, subset))
    plan = UnitPlan(unit=unit, order=order, bounds=bounds, subset=subset, tiles=len(pieces))
    return [
        Tile(
            number=number + place,
            kind=kind,
            units=(unit, unit + 1),
            cells=cells * arms,
            pairs=pairs,
            blocks=blocks,
            plan=plan,
        )
        for place, (kind, blocks, cells, pairs) in enumerate(pieces)
    ]


def _pieces(
    lengths: NDArray[np.int64],
    order: NDArray[np.int64],
    bounds: NDArray[np.int64],
    subset: Subset | None,
) -> Iterator[tuple[TileKind, tuple[int, int], int, int]]:
    """Kind, blocks, cells of one arm and pairs of every tile of a large unit."""
    blocks = [order[begin:end] for begin, end in itertools.pairwise(bounds.tolist())]
    frames = [int(lengths[block].sum()) for block in blocks]
    if subset is not None:
        rows, count = int(lengths[subset.landmarks].sum()), len(subset.landmarks)
        for column, block in enumerate(blocks):
            yield "landmark", (0, column), rows * frames[column], count * len(block)
        yield "sample", (0, 0), *_all_pairs(lengths[subset.sample])
        return
    for row, block in enumerate(blocks):
        yield "block", (row, row), *_all_pairs(lengths[block])
        for column in range(row + 1, len(blocks)):
            cells, pairs = frames[row] * frames[column], len(block) * len(blocks[column])
            yield "cross", (row, column), cells, pairs


def _all_pairs(lengths: NDArray[np.int64]) -> tuple[int, int]:
    """Cells and number of all pairs of some tracks."""
    cells = (int(lengths.sum()) ** 2 - int((lengths**2).sum())) // 2
    return cells, len(lengths) * (len(lengths) - 1) // 2


def _cut(lengths: NDArray[np.int64], most_frames: float, most_tracks: int) -> NDArray[np.int64]:
    bounds, held = [0], 0
    for track, length in enumerate(lengths.tolist()):
        full = held + length > most_frames or track - bounds[-1] >= most_tracks
        if full and track > bounds[-1]:
            bounds.append(track)
            held = 0
        held += length
    return np.array([*bounds, len(lengths)], np.int64)


def condensed_places(
    first: NDArray[np.int64], second: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Where pairs stand in a condensed matrix (SciPy's order) of `size` tracks.

    Example:
        >>> condensed_places(np.array([0, 2]), np.array([1, 1]), 3).tolist()
        [0, 2]
    """
    low, high = np.minimum(first, second), np.maximum(first, second)
    return low * size - low * (low + 1) // 2 + high - low - 1
