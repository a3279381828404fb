"""Cells a second of `finedata.motion.dtw`, beside dtaidistance's C and a plain numba loop.

    python benchmarks/dtw.py [--rounds 5] [--scale 1.0] [--gpu] [--json FILE]

Comes in: nothing; trajectories are generated (smooth, eight columns of a pose). Goes out: Markdown
tables. Every round runs every contender in turn on the same data, so that a busy machine slows all
of them alike; medians over the rounds, ratios formed within a round. A cell is one frame of one
track laid on one of another: n*m for a pair, padding not counted. Peers run in float64, on what
they can do: dtaidistance knows no rotations, so it gets the Euclidean distance of the same eight
columns, in its fastest form of those tried. The plain loop is FineVLA's recursion with `acos`, two
rows, one pair after the other. Start-up is timed in fresh processes with caches of their own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Threads of OpenMP that wait would otherwise spin into the next contender's time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
from dtaidistance import dtw_ndim
from dtw_start import start_up, start_verdicts
from numba import njit

from finedata.motion.dtw.distances import FrameCost, Tracks, dtw_all_pairs, dtw_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = ((200, 100), (72, 300))
TRAJECTORIES = 972_247
SINGLE = FrameCost(space="pose")
TWO_STAGE = FrameCost(space="pose", two_stage=True)
EUCLIDEAN = FrameCost(space="euclidean")
GATE = FrameCost(space="pose_rms", position_weight=10.0, rotation_weight=2.0)


@dataclass(frozen=True)
class Contender:
    """Something to time: what it is called, how many useful cells one call fills, the call."""

    name: str
    cells: int
    call: Callable[[], object]


@dataclass(frozen=True)
class Run:
    """One call: seconds on the wall and of all threads."""

    wall_s: float
    cpu_s: float


Runs = dict[str, list[Run]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the pairs; for trials")
    parser.add_argument("--gpu", action="store_true", help="the same shapes on a GPU as well")
    parser.add_argument("--no-start", action="store_true", help="leave out the start-up times")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(machine(), flush=True)
    verdicts: list[tuple[str, float, str, bool]] = []
    everything: dict[str, Any] = {"machine": machine(), "rounds": options.rounds}
    for count, length in SHAPES:
        contenders = of_shape(max(4, round(count * math.sqrt(options.scale))), length, options.gpu)
        runs = timed(contenders, options.rounds)
        print_runs(f"N={count} L={length}", contenders, runs)
        verdicts += [(f"{name}, L={length}", *rest) for name, *rest in ratios(runs)]
        everything[f"N={count} L={length}"] = raw(contenders, runs)
    contenders = of_many(options.scale)
    runs = timed(contenders, options.rounds)
    print_runs("many short ones", contenders, runs)
    everything["many"] = raw(contenders, runs)
    verdicts += of_many_verdicts(contenders, runs)
    if not options.no_start:
        starts = start_up(options.rounds)
        everything["start"] = starts
        verdicts += start_verdicts(starts)
    print("\n| what | median | wanted | |\n|---|---:|---:|---|")
    for name, value, wanted, reached in verdicts:
        print(f"| {name} | {value:.3g} | {wanted} | {'reached' if reached else '**missed**'} |")
    if options.json:
        everything["verdicts"] = verdicts
        options.json.write_text(json.dumps(everything, indent=1) + "\n")


def machine() -> str:
    """Processor, cores and versions in a line."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ] or [platform.processor()]
    packages = ("numpy", "numba", "llvmlite", "dtaidistance")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{os.cpu_count()} x {names[0]}, Python {platform.python_version()}, {versions}"


def poses(rng: np.random.Generator, length: int) -> np.ndarray:
    """(T, 8) float64: a smooth path, a smooth rotation on one side, a gripper that closes once."""
    time_share = np.linspace(0.0, 1.0, length)[:, None]
    waves = sum(
        rng.normal(size=7) / k * np.sin(np.pi * k * time_share + rng.uniform(0, np.pi, 7))
        for k in range(1, 5)
    )
    position = 0.15 * np.asarray(waves)[:, :3]
    quaternion = np.array([0.0, 0.0, 0.0, 2.0]) + 0.4 * np.asarray(waves)[:, 3:]
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    gripper = 1.0 / (1.0 + np.exp(40.0 * (time_share - rng.uniform(0.2, 0.8))))
    return np.hstack([position, quaternion, gripper])


def lengths(rng: np.random.Generator, count: int) -> list[int]:
    """Lognormal, median 150, as long as demonstrations are."""
    return np.clip(rng.lognormal(math.log(150), 0.5, count), 10, 1500).astype(int).tolist()


