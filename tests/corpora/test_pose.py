"""The demo's own geometry against scipy."""

from __future__ import annotations

import numpy as np
from corpora.pose import (
    DEFAULT_ROTATION,
    aligned_quaternions,
    integrate_targets,
    quaternion_from_rotation,
    rotation_from_rpy,
    rpy_from_rotation,
    tool_quaternions,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

angles = hnp.arrays(np.float64, (5, 3), elements=st.floats(-3.1, 3.1))


@settings(deadline=None)
@given(angles)
def test_rpy_is_scipys_extrinsic_xyz(rpy):
    expected = Rotation.from_euler("xyz", rpy)
    np.testing.assert_allclose(rotation_from_rpy(rpy), expected.as_matrix(), atol=1e-12)


@settings(deadline=None)
@given(angles)
def test_quaternions_are_scipys_up_to_sign(rpy):
    matrix = Rotation.from_euler("xyz", rpy).as_matrix()
    expected = Rotation.from_matrix(matrix).as_quat()
    found = quaternion_from_rotation(matrix)
    np.testing.assert_allclose(np.abs((found * expected).sum(axis=1)), 1.0, atol=1e-12)


@settings(deadline=None)
@given(angles)
def test_rpy_round_trip(rpy):
    rpy[:, 1] *= 0.45
    again = rotation_from_rpy(rpy_from_rotation(rotation_from_rpy(rpy)))
    np.testing.assert_allclose(again, rotation_from_rpy(rpy), atol=1e-12)


def test_at_rest_the_fingers_point_down():
    tool = rotation_from_rpy(np.zeros(3)) @ DEFAULT_ROTATION
    np.testing.assert_array_equal(tool[:, 0], [0, 0, -1])


def test_signs_follow_each_other_and_pass_over_nan():
    quaternion = np.array([[0, 0, 0, -1.0], [np.nan] * 4, [0, 0.1, 0, -0.995], [0, 0.2, 0, 0.98]])
    found = aligned_quaternions(quaternion)
    assert (found[[0, 2, 3], 3] > 0).all()
    assert np.isnan(found[1]).all()
    turned = aligned_quaternions(quaternion, first=np.array([0, 0, 0, -1.0]))
    assert (turned[[0, 2, 3], 3] < 0).all()


def test_targets_are_composed_on_the_left():
    rng = np.random.default_rng(0)
    state = rng.normal(0, 0.3, (4, 7)).astype(np.float32)
    action = rng.normal(0, 0.3, (4, 7)).astype(np.float32)
    position, rotation = integrate_targets(state, action)
    target = Rotation.from_euler("xyz", state[0, 3:6].astype(float))
    where = state[0, :3].astype(float)
    for step in range(4):
        target = Rotation.from_euler("xyz", action[step, 3:6].astype(float)) * target
        where = where + action[step, :3]
        np.testing.assert_allclose(position[step], where, atol=1e-12)
        np.testing.assert_allclose(rotation[step], target.as_matrix(), atol=1e-12)
    tool = (target * Rotation.from_matrix(DEFAULT_ROTATION)).as_quat()
    assert abs(abs(tool_quaternions(rotation)[-1] @ tool) - 1) < 1e-12
