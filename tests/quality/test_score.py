"""The action-state score: by hand, and every fault of the released score as a test case."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quality.planted import POSE_NAMES, TWO_ARMS, clean, tracks_of

from finedata.motion.rotation import to_quaternion_xyzw
from finedata.quality.groups import Scales, part_groups, present_groups
from finedata.quality.released import released_columns, released_scores
from finedata.quality.score import action_state_scores

SCALES = Scales(position_m=0.02, rotation_rad=0.1, joint_rad=0.05, gripper=0.25)
JOINT_NAMES = (*(f"right_joint_{k}" for k in range(3)), "right_gripper")


def scores_of(pairs, *, names=POSE_NAMES, space="ee", arms=("right",)):
    tracks = tracks_of(pairs, names=names, space=space)
    groups = part_groups(tracks, scales=SCALES)
    present = present_groups(tracks, groups, [list(arms)] * len(tracks))
    return action_state_scores(tracks, groups, present, np.ones(len(tracks), bool), threads=1)


def released_of(pairs, *, names=POSE_NAMES, arms=("right", "left")):
    tracks = tracks_of(pairs, names=names)
    columns = released_columns(part_groups(tracks, scales=SCALES), arms)
    return released_scores(tracks.state[:, columns], tracks.action[:, columns], tracks.offsets)


def resting(frames=5, *, position=(0.3, 0.0, 0.2), turn=(0.0, 0.0, 0.0), gripper=1.0):
    """(T, 8) one pose over and over."""
    quaternion = to_quaternion_xyzw(np.array([turn]), encoding="rotation_vector")
    return np.tile([*position, *quaternion[0], gripper], (frames, 1))


def test_each_group_counts_in_its_own_scale() -> None:
    right = resting()
    beside = resting(position=(0.3, 0.04, 0.2))  # two scales
    turned = resting(turn=(0.0, 0.0, 0.3))  # three scales
    shut = resting(gripper=0.0)  # four scales
    all_off = resting(position=(0.34, 0.0, 0.2), turn=(0.3, 0.0, 0.0), gripper=0.0)
    found = scores_of([(right, other) for other in (right, beside, turned, shut, all_off)])
    root3 = math.sqrt(3)
    wanted = [0.0, 2 / root3, 3 / root3, 4 / root3, math.sqrt((4 + 9 + 16) / 3)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def test_the_mean_is_over_the_warping_path() -> None:
    """Three frames against two: 0-0, 1-0, 2-1 with errors 0, 1, 0 of the position's scale."""
    action = resting(3)
    action[:, 0] = [0.0, 0.02, 1.0]
    state = resting(3)
    state[:, 0] = [0.0, 0.0, 1.0]
    (found,) = scores_of([(action, state)])
    # The path 0-0, 0-1, 1-1, 2-2 costs the same as 0-0, 1-1, 2-2 and ties go to the diagonal.
    assert found == pytest.approx(1 / math.sqrt(3) / 3, rel=1e-5)


def test_joints_count_by_their_root_mean_square() -> None:
    action = np.tile([0.1, 0.2, 0.3, 1.0], (4, 1))
    state = action + np.array([0.05, -0.05, 0.05, 0.0])
    (three,) = scores_of([(action, state)], names=JOINT_NAMES, space="joint")
    assert three == pytest.approx(1 / math.sqrt(2), rel=1e-5)
    six = (*(f"right_joint_{k}" for k in range(6)), "right_gripper")
    doubled = [np.hstack([side[:, :3], side]) for side in (action, state)]
    (twice,) = scores_of([tuple(doubled)], names=six, space="joint")
    assert twice == pytest.approx(three, rel=1e-5)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_a_second_arm_with_the_same_errors_leaves_the_score(seed: int) -> None:
    action, state = clean(np.random.default_rng(seed), frames=40)
    one = scores_of([(action, state)])
    two = scores_of(
        [(np.hstack([action, action]), np.hstack([state, state]))],
        names=TWO_ARMS,
        arms=("right", "left"),
    )
    np.testing.assert_allclose(two, one, rtol=1e-4)


def test_the_released_score_grows_with_dimensions() -> None:
    action, state = clean(np.random.default_rng(3), frames=60)
    one = released_of([(action, state)])
    two = released_of([(np.hstack([action, action]), np.hstack([state, state]))], names=TWO_ARMS)
    np.testing.assert_allclose(two, one * math.sqrt(2), rtol=1e-6)


def test_opposite_quaternions_are_one_rotation() -> None:
    action, state = clean(np.random.default_rng(0), frames=60)
    opposite = state.copy()
    opposite[:, 3:7] *= -1
    mixed = state.copy()
    mixed[::2, 3:7] *= -1
    found = scores_of([(action, state), (action, opposite), (action, mixed)])
    np.testing.assert_array_equal(found[1:], found[0])
    released = released_of([(action, state), (action, opposite)])
    assert released[1] > 2 * released[0]  # the fault


def test_a_wrap_at_half_a_turn_is_a_small_error() -> None:
    """Yaw of pi - 0.01 and -(pi - 0.01): 0.02 rad apart, 2.0 in components (papers of FineVLA)."""
    plus = resting(4, turn=(0.0, 0.0, math.pi - 0.01))
    minus = resting(4, turn=(0.0, 0.0, -(math.pi - 0.01)))
    assert np.linalg.norm(plus[0, 3:7] - minus[0, 3:7]) == pytest.approx(2.0, abs=1e-3)
    (found,) = scores_of([(plus, minus)])
    assert found == pytest.approx(0.02 / 0.1 / math.sqrt(3), rel=1e-3)


