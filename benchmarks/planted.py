"""Gate, clusters and choice against planted truth: seeds go in, numbers for RESULTS.md come out.

    python benchmarks/planted.py [--seeds 3] [--keep DIR]

For each seed the corpus of `tests/curation/planted.py` is written, converted, gated and clustered:
twelve tasks in three to five known strategies, and corrupted logs of six kinds. Printed are what
the gate let through and stopped, adjusted Rand indices against the plan, the strategies without a
representative, and mean distance to the nearest representative against chance (20 seeds) and
against longest first. The tests assert the same on seed 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from curation.measures import (  # they lie in tests/
    Curve,
    clustered,
    coverage_curve,
    gate_mistakes,
    made,
    plan_of,
    rand_by_task,
    rand_with_k_given,
    random_curves,
    strategies_without,
)

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="leave the datasets in this folder")
    options = parser.parse_args()
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            folder = options.keep / f"{seed}" if options.keep else Path(scratch)
            report(folder, seed)


def report(folder: Path, seed: int) -> None:
    """Run all of it for one seed and print."""
    root, planted = made(folder, seed=seed)
    plan = plan_of(root, planted)
    corrupted = sum(one.corruption is not None for one in planted)
    passed, stopped = gate_mistakes(root, plan)
    gate = pl.read_parquet(root / "curation/gate.parquet")
    by_kind = {
        verdict: gate.filter(verdict=verdict)["score"].drop_nulls().to_numpy()
        for verdict in ("pass", "fail")
    }
    print(f"\nseed {seed}: {len(planted)} episodes, {corrupted} of them corrupted")
    print(
        f"gate: {len(passed)} corrupted passed {passed or ''}, {len(stopped)} clean stopped;"
        f" threshold {gate['threshold'].max():.3g}, passing scores up to"
        f" {by_kind['pass'].max():.3g}, failing ones from {by_kind['fail'].min():.3g}"
    )
    given = np.array(list(rand_with_k_given(root, plan).values()))
    print(f"adjusted Rand index, k given: mean {given.mean():.3f}, least {given.min():.3f}")
    for name, settings in {
        "auto": {},
        "recursive": {"recursive": True},
        "finevla": FINEVLA,
    }.items():
        clustered(root, **settings)
        found = np.array(list(rand_by_task(root, plan).values()))
        chosen = pl.read_parquet(root / "curation/representatives.parquet")["episode_id"].to_list()
        missing = strategies_without(chosen, plan)
        print(
            f"{name}: adjusted Rand index mean {found.mean():.3f}, least {found.min():.3f};"
            f" {len(chosen)} representatives, {len(missing)} strategies without one"
        )
    print_coverage(root)


FINEVLA: dict[str, object] = {"preset": "finevla"}


def print_coverage(root: Path) -> None:
    """Mean distance to the nearest representative, by the share of episodes chosen."""
    clustered(root)
    curve = Curve.of(root)
    count = len(curve.episode_ids)
    clustered(root, budget=count)
    ours, by_chance = coverage_curve(root, curve), random_curves(curve, seeds=20)
    episodes = pl.read_parquet(next((root / "meta/episodes").rglob("*.parquet")))
    length = dict(episodes.select("episode_id", "length").iter_rows())
    longest = curve.mean_distances(
        sorted(curve.episode_ids, key=lambda name: (-length[name], name))
    )
    chance = by_chance.mean(axis=0)
    share = np.arange(1, count + 1) / count
    between = (share >= 0.05) & (share <= 0.8)
    print(
        f"coverage: worse than chance at {(ours > chance + 1e-12).sum()} of {count} budgets;"
        f" from 5 to 80 % ours / chance is {(ours[between] / chance[between]).min():.3f} to"
        f" {(ours[between] / chance[between]).max():.3f}"
    )
    print("\n| episodes chosen | ours | by chance, mean of 20 (least) | longest first |")
    print("|---:|---:|---:|---:|")
    for part in SHARES:
        at = max(1, round(part * count)) - 1
        print(
            f"| {at + 1} ({part:.0%}) | {ours[at]:.4f} | {chance[at]:.4f}"
            f" ({by_chance[:, at].min():.4f}) | {longest[at]:.4f} |"
        )


if __name__ == "__main__":
    main()
