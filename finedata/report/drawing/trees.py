"""Which merges of a task's hierarchy are drawn: the last ones, where there are many.

The groups below them stand as leaves with their size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finedata.report.drawing.clusters import Tree
from finedata.report.drawing.svg import TIMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

LEAVES = 31


def tree_of(
    linkage: NDArray[np.float64],
    groups: NDArray[np.int64],
    badges: Sequence[str],
    *,
    flat_clusters: int | None,
    most_leaves: int = LEAVES,
) -> Tree:
    """The top of a hierarchy, ready to draw.

    Args:
        linkage: (n - 1, 4) as SciPy's: left, right, height, size.
        groups: (n,) number of each episode's cluster.
        badges: n numbers of representatives, empty for the others; a leaf that is one episode is
            labelled with it, a leaf that is a group with its size.
        flat_clusters: k where the clusters are this tree cut at one height; `None` where not.
        most_leaves: Leaves to draw at most.
    """
    n = len(linkage) + 1
    first = max(n - most_leaves, 0)  # merges below this one are not drawn
    members: dict[int, list[int]] = {i: [i] for i in range(n)}
    for k in range(first):
        left, right = int(linkage[k, 0]), int(linkage[k, 1])
        members[n + k] = members.pop(left) + members.pop(right)
    order = _leaf_order(linkage, set(members))
    number = {node: i for i, node in enumerate(order)}
    leaves = tuple(_leaf(members[node], groups, badges) for node in order)
    merges: list[tuple[int, int, float]] = []
    for k in range(first, n - 1):
        left, right = int(linkage[k, 0]), int(linkage[k, 1])
        number[n + k] = len(order) + len(merges)
        merges.append((number[left], number[right], float(linkage[k, 2])))
    cut = None
    if flat_clusters is not None and 1 < flat_clusters < n:
        cut = float(linkage[n - flat_clusters, 2] + linkage[n - flat_clusters - 1, 2]) / 2
    return Tree(leaves=leaves, merges=tuple(merges), cut=cut)


def _leaf(
    members: list[int], groups: NDArray[np.int64], badges: Sequence[str]
) -> tuple[int, int, str]:
    found = {int(groups[i]) for i in members}
    group = found.pop() if len(found) == 1 else -1
    label = badges[members[0]] if len(members) == 1 else str(len(members))
    return len(members), group, label if len(members) == 1 else f"{TIMES}{label}"


def _leaf_order(linkage: NDArray[np.float64], leaves: set[int]) -> list[int]:
    """From left to right, the left branch of every merge first; by a stack: trees can be deep."""
    n = len(linkage) + 1
    order: list[int] = []
    stack = [2 * n - 2]
    while stack:
        node = stack.pop()
        if node in leaves:
            order.append(node)
        else:
            stack += [int(linkage[node - n, 1]), int(linkage[node - n, 0])]
    return order
