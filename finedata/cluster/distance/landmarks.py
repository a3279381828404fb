"""Tasks too large for all pairs: a few landmarks are compared with all, and stand for the rest.

The landmarks are clustered exactly; every other episode joins the cluster of its nearest one.
Landmarks are chosen farthest first (source: Gonzalez 1985, within twice the best radius), which
reaches odd episodes and rare ways; the same comparisons that choose them are then used.
`landmark_error` says on a task that is small enough what all that costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from finedata.cluster.choose.select import represented
from finedata.cluster.distance.condensed import condensed_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class DistanceSource(Protocol):
    """Gives the distances of some episodes of a task to others."""

    def __call__(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], /
    ) -> NDArray[np.floating]:
        """(r, c) distances of the episodes `rows` to the episodes `columns`, by number."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Some episodes of a task and how far all are from them.

    Attributes:
        numbers: (m,) int64 numbers of the landmarks, ascending.
        distances: (m, n) distances of each landmark to each episode, 0 to itself.
    """

    numbers: NDArray[np.int64]
    distances: NDArray[np.floating]

    @property
    def condensed(self) -> NDArray[np.floating]:
        """(m (m - 1) / 2,) distances among the landmarks."""
        return condensed_of(self.distances[:, self.numbers])

    @property
    def radius(self) -> float:
        """The largest distance of an episode to its nearest landmark."""
        return float(self.distances.min(axis=0).max())


@dataclass(frozen=True, slots=True)
class LandmarkError:
    """How an answer by landmarks differs from the exact one.

    Attributes:
        adjusted_rand: Agreement of the labels: 1 if equal, about 0 if by chance.
        coverage: Mean distance of all episodes to their nearest representative, relative to the
            exact answer's, minus 1: 0.1 is ten per cent further away. NaN if that is 0.
    """

    adjusted_rand: float
    coverage: float


def choose_landmarks(
    count: int,
    wanted: int,
    distances: DistanceSource,
    *,
    rng: np.random.Generator,
    sample: int = 32,
) -> Landmarks:
    """Choose landmarks: the middle of a random sample, then always the farthest from all so far.

    Args:
        count: Episodes of the task, at least 1.
        wanted: Landmarks; there are fewer where the others equal one already chosen.
        distances: Asked for the sample among itself, then for one row at a time.
        rng: The source of chance; seed it by the task, so that tasks do not depend on each other.
        sample: Episodes in the sample.

    Returns:
        The landmarks.
    """
    every = np.arange(count)
    drawn = np.sort(rng.choice(count, size=min(sample, count), replace=False))
    middle = int(np.argmin(np.asarray(distances(drawn, drawn)).sum(axis=1)))
    numbers: list[int] = [int(drawn[middle])]
    rows: list[NDArray[np.floating]] = []
    nearest = np.full(count, np.inf)
    while True:
        row = np.array(distances(np.array(numbers[-1:]), every)[0])
        row[numbers[-1]] = 0
        rows.append(row)
        nearest = np.minimum(nearest, row)
        farthest = int(np.argmax(nearest))
        if len(numbers) >= wanted or nearest[farthest] == 0:
            break
        numbers.append(farthest)
    order = np.argsort(numbers)
    return Landmarks(np.array(numbers, np.int64)[order], np.stack(rows)[order])


def nearest_labels(landmarks: Landmarks, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give every episode the label of its nearest landmark.

    Args:
        landmarks: The landmarks.
        labels: (m,) of the landmarks, 1, 2, ... Their numbers are kept, so cluster 1 is that of
            the first landmark, which need not be the first episode's.

    Returns:
        (n,) labels; of equally near landmarks the first counts.
    """
    found = labels[np.argmin(landmarks.distances, axis=0)]
    # Equal episodes: a landmark is at distance 0 from another one's twin.
    found[landmarks.numbers] = labels
    return found


def adjusted_rand(first: ArrayLike, second: ArrayLike) -> float:
    """Agreement of two clusterings of the same episodes, corrected for chance.

    Source: Hubert and Arabie 1985. 1 for equal ones, also where both have one cluster.
    """
    _, a = np.unique(np.asarray(first), return_inverse=True)
    _, b = np.unique(np.asarray(second), return_inverse=True)
    columns = int(b.max(initial=0)) + 1
    table = np.bincount(a * columns + b)
    pairs = [
        float((n * (n - 1) / 2).sum())
        for n in (table.astype(np.float64), np.bincount(a), np.bincount(b))
    ]
    every = len(a) * (len(a) - 1) / 2
    expected = pairs[1] * pairs[2] / every if every else 0.0
    most = (pairs[1] + pairs[2]) / 2
    return 1.0 if most == expected else (pairs[0] - expected) / (most - expected)


def landmark_error(
    square: NDArray[np.floating],
    *,
    exact_labels: ArrayLike,
    labels: ArrayLike,
    exact_chosen: ArrayLike,
    chosen: ArrayLike,
) -> LandmarkError:
    """Measure an answer by landmarks against the exact one of the same task.

    Args:
        square: (n, n) all distances of the task.
        exact_labels: (n,) clusters from all pairs.
        labels: (n,) clusters by landmarks.
        exact_chosen: Representatives chosen with all pairs.
        chosen: As many, chosen among landmarks.
    """
    means = [
        float(represented(square[np.asarray(one, np.int64)]).distance.mean())
        for one in (exact_chosen, chosen)
    ]
    coverage = means[1] / means[0] - 1 if means[0] > 0 else float("nan")
    return LandmarkError(adjusted_rand(exact_labels, labels), coverage)
