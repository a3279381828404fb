"""DTW on a GPU: cells a second, against one CPU core and against what the arithmetic allows.

    python benchmarks/dtw_cuda.py [--tracks 1500] [--mean-length 150] [--rounds 5]

Tracks are random walks of eight columns; all pairs are aligned with the two-stage cost of poses in
float32. A run's time is that of the whole call: sorting, copying, aligning. Each round runs the
GPU, then one CPU core on a sample of the pairs; all rounds are printed, medians last. The first
call, which compiles, is printed apart. The limit is multiprocessors x lanes x clock, divided by
the instructions of a cell.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from finedata.motion.dtw.cuda import cuda_available, cuda_pairs
from finedata.motion.dtw.distances import FrameCost, Tracks, dtw_pairs

COST = FrameCost(space="pose", two_stage=True)
# Counted in the PTX of the kernel; see finedata/motion/dtw/cuda_kernels.py.
INSTRUCTIONS_PER_CELL = 65
LANES = 128


def main() -> None:
    options = _options()
    if not cuda_available():
        print("no CUDA device here: not run")
        return
    rng = np.random.default_rng(options.seed)
    tracks = random_tracks(rng, count=options.tracks, mean_length=options.mean_length)
    pairs = np.stack(np.triu_indices(options.tracks, k=1), axis=1)
    sample = pairs[rng.choice(len(pairs), min(len(pairs), options.cpu_pairs), replace=False)]
    print(f"{len(pairs)} pairs, {cells(tracks, pairs):.3g} cells")

    first = timed_gpu(tracks, pairs)
    print(f"first call, compiling: {first:.2f} s")
    dtw_pairs(tracks, sample[:16], cost=COST, threads=1, device="cpu")
    rates: list[tuple[float, float]] = []
    for number in range(options.rounds):
        gpu = cells(tracks, pairs) / timed_gpu(tracks, pairs)
        started = time.perf_counter()
        dtw_pairs(tracks, sample, cost=COST, threads=1, device="cpu")
        core = cells(tracks, sample) / (time.perf_counter() - started)
        rates.append((gpu, core))
        print(f"round {number + 1}: GPU {gpu:.3g} cells/s, one core {core:.3g}, x{gpu / core:.0f}")

    gpu = statistics.median(rate for rate, _ in rates)
    ratio = statistics.median(rate / core for rate, core in rates)
    limit = arithmetic_limit()
    print(f"median: {gpu:.3g} cells/s, x{ratio:.0f} one core, {gpu / limit:.0%} of {limit:.3g}")


def random_tracks(rng: np.random.Generator, *, count: int, mean_length: int) -> Tracks:
    """Walks in space that turn and grip; lengths lognormal, at least 8 frames."""
    lengths = np.maximum(rng.lognormal(np.log(mean_length), 0.4, count).astype(int), 8)
    walks: list[np.ndarray] = []
    for length in lengths:
        walk = np.cumsum(rng.normal(scale=0.02, size=(length, 8)), axis=0)
        walk[:, 3:7] += rng.normal(size=4)
        walk[:, 3:7] /= np.linalg.norm(walk[:, 3:7], axis=1, keepdims=True)
        walks.append(walk)
    return Tracks.of(walks)


def cells(tracks: Tracks, pairs: np.ndarray) -> float:
    return float((tracks.lengths[pairs[:, 0]] * tracks.lengths[pairs[:, 1]]).sum())


def timed_gpu(tracks: Tracks, pairs: np.ndarray) -> float:
    started = time.perf_counter()
    cuda_pairs(tracks, pairs, cost=COST)
    return time.perf_counter() - started


def arithmetic_limit() -> float:
    """Cells a second if every lane issued in every cycle."""
    from numba import cuda

    device = cuda.get_current_device()
    clock_hz = device.CLOCK_RATE * 1e3
    return device.MULTIPROCESSOR_COUNT * LANES * clock_hz / INSTRUCTIONS_PER_CELL


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=1500)
    parser.add_argument("--mean-length", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu-pairs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
