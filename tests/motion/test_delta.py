"""Integrated deltas: against homogeneous matrices, re-differenced, cut in two, and broken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion.rotations import IDENTITY, as_scipy, assert_same_rotation, random_quaternions
from scipy.spatial.transform import Rotation

from finedata.errors import FeatureError, LengthError
from finedata.motion import (
    conjugate,
    count_sign_flips,
    from_quaternion_xyzw,
    integrate_targets,
    multiply,
    rotate,
    to_quaternion_xyzw,
)

quick = settings(deadline=None, max_examples=40)
ROTATIONS = ["base_left", "base_left_about_measured", "tool_right"]
ALL = [*ROTATIONS, "component_sum"]


def episode(seed, frames=12, *, encoding="euler_xyz_extrinsic"):
    """Arguments of `integrate_targets` for a random episode, but the composition."""
    draw = np.random.default_rng(seed)
    turn = to_quaternion_xyzw(0.3 * draw.normal(size=(frames, 3)), encoding="rotation_vector")
    measured = random_quaternions(frames, seed=seed + 1000)
    return {
        "delta_position_m": 0.05 * draw.normal(size=(frames, 3)),
        "delta_rotation": from_quaternion_xyzw(turn, encoding=encoding),
        "encoding": encoding,
        "start_position_m": draw.normal(size=3),
        "start_quaternion_xyzw": measured[0],
        "measured_position_m": draw.normal(size=(frames, 3)),
        "measured_quaternion_xyzw": measured,
        "measured_rotation": from_quaternion_xyzw(measured, encoding=encoding),
    }


def homogeneous(position_m, rotation):
    matrix = np.eye(4)
    matrix[:3, :3] = rotation if isinstance(rotation, np.ndarray) else rotation.as_matrix()
    matrix[:3, 3] = position_m
    return matrix


def shift(position_m):
    return homogeneous(position_m, np.eye(3))


def by_matrices(arguments, composition, refers_to):
    """The same by 4x4 matrices and scipy, frame by frame, as the sources' own code has it."""
    target = homogeneous(
        arguments["start_position_m"], as_scipy(arguments["start_quaternion_xyzw"])
    )
    found = []
    for t, delta_m in enumerate(arguments["delta_position_m"]):
        measured_m = arguments["measured_position_m"][t]
        if refers_to == "measured":
            target = homogeneous(measured_m, as_scipy(arguments["measured_quaternion_xyzw"][t]))
        turn = Rotation.from_euler("xyz", arguments["delta_rotation"][t])
        step = homogeneous(delta_m, turn)
        if composition == "tool_right":
            target = target @ step
        elif composition == "base_left_about_measured":
            # widowx_envs: C dT C^-1 T_prev, with C the shift to the measured position.
            target = shift(measured_m) @ step @ shift(-measured_m) @ target
        else:
            target = shift(delta_m) @ homogeneous(target[:3, 3], turn.as_matrix() @ target[:3, :3])
        found.append(target)
    poses = np.array(found)
    return poses[:, :3, 3], Rotation.from_matrix(poses[:, :3, :3]).as_quat()


@pytest.mark.parametrize("refers_to", ["previous_target", "measured"])
@pytest.mark.parametrize("composition", ROTATIONS)
@quick
@given(seed=st.integers(0, 10_000))
def test_agrees_with_homogeneous_matrices(composition, refers_to, seed):
    arguments = episode(seed)
    position_m, quaternion = integrate_targets(
        **arguments, composition=composition, refers_to=refers_to
    )
    wanted_m, wanted = by_matrices(arguments, composition, refers_to)
    np.testing.assert_allclose(position_m, wanted_m, rtol=0, atol=1e-12)
    assert_same_rotation(quaternion, wanted, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(quaternion, axis=1), 1.0, rtol=0, atol=1e-15)


@quick
@given(seed=st.integers(0, 10_000))
def test_compositions_differ(seed):
    arguments = episode(seed)
    ends = [integrate_targets(**arguments, composition=c, refers_to="previous_target") for c in ALL]
    for first in range(len(ALL)):
        for second in range(first):
            gap_m = np.abs(ends[first][0][-1] - ends[second][0][-1]).max()
            gap = np.abs(ends[first][1][-1] - ends[second][1][-1]).max()
            assert gap_m > 1e-6 or gap > 1e-6


