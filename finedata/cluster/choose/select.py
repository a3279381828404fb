"""Which episodes stand for the others, and in which order.

The order is nested: the first N of it are the choice for a budget of N, whatever N. Every cluster
of every task first gets its leader: the episode that is nearest to the others of its cluster,
weighed with its quality. Leaders are ranked by how much they lower the total distance of all
episodes to their nearest representative, times their quality; then all the others by the same
(greedy facility location; source of its guarantee of 1 - 1/e: Nemhauser, Wolsey, Fisher 1978). So
what comes after a cluster's leader is spread over what is not covered yet, and large and wide
clusters get more.

An episode whose task has no representative counts the task's `uncovered_distances`, which is
large: so large tasks come first, and small ones late. Tasks do not lower each other's distances,
so each is ordered by itself (`task_order`) and the orders are then merged (`rank_tasks`): only
one task's distances are needed at a time. Within a task, decreases never grow along the order, so
merging gives what one greedy choice over all tasks would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from finedata.cluster.choose.greedy import greedy
from finedata.cluster.group.medoid import medoids
from finedata.errors import FeatureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

Role: TypeAlias = Literal["medoid", "quota", "kept_small_task", "random"]
# Tasks of so few episodes keep them all.
SMALL_TASK = 2


@dataclass(frozen=True, slots=True, eq=False)
class TaskOrder:
    """The episodes of one task in the order in which they are chosen.

    Attributes:
        member: (m,) int64 numbers of the episodes.
        leader: (m,) bool: the first of its cluster; all of a task of one or two episodes.
        weight: (m,) float64 in (0, 1]: what quality makes of it.
        total: (m,) float64 sum, over all episodes of the task, of the distance to the nearest
            chosen one, after each choice.
        role: (m,) why it was chosen: `medoid` if it is the middle of its cluster, else `quota`;
            `kept_small_task` in a task of one or two.
        size: Episodes of the task.
        diameter: Its largest distance.
    """

    member: NDArray[np.int64]
    leader: NDArray[np.bool_]
    weight: NDArray[np.float64]
    total: NDArray[np.float64]
    role: list[Role]
    size: int
    diameter: float


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """All tasks' orders merged; rank is the position in these arrays.

    Attributes:
        task: (R,) int64 number of the task.
        position: (R,) int64 position in that task's order.
        score: (R,) float64, never growing: the share of all uncovered distance that the choice
            takes away, times its weight; 1 more for a leader.
    """

    task: NDArray[np.int64]
    position: NDArray[np.int64]
    score: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Represented:
    """Who stands for whom.

    Attributes:
        nearest: (n,) int64 for each episode, the position in `chosen` of its representative.
        distance: (n,) distance to it.
        represents: (r,) int64 episodes that each chosen one stands for, itself included.
        coverage_radius: (r,) float64 largest distance to one of them.
    """

    nearest: NDArray[np.int64]
    distance: NDArray[np.floating]
    represents: NDArray[np.int64]
    coverage_radius: NDArray[np.float64]


def task_order(
    distances: NDArray[np.floating],
    labels: NDArray[np.int64],
    *,
    quality: ArrayLike | None = None,
    candidates: ArrayLike | None = None,
    quality_weight: float = 0.3,
) -> TaskOrder:
    """Order a task's episodes for choice: leaders of the clusters first, then by what they add.

    A leader is the episode of its cluster with the largest
    `(1 - w) min_mean / mean + w quality`, mean being its mean distance in the cluster. A choice's
    weight is `1 - w + w quality`.

    Args:
        distances: (c, n) of each candidate to each episode of the task, 0 to itself.
        labels: (n,) clusters 1, 2, ...
        quality: (n,) in [0, 1]; 1 for all by default.
        candidates: (c,) numbers of the episodes that the rows are about, ascending; all by
            default. Others are never chosen.
        quality_weight: w in [0, 1); 0 to disregard quality.

    Returns:
        All candidates, in order.

    Raises:
        FeatureError: `quality_weight` or a quality is out of range.
    """
    count = len(labels)
    rows = np.arange(count) if candidates is None else np.asarray(candidates, np.int64)
    best = np.ones(count) if quality is None else np.asarray(quality, np.float64)
    if not 0 <= quality_weight < 1:
        raise FeatureError(
            place="quality_weight", found=f"{quality_weight}", wanted="a number in [0, 1)"
        )
    if not ((best >= 0) & (best <= 1)).all():
        raise FeatureError(place="quality", found="one out of range", wanted="all in [0, 1]")
    weight = 1 - quality_weight + quality_weight * best[rows]
    middle = medoids(distances, labels, candidates=candidates)
    leaders = _leaders(middle.mean_distance[rows], labels[rows], best[rows], quality_weight)
    small = count <= SMALL_TASK
    if small:
        leaders = np.arange(len(rows))
    first = np.full(count, np.inf)
    led, totals, nearest = greedy(distances, leaders, weight, first)
    others = np.setdiff1d(np.arange(len(rows)), leaders)
    rest, more, _ = greedy(distances, others, weight, nearest)
    chosen = np.concatenate([led, rest])
    roles: list[Role] = [
        "medoid" if one else "quota" for one in np.isin(rows[chosen], middle.medoid)
    ]
    return TaskOrder(
        member=rows[chosen],
        leader=np.arange(len(chosen)) < len(led),
        weight=weight[chosen],
        total=np.concatenate([totals, more]),
        role=["kept_small_task"] * len(chosen) if small else roles,
        size=count,
        diameter=float(distances.max(initial=0.0)),
    )


def uncovered_distances(orders: Sequence[TaskOrder]) -> NDArray[np.float64]:
    """What an episode counts while its task has no representative.

    The task's diameter, and at least the median diameter of the tasks with two or more episodes:
    a task of one episode has none, and one of equal episodes has 0, but both are worth covering.

    Args:
        orders: One for each task.

    Returns:
        (tasks,) float64.
    """
    diameters = np.array([order.diameter for order in orders], np.float64)
    known = diameters[[order.size > 1 for order in orders]] if len(orders) else diameters
    usual = float(np.median(known)) if len(known) else 1.0
    return np.maximum(diameters, usual if usual > 0 else 1.0)


def rank_tasks(orders: Sequence[TaskOrder], *, uncovered: NDArray[np.float64]) -> Ranking:
    """Merge the tasks' orders into one: leaders by weighted decrease, then the others.

    Args:
        orders: One for each task, tasks in the order of their ids: ties go to the first.
        uncovered: (tasks,) from `uncovered_distances`.

    Returns:
        The ranking of all candidates of all tasks.
    """
    if not orders:
        return Ranking(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    lengths = [len(order.member) for order in orders]
    task = np.repeat(np.arange(len(orders)), lengths)
    position = np.concatenate([np.arange(length) for length in lengths])
    value = np.concatenate([_values(order, uncovered[k]) for k, order in enumerate(orders)])
    leader = np.concatenate([order.leader for order in orders])
    whole = float(sum(order.size * uncovered[k] for k, order in enumerate(orders)))
    score = value / whole + leader
    order = np.lexsort((position, task, -score))
    return Ranking(task[order], position[order], score[order])


def decreases(order: TaskOrder, uncovered: float) -> NDArray[np.float64]:
    """How much each choice of a task's order lowers the total distance, (m,)."""
    before = np.concatenate([[order.size * uncovered], order.total[:-1]])
    return before - order.total


