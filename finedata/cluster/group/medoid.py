"""Which episode is the middle of its cluster: the one nearest to its others, on ties the first.

Candidates are all episodes where all pairs were compared, and the landmarks in a task that has
some: only they have a distance to every episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Medoids:
    """Middles of a task's clusters.

    Attributes:
        mean_distance: (n,) float64 mean distance to the other episodes of its cluster, 0 for one
            alone; with landmarks, for those that are none, to the landmarks of its cluster.
        medoid: (k,) int64 number of the candidate with the smallest mean distance in label 1, in
            label 2, ...; of equal ones the first.
        distance_to_medoid: (n,) float64 distance to the medoid of its cluster.
    """

    mean_distance: NDArray[np.float64]
    medoid: NDArray[np.int64]
    distance_to_medoid: NDArray[np.float64]


def medoids(
    distances: NDArray[np.floating],
    labels: NDArray[np.int64],
    *,
    candidates: ArrayLike | None = None,
) -> Medoids:
    """Find the middle of each cluster.

    Args:
        distances: (c, n) distances of each candidate to each episode, 0 to itself.
        labels: (n,) 1, 2, ... none of them empty, each with a candidate.
        candidates: (c,) numbers of the episodes that the rows are about, ascending; all by
            default.

    Returns:
        Means and middles.
    """
    count = len(labels)
    rows = np.arange(count) if candidates is None else np.asarray(candidates, np.int64)
    mean = np.zeros(count)
    medoid = np.zeros(int(labels.max(initial=0)), np.int64)
    to_medoid = np.zeros(count)
    for label in range(1, len(medoid) + 1):
        members = np.flatnonzero(labels == label)
        own = np.flatnonzero(labels[rows] == label)
        block = distances[np.ix_(own, members)].astype(np.float64)
        if candidates is not None:
            mean[members] = block.mean(axis=0)
        # A candidate has distances to all members, and is none of its own others.
        mean[rows[own]] = block.sum(axis=1) / max(len(members) - 1, 1)
        best = int(np.argmin(mean[rows[own]]))
        medoid[label - 1] = rows[own[best]]
        to_medoid[members] = block[best]
    return Medoids(mean, medoid, to_medoid)