def of_shape(count: int, length: int, gpu: bool) -> list[Contender]:  # noqa: FBT001
    """The contenders on one square matrix; they agree before any of them is timed."""
    rng = np.random.default_rng([count, length])
    single = [poses(rng, length) for _ in range(count)]
    tracks32, tracks64 = (Tracks.of(single, dtype=dtype) for dtype in (np.float32, np.float64))
    cells = count * (count - 1) // 2 * length * length

    def ours(tracks: Tracks, cost: FrameCost, threads: int, device: str = "cpu") -> Contender:
        stage = " two-stage" if cost.two_stage else ""
        name = f"{cost.space}{stage} {tracks.values.dtype}, {threads} thread"
        return Contender(
            name if device == "cpu" else f"{cost.space}{stage} {tracks.values.dtype}, GPU",
            cells,
            partial(
                dtw_all_pairs,
                tracks,
                cost=cost,
                dtype=tracks.values.dtype.type,
                threads=threads,
                device=device,
            ),
        )

    def peer(inner: str, threads: int) -> Contender:
        return Contender(
            f"dtaidistance {inner}, {threads} thread",
            cells,
            partial(
                dtw_ndim.distance_matrix_fast,
                single,
                inner_dist=inner,
                compact=True,
                parallel=threads > 1,
            ),
        )

    contenders = [
        *(
            peer(inner, threads)
            for threads in (1, 2)
            for inner in ("squared euclidean", "euclidean")
        ),
        Contender("numba loop with acos, 1 thread", cells, partial(plain_matrix, np.array(single))),
        *(ours(tracks32, cost, threads) for threads in (1, 2) for cost in (SINGLE, TWO_STAGE)),
        *(ours(tracks, EUCLIDEAN, 1) for tracks in (tracks32, tracks64)),
        ours(tracks32, EUCLIDEAN, 2),
        *(ours(tracks32, cost, 1, "cuda") for cost in (SINGLE, TWO_STAGE) if gpu),
    ]
    agree(single)
    return contenders


