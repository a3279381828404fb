"""How fast a stream is here: each layer alone, so that the slow one has a name."""

from __future__ import annotations

import re
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from finedata.schema.strict import Strict

if TYPE_CHECKING:
    from collections.abc import Callable

    from finedata.shard.stream.stream import Stream

__all__ = ["Speed", "measure"]


class Speed(Strict, frozen=True, kw_only=True):
    """Figures of one machine and moment; nothing of it enters an output.

    Attributes:
        samples_per_s: Of each run of batches, samples a second.
        median_samples_per_s: Of these.
        first_batch_s: From the first call to the first batch, workers started.
        draw_us: Microseconds a sample to find what comes next.
        join_us: Microseconds a sample for its numbers and words.
        workers: How many read.
        peak_bytes: Largest resident memory of this process, mapped files included; null where
            the system does not tell.
    """

    samples_per_s: list[float]
    median_samples_per_s: float
    first_batch_s: float
    draw_us: float
    join_us: float
    workers: int
    peak_bytes: int | None


def measure(stream: Stream, *, batches: int = 100, runs: int = 5) -> Speed:
    """Time a stream.

    Args:
        stream: A new one without `stop`; it is used up from where it stands.
        batches: Of a run.
        runs: How many.
    """
    begin = time.perf_counter()
    given = iter(stream)
    next(given)
    first = time.perf_counter() - begin
    rates: list[float] = []
    for _ in range(runs):
        begin = time.perf_counter()
        for _ in range(batches):
            next(given)
        rates.append(stream.batch * batches / (time.perf_counter() - begin))
    samples = stream.sequence.samples(stream.n, stream.n + 4_096)
    draw = _seconds(lambda: stream.sequence.samples(stream.n, stream.n + 4_096))
    pieces = [samples.slice(at, at + 32) for at in range(0, 4_096, 32)]
    join = _seconds(lambda: [(stream.numbers(piece), stream.words(piece)) for piece in pieces])
    return Speed(
        samples_per_s=[round(rate, 1) for rate in rates],
        median_samples_per_s=round(median(rates), 1),
        first_batch_s=round(first, 3),
        draw_us=round(draw / 4_096 * 1e6, 3),
        join_us=round(join / 4_096 * 1e6, 3),
        workers=stream.workers,
        peak_bytes=_peak_bytes(),
    )


def _seconds(call: Callable[[], object]) -> float:
    """The median of five, after one that warms up."""
    call()
    times: list[float] = []
    for _ in range(5):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return median(times)


def _peak_bytes() -> int | None:
    """What Linux tells; `resource` is not everywhere, and says kilobytes here and bytes there."""
    status = Path("/proc/self/status")
    told = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(told[1]) * 1024 if told else None
