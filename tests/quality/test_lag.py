"""The lag: known shifts in both directions, and silence where nothing moves."""

from __future__ import annotations

import numpy as np
import pytest
from quality.planted import targets

from finedata.quality.lag import estimate_lags

SCALE_M = 0.02


def lags(pairs, *, max_lag=10):
    offsets = np.concatenate([[0], np.cumsum([len(a) for a, _ in pairs])]).astype(np.int64)
    action = np.concatenate([a for a, _ in pairs]) / SCALE_M
    state = np.concatenate([s for _, s in pairs]) / SCALE_M
    return estimate_lags(state, action, offsets, max_lag=max_lag)


def later(values, by):
    return values[np.clip(np.arange(len(values)) - by, 0, len(values) - 1)]


def test_known_lags_in_both_directions() -> None:
    rng = np.random.default_rng(0)
    planted = [-7, -3, -1, 0, 1, 2, 5, 10]
    pairs = []
    for lag in planted:
        action = targets(rng, 100)[:, :3]
        pairs.append((action, later(action, lag) + rng.normal(0, 0.0005, (100, 3))))
    np.testing.assert_array_equal(lags(pairs), planted)


def test_equal_sides_have_no_lag_and_still_ones_none_at_all() -> None:
    moving = targets(np.random.default_rng(1), 60)[:, :3]
    still = np.tile(moving[:1], (60, 1))
    broken = moving.copy()
    broken[7] = np.nan
    found = lags([(moving, moving), (still, still), (moving, still), (broken, moving)])
    assert found[0] == 0
    assert np.isnan(found[1:3]).all()
    assert np.isnan(found[3])


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_short_episodes_stay_within_half_of_themselves(frames: int) -> None:
    ramp = np.linspace(0, 1, 5)[:frames, None] * np.ones(3)
    moving = targets(np.random.default_rng(2), 40)[:, :3]
    found = lags([(moving, moving), (ramp, later(ramp, 1)), (moving, moving)])
    assert found[0] == found[2] == 0
    assert np.isnan(found[1]) or abs(found[1]) <= frames // 2


def test_nothing_to_shift() -> None:
    none = np.zeros((4, 0))
    assert np.isnan(estimate_lags(none, none, np.array([0, 4]), max_lag=3)).all()
