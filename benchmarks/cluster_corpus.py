"""Gate and cluster the reference corpus: its four files come in, seconds and a log go out.

    python benchmarks/reference_corpus.py --out CORPUS
    python benchmarks/cluster_corpus.py gate --corpus CORPUS
    python benchmarks/cluster_corpus.py cluster --corpus CORPUS --scratch DIR [--two-stage]

`gate` scores every trajectory as an action against the state that follows it (its own motion,
some frames later and smoothed), as `finedata gate` would: CPU seconds of the distances are what
counts; reading the corpus and making the states are reported apart. `cluster` computes all
distances and merges of all tasks; the same command, killed and started again, goes on where it
was. Both print JSON and append it to `--log`.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from numba import njit, prange

from finedata.cluster.choose import rank
from finedata.cluster.distance import pipeline
from finedata.cluster.distance.motion import ArmLayout, UnitTracks
from finedata.cluster.distance.pipeline import Kernel
from finedata.cluster.group import units
from finedata.cluster.group.units import plan_units
from finedata.cluster.settings import ClusterSettings, Weights
from finedata.motion.dtw.distances import FrameCost, Tracks, dtw_pairs
from finedata.store.run.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from finedata.cluster.distance.tiles import Tile

BATCH = 20_000
# Of the gate's default scales: 2 cm, 0.1 rad, a quarter of the opening; three groups.
GATE = FrameCost(
    space="pose_rms",
    position_weight=1 / (0.02 * math.sqrt(3)),
    rotation_weight=1 / (0.1 * math.sqrt(3)),
    gripper_weight=1 / (0.25 * math.sqrt(3)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("gate", "cluster"))
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, help="where the tiles go; the same to go on")
    parser.add_argument("--two-stage", action="store_true")
    parser.add_argument("--budget", type=int, help="e.g. 47159, as many as FineVLA chose")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    values = np.load(options.corpus / "values.npy", mmap_mode="r")
    offsets = np.load(options.corpus / "offsets.npy")
    if options.what == "gate":
        found = gate(values, offsets, threads=options.threads)
    else:
        found = cluster(values, offsets, options)
    found["peak_rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    line = json.dumps(found)
    print(line)
    if options.log:
        with options.log.open("a") as log:
            log.write(line + "\n")


def gate(values: np.ndarray, offsets: np.ndarray, *, threads: int | None) -> dict[str, Any]:
    """Score all trajectories in batches."""
    # Compile first.
    first = np.array(values[: offsets[1]])
    dtw_pairs(Tracks.of([first] * 2), [(0, 1)], cost=GATE, threads=threads, device="cpu")
    _follow(first, np.empty_like(first), offsets[:2])
    count = len(offsets) - 1
    scores = np.empty(count, np.float32)
    seconds = {"read_s": 0.0, "distances_wall_s": 0.0, "distances_cpu_s": 0.0}
    cells = 0
    for begin in range(0, count, BATCH):
        end = min(count, begin + BATCH)
        started = time.perf_counter()
        local = offsets[begin : end + 1] - offsets[begin]
        action = np.array(values[offsets[begin] : offsets[end]])
        both = np.concatenate([action, np.empty_like(action)])
        _follow(action, both[len(action) :], local)
        tracks = Tracks(both, np.concatenate([local, local[1:] + local[-1]]))
        pairs = np.stack([np.arange(end - begin), np.arange(end - begin) + end - begin], axis=1)
        lengths = np.diff(local)
        cells += int((lengths * lengths).sum())
        wall, cpu = time.perf_counter(), time.process_time()
        seconds["read_s"] += wall - started
        found = dtw_pairs(tracks, pairs, cost=GATE, threads=threads, device="cpu")
        seconds["distances_wall_s"] += time.perf_counter() - wall
        seconds["distances_cpu_s"] += time.process_time() - cpu
        scores[begin:end] = found.distance
    return {
        "what": "gate",
        "trajectories": count,
        "cells": cells,
        **{name: round(value, 2) for name, value in seconds.items()},
        "gcell_per_cpu_s": round(cells / seconds["distances_cpu_s"] / 1e9, 3),
        "score_percentiles": {
            str(p): round(float(np.percentile(scores, p)), 4) for p in (5, 50, 95, 100)
        },
    }


def cluster(values: np.ndarray, offsets: np.ndarray, options: argparse.Namespace) -> dict[str, Any]:
    """All distances, clusters and representatives of all tasks; the tiles are kept in a ledger."""
    task_offsets = np.load(options.corpus / "task_offsets.npy")
    arm = ArmLayout(scaled=(0, 1, 2), quaternion=3, gripper=7)
    tracks = UnitTracks.of(values, offsets=offsets, unit_offsets=task_offsets, arms=(arm,))
    settings = ClusterSettings(two_stage=options.two_stage, auto=True, budget=options.budget)
    cost = settings.frame_cost("ee", Weights())
    kernel = Kernel(cost=cost, threads=options.threads)
    work = plan_units(tracks, settings=settings, kernel=kernel, row_bytes=32)
    started = time.perf_counter()
    _warm(values)
    read_s = time.perf_counter() - started
    watch = _Watch(sum(tile.cells for tile in work.tiles))
    key = f"{options.corpus.resolve().name} {cost}"
    wall, cpu = time.perf_counter(), time.process_time()
    with (
        Ledger(options.scratch, run_key=key, settings={"cost": str(cost)}) as ledger,
        patch.object(pipeline, "compute", watch.timed("engine_s", pipeline.compute)),
        patch.object(pipeline, "load", watch.timed("load_s", pipeline.load)),
        patch.object(pipeline, "digest", watch.timed("load_s", pipeline.digest)),
        patch.object(units, "group_unit", watch.timed("grouping_s", units.group_unit)),
    ):
        clusters = units.cluster_units(work, settings=settings, store=ledger, on_tile=watch.on_tile)
        ranked = time.perf_counter()
        chosen = rank.rank_units(clusters, settings=settings, works=[work], store=ledger)
        ranked = time.perf_counter() - ranked
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    ledger_bytes = sum(path.stat().st_size for path in options.scratch.rglob("*"))
    return {
        "what": "cluster, two-stage" if options.two_stage else "cluster, single stage",
        "tasks": len(task_offsets) - 1,
        "trajectories": len(offsets) - 1,
        "frames": int(offsets[-1]),
        "pairs": sum(tile.pairs for tile in work.tiles),
        "cells": watch.cells,
        "tiles": len(work.tiles),
        "tiles_computed": watch.computed,
        "clusters": sum(len(one.sizes) for one in clusters),
        "representatives": len(chosen.unit),
        "landmark_units": sum(one.method == "landmark" for one in clusters),
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        **{name: round(value, 1) for name, value in watch.seconds.items()},
        "ranking_s": round(ranked, 1),
        "disk_read_before_s": round(read_s, 1),
        "gcell_per_wall_s": round(watch.cells / wall / 1e9, 3),
        "ledger_mb": round(ledger_bytes / 1e6),
    }


class _Watch:
    """Seconds by kind of work, and a line now and then. Kinds run side by side: they overlap."""

    def __init__(self, cells: int) -> None:
        self.cells, self.computed, self.seconds = cells, 0, dict[str, float]()
        self._done, self._begun = 0, time.perf_counter()
        self._said = self._begun

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, its wall time added up."""

        def wrapped(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            found = call(*args, **options)
            taken = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + taken
            return found

        return wrapped

    def on_tile(self, tile: Tile, computed: bool) -> None:  # noqa: FBT001
        """Called after each tile."""
        self.computed += computed
        self._done += tile.cells
        now = time.perf_counter()
        if now - self._said > 30.0:
            self._said = now
            share = self._done / self.cells
            print(f"{now - self._begun:.0f} s: {share:.1%}", file=sys.stderr, flush=True)


def _warm(values: np.ndarray) -> None:
    """Read everything once, so that what is timed is not the disk."""
    for begin in range(0, len(values), 1 << 22):
        values[begin : begin + (1 << 22)].max()


@njit(parallel=True)
def _follow(action: Any, state: Any, offsets: Any) -> None:
    """The state goes half of the way to where the action was three frames ago."""
    for k in prange(len(offsets) - 1):
        begin = offsets[k]
        for t in range(begin, offsets[k + 1]):
            source = max(begin, t - 3)
            squares = 0.0
            for c in range(8):
                before = action[begin, c] if t == begin else state[t - 1, c]
                state[t, c] = 0.5 * before + 0.5 * action[source, c]
                if 3 <= c < 7:
                    squares += state[t, c] ** 2
            norm = math.sqrt(squares)
            for c in range(3, 7):
                state[t, c] /= norm


if __name__ == "__main__":
    main()
