"""The reference corpus on paper made real: 972,247 trajectories of 85,000 tasks, as bare numbers.

    python benchmarks/reference_corpus.py --out FOLDER [--scale 0.01] [--sigma 1.75] [--seed 0]

Comes in: a folder and a share of the tasks. Goes out, the same bytes each time:

    values.npy        (sum of T, 8) float32: x y z, qx qy qz qw, gripper, task after task
    offsets.npy       (N + 1,) int64: frames of each trajectory
    task_offsets.npy  (tasks + 1,) int64: trajectories of each task
    strategy.npy      (N,) int16: the strategy within its task

Sizes of tasks are the quantiles of a lognormal with a heavy tail (sigma 1.75: the largest about
4,900), shuffled; lengths are lognormal with median 150 and sigma 0.5, clipped to 10 .. 1,500. A
strategy is a smooth path of pose and gripper; an episode of it is warped in time and bent a little.
About 5.3 GB at full scale, written once from front to back.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, prange
from scipy.special import ndtri

TASKS, TRAJECTORIES, LARGEST = 85_000, 972_247, 4_900
HARMONICS = 4
BATCH = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the tasks")
    parser.add_argument("--sigma", type=float, default=1.75, help="2.0 is heavier")
    parser.add_argument("--largest", type=int, default=LARGEST)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    sizes, offsets = write_corpus(
        options.out,
        scale=options.scale,
        sigma=options.sigma,
        largest=options.largest,
        seed=options.seed,
    )
    pairs, cells = extent(sizes, offsets)
    print(
        f"{len(sizes):,} tasks, {sizes.sum():,} trajectories, the largest task {sizes.max():,},"
        f" {offsets[-1]:,} frames, {pairs:.3g} pairs, {cells:.3g} cells,"
        f" {offsets[-1] * 32 / 1e9:.2f} GB in {time.perf_counter() - started:.0f} s"
    )


def task_sizes(rng: np.random.Generator, *, scale: float, sigma: float, largest: int) -> np.ndarray:
    """(tasks,) trajectories of each task: quantiles, clipped, of the wanted sum, shuffled."""
    tasks, total = max(1, round(TASKS * scale)), max(1, round(TRAJECTORIES * scale))
    shape = np.exp(sigma * ndtri((np.arange(tasks) + 0.5) / tasks))
    low, high = 0.0, float(total)
    for _ in range(200):
        factor = (low + high) / 2
        over = np.clip(np.round(factor * shape), 1, largest).sum() > total
        low, high = (low, factor) if over else (factor, high)
    sizes = np.clip(np.round(low * shape), 1, largest).astype(np.int64)
    # What rounding left over goes to the tasks below the largest.
    missing = total - int(sizes.sum())
    while missing > 0:
        share = min(missing, max(1, tasks // 10))
        sizes[tasks - 1 - share : tasks - 1] += 1
        missing -= share
    return rng.permutation(sizes)


def write_corpus(
    folder: Path, *, scale: float = 1.0, sigma: float = 1.75, largest: int = LARGEST, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Write the four files; sizes of tasks and offsets of frames come back."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 0])
    sizes = task_sizes(rng, scale=scale, sigma=sigma, largest=largest)
    count = int(sizes.sum())
    lengths = np.clip(rng.lognormal(math.log(150), 0.5, count), 10, 1500).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    task_offsets = np.concatenate([[0], np.cumsum(sizes)])
    # One way for a task of one or two, up to five for a large one.
    ways = np.clip(1 + np.log2(sizes).astype(np.int64) // 2, 1, 5)
    task = np.repeat(np.arange(len(sizes)), sizes)
    strategy = (rng.random(count) * ways[task]).astype(np.int16)
    centres = _curves(rng, 5 * len(sizes)).reshape(len(sizes), 5, *_SHAPE)
    values = np.lib.format.open_memmap(
        folder / "values.npy", "w+", np.float32, (int(offsets[-1]), 8)
    )
    for begin in range(0, count, BATCH):
        end = min(count, begin + BATCH)
        noise = np.random.default_rng([seed, 1, begin // BATCH])
        bent = centres[task[begin:end], strategy[begin:end]]
        bent = bent + np.float32(0.06) * _curves(noise, end - begin)
        rows = np.empty((int(offsets[end] - offsets[begin]), 8), np.float32)
        warp = noise.uniform(-0.6, 0.6, (end - begin, 2)).astype(np.float32)
        _fill(rows, offsets[begin : end + 1] - offsets[begin], bent, warp)
        values[offsets[begin] : offsets[end]] = rows
    values.flush()
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "task_offsets.npy", task_offsets)
    np.save(folder / "strategy.npy", strategy)
    return sizes, offsets


_SHAPE = (8, HARMONICS, 2)


def _curves(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 8, harmonics, 2) float32 coefficients of sine and cosine; high ones are weak."""
    decay = 1.0 / np.arange(1, HARMONICS + 1, dtype=np.float32) ** 1.5
    return rng.standard_normal((count, *_SHAPE), np.float32) * decay[:, None]


@njit(parallel=True, fastmath=False)
def _fill(rows: Any, offsets: Any, curves: Any, warp: Any) -> None:
    """Rows of every trajectory of a batch: harmonics by angle addition, one sine a frame."""
    for k in prange(len(offsets) - 1):
        begin, end = offsets[k], offsets[k + 1]
        total = np.empty(8)
        for t in range(begin, end):
            u = (t - begin) / (end - begin)
            # monotone: the derivative of each bend stays below one
            u += warp[k, 0] * math.sin(math.pi * u) / math.pi
            u += 0.5 * warp[k, 1] * math.sin(2.0 * math.pi * u) / (2.0 * math.pi)
            s1, c1 = math.sin(math.pi * u), math.cos(math.pi * u)
            total[:] = 0.0
            s, c = s1, c1
            for h in range(curves.shape[2]):
                for d in range(8):
                    total[d] += curves[k, d, h, 0] * s + curves[k, d, h, 1] * c
                s, c = s * c1 + c * s1, c * c1 - s * s1
            for d in range(3):
                rows[t, d] = 0.12 * total[d]
            total[6] += 3.0
            norm = math.sqrt(total[3] ** 2 + total[4] ** 2 + total[5] ** 2 + total[6] ** 2)
            for d in range(3, 7):
                rows[t, d] = total[d] / norm
            rows[t, 7] = 1.0 / (1.0 + math.exp(-6.0 * total[7]))


def extent(sizes: np.ndarray, offsets: np.ndarray) -> tuple[float, float]:
    """Pairs within tasks, and the cells of their exact matrices."""
    lengths = np.diff(offsets).astype(np.float64)
    bounds = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    sums, squares = (np.add.reduceat(x, bounds) for x in (lengths, lengths**2))
    return float((sizes * (sizes - 1.0) / 2).sum()), float(((sums**2 - squares) / 2).sum())


if __name__ == "__main__":
    main()
