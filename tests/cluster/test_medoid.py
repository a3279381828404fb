from __future__ import annotations

import numpy as np
from cluster.clouds import cloud, condensed
from hypothesis import given
from hypothesis import strategies as st

from finedata.cluster.distance.condensed import square_of
from finedata.cluster.group.linkage import in_order_of_first
from finedata.cluster.group.medoid import medoids


@given(count=st.integers(1, 20), k=st.integers(1, 5), seed=st.integers(0, 999))
def test_by_hand(count, k, seed):
    square = square_of(condensed(cloud(seed, count)))
    labels = in_order_of_first(np.random.default_rng(seed).integers(0, k, count))
    found = medoids(square, labels)
    for i in range(count):
        others = [j for j in range(count) if j != i and labels[j] == labels[i]]
        mean = np.mean([square[i, j] for j in others], dtype=float) if others else 0.0
        assert np.isclose(found.mean_distance[i], mean, rtol=1e-6)
        assert found.distance_to_medoid[i] == square[i, found.medoid[labels[i] - 1]]
    for label, middle in enumerate(found.medoid, 1):
        assert labels[middle] == label
        assert found.mean_distance[middle] == found.mean_distance[labels == label].min()


def test_ties_go_to_the_first():
    assert medoids(1 - np.eye(4), np.array([1, 2, 2, 1])).medoid.tolist() == [0, 1]
    assert medoids(np.zeros((3, 3)), np.array([1, 1, 1])).medoid.tolist() == [0]


def test_landmarks():
    square = square_of(condensed(cloud(1, 30)))
    labels = np.repeat([1, 2], 15)
    rows = np.array([0, 4, 9, 17, 22, 28])
    found = medoids(square[rows], labels, candidates=rows)
    exact = medoids(square, labels)
    np.testing.assert_allclose(found.mean_distance[rows], exact.mean_distance[rows])
    assert set(found.medoid) <= set(rows)
    assert found.medoid[0] == rows[np.argmin(exact.mean_distance[rows[:3]])]
    np.testing.assert_allclose(found.mean_distance[1], square[rows[:3], 1].mean())
    np.testing.assert_array_equal(found.distance_to_medoid[15:], square[found.medoid[1], 15:])
    every = medoids(square, labels, candidates=np.arange(30))
    np.testing.assert_array_equal(every.medoid, exact.medoid)
    np.testing.assert_allclose(every.mean_distance, exact.mean_distance)
