"""Openings and closings that were planted are dated where the fingers move.

Not in a squeeze, a creep or a pause before it; however slow they are, whatever the range of the
numbers, and whatever the recorder does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from finedata.kinematic.measure import measure
from finedata.kinematic.motion import ArmMotion, EpisodeMotion


@dataclass(frozen=True)
class Planted:
    """A thing is grasped, carried and let go; shares are of how far the gripper opens in the end.

    Attributes:
        fps: Frames a second.
        opening_s: How long letting go takes; 0 is within a frame.
        hold_s: How long it is carried.
        squeeze: How far below the level of the carry the fingers come for a moment.
        creep: How far they open by themselves while it is carried.
        overshoot: How far beyond its last level the opening goes for a moment.
        noise: Standard deviation on every frame.
        stair: Frames for which the recorder holds a value.
        closed: Value at the grasp.
        open: Value in the end.
        cut: Share of the opening after which the episode ends; None: it rests open for a while.
    """

    fps: float = 10.0
    opening_s: float = 0.4
    hold_s: float = 2.0
    squeeze: float = 0.0
    creep: float = 0.0
    overshoot: float = 0.0
    noise: float = 0.0
    stair: int = 1
    closed: float = 0.0
    open: float = 1.0
    cut: float | None = None

    def made(self, seed: int = 0) -> tuple[np.ndarray, int, int]:
        """Values (T,), the last frame of the carry, and the frame in which the opening ends."""
        hold = max(3, round(self.hold_s * self.fps))
        ramp = max(1, round(self.opening_s * self.fps))
        rest = max(3, round(1.5 * self.fps))
        carried = self.squeeze + np.linspace(0.0, self.creep, hold)
        level = carried[-1]
        opens = level + (1.0 - level) * np.arange(1, ramp + 1) / ramp
        parts = [np.ones(rest), [0.5 + level / 2, 0.0], carried, opens]
        begin = rest + 2 + hold - 1
        if self.cut is None:
            parts += [np.full(2, 1.0 + self.overshoot), np.ones(rest)]
        values = np.concatenate(parts)
        if self.cut is not None:
            values = values[: begin + 1 + max(1, round(self.cut * ramp))]
        values = values + np.random.default_rng(seed).normal(0.0, self.noise, len(values))
        values = values[np.arange(len(values)) // self.stair * self.stair]
        return self.closed + (self.open - self.closed) * values, begin, begin + ramp


def opening_of(values, fps):
    """The last event, which must open."""
    arm = ArmMotion("right", gripper_open=values)
    events = measure(EpisodeMotion((arm,), fps=fps, frames=len(values))).arms[0].events
    assert [event.kind for event in events] == ["close", "open"]
    return events[1]


def is_dated_right(planted: Planted, seed: int = 0) -> bool:
    """Whether both ends lie in the carry's or the last rest's half second, or an eighth inside.

    The slower the fingers, the less a quarter of their way tells them from noise.
    """
    values, begin, end = planted.made(seed)
    event = opening_of(values, planted.fps)
    outside = max(0.5 * planted.fps, 0.25 * (end - begin)) + planted.stair
    inside = 0.12 * (end - begin) + planted.stair + 1
    stop = min(end, len(values))
    starts = begin - outside <= event.start_frame <= begin + inside
    return starts and stop - inside <= event.end_frame <= stop + outside


PLANTED = st.builds(
    Planted,
    fps=st.sampled_from([5.0, 10.0, 15.0, 30.0, 50.0]),
    opening_s=st.sampled_from([0.0, 0.2, 0.5, 1.0, 2.0]),
    hold_s=st.floats(1.5, 8.0),
    squeeze=st.floats(0.0, 0.12),
    overshoot=st.floats(0.0, 0.1),
    noise=st.sampled_from([0.0, 0.003, 0.01]),
)


@given(PLANTED, st.integers(0, 99))
@example(Planted(squeeze=0.084), 0)  # as the simulator's fingers spring back
@example(Planted(squeeze=0.084, hold_s=30.0, noise=0.01), 0)
def test_an_opening_begins_where_the_aperture_does(planted, seed):
    assert is_dated_right(planted, seed)


@given(PLANTED, st.integers(0, 99), st.floats(-2.0, 2.0), st.floats(0.7, 100.0))
def test_the_range_of_the_numbers_changes_no_date(planted, seed, closed, reach):
    ranged = Planted(**{**planted.__dict__, "closed": closed, "open": closed + reach})
    assert is_dated_right(ranged, seed)


@pytest.mark.parametrize("opening_s", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("squeeze", [0.0, 0.1])
@pytest.mark.parametrize("stair", [2, 3, 4])
def test_a_recorder_that_holds_values_makes_no_rests(stair, squeeze, opening_s):
    planted = Planted(fps=30.0, stair=stair, squeeze=squeeze, opening_s=opening_s)
    assert is_dated_right(planted)
    values, begin, _ = Planted(fps=30.0, stair=stair, opening_s=opening_s).made()
    assert opening_of(values, 30.0).start_frame <= begin + stair + 0.1 * opening_s * 30.0


@pytest.mark.parametrize("creep", [0.04, 0.09, 0.12])
@pytest.mark.parametrize("squeeze", [0.0, 0.05])
def test_a_creep_while_a_thing_is_carried_is_no_opening(squeeze, creep):
    assert is_dated_right(Planted(squeeze=squeeze, creep=creep, hold_s=6.0))


@pytest.mark.parametrize("cut", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("opening_s", [0.4, 1.0, 3.0])
def test_an_opening_at_the_end_of_an_episode(opening_s, cut):
    assert is_dated_right(Planted(squeeze=0.084, opening_s=opening_s, cut=cut))


def test_a_first_stage_that_would_be_an_opening_by_itself_is_its_beginning():
    stages = [np.ones(20), np.zeros(30), np.linspace(0.0, 0.4, 5), np.full(30, 0.4)]
    values = np.concatenate([*stages, np.linspace(0.4, 1.0, 5), np.ones(20)])
    event = opening_of(values, 10.0)
    assert event.start_frame <= 52
    assert event.end_frame >= 85


@pytest.mark.parametrize("settled", [0.03, 0.07, 0.1])
def test_fingers_that_sink_into_a_soft_thing_have_closed_before(settled):
    closed = np.linspace(0.3 + settled, 0.3, 60)
    values = np.concatenate([np.ones(20), [0.7], closed, [0.6, 0.9], np.ones(20)])
    arm = ArmMotion("left", gripper_open=values)
    measured = measure(EpisodeMotion((arm,), fps=10.0, frames=len(values)))
    close, opens = measured.arms[0].events
    assert (close.start_frame, close.end_frame) == (19, 22)
    assert 75 <= opens.start_frame <= 81
