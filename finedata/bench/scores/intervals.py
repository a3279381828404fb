"""Intervals that hold: videos are the clusters, datasets the strata, and few videos are said so.

Questions and facts of one video share its difficulty, so an interval over items is too narrow: at
22 facts a video and a correlation of 0.2 it covers 61 % in place of 95 %. Every number here is a
mean of ratios, sum over groups g of w_g * (sum over videos of x) / (sum over videos of n), which
takes in a micro average (one group), a macro average over dimensions (ten groups of weight 1/10)
and a mean over videos (n = 1). Two ways to its interval:

- `cluster_t`: the ratio linearised per video (Cochran, *Sampling Techniques*, 3rd ed., 6.12 and
  11.7; Woodruff 1971), variance within strata, Student's t with videos minus strata degrees of
  freedom.
- `cluster_bootstrap`: whole videos are drawn again within their stratum, seeded; percentiles.

Below 30 videos neither holds: Wilson's interval with the *videos* as its trials is given, which
holds for any correlation, because the mean of numbers in [0, 1] varies at most as that of ones and
zeros. Such a number is unrankable. So is Wilson's taken where videos do not differ at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from finedata.errors import UsageError, need

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Method = Literal["cluster_t", "cluster_bootstrap", "wilson", "none"]
FEWEST = 30
"""Videos below which a number is unrankable."""
_DRAWS = 2_000
_DRAWS_AT_ONCE = 250
_SAME = 1e-12  # of a variance: rounding only


@dataclass(frozen=True, eq=False)
class Ratios:
    """What a number is made of.

    Attributes:
        total: (groups, videos) float64, x: sum of the scores of a video's items in a group.
        count: (groups, videos) float64, n: how many items that are.
        stratum: (videos,) int, number of each video's dataset.
    """

    total: NDArray[np.float64]
    count: NDArray[np.float64]
    stratum: NDArray[np.int64]

    @staticmethod
    def of(
        total: NDArray[np.float64], count: NDArray[np.float64], datasets: Sequence[str]
    ) -> Ratios:
        """Leave out videos and groups without an item; strata by name."""
        total = total.reshape(-1, len(datasets))
        count = count.reshape(-1, len(datasets))
        videos, groups = count.sum(axis=0) > 0, count.sum(axis=1) > 0
        known = {name: number for number, name in enumerate(sorted(set(datasets)))}
        stratum = np.asarray([known[name] for name in datasets], np.int64)[videos]
        return Ratios(total[groups][:, videos], count[groups][:, videos], stratum)

    @property
    def videos(self) -> int:
        """How many videos have an item."""
        return self.count.shape[1]

    @property
    def items(self) -> int:
        """How many items."""
        return int(float(np.sum(self.count)))

    @property
    def value(self) -> float | None:
        """The number; None without an item."""
        if not self.videos:
            return None
        ratio: NDArray[np.float64] = self.total.sum(axis=1) / self.count.sum(axis=1)
        return float(ratio.mean())

    def influence(self) -> NDArray[np.float64]:
        """(videos,) what each video adds to the deviation of the number from its expectation."""
        items = self.count.sum(axis=1, keepdims=True)
        ratio = self.total.sum(axis=1, keepdims=True) / items
        return ((self.total - ratio * self.count) / items).mean(axis=0)


@dataclass(frozen=True)
class Interval:
    """A number with its interval.

    Attributes:
        value: The number; None without an item.
        low: Lower end; None where no interval can be given.
        high: Upper end.
        method: How the interval was had.
        items: How many items.
        videos: How many videos.
        unrankable: Whether there are too few videos to rank by it.
    """

    value: float | None
    low: float | None
    high: float | None
    method: Method
    items: int
    videos: int
    unrankable: bool


@dataclass(frozen=True)
class Difference:
    """A paired difference, first minus second.

    Attributes:
        value: The difference.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided p of no difference, before any correction.
        videos: How many videos both answered.
        unrankable: Whether there are too few videos.
    """

    value: float
    low: float
    high: float
    p: float
    videos: int
    unrankable: bool


def interval(
    ratios: Ratios,
    *,
    level: float = 0.95,
    method: Literal["cluster_t", "cluster_bootstrap"] = "cluster_t",
    seed: int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """A number with its interval.

    Args:
        ratios: What it is made of.
        level: Of the interval.
        method: Where there are videos enough.
        seed: Of the bootstrap.
        bounds: The interval is cut there. Numbers that leave [0, 1] (`released`) get no Wilson.

    Raises:
        UsageError: The level is not between 0 and 1.
        MissingExtraError: SciPy is not installed.
    """
    if not 0 < level < 1:
        raise UsageError(place="level", found=f"{level}", wanted="between 0 and 1, e.g. 0.95")
    value, videos = ratios.value, ratios.videos
    few = videos < FEWEST
    if value is None:
        return Interval(None, None, None, "none", 0, 0, unrankable=True)
    variance, freedom = _variance(ratios.influence(), ratios.stratum)
    proportion = bounds == (0.0, 1.0) and -_SAME <= value <= 1 + _SAME
    if proportion and (few or variance <= _SAME**2 or freedom < 1):
        low, high = wilson(min(1.0, max(0.0, value)), videos, level=level)
        return Interval(value, low, high, "wilson", ratios.items, videos, unrankable=few)
    if freedom < 1:
        return Interval(value, None, None, "none", ratios.items, videos, unrankable=few)
    if method == "cluster_t":
        half = _t_quantile(0.5 + level / 2, freedom) * np.sqrt(variance)
        low, high = value - half, value + half
    else:
        drawn = _bootstrap(ratios, seed=seed)
        low, high = (float(q) for q in np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2]))
    return Interval(
        value,
        max(bounds[0], float(low)),
        min(bounds[1], float(high)),
        method,
        ratios.items,
        videos,
        unrankable=few,
    )


def difference(one: Ratios, other: Ratios, *, level: float = 0.95) -> Difference | None:
    """The paired difference by video: the same videos, so their difficulty falls out.

    Args:
        one: Of the first result.
        other: Of the second, the same videos in the same order.
        level: Of the interval.

    Returns:
        None where fewer than two videos have an item.

    Raises:
        UsageError: They are of different videos.
    """
    if one.count.shape != other.count.shape or not np.array_equal(one.stratum, other.stratum):
        raise UsageError(
            place="paired difference", found="results of different videos", wanted="the same videos"
        )
    first, second = one.value, other.value
    if first is None or second is None:
        return None
    variance, freedom = _variance(one.influence() - other.influence(), one.stratum)
    if freedom < 1:
        return None
    value, error = first - second, float(np.sqrt(variance))
    half = _t_quantile(0.5 + level / 2, freedom) * error
    if error > _SAME:
        p = 2 * _t_survival(abs(value) / error, freedom)
    else:
        p = 1.0 if abs(value) <= _SAME else 0.0
    return Difference(value, value - half, value + half, p, one.videos, one.videos < FEWEST)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979, 65-70).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def wilson(share: float, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (JASA 22, 1927, 209-212).

    Example:
        >>> low, high = wilson(0.5, 10)
        >>> round(low, 4), round(high, 4)
        (0.2366, 0.7634)
    """
    z = _normal_quantile(0.5 + level / 2)
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = (z / (1 + z * z / trials)) * np.sqrt(
        share * (1 - share) / trials + z * z / (4 * trials * trials)
    )
    # at the ends rounding must not exclude the share itself
    return min(share, max(0.0, float(centre - half))), max(share, min(1.0, float(centre + half)))


