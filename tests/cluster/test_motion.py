"""Scaling of motion over a unit, and the signs of its quaternions."""

from __future__ import annotations

import numpy as np
from cluster.units import ARM, TWO_ARMS, make_units

from finedata.cluster.distance.motion import (
    ArmLayout,
    UnitRanges,
    UnitTracks,
    prepare,
    ranges_of,
    unit_ranges,
)


def scaled(tracks: UnitTracks, unit: int, dtype: type = np.float64) -> list[np.ndarray]:
    first, last = tracks.unit_offsets[unit], tracks.unit_offsets[unit + 1]
    arms = prepare(
        tracks.read(int(first), int(last)),
        lengths=tracks.lengths[first:last],
        ranges=unit_ranges(tracks, unit),
        unit_of_track=np.zeros(last - first, np.int64),
        arms=tracks.arms,
        dtype=dtype,
    )
    return [arm.values for arm in arms]


def test_positions_and_gripper_fill_the_unit_interval_over_each_unit() -> None:
    tracks = make_units([3, 4])
    for unit in (0, 1):
        (values,) = scaled(tracks, unit)
        assert np.allclose(values[:, [0, 1, 2, 7]].min(axis=0), 0, atol=1e-12)
        assert np.allclose(values[:, [0, 1, 2, 7]].max(axis=0), 1, atol=1e-12)
        assert np.allclose(np.linalg.norm(values[:, 3:7], axis=1), 1, atol=1e-12)


def test_both_arms_are_scaled_by_themselves() -> None:
    tracks = make_units([3], arms=TWO_ARMS)
    right, left = scaled(tracks, 0)
    assert right.shape == left.shape == (tracks.lengths.sum(), 8)
    raw = tracks.values[:]
    assert not np.allclose(right, left)
    assert np.allclose(left[:, 0], (raw[:, 8] - raw[:, 8].min()) / np.ptp(raw[:, 8]), atol=1e-6)


def test_a_dimension_that_never_moves_becomes_zero() -> None:
    tracks = make_units([3])
    tracks.values[:, 1] = 7.0
    (values,) = scaled(tracks, 0)
    assert not values[:, 1].any()
    tracks.values[:, 0:3] = 0.25
    tracks.values[:, 7] = 1.0
    (values,) = scaled(tracks, 0)
    assert not values[:, [0, 1, 2, 7]].any()


def test_each_track_takes_the_side_of_the_first() -> None:
    tracks = make_units([4], length=(6, 6))
    (wanted,) = scaled(tracks, 0)
    turned = tracks.values.copy()
    turned[6:12, 3:7] *= -1
    turned[18:24, 3:7] *= -1
    other = UnitTracks(
        values=turned,
        starts=tracks.starts,
        lengths=tracks.lengths,
        unit_offsets=tracks.unit_offsets,
        arms=ARM,
    )
    (found,) = scaled(other, 0)
    assert np.array_equal(found, wanted)


def test_quaternions_are_made_unit() -> None:
    tracks = make_units([2])
    (wanted,) = scaled(tracks, 0)
    tracks.values[:, 3:7] *= 3
    (found,) = scaled(tracks, 0)
    assert np.allclose(found, wanted, atol=1e-6)


def test_joints_and_undeclared_columns() -> None:
    values = np.arange(24, dtype=np.float32).reshape(6, 4)
    joint = ArmLayout(scaled=(0, 1), gripper=3)
    bare = ArmLayout(scaled=(0, 1, 2, 3), has_gripper=False)
    hand = ArmLayout(scaled=(0, 1))
    assert (joint.width, bare.width, hand.width) == (3, 4, 3)
    found = prepare(
        values,
        lengths=np.array([2, 4]),
        ranges=ranges_of(values, np.array([0])),
        unit_of_track=np.zeros(2, np.int64),
        arms=(joint, bare, hand),
        dtype=np.float64,
    )
    ramp = np.linspace(0, 1, 6)
    assert np.allclose(found[0].values, np.stack([ramp] * 3, axis=1))
    assert np.allclose(found[1].values, np.stack([ramp] * 4, axis=1))
    assert np.allclose(found[2].values, np.stack([ramp, ramp, 0 * ramp], axis=1))
    assert found[0].offsets.tolist() == [0, 2, 6]


def test_limits_of_a_unit_do_not_depend_on_how_it_is_read(monkeypatch: object) -> None:
    tracks = make_units([2, 9, 3], seed=4)
    wanted = unit_ranges(tracks, 1)
    rows = tracks.read(2, 11)
    assert np.array_equal(wanted.low[0], rows.min(axis=0))
    assert np.array_equal(wanted.high[0], rows.max(axis=0))
    assert np.array_equal(wanted.first[0], rows[0])
    monkeypatch.setattr("finedata.cluster.distance.motion._CHUNK_FRAMES", 15)
    found = unit_ranges(tracks, 1)
    assert all(
        np.array_equal(getattr(found, name), getattr(wanted, name))
        for name in UnitRanges.__dataclass_fields__
    )


def test_tracks_with_gaps_between_them_are_read_alone() -> None:
    values = np.arange(20, dtype=np.float32)[:, None]
    tracks = UnitTracks(
        values=values,
        starts=np.array([1, 5, 12]),
        lengths=np.array([2, 3, 4]),
        unit_offsets=np.array([0, 3]),
        arms=(ArmLayout(scaled=(0,), has_gripper=False),),
    )
    assert tracks.read(0, 3).ravel().tolist() == [1, 2, 5, 6, 7, 12, 13, 14, 15]
    assert tracks.read(1, 2).ravel().tolist() == [5, 6, 7]
    assert tracks.read(1, 1).shape == (0, 1)
    assert tracks.read_some(np.array([2, 0])).ravel().tolist() == [12, 13, 14, 15, 1, 2]
