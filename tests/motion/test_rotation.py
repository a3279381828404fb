"""Encodings: round trips, singular places, broken rows; scipy and numpy-quaternion as oracles."""

from __future__ import annotations

import warnings
from typing import get_args

import numpy as np
import pytest
import quaternion as numpy_quaternion
from hypothesis import given, settings
from hypothesis import strategies as st
from motion.rotations import (
    IDENTITY,
    PI,
    angles,
    as_numpy_quaternion,
    as_scipy,
    assert_same_rotation,
    axes,
    from_numpy_quaternion,
    quaternions,
    random_quaternions,
    trajectories,
)
from scipy.spatial.transform import Rotation

from finedata.errors import FeatureError
from finedata.motion import (
    ENCODING_WIDTH,
    RotationEncoding,
    apply_fixed_rotation,
    count_wrap_jumps,
    decide_quaternion_or_euler,
    from_quaternion_xyzw,
    geodesic_angle_rad,
    to_quaternion_xyzw,
)

quick = settings(deadline=None, max_examples=60)
encodings = pytest.mark.parametrize("encoding", list(ENCODING_WIDTH))
Q = random_quaternions(500, seed=5)
BRIDGE_DEFAULT = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]

# The same rotations in each encoding, by scipy.
BY_SCIPY = {
    "quaternion_xyzw": lambda r: r.as_quat(),
    "quaternion_wxyz": lambda r: r.as_quat(scalar_first=True),
    "euler_xyz_extrinsic": lambda r: r.as_euler("xyz"),
    "rotation_vector": lambda r: r.as_rotvec(),
    "rotation_matrix": lambda r: r.as_matrix().reshape(-1, 9),
    "rotation_6d": lambda r: np.concatenate([r.as_matrix()[..., 0], r.as_matrix()[..., 1]], axis=1),
}


def test_the_table_of_widths_names_every_encoding():
    assert set(ENCODING_WIDTH) == set(get_args(RotationEncoding))
    assert list(ENCODING_WIDTH.values()) == [4, 4, 3, 3, 9, 6]


@encodings
@quick
@given(rows=trajectories())
def test_round_trip_from_any_rotation(encoding, rows):
    written = from_quaternion_xyzw(rows, encoding=encoding)
    assert written.shape == (len(rows), ENCODING_WIDTH[encoding])
    read = to_quaternion_xyzw(written, encoding=encoding)
    np.testing.assert_allclose(np.linalg.norm(read, axis=1), 1.0, rtol=0, atol=1e-15)
    assert_same_rotation(read, rows, atol=1e-11)


@encodings
@quick
@given(rows=trajectories())
def test_q_and_minus_q_are_written_alike(encoding, rows):
    written = from_quaternion_xyzw(rows, encoding=encoding)
    negated = from_quaternion_xyzw(-rows, encoding=encoding)
    if encoding.startswith("quaternion"):
        negated = -negated
    np.testing.assert_array_equal(written, negated)


@encodings
def test_reading_and_writing_agree_with_scipy(encoding):
    wanted = BY_SCIPY[encoding](as_scipy(Q))
    assert_same_rotation(to_quaternion_xyzw(wanted, encoding=encoding), Q, atol=1e-13)
    found = from_quaternion_xyzw(Q, encoding=encoding)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_reading_and_writing_agree_with_numpy_quaternion():
    matrix = numpy_quaternion.as_rotation_matrix(as_numpy_quaternion(Q))
    vector = numpy_quaternion.as_rotation_vector(as_numpy_quaternion(Q))
    for values, encoding in ((matrix, "rotation_matrix"), (vector, "rotation_vector")):
        assert_same_rotation(to_quaternion_xyzw(values, encoding=encoding), Q, atol=1e-12)
    own = from_quaternion_xyzw(Q, encoding="rotation_vector")
    assert_same_rotation(
        from_numpy_quaternion(numpy_quaternion.from_rotation_vector(own)), Q, atol=1e-12
    )


