"""What a run would ask and cost, from a few of its videos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.bench.settings import request_of
from finedata.schema.identity import hash16
from finedata.store.summary import Summary
from finedata.teachers.asker import AskOptions
from finedata.teachers.estimate import upper_bound_nano
from finedata.teachers.prices import usd_of_nano

if TYPE_CHECKING:
    from finedata.bench.benchmark import Benchmark
    from finedata.bench.settings import BenchSettings

__all__ = ["BenchEstimate", "estimate_benchmark"]


@dataclass(frozen=True, kw_only=True)
class BenchEstimate(Summary):
    """What a run would ask; nothing is asked for it.

    Attributes:
        videos: Videos, repeated ones counted.
        calls: Of the answerer.
        judge_calls: Of the judge.
        looked_at: Videos that were decoded to know.
        pictures: Of all calls, extrapolated.
        most_usd: What all answers cost at most; None where the model has no known price.
    """

    videos: int
    calls: int
    judge_calls: int
    looked_at: int
    pictures: int
    most_usd: float | None


def estimate_benchmark(
    benchmark: Benchmark,
    *,
    settings: BenchSettings,
    teacher: str,
    options: AskOptions | None = None,
    limit: int | None = None,
    look_at: int = 8,
) -> BenchEstimate:
    """Estimate a run from a few of its videos, drawn by the seed.

    Args:
        benchmark: Which.
        settings: How.
        teacher: Name of the answerer.
        options: Its prices.
        limit: See `run_benchmark`.
        look_at: Videos that are decoded.
    """
    asked = benchmark.track(settings.track).limited(settings.track, limit, seed=settings.seed)
    samples = asked.asked(settings.track)
    drawn = sorted(samples, key=lambda s: hash16(f"{settings.seed}/look/{s['sample_id']}"))
    price = (options or AskOptions()).price(settings.model)
    nano = pictures = 0
    for sample in drawn[:look_at]:
        request = request_of(asked, settings, sample, trial=0, shown=not settings.blind)
        pictures += len(request.pictures)
        nano += upper_bound_nano(request, teacher=teacher, price=price) if price else 0
    looked = min(look_at, len(drawn))
    calls = len(samples) * (settings.trials if settings.track == "vqa" else 1)
    repeated = min(settings.judge_videos, len(samples)) * (settings.judge_trials - 1)
    share = calls / looked if looked else 0
    return BenchEstimate(
        videos=len(samples),
        calls=calls,
        judge_calls=len(samples) + repeated if settings.track == "caption" else 0,
        looked_at=looked,
        pictures=round(pictures * share),
        most_usd=None if price is None else usd_of_nano(round(nano * share)),
    )
