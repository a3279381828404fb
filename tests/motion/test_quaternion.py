"""Quaternion algebra: laws by hypothesis, numbers against scipy and numpy-quaternion."""

from __future__ import annotations

import numpy as np
import pytest
import quaternion as numpy_quaternion
from hypothesis import given, settings
from hypothesis import strategies as st
from motion.rotations import (
    IDENTITY,
    PI,
    as_numpy_quaternion,
    as_scipy,
    assert_same_rotation,
    axes,
    from_numpy_quaternion,
    quaternions,
    random_quaternions,
    trajectories,
)

from finedata.motion import (
    canonicalise,
    conjugate,
    count_sign_flips,
    geodesic_angle_rad,
    make_sign_continuous,
    multiply,
    normalise,
    rotate,
    slerp,
)

quick = settings(deadline=None, max_examples=60)
Q, P = random_quaternions(400, seed=1), random_quaternions(400, seed=2)
BROKEN = np.array(
    [
        [0.0, 0.0, 0.0, 0.0],
        [np.nan, 0.0, 0.0, 1.0],
        [0.0, np.inf, 0.0, 1.0],
        [np.inf, np.inf, -np.inf, np.inf],
        [1e300, 1e300, 0.0, 0.0],
        [1e-200, 0.0, 0.0, 0.0],
    ]
)


def around(axis, angle_rad):
    return np.concatenate(
        [np.sin(angle_rad / 2) * np.asarray(axis, float), [np.cos(angle_rad / 2)]]
    )


# normalise


@quick
@given(quaternions(), st.floats(1e-60, 1e60))
def test_normalise_gives_norm_one_and_says_what_it_was(q, scale):
    unit, norm = normalise(scale * q)
    assert abs(np.linalg.norm(unit) - 1.0) < 1e-15
    assert norm == pytest.approx(scale * np.linalg.norm(q))
    np.testing.assert_allclose(unit, q / np.linalg.norm(q), rtol=0, atol=1e-15)


def test_rows_without_direction_are_nan_and_leave_the_others_alone():
    unit, norm = normalise(np.concatenate([Q[:2], BROKEN, Q[2:4]]))
    assert np.isnan(unit[2:-2]).all()
    np.testing.assert_allclose(unit[[0, 1, -2, -1]], Q[:4], rtol=0, atol=1e-15)
    assert norm[2] == 0.0
    assert np.isnan(norm[3])


# multiply, conjugate, rotate


@quick
@given(quaternions(), quaternions(), quaternions())
def test_multiply_is_associative_and_keeps_the_norm(a, b, c):
    left, right = multiply(multiply(a, b), c), multiply(a, multiply(b, c))
    np.testing.assert_allclose(left, right, rtol=0, atol=1e-15)
    assert abs(np.linalg.norm(left) - 1.0) < 4e-15


