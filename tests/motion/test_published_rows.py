"""Real rows of RoboMIND: each robot's pose, read in its encoding, is that of its joints.

The oracle is the forward kinematics of the makers' published Denavit-Hartenberg tables, which
knows nothing of encodings. Read in another encoding, the same rows are degrees off.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from finedata.motion import geodesic_angle_rad, to_quaternion_xyzw

QUARTER = np.pi / 2
# (a, alpha, d) of Franka's Panda and FR3, Craig's convention; the last row is the flange.
PANDA = [
    (0.0, 0.0, 0.333),
    (0.0, -QUARTER, 0.0),
    (0.0, QUARTER, 0.316),
    (0.0825, QUARTER, 0.0),
    (-0.0825, -QUARTER, 0.384),
    (0.0, QUARTER, 0.0),
    (0.088, QUARTER, 0.0),
    (0.0, 0.0, 0.107),
]
# (d, a, alpha) of Universal Robots' UR5e, the classic convention.
UR5E = [
    (0.1625, 0.0, QUARTER),
    (0.0, -0.425, 0.0),
    (0.0, -0.3922, 0.0),
    (0.1333, 0.0, QUARTER),
    (0.0997, 0.0, -QUARTER),
    (0.0996, 0.0, 0.0),
]


def about(axis, angle, shift):
    """A screw: a turn about a base axis and a shift along it, 4x4."""
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(4)
    matrix[[i, j], [i, j]] = np.cos(angle)
    matrix[j, i], matrix[i, j] = np.sin(angle), -np.sin(angle)
    matrix[axis, 3] = shift
    return matrix


def panda_flange(joints):
    pose = np.eye(4)
    for (a, alpha, d), theta in zip(PANDA, [*joints[:7], 0.0], strict=True):
        pose = pose @ about(0, alpha, a) @ about(2, theta, d)
    return pose


def ur5e_flange(joints):
    pose = np.eye(4)
    for (d, a, alpha), theta in zip(UR5E, joints[:6], strict=True):
        pose = pose @ about(2, theta, d) @ about(0, alpha, a)
    return pose


def off_deg(numbers, encoding, flange):
    read = to_quaternion_xyzw([numbers], encoding=encoding)
    joints = to_quaternion_xyzw(flange[None, :3, :3], encoding="rotation_matrix")
    return float(np.rad2deg(geodesic_angle_rad(read, joints)[0]))


@pytest.fixture(scope="module")
def rows(real_data):
    return json.loads((real_data / "robomind_published_rows" / "rows.json").read_text())


@pytest.fixture(scope="module")
def franka(rows):
    return [row for row in rows["v1"] if row["robot"].startswith("franka")]


@pytest.fixture(scope="module")
def universal(rows):
    return [row for row in rows["v1"] if row["robot"].startswith("ur")]


def test_franka_v1_is_extrinsic_euler_of_the_flange(franka):
    assert len(franka) == 2
    for row in franka:
        pose, flange = row["puppet_end_effector"], panda_flange(row["puppet_joint_position"])
        np.testing.assert_allclose(pose[:3], flange[:3, 3], rtol=0, atol=1e-6)
        assert off_deg(pose[3:], "euler_xyz_extrinsic", flange) < 1e-3
        assert off_deg(pose[3:], "rotation_vector", flange) > 2.0


def test_ur5e_v1_is_a_rotation_vector_although_documented_as_euler(universal):
    assert len(universal) == 2
    for row in universal:
        rotation, flange = row["puppet_end_effector"][3:], ur5e_flange(row["puppet_joint_position"])
        assert off_deg(rotation, "rotation_vector", flange) < 0.25
        assert off_deg(rotation, "euler_xyz_extrinsic", flange) > 3.0


@pytest.mark.parametrize("side", ["left", "right"])
def test_fr3_v2_is_a_quaternion_xyzw(rows, side):
    (row,) = rows["v2"]
    pose, flange = row[f"puppet_end_effector_{side}_pose"], panda_flange(row[f"puppet_arm_{side}"])
    np.testing.assert_allclose(pose[:3], flange[:3, 3], rtol=0, atol=1e-3)
    assert off_deg(pose[3:], "quaternion_xyzw", flange) < 0.01
    assert off_deg(pose[3:], "quaternion_wxyz", flange) > 170.0
