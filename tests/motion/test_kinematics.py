"""Forward kinematics against explicit 4x4 products in plain loops, and against known poses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from finedata.errors import FeatureError
from finedata.motion import MODELS, forward_kinematics

quick = settings(deadline=None, max_examples=30)
QUARTER = math.pi / 2
# Written again from the makers' pages: (a, alpha, d), and the flange's distance.
TABLES = {
    "franka_panda": (
        "modified",
        [
            (0, 0, 0.333),
            (0, -QUARTER, 0),
            (0, QUARTER, 0.316),
            (0.0825, QUARTER, 0),
            (-0.0825, -QUARTER, 0.384),
            (0, QUARTER, 0),
            (0.088, QUARTER, 0),
        ],
        0.107,
    ),
    "ur5e": (
        "standard",
        [
            (0, QUARTER, 0.1625),
            (-0.425, 0, 0),
            (-0.3922, 0, 0),
            (0, QUARTER, 0.1333),
            (0, -QUARTER, 0.0997),
            (0, 0, 0.0996),
        ],
        0.0,
    ),
    "ur5": (
        "standard",
        [
            (0, QUARTER, 0.089159),
            (-0.425, 0, 0),
            (-0.39225, 0, 0),
            (0, QUARTER, 0.10915),
            (0, -QUARTER, 0.09465),
            (0, 0, 0.0823),
        ],
        0.0,
    ),
}
TABLES["fr3"] = TABLES["franka_panda"]


def product(left, right):
    return [[sum(left[i][k] * right[k][j] for k in range(4)) for j in range(4)] for i in range(4)]


def turn_x(t):
    c, s = math.cos(t), math.sin(t)
    return [[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]]


def turn_z(t):
    c, s = math.cos(t), math.sin(t)
    return [[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def shift(x, z):
    return [[1, 0, 0, x], [0, 1, 0, 0], [0, 0, 1, z], [0, 0, 0, 1]]


def flange_by_loops(joints, model):
    convention, table, flange = TABLES[model]
    pose = shift(0, 0)
    for theta, (a, alpha, d) in zip(joints, table, strict=True):
        if convention == "modified":
            steps = [turn_x(alpha), shift(a, 0), turn_z(theta), shift(0, d)]
        else:
            steps = [turn_z(theta), shift(0, d), shift(a, 0), turn_x(alpha)]
        for step in steps:
            pose = product(pose, step)
    return np.array(product(pose, shift(0, flange)))


@pytest.mark.parametrize("model", sorted(TABLES))
@quick
@given(data=st.data())
def test_agrees_with_matrices_in_plain_loops(model, data):
    angle = st.floats(-2 * math.pi, 2 * math.pi)
    joints = data.draw(
        st.lists(
            st.lists(angle, min_size=MODELS[model].joints, max_size=MODELS[model].joints),
            min_size=1,
            max_size=4,
        )
    )
    position_m, quaternion = forward_kinematics(joints, model=model)
    for row, one in enumerate(joints):
        wanted = flange_by_loops(one, model)
        np.testing.assert_allclose(position_m[row], wanted[:3, 3], rtol=0, atol=1e-13)
        found = Rotation.from_quat(quaternion[row]).as_matrix()
        np.testing.assert_allclose(found, wanted[:3, :3], rtol=0, atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(quaternion, axis=1), 1.0, rtol=0, atol=1e-15)


def test_every_model_is_tested():
    assert set(MODELS) == set(TABLES)
    for name, model in MODELS.items():
        assert (model.name, model.joints) == (name, len(model.table))
        assert model.source
        assert model.frames


def test_known_poses():
    # Panda's usual ready pose, as its drivers print it; the flange's x axis points forward.
    ready = [[0, -math.pi / 4, 0, -3 * math.pi / 4, 0, QUARTER, math.pi / 4]]
    position_m, quaternion = forward_kinematics(ready, model="franka_panda")
    np.testing.assert_allclose(position_m[0], [0.3069, 0.0, 0.5903], atol=1e-4)
    forward = Rotation.from_quat(quaternion[0]).apply([0.0, 0.0, 1.0])
    np.testing.assert_allclose(forward, [0, 0, -1], atol=1e-12)
    # UR at zero lies stretched along -x.
    position_m, _ = forward_kinematics(np.zeros((1, 6)), model="ur5e")
    np.testing.assert_allclose(position_m[0], [-0.8172, -0.2329, 0.0628], atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_broken_joint_breaks_its_frame_only(value):
    joints = np.random.default_rng(0).normal(size=(5, 7))
    whole = forward_kinematics(joints, model="fr3")
    joints[2, 6] = value
    broken = forward_kinematics(joints, model="fr3")
    for now, before in zip(broken, whole, strict=True):
        assert np.isnan(now[2]).all()
        np.testing.assert_array_equal(now[[0, 1, 3, 4]], before[[0, 1, 3, 4]])


def test_empty_wrong_and_unknown():
    position_m, quaternion = forward_kinematics(np.zeros((0, 6)), model="ur5")
    assert (position_m.shape, quaternion.shape) == ((0, 3), (0, 4))
    with pytest.raises(FeatureError, match="without the gripper"):
        forward_kinematics(np.zeros((3, 8)), model="franka_panda")
    with pytest.raises(FeatureError, match="ur5e"):
        forward_kinematics(np.zeros((3, 6)), model="ur10")
