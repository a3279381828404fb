"""Dynamic time warping on a GPU: in which order and batches pairs are launched.

The answers are those of `dtw_pairs`. Pairs are sorted so that threads side by side align tracks of
like length with the same column track: a warp ends as one and reads each column frame once. They
are launched in batches that fit into the device's memory; where they do not, batches are halved,
and the log says so. A pair's answer does not depend on its batch. Numba's CUDA target is imported
on the first call; its home today is the package `numba-cuda`, which brings the compiler, so that a
driver is all it needs.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import MissingExtraError, OutputError, UsageError, install_command
from finedata.motion.dtw.kinds import Distances

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from finedata.motion.dtw.kinds import FrameCost, Tracks

__all__ = ["cuda_available", "cuda_pairs"]

_THREADS = 128
# More pairs than this at once fill any device many times over.
_MOST_PAIRS = 1 << 22
_MOST_SCRATCH_BYTES = 8 << 30

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """Pairs in the order of their alignment, and what each needs.

    Args:
        order: (P,) places of the pairs in the call.
        rows: (P,) int32 numbers of the row tracks.
        columns: (P,) int32 numbers of the column tracks, the longer of each pair.
        longest: (P,) frames of the column tracks, falling.
        banded: Whether there is a band.
        slope: (P,) columns per row along the straight line; zeros without a band.
        radius: (P,) columns of the band either side; zeros without a band.
    """

    order: NDArray[np.int64]
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    longest: NDArray[np.int64]
    banded: bool
    slope: NDArray[np.float64]
    radius: NDArray[np.float64]


@cache
def cuda_available() -> bool:
    """Whether a GPU is here that Numba can compile for; never raises."""
    try:
        if import_module("numba").config.ENABLE_CUDASIM:
            return True
        if not _cuda().is_available():
            return False
        # A driver alone is not enough: without NVVM nothing can be compiled.
        import_module("numba.cuda.cudadrv.nvvm").NVVM()
    except Exception:  # whatever is broken there, the answer is no
        return False
    return True


def cuda_pairs(
    tracks: Tracks,
    pairs: ArrayLike,
    *,
    cost: FrameCost,
    band: float | None = None,
    dtype: type[np.floating] = np.float32,
    device: str = "cuda",
    scratch_bytes: int | None = None,
) -> Distances:
    """Distances of chosen pairs, on a GPU; `dtw_pairs` checks the tracks and explains the rest.

    Angles: `sqrt(s) P(s)` of the squared chord s in float32 (error below 1e-6 rad), the arcsine
    in float64; in both exactly 0 between q and -q. Against float64 on the CPU, distances agree to
    1e-4 in float32, unless two paths cost the same to 1e-7 and differ in length or in charge.

    Args:
        tracks: See `dtw_pairs`.
        pairs: See `dtw_pairs`.
        cost: See `dtw_pairs`.
        band: See `dtw_pairs`.
        dtype: See `dtw_pairs`.
        device: `cuda`, or `cuda:1` and so on for another than the first.
        scratch_bytes: Device memory for the rows between tiles, at most; by default half of what
            is free, and no more than 8 GiB.

    Returns:
        See `dtw_pairs`.

    Raises:
        MissingExtraError: There is no GPU here, or not the packages to use it.
        UsageError: `device` names none.
        OutputError: The device's memory does not hold the tracks and 128 pairs. The CPU is not
            asked instead: its answers differ in the last digits, and what is written must not
            depend on who else uses the GPU.
    """
    job = _plan(tracks, pairs, band=band)
    found = np.zeros((3, len(job.order)), dtype)
    if len(job.order):
        if not cuda_available():
            raise MissingExtraError(
                place=f"device {device}",
                found="no GPU that Numba can compile for",
                wanted="an NVIDIA driver and the packages of finedata[cuda]",
                next_command=f"{install_command('cuda')}, or choose the device cpu",
            )
        cuda = _cuda()
        with cuda.gpus[_device_number(device, len(cuda.gpus))]:
            _align_all(job, tracks, cost, dtype, found, scratch_bytes=scratch_bytes)
    total = np.empty_like(found)
    total[:, job.order] = found
    gripper = total[2] / np.maximum(total[1], 1)
    weight = dtype(cost.gripper_weight)
    distance = total[0] / np.maximum(total[1], 1) + weight * gripper
    return Distances(distance, total[1].astype(np.int32), gripper)


def _plan(tracks: Tracks, pairs: ArrayLike, *, band: float | None) -> _Job:
    wanted = np.asarray(pairs, np.int64).reshape(-1, 2)
    lengths, count = tracks.lengths, len(tracks)
    # Shorter first, of equally long ones the lower number: the row is the one of lower rank.
    by_rank = np.argsort(lengths, kind="stable")
    rank = np.empty(count, np.int64)
    rank[by_rank] = np.arange(count)
    ranks = np.sort(rank[wanted], axis=1)
    # Longest first, so that no long pair starts when all others are done.
    order = np.argsort(ranks[:, 1] * count + ranks[:, 0], kind="stable")[::-1]
    rows, columns = by_rank[ranks[order, 0]], by_rank[ranks[order, 1]]
    n, m = lengths[rows], lengths[columns]
    slope = radius = np.zeros(len(order))
    if band is not None:
        # As in `band_limits`, to the last bit.
        slope = (m - 1) / np.maximum(n - 1, 1)
        radius = np.maximum(np.maximum(1.0, band * np.maximum(n, m)), slope)
    return _Job(
        order,
        rows.astype(np.int32),
        columns.astype(np.int32),
        m,
        band is not None,
        slope,
        radius,
    )


def _device_number(device: str, count: int) -> int:
    name, _, number = device.partition(":")
    if name != "cuda" or not (number or "0").isdecimal() or int(number or 0) >= count:
        raise UsageError(
            place="device", found=device, wanted=f"cuda, or cuda:0 to cuda:{count - 1}"
        )
    return int(number or 0)


def _align_all(
    job: _Job,
    tracks: Tracks,
    cost: FrameCost,
    dtype: type[np.floating],
    found: NDArray[np.floating],
    *,
    scratch_bytes: int | None,
) -> None:
    """Align batch after batch, with smaller ones where memory runs out."""
    parts = 3 if cost.two_stage else 2
    column_bytes = parts * np.dtype(dtype).itemsize
    least = int(job.longest[0]) * column_bytes * _THREADS
    most = least * -(-len(job.order) // _THREADS)
    capacity = max(least, min(most, scratch_bytes or _free_bytes() // 2, _MOST_SCRATCH_BYTES))
    batches: _Batches | None = None
    done = 0
    while done < len(job.order):
        try:
            if batches is None:
                batches = _Batches(job, tracks, cost, dtype, capacity)
            pair_bytes = int(job.longest[done]) * column_bytes
            end = done + min(capacity // pair_bytes // _THREADS * _THREADS, _MOST_PAIRS)
            end = min(end, len(job.order))
            found[:, done:end] = batches.align(done, end)
            done = end
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            batches = None
            if capacity == least:
                raise OutputError(
                    place="memory of the GPU",
                    found=f"too little for {_THREADS} pairs of {job.longest[done]} frames",
                    wanted="memory that no one else uses",
                    next_command="end what else runs on the GPU, or choose the device cpu",
                ) from error
            capacity = max(least, capacity // 2)
            _log.warning(
                "The GPU's memory is full; going on with batches of half the size (%d MiB).",
                capacity >> 20,
            )


class _Batches:
    """The tracks and the scratch memory on the device, and how one batch is aligned there."""

    def __init__(
        self,
        job: _Job,
        tracks: Tracks,
        cost: FrameCost,
        dtype: type[np.floating],
        capacity: int,
    ) -> None:
        from finedata.motion.dtw.cuda_kernels import alignment_kernel

        cuda = _cuda()
        self._job = job
        self._dtype = dtype
        values = np.ascontiguousarray(tracks.values, dtype)
        self._kernel = alignment_kernel(
            cost.space,
            two_stage=cost.two_stage,
            banded=job.banded,
            dtype=dtype,
            width=values.shape[1],
        )
        self._weights = tuple(
            dtype(weight)
            for weight in (cost.position_weight, cost.rotation_weight, cost.gripper_weight)
        )
        self._values: Any = cuda.to_device(values)
        self._offsets: Any = cuda.to_device(np.ascontiguousarray(tracks.offsets, np.int64))
        self._scratch: Any = cuda.device_array(capacity // np.dtype(dtype).itemsize, dtype)

    def align(self, begin: int, end: int) -> NDArray[np.floating]:
        """(3, end - begin) costs, lengths and charges of those pairs."""
        from numba.core.errors import NumbaPerformanceWarning

        cuda, job = _cuda(), self._job
        chosen: list[Any] = [
            cuda.to_device(array[begin:end])
            for array in (job.rows, job.columns, job.slope, job.radius)
        ]
        found: Any = cuda.device_array((3, end - begin), self._dtype)
        blocks = -(-(end - begin) // _THREADS)
        with warnings.catch_warnings():
            # Few pairs do not fill a GPU. That is no fault of the caller's.
            warnings.simplefilter("ignore", NumbaPerformanceWarning)
            self._kernel[blocks, _THREADS](
                self._values, self._offsets, *chosen, *self._weights, self._scratch, found
            )
        return found.copy_to_host()


def _cuda() -> Any:
    # Late, because it takes a while; untyped, because Numba has no types for it.
    return import_module("numba.cuda")


def _free_bytes() -> int:
    return int(min(_cuda().current_context().get_memory_info()[0], 1 << 62))


def _is_out_of_memory(error: Exception) -> bool:
    # The two Numba targets and their bindings have no exception class in common.
    return isinstance(error, MemoryError) or "OUT_OF_MEMORY" in str(error)
