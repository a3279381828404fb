"""Real rows of RoboMIND: each robot's pose, read in its encoding, is that of its joints.

The oracle is the forward kinematics of the makers' published Denavit-Hartenberg tables, which
knows nothing of encodings. Read in another encoding, the same rows are degrees off.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from finedata.motion import (
    WrittenRotation,
    forward_kinematics,
    pose_evidence,
    position_readings,
    rotation_readings,
)


@pytest.fixture(scope="module")
def rows(real_data):
    return json.loads((real_data / "robomind_published_rows" / "rows.json").read_text())


@pytest.fixture(scope="module")
def franka(rows):
    return [row for row in rows["v1"] if row["robot"].startswith("franka")]


@pytest.fixture(scope="module")
def universal(rows):
    return [row for row in rows["v1"] if row["robot"].startswith("ur")]


def off_deg(pose, joints, model):
    """Degrees from the flange by reading, best first."""
    _, quaternion = forward_kinematics([joints], model=model)
    found = rotation_readings([pose[3:]], expected_quaternion_xyzw=quaternion)
    return {reading.name: reading.residual_deg for reading in found}


def off_m(pose, joints, model):
    position_m, quaternion = forward_kinematics([joints], model=model)
    return position_readings(
        [pose[:3]], expected_position_m=position_m, expected_quaternion_xyzw=quaternion
    )[0]


def verdict(pose, joints, model, encoding):
    found = pose_evidence(
        [pose[:3]],
        state_rotation=WrittenRotation(np.array([pose[3:]]), encoding),
        joint_position=[joints],
        model=model,
    )
    return found.state_rotation.verdict


def test_franka_v1_is_extrinsic_euler_of_the_flange(franka):
    assert len(franka) == 2
    for row in franka:
        pose, joints = row["puppet_end_effector"], row["puppet_joint_position"][:7]
        off = off_deg(pose, joints, "franka_panda")
        assert next(iter(off)) == "euler_xyz_extrinsic"
        assert off.pop("euler_xyz_extrinsic") < 1e-3  # 0.01 asked for
        assert min(off.values()) > 2.0
        assert off["euler_xyz_intrinsic"] > 4.0
        found = off_m(pose, joints, "franka_panda")
        assert found.name == "m"
        assert found.residual_m < 1e-6
        assert verdict(pose, joints, "franka_panda", "euler_xyz_extrinsic") == "confirmed"
        assert verdict(pose, joints, "franka_panda", "rotation_vector") == "contradicted"


def test_ur5e_v1_is_a_rotation_vector_although_documented_as_euler(universal):
    assert len(universal) == 2
    for row in universal:
        pose, joints = row["puppet_end_effector"], row["puppet_joint_position"][:6]
        off = off_deg(pose, joints, "ur5e")
        assert next(iter(off)) == "rotation_vector"
        assert off.pop("rotation_vector") < 0.3
        assert min(off.values()) > 3.0
        assert verdict(pose, joints, "ur5e", "rotation_vector") == "confirmed"
        assert verdict(pose, joints, "ur5e", "euler_xyz_extrinsic") == "contradicted"
    first = universal[0]
    off = off_deg(first["puppet_end_effector"], first["puppet_joint_position"][:6], "ur5e")
    assert all(off[name] > 30.0 for name in off if name.startswith("euler"))


def test_ur5e_v1_has_two_tool_points(universal):
    """One task folder has the flange, the other the tip of the gripper, 0.1736 m along its z."""
    found = [
        off_m(row["puppet_end_effector"], row["puppet_joint_position"][:6], "ur5e")
        for row in universal
    ]
    assert found[0].residual_m < 0.002
    np.testing.assert_allclose(found[1].tool_offset_m, [0, 0, 0.1736], atol=1.5e-3)
    assert found[1].residual_m == pytest.approx(0.1736, abs=1.5e-3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_fr3_v2_is_a_quaternion_xyzw(rows, side):
    (row,) = rows["v2"]
    pose = row[f"puppet_end_effector_{side}_pose"]
    joints = row[f"puppet_arm_{side}"][:7]
    off = off_deg(pose, joints, "fr3")
    assert off["quaternion_xyzw"] < 0.01
    assert off["quaternion_wxyz"] > 100.0
    assert off_m(pose, joints, "fr3").residual_m < 1e-3
    assert verdict(pose, joints, "fr3", "quaternion_xyzw") == "confirmed"
    assert verdict(pose, joints, "fr3", "quaternion_wxyz") == "contradicted"
