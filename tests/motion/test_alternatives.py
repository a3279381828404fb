"""Every other reading of rotation columns, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from motion.rotations import assert_same_rotation, random_quaternions
from scipy.spatial.transform import Rotation

from finedata.errors import FeatureError
from finedata.motion import alternative_rotations

ANGLES = np.random.default_rng(3).uniform(-1.4, 1.4, size=(20, 3))
MATRICES = Rotation.from_quat(random_quaternions(20)).as_matrix()


@pytest.mark.parametrize("order", ["xyz", "XYZ", "zyx", "ZYX", "rotvec"])
@pytest.mark.parametrize("degrees", [False, True])
def test_three_numbers(order, degrees):
    if order == "rotvec":
        name, wanted = "rotation_vector", Rotation.from_rotvec(ANGLES)
    else:
        kind = "extrinsic" if order.islower() else "intrinsic"
        name, wanted = f"euler_{order.lower()}_{kind}", Rotation.from_euler(order, ANGLES)
    written = np.rad2deg(ANGLES) if degrees else ANGLES
    found = alternative_rotations(written)
    assert len(found) == 10
    assert_same_rotation(found[name + "_deg" * degrees], wanted.as_quat())


def test_four_numbers():
    rows = random_quaternions(20)
    found = alternative_rotations(rows)
    assert set(found) == {"quaternion_xyzw", "quaternion_wxyz"}
    np.testing.assert_allclose(found["quaternion_xyzw"], rows, atol=1e-15)
    np.testing.assert_allclose(found["quaternion_wxyz"], rows[:, [1, 2, 3, 0]], atol=1e-15)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("rotation_6d", lambda m: np.concatenate([m[:, :, 0], m[:, :, 1]], axis=1)),
        ("rotation_6d_rows", lambda m: m[:, :2].reshape(-1, 6)),
        ("rotation_6d_interleaved", lambda m: m[:, :, :2].reshape(-1, 6)),
        ("rotation_matrix", lambda m: m.reshape(-1, 9)),
        ("rotation_matrix", lambda m: m),
        ("rotation_matrix_columns", lambda m: m.transpose(0, 2, 1).reshape(-1, 9)),
    ],
)
def test_six_and_nine_numbers(name, write):
    found = alternative_rotations(write(MATRICES))
    wanted = Rotation.from_matrix(MATRICES).as_quat()
    assert_same_rotation(found[name], wanted)
    others = [other for other in found if other != name]
    assert others
    for other in others:
        off = Rotation.from_quat(found[other]) * Rotation.from_quat(wanted).inv()
        assert np.median(off.magnitude()) > 0.5


@pytest.mark.parametrize("shape", [(4, 5), (4,), (4, 2, 3)])
def test_other_widths_are_refused(shape):
    with pytest.raises(FeatureError, match="rotation columns"):
        alternative_rotations(np.zeros(shape))