def _variance(influence: NDArray[np.float64], stratum: NDArray[np.int64]) -> tuple[float, int]:
    """Variance of the sum over videos drawn within strata, and its degrees of freedom.

    Strata of one video are put together: alone they would tell nothing of their variance.
    """
    sizes = np.bincount(stratum) if len(stratum) else np.zeros(0, np.int64)
    alone = sizes[stratum] == 1
    stratum = np.where(alone, len(sizes), stratum)
    if alone.sum() == 1:  # the one that is alone joins the largest
        stratum = np.where(alone, int(np.argmax(sizes)), stratum)
    _, stratum = np.unique(stratum, return_inverse=True)
    sizes = np.bincount(stratum)
    if len(influence) < 2:
        return 0.0, 0
    means = np.bincount(stratum, influence) / sizes
    squares = np.bincount(stratum, (influence - means[stratum]) ** 2)
    variance = float(np.sum(squares * sizes / (sizes - 1)))
    return variance, len(influence) - len(sizes)


def _bootstrap(ratios: Ratios, *, seed: int) -> NDArray[np.float64]:
    """(draws,) the number of as many benchmarks, whole videos drawn within their stratum."""
    rng = np.random.default_rng(seed)
    drawn: list[NDArray[np.float64]] = []
    members = [np.flatnonzero(ratios.stratum == s) for s in np.unique(ratios.stratum)]
    for _ in range(_DRAWS // _DRAWS_AT_ONCE):
        weight = np.zeros((_DRAWS_AT_ONCE, ratios.videos))
        for places in members:
            size = len(places)
            weight[:, places] = rng.multinomial(size, np.full(size, 1 / size), _DRAWS_AT_ONCE)
        total, count = weight @ ratios.total.T, weight @ ratios.count.T
        # a dimension of which no video was drawn leaves the mean of that draw
        with np.errstate(invalid="ignore"):
            ratio = np.where(count > 0, total / np.where(count > 0, count, 1), np.nan)
        drawn.append(np.nanmean(ratio, axis=1))
    return np.concatenate(drawn)


def _t_quantile(share: float, freedom: int) -> float:
    need("scipy", extra="bench", place="finedata bench")
    from scipy import special  # pyright: ignore[reportMissingTypeStubs]

    return float(special.stdtrit(freedom, share))  # pyright: ignore


def _t_survival(t: float, freedom: int) -> float:
    need("scipy", extra="bench", place="finedata bench")
    from scipy import special  # pyright: ignore[reportMissingTypeStubs]

    return float(special.stdtr(freedom, -t))  # pyright: ignore


def _normal_quantile(share: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)