@encodings
@quick
@given(data=st.data())
def test_a_row_does_not_depend_on_its_neighbours_to_the_last_bit(encoding, data):
    cut = data.draw(st.integers(1, len(Q) - 1))
    noisy = BY_SCIPY[encoding](as_scipy(Q)) + 1e-4 * np.sin(np.arange(len(Q)))[:, None]
    read = to_quaternion_xyzw(noisy, encoding=encoding)
    written = from_quaternion_xyzw(Q, encoding=encoding)
    for rows in (slice(0, cut), slice(cut, None), slice(cut - 1, cut)):
        np.testing.assert_array_equal(
            to_quaternion_xyzw(noisy[rows], encoding=encoding), read[rows]
        )
        np.testing.assert_array_equal(
            from_quaternion_xyzw(Q[rows], encoding=encoding), written[rows]
        )


@encodings
def test_long_trajectories_are_read_in_blocks_without_a_seam(encoding):
    many = np.tile(Q, (40, 1))
    written = from_quaternion_xyzw(many, encoding=encoding)
    np.testing.assert_array_equal(written[-500:], from_quaternion_xyzw(Q, encoding=encoding))
    read = to_quaternion_xyzw(written, encoding=encoding)
    assert read.shape == many.shape
    assert_same_rotation(read, many, atol=1e-13)


@encodings
def test_broken_rows_become_nan_without_warnings(encoding):
    values = np.tile(from_quaternion_xyzw(Q[:1], encoding=encoding), (5, 1))
    values[1, 0], values[2, -1], values[3] = np.nan, np.inf, 1e308
    read = to_quaternion_xyzw(values, encoding=encoding)
    assert np.isnan(read[[1, 2]]).all()
    assert np.isnan(read[3]).all() or encoding in ("euler_xyz_extrinsic",)
    np.testing.assert_array_equal(read[0], read[4])
    assert np.isfinite(read[0]).all()
    rows = np.array([Q[0], [np.nan, 0, 0, 1], [0, 0, 0, 0], [0, np.inf, 0, 0]])
    written = from_quaternion_xyzw(rows, encoding=encoding)
    assert np.isnan(written[1:]).all()
    assert np.isfinite(written[0]).all()


@encodings
def test_empty_trajectories(encoding):
    assert to_quaternion_xyzw(np.empty((0, ENCODING_WIDTH[encoding])), encoding=encoding).shape == (
        0,
        4,
    )
    assert from_quaternion_xyzw(np.empty((0, 4)), encoding=encoding).shape == (
        0,
        ENCODING_WIDTH[encoding],
    )


@encodings
def test_a_wrong_width_is_named(encoding):
    width = ENCODING_WIDTH[encoding]
    with pytest.raises(
        FeatureError, match=rf"{encoding}: found .*\(2, {width + 1}\).*wanted \(T, {width}\)"
    ):
        to_quaternion_xyzw(np.zeros((2, width + 1)), encoding=encoding)
    with pytest.raises(FeatureError, match=r"wanted \(T, "):
        to_quaternion_xyzw(np.zeros(width), encoding=encoding)
    with pytest.raises(FeatureError, match=r"wanted \(T, 4\)"):
        from_quaternion_xyzw(np.zeros((2, 5)), encoding=encoding)


def test_an_unknown_encoding_is_named():
    with pytest.raises(FeatureError, match="'euler'"):
        to_quaternion_xyzw(np.zeros((1, 3)), encoding="euler")
    with pytest.raises(FeatureError, match="'euler'"):
        from_quaternion_xyzw(Q, encoding="euler")


@encodings
@pytest.mark.parametrize("dtype", [np.float32, np.int64, list])
def test_any_numbers_are_taken(encoding, dtype):
    identity = from_quaternion_xyzw(IDENTITY[None], encoding=encoding)
    values = identity.tolist() if dtype is list else identity.astype(dtype)
    read = to_quaternion_xyzw(values, encoding=encoding)
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, IDENTITY[None])


def test_the_input_is_left_as_it_was():
    for encoding in ENCODING_WIDTH:
        values = from_quaternion_xyzw(Q, encoding=encoding) * 1.0001
        before = values.copy()
        to_quaternion_xyzw(values, encoding=encoding)
        np.testing.assert_array_equal(values, before)


# quaternions


