"""Dynamic time warping between trajectories: one definition of distance, whoever computes it.

A track is one arm's motion as (T, d) numbers. Two tracks are aligned by the cheapest monotone
path from first to last frames; its cost divided by its length is their distance, in every mode.
The work is done by vector lanes across pairs (`dtw_lanes`), by a GPU where one is given
(`dtw_cuda`), or, where the path itself is wanted, by a plain loop (`dtw_path`). Numba is imported
on the first call, never before.

Which of two tracks is the row matters only where two paths cost the same: the row is the shorter
one, and of two equally long ones that with the lower number. So a distance does not depend on
who asks. Ties go to the diagonal, then up (one row back), then left.
"""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import FeatureError
from finedata.motion.dtw.kinds import (
    Distances,
    FrameCost,
    Space,
    Tracks,
    WarpingPath,
    check_tracks,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Distances",
    "FrameCost",
    "Space",
    "Tracks",
    "WarpingPath",
    "band_limits",
    "dtw_all_pairs",
    "dtw_cross",
    "dtw_pairs",
    "dtw_path",
]


# Cells that take a processor seconds; a GPU needs as long for its first call.
_WORTH_A_GPU = 1e10


def dtw_pairs(
    tracks: Tracks,
    pairs: ArrayLike,
    *,
    cost: FrameCost,
    band: float | None = None,
    dtype: type[np.floating] = np.float32,
    threads: int | None = None,
    device: str = "auto",
) -> Distances:
    """Distances of chosen pairs.

    Args:
        tracks: The tracks.
        pairs: (P, 2) numbers of tracks.
        cost: The frame cost.
        band: Sakoe-Chiba radius as a share of the longer track, around the straight line from
            first to last frames; None for no band. A radius is at least one frame, and as wide
            as a path needs.
        dtype: float32 or float64 arithmetic.
        threads: Threads; all cores by default.
        device: `auto` (a GPU where there is one, for 1e10 cells and more), `cpu`, `cuda`, or
            `cuda:1` and so on. A GPU's answers differ from the processor's by up to 1e-4 of
            themselves in float32.

    Returns:
        One entry for each pair.

    Raises:
        FeatureError: A track is empty or not finite, its width does not fit the cost, or a pair
            names a track that is not there.
    """
    check_tracks(tracks, cost)
    wanted = np.asarray(pairs, np.int64).reshape(-1, 2)
    if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(tracks):
        raise FeatureError(
            place="pairs",
            found=f"track numbers {wanted.min()} to {wanted.max()}",
            wanted=f"0 to {len(tracks) - 1}",
        )
    cells = (tracks.lengths[wanted].prod(axis=1)).sum(dtype=np.float64)
    if _on_gpu(device, cells):
        return _cuda_pairs(tracks, wanted, cost=cost, band=band, dtype=dtype, device=device)
    from finedata.motion.dtw.cpu import cpu_pairs

    distance, detail = cpu_pairs(
        tracks, wanted, cost=cost, band=band, dtype=dtype, threads=_threads(threads)
    )
    return Distances(distance, detail[0].astype(np.int32), detail[1])


def dtw_all_pairs(
    tracks: Tracks,
    *,
    group_offsets: ArrayLike | None = None,
    cost: FrameCost,
    band: float | None = None,
    dtype: type[np.floating] = np.float32,
    threads: int | None = None,
    device: str = "auto",
) -> NDArray[np.floating]:
    """Distances of all pairs within each group; one call for many groups.

    Args:
        tracks: The tracks, those of one group side by side.
        group_offsets: (G + 1,) group g is tracks `group_offsets[g]` to `group_offsets[g + 1]`; one
            group by default.
        cost: See `dtw_pairs`, as the others.
        band: See `dtw_pairs`.
        dtype: See `dtw_pairs`.
        threads: See `dtw_pairs`.
        device: See `dtw_pairs`.

    Returns:
        The condensed matrices (SciPy's order: (0,1), (0,2) ... (1,2) ...) of the groups, joined.
    """
    bounds = np.asarray([0, len(tracks)] if group_offsets is None else group_offsets, np.int64)
    check_tracks(tracks, cost)
    frames = np.diff(tracks.offsets[bounds])
    if _on_gpu(device, float((frames.astype(np.float64) ** 2).sum()) / 2):
        pairs = np.concatenate(
            [np.zeros((0, 2), np.int64)]
            + [
                np.stack(np.triu_indices(int(end - begin), k=1), axis=1) + begin
                for begin, end in pairwise(bounds)
            ]
        )
        found = _cuda_pairs(tracks, pairs, cost=cost, band=band, dtype=dtype, device=device)
        return found.distance
    from finedata.motion.dtw.cpu import cpu_all_pairs

    return cpu_all_pairs(
        tracks, bounds, cost=cost, band=band, dtype=dtype, threads=_threads(threads)
    )


