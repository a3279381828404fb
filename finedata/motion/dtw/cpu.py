"""DTW on the processor: which pairs share a vector, and which thread runs it.

Lanes of one vector wait for its longest pair, so what stands together is chosen by length: within
a group every vector of columns is a run of the tracks in order of length, and what is left over,
small groups included, is paired freely across all groups. Neither threads nor lanes change a bit
of the result.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.motion.dtw.batch import run_blocks, run_cross, run_pairs
from finedata.motion.dtw.lanes import LANES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from finedata.motion.dtw.kinds import FrameCost, Tracks

# Work of one call from Python: small enough to share out evenly, large enough (milliseconds) that
# the call itself costs nothing.
_FEWEST_CELLS, _MOST_CELLS = 4_000_000, 200_000_000
_SLICES_A_THREAD = 16
_ROWS_A_BLOCK = 256


@dataclass(frozen=True, slots=True, eq=False)
class _Packing:
    """How a frame cost is laid into lanes; the arguments that every kernel takes."""

    places: NDArray[np.int64]
    scale: NDArray[np.floating]
    numbers: int
    stride: int
    factors: NDArray[np.floating]
    flags: tuple[int | None, ...]
    band: float | None

    def arguments(self) -> tuple[Any, ...]:
        return (
            *(self.places, self.scale, self.numbers, self.stride, self.factors),
            *self.flags,
            self.band,
        )


def _packing(
    cost: FrameCost, *, width: int, dtype: type[np.floating], band: float | None
) -> _Packing:
    """Weights become scales of the packed numbers, so that the recursion multiplies by none."""
    yes = 0
    # One term goes without a scale: the angle's, or the only one there is.
    angles = cost.space in ("pose", "pose_rms") and cost.rotation_weight > 0
    unit = cost.rotation_weight if angles else 1.0
    position, gripper = cost.position_weight / unit, cost.gripper_weight / unit
    quaternion = 1.0 if angles else 0.0
    in_cost = cost.space in ("pose", "joint") and not cost.two_stage and cost.gripper_weight > 0
    charge = yes if cost.two_stage else None
    if cost.space in ("pose", "pose_rms"):
        arms = width // 8
        one_arm = [position] * 3 + [quaternion] * 4 + [1.0 if cost.two_stage else gripper]
        scale, numbers, stride = one_arm * arms, width, width
        places = list(range(width))
    else:
        has_gripper = cost.space == "joint"
        moving = width - 1 if has_gripper else width
        numbers = max(8, -(-moving // 8) * 8)
        keeps = has_gripper and (in_cost or cost.two_stage)
        stride = numbers + 1 if keeps else numbers
        scale = [position] * moving
        places = list(range(moving))
        if keeps:
            scale.append(1.0 if cost.two_stage else gripper)
            places.append(numbers)
    lanes = LANES[np.dtype(dtype).itemsize]
    exact = yes if dtype is np.float64 and cost.space in ("pose", "pose_rms") else None
    return _Packing(
        places=np.array(places, np.int64) * lanes,
        scale=np.array(scale, dtype),
        numbers=numbers,
        stride=stride,
        factors=np.array([unit, cost.gripper_weight], dtype),
        flags=(
            yes if cost.space == "pose" else None,
            yes if cost.space == "pose_rms" else None,
            exact,
            yes if in_cost else None,
            charge,
        ),
        band=None if band is None else float(band),
    )


def cpu_pairs(
    tracks: Tracks,
    pairs: NDArray[np.int64],
    *,
    cost: FrameCost,
    band: float | None,
    dtype: type[np.floating],
    threads: int,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """See `dtw_pairs`: distances (P,), and (2, P) path lengths and mean gripper charges."""
    values = np.ascontiguousarray(tracks.values, dtype)
    packing = _packing(cost, width=values.shape[1], dtype=dtype, band=band)
    out = np.zeros(len(pairs), dtype)
    detail = np.zeros((2, len(pairs)), dtype)
    calls = _pair_calls(tracks, pairs, np.arange(len(pairs)), dtype=dtype, threads=threads)
    _run(
        [
            partial(run_pairs, values, tracks.offsets, *call, *packing.arguments(), out, detail)
            for call in calls
        ],
        threads,
    )
    return out, detail


def cpu_all_pairs(
    tracks: Tracks,
    group_offsets: NDArray[np.int64],
    *,
    cost: FrameCost,
    band: float | None,
    dtype: type[np.floating],
    threads: int,
) -> NDArray[np.floating]:
    """See `dtw_all_pairs`."""
    values = np.ascontiguousarray(tracks.values, dtype)
    packing = _packing(cost, width=values.shape[1], dtype=dtype, band=band)
    sizes = np.diff(group_offsets)
    places = np.concatenate([[0], np.cumsum(sizes * (sizes - 1) // 2)])
    out = np.zeros(int(places[-1]), dtype)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((np.arange(len(tracks)), tracks.lengths, groups)).astype(np.int64)
    lanes = LANES[np.dtype(dtype).itemsize]
    blocks = _all_blocks(group_offsets, places, lanes)
    pairs, slots = _left_over(order, group_offsets, places, lanes)
    calls = [
        partial(
            run_blocks, values, tracks.offsets, order, blocks[chosen], *packing.arguments(), out
        )
        for chosen in _slices(_block_cells(blocks, order, tracks.lengths, lanes), threads)
    ]
    calls += [
        partial(run_pairs, values, tracks.offsets, *call, *packing.arguments(), out, None)
        for call in _pair_calls(tracks, pairs, slots, dtype=dtype, threads=threads)
    ]
    _run(calls, threads)
    return out


def cpu_cross(
    rows: Tracks,
    columns: Tracks,
    *,
    cost: FrameCost,
    band: float | None,
    dtype: type[np.floating],
    threads: int,
) -> NDArray[np.floating]:
    """See `dtw_cross`."""
    values = np.ascontiguousarray(np.concatenate([rows.values, columns.values]), dtype)
    offsets = np.concatenate([rows.offsets, columns.offsets[1:] + rows.offsets[-1]])
    packing = _packing(cost, width=values.shape[1], dtype=dtype, band=band)
    n, m = len(rows), len(columns)
    by_length = np.argsort(columns.lengths, kind="stable")
    out = np.zeros((n, m), dtype)
    lanes = LANES[np.dtype(dtype).itemsize]
    blocks = np.array(
        [
            (first, min(m, first + lanes), begin, min(n, begin + _ROWS_A_BLOCK))
            for first in range(0, m, lanes)
            for begin in range(0, n, _ROWS_A_BLOCK)
        ],
        np.int64,
    ).reshape(-1, 4)
    row_frames = np.concatenate([[0], np.cumsum(rows.lengths)])
    longest = columns.lengths[by_length[blocks[:, 1] - 1]] if len(blocks) else np.zeros(0)
    cells = (row_frames[blocks[:, 3]] - row_frames[blocks[:, 2]]) * longest * lanes
    row_tracks, column_tracks = np.arange(n), by_length + n
    calls = [
        partial(
            run_cross,
            values,
            offsets,
            row_tracks,
            column_tracks,
            blocks[chosen],
            *packing.arguments(),
            out,
        )
        for chosen in _slices(cells, threads)
    ]
    _run(calls, threads)
    unsorted = np.empty_like(out)
    unsorted[:, by_length] = out
    return unsorted


def _run(calls: Sequence[Callable[[], None]], threads: int) -> None:
    """Run the calls; each writes to places of its own and lets the others run meanwhile."""
    if threads <= 1 or len(calls) <= 1:
        for call in calls:
            call()
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


def _slices(cells: NDArray[Any], threads: int) -> list[slice]:
    """Neighbouring pieces of work for one call each."""
    if not len(cells):
        return []
    share = int(cells.sum()) // (threads * _SLICES_A_THREAD)
    number = (np.cumsum(cells) - cells) // min(max(share, _FEWEST_CELLS), _MOST_CELLS)
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(cells)], strict=True)]


def _pair_calls(
    tracks: Tracks,
    pairs: NDArray[np.int64],
    slots: NDArray[np.int64],
    *,
    dtype: type[np.floating],
    threads: int,
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Bundle pairs of like lengths: cut by row length into slabs, by column length within."""
    if not len(pairs):
        return []
    lanes = LANES[np.dtype(dtype).itemsize]
    rows, columns = _as_rows_and_columns(tracks, pairs)
    n, m = tracks.lengths[rows], tracks.lengths[columns]
    bundles = -(-len(pairs) // lanes)
    slab = lanes * max(1, round(bundles**0.5))
    slabs = np.empty(len(pairs), np.int64)
    slabs[np.argsort(n, kind="stable")] = np.arange(len(pairs)) // slab
    order = np.lexsort((m, slabs))
    filled = np.full((3, bundles * lanes), -1, np.int64)
    filled[:, : len(pairs)] = rows[order], columns[order], slots[order]
    tracks_of = filled[:2].reshape(2, bundles, lanes).transpose(1, 0, 2).copy()
    slots_of = filled[2].reshape(bundles, lanes)
    lengths = np.where(tracks_of >= 0, tracks.lengths[tracks_of], 0).max(axis=2)
    return [
        (tracks_of[chosen], slots_of[chosen])
        for chosen in _slices(lengths[:, 0] * lengths[:, 1] * lanes, threads)
    ]


def _as_rows_and_columns(
    tracks: Tracks, pairs: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The shorter track is the row; of two equally long ones that with the lower number."""
    first, second = pairs[:, 0], pairs[:, 1]
    a, b = tracks.lengths[first], tracks.lengths[second]
    turned = (b < a) | ((a == b) & (second < first))
    return np.where(turned, second, first), np.where(turned, first, second)


def _all_blocks(
    group_offsets: NDArray[np.int64], places: NDArray[np.int64], lanes: int
) -> NDArray[np.int64]:
    """Vectors of columns against all shorter tracks of their group; see `run_blocks`."""
    sizes = np.diff(group_offsets)
    found: list[tuple[int, ...]] = []
    for group in np.flatnonzero(sizes > lanes):
        start, size = int(group_offsets[group]), int(sizes[group])
        for first in range(start + size % lanes, start + size, lanes):
            found += [
                (first, begin, min(first, begin + _ROWS_A_BLOCK), start, size, int(places[group]))
                for begin in range(start, first, _ROWS_A_BLOCK)
            ]
    return np.array(found, np.int64).reshape(-1, 6)


def _block_cells(
    blocks: NDArray[np.int64], order: NDArray[np.int64], lengths: NDArray[np.int64], lanes: int
) -> NDArray[np.int64]:
    frames = np.concatenate([[0], np.cumsum(lengths[order])])
    rows = frames[blocks[:, 2]] - frames[blocks[:, 1]]
    return rows * lengths[order[blocks[:, 0] + lanes - 1]] * lanes if len(blocks) else rows


def _left_over(
    order: NDArray[np.int64],
    group_offsets: NDArray[np.int64],
    places: NDArray[np.int64],
    lanes: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs that no block holds: among a group's shortest, and within each vector of columns."""
    sizes = np.diff(group_offsets)
    # Runs of tracks in `order`, each with all pairs within it.
    heads = np.stack([group_offsets[:-1], sizes % lanes, np.arange(len(sizes))], axis=1)
    vectors = np.repeat(np.arange(len(sizes)), sizes // lanes)
    ordinal = np.arange(len(vectors)) - np.repeat(
        np.cumsum(sizes // lanes) - sizes // lanes, sizes // lanes
    )
    begin = group_offsets[:-1][vectors] + (sizes % lanes)[vectors] + ordinal * lanes
    full = np.stack([begin, np.full(len(begin), lanes), vectors], axis=1)
    pairs: list[NDArray[np.int64]] = []
    slots: list[NDArray[np.int64]] = []
    for runs in (heads, full):
        for size in np.unique(runs[:, 1]):
            if size < 2:
                continue
            a, b = np.triu_indices(int(size), k=1)
            chosen = runs[runs[:, 1] == size]
            first = order[chosen[:, :1] + a].ravel()
            second = order[chosen[:, :1] + b].ravel()
            group = np.repeat(chosen[:, 2], len(a))
            pairs.append(np.stack([first, second], axis=1))
            i = np.minimum(first, second) - group_offsets[group]
            j = np.maximum(first, second) - group_offsets[group]
            slots.append(places[group] + i * sizes[group] - i * (i + 1) // 2 + j - i - 1)
    if not pairs:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.int64)
    return np.concatenate(pairs), np.concatenate(slots)
