"""How well a budget of chosen episodes covers all others, as a curve over budgets.

Coverage of a budget N is the mean, over all episodes, of the distance to the nearest of the first
N chosen episodes of the same task; lower is better. An episode whose task has none counts what
`select.uncovered_distances` says. Random choice and longest-first are the baselines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.cluster.choose.select import decreases
from finedata.cluster.distance.condensed import count_of, square_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from finedata.cluster.choose.select import Ranking, TaskOrder

__all__ = [
    "Coverage",
    "coverage_curve",
    "longest_first",
    "random_curve",
    "ranking_curve",
    "task_totals",
]


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """A coverage curve.

    Attributes:
        budget: (B + 1,) int64 0, 1, ... B chosen episodes.
        mean_distance: (B + 1,) float64 mean distance to the nearest of them.
    """

    budget: NDArray[np.int64]
    mean_distance: NDArray[np.float64]


def task_totals(square: NDArray[np.floating], member: ArrayLike) -> NDArray[np.float64]:
    """Total distance of a task's episodes to the nearest chosen one, after each choice.

    Args:
        square: (n, n) distances of the task, or (c, n) of candidates.
        member: (m,) rows in the order in which they are chosen.

    Returns:
        (m,) float64, never growing.
    """
    chosen = square[np.asarray(member, np.int64)]
    return np.minimum.accumulate(chosen, axis=0).sum(axis=1, dtype=np.float64)


def coverage_curve(
    distances: Sequence[NDArray[np.floating]],
    task: ArrayLike,
    member: ArrayLike,
    *,
    uncovered: ArrayLike,
) -> Coverage:
    """The curve of any order of choice over many tasks.

    Args:
        distances: Each task's condensed matrix; an empty one is a task of one episode. They are
            asked for one at a time, so the sequence may read them from disk.
        task: (B,) the task of each choice.
        member: (B,) its number in the task.
        uncovered: (tasks,) what an episode of a task without choice counts.

    Returns:
        The curve from no choice to all B.
    """
    return _curves(distances, [(np.asarray(task), np.asarray(member))], uncovered)[0]


def random_curve(
    distances: Sequence[NDArray[np.floating]], *, uncovered: ArrayLike, seeds: Sequence[int]
) -> Coverage:
    """The mean curve of random choice over all episodes of all tasks.

    Args:
        distances: See `coverage_curve`.
        uncovered: See `coverage_curve`.
        seeds: One order is drawn for each.

    Returns:
        The mean of their curves.
    """
    sizes = [count_of(matrix) for matrix in distances]
    task = np.repeat(np.arange(len(sizes)), sizes)
    member = np.concatenate([np.zeros(0, np.int64), *(np.arange(size) for size in sizes)])
    orders: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for seed in seeds:
        drawn = np.random.Generator(np.random.PCG64(seed)).permutation(len(task))
        orders.append((task[drawn], member[drawn]))
    curves = _curves(distances, orders, uncovered)
    return Coverage(curves[0].budget, np.mean([curve.mean_distance for curve in curves], axis=0))


def ranking_curve(
    orders: Sequence[TaskOrder], ranking: Ranking, *, uncovered: NDArray[np.float64]
) -> Coverage:
    """The curve of a ranking, from what its orders know already: no distance is needed.

    Args:
        orders: The tasks' orders, of one episode or more in all.
        ranking: From `rank_tasks`.
        uncovered: As given to `rank_tasks`.
    """
    offsets = np.cumsum([0, *(len(order.member) for order in orders)])
    lowered = np.concatenate([decreases(order, uncovered[k]) for k, order in enumerate(orders)])
    sizes = np.array([order.size for order in orders])
    return _curve(lowered[offsets[ranking.task] + ranking.position], sizes, uncovered)


def longest_first(
    lengths: Sequence[ArrayLike],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order of choice by length alone, longest first; a baseline.

    Args:
        lengths: For each task, (n,) frames of its episodes.

    Returns:
        task and member of each choice, as `coverage_curve` takes them.
    """
    frames = [np.asarray(one, np.int64) for one in lengths]
    task = np.repeat(np.arange(len(frames)), [len(one) for one in frames])
    member = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(one)) for one in frames)])
    order = np.argsort(-np.concatenate([np.zeros(0, np.int64), *frames]), kind="stable")
    return task[order], member[order]


def _curves(
    distances: Sequence[NDArray[np.floating]],
    orders: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    uncovered: ArrayLike,
) -> list[Coverage]:
    """Several orders at once: each task's square is made one time."""
    start = np.asarray(uncovered, np.float64)
    lowered = [np.zeros(len(task)) for task, _ in orders]
    by_task = [np.argsort(task, kind="stable") for task, _ in orders]
    bounds = [
        np.searchsorted(task[sorted_], np.arange(len(distances) + 1))
        for (task, _), sorted_ in zip(orders, by_task, strict=True)
    ]
    sizes = np.zeros(len(distances), np.int64)
    for number, matrix in enumerate(distances):
        square = square_of(matrix)
        sizes[number] = len(square)
        for k, (_, member) in enumerate(orders):
            places = by_task[k][bounds[k][number] : bounds[k][number + 1]]
            if len(places):
                totals = task_totals(square, member[places])
                lowered[k][places] = -np.diff(totals, prepend=len(square) * start[number])
    return [_curve(one, sizes, start) for one in lowered]


def _curve(
    lowered: NDArray[np.float64], sizes: NDArray[np.int64], uncovered: NDArray[np.float64]
) -> Coverage:
    total = float(sizes @ uncovered) - np.concatenate([[0.0], np.cumsum(lowered)])
    # Sums leave a rest of the last bits where nothing is left.
    mean = np.maximum(total, 0.0) / max(int(sizes.sum()), 1)
    return Coverage(np.arange(len(total)), mean)
