"""What `finedata bench` promises: intervals that cover, and captions that are scored at once.

    python benchmarks/bench.py [--benchmarks 5000] [--bootstrap 300]

Each line of the first table is as many simulated benchmarks: how often the naive interval (Wilson
over items) and finedata's hold the truth, and their mean widths in points.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from finedata.bench.benchmark import Benchmark
from finedata.bench.scores.rows import score_answers, scores_of
from finedata.bench.scores.simulated import coverage
from finedata.schema.bench_summary import item_id
from finedata.schema.dimension import DIMENSIONS
from finedata.schema.enums import LABELS

SHAPES = [(500, 2, 10), (500, 22, 10), (100, 10, 10), (40, 3, 1), (11, 1, 1), (10, 3, 1)]


def covered(benchmarks: int, bootstrap: int) -> None:
    print("videos x items  rho  naive  finedata  widths          method")
    for videos, items, datasets in SHAPES:
        for rho in (0.0, 0.1, 0.2, 0.4, 0.5):
            one = coverage(
                videos=videos, items=items, rho=rho, benchmarks=benchmarks, datasets=datasets
            )
            print(
                f"{videos:6} x {items:<5} {rho:4.1f}  {one.naive:5.3f}  {one.cluster:8.3f}  "
                f"{100 * one.naive_width:5.1f} -> {100 * one.cluster_width:5.1f}  {one.method}",
                flush=True,
            )
    if bootstrap:
        one = coverage(videos=100, items=5, rho=0.3, benchmarks=bootstrap, bootstrap=True)
        print(f"   100 x 5      0.3  {one.naive:5.3f}  {one.cluster:8.3f}  {one.method}")


def stored(captions: int = 500, facts: int = 22) -> tuple[Benchmark, list[dict]]:
    """A benchmark and answers to it as they are stored, judged at random."""
    rng = np.random.default_rng(0)
    samples, items, answers = [], [], []
    for number in range(captions):
        name = f"s{number}"
        dataset = f"d{number % 10}"
        samples.append({"sample_id": name, "dataset": dataset, "usable": True})
        lines = []
        for place in range(facts):
            dimension = DIMENSIONS[place % len(DIMENSIONS)]
            fact = f"{dimension}_{place}"
            items.append({
                "item_id": item_id(name, track="caption", name=fact), "sample_id": name,
                "dataset": dataset, "track": "caption", "name": fact, "dimension": dimension,
                "answer": "x", "error_type": None,
            })  # fmt: skip
            label = LABELS[int(rng.integers(len(LABELS)))]
            lines.append({"fact_id": fact, "capability": dimension, "label": label,
                          "caption_evidence": "it says so"})  # fmt: skip
        answers.append({
            "sample_id": name, "dataset": dataset, "track": "caption", "setting": "hard",
            "trial": 0, "status": "ok", "caption": ["one", "two"], "judge_status": "ok",
            "judge_text": json.dumps({"gt_evaluations": lines, "hallucinated_actions": []}),
        })  # fmt: skip
    return Benchmark(None, "b", "", samples, items), answers  # type: ignore[arg-type]


def scored() -> None:
    import scipy.special  # noqa: F401  (loading it is not scoring)

    benchmark, answers = stored()
    started = time.perf_counter()
    found = score_answers(benchmark, answers)
    rows = time.perf_counter() - started
    datasets = {sample["sample_id"]: sample["dataset"] for sample in benchmark.samples}
    numbers = scores_of(found, datasets, track="caption")
    total = time.perf_counter() - started
    print(
        f"500 captions x 22 facts: rows {rows:.2f} s, with {len(numbers)} intervals {total:.2f} s"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmarks", type=int, default=5_000)
    parser.add_argument("--bootstrap", type=int, default=0)
    given = parser.parse_args()
    scored()
    covered(given.benchmarks, given.bootstrap)
