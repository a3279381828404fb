"""Clusters of clusters: a task is split, and each of its clusters again, while a gap is seen.

Every leaf has a key: "1.2.1" is the first cluster of the second of the first. Source: the
recursive mode of FineVLA's released clustering.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import numpy as np

from finedata.cluster.distance.condensed import count_of, sub_condensed
from finedata.cluster.group.auto_k import auto_k
from finedata.cluster.group.linkage import flat_labels, in_order_of_first, linkage_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.cluster.group.linkage import Method


@dataclass(frozen=True, slots=True, eq=False)
class RecursiveClusters:
    """The leaves of the splits.

    Attributes:
        labels: (n,) 1, 2, ... in the order of first episodes.
        keys: The key of label 1, of label 2, ...; "1" where nothing was split.
    """

    labels: NDArray[np.int64]
    keys: tuple[str, ...]


def recursive_clusters(
    condensed: NDArray[np.floating],
    *,
    method: Method = "average",
    max_k: int = 10,
    max_depth: int = 3,
    min_cluster_size: int = 3,
    min_gap: float = 0.3,
    max_leaves: int = 20,
) -> RecursiveClusters:
    """Split by `auto_k`, largest cluster first, until a reason to stop holds everywhere.

    A cluster stays whole when it has fewer than `min_cluster_size` episodes, was made by
    `max_depth` splits, shows no gap of `min_gap`, or when splitting it would give more than
    `max_leaves` leaves: then it is split into as many as are left.

    Args:
        condensed: (n (n - 1) / 2,) distances.
        method: See `linkage_of`.
        max_k: Most ways in one split.
        max_depth: Most splits above a leaf.
        min_cluster_size: Smallest cluster that is split.
        min_gap: Smallest gap that is a reason to split; FineVLA asks it below the first split
            only, and so always splits once.
        max_leaves: Most leaves in all.

    Returns:
        Leaves; the key of a child is its parent's, a dot, and its number in the parent. The
        clusters of the first split have the keys "1", "2", ...
    """
    count = count_of(condensed)
    leaves: list[tuple[str, NDArray[np.int64]]] = []
    waiting: list[tuple[int, int, str, int, NDArray[np.int64]]] = []
    heappush(waiting, (-count, 0, "", 0, np.arange(count)))
    while waiting:
        _, _, key, depth, members = heappop(waiting)
        room = max_leaves - len(leaves) - len(waiting)
        labels = np.ones(len(members), np.int64)
        if len(members) >= max(min_cluster_size, 2) and depth < max_depth and room > 1:
            merges = linkage_of(sub_condensed(condensed, members), method=method)
            k = min(auto_k(merges, max_k=max_k, min_gap=min_gap).k, room)
            labels = flat_labels(merges, k)
        if labels.max() == 1:
            leaves.append((key or "1", members))
            continue
        for label in range(1, int(labels.max()) + 1):
            child = members[labels == label]
            name = f"{key}.{label}" if key else f"{label}"
            heappush(waiting, (-len(child), int(child[0]), name, depth + 1, child))
    raw = np.empty(count, np.int64)
    for number, (_, members) in enumerate(leaves):
        raw[members] = number
    labels = in_order_of_first(raw)
    by_label = sorted(leaves, key=lambda leaf: int(labels[leaf[1][0]]))
    return RecursiveClusters(labels, tuple(key for key, _ in by_label))
