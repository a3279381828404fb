"""The checks of single episodes: each fires on its own fault, and on nothing else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quality.planted import POSE_NAMES, TWO_ARMS, clean, tracks_of

from finedata.quality.checks import EpisodeFacts, batch_checks
from finedata.quality.duplicates import kept_equals, motion_digests
from finedata.quality.groups import Scales, part_groups, present_groups
from finedata.quality.limits import Limits
from finedata.quality.segments import (
    segment_max,
    segment_min,
    segment_quantile,
    segment_std,
    segment_sum,
    step_offsets,
)
from finedata.schema.enums import GATE_CHECKS

FPS = 10.0


def good(seed=0, frames=60):
    return clean(np.random.default_rng(seed), frames=frames)


def failures(pairs, *, names=POSE_NAMES, space="ee", arms=("right",), times=None, **facts):
    """Names of the failed checks of each episode."""
    checks = checks_of(pairs, names=names, space=space, arms=arms, times=times, **facts)
    return [
        [name for name, column in checks.items() if column.failed[k]] for k in range(len(pairs))
    ]


def checks_of(pairs, *, names=POSE_NAMES, space="ee", arms=("right",), times=None, **facts):
    tracks = tracks_of(pairs, names=names, space=space, times=times)
    count = len(tracks)
    ranges = np.ones(len(names)) if space == "undeclared" else None
    groups = part_groups(tracks, scales=Scales(), column_range=ranges)
    present = present_groups(tracks, groups, [list(arms)] * count)
    values = {
        "has_instruction": np.ones(count, bool),
        "minimum_frames": np.full(count, 2),
        "norm_deviation": np.full(count, np.nan),
        "fps": FPS,
    }
    known = EpisodeFacts(**(values | facts))
    return batch_checks(tracks, groups, present, known, limits=Limits())


def test_clean_logs_fail_nothing_and_every_check_is_made() -> None:
    pairs = [good(seed) for seed in range(20)]
    times = np.concatenate([np.arange(len(action)) / FPS for action, _ in pairs])
    checks = checks_of(pairs, times=times, norm_deviation=np.zeros(20))
    assert [name for name, column in checks.items() if column.failed.any()] == []
    assert all(column.made.all() for column in checks.values())
    # The other two need more than one episode.
    assert list(checks) == [n for n in GATE_CHECKS if n not in ("duplicate", "action_state")]
    assert len(checks) >= 8


def test_too_short_and_empty() -> None:
    pairs = [good(frames=40), good(frames=39), good(frames=60)]
    found = failures(
        pairs,
        minimum_frames=np.array([40, 40, 2]),
        has_instruction=np.array([True, True, False]),
    )
    assert found == [[], ["too_short"], ["empty_instruction"]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_non_finite_is_counted_and_nothing_else_is_said_of_motion(value, side) -> None:
    pair = [array.copy() for array in good()]
    pair[side][7, 1] = pair[side][9, 4] = value
    checks = checks_of([good(1), tuple(pair), good(2)])
    column = checks["non_finite"]
    assert column.failed.tolist() == [False, True, False]
    assert column.value[1] == 2
    for name in ("frozen_state", "frozen_action", "jump"):
        assert checks[name].made.tolist() == [True, False, True]
        assert not checks[name].failed.any()


def test_frozen() -> None:
    action, state = good()
    still = np.tile(state[:1], (60, 1))
    trembling = still + np.random.default_rng(0).normal(0, 1e-6, still.shape)
    only_gripper = still.copy()
    only_gripper[30:, 7] = 0.0
    only_turn = still.copy()
    only_turn[:, 3:7] = state[:, 3:7]
    opposite = still.copy()
    opposite[1::2, 3:7] *= -1
    found = failures(
        [
            (action, still),
            (still, state),
            (action, trembling),
            (action, only_gripper),
            (action, only_turn),
            (still, opposite),
        ]
    )
    assert found == [
        ["frozen_state"],
        ["frozen_action"],
        ["frozen_state"],
        [],
        [],
        ["frozen_state", "frozen_action"],
    ]


def test_an_arm_at_rest_is_not_a_frozen_episode() -> None:
    action, state = good()
    still = np.tile(state[:1], (60, 1))
    pair = (np.hstack([action, still]), np.hstack([state, still]))
    assert failures([pair], names=TWO_ARMS, arms=("right", "left")) == [[]]


def test_an_absent_arm_is_neither_frozen_nor_broken() -> None:
    action, state = good()
    nothing = np.full_like(action, np.nan)
    pair = (np.hstack([action, nothing]), np.hstack([state, nothing]))
    assert failures([pair], names=TWO_ARMS, arms=("right", "left")) == [[]]
    # One side alone is no absence.
    half = (np.hstack([action, action]), np.hstack([state, nothing]))
    assert failures([half], names=TWO_ARMS, arms=("right", "left")) == [["non_finite"]]


def test_time() -> None:
    pairs = [good(frames=20)] * 6
    clock = np.arange(20) / FPS
    repeated, back, missing, partly = (clock.copy() for _ in range(4))
    repeated[7] = repeated[6]
    back[7] = back[5]
    missing[:] = np.nan
    partly[3] = np.nan
    # An episode's clock begins anew: no step leads from one to the next.
    times = np.concatenate([clock, repeated, back, missing, partly, clock])
    checks = checks_of(pairs, times=times)
    column = checks["time_not_increasing"]
    assert column.failed.tolist() == [False, True, True, False, False, False]
    assert column.made.tolist() == [True, True, True, False, True, True]
    assert column.value[0] == pytest.approx(0.1)
    assert column.value[1] == 0.0
    assert not checks_of(pairs)["time_not_increasing"].made.any()


def test_quaternion_norm_of_the_source_and_of_what_is_stored() -> None:
    stored = good()[0].copy()
    stored[5, 3:7] *= 1.05
    column = checks_of(
        [good(), good(), (good()[0], stored)], norm_deviation=np.array([np.nan, 0.02, 0.0])
    )["quaternion_norm"]
    assert column.failed.tolist() == [False, True, True]
    assert column.value[1:] == pytest.approx([0.02, 0.05], abs=1e-3)


def test_jumps() -> None:
    action, state = good()
    glitch, turned, opposite, step = (state.copy() for _ in range(4))
    glitch[30, :3] += [0.5, 0.0, 0.0]
    turned[30, 3:7] = turned[30, [4, 3, 6, 5]] * [1, -1, 1, -1]  # half a turn away
    opposite[30:, 3:7] *= -1  # the same rotation
    step[40:, :3] += 0.4
    shut = state.copy()
    shut[20:, 7] = 1 - shut[20:, 7]  # a gripper may
    pairs = [(action, other) for other in (state, glitch, turned, opposite, step, shut)]
    assert failures(pairs) == [[], ["jump"], ["jump"], [], ["jump"], []]


def test_a_fast_episode_is_no_jump() -> None:
    """0.3 m in every frame at 10 Hz: faster than an arm, but evenly so."""
    _, state = good()
    fast = state.copy()
    fast[:, 0] = 0.3 * np.abs(np.arange(60) % 8 - 4)
    assert failures([(fast, fast)]) == [[]]


def test_joints_jump_by_the_joint_that_jumps_most() -> None:
    names = (*(f"right_joint_{k}" for k in range(3)), "right_gripper")
    ramp = np.linspace(0, 1, 40)[:, None] * np.array([1.0, 0.5, 0.2, 0.0])
    wrapped = ramp.copy()
    wrapped[20:, 1] -= 2 * np.pi
    found = failures([(ramp, ramp), (ramp, wrapped)], names=names, space="joint")
    assert found == [[], ["jump"]]


def test_undeclared_columns_have_no_jump() -> None:
    ramp = np.linspace(0, 1, 40)[:, None] * np.ones(2)
    wild = ramp.copy()
    wild[20] = 1e6
    still = np.zeros_like(ramp)
    checks = checks_of([(ramp, wild), (ramp, still)], names=("a", "b"), space="undeclared", arms=())
    assert not checks["jump"].made.any()
    assert checks["frozen_state"].failed.tolist() == [False, True]


def test_no_frame_at_all_is_short_and_nothing_else() -> None:
    action, state = good()
    empty = (action[:0], state[:0])
    checks = checks_of([empty, good(1), empty, empty])
    for k in (0, 2, 3):
        assert [name for name, column in checks.items() if column.failed[k]] == ["too_short"]
    assert not any(column.failed[1] for column in checks.values())
    assert checks["jump"].made.tolist() == [False, True, False, False]


def test_one_frame_is_short_and_nothing_else() -> None:
    action, state = good()
    checks = checks_of([(action[:1], state[:1]), good(1)])
    assert [name for name, column in checks.items() if column.failed[0]] == ["too_short"]
    assert not checks["frozen_state"].made[0]
    assert checks["frozen_state"].made[1]


class TestDuplicates:
    def test_equal_motion_has_one_digest(self) -> None:
        action, state = good()
        zero, minus = state.copy(), state.copy()
        zero[3, 0], minus[3, 0] = 0.0, -0.0
        near = state.copy()
        near[3, 0] += 1e-4
        tracks = tracks_of([(action, state), (action, state), (action, near), good(1)])
        found = motion_digests(tracks)
        assert kept_equals(found, np.zeros(4, bool)).tolist() == [0, 0, 2, 3]
        both = motion_digests(tracks_of([(action, zero), (action, minus)]))
        assert (both[0] == both[1]).all()

    def test_other_names_are_other_motion(self) -> None:
        pair = good()
        renamed = tuple(name.replace("right", "left") for name in POSE_NAMES)
        one = motion_digests(tracks_of([pair]))
        assert (one != motion_digests(tracks_of([pair], names=renamed))).any()

    def test_the_first_that_fails_nothing_is_kept(self) -> None:
        digests = np.array([[1, 1], [2, 2], [1, 1], [1, 1], [2, 2]], np.uint64)
        failed = np.array([True, True, False, False, True])
        assert kept_equals(digests, failed).tolist() == [2, 1, 2, 2, 1]
        assert kept_equals(digests[:0], failed[:0]).tolist() == []


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=8), st.integers(0, 2**16))
def test_segments_are_loops(lengths: list[int], seed: int) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = np.random.default_rng(seed).exponential(1.0, (int(offsets[-1]), 2))
    pieces = [values[a:b] for a, b in pairwise(offsets)]
    largest, least = segment_max(values, offsets), segment_min(values, offsets)
    total, spread = segment_sum(values, offsets), segment_std(values, offsets)
    usual = segment_quantile(values[:, 0], offsets, 0.75)
    inside, bounds = step_offsets(offsets)
    steps = np.diff(values[:, 0])[inside]
    for k, piece in enumerate(pieces):
        np.testing.assert_allclose(total[k], piece.sum(axis=0), atol=1e-12)
        own = steps[bounds[k] : bounds[k + 1]]
        np.testing.assert_allclose(own, np.diff(piece[:, 0]))
        if len(piece):
            np.testing.assert_array_equal(largest[k], piece.max(axis=0))
            np.testing.assert_array_equal(least[k], piece.min(axis=0))
            np.testing.assert_allclose(spread[k], piece.std(axis=0), atol=1e-12)
            wanted = np.quantile(piece[:, 0], 0.75, method="inverted_cdf")
            assert usual[k] == pytest.approx(wanted)
        else:
            assert largest[k, 0] == -np.inf
            assert np.isnan(spread[k]).all()
