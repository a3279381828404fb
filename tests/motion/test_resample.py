"""Rows chosen by ratio and by clock, against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.errors import FeatureError, LengthError
from finedata.motion import measured_fps, nearest_by_ratio, nearest_by_time, strictly_increasing

quick = settings(deadline=None, max_examples=80)
clock = st.floats(-1e3, 1e3)


@quick
@given(st.integers(1, 800), st.integers(0, 200))
def test_ratio_is_nearest_of_evenly_spread_rows(rows, frames):
    found = nearest_by_ratio(rows, frames)
    assert found.shape == (frames,)
    for frame, row in enumerate(found.tolist()):
        exact = frame * (rows - 1) / max(frames - 1, 1)
        assert abs(row - exact) <= 0.5 + 1e-9
        assert 0 <= row < rows


def test_ratio_of_a_simulation_file():
    # 720 states beside 170 pictures, as in a published file.
    found = nearest_by_ratio(720, 170)
    assert (found[0], found[-1]) == (0, 719)
    assert set(np.diff(found)) == {4, 5}
    assert nearest_by_ratio(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert nearest_by_ratio(2, 3).tolist() == [0, 1, 1]
    assert nearest_by_ratio(7, 1).tolist() == [0]


@pytest.mark.parametrize("lengths", [(0, 3), (-1, 0), (3, -1)])
def test_ratio_without_rows(lengths):
    with pytest.raises(LengthError):
        nearest_by_ratio(*lengths)


@quick
@given(st.lists(clock, min_size=1, max_size=12), st.lists(clock, max_size=12))
def test_time_is_the_nearest_by_brute_force(rows, frames):
    rows = sorted(rows)
    found = nearest_by_time(rows, frames)
    assert found.dtype == np.int64
    for row, frame in zip(found.tolist(), frames, strict=True):
        gaps = [abs(frame - time) for time in rows]
        assert gaps[row] == min(gaps)
        assert row == 0 or rows[row - 1] < rows[row]  # the first of equal times


def test_of_two_equally_near_the_earlier():
    assert nearest_by_time([0.0, 1.0, 1.0, 2.0], [0.5, 1.0, 1.5, -9, 9]).tolist() == [0, 1, 1, 0, 3]


def test_clocks_that_are_none():
    assert nearest_by_time([], []).tolist() == []
    with pytest.raises(LengthError):
        nearest_by_time([], [1.0])
    for rows, frames in ([[1.0, 0.5], [0.0]], [[0.0, np.nan], [0.0]], [[0.0], [np.inf]]):
        with pytest.raises(FeatureError, match="clock"):
            nearest_by_time(rows, frames)


def test_rates():
    assert measured_fps(np.arange(31) / 30) == pytest.approx((30.0, 1 / 30))
    fps, pause_s = measured_fps([0.0, 0.1, 0.5])
    assert (fps, pause_s) == pytest.approx((4.0, 0.4))
    assert all(math.isnan(value) for value in measured_fps([3.0]))
    fps, pause_s = measured_fps([3.0, 3.0])
    assert math.isnan(fps)
    assert pause_s == 0.0


@pytest.mark.parametrize(
    ("times", "wanted"),
    [([], True), ([1.0], True), ([0, 1, 2], True), ([0, 1, 1], False), ([0, 2, 1], False)],
)
def test_order(times, wanted):
    assert strictly_increasing(times) is wanted
    assert not strictly_increasing([*times, np.nan])