def test_quaternions_are_normalised_and_keep_their_sign():
    np.testing.assert_allclose(
        to_quaternion_xyzw(-3 * Q, encoding="quaternion_xyzw"), -Q, rtol=0, atol=1e-15
    )
    wxyz = to_quaternion_xyzw([[-2.0, 0.0, 0.0, 0.0]], encoding="quaternion_wxyz")
    np.testing.assert_array_equal(wxyz, [[0, 0, 0, -1]])


# euler angles


@quick
@given(angles, angles, angles)
def test_euler_is_about_fixed_x_then_y_then_z(roll, pitch, yaw):
    def about(axis, angle):
        return to_quaternion_xyzw([np.eye(3)[axis] * angle], encoding="rotation_vector")

    rotation = Rotation.from_quat(about(2, yaw)) * Rotation.from_quat(about(1, pitch))
    wanted = (rotation * Rotation.from_quat(about(0, roll))).as_quat()
    found = to_quaternion_xyzw([[roll, pitch, yaw]], encoding="euler_xyz_extrinsic")
    assert_same_rotation(found, wanted, atol=1e-14)
    assert_same_rotation(
        found, Rotation.from_euler("xyz", [roll, pitch, yaw]).as_quat(), atol=1e-14
    )


@quick
@given(st.floats(-PI, PI), st.floats(-PI / 2 + 1e-4, PI / 2 - 1e-4), st.floats(-PI, PI))
def test_euler_angles_come_back(roll, pitch, yaw):
    read = to_quaternion_xyzw([[roll, pitch, yaw]], encoding="euler_xyz_extrinsic")
    found = from_quaternion_xyzw(read, encoding="euler_xyz_extrinsic")[0]
    off = np.abs(found - [roll, pitch, yaw])
    # pi and -pi are one angle.
    assert np.minimum(off, np.abs(off - 2 * PI)).max() < 1e-9


@quick
@given(
    st.floats(-PI, PI),
    st.sampled_from([-1, 1]),
    st.one_of(
        st.just(0.0), st.floats(1e-17, 1e-3), st.sampled_from([1e-13, 1e-12, 1e-11, 1e-8, 4e-8])
    ),
    st.floats(-PI, PI),
)
def test_round_trip_near_gimbal_lock(roll, side, short_rad, yaw):
    read = to_quaternion_xyzw(
        [[roll, side * (PI / 2 - short_rad), yaw]], encoding="euler_xyz_extrinsic"
    )
    written = from_quaternion_xyzw(read, encoding="euler_xyz_extrinsic")
    assert np.abs(written[0]).max() <= PI
    again = to_quaternion_xyzw(written, encoding="euler_xyz_extrinsic")
    assert geodesic_angle_rad(read, again)[0] < 1e-11


