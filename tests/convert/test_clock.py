"""An episode's rate: declared, in a feature, or the median step of its own clock."""

from __future__ import annotations

import numpy as np
import pytest
from convert.fake import FakeEpisode

from finedata.convert.clock import Clock, read_clock, source_time_s
from finedata.convert.forms import EpisodeView
from finedata.errors import FeatureError
from finedata.schema.converter import TimeSpec

STEPS = 20


def view(**arrays: object) -> EpisodeView:
    named = {name: np.asarray(values) for name, values in arrays.items()}
    return EpisodeView(FakeEpisode(arrays=named), {})


def clock(spec: TimeSpec, *, frames: int = STEPS, **arrays: object) -> Clock:
    return read_clock(view(**arrays), spec, frames=frames)


def test_a_declared_rate_is_taken_as_it_is() -> None:
    assert clock(TimeSpec(fps=3.0)) == Clock(fps=3.0, base="declared")
    assert clock(TimeSpec(fps=3.0, measured=True)).base == "measured"
    # Time stamps that the episode lacks are no reason to fail.
    assert clock(TimeSpec(fps=3.0, timestamps="t")) == Clock(fps=3.0, base="declared")


def test_a_rate_may_be_in_a_feature() -> None:
    assert clock(TimeSpec(fps_feature="rate"), rate=15).fps == 15.0
    assert clock(TimeSpec(fps_feature="rate"), rate=[12.5, 99.0]).fps == 12.5
    assert clock(TimeSpec(fps=10.0, fps_feature="rate"), rate=15).fps == 10.0


@pytest.mark.parametrize("rate", [0.0, -5.0, np.nan, np.inf])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(FeatureError, match=r"the episode's rate: .*frames a second"):
        clock(TimeSpec(fps_feature="rate"), rate=rate)


@pytest.mark.parametrize(
    ("unit", "scale"), [("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)], ids=str
)
def test_stamps_measure_the_rate_in_any_unit(unit: str, scale: float) -> None:
    stamps = np.round((5.0 + np.arange(STEPS) / 25.0) * scale, 6)
    spec = TimeSpec(fps=25.0, timestamps="t", timestamp_unit=unit)
    found = clock(spec, t=stamps)
    assert (found.fps, found.base) == (25.0, "declared")
    assert found.fps_measured == pytest.approx(25.0)
    assert found.dt_max_s == pytest.approx(0.04)
    assert found.flags == frozenset()
    assert found.start_unix_s is None


def test_whole_nanoseconds_since_1970_lose_nothing() -> None:
    """1.6e18 does not fit a float64 to the nanosecond; differences do."""
    first = 1_600_000_000_123_456_789
    stamps = first + np.arange(STEPS, dtype=np.int64) * 33_333_333
    spec = TimeSpec(fps=30.0, timestamps="t", timestamp_unit="ns")
    assert clock(spec, t=stamps).start_unix_s == pytest.approx(1_600_000_000.1234568, abs=1e-6)
    seconds = source_time_s(view(t=stamps), spec, frames=STEPS)
    assert seconds is not None
    np.testing.assert_allclose(seconds, np.arange(STEPS) * 0.033333333, rtol=0, atol=1e-9)


def test_the_rate_from_time_stamps_is_the_median_step_rounded() -> None:
    rng = np.random.default_rng(0)
    steps = np.full(STEPS - 1, 1 / 14.8) + rng.normal(0, 1e-3, STEPS - 1)
    steps[4] = 3.0  # a pause does not change the median
    stamps = np.concatenate([[0.0], np.cumsum(steps)])
    spec = TimeSpec(timestamps="t", rate="from_timestamps")
    found = clock(spec, t=stamps)
    assert (found.fps, found.base) == (15.0, "source_timestamps")
    assert found.dt_max_s == pytest.approx(3.0)
    # Slower than one frame a second is one frame a second.
    assert clock(spec, t=stamps * 60).fps == 1.0


def test_stamps_that_tell_no_rate_leave_the_declared_one() -> None:
    spec = TimeSpec(fps=10.0, timestamps="t", rate="from_timestamps")
    assert clock(spec, t=[7.0], frames=1) == Clock(fps=10.0, base="declared")
    assert clock(spec, t=np.full(STEPS, 7.0)).fps == 10.0
    with pytest.raises(FeatureError):
        clock(TimeSpec(timestamps="t", rate="from_timestamps"), t=np.full(STEPS, 7.0))


@pytest.mark.parametrize(
    ("stamps", "flags"),
    [
        ([0.0, 0.1, 0.2, 0.3], set()),
        ([0.0, 0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], {"timestamps_repeat"}),
        ([0.0, 0.1, 0.05, 0.2, 0.3, 0.4, 0.5], {"timestamps_decrease"}),
        ([0.0, 0.11, 0.22, 0.33], set()),
        ([0.0, 0.13, 0.26, 0.39], {"rate_differs"}),
        ([0.0, 0.05, 0.10, 0.15], {"rate_differs"}),
    ],
)
def test_flags_say_what_is_odd(stamps: list[float], flags: set[str]) -> None:
    found = clock(TimeSpec(fps=10.0, timestamps="t"), frames=len(stamps), t=stamps)
    assert found.flags == flags


@pytest.mark.parametrize(
    "stamps",
    [
        [np.inf, 0.1, 0.2, 0.3],
        [0.0, np.inf, np.inf, np.inf],
        [0.0, 0.1, -np.inf, np.nan],
        [np.inf] * 4,
        [np.nan] * 4,
    ],
)
def test_times_that_are_no_times_are_flagged_and_measure_nothing(stamps: list[float]) -> None:
    for rate in ("declared", "from_timestamps"):
        spec = TimeSpec(fps=10.0, timestamps="t", rate=rate)
        found = clock(spec, frames=4, t=stamps)
        assert found.fps == 10.0
        assert found.flags & {"timestamps_repeat", "timestamps_decrease"}
        assert found.dt_max_s is None


def test_unsigned_stamps_may_step_back() -> None:
    """Before the first one, too: there an unsigned difference wraps around."""
    stamps = np.array([1000, 950, 1100, 1200, 1300, 1400], np.uint64)
    found = clock(TimeSpec(fps=10.0, timestamps="t", timestamp_unit="ms"), frames=6, t=stamps)
    assert "timestamps_decrease" in found.flags
    assert found.dt_max_s == pytest.approx(0.15)


def test_only_the_frames_that_are_written_count() -> None:
    stamps = [*(np.arange(4) * 0.1), 99.0]
    spec = TimeSpec(fps=10.0, timestamps="t")
    assert clock(spec, frames=4, t=stamps).dt_max_s == pytest.approx(0.1)
    found = source_time_s(view(t=np.array(stamps)[:, None]), spec, frames=4)
    assert found is not None
    assert found.tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert source_time_s(view(), spec, frames=4) is None
