"""Every reading of a pose against its joints: the true one is first, wrong ones show."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from finedata.motion import (
    WrittenRotation,
    forward_kinematics,
    pool_evidence,
    pose_evidence,
    position_readings,
    rotation_readings,
)

HOME = np.array([0.1, 0.4, -0.2, -1.9, 0.1, 2.2, 0.7])
HAND = Rotation.from_euler("z", -45, degrees=True)
WRITERS = {
    "quaternion_xyzw": lambda r: r.as_quat(),
    "quaternion_wxyz": lambda r: r.as_quat()[:, [3, 0, 1, 2]],
    "euler_xyz_extrinsic": lambda r: r.as_euler("xyz"),
    "euler_xyz_extrinsic_deg": lambda r: r.as_euler("xyz", degrees=True),
    "euler_xyz_intrinsic": lambda r: r.as_euler("XYZ"),
    "euler_zyx_extrinsic": lambda r: r.as_euler("zyx"),
    "euler_zyx_intrinsic": lambda r: r.as_euler("ZYX"),
    "rotation_vector": lambda r: r.as_rotvec(),
    "rotation_vector_deg": lambda r: r.as_rotvec(degrees=True),
    "rotation_matrix": lambda r: r.as_matrix().reshape(-1, 9),
    "rotation_matrix_columns": lambda r: r.inv().as_matrix().reshape(-1, 9),
    "rotation_6d": lambda r: r.as_matrix()[:, :, :2].transpose(0, 2, 1).reshape(-1, 6),
    "rotation_6d_rows": lambda r: r.as_matrix()[:, :2].reshape(-1, 6),
}


def arm(frames=40, seed=0, reach=0.6):
    """A DROID-like episode: smooth joints of a Franka, gripper down, and its flange."""
    draw = np.random.default_rng(seed)
    time = np.linspace(0, 1, frames)[:, None]
    joints = HOME + reach * np.sin(2 * time * draw.uniform(0.5, 2, 7) + draw.uniform(0, 1, 7))
    position_m, quaternion = forward_kinematics(joints, model="franka_panda")
    return joints, position_m, Rotation.from_quat(quaternion)


@pytest.mark.parametrize("name", sorted(WRITERS))
@pytest.mark.parametrize("tool", [None, HAND], ids=["flange", "hand"])
def test_the_way_it_was_written_comes_first(name, tool):
    _, _, flange = arm()
    written = WRITERS[name](flange if tool is None else flange * tool)
    found = rotation_readings(written, expected_quaternion_xyzw=flange.as_quat())
    assert found[0].name == name
    assert found[0].residual_after_constant_tool_deg < 1e-5
    assert found[1].residual_after_constant_tool_deg > 1.0
    scores = [reading.score for reading in found]
    assert scores == sorted(scores)
    if tool is None:
        assert found[0].ranked_by == "residual_deg"
        assert found[0].residual_deg_max < 1e-5
    else:
        assert found[0].ranked_by == "residual_after_constant_tool_deg"
        assert found[0].residual_deg == pytest.approx(45.0)


def test_a_fixed_rotation_is_applied_on_the_right():
    _, _, flange = arm()
    written = (flange * HAND.inv()).as_quat()
    found = rotation_readings(
        written,
        expected_quaternion_xyzw=flange.as_quat(),
        fixed_rotation=HAND.as_matrix(),
        declared="quaternion_xyzw",
    )
    assert (found[0].name, found[0].declared) == ("quaternion_xyzw", True)
    assert found[0].residual_deg < 1e-5


def test_readings_nearer_than_the_noise_are_one():
    """Where little turns, Euler angles and a rotation vector differ by less than the noise."""
    draw = np.random.default_rng(1)
    truth = Rotation.from_rotvec(0.03 * draw.normal(size=(30, 3)))
    written = (truth * Rotation.from_rotvec(0.01 * draw.normal(size=(30, 3)))).as_rotvec()
    found = rotation_readings(
        written, expected_quaternion_xyzw=truth.as_quat(), declared="euler_xyz_extrinsic"
    )
    same = {reading.name for reading in found if reading.same_as_declared}
    assert found[0].name == "euler_xyz_extrinsic"
    assert {"rotation_vector", "euler_xyz_intrinsic"} <= same
    assert "euler_xyz_extrinsic_deg" not in same


def test_medians_bear_a_broken_frame():
    _, _, flange = arm()
    written = flange.as_quat()
    written[3], written[7] = np.nan, [1, 0, 0, 0]
    (first, _) = rotation_readings(written, expected_quaternion_xyzw=flange.as_quat())
    assert first.name == "quaternion_xyzw"
    assert first.residual_deg < 1e-5
    assert first.residual_deg_max > 1.0
    nothing = rotation_readings(np.full((4, 4), np.nan), expected_quaternion_xyzw=written[:4])
    assert {reading.residual_deg for reading in nothing} == {None}


@pytest.mark.parametrize(("name", "factor"), [("m", 1), ("mm", 1000), ("m_divided_by_1000", 1e-3)])
@pytest.mark.parametrize("offset_m", [[0, 0, 0], [0.01, -0.02, 0.1034]])
def test_units_and_tools_of_positions(name, factor, offset_m):
    _, position_m, flange = arm()
    written = factor * (position_m + flange.apply(offset_m))
    found = position_readings(
        written, expected_position_m=position_m, expected_quaternion_xyzw=flange.as_quat()
    )
    assert found[0].name == name
    assert found[0].residual_after_constant_tool_m < 1e-9
    assert found[0].residual_m == pytest.approx(np.linalg.norm(offset_m), abs=1e-9)
    np.testing.assert_allclose(found[0].tool_offset_m, offset_m, atol=1e-9)
    assert found[1].score > 0.05


# the evidence as a whole


def proof(name, declared, *, tool=None, frames=40, reach=0.6, seed=0, factor=1.0, **more):
    joints, position_m, flange = arm(frames, seed, reach)
    written = WRITERS[name](flange if tool is None else flange * tool)
    return pose_evidence(
        factor * position_m,
        state_rotation=WrittenRotation(written, declared, **more),
        joint_position=joints,
        model="franka_panda",
    )


@pytest.mark.parametrize("tool", [None, HAND], ids=["flange", "hand"])
@pytest.mark.parametrize(
    ("name", "declared", "verdict"),
    [
        ("euler_xyz_extrinsic", "euler_xyz_extrinsic", "confirmed"),
        ("euler_xyz_intrinsic", "euler_xyz_extrinsic", "contradicted"),
        ("rotation_vector", "euler_xyz_extrinsic", "contradicted"),
        ("euler_xyz_extrinsic_deg", "euler_xyz_extrinsic", "contradicted"),
        ("quaternion_xyzw", "quaternion_xyzw", "confirmed"),
        ("quaternion_wxyz", "quaternion_xyzw", "contradicted"),
        ("rotation_6d_rows", "rotation_6d", "contradicted"),
        ("rotation_matrix_columns", "rotation_matrix", "contradicted"),
    ],
)
def test_verdicts_on_a_droid_like_episode(name, declared, verdict, tool):
    found = proof(name, declared, tool=tool)
    assert found.state_rotation.verdict == verdict
    assert name in found.state_rotation.reason
    assert found.state_position.verdict == "confirmed"
    assert found.verdict == verdict
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_units_are_judged():
    good = proof("euler_xyz_extrinsic_deg", "euler_xyz_extrinsic", unit="deg")
    assert good.state_rotation.verdict == "confirmed"
    assert proof("euler_xyz_extrinsic", "euler_xyz_extrinsic", unit="deg").verdict == "contradicted"
    wrong = proof("quaternion_xyzw", "quaternion_xyzw", factor=1000.0)
    assert wrong.state_position.verdict == "contradicted"
    assert "mm" in wrong.reason


def test_without_motion_a_tool_proves_nothing():
    found = proof("quaternion_xyzw", "quaternion_xyzw", tool=HAND, frames=1)
    assert found.state_rotation.verdict == "undecided"
    assert "too little motion" in found.state_rotation.reason
    # but a single frame of the flange proves the encoding
    assert proof("quaternion_xyzw", "quaternion_xyzw", frames=1).verdict == "confirmed"


def test_a_wrong_robot_decides_nothing():
    joints, position_m, flange = arm()
    found = pose_evidence(
        position_m,
        state_rotation=WrittenRotation(flange.as_quat(), "quaternion_xyzw"),
        joint_position=joints[:, :6],
        model="ur5e",
    )
    assert found.verdict == "undecided"
    assert "none fits" in found.state_rotation.reason


def test_without_evidence_it_says_so():
    _, position_m, flange = arm()
    found = pose_evidence(
        position_m, state_rotation=WrittenRotation(flange.as_quat(), "quaternion_xyzw")
    )
    assert found.verdict == "undecided"
    assert "no joints recorded" in found.reason
    assert "no action recorded" in found.reason


def test_pooling_averages_what_tells():
    still = proof("rotation_vector", "rotation_vector", tool=HAND, frames=1)
    moving = [proof("rotation_vector", "rotation_vector", tool=HAND, seed=seed) for seed in (1, 2)]
    pooled = pool_evidence([still, *moving])
    assert pooled.state_rotation.verdict == "confirmed"
    assert pooled.state_rotation.episodes == 2
    first, second = (part.state_rotation.readings for part in moving)
    for reading in pooled.state_rotation.readings:
        a, b = (next(r for r in part if r.name == reading.name) for part in (first, second))
        assert reading.residual_deg == pytest.approx((a.residual_deg + b.residual_deg) / 2)
        assert reading.residual_deg_max == max(a.residual_deg_max, b.residual_deg_max)
