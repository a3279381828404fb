"""The hierarchy of a task's episodes, and the flat clusters that a cut through it leaves.

Exactly k clusters are cut, also where merges have equal heights (SciPy's `maxclust` gives fewer
there). Fastcluster does the work and SciPy, whose answer is the same but for ties, where it is
absent.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np

from finedata.cluster.distance.condensed import count_of
from finedata.errors import FeatureError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Method", "flat_labels", "in_order_of_first", "linkage_of"]

Method: TypeAlias = Literal["average", "complete", "single"]


def linkage_of(
    condensed: NDArray[np.floating], *, method: Method = "average"
) -> NDArray[np.float64]:
    """Merge the two nearest clusters until one is left.

    Args:
        condensed: (n (n - 1) / 2,) distances, finite and not negative; empty for one episode.
        method: What the distance of two clusters is: mean, largest or smallest over their pairs.

    Returns:
        (n - 1, 4) float64 as SciPy's `linkage`: the two clusters (n + i is what row i makes),
        their distance, never smaller than that of the row before, and the size.

    Raises:
        FeatureError: A distance is not finite or negative, or their number is no triangle.
    """
    if count_of(condensed) == 1:
        return np.zeros((0, 4))
    if not (np.isfinite(condensed).all() and condensed.min() >= 0):
        raise FeatureError(
            place="distances", found="one that is not finite or negative", wanted="finite ones"
        )
    # A copy: fastcluster writes into what it is given where it may.
    values = np.array(condensed, np.float64)
    try:
        library = import_module("fastcluster")
    except ImportError:
        library = import_module("scipy.cluster.hierarchy")
    return np.asarray(cast("Any", library).linkage(values, method=method), np.float64)


def flat_labels(merges: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Undo the last merges until there are k clusters.

    Unlike SciPy's `fcluster(criterion="maxclust")`, which gives fewer clusters where merges have
    equal heights, there are exactly min(k, n).

    Args:
        merges: (n - 1, 4) from `linkage_of`.
        k: Clusters wanted, at least 1.

    Returns:
        (n,) labels 1, 2, ... in the order of the clusters' first episodes.

    Raises:
        FeatureError: k is not positive.

    Example:
        >>> flat_labels(linkage_of(np.array([1.0, 9.0, 8.0])), 2)
        array([1, 1, 2])
    """
    if k < 1:
        raise FeatureError(place="k", found=f"{k}", wanted="1 or more")
    count = len(merges) + 1
    done = max(count - k, 0)
    # What a merge makes is merged only later: from the last one back, its label is settled.
    pairs = merges[:done, :2].astype(np.int64).tolist()
    labels = list(range(count + done))
    for made in range(count + done - 1, count - 1, -1):
        first, second = pairs[made - count]
        labels[first] = labels[second] = labels[made]
    return in_order_of_first(labels[:count])


def in_order_of_first(labels: ArrayLike) -> NDArray[np.int64]:
    """Number clusters 1, 2, ... by their first episodes.

    Args:
        labels: (n,) any numbers, equal where two episodes share a cluster.
    """
    _, first, inverse = np.unique(np.asarray(labels), return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(1, len(first) + 1)
    return place[inverse]
