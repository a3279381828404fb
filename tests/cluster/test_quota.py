from __future__ import annotations

import numpy as np
from cluster.clouds import cloud, condensed
from hypothesis import given
from hypothesis import strategies as st

from finedata.cluster.choose.quota import first_of_each, random_members, size_quotas
from finedata.cluster.choose.select import task_order
from finedata.cluster.distance.condensed import square_of
from finedata.cluster.group.linkage import flat_labels, linkage_of


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(0, 300))
def test_quotas(sizes, budget):
    quota = size_quotas(sizes, budget)
    assert quota.sum() == min(budget, sum(sizes))
    assert (quota <= sizes).all()
    assert (quota >= (np.arange(len(sizes)) < budget)).all()
    # of two clusters the larger one never gets less, but for the one of the order
    by_size = quota[np.argsort(sizes, kind="stable")]
    assert (np.diff(by_size) >= -1).all()


def test_largest_remainder():
    assert size_quotas([6, 3, 1], 5).tolist() == [2, 2, 1]
    assert size_quotas([10, 10, 10], 4).tolist() == [2, 1, 1]
    assert size_quotas([1, 1, 98], 50).tolist() == [1, 1, 48]
    assert size_quotas([2, 2], 9).tolist() == [2, 2]
    assert size_quotas([5, 5], 1).tolist() == [1, 0]


@given(count=st.integers(1, 30), k=st.integers(1, 6), quota=st.integers(1, 4))
def test_first_of_each(count, k, quota):
    matrix = condensed(cloud(count, count))
    labels = flat_labels(linkage_of(matrix), k)
    order = task_order(square_of(matrix), labels)
    chosen = first_of_each(order, labels, quota)
    own = labels[order.member]
    for label in range(1, labels.max() + 1):
        mine = chosen[own == label]
        expected = len(mine) if count <= 2 else min(quota, len(mine))
        assert mine.tolist() == [True] * expected + [False] * (len(mine) - expected)
    same = first_of_each(order, labels, np.full(labels.max(), quota))
    np.testing.assert_array_equal(chosen, same)
    if quota == 1:
        np.testing.assert_array_equal(chosen, order.leader)


def test_random_members():
    labels = np.array([1, 1, 2, 3, 3, 3])
    drawn = [random_members(labels, rng=np.random.default_rng(seed)) for seed in range(50)]
    assert all(labels[one].tolist() == [1, 2, 3] for one in drawn)
    assert {int(one[2]) for one in drawn} == {3, 4, 5}
    twice = random_members(labels, rng=np.random.default_rng(0), per_cluster=2)
    assert labels[twice].tolist() == [1, 1, 2, 3, 3]
    assert len(set(twice)) == 5