@pytest.mark.parametrize("arm", ["right", "left"])
def test_both_arms_are_looked_at(arm: str) -> None:
    rng = np.random.default_rng(5)
    (a, s), (b, t) = clean(rng, frames=60), clean(rng, frames=60)
    broken = b[::-1] if arm == "left" else b
    other = a[::-1] if arm == "right" else a
    good, bad = scores_of(
        [(np.hstack([a, b]), np.hstack([s, t])), (np.hstack([other, broken]), np.hstack([s, t]))],
        names=TWO_ARMS,
        arms=("right", "left"),
    )
    assert bad > 4 * good
    released = released_of(
        [(np.hstack([a, b]), np.hstack([s, t])), (np.hstack([other, broken]), np.hstack([s, t]))],
        names=TWO_ARMS,
        arms=("right",),
    )
    if arm == "left":  # the fault: in Galaxea and RDT only the right arm is compared
        assert released[0] == released[1]


def test_the_gripper_is_looked_at() -> None:
    action, state = clean(np.random.default_rng(7), frames=60)
    inverted = action.copy()
    inverted[:, 7] = 1 - inverted[:, 7]
    good, bad = scores_of([(action, state), (inverted, state)])
    assert bad > 3 * good
    released = released_of([(action, state), (inverted, state)])
    assert released[0] == released[1]  # the fault


def test_lag_is_no_error() -> None:
    found, released = [], []
    for lag in (0, 6):
        pairs = [clean(np.random.default_rng(seed), frames=90, lag=lag) for seed in range(8)]
        found.append(np.median(scores_of(pairs)))
        released.append(np.median(released_of(pairs)))
    assert found[1] < 1.6 * found[0]
    assert released[1] > 2.5 * released[0]  # the fault


def test_an_absent_arm_and_an_unknown_gripper_do_not_count() -> None:
    """In half of a part's episodes the left arm is NaN, or constant and not named."""
    rng = np.random.default_rng(9)
    action, state = clean(rng, frames=50)
    nothing = np.full_like(action, np.nan)
    still = np.tile(resting(1), (50, 1))
    pairs = [
        (np.hstack([action, nothing]), np.hstack([state, nothing])),
        (np.hstack([action, still]), np.hstack([state, still])),
    ]
    tracks = tracks_of(pairs, names=TWO_ARMS)
    groups = part_groups(tracks, scales=SCALES)
    present = present_groups(tracks, groups, [["right", "left"], ["right"]])
    assert present[:, :3].all()
    assert not present[:, 3:].any()
    found = action_state_scores(tracks, groups, present, np.ones(2, bool), threads=1)
    (alone,) = scores_of([(action, state)])
    np.testing.assert_allclose(found, alone, rtol=1e-5)
    unknown = action.copy()
    unknown[:, 7] = np.nan
    (without,) = scores_of([(unknown, state)])
    assert np.isfinite(without)


def test_an_arm_alone_that_is_nan_is_present() -> None:
    nothing = np.full((10, 8), np.nan)
    tracks = tracks_of([(nothing, nothing)])
    groups = part_groups(tracks, scales=SCALES)
    present = present_groups(tracks, groups, [["right"]])
    assert present[0, :2].all()


def test_one_frame_has_a_score() -> None:
    (found,) = scores_of([(resting(1), resting(1, position=(0.3, 0.02, 0.2)))])
    assert found == pytest.approx(1 / math.sqrt(3), rel=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_wild_but_finite_numbers_are_scored(sign: int) -> None:
    action, state = clean(np.random.default_rng(2), frames=30)
    wild = action * np.array([sign * 1e30, 1, 1, 1, 1, 1, 1, 1])
    (found,) = scores_of([(wild, state)])
    assert 1e6 < found < np.inf


class TestReleased:
    """By hand, from the description of the released code."""

    def test_range_normalised_mean(self) -> None:
        """r = 1.0 for x; the errors are 0, 0.1, 0.2 of it."""
        state = np.array([[0.0], [0.5], [1.0]])
        action = np.array([[0.0], [0.4], [0.8]])
        found = released_scores(state, action, np.array([0, 3]))
        assert found[0] == pytest.approx(0.1)

    def test_a_dimension_of_small_range_does_not_count(self) -> None:
        state = np.array([[0.0, 0.0], [1.0, 0.049]])
        action = np.array([[0.0, 0.049], [0.0, 0.0]])
        # Only x: errors 0 and 1 of range 1.
        assert released_scores(state, action, np.array([0, 2]))[0] == pytest.approx(0.5)

    def test_an_offset_between_two_still_dimensions_does_not_count(self) -> None:
        state = np.array([[0.0, 0.0], [1.0, 0.0]])
        action = np.array([[0.0, 0.5], [1.0, 0.5]])
        assert released_scores(state, action, np.array([0, 2]))[0] == 0.0

    def test_static_sides(self) -> None:
        still, moving = np.zeros((4, 2)), np.arange(8.0).reshape(4, 2)
        offsets = np.array([0, 4])
        assert released_scores(still, moving, offsets)[0] == np.inf
        assert released_scores(moving, still, offsets)[0] == np.inf
        assert released_scores(still, still + 1, offsets)[0] == 0.0

    def test_one_frame_and_nan(self) -> None:
        values = np.array([[0.0], [1.0], [np.nan], [0.0]])
        found = released_scores(values, values, np.array([0, 1, 3, 4]))
        assert np.isnan(found).all()

    def test_many_at_once_are_as_each_alone(self) -> None:
        rng = np.random.default_rng(1)
        pairs = [clean(rng) for _ in range(6)]
        joined = released_of(pairs)
        np.testing.assert_allclose(joined, [released_of([pair])[0] for pair in pairs], rtol=1e-12)
