"""Simulated benchmarks: how often an interval holds the truth that was drawn for it.

A video's probability of a right answer is drawn from a Beta distribution around its dataset's, so
that answers of one video correlate by `rho` (beta-binomial: alpha + beta = 1/rho - 1); the truth is
the mean of the datasets' probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.bench.scores.intervals import Ratios, interval, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class IntervalCoverage:
    """Shares of simulated benchmarks whose interval holds the truth, and mean widths.

    Attributes:
        naive: Of Wilson's interval over items, as if these were independent.
        cluster: Of finedata's interval.
        naive_width: Mean width.
        cluster_width: Mean width.
        method: Of finedata's interval.
    """

    naive: float
    cluster: float
    naive_width: float
    cluster_width: float
    method: str


def coverage(
    *,
    videos: int,
    items: int,
    rho: float,
    benchmarks: int,
    datasets: int = 10,
    mean: float = 0.65,
    seed: int = 0,
    bootstrap: bool = False,
) -> IntervalCoverage:
    """Draw benchmarks and count.

    Args:
        videos: Of one benchmark, spread over the datasets.
        items: Of one video.
        rho: Correlation of two items of a video, in [0, 1).
        benchmarks: How many.
        datasets: Strata.
        mean: Of the datasets' probabilities, which spread by 0.1 to both sides.
        seed: Of everything.
        bootstrap: Take the cluster bootstrap.
    """
    rng = np.random.default_rng([seed, videos, items, round(1000 * rho), benchmarks])
    of_dataset = mean + np.linspace(-0.1, 0.1, datasets)
    stratum = np.arange(videos) % datasets
    truth = float(of_dataset[stratum].mean())
    names = [str(one) for one in stratum]
    held = naive_held = 0
    width = naive_width = 0.0
    method = ""
    for number in range(benchmarks):
        right = _right(rng, of_dataset[stratum], items, rho)
        ratios = Ratios.of(right, np.full(videos, float(items)), names)
        found = interval(
            ratios, method="cluster_bootstrap" if bootstrap else "cluster_t", seed=number
        )
        method = found.method
        low, high = found.low or 0.0, found.high or 0.0
        held += low <= truth <= high
        width += high - low
        low, high = wilson(float(right.sum()) / (videos * items), videos * items)
        naive_held += low <= truth <= high
        naive_width += high - low
    return IntervalCoverage(
        naive_held / benchmarks,
        held / benchmarks,
        naive_width / benchmarks,
        width / benchmarks,
        method,
    )


def _right(
    rng: np.random.Generator, share: NDArray[np.float64], items: int, rho: float
) -> NDArray[np.float64]:
    if rho > 0:
        strength = 1 / rho - 1
        share = rng.beta(share * strength, (1 - share) * strength)
    return rng.binomial(items, share).astype(np.float64)