def of_many(scale: float) -> list[Contender]:
    """Many small tasks in one call, and the gate: one pair a trajectory."""
    rng = np.random.default_rng(11)
    tasks, pairs = max(2, round(150 * scale)), max(8, round(6000 * scale))
    small = Tracks.of([poses(rng, n) for n in lengths(rng, 11 * tasks)])
    small_cells = 0
    for task in small.lengths.reshape(tasks, 11):
        small_cells += int((task.sum() ** 2 - (task**2).sum()) // 2)
    states = [poses(rng, n) for n in lengths(rng, pairs)]
    both = Tracks.of([track for state in states for track in (lagged(state), state)])
    numbers = np.arange(2 * pairs).reshape(pairs, 2)
    gate_cells = int((both.lengths[::2] * both.lengths[1::2]).sum())

    def tasks_call(cost: FrameCost, threads: int) -> object:
        bounds = np.arange(tasks + 1) * 11
        return dtw_all_pairs(small, group_offsets=bounds, cost=cost, threads=threads, device="cpu")

    def gate_call(threads: int) -> object:
        return dtw_pairs(both, numbers, cost=GATE, threads=threads, device="cpu")

    return [
        *(
            Contender(
                f"{tasks} tasks of 11{', two-stage' if cost.two_stage else ''}, {threads} thread",
                small_cells,
                partial(tasks_call, cost, threads),
            )
            for threads in (1, 2)
            for cost in (SINGLE, TWO_STAGE)
        ),
        *(
            Contender(f"gate of {pairs}, {threads} thread", gate_cells, partial(gate_call, threads))
            for threads in (1, 2)
        ),
    ]


def lagged(state: np.ndarray, frames: int = 3) -> np.ndarray:
    """The action that a state follows some frames later."""
    return np.concatenate([state[frames:], np.repeat(state[-1:], frames, axis=0)])


@njit(cache=False)
def plain_distance(a: Any, b: Any, w_p: float, w_r: float, w_g: float) -> float:
    """FineVLA's recursion as one would write it: two rows, scalar, `acos`."""
    m = len(b)
    before = np.full(m + 1, np.inf)
    here = np.full(m + 1, np.inf)
    before[0] = 0.0
    for i in range(len(a)):
        here[0] = np.inf
        for j in range(m):
            squares = 0.0
            for c in range(3):
                squares += (a[i, c] - b[j, c]) ** 2
            dot = 0.0
            for c in range(3, 7):
                dot += a[i, c] * b[j, c]
            cost = (
                w_p * math.sqrt(squares)
                + w_r * 2.0 * math.acos(min(1.0, abs(dot)))
                + w_g * abs(a[i, 7] - b[j, 7])
            )
            here[j + 1] = cost + min(before[j], before[j + 1], here[j])
        before, here = here, before
    return before[m]


@njit(cache=False)
def plain_matrix(tracks: Any) -> Any:
    n = len(tracks)
    out = np.empty(n * (n - 1) // 2)
    k = 0
    for i in range(n):
        for j in range(i + 1, n):
            out[k] = plain_distance(tracks[i], tracks[j], 1.0, 1.0, 1.0)
            k += 1
    return out


def agree(single: list[np.ndarray]) -> None:
    """Refuse to time what does not compute the same thing."""
    few = single[:6]
    pairs = np.stack(np.triu_indices(len(few), k=1), axis=1)
    how: dict[str, Any] = {"dtype": np.float64, "device": "cpu"}
    tracks = Tracks.of(few, dtype=np.float64)
    found = dtw_pairs(tracks, pairs, cost=EUCLIDEAN, **how)
    theirs = dtw_ndim.distance_matrix_fast(few, inner_dist="euclidean", compact=True)
    np.testing.assert_allclose(found.distance * found.path_length, theirs, rtol=1e-9)
    found = dtw_pairs(tracks, pairs, cost=SINGLE, **how)
    # acos near identity is good to 1e-8
    np.testing.assert_allclose(
        found.distance * found.path_length, plain_matrix(np.array(few)), rtol=1e-6
    )
    half = dtw_all_pairs(Tracks.of(few), cost=SINGLE, device="cpu")
    np.testing.assert_allclose(half, found.distance, rtol=1e-5)


def timed(contenders: list[Contender], rounds: int) -> Runs:
    """Every contender once a round, in turn, each right after an untimed call of its own.

    Without that, whoever comes after seconds of scalar code finds the wide vector units asleep:
    the first tenth of a second is then a third slower.
    """
    runs: Runs = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            contender.call()
            wall, cpu = time.perf_counter(), time.process_time()
            contender.call()
            run = Run(time.perf_counter() - wall, time.process_time() - cpu)
            runs[contender.name].append(run)
    return runs


def print_runs(title: str, contenders: list[Contender], runs: Runs) -> None:
    print(f"\n| {title} | Mcell/s of wall, each round | median | median Mcell/CPU s |")
    print("|---|---|---:|---:|")
    for one in contenders:
        wall = [one.cells / run.wall_s / 1e6 for run in runs[one.name]]
        cpu = [one.cells / run.cpu_s / 1e6 for run in runs[one.name]]
        every = ", ".join(f"{value:.0f}" for value in wall)
        print(
            f"| {one.name} | {every} | **{statistics.median(wall):.0f}** |"
            f" {statistics.median(cpu):.0f} |"
        )
    sys.stdout.flush()


def raw(contenders: list[Contender], runs: Runs) -> dict[str, Any]:
    return {
        one.name: {
            "cells": one.cells,
            "wall_s": [run.wall_s for run in runs[one.name]],
            "cpu_s": [run.cpu_s for run in runs[one.name]],
        }
        for one in contenders
    }


def ratios(runs: Runs) -> list[tuple[str, float, str, bool]]:
    """How many times the first takes as long as the second, within a round, and what is wanted."""
    names = list(runs)
    peers = {
        threads: [name for name in names if name.startswith("dtai") and f"{threads} th" in name]
        for threads in (1, 2)
    }
    loop = ["numba loop with acos, 1 thread"]
    pose, pose_2 = (["pose float32, 1 thread"], ["pose float32, 2 thread"])
    wanted: list[tuple[str, list[str], list[str], float, str]] = [
        ("pose float32 / dtaidistance", peers[1], pose, 8.0, "at least"),
        ("pose float32 / plain numba loop", loop, pose, 12.0, "at least"),
        (
            "euclidean float32 / dtaidistance",
            peers[1],
            ["euclidean float32, 1 thread"],
            10.0,
            "at least",
        ),
        (
            "euclidean float64 / dtaidistance",
            peers[1],
            ["euclidean float64, 1 thread"],
            5.0,
            "at least",
        ),
        ("two threads / one, pose", pose, pose_2, 1.7, "at least"),
        ("two threads / one, dtaidistance", peers[1], peers[2], 0.0, "at least"),
        ("time of two-stage / single", ["pose two-stage float32, 1 thread"], pose, 1.6, "at most"),
    ]
    if "pose float32, GPU" in runs:
        wanted.append(("GPU / one core, pose", pose, ["pose float32, GPU"], 0.0, "at least"))
    found: list[tuple[str, float, str, bool]] = []
    for name, slow, quick, limit, sense in wanted:
        value, by_cpu = (
            statistics.median(
                min(getattr(runs[one][number], clock) for one in slow)
                / min(getattr(runs[one][number], clock) for one in quick)
                for number in range(len(runs[names[0]]))
            )
            for clock in ("wall_s", "cpu_s")
        )
        if "thread" not in name:
            name += f" (by CPU time {by_cpu:.3g})"
        reached = value >= limit if sense == "at least" else value <= limit
        found.append((name, value, f"{sense} {limit:g}" if limit else "-", reached))
    return found


def of_many_verdicts(contenders: list[Contender], runs: Runs) -> list[tuple[str, float, str, bool]]:
    found: list[tuple[str, float, str, bool]] = []
    for one in contenders:
        if not one.name.endswith("1 thread"):
            continue
        cpu_s = statistics.median(run.cpu_s for run in runs[one.name])
        if "gate" in one.name:
            pairs = int(one.name.split()[2].rstrip(","))
            seconds = cpu_s / pairs * TRAJECTORIES
            found.append(
                (f"gate of {TRAJECTORIES:,}, CPU s", seconds, "at most 60", seconds <= 60.0)
            )
        elif "two-stage" not in one.name:
            rate = one.cells / cpu_s / 1e9
            found.append(("tasks of 11, Gcell/s/core", rate, "at least 0.8", rate >= 0.8))
    return found


if __name__ == "__main__":
    main()
