"""What the tests of `finedata.motion` draw from, and the two libraries they compare with."""

from __future__ import annotations

import numpy as np
import quaternion as numpy_quaternion
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

PI = np.pi
IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])

# Angles where code goes wrong: nothing, almost nothing, a quarter, half and a whole turn.
corner_angles = st.sampled_from(
    [
        0.0,
        1e-300,
        1e-16,
        1e-12,
        1e-8,
        1e-6,
        PI / 2,
        PI - 1e-12,
        PI - 1e-8,
        PI,
        -PI,
        PI + 1e-9,
        2 * PI,
    ]
)
angles = st.one_of(corner_angles, st.floats(-2 * PI, 2 * PI))
units = st.one_of(st.sampled_from([0.0, 1.0, -1.0]), st.floats(-1.0, 1.0))


@st.composite
def axes(draw):
    """Unit vectors (3,), often along a base axis."""
    vector = np.array([draw(units) for _ in range(3)])
    length = np.linalg.norm(vector)
    return vector / length if length > 1e-3 else np.array([0.0, 0.0, 1.0])


@st.composite
def quaternions(draw):
    """Unit quaternions (4,), often with corner angles, of either sign."""
    half = 0.5 * draw(angles)
    return np.concatenate([np.sin(half) * draw(axes()), [np.cos(half)]])


@st.composite
def trajectories(draw, *, min_size=1, max_size=12):
    """(T, 4)."""
    return np.array(draw(st.lists(quaternions(), min_size=min_size, max_size=max_size)))


def random_quaternions(count, *, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, 4))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def as_scipy(quaternion_xyzw):
    return Rotation.from_quat(np.asarray(quaternion_xyzw))


def as_numpy_quaternion(quaternion_xyzw):
    return numpy_quaternion.from_float_array(np.asarray(quaternion_xyzw)[..., [3, 0, 1, 2]])


def from_numpy_quaternion(value):
    return numpy_quaternion.as_float_array(value)[..., [1, 2, 3, 0]]


def assert_same_rotation(found, wanted, *, atol=1e-9):
    """Equal up to the sign of each row."""
    found, wanted = np.atleast_2d(found), np.atleast_2d(wanted)
    sign = np.where((found * wanted).sum(axis=-1, keepdims=True) < 0, -1.0, 1.0)
    np.testing.assert_allclose(found * sign, wanted, rtol=0, atol=atol)
