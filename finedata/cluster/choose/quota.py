"""A number of representatives for each cluster, instead of a global budget.

Quotas by size are for one fixed number: the largest remainder is not nested (with one
representative more, a cluster can get one less), so it cannot rank; `select.rank_tasks` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finedata.cluster.choose.select import SMALL_TASK

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from finedata.cluster.choose.select import TaskOrder


def first_of_each(
    order: TaskOrder, labels: NDArray[np.int64], quota: int | NDArray[np.int64] = 1
) -> NDArray[np.bool_]:
    """Which of a task's order are chosen when each cluster has a quota.

    Args:
        order: The task's order.
        labels: (n,) clusters 1, 2, ...
        quota: One number for all clusters, or (k,) of label 1, 2, ...

    Returns:
        (m,) bool: the first `quota` of each cluster. A task of one or two is kept whole.
    """
    if order.size <= SMALL_TASK:
        return np.ones(len(order.member), np.bool_)
    own = labels[order.member]
    allowed = np.broadcast_to(np.asarray(quota, np.int64), (int(labels.max()),))[own - 1]
    by_label = np.argsort(own, kind="stable")
    starts = np.searchsorted(own[by_label], own[by_label])
    place = np.empty(len(own), np.int64)
    place[by_label] = np.arange(len(own)) - starts
    return place < allowed


def size_quotas(sizes: ArrayLike, budget: int) -> NDArray[np.int64]:
    """Share a fixed budget among clusters: one each, in order, then the rest by size.

    The rest is shared in proportion, whole numbers by the largest remainder.

    Args:
        sizes: (k,) episodes of each cluster, in the order in which they get their first.
        budget: Representatives in all; with fewer than k, the first ones get one.

    Returns:
        (k,) int64, none larger than its size; their sum is the budget, or all episodes.

    Example:
        >>> size_quotas([6, 3, 1], 5)
        array([2, 2, 1])
    """
    size = np.asarray(sizes, np.int64)
    quota = (np.arange(len(size)) < budget).astype(np.int64)
    while (left := min(budget, int(size.sum())) - int(quota.sum())) > 0:
        # What a cluster cannot take goes to the others in the next round.
        open_ = quota < size
        exact = np.where(open_, left * size / size[open_].sum(), 0.0)
        given = np.minimum(np.floor(exact).astype(np.int64), size - quota)
        rest = left - int(given.sum())
        can = quota + given < size
        by_remainder = np.lexsort((np.arange(len(size)), -np.where(can, exact - given, -1.0)))
        given[by_remainder[: min(rest, int(can.sum()))]] += 1
        quota += given
    return quota


def random_members(
    labels: NDArray[np.int64], *, rng: np.random.Generator, per_cluster: int = 1
) -> NDArray[np.int64]:
    """Draw members of each cluster, as FineVLA's released code does: role `random`.

    Args:
        labels: (n,) clusters 1, 2, ...
        rng: The source of chance; seed it by the task, so that tasks do not depend on each other.
        per_cluster: How many of each.

    Returns:
        Numbers of episodes, cluster by cluster.
    """
    shuffled = rng.permutation(len(labels))
    own = labels[shuffled]
    by_label = np.argsort(own, kind="stable")
    place = np.arange(len(own)) - np.searchsorted(own[by_label], own[by_label])
    return shuffled[by_label[place < per_cluster]]
