"""Conventions of clients: what is written is read back, and as scipy has it."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from serve.fake import NAMES

from finedata.serve.form import Form, GripperForm, RotationForm

TWO_ARMS = (*(n.replace("right", "left") for n in NAMES), *NAMES, "torso")


def actions(seed: int, names: tuple[str, ...]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(5, len(names))).astype(np.float32)
    for k, name in enumerate(names):
        if name.endswith("qx"):
            turned = Rotation.random(5, random_state=seed + k).as_quat()
            found[:, k : k + 4] = turned
    return found


@given(
    st.sampled_from(get_args(RotationForm)),
    st.sampled_from(get_args(GripperForm)),
    st.integers(0, 1000),
)
def test_what_is_written_is_read_back(rotation: Any, gripper: Any, seed: int) -> None:
    form = Form(rotation=rotation, gripper=gripper)
    values = actions(seed, TWO_ARMS)
    written = form.written(values, TWO_ARMS)
    assert written.shape == (5, len(form.names(TWO_ARMS)))
    for row, wanted in zip(written, values, strict=True):
        found = form.read(row, TWO_ARMS)
        for k, name in enumerate(TWO_ARMS):
            if name.endswith("qx"):
                dot = abs(float(found[k : k + 4] @ wanted[k : k + 4]))
                assert dot == pytest.approx(1, abs=1e-5)
            elif not name.endswith(("qy", "qz", "qw")):
                assert found[k] == pytest.approx(wanted[k], abs=1e-5)


def test_the_default_changes_nothing() -> None:
    values = actions(1, TWO_ARMS)
    assert np.array_equal(Form().written(values, TWO_ARMS), values)
    assert np.array_equal(Form().read(values[0], TWO_ARMS), values[0])
    assert Form().names(TWO_ARMS) == TWO_ARMS


def test_what_libero_wants() -> None:
    """Absolute: position, axis times angle, gripper -1 open and 1 closed."""
    form = Form(rotation="rotation_vector", gripper="closed_signed")
    values = actions(2, NAMES)
    values[:, -1] = [1, 0, 0.5, 1, 0]  # the share that is open
    found = form.written(values, NAMES)
    assert form.names(NAMES) == (
        "right_x", "right_y", "right_z", "right_rx", "right_ry", "right_rz", "right_gripper",
    )  # fmt: skip
    assert found.shape == (5, 7)
    wanted = Rotation.from_quat(values[:, 3:7]).as_rotvec()
    assert np.allclose(found[:, 3:6], wanted, atol=1e-5)
    assert np.array_equal(found[:, -1], [-1, 1, 0, -1, 1])
    # 359 degrees about z and -1 degree are one rotation: the short one is told.
    values[0, 3:7] = [0, 0, np.sin(np.radians(179.5)), np.cos(np.radians(179.5))]
    assert form.written(values, NAMES)[0, 3:6] == pytest.approx([0, 0, np.radians(-1)], abs=1e-5)
    assert form.read(np.array([0, 0, 0, 0, 0, np.radians(359), 1], np.float32), NAMES)[
        3:7
    ] == pytest.approx(values[0, 3:7], abs=1e-5)


def test_names_that_are_no_rotation_stay() -> None:
    form = Form(rotation="rotation_vector", gripper="closed")
    names = ("joint_0", "qx", "right_gripper")
    assert form.names(names) == names
    assert form.written(np.array([[1, 2, 0.25]]), names).tolist() == [[1, 2, 0.75]]
