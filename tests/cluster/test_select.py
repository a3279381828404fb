from __future__ import annotations

import numpy as np
import pytest
from cluster.clouds import cloud, condensed, ways
from hypothesis import given
from hypothesis import strategies as st

from finedata.cluster.choose.select import (
    decreases,
    rank_tasks,
    represented,
    task_order,
    uncovered_distances,
)
from finedata.cluster.distance.condensed import square_of
from finedata.cluster.group.linkage import flat_labels, in_order_of_first, linkage_of
from finedata.cluster.group.medoid import medoids
from finedata.errors import FeatureError


def order_of(seed, count, k=3, **options):
    matrix = condensed(cloud(seed, count))
    labels = flat_labels(linkage_of(matrix), k)
    return task_order(square_of(matrix), labels, **options), labels


@given(count=st.integers(1, 25), k=st.integers(1, 6), seed=st.integers(0, 999))
def test_leaders_first_and_everyone_once(count, k, seed):
    quality = np.random.default_rng(seed).uniform(0, 1, count)
    order, labels = order_of(seed, count, k, quality=quality)
    assert sorted(order.member) == list(range(count))
    led = order.member[order.leader]
    assert (np.diff(order.leader.astype(int)) <= 0).all()
    assert order.size == count
    if count <= 2:
        assert set(order.role) == {"kept_small_task"}
        assert order.leader.all()
    else:
        assert sorted(labels[led]) == list(range(1, labels.max() + 1))
        assert set(order.role) <= {"medoid", "quota"}
    assert order.total[-1] == 0
    lowered = decreases(order, 10.0) * order.weight
    for some in (order.leader, ~order.leader):
        assert (np.diff(lowered[some]) <= 1e-4).all()


@given(count=st.integers(3, 20), seed=st.integers(0, 999))
def test_permutation_of_episodes(count, seed):
    points = cloud(seed, count)
    turned = np.random.default_rng(seed).permutation(count)
    labels = flat_labels(linkage_of(condensed(points)), 3)
    quality = np.random.default_rng(seed).uniform(0, 1, count)
    plain = task_order(square_of(condensed(points)), labels, quality=quality)
    other = task_order(
        square_of(condensed(points[turned])),
        in_order_of_first(labels[turned]),
        quality=quality[turned],
    )
    positive = decreases(plain, 1.0)[1:] > 1e-4
    np.testing.assert_array_equal(turned[other.member][1:][positive], plain.member[1:][positive])


def test_medoid_first_without_quality():
    order, labels = order_of(3, 40, 4)
    middle = medoids(square_of(condensed(cloud(3, 40))), labels).medoid
    assert set(order.member[order.leader]) == set(middle)
    assert order.role == ["medoid"] * 4 + ["quota"] * 36


def test_quality_decides_between_equals_and_can_be_disregarded():
    square = 1 - np.eye(6)
    labels = np.array([1, 1, 1, 2, 2, 2])
    quality = np.array([0.2, 0.9, 0.5, 0.1, 0.3, 0.4])
    order = task_order(square, labels, quality=quality)
    assert sorted(order.member[:2]) == [1, 5]
    assert order.member[2:].tolist() == [2, 4, 0, 3]
    assert order.role[:2] == ["quota", "quota"]  # the medoids are 0 and 3
    plain = task_order(square, labels, quality=quality, quality_weight=0.0)
    assert plain.member.tolist() == [0, 3, 1, 2, 4, 5]


def test_a_bad_medoid_is_replaced():
    points = np.array([[-1.0], [0.0], [0.1], [1.0]])
    quality = np.array([1.0, 0.0, 1.0, 1.0])
    square = np.abs(points - points.T)
    assert task_order(square, np.ones(4, int)).member[0] == 1
    assert task_order(square, np.ones(4, int), quality=quality).member[0] == 2


def test_refusals():
    with pytest.raises(FeatureError, match="quality_weight"):
        order_of(0, 5, quality_weight=1.0)
    for bad in (1.1, -0.1, np.nan):
        with pytest.raises(FeatureError, match="quality"):
            order_of(0, 5, quality=[0.5, bad, 0, 0, 0])