def _values(order: TaskOrder, uncovered: float) -> NDArray[np.float64]:
    """Weighted decreases; what the last bits of sums let grow along the order does not count."""
    value = np.maximum(order.weight * decreases(order, uncovered), 0.0)
    led = int(order.leader.sum())
    return np.concatenate([np.minimum.accumulate(value[:led]), np.minimum.accumulate(value[led:])])


def represented(distances: NDArray[np.floating]) -> Represented:
    """Find each episode's nearest representative.

    Args:
        distances: (r, n) of the chosen episodes, in the order of their rank, to all episodes of
            their task; ties go to the first.

    Returns:
        Who stands for whom.
    """
    nearest = np.argmin(distances, axis=0)
    distance = distances[nearest, np.arange(distances.shape[1])]
    radius = np.zeros(len(distances))
    np.maximum.at(radius, nearest, distance)
    return Represented(nearest, distance, np.bincount(nearest, minlength=len(distances)), radius)


def _leaders(
    mean: NDArray[np.float64],
    labels: NDArray[np.int64],
    quality: NDArray[np.float64],
    quality_weight: float,
) -> NDArray[np.int64]:
    """The row of each cluster's leader, by label."""
    least = np.full(int(labels.max(initial=0)) + 1, np.inf)
    np.minimum.at(least, labels, mean)
    closeness = np.divide(least[labels], mean, out=np.ones(len(mean)), where=mean > 0)
    score = (1 - quality_weight) * closeness + quality_weight * quality
    order = np.lexsort((np.arange(len(labels)), -score, labels))
    _, first = np.unique(labels[order], return_index=True)
    # By number, so that equal decreases go to the lower one.
    return np.sort(order[first])