@quick
@given(st.floats(-PI, PI), st.sampled_from([-1, 1]), st.floats(-PI, PI))
def test_yaw_is_zero_at_gimbal_lock_as_on_the_bridge_robot(roll, side, yaw):
    read = to_quaternion_xyzw([[roll, side * PI / 2, yaw]], encoding="euler_xyz_extrinsic")
    found = from_quaternion_xyzw(read, encoding="euler_xyz_extrinsic")[0]
    assert found[2] == 0.0
    assert found[1] == pytest.approx(side * PI / 2, abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy says that it also sets the third angle to zero
        wanted = as_scipy(read).as_euler("xyz")[0]
    turn = (found[0] - wanted[0]) / (2 * PI)
    assert turn == pytest.approx(round(turn), abs=1e-9)


def test_a_gripper_that_points_down_gives_half_turns_of_roll():
    down = to_quaternion_xyzw([[PI, 0.0, 0.3], [-PI, 0.0, 0.3]], encoding="euler_xyz_extrinsic")
    assert_same_rotation(down[0], down[1], atol=1e-15)
    found = from_quaternion_xyzw(down, encoding="euler_xyz_extrinsic")
    np.testing.assert_allclose(np.abs(found[:, 0]), PI, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found[:, 2], 0.3, rtol=0, atol=1e-15)


# rotation vectors


def test_the_zero_vector_is_exactly_the_identity():
    read = to_quaternion_xyzw(np.zeros((1, 3)), encoding="rotation_vector")
    np.testing.assert_array_equal(read, IDENTITY[None])
    np.testing.assert_array_equal(
        from_quaternion_xyzw(read, encoding="rotation_vector"), np.zeros((1, 3))
    )


@quick
@given(
    axes(), st.one_of(st.floats(1e-12, PI), st.sampled_from([1e-300, 1e-160, 1e-20, PI - 1e-12]))
)
def test_rotation_vectors_come_back(axis, angle_rad):
    vector = (axis * angle_rad)[None]
    read = to_quaternion_xyzw(vector, encoding="rotation_vector")
    found = from_quaternion_xyzw(read, encoding="rotation_vector")
    assert np.linalg.norm(found) <= PI * (1 + 1e-15)
    if angle_rad < PI - 1e-13:
        np.testing.assert_allclose(found, vector, rtol=1e-12, atol=1e-15 * min(1.0, angle_rad))
    assert_same_rotation(to_quaternion_xyzw(found, encoding="rotation_vector"), read, atol=1e-15)


@quick
@given(axes(), st.floats(PI, 2 * PI))
def test_rotation_vectors_beyond_half_a_turn_come_back_the_short_way(axis, angle_rad):
    read = to_quaternion_xyzw((axis * angle_rad)[None], encoding="rotation_vector")
    found = from_quaternion_xyzw(read, encoding="rotation_vector")[0]
    assert np.linalg.norm(found) == pytest.approx(2 * PI - angle_rad, abs=1e-14)


# matrices


def test_matrices_may_be_nine_columns_or_three_by_three():
    matrix = as_scipy(Q).as_matrix()
    np.testing.assert_array_equal(
        to_quaternion_xyzw(matrix, encoding="rotation_matrix"),
        to_quaternion_xyzw(matrix.reshape(-1, 9), encoding="rotation_matrix"),
    )


def test_matrices_are_read_row_by_row():
    # A quarter turn about z takes x to y: the first column is (0, 1, 0).
    read = to_quaternion_xyzw([[0, -1, 0, 1, 0, 0, 0, 0, 1]], encoding="rotation_matrix")
    np.testing.assert_allclose(read, [[0, 0, 0.5**0.5, 0.5**0.5]], rtol=0, atol=1e-15)
    read = to_quaternion_xyzw([[0, 1, 0, -1, 0, 0]], encoding="rotation_6d")
    np.testing.assert_allclose(read, [[0, 0, 0.5**0.5, 0.5**0.5]], rtol=0, atol=1e-15)


@pytest.mark.parametrize("noise", [1e-12, 1e-7, 1e-4, 1e-2])
def test_noisy_matrices_become_the_nearest_rotation(noise):
    matrix = as_scipy(Q).as_matrix()
    matrix = matrix + np.random.default_rng(6).uniform(-noise, noise, matrix.shape)
    left, _, right = np.linalg.svd(matrix)
    found = from_quaternion_xyzw(
        to_quaternion_xyzw(matrix, encoding="rotation_matrix"), encoding="rotation_matrix"
    )
    np.testing.assert_allclose(found, (left @ right).reshape(-1, 9), rtol=0, atol=1e-13)


def test_float32_matrices_cost_float32_digits_only():
    matrix = as_scipy(Q).as_matrix().astype(np.float32)
    assert_same_rotation(to_quaternion_xyzw(matrix, encoding="rotation_matrix"), Q, atol=1e-7)


@pytest.mark.parametrize(
    "matrix",
    [
        np.diag([1.0, 1.0, -1.0]),
        -np.eye(3),
        np.zeros((3, 3)),
        np.ones((3, 3)),
        1000.0 * np.eye(3),
        np.diag([1.0, 1.0, 0.5]),
    ],
)
def test_a_matrix_that_is_no_rotation_is_nan(matrix):
    read = to_quaternion_xyzw([np.eye(3), matrix, np.eye(3)], encoding="rotation_matrix")
    assert np.isnan(read[1]).all()
    np.testing.assert_array_equal(read[[0, 2]], [IDENTITY, IDENTITY])


def test_half_turns_read_from_matrices():
    half_turns = np.concatenate([np.eye(3), random_quaternions(50, seed=7)[:, :3]])
    half_turns = np.concatenate([half_turns, np.zeros((len(half_turns), 1))], axis=1)
    half_turns /= np.linalg.norm(half_turns, axis=1, keepdims=True)
    matrix = from_quaternion_xyzw(half_turns, encoding="rotation_matrix")
    assert_same_rotation(
        to_quaternion_xyzw(matrix, encoding="rotation_matrix"), half_turns, atol=1e-15
    )


@quick
@given(quaternions(), st.floats(0.1, 10), st.floats(0.1, 10), st.floats(-5, 5))
def test_6d_columns_are_made_orthonormal(q, length_a, length_b, along):
    columns = from_quaternion_xyzw(q[None], encoding="rotation_6d")[0]
    a, b = columns[:3], columns[3:]
    skewed = np.concatenate([length_a * a, length_b * b + along * a])[None]
    assert_same_rotation(to_quaternion_xyzw(skewed, encoding="rotation_6d"), q, atol=1e-12)


@pytest.mark.parametrize(
    "columns",
    [[0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0], [1, 2, 3, -2, -4, -6], [1, 2, 3, -2, -4, -6 + 1e-9]],
)
def test_6d_columns_without_a_plane_are_nan(columns):
    assert np.isnan(to_quaternion_xyzw([columns], encoding="rotation_6d")).all()


# fixed rotations, wraps


def test_a_fixed_rotation_goes_to_the_right():
    found = apply_fixed_rotation(Q, BRIDGE_DEFAULT)
    wanted = as_scipy(Q) * Rotation.from_matrix(BRIDGE_DEFAULT)
    assert_same_rotation(found, wanted.as_quat(), atol=1e-14)
    np.testing.assert_array_equal(found, apply_fixed_rotation(Q, np.ravel(BRIDGE_DEFAULT)))
    # At rpy = 0 the gripper's x axis looks straight down.
    down = from_quaternion_xyzw(
        apply_fixed_rotation(IDENTITY[None], BRIDGE_DEFAULT), encoding="rotation_6d"
    )
    np.testing.assert_allclose(down[0, :3], [0, 0, -1], rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "matrix", [np.zeros((3, 3)), np.diag([1, 1, -1]), np.eye(2), np.full((3, 3), np.nan)]
)
def test_a_fixed_rotation_that_is_none_is_refused(matrix):
    with pytest.raises(FeatureError, match="a fixed rotation"):
        apply_fixed_rotation(Q, matrix)


def test_wrap_jumps_are_steps_not_components():
    rows = np.array(
        [[3.1, 0, 3.1], [-3.1, 0, -3.1], [-3.1, 0, 0], [-3.1, 0.1, np.nan], [3.1, 0, np.inf]]
    )
    assert count_wrap_jumps(rows) == 2
    assert count_wrap_jumps(rows[:1]) == 0
    assert count_wrap_jumps([[0.0, 0, 0], [PI, 0, 0]]) == 0
    assert count_wrap_jumps([[np.inf, 0, 0], [np.inf, 0, 0]]) == 0


# deciding between a quaternion and angles


def test_unit_rows_are_quaternions_and_one_other_is_enough():
    rows = random_quaternions(50)
    assert decide_quaternion_or_euler(rows) == "quaternion_xyzw"
    assert decide_quaternion_or_euler(-1.0009 * rows) == "quaternion_xyzw"
    assert decide_quaternion_or_euler(np.round(rows, 4)) == "quaternion_xyzw"
    rows[31] *= 1.0011
    assert decide_quaternion_or_euler(rows) == "euler_xyz_extrinsic"
    rows[31] = np.nan
    assert decide_quaternion_or_euler(rows) == "quaternion_xyzw"
    rows[30] = np.inf
    assert decide_quaternion_or_euler(rows) == "quaternion_xyzw"
    assert decide_quaternion_or_euler(np.zeros((3, 4))) == "euler_xyz_extrinsic"
    assert decide_quaternion_or_euler([[3.1, 0.2, -1.2, 0.05]]) == "euler_xyz_extrinsic"
    with pytest.raises(FeatureError):
        decide_quaternion_or_euler(np.zeros((3, 3)))
