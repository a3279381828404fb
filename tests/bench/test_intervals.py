"""Intervals: coverage under correlation, against published formulas, and what few videos tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from finedata.bench.scores.intervals import Ratios, difference, holm, interval, wilson
from finedata.bench.scores.simulated import coverage


@pytest.mark.parametrize(
    ("videos", "items", "rho", "naive_at_most"),
    [(500, 2, 0.0, 1.0), (500, 2, 0.5, 0.91), (500, 22, 0.2, 0.70), (500, 22, 0.4, 0.55)],
)
def test_clustered_intervals_cover_and_naive_ones_do_not(
    videos: int, items: int, rho: float, naive_at_most: float
) -> None:
    found = coverage(videos=videos, items=items, rho=rho, benchmarks=1_000)
    assert 0.93 <= found.cluster <= 0.97
    assert found.naive <= naive_at_most
    assert found.method == "cluster_t"


def test_the_bootstrap_covers_too() -> None:
    found = coverage(videos=50, items=5, rho=0.4, benchmarks=150, bootstrap=True)
    assert 0.88 <= found.cluster <= 0.99  # of 150 draws three standard errors are 5 points
    assert found.method == "cluster_bootstrap"
    assert found.naive < 0.85


@pytest.mark.parametrize(("videos", "items", "rho"), [(11, 1, 0.0), (10, 3, 0.3), (10, 3, 0.5)])
def test_few_videos_get_wilson_with_the_videos_as_trials(
    videos: int, items: int, rho: float
) -> None:
    found = coverage(videos=videos, items=items, rho=rho, benchmarks=1_000, datasets=1)
    assert found.method == "wilson"
    assert found.cluster >= 0.93


def test_one_stratum_of_equal_videos_is_the_t_interval_of_their_means() -> None:
    shares = np.random.default_rng(1).random(40)
    found = interval(Ratios.of(shares * 3, np.full(40, 3.0), ["a"] * 40))
    low, high = stats.t.interval(0.95, 39, loc=shares.mean(), scale=stats.sem(shares))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert (found.items, found.videos, found.unrankable) == (120, 40, False)


def test_a_macro_average_weighs_dimensions_alike() -> None:
    total, count = np.zeros((2, 100)), np.zeros((2, 100))
    count[0], total[0] = 9, 9  # 900 right of 900
    count[1, :10] = 1  # 0 right of 10
    both = Ratios.of(total, count, ["a"] * 100)
    assert both.value == 0.5
    micro = Ratios.of(total.sum(0), count.sum(0), ["a"] * 100)
    assert micro.value == pytest.approx(900 / 910)


def test_strata_take_the_difference_of_datasets_out() -> None:
    rng = np.random.default_rng(3)
    share = np.repeat([0.2, 0.9], 50)
    right = rng.binomial(10, share).astype(float)
    apart = interval(Ratios.of(right, np.full(100, 10.0), ["a"] * 50 + ["b"] * 50))
    together = interval(Ratios.of(right, np.full(100, 10.0), ["a"] * 100))
    assert apart.high - apart.low < 0.5 * (together.high - together.low)


def test_all_right_is_no_interval_of_no_width() -> None:
    found = interval(Ratios.of(np.full(50, 2.0), np.full(50, 2.0), ["a"] * 50))
    assert found.method == "wilson"
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.9287, abs=1e-3)


def test_nothing_asked_is_no_number() -> None:
    found = interval(Ratios.of(np.zeros(3), np.zeros(3), ["a", "b", "c"]))
    assert (found.value, found.low, found.method, found.videos) == (None, None, "none", 0)


def test_seeded_bootstrap_repeats() -> None:
    right = np.random.default_rng(5).binomial(4, 0.6, 60).astype(float)
    ratios = Ratios.of(right, np.full(60, 4.0), ["a", "b"] * 30)
    one, two, three = (
        interval(ratios, method="cluster_bootstrap", seed=seed) for seed in (1, 1, 2)
    )
    assert one == two != three


def test_paired_differences_see_what_overlapping_intervals_hide() -> None:
    rng = np.random.default_rng(7)
    share = rng.beta(1, 1, 200)
    one = rng.binomial(20, np.clip(share + 0.04, 0, 1)).astype(float)
    other = rng.binomial(20, share).astype(float)
    count = np.full(200, 20.0)
    first, second = (Ratios.of(right, count, ["a"] * 200) for right in (one, other))
    found = difference(first, second)
    assert found.p < 0.01
    assert found.low > 0
    assert interval(first).low < interval(second).high  # overlapping
    paired = stats.ttest_rel(one / 20, other / 20)
    assert found.p == pytest.approx(paired.pvalue)


def test_the_same_result_twice_differs_by_nothing() -> None:
    ratios = Ratios.of(np.arange(40.0) % 2, np.ones(40), ["a"] * 40)
    found = difference(ratios, ratios)
    assert (found.value, found.p) == (0, 1)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.floats(0, 1), st.integers(1, 200))
def test_wilson_holds_its_own_share(share: float, trials: int) -> None:
    low, high = wilson(share, trials)
    assert 0 <= low <= share <= high <= 1
