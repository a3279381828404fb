"""What a benchmark holds, as the paper's Figure 3 shows it: durations, embodiments, facts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from finedata.schema.dimension import DIMENSIONS
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from finedata.bench.benchmark import Benchmark

__all__ = ["BenchProfile", "profile_benchmark"]

_EDGES_S = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0)


class BenchProfile(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a benchmark.

    Attributes:
        name: Of the benchmark.
        revision: Which state of it.
        videos: All videos.
        unusable: Those that their ground truth calls broken.
        datasets: Dataset -> videos.
        embodiments: Robot -> videos; `unknown` where it is not told.
        views: Number of views -> videos.
        durations_s: Shortest, median, mean, longest; None where no duration is told.
        duration_counts: From second -> videos up to the next.
        facts: Dimension -> facts.
        facts_per_video: Mean.
        questions: Dimension -> questions.
        answer_types: Kind of answer -> questions.
        error_types: Kind of mistake -> questions.
        files_missing: Videos of which a view's file is not there.
        notes: What reading found.
    """

    name: str
    revision: str
    videos: int
    unusable: int
    datasets: dict[str, int]
    embodiments: dict[str, int]
    views: dict[str, int]
    durations_s: tuple[float, float, float, float] | None
    duration_counts: dict[str, int]
    facts: dict[str, int]
    facts_per_video: float | None
    questions: dict[str, int]
    answer_types: dict[str, int]
    error_types: dict[str, int]
    files_missing: int
    notes: list[str]


def profile_benchmark(benchmark: Benchmark) -> BenchProfile:
    """Count."""
    samples, items = benchmark.samples, benchmark.items
    durations = np.asarray([s["duration_s"] for s in samples if s["duration_s"] is not None])
    places = np.searchsorted(_EDGES_S, durations, side="right") - 1
    facts = [item for item in items if item["track"] == "caption"]
    questions = [item for item in items if item["track"] == "vqa"]
    described = len({item["sample_id"] for item in facts})
    return BenchProfile(
        name=benchmark.name,
        revision=benchmark.revision,
        videos=len(samples),
        unusable=sum(not sample["usable"] for sample in samples),
        datasets=_counted(sample["dataset"] for sample in samples),
        embodiments=_counted(sample["robot_type"] or "unknown" for sample in samples),
        views=_counted(str(len(sample["views"])) for sample in samples),
        durations_s=(
            float(durations.min()),
            float(np.median(durations)),
            float(durations.mean()),
            float(durations.max()),
        )
        if len(durations)
        else None,
        duration_counts={
            f"{edge:g}": int(np.sum(places == place)) for place, edge in enumerate(_EDGES_S)
        },
        facts={name: sum(item["dimension"] == name for item in facts) for name in DIMENSIONS},
        facts_per_video=len(facts) / described if described else None,
        questions={
            name: sum(item["dimension"] == name for item in questions) for name in DIMENSIONS
        },
        answer_types=_counted(item["answer_type"] for item in questions),
        error_types=_counted(item["error_type"] or "none" for item in questions),
        files_missing=sum(any(v["sha256"] is None for v in s["views"]) for s in samples),
        notes=benchmark.notes,
    )


def _counted(values: object) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))  # pyright: ignore