def test_landmarks_are_the_only_candidates():
    square = square_of(condensed(cloud(1, 30)))
    rows = np.array([0, 4, 9, 17, 22, 28])
    order = task_order(square[rows], np.repeat([1, 2], 15), candidates=rows)
    assert sorted(order.member) == rows.tolist()
    assert order.size == 30
    assert order.total[-1] == pytest.approx(square[rows].min(axis=0).sum())


@pytest.fixture
def orders():
    return [order_of(seed, count)[0] for seed, count in enumerate((5, 40, 1, 2, 12, 2, 30))]


def test_ranking_is_nested_and_leaders_come_first(orders):
    uncovered = uncovered_distances(orders)
    ranking = rank_tasks(orders, uncovered=uncovered)
    assert len(ranking.task) == sum(len(order.member) for order in orders)
    assert len(set(zip(ranking.task.tolist(), ranking.position.tolist(), strict=True))) == len(
        ranking.task
    )
    for task in range(len(orders)):
        own = ranking.position[ranking.task == task]
        np.testing.assert_array_equal(own, np.arange(len(own)))
    assert (np.diff(ranking.score) <= 0).all()
    leader = np.array(
        [orders[t].leader[p] for t, p in zip(ranking.task, ranking.position, strict=True)]
    )
    assert leader[: leader.sum()].all()
    assert (ranking.score[leader] >= 1).all()
    assert (ranking.score[~leader] <= 1).all()
    # the first leaders are those of the tasks, large ones first
    assert ranking.task[:3].tolist() == [1, 6, 4]


def test_ranking_is_one_greedy_choice_over_all_tasks():
    orders = [order_of(seed, count, 1)[0] for seed, count in enumerate((9, 14, 6))]
    squares = [square_of(condensed(cloud(s, n))) for s, n in enumerate((9, 14, 6))]
    uncovered = uncovered_distances(orders)
    ranking = rank_tasks(orders, uncovered=uncovered)
    nearest = [np.full(len(q), u) for q, u in zip(squares, uncovered, strict=True)]
    for rank, (task, position) in enumerate(zip(ranking.task, ranking.position, strict=True)):
        member = orders[task].member[position]
        gains = [
            (near - np.minimum(near, square)).sum(axis=1)
            for near, square in zip(nearest, squares, strict=True)
        ]
        if rank >= 3:
            assert gains[task][member] >= max(gain.max() for gain in gains) - 1e-4
        nearest[task] = np.minimum(nearest[task], squares[task][member])


def test_uncovered(orders):
    uncovered = uncovered_distances(orders)
    diameters = np.array([order.diameter for order in orders])
    assert (uncovered >= diameters).all()
    assert uncovered[2] == np.median(np.delete(diameters, 2))
    assert uncovered_distances([orders[2]]).tolist() == [1.0]
    assert uncovered_distances([]).shape == (0,)
    assert len(rank_tasks([], uncovered=np.zeros(0)).task) == 0


def test_represented():
    square = square_of(condensed(cloud(1, 20)))
    chosen = np.array([4, 7, 1])
    found = represented(square[chosen])
    for i in range(20):
        assert found.distance[i] == square[chosen, i].min()
        assert square[chosen[found.nearest[i]], i] == found.distance[i]
    assert found.represents.sum() == 20
    for k in range(3):
        assert found.coverage_radius[k] == found.distance[found.nearest == k].max()
    assert represented(np.zeros((2, 2))).represents.tolist() == [2, 0]


def test_every_way_has_a_leader():
    points, truth = ways(np.random.default_rng(0), [20, 3, 9], apart=3.0)
    matrix = condensed(points)
    labels = flat_labels(linkage_of(matrix), 3)
    order = task_order(square_of(matrix), labels, quality=np.linspace(0, 1, 32))
    assert set(truth[order.member[:3]]) == {0, 1, 2}
