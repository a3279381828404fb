from __future__ import annotations

import sys

import numpy as np
import pytest
from cluster.clouds import cloud, condensed
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from sklearn.cluster import AgglomerativeClustering

from finedata.cluster.distance.condensed import square_of
from finedata.cluster.group.linkage import flat_labels, in_order_of_first, linkage_of
from finedata.errors import FeatureError

METHODS = ("average", "complete", "single")


def same_groups(labels, others):
    """One partition, whatever its groups are called."""
    pairs = set(zip(labels.tolist(), others.tolist(), strict=True))
    return len(pairs) == len(set(labels.tolist())) == len(set(others.tolist()))


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25)
@given(count=st.integers(2, 20), seed=st.integers(0, 999))
def test_as_scipy(method, count, seed):
    matrix = condensed(cloud(seed, count))
    before = matrix.copy()
    merges = linkage_of(matrix, method=method)
    expected = hierarchy.linkage(matrix.astype(float), method)
    np.testing.assert_allclose(merges[:, 2:], expected[:, 2:], rtol=1e-9)
    np.testing.assert_array_equal(matrix, before)
    for k in range(1, count + 3):
        labels = flat_labels(merges, k)
        assert labels.max() == len(set(labels)) == min(k, count)
        oracle = hierarchy.fcluster(expected, k, "maxclust")
        assert same_groups(oracle, labels)


@pytest.mark.parametrize("method", METHODS)
def test_as_scikit_learn(method):
    matrix = condensed(cloud(3, 40))
    merges = linkage_of(matrix, method=method)
    for k in (2, 5, 11):
        oracle = AgglomerativeClustering(k, metric="precomputed", linkage=method)
        assert same_groups(oracle.fit_predict(square_of(matrix)), flat_labels(merges, k))


def test_scipy_where_fastcluster_is_absent(monkeypatch):
    matrix = condensed(cloud(5, 25))
    fast = linkage_of(matrix)
    monkeypatch.setitem(sys.modules, "fastcluster", None)
    slow = linkage_of(matrix)
    np.testing.assert_allclose(fast[:, 2:], slow[:, 2:], rtol=1e-12)
    np.testing.assert_array_equal(flat_labels(fast, 4), flat_labels(slow, 4))


@pytest.mark.parametrize("method", METHODS)
def test_exactly_k_on_ties(method):
    merges = linkage_of(np.ones(45, np.float32), method=method)
    assert len(set(hierarchy.fcluster(merges, 4, "maxclust"))) < 4
    for k in range(1, 12):
        assert set(flat_labels(merges, k)) == set(range(1, min(k, 10) + 1))


@given(count=st.integers(1, 20), k=st.integers(1, 20), seed=st.integers(0, 999))
def test_permutation_changes_numbers_only(count, k, seed):
    points = cloud(seed, count)
    turned = np.random.default_rng(seed).permutation(count)
    labels = flat_labels(linkage_of(condensed(points)), k)
    other = flat_labels(linkage_of(condensed(points[turned])), k)
    np.testing.assert_array_equal(in_order_of_first(labels[turned]), other)
    _, first = np.unique(labels, return_index=True)
    assert (np.diff(first) > 0).all()


def test_one_episode():
    merges = linkage_of(np.zeros(0, np.float32))
    assert merges.shape == (0, 4)
    assert flat_labels(merges, 3).tolist() == [1]


def test_refusals():
    for bad in (np.nan, np.inf, -1.0):
        with pytest.raises(FeatureError, match="not finite or negative"):
            linkage_of(np.array([1.0, bad, 2.0]))
    with pytest.raises(FeatureError, match="k: found 0"):
        flat_labels(linkage_of(np.ones(3)), 0)
