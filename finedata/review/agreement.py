"""Shares and agreement with intervals, where facts of one episode are no independent draws.

Facts of an episode stand and fall together (a dark video, a teacher that took one cup for
another), so an interval that takes them for independent is too narrow. Episodes are the clusters:
the variance of a share is that of a ratio over clusters, and kappa and alpha are computed again
over episodes drawn with replacement. Everything is a function of its input; the draws are seeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_Z = 1.959963984540054  # 97.5 % of the normal distribution
_DRAWS = 1_000
_AT_ONCE = 100


class Share(msgspec.Struct, frozen=True):
    """A share of facts, with a 95 % interval; all None where there is no fact.

    Attributes:
        value: The share.
        lower: Lower end.
        upper: Upper end.
        right: Facts that count.
        facts: Of how many.
        episodes: Of how many episodes they are.
    """

    value: float | None
    lower: float | None
    upper: float | None
    right: int
    facts: int
    episodes: int


class Agreement(msgspec.Struct, frozen=True):
    """Agreement beyond chance, with a 95 % interval over episodes.

    Attributes:
        value: Kappa or alpha; None where it is not defined: nothing was judged twice, or
            everybody always said the same one thing.
        lower: Lower end; None with fewer than two episodes.
        upper: Upper end.
        same: Share of pairs that are the same.
        prevalence: Share of judgements that are `accept`: near 1, kappa is low however well
            people agree.
        facts: Facts that were judged at least twice.
        episodes: Of how many episodes.
    """

    value: float | None
    lower: float | None
    upper: float | None
    same: float | None
    prevalence: float | None
    facts: int
    episodes: int


def wilson(right: float, of: float) -> tuple[float, float]:
    """A 95 % interval of a share (Wilson 1927, without continuity correction).

    Example:
        >>> [round(end, 4) for end in wilson(81, 263)]  # Newcombe 1998, table I
        [0.2553, 0.3662]
    """
    share = right / of
    middle = share + _Z**2 / (2 * of)
    spread = _Z * float(np.sqrt(share * (1 - share) / of + _Z**2 / (4 * of**2)))
    whole = 1 + _Z**2 / of
    lower = 0.0 if right <= 0 else max(0.0, (middle - spread) / whole)
    upper = 1.0 if right >= of else min(1.0, (middle + spread) / whole)
    return lower, upper


def share_of(right: Sequence[bool], episodes: Sequence[str]) -> Share:
    """The share of facts that are right, with an interval for which episodes are the clusters.

    The variance is that of a ratio of totals over clusters (Cochran 1977, 6.3); what sample of
    independent facts would have it, less what Student's t asks of so few clusters, is put into
    Wilson's interval, never more than there are facts (Korn and Graubard 1998 do so with Clopper
    and Pearson's). Where all facts are alike their
    variance says nothing, and an episode counts as one fact.

    Args:
        right: Of each fact.
        episodes: The episode of each fact.
    """
    count = len(right)
    if not count:
        return Share(None, None, None, 0, 0, 0)
    _, cluster = np.unique(np.asarray(episodes), return_inverse=True)
    hits = np.bincount(cluster, np.asarray(right, float))
    sizes = np.bincount(cluster).astype(float)
    clusters = len(sizes)
    value = float(hits.sum() / count)
    variance = 0.0
    if clusters > 1:
        rest = hits - value * sizes
        variance = float(clusters / (clusters - 1) * (rest**2).sum() / count**2)
    effective = float(clusters)
    if variance > 0:
        effective = value * (1 - value) / variance / (_student(clusters - 1) / _Z) ** 2
        effective = min(effective, float(count))
    lower, upper = wilson(value * effective, effective)
    return Share(value, lower, upper, int(hits.sum()), count, clusters)


def _student(freedom: int) -> float:
    """97.5 % of Student's t, by Hill's expansion (Abramowitz and Stegun 26.7.5)."""
    z, v = _Z, float(freedom)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )


def cohen_kappa(
    first: Sequence[str],
    second: Sequence[str],
    episodes: Sequence[str],
    *,
    seed: int = 0,
) -> Agreement:
    """Cohen's kappa of two judgements of each fact (Cohen 1960).

    Args:
        first: What one person said of each fact.
        second: What the other said of it.
        episodes: The episode of each fact.
        seed: Of the draws of episodes.

    Example:
        >>> table = {("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}
        >>> pairs = [pair for pair, count in table.items() for _ in range(count)]
        >>> found = cohen_kappa(*zip(*pairs), [str(n) for n in range(50)])
        >>> round(found.value, 3)
        0.4
    """
    values = sorted({*first, *second})
    place = {value: k for k, value in enumerate(values)}
    _, cluster = np.unique(np.asarray(episodes), return_inverse=True)
    clusters = int(cluster.max()) + 1 if len(cluster) else 0
    ones = np.array([place[value] for value in first], np.int64)
    others = np.array([place[value] for value in second], np.int64)
    cells = (cluster * len(values) + ones) * len(values) + others
    shape = (clusters, len(values), len(values))
    tables = np.bincount(cells, minlength=int(np.prod(shape))).astype(float).reshape(shape)
    return _agreement(tables, values, len(first), _kappa, seed=seed)


def krippendorff_alpha(
    judged: Sequence[Sequence[str]], episodes: Sequence[str], *, seed: int = 0
) -> Agreement:
    """Krippendorff's alpha of nominal judgements, any number of them for each fact.

    From the matrix of coincidences (Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability", D); a fact that one person judged says nothing.

    Args:
        judged: Of each fact all that was said of it.
        episodes: The episode of each fact.
        seed: Of the draws of episodes.

    Example:
        >>> jon, han = "aabbdcccedda", "babbbccceddd"
        >>> units = [list(pair) for pair in zip(jon, han)]
        >>> round(krippendorff_alpha(units, [str(n) for n in range(12)]).value, 3)
        0.692
    """
    kept = [(said, one) for said, one in zip(judged, episodes, strict=True) if len(said) > 1]
    values = sorted({value for said, _ in kept for value in said})
    place = {value: k for k, value in enumerate(values)}
    known = {one: k for k, one in enumerate(dict.fromkeys(one for _, one in kept))}
    tables = np.zeros((len(known), len(values), len(values)))
    for said, one in kept:
        counts = np.bincount([place[value] for value in said], minlength=len(values))
        pairs = np.outer(counts, counts) - np.diag(counts)
        tables[known[one]] += pairs / (len(said) - 1)
    return _agreement(tables, values, len(kept), _alpha, seed=seed)


def _kappa(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, k, k) tables of pairs to (N,) kappas; NaN where chance alone agrees always."""
    total = tables.sum((1, 2))
    same = np.trace(tables, axis1=1, axis2=2) / total
    chance = (tables.sum(1) * tables.sum(2)).sum(1) / total**2
    return np.where(chance < 1, (same - chance) / (1 - chance), np.nan)


def _alpha(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, k, k) matrices of coincidences to (N,) alphas; NaN where there is one value only."""
    each = tables.sum(2)
    total = each.sum(1)
    seen = total - np.trace(tables, axis1=1, axis2=2)
    expected = total**2 - (each**2).sum(1)
    return np.where(expected > 0, 1 - (total - 1) * seen / expected, np.nan)


def _agreement(
    tables: NDArray[np.float64],
    values: list[str],
    facts: int,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    seed: int,
) -> Agreement:
    clusters = len(tables)
    if not facts:
        return Agreement(None, None, None, None, None, 0, 0)
    whole = tables.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(whole[None])[0])
        lower = upper = None
        if clusters > 1 and np.isfinite(value):
            random = np.random.default_rng(seed)
            flat = tables.reshape(clusters, -1)
            drawn: list[NDArray[np.float64]] = []
            for _ in range(0, _DRAWS, _AT_ONCE):
                times = random.multinomial(clusters, np.full(clusters, 1 / clusters), _AT_ONCE)
                drawn.append(statistic((times @ flat).reshape(-1, *whole.shape)))
            found = np.concatenate(drawn)
            found = found[np.isfinite(found)]
            if len(found):
                lower, upper = (float(end) for end in np.quantile(found, [0.025, 0.975]))
    total = whole.sum()
    said = (whole.sum(0) + whole.sum(1)) / (2 * total)
    prevalence = float(said[values.index("accept")]) if "accept" in values else 0.0
    return Agreement(
        value if np.isfinite(value) else None,
        lower,
        upper,
        float(np.trace(whole) / total),
        prevalence,
        facts,
        clusters,
    )