@quick
@given(seed=st.integers(0, 10_000))
def test_deltas_of_a_trajectory_come_back_when_it_is_differenced(seed):
    arguments = episode(seed, encoding="rotation_vector")
    turns = to_quaternion_xyzw(arguments["delta_rotation"], encoding="rotation_vector")
    for composition in ("base_left", "tool_right"):
        position_m, quaternion = integrate_targets(
            **arguments, composition=composition, refers_to="previous_target"
        )
        before_m = np.vstack([arguments["start_position_m"], position_m[:-1]])
        before = np.vstack([arguments["start_quaternion_xyzw"], quaternion[:-1]])
        if composition == "base_left":
            moved_m, turned = position_m - before_m, multiply(quaternion, conjugate(before))
        else:
            moved_m = rotate(conjugate(before), position_m - before_m)
            turned = multiply(conjugate(before), quaternion)
        np.testing.assert_allclose(moved_m, arguments["delta_position_m"], rtol=0, atol=1e-12)
        assert_same_rotation(turned, turns, atol=1e-12)


@pytest.mark.parametrize("encoding", ["quaternion_wxyz", "rotation_vector", "rotation_matrix"])
@pytest.mark.parametrize("composition", ROTATIONS)
def test_the_encoding_of_a_step_does_not_matter(composition, encoding):
    wanted = integrate_targets(**episode(3), composition=composition, refers_to="previous_target")
    found = integrate_targets(
        **episode(3, encoding=encoding), composition=composition, refers_to="previous_target"
    )
    np.testing.assert_allclose(found[0], wanted[0], rtol=0, atol=1e-12)
    assert_same_rotation(found[1], wanted[1], atol=1e-12)


# component_sum


def test_component_sum_adds_numbers_to_the_measured_ones():
    # BC-Z: rotation vectors are added; composing them gives another rotation.
    arguments = episode(4, encoding="rotation_vector")
    position_m, quaternion = integrate_targets(
        **arguments, composition="component_sum", refers_to="measured"
    )
    np.testing.assert_array_equal(
        position_m, arguments["measured_position_m"] + arguments["delta_position_m"]
    )
    summed = arguments["measured_rotation"] + arguments["delta_rotation"]
    assert_same_rotation(quaternion, Rotation.from_rotvec(summed).as_quat(), atol=1e-14)


def test_component_sum_accumulates_from_the_start():
    arguments = episode(5)
    position_m, quaternion = integrate_targets(
        **arguments, composition="component_sum", refers_to="previous_target"
    )
    first = as_scipy(arguments["start_quaternion_xyzw"]).as_euler("xyz")
    wanted = Rotation.from_euler("xyz", first + np.cumsum(arguments["delta_rotation"], axis=0))
    assert_same_rotation(quaternion, wanted.as_quat(), atol=1e-12)
    wanted_m = arguments["start_position_m"] + np.cumsum(arguments["delta_position_m"], axis=0)
    np.testing.assert_allclose(position_m, wanted_m, rtol=0, atol=1e-14)


# cuts, broken numbers, shapes


@pytest.mark.parametrize("composition", ROTATIONS)
@quick
@given(cut=st.integers(1, 39))
def test_going_on_from_a_cut_gives_the_same_bits(composition, cut):
    arguments = episode(6, frames=40)
    whole = integrate_targets(**arguments, composition=composition, refers_to="previous_target")

    def part(rows, **start):
        rest = {
            name: values[rows]
            for name, values in arguments.items()
            if name.startswith(("delta", "measured"))
        }
        return integrate_targets(
            **arguments | rest | start, composition=composition, refers_to="previous_target"
        )

    first = part(slice(0, cut))
    second = part(
        slice(cut, None), start_position_m=first[0][-1], start_quaternion_xyzw=first[1][-1]
    )
    for kind in (0, 1):
        np.testing.assert_array_equal(first[kind], whole[kind][:cut])
        np.testing.assert_allclose(second[kind], whole[kind][cut:], rtol=0, atol=1e-15)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("composition", ALL)
