"""Open fractions and held commands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.errors import FeatureError
from finedata.motion import (
    from_open_fraction,
    hold_relative,
    open_fraction_by_range,
    to_open_fraction,
)

quick = settings(deadline=None, max_examples=60)
values = st.floats(-1e3, 1e3)
commands = st.lists(st.sampled_from([-1.0, -0.11, -0.1, 0.0, 0.1, 0.11, 1.0, np.nan]), max_size=12)


def rel2abs_gripper_actions(actions):
    """The published loop (Octo, OpenVLA), written again from its description: 1 = open."""
    state, found = None, []
    thresholded = [-1 if a < -0.1 else (1 if a > 0.1 else 0) for a in actions]
    first = next((a for a in thresholded if a != 0), None)
    # the start is the opposite of the first command, and open where there is none
    state = 1.0 if first is None else (1.0 if first == 1 else 0.0)
    for action in thresholded:
        if action != 0:
            state = 0.0 if action == 1 else 1.0
        found.append(state)
    return found


@pytest.mark.parametrize(
    ("open_value", "closed_value"), [(1.0, 0.0), (0.0, 1.0), (0.2, 1.0), (100.0, 0.0), (85.0, 3.0)]
)
def test_ends_are_exact_and_nothing_is_clipped(open_value, closed_value):
    scale = {"open_value": open_value, "closed_value": closed_value}
    middle = 0.5 * (open_value + closed_value)
    beyond = open_value + (open_value - closed_value)
    found = to_open_fraction([open_value, closed_value, middle, beyond, np.nan], **scale)
    np.testing.assert_array_equal(found[:2], [1.0, 0.0])
    assert not np.signbit(found[1])
    np.testing.assert_allclose(found[2:4], [0.5, 2.0], rtol=0, atol=1e-15)
    assert np.isnan(found[4])
    assert found.dtype == np.float64


@quick
@given(st.lists(values, max_size=9), values, values)
def test_scales_come_back(numbers, open_value, closed_value):
    if abs(open_value - closed_value) < 1e-3:
        return
    scale = {"open_value": open_value, "closed_value": closed_value}
    again = from_open_fraction(to_open_fraction(numbers, **scale), **scale)
    np.testing.assert_allclose(again, numbers, rtol=0, atol=1e-9)


@pytest.mark.parametrize("closed_value", [1.0, np.nan, np.inf])
@pytest.mark.parametrize("convert", [to_open_fraction, from_open_fraction])
def test_a_scale_without_span_is_refused(convert, closed_value):
    with pytest.raises(FeatureError, match=r"open = 1\.0"):
        convert([0.5], open_value=1.0, closed_value=closed_value)


@quick
@given(commands)
def test_commands_hold_as_in_the_published_loop(rows):
    np.testing.assert_array_equal(hold_relative(rows), rel2abs_gripper_actions(rows))
    mirrored = hold_relative(-np.array(rows), close_sign=-1)
    np.testing.assert_array_equal(mirrored, rel2abs_gripper_actions(rows))


def test_before_the_first_command_it_is_the_opposite():
    assert hold_relative([0, 0, 1, 0, -1]).tolist() == [1, 1, 0, 0, 1]
    assert hold_relative([0, 0, -1, 0, 1]).tolist() == [0, 0, 1, 1, 0]
    assert hold_relative([0, 0]).tolist() == [1, 1]
    assert hold_relative([0, 1], initial=0.0).tolist() == [0, 0]
    assert hold_relative([0, 0, -1], initial=0.3).tolist() == [0.3, 0.3, 1]
    assert hold_relative([]).shape == (0,)


def test_the_threshold_itself_is_no_command():
    assert hold_relative([0.5, -0.5, 0.51], threshold=0.5, initial=1.0).tolist() == [1, 1, 0]


def test_a_close_sign_is_a_sign():
    with pytest.raises(FeatureError, match="close_sign"):
        hold_relative([1.0], close_sign=0)


AGILEX = [(0.11, 0.1, 0.0), (6.0, 5.0, 0.0)]


def test_the_size_of_the_numbers_decides_the_scale():
    np.testing.assert_allclose(open_fraction_by_range([0.0, 0.05, 0.1], AGILEX), [0, 0.5, 1])
    np.testing.assert_allclose(open_fraction_by_range([0.0, 0.05, 2.5], AGILEX), [0, 0.01, 0.5])
    # the sign does not matter, the edge belongs to the narrower range
    np.testing.assert_allclose(open_fraction_by_range([-5.0], AGILEX), [-1])
    np.testing.assert_allclose(open_fraction_by_range([0.11], AGILEX), [1.1])
    found = open_fraction_by_range([np.nan, 2.5], AGILEX)
    assert np.isnan(found[0])
    assert found[1] == 0.5
    assert open_fraction_by_range([0.0, 6.1], AGILEX) is None
    assert open_fraction_by_range([0.0], []) is None
    assert open_fraction_by_range([], AGILEX).shape == (0,)
