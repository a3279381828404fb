from __future__ import annotations

import numpy as np
from cluster.clouds import cloud, condensed
from hypothesis import given
from hypothesis import strategies as st

from finedata.cluster.group.linkage import in_order_of_first
from finedata.cluster.group.recursive import recursive_clusters


def nested() -> tuple[np.ndarray, np.ndarray]:
    """Two far groups: one of two ways, one of one."""
    rng = np.random.default_rng(4)
    centres = np.zeros((3, 8))
    centres[1, 0], centres[2, 1] = 12.0, 90.0
    truth = np.repeat([0, 1, 2], 10)
    return centres[truth] + rng.normal(size=(30, 8)), truth


def test_keys():
    points, truth = nested()
    found = recursive_clusters(condensed(points), min_gap=0.6)
    assert found.keys == ("1.1", "1.2", "2")
    np.testing.assert_array_equal(found.labels, truth + 1)


def test_reasons_to_stop():
    points, truth = nested()
    matrix = condensed(points)
    assert recursive_clusters(matrix, max_depth=1).keys == ("1", "2")
    assert recursive_clusters(matrix, max_depth=0).keys == ("1",)
    assert recursive_clusters(matrix, max_leaves=1).keys == ("1",)
    assert recursive_clusters(matrix, max_leaves=2).keys == ("1", "2")
    assert recursive_clusters(matrix, min_cluster_size=21).keys == ("1", "2")
    assert recursive_clusters(matrix, min_gap=100.0).keys == ("1",)
    np.testing.assert_array_equal(
        recursive_clusters(matrix, max_depth=1).labels, np.where(truth < 2, 1, 2)
    )


@given(
    count=st.integers(1, 40),
    seed=st.integers(0, 999),
    leaves=st.integers(1, 8),
    min_gap=st.sampled_from([0.0, 0.1, 0.3]),
)
def test_invariants(count, seed, leaves, min_gap):
    points = cloud(seed, count, 2)
    options = {"max_leaves": leaves, "min_gap": min_gap}
    found = recursive_clusters(condensed(points), **options)
    assert set(found.labels) == set(range(1, len(found.keys) + 1))
    assert len(set(found.keys)) == len(found.keys) <= leaves
    for key in found.keys:
        assert not any(other.startswith(f"{key}.") for other in found.keys)
    turned = np.random.default_rng(seed).permutation(count)
    other = recursive_clusters(condensed(points[turned]), max_leaves=40, min_gap=min_gap)
    free = recursive_clusters(condensed(points), max_leaves=40, min_gap=min_gap)
    np.testing.assert_array_equal(in_order_of_first(free.labels[turned]), other.labels)