def test_broken_steps_spread_to_what_follows_from_them(composition, value):
    arguments = episode(7)
    arguments["delta_position_m"][5, 1] = value
    arguments["delta_rotation"][8, 2] = value
    position_m, quaternion = integrate_targets(
        **arguments, composition=composition, refers_to="previous_target"
    )
    assert np.isfinite(position_m[:5]).all()
    assert not np.isfinite(position_m[5:]).all(axis=1).any()
    assert np.isfinite(quaternion[:8]).all()
    assert np.isnan(quaternion[8:]).all()
    position_m, quaternion = integrate_targets(
        **arguments, composition=composition, refers_to="measured"
    )
    assert np.flatnonzero(~np.isfinite(position_m).all(axis=1)).tolist() == [5]
    assert np.flatnonzero(np.isnan(quaternion).all(axis=1)).tolist() == [8]


@pytest.mark.parametrize("refers_to", ["previous_target", "measured"])
@pytest.mark.parametrize("composition", ALL)
def test_an_episode_of_no_frames(composition, refers_to):
    arguments = episode(8)
    empty = {
        name: values[:0]
        for name, values in arguments.items()
        if name.startswith(("delta", "measured"))
    }
    position_m, quaternion = integrate_targets(
        **arguments | empty, composition=composition, refers_to=refers_to
    )
    assert position_m.shape == (0, 3)
    assert quaternion.shape == (0, 4)


@pytest.mark.parametrize(
    ("composition", "refers_to", "needed"),
    [
        ("base_left", "measured", "measured_position_m"),
        ("tool_right", "measured", "measured_quaternion_xyzw"),
        ("component_sum", "measured", "measured_rotation"),
        ("base_left_about_measured", "previous_target", "measured_position_m"),
    ],
)
def test_what_is_needed_and_missing_is_named(composition, refers_to, needed):
    with pytest.raises(FeatureError, match=needed):
        integrate_targets(
            **episode(9) | {needed: None}, composition=composition, refers_to=refers_to
        )


def test_lengths_and_shapes_are_checked():
    for name in ("delta_rotation", "measured_position_m", "measured_quaternion_xyzw"):
        arguments = episode(10)
        arguments[name] = arguments[name][:-1]
        with pytest.raises(LengthError, match=f"{name}: found 11 rows, wanted 12"):
            integrate_targets(**arguments, composition="tool_right", refers_to="measured")
    with pytest.raises(FeatureError, match="delta_position_m"):
        integrate_targets(
            **episode(10) | {"delta_position_m": np.zeros(12)},
            composition="base_left",
            refers_to="measured",
        )


def test_ten_thousand_steps_stay_on_the_sphere():
    arguments = episode(11, frames=10_000)
    _, quaternion = integrate_targets(
        **arguments, composition="base_left", refers_to="previous_target"
    )
    np.testing.assert_allclose(np.linalg.norm(quaternion, axis=1), 1.0, rtol=0, atol=1e-15)
    whole = Rotation.identity()
    for turn in Rotation.from_euler("xyz", arguments["delta_rotation"]):
        whole = turn * whole
    wanted = whole * as_scipy(arguments["start_quaternion_xyzw"])
    assert_same_rotation(quaternion[-1], wanted.as_quat(), atol=1e-11)


def test_the_start_needs_no_unit_norm():
    arguments = episode(12)
    wanted = integrate_targets(**arguments, composition="tool_right", refers_to="previous_target")
    arguments["start_quaternion_xyzw"] = 3.0 * arguments["start_quaternion_xyzw"]
    found = integrate_targets(**arguments, composition="tool_right", refers_to="previous_target")
    np.testing.assert_allclose(found[0], wanted[0], rtol=0, atol=1e-14)


def test_small_turns_are_continuous_in_sign():
    arguments = episode(13, frames=200)
    for composition in ROTATIONS:
        _, quaternion = integrate_targets(
            **arguments, composition=composition, refers_to="previous_target"
        )
        assert count_sign_flips(quaternion) == 0


def test_the_identity_stays():
    position_m, quaternion = integrate_targets(
        delta_position_m=np.zeros((3, 3)),
        delta_rotation=np.zeros((3, 3)),
        encoding="rotation_vector",
        composition="tool_right",
        refers_to="previous_target",
        start_position_m=np.zeros(3),
        start_quaternion_xyzw=IDENTITY,
    )
    np.testing.assert_array_equal(position_m, np.zeros((3, 3)))
    np.testing.assert_array_equal(quaternion, np.tile(IDENTITY, (3, 1)))
