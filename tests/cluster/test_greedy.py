from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from cluster.clouds import cloud, condensed
from hypothesis import given
from hypothesis import strategies as st

from finedata.cluster.choose import greedy as module
from finedata.cluster.choose.greedy import greedy
from finedata.cluster.distance.condensed import square_of


@pytest.mark.parametrize("dense", [0, 10**9])
@given(count=st.integers(1, 15), seed=st.integers(0, 999))
def test_each_step_adds_the_most(dense, count, seed):
    square = square_of(condensed(cloud(seed, count)))
    weight = np.random.default_rng(seed).uniform(0.5, 1, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_DENSE", dense)
        order, totals, last = greedy(square, np.arange(count), weight, np.full(count, np.inf))
    assert sorted(order) == list(range(count))
    nearest = np.full(count, square.max())
    gains = []
    for row, total in zip(order, totals, strict=True):
        lowered = weight * (nearest.sum() - np.minimum(nearest, square).sum(axis=1))
        assert lowered[row] >= lowered.max() - 1e-5
        gains.append(lowered[row])
        nearest = np.minimum(nearest, square[row])
        assert np.isclose(nearest.sum(), total)
    assert (np.diff(gains) <= 1e-5).all()
    np.testing.assert_array_equal(last, np.zeros(count))


def test_lazy_as_dense(monkeypatch):
    """Whole numbers add up exactly, and make many ties."""
    points = np.random.default_rng(0).integers(0, 6, (120, 2))
    square = np.abs(points[:, None] - points[None]).sum(axis=2).astype(np.float32)
    arguments = square, np.arange(120), np.ones(120), np.full(120, np.inf)
    dense = greedy(*arguments)
    monkeypatch.setattr(module, "_DENSE", 0)
    lazy = greedy(*arguments)
    np.testing.assert_array_equal(dense[1], lazy[1])
    positive = np.flatnonzero(np.diff(dense[1], prepend=np.inf) < 0)
    np.testing.assert_array_equal(dense[0][positive], lazy[0][positive])


def test_near_the_best_choice():
    square = square_of(condensed(cloud(8, 12)))
    _, totals, _ = greedy(square, np.arange(12), np.ones(12), np.full(12, np.inf))
    start = 12 * square.max()
    for size in (1, 2, 3):
        best = min(square[list(some)].min(axis=0).sum() for some in combinations(range(12), size))
        assert start - totals[size - 1] >= (1 - 1 / np.e) * (start - best)
    assert np.isclose(totals[0], square.sum(axis=1).min())


def test_none_to_choose():
    order, totals, nearest = greedy(
        np.ones((2, 2)), np.zeros(0, np.int64), np.ones(2), np.array([1.0, 2.0])
    )
    assert (len(order), len(totals), nearest.tolist()) == (0, 0, [1.0, 2.0])