@quick
@given(quaternions())
def test_conjugate_is_the_inverse(q):
    np.testing.assert_allclose(multiply(q, conjugate(q)), IDENTITY, rtol=0, atol=1e-15)
    np.testing.assert_allclose(multiply(conjugate(q), q), IDENTITY, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(multiply(q, IDENTITY), q)
    np.testing.assert_array_equal(multiply(IDENTITY, q), q)


def test_multiply_turns_by_the_right_factor_first():
    about_z, about_x = around([0, 0, 1], PI / 2), around([1, 0, 0], PI / 2)
    # y goes to z about x, and stays there about z.
    np.testing.assert_allclose(
        rotate(multiply(about_z, about_x), [0, 1, 0]), [0, 0, 1], rtol=0, atol=1e-15
    )


def test_multiply_agrees_with_both_libraries():
    np.testing.assert_allclose(
        multiply(Q, P),
        from_numpy_quaternion(as_numpy_quaternion(Q) * as_numpy_quaternion(P)),
        rtol=0,
        atol=1e-15,
    )
    assert_same_rotation(multiply(Q, P), (as_scipy(Q) * as_scipy(P)).as_quat(), atol=1e-14)


def test_rotate_agrees_with_scipy_and_is_left_multiplication():
    vectors = np.random.default_rng(3).normal(size=(400, 3))
    np.testing.assert_allclose(rotate(Q, vectors), as_scipy(Q).apply(vectors), rtol=0, atol=1e-14)
    pure = np.concatenate([vectors, np.zeros((400, 1))], axis=1)
    np.testing.assert_allclose(
        rotate(Q, vectors), multiply(multiply(Q, pure), conjugate(Q))[:, :3], rtol=0, atol=1e-14
    )


def test_leading_shapes_broadcast():
    assert multiply(Q.reshape(4, 100, 4), P[0]).shape == (4, 100, 4)
    assert multiply(Q[0], P).shape == (400, 4)
    assert rotate(Q[:, None], np.eye(3)).shape == (400, 3, 3)
    assert geodesic_angle_rad(Q[:5, None], P[None, :7]).shape == (5, 7)
    assert slerp(Q[0], P[0], np.linspace(0, 1, 9)).shape == (9, 4)
    np.testing.assert_array_equal(multiply(Q, P)[17], multiply(Q[17], P[17]))
    np.testing.assert_array_equal(rotate(Q, P[:, :3])[17], rotate(Q[17], P[17, :3]))


# geodesic_angle_rad


@quick
@given(quaternions(), quaternions())
def test_angle_is_a_distance_blind_to_signs(a, b):
    angle = geodesic_angle_rad(a, b)
    assert 0.0 <= angle <= PI
    for other in (geodesic_angle_rad(b, a), geodesic_angle_rad(-a, b), geodesic_angle_rad(a, -b)):
        assert other == angle
    assert geodesic_angle_rad(a, a) == 0.0
    assert geodesic_angle_rad(a, -a) == 0.0


@quick
@given(quaternions(), quaternions(), quaternions())
def test_angle_keeps_the_triangle_inequality_and_is_invariant(a, b, c):
    angle = geodesic_angle_rad(a, b)
    assert angle <= geodesic_angle_rad(a, c) + geodesic_angle_rad(c, b) + 1e-14
    assert geodesic_angle_rad(multiply(c, a), multiply(c, b)) == pytest.approx(angle, abs=4e-15)
    assert geodesic_angle_rad(multiply(a, c), multiply(b, c)) == pytest.approx(angle, abs=4e-15)


@quick
@given(axes(), st.floats(1e-14, PI), quaternions())
def test_angle_is_that_of_the_turn(axis, turn_rad, q):
    assert geodesic_angle_rad(q, multiply(around(axis, turn_rad), q)) == pytest.approx(
        turn_rad, abs=4e-15
    )


@pytest.mark.parametrize("turn_rad", [1e-100, 1e-12, 1e-9, 1e-6])
def test_tiny_angles_keep_their_digits(turn_rad):
    # acos of the dot product answers 0 to all of these but the last.
    found = geodesic_angle_rad(IDENTITY, around([0, 1, 0], turn_rad))
    assert found == pytest.approx(turn_rad, rel=1e-14)


def test_angles_near_half_a_turn_keep_their_digits():
    for short_rad in (1e-12, 1e-9, 1e-6):
        found = geodesic_angle_rad(IDENTITY, around([0, 1, 0], PI - short_rad))
        assert found == pytest.approx(PI - short_rad, abs=1e-15)
    assert geodesic_angle_rad(IDENTITY, [1.0, 0.0, 0.0, 0.0]) == PI


def test_angle_agrees_with_both_libraries():
    found = geodesic_angle_rad(Q, P)
    np.testing.assert_allclose(
        found, (as_scipy(Q).inv() * as_scipy(P)).magnitude(), rtol=0, atol=1e-14
    )
    np.testing.assert_allclose(
        found,
        numpy_quaternion.rotation_intrinsic_distance(
            as_numpy_quaternion(Q), as_numpy_quaternion(P)
        ),
        rtol=0,
        atol=1e-9,
    )


# slerp


@quick
@given(quaternions(), quaternions(), st.floats(0, 1))
def test_slerp_divides_the_shortest_angle(a, b, fraction):
    whole = geodesic_angle_rad(a, b)
    between = slerp(a, b, fraction)
    assert abs(np.linalg.norm(between) - 1.0) < 1e-15
    assert geodesic_angle_rad(a, between) == pytest.approx(fraction * whole, abs=1e-14)
    assert geodesic_angle_rad(between, b) == pytest.approx((1 - fraction) * whole, abs=1e-14)


@quick
@given(quaternions(), axes(), st.sampled_from([1e-16, 1e-12, 1e-9, 1.9e-8, 2.1e-8, 1e-6]))
def test_slerp_is_stable_over_tiny_angles(a, axis, turn_rad):
    b = multiply(around(axis, turn_rad), a)
    assert_same_rotation(slerp(a, b, 0.0), a, atol=1e-15)
    assert_same_rotation(slerp(a, b, 1.0), b, atol=1e-15)
    assert geodesic_angle_rad(a, slerp(a, b, 0.5)) == pytest.approx(turn_rad / 2, abs=1e-15)


@pytest.mark.parametrize("turn_rad", [1e-7, 1e-5, 1e-3, 1e-2, 0.1])
def test_slerp_keeps_its_speed_over_small_angles(turn_rad):
    # A straight line between the two would be off by the cube of the angle.
    found = slerp(IDENTITY, around([0, 0, 1], turn_rad), 0.25)
    wanted = around([0, 0, 1], 0.25 * turn_rad)
    assert found[2] == pytest.approx(wanted[2], rel=1e-12)


def test_slerp_agrees_with_both_libraries():
    fraction = np.random.default_rng(4).uniform(size=400)
    near_side = np.where((Q * P).sum(axis=1, keepdims=True) < 0, -P, P)
    wanted = np.slerp_vectorized(as_numpy_quaternion(Q), as_numpy_quaternion(near_side), fraction)
    found = slerp(Q, P, fraction)
    np.testing.assert_allclose(found, from_numpy_quaternion(wanted), rtol=0, atol=1e-12)
    step = fraction[:, None] * (as_scipy(Q).inv() * as_scipy(P)).as_rotvec()
    turn = as_scipy(Q) * type(as_scipy(Q)).from_rotvec(step)
    assert_same_rotation(found, turn.as_quat(), atol=1e-12)


# signs


@quick
@given(trajectories(), st.data())
def test_continuous_signs_are_canonical_and_do_not_depend_on_the_input_signs(rows, data):
    flips = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    signs = np.where(flips, -1.0, 1.0)[:, None]
    found = make_sign_continuous(rows)
    np.testing.assert_array_equal(found, make_sign_continuous(rows * signs))
    np.testing.assert_array_equal(np.abs(found), np.abs(rows))
    assert (found[1:] * found[:-1]).sum(axis=1).min(initial=0.0) >= 0.0
    assert count_sign_flips(found) == 0
    leading = found[0][[3, 0, 1, 2]]
    assert leading[leading != 0.0][0] > 0.0


@quick
@given(trajectories(min_size=3), quaternions(), st.data())
def test_a_reference_chooses_the_side_of_the_first_row_only(rows, reference, data):
    found = make_sign_continuous(rows, reference=reference)
    assert found[0] @ reference >= -1e-16
    assert count_sign_flips(found) == 0
    own = make_sign_continuous(rows)
    assert np.array_equal(found, own) or np.array_equal(found, -own)


@quick
@given(trajectories(min_size=2), st.data())
def test_broken_rows_are_stepped_over(rows, data):
    places = data.draw(st.lists(st.integers(0, len(rows)), max_size=5))
    broken = np.insert(rows, places, np.nan, axis=0)
    kept = np.isfinite(broken).all(axis=1)
    found = make_sign_continuous(broken)
    np.testing.assert_array_equal(found[kept], make_sign_continuous(rows))
    assert np.isnan(found[~kept]).all()


def test_a_row_with_one_nan_takes_the_sign_before_it():
    rows = np.array([[0.0, 0, 0, 1], [0, 0, 0.1, -1], [np.nan, 0, 0.1, -1], [0, 0, 0.2, -1]])
    found = make_sign_continuous(rows)
    np.testing.assert_array_equal(found[:, 3], [1, 1, 1, 1])
    assert np.isnan(found[2, 0])


def test_signs_of_trajectories_with_nothing_finite_and_of_none():
    assert np.isnan(make_sign_continuous(np.full((3, 4), np.nan))).all()
    assert make_sign_continuous(np.empty((0, 4))).shape == (0, 4)
    assert count_sign_flips(np.empty((0, 4))) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_reference_that_is_not_finite_is_ignored(value):
    rows = np.array([[0.6, 0.0, 0.0, 0.8], [0.0, 0.0, 0.0, 1.0]])
    found = make_sign_continuous(rows, reference=[0.0, 0.0, 0.0, value])
    np.testing.assert_array_equal(found, rows)


def test_signs_agree_with_numpy_quaternion():
    wanted = from_numpy_quaternion(numpy_quaternion.unflip_rotors(as_numpy_quaternion(Q)))
    np.testing.assert_array_equal(make_sign_continuous(Q, reference=Q[0]), wanted)


def test_sign_flips_are_counted():
    rows = np.array([[0.0, 0, 0, 1], [0, 0, 0, -1], [0, 0, 0, -1], [0, 0, 0, 1], [1, 0, 0, 0]])
    assert count_sign_flips(rows) == 2
    rows[2] = np.nan
    assert count_sign_flips(rows) == 1


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ([0.1, 0.2, 0.3, -0.5], [-0.1, -0.2, -0.3, 0.5]),
        ([-1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]),
        ([0.0, -0.6, 0.8, -0.0], [0.0, 0.6, -0.8, 0.0]),
        ([0.0, 0.0, -1.0, 0.0], [0.0, 0.0, 1.0, 0.0]),
        ([-0.6, 0.8, 0.0, 0.0], [0.6, -0.8, 0.0, 0.0]),
        ([0.0, 0.6, -0.8, 0.0], [0.0, 0.6, -0.8, 0.0]),
    ],
)
def test_canonical_side(given_, wanted):
    np.testing.assert_array_equal(canonicalise(given_), wanted)


# broken rows


@pytest.mark.parametrize("row", BROKEN[1:4])
def test_no_function_warns_or_answers_a_broken_row_with_a_number(row):
    other = Q[0]
    assert not np.isfinite(multiply(row, other)).all()
    assert np.isnan(geodesic_angle_rad(row, other))
    assert np.isnan(geodesic_angle_rad(other, row))
    assert not np.isfinite(rotate(row, [1.0, 2.0, 3.0])).all()
    assert np.isnan(slerp(row, other, 0.5)).all()
    assert count_sign_flips(np.stack([row, np.array([0.0, 0.0, 0.0, 1.0])])) == 0
    assert not np.isfinite(canonicalise(row)).all()


def test_slerp_of_a_broken_fraction_is_nan():
    assert np.isnan(slerp(Q[0], P[0], [np.nan, np.inf])).all()