def dtw_cross(
    rows: Tracks,
    columns: Tracks,
    *,
    cost: FrameCost,
    band: float | None = None,
    dtype: type[np.floating] = np.float32,
    threads: int | None = None,
    device: str = "auto",
) -> NDArray[np.floating]:
    """Distances of every track of one set to every track of another.

    Args:
        rows: N tracks; of two equally long ones this set's is the row.
        columns: M tracks.
        cost: See `dtw_pairs`, as the others.
        band: See `dtw_pairs`.
        dtype: See `dtw_pairs`.
        threads: See `dtw_pairs`.
        device: See `dtw_pairs`.

    Returns:
        (N, M).
    """
    check_tracks(rows, cost)
    check_tracks(columns, cost)
    if _on_gpu(device, float(rows.lengths.sum()) * float(columns.lengths.sum())):
        n, m = len(rows), len(columns)
        joined = Tracks(
            np.concatenate([rows.values, columns.values]),
            np.concatenate([rows.offsets, columns.offsets[1:] + rows.offsets[-1]]),
        )
        pairs = np.stack([np.repeat(np.arange(n), m), np.tile(np.arange(n, n + m), n)], axis=1)
        found = _cuda_pairs(joined, pairs, cost=cost, band=band, dtype=dtype, device=device)
        return found.distance.reshape(n, m)
    from finedata.motion.dtw.cpu import cpu_cross

    return cpu_cross(rows, columns, cost=cost, band=band, dtype=dtype, threads=_threads(threads))


def dtw_path(
    first: ArrayLike, second: ArrayLike, *, cost: FrameCost, band: float | None = None
) -> WarpingPath:
    """The path itself, in float64, for one pair; `first` is the row."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    from finedata.motion.dtw.path import POSE, POSE_RMS, VECTOR, warp

    check_tracks(Tracks.of([a, b], dtype=np.float64), cost)
    n, m = len(a), len(b)
    low, high = band_limits(n, m, band)
    charged = cost.gripper_weight if cost.space != "euclidean" and not cost.two_stage else 0.0
    width = a.shape[1] if cost.space == "euclidean" else a.shape[1] - 1
    space = {"pose": POSE, "pose_rms": POSE_RMS}.get(cost.space, VECTOR)
    path, total = warp(
        a, b, space, cost.position_weight, cost.rotation_weight, charged, width, low, high
    )
    gripper = 0.0
    if cost.two_stage:
        gripper = float(np.abs(a[path[:, 0], -1] - b[path[:, 1], -1]).mean())
    distance = float(total) / len(path) + cost.gripper_weight * gripper
    return WarpingPath(path, distance, gripper)


def band_limits(n: int, m: int, band: float | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last column that each of n rows may use, inclusive; see `dtw_pairs`."""
    rows = np.arange(n)
    if band is None:
        return np.zeros(n, np.int64), np.full(n, m - 1)
    slope = (m - 1) / max(n - 1, 1)
    # Neighbouring rows must overlap, or there is no path.
    radius = max(1.0, band * max(n, m), slope)
    middle = rows * slope
    low = np.maximum(np.ceil(middle - radius), 0).astype(np.int64)
    high = np.minimum(np.floor(middle + radius), m - 1).astype(np.int64)
    if n == 1:
        high[:] = m - 1
    return low, high


def _on_gpu(device: str, cells: float) -> bool:
    """Whether a GPU does it; by itself only where that is worth its start."""
    if device != "auto":
        return device != "cpu"
    if cells < _WORTH_A_GPU:
        return False
    from finedata.motion.dtw.cuda import cuda_available

    return cuda_available()


def _cuda_pairs(
    tracks: Tracks,
    pairs: NDArray[np.int64],
    *,
    cost: FrameCost,
    band: float | None,
    dtype: type[np.floating],
    device: str,
) -> Distances:
    from finedata.motion.dtw.cuda import cuda_pairs

    where = "cuda" if device == "auto" else device
    return cuda_pairs(tracks, pairs, cost=cost, band=band, dtype=dtype, device=where)


def _threads(threads: int | None) -> int:
    if threads is not None:
        return max(1, threads)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # pragma: no cover  (macOS)
