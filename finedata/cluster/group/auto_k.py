"""How many clusters a task has, and what speaks for that number.

Source: FineVLA's released clustering takes the k with the largest relative gap of merge heights,
`(h(k) - h(k + 1)) / h(k + 1)`, h(k) being the height of the merge that leaves k - 1 clusters
(`released_k`). `auto_k` keeps the idea and mends four faults:

- one cluster can be the answer, where no gap is large enough;
- the largest k is tested too: the height below it is there;
- heights of 0 (equal episodes) do not divide by zero;
- a lone odd episode is not taken for a way of doing the task. Average linkage merges it last, at
  a great height, and the released rule then answers 2: the odd one and all the others. Here only
  a merge of two clusters that both hold a share of the episodes counts as a boundary between
  ways; odd episodes that are further away than that boundary stay clusters of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Heights below this share of the highest one are noise: equal episodes give no endless gaps.
_FLOOR = 0.01
# Most merges join an episode to its like: this quantile of their heights is what is usual within
# a way. Chosen on drawn clouds of 1-5 ways, with and without odd episodes (tests/cluster).
_USUAL = 0.75


@dataclass(frozen=True, slots=True)
class AutoK:
    """A number of clusters and what speaks for it.

    Attributes:
        k: Clusters, odd episodes of their own among them.
        gap: The relative gap at k; 0 where no boundary was found.
        runner_up: The largest gap but one; the choice is sure where it is far below `gap`.
    """

    k: int
    gap: float
    runner_up: float


def auto_k(
    merges: NDArray[np.float64], *, max_k: int = 10, min_gap: float = 0.3, min_share: float = 0.05
) -> AutoK:
    """Find the number of clusters by the largest relative gap between ways.

    The boundaries are the merges of two clusters that both have at least
    `max(2, min_share n)` episodes, the highest `max_k - 1` of them. A boundary's gap is its
    height above the next one (or above the usual height within a way, or 1 % of the highest
    merge, if one of these is larger), relative to that.

    Args:
        merges: (n - 1, 4) from `linkage_of`.
        max_k: The most ways; odd episodes further away come on top.
        min_gap: One cluster where every gap is smaller.
        min_share: Smallest share of the episodes that makes a way.

    Returns:
        k between 1 and n.
    """
    count = len(merges) + 1
    heights = merges[:, 2]
    sizes = np.concatenate([np.ones(count), merges[:, 3]])
    smaller = sizes[merges[:, :2].astype(np.int64)].min(axis=1)
    least = max(2, ceil(min_share * count))
    rows = np.flatnonzero(smaller >= least)[::-1]
    if not len(rows):
        return AutoK(1, 0.0, 0.0)
    below = np.append(heights[rows[1:]], 0.0)[: max_k - 1]
    rows = rows[: max_k - 1]
    usual = np.array([np.quantile(heights[:row], _USUAL) for row in rows.tolist()])
    base = np.maximum(np.maximum(below, usual), _FLOOR * heights[-1])
    gaps = np.divide(heights[rows] - base, base, out=np.zeros(len(rows)), where=base > 0)
    # argsort is stable: of equal gaps the one with fewer clusters wins.
    order = np.argsort(-gaps, kind="stable")
    runner_up = float(max(gaps[order[1]], 0.0)) if len(order) > 1 else 0.0
    gap = float(max(gaps[order[0]], 0.0)) if len(order) else 0.0
    if not len(order) or gap < min_gap or gap == 0:
        return AutoK(1, gap, runner_up)
    return AutoK(count - int(rows[order[0]]), gap, runner_up)


def released_k(merges: NDArray[np.float64], *, max_k: int = 10) -> int:
    """Choose k as FineVLA's released code does: 2 to max_k - 1, never 1.

    Where h(k + 1) is 0, which the released code does not guard, the gap is endless.

    Args:
        merges: (n - 1, 4) from `linkage_of`.
        max_k: As in the released settings.

    Returns:
        k; for fewer than three episodes, or where no k can be tested, all the clusters there are
        up to 2.
    """
    count = len(merges) + 1
    tested = np.arange(2, min(max_k, count))
    if not len(tested):
        return min(count, 2)
    upper, lower = merges[count - tested, 2], merges[count - tested - 1, 2]
    gaps = np.full(len(tested), np.inf)
    np.divide(upper - lower, lower, out=gaps, where=lower > 0)
    gaps[upper == lower] = 0.0
    return int(tested[np.argmax(gaps)])


def proportional_k(count: int, *, episodes_per_cluster: int = 10) -> int:
    """A share of the episodes: `max(2, n // 10)`, as FineVLA's command for RoboCOIN has it."""
    return min(count, max(2, count // episodes_per_cluster))
