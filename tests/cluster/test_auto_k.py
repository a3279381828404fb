from __future__ import annotations

import numpy as np
import pytest
from cluster.clouds import condensed, ways
from sklearn.metrics import adjusted_rand_score

from finedata.cluster.group.auto_k import auto_k, proportional_k, released_k
from finedata.cluster.group.linkage import flat_labels, linkage_of


def agreement(sizes, *, apart, odd=0, method="average", choose=lambda merges: auto_k(merges).k):
    rng = np.random.default_rng(sum(sizes) + odd)
    found = []
    for _ in range(20):
        points, truth = ways(rng, sizes, apart=apart, odd=odd)
        merges = linkage_of(condensed(points), method=method)
        found.append(adjusted_rand_score(truth, flat_labels(merges, choose(merges))))
    return float(np.mean(found))


@pytest.mark.parametrize("odd", [0, 2])
@pytest.mark.parametrize("sizes", [[4, 5], [12, 9, 15], [20, 6, 11, 8], [5, 5, 5, 5, 5]])
def test_planted_ways(sizes, odd):
    assert agreement(sizes, apart=2.0, odd=odd) >= 0.9


@pytest.mark.parametrize("method", ["average", "complete", "single"])
def test_any_linkage(method):
    assert agreement([12, 9, 15], apart=2.5, method=method) >= 0.9


def test_better_than_released_with_odd_episodes():
    released = agreement([12, 9, 15], apart=2.0, odd=2, choose=released_k)
    assert agreement([12, 9, 15], apart=2.0, odd=2) > released + 0.3


def test_one_way_is_one_cluster():
    rng = np.random.default_rng(0)
    found = [
        auto_k(linkage_of(condensed(ways(rng, [30], apart=1, width=20)[0]))).k for _ in range(20)
    ]
    assert found.count(1) >= 18


def test_min_gap():
    points, _ = ways(np.random.default_rng(1), [10, 10], apart=2.0)
    merges = linkage_of(condensed(points))
    chosen = auto_k(merges)
    assert chosen.k == 2
    assert chosen.gap > chosen.runner_up
    assert auto_k(merges, min_gap=chosen.gap * 1.01).k == 1


def test_largest_k_is_tested():
    """Five ways with max_k = 5: the released rule never tests its largest k."""
    points, _ = ways(np.random.default_rng(2), [6] * 5, apart=4.0)
    merges = linkage_of(condensed(points))
    assert auto_k(merges, max_k=5).k == 5
    assert released_k(merges, max_k=5) < 5
    assert released_k(merges, max_k=6) == 5
    assert auto_k(merges, max_k=3).k <= 3


def test_equal_episodes():
    same = linkage_of(np.zeros(15, np.float32))
    assert auto_k(same).k == 1
    assert auto_k(same).gap == 0
    twins = np.repeat(np.array([[0.0], [10.0]]), [4, 3], axis=0)
    chosen = auto_k(linkage_of(condensed(twins)))
    assert chosen.k == 2
    assert np.isfinite(chosen.gap)
    assert released_k(linkage_of(condensed(twins))) == 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_episodes(count):
    merges = linkage_of(np.ones(count * (count - 1) // 2))
    assert auto_k(merges).k == 1
    assert released_k(merges) == min(count, 2)


def test_released_formula():
    heights = [0.1, 0.2, 0.5, 0.6, 3.0, 3.3]
    merges = np.zeros((6, 4))
    merges[:, 2] = heights
    # k = 2 ... 6: 3.3 / 3, 3 / 0.6, 0.6 / 0.5, 0.5 / 0.2, 0.2 / 0.1, each less 1
    assert released_k(merges) == 3
    assert released_k(merges, max_k=3) == 2


def test_proportional():
    assert [proportional_k(n) for n in (1, 2, 19, 30, 99)] == [1, 2, 2, 3, 9]
