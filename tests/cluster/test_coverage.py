from __future__ import annotations

import time

import numpy as np
import pytest
from cluster.clouds import condensed, ways

from finedata.cluster.choose.coverage import (
    coverage_curve,
    longest_first,
    random_curve,
    ranking_curve,
    task_totals,
)
from finedata.cluster.choose.select import rank_tasks, task_order, uncovered_distances
from finedata.cluster.distance.condensed import square_of
from finedata.cluster.group.auto_k import auto_k
from finedata.cluster.group.linkage import flat_labels, linkage_of


def corpus(seed: int, tasks: int, largest: int):
    """Tasks of few and many episodes, with ways and odd ones, and random qualities."""
    rng = np.random.default_rng(seed)
    matrices, orders = [], []
    for size in np.minimum(rng.lognormal(1.6, 1.3, tasks).astype(int) + 1, largest):
        parts = min(int(rng.integers(1, 5)), size)
        shares = np.diff([0, *sorted(rng.choice(np.arange(1, size), parts - 1, False)), size])
        points, _ = ways(rng, shares.tolist(), apart=float(rng.uniform(0.5, 3)), width=5)
        matrix = condensed(points)
        merges = linkage_of(matrix)
        labels = flat_labels(merges, auto_k(merges).k)
        quality = rng.uniform(0, 1, size)
        matrices.append(matrix)
        orders.append(task_order(square_of(matrix), labels, quality=quality))
    return matrices, orders


def curves(matrices, orders):
    uncovered = uncovered_distances(orders)
    ranking = rank_tasks(orders, uncovered=uncovered)
    member = [orders[t].member[p] for t, p in zip(ranking.task, ranking.position, strict=True)]
    ours = coverage_curve(matrices, ranking.task, member, uncovered=uncovered)
    known = ranking_curve(orders, ranking, uncovered=uncovered)
    np.testing.assert_allclose(known.mean_distance, ours.mean_distance, atol=1e-5)
    return ours, random_curve(matrices, uncovered=uncovered, seeds=range(20))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_never_worse_than_random_and_better_from_5_to_80_per_cent(seed):
    ours, random = curves(*corpus(seed, 60, 150))
    assert (ours.budget == random.budget).all()
    assert (ours.mean_distance <= random.mean_distance + 1e-9).all()
    episodes = ours.budget[-1]
    middle = slice(int(0.05 * episodes), int(0.8 * episodes) + 1)
    assert (ours.mean_distance[middle] < 0.97 * random.mean_distance[middle]).all()


def test_one_large_task():
    rng = np.random.default_rng(7)
    points, _ = ways(rng, [150, 40, 110], apart=2.0, odd=3)
    matrix = condensed(points)
    merges = linkage_of(matrix)
    order = task_order(square_of(matrix), flat_labels(merges, auto_k(merges).k))
    ours, random = curves([matrix], [order])
    assert (ours.mean_distance <= random.mean_distance + 1e-9).all()
    assert (ours.mean_distance[15:243] < random.mean_distance[15:243]).all()


def test_by_hand():
    first = np.array([1.0, 4.0, 3.0])  # 0-1, 0-2, 1-2
    curve = coverage_curve([first, np.zeros(0)], [0, 1, 0, 0], [1, 0, 2, 0], uncovered=[5.0, 2.0])
    assert curve.budget.tolist() == [0, 1, 2, 3, 4]
    expected = [3 * 5 + 2, 1 + 3 + 2, 1 + 3, 1, 0]
    np.testing.assert_allclose(curve.mean_distance, np.array(expected) / 4)
    some = coverage_curve([first, np.zeros(0)], [0], [2], uncovered=[5.0, 2.0])
    np.testing.assert_allclose(some.mean_distance, np.array([17, 4 + 3 + 2]) / 4)


def test_totals():
    square = square_of(condensed(np.random.default_rng(0).normal(size=(20, 3))))
    member = np.random.default_rng(1).permutation(20)
    expected = [square[member[: k + 1]].min(axis=0).sum() for k in range(20)]
    np.testing.assert_allclose(task_totals(square, member), expected, rtol=1e-5)


def test_random_curve_is_seeded():
    matrices, orders = corpus(3, 8, 20)
    uncovered = uncovered_distances(orders)
    both = [random_curve(matrices, uncovered=uncovered, seeds=[k, 5]) for k in (4, 4, 6)]
    np.testing.assert_array_equal(both[0].mean_distance, both[1].mean_distance)
    assert (both[0].mean_distance != both[2].mean_distance).any()
    single = [random_curve(matrices, uncovered=uncovered, seeds=[k]) for k in (4, 5)]
    mean = np.mean([one.mean_distance for one in single], axis=0)
    np.testing.assert_allclose(both[0].mean_distance, mean)
    assert (np.diff(both[0].mean_distance) <= 1e-12).all()
    assert both[0].mean_distance[-1] == 0


def test_longest_first():
    task, member = longest_first([[5, 9], [7, 9, 1]])
    assert list(zip(task.tolist(), member.tolist(), strict=True)) == [
        (0, 1), (1, 1), (1, 0), (0, 0), (1, 2),
    ]  # fmt: skip


def test_no_task():
    assert coverage_curve([], [], [], uncovered=[]).mean_distance.tolist() == [0]
    assert random_curve([], uncovered=[], seeds=[0]).mean_distance.tolist() == [0]
    assert longest_first([])[0].shape == (0,)


def test_fast_enough():
    rng = np.random.default_rng(0)
    matrices = [condensed(rng.normal(size=(84, 4))) for _ in range(12)]
    begin = time.process_time()
    random_curve(matrices, uncovered=np.full(12, 9.0), seeds=range(20))
    assert time.process_time() - begin < 3
