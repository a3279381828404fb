"""Lag and residual of action and state."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion.rotations import PI, random_quaternions

from finedata.motion import action_state_residual, estimate_lag, to_quaternion_xyzw

quick = settings(deadline=None, max_examples=60)


def path(frames, seed=0):
    return np.cumsum(np.random.default_rng(seed).normal(size=(frames, 3)), axis=0)


def delayed(rows, lag):
    return np.concatenate([np.repeat(rows[:1], lag, axis=0), rows])[: len(rows)]


@quick
@given(st.integers(0, 10), st.integers(0, 99))
def test_a_delay_is_found(lag, seed):
    action = path(40, seed)
    assert estimate_lag(action, delayed(action, lag)) == lag


def test_the_lag_is_bounded():
    action = path(40)
    assert estimate_lag(action, delayed(action, 8), max_lag=5) <= 5
    assert estimate_lag(action, delayed(action, 8), max_lag=0) == 0
    # at least two frames overlap
    assert estimate_lag(action[:4], delayed(action[:4], 2)) == 2
    assert estimate_lag(action[:3], delayed(action[:3], 2)) < 2


def test_equals_give_the_smallest():
    still = np.ones((20, 3))
    assert estimate_lag(still, still) == 0
    assert estimate_lag(still, still + 1.0) == 0


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_short_episodes_have_no_lag(frames):
    assert estimate_lag(path(frames), path(frames, 1)) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_frames_do_not_count(value):
    action = path(40)
    state = delayed(action, 3)
    state[[5, 9], 1] = value
    action[20, 0] = value
    assert estimate_lag(action, state) == 3
    assert estimate_lag(np.full((9, 3), value), np.full((9, 3), value)) == 0


def test_residuals_vanish_at_the_lag_and_ignore_signs():
    position, rotation = path(30), random_quaternions(30)
    found = action_state_residual(
        position, rotation, delayed(position, 4), -delayed(rotation, 4), lag_frames=4
    )
    assert found == (0.0, 0.0)
    assert (
        action_state_residual(
            delayed(position, 4), rotation, position, delayed(rotation, 4), lag_frames=-4
        )[0]
        == 0.0
    )


def test_residuals_are_means_in_metres_and_radians():
    turn = to_quaternion_xyzw([[0, 0, 0], [0, 0, PI / 2], [0, PI, 0]], encoding="rotation_vector")
    still = np.tile([0.0, 0, 0, 1], (3, 1))
    position_m = np.array([[0.0, 0, 0], [3, 4, 0], [0, 0, 1]])
    found = action_state_residual(position_m, turn, np.zeros((3, 3)), still, lag_frames=0)
    assert found == pytest.approx((2.0, PI / 2))
    position_m[1, 0], turn[1] = np.nan, np.nan
    found = action_state_residual(position_m, turn, np.zeros((3, 3)), still, lag_frames=0)
    assert found == pytest.approx((0.5, PI / 2))


@pytest.mark.parametrize("lag_frames", [0, 2, 3, 4, 5, 9, -3, -4, -5, -9])
def test_nothing_to_compare_is_nan(lag_frames):
    broken = np.full((3, 3), np.nan), np.full((3, 4), np.nan)
    found = action_state_residual(*broken, *broken, lag_frames=lag_frames)
    assert all(math.isnan(value) for value in found)
    whole = path(3), random_quaternions(3)
    if abs(lag_frames) >= 3:
        found = action_state_residual(*whole, *whole, lag_frames=lag_frames)
        assert all(math.isnan(value) for value in found)
