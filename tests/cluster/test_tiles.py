"""Cutting units into tiles, and what comes out of them."""

from __future__ import annotations

import numpy as np
import pytest
from cluster.units import ARM, TWO_ARMS, MemoryStore, make_units
from engine.shuffled import Shuffled
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.cluster.distance.motion import ArmLayout, UnitTracks, prepare, unit_ranges
from finedata.cluster.distance.pipeline import Kernel, LargeUnit, UnitDistances, unit_distances
from finedata.cluster.distance.tiles import Subset, Tile, TileLimits, condensed_places, plan_tiles
from finedata.motion.dtw.distances import FrameCost, dtw_all_pairs, dtw_path

COST = FrameCost(space="pose", gripper_weight=2.0, two_stage=True)


def plan(
    tracks: UnitTracks, limits: TileLimits, subsets: dict[int, Subset] | None = None
) -> list[Tile]:
    chosen = subsets or {}
    return plan_tiles(
        tracks,
        limits=limits,
        item_bytes=4,
        row_bytes=32 * len(tracks.arms),
        subset_of=lambda unit, _: chosen.get(unit),
    )


def all_distances(tracks: UnitTracks, tiles: list[Tile], **named: object) -> list[UnitDistances]:
    kernel = Kernel(cost=COST, threads=1)
    found = unit_distances(tracks, tiles=tiles, kernel=kernel, **named)
    return [one for some in found for one in some]


def pairs_of(tile: Tile, tracks: UnitTracks) -> set[tuple[int, int, int]]:
    """(unit, track, track) that a tile compares."""
    if tile.plan is None:
        sizes = np.diff(tracks.unit_offsets)
        return {
            (unit, i, j)
            for unit in range(*tile.units)
            for i in range(sizes[unit])
            for j in range(i + 1, sizes[unit])
        }
    bounds, order = tile.plan.bounds, tile.plan.order
    row, column = (order[bounds[b] : bounds[b + 1]] for b in tile.blocks)
    return {
        (tile.units[0], *sorted((int(i), int(j))))
        for i in row
        for j in column
        if tile.kind == "cross" or i < j
    }


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(50, 4000),
    st.integers(1, 4),
    st.integers(400, 6000),
)
def test_every_pair_is_in_one_tile_and_no_tile_is_too_large(
    sizes: list[int], cells: int, block: int, bytes_: int
) -> None:
    tracks = make_units(sizes, seed=len(sizes))
    limits = TileLimits(cells=cells, block=block, bytes_=bytes_)
    tiles = plan(tracks, limits)
    assert [tile.number for tile in tiles] == list(range(len(tiles)))
    assert [tile.units[0] for tile in tiles] == sorted(tile.units[0] for tile in tiles)
    found: list[tuple[int, int, int]] = []
    for tile in tiles:
        pairs = pairs_of(tile, tracks)
        assert tile.pairs == len(pairs)
        starts = tracks.unit_offsets
        lengths = [tracks.lengths[starts[u] + np.array([i, j])] for u, i, j in pairs]
        assert tile.cells == sum(int(one.prod()) for one in lengths)
        assert tile.cells <= max(cells, int(tracks.lengths.max()) ** 2)
        found += pairs
    wanted = [(u, i, j) for u, n in enumerate(sizes) for i in range(n) for j in range(i + 1, n)]
    assert sorted(found) == wanted


@pytest.mark.parametrize("arms", [ARM, TWO_ARMS])
def test_distances_depend_neither_on_the_tiles_nor_on_the_engine(arms: tuple) -> None:
    tracks = make_units([7, 1, 3, 2], arms=arms, seed=3)
    wanted = all_distances(tracks, plan(tracks, TileLimits()))
    assert len(plan(tracks, TileLimits())) == 1
    for limits in (TileLimits(cells=300), TileLimits(cells=900, block=3), TileLimits(bytes_=900)):
        tiles = plan(tracks, limits)
        assert len(tiles) > 3
        for engine in (None, Shuffled(3, workers=3)):
            found = all_distances(tracks, tiles, engine=engine)
            assert [one.unit for one in found] == [0, 1, 2, 3]
            for one, other in zip(found, wanted, strict=True):
                assert np.array_equal(one.condensed, other.condensed)


def test_distances_are_those_of_the_scaled_tracks_with_arms_added() -> None:
    tracks = make_units([4], arms=TWO_ARMS, seed=8)
    (found,) = all_distances(tracks, plan(tracks, TileLimits()))
    scaled = prepare(
        tracks.values[:],
        lengths=tracks.lengths,
        ranges=unit_ranges(tracks, 0),
        unit_of_track=np.zeros(4, np.int64),
        arms=TWO_ARMS,
        dtype=np.float64,
    )
    place = 0
    for i in range(4):
        for j in range(i + 1, 4):
            row, column = sorted((i, j), key=lambda k: (tracks.lengths[k], k))
            wanted = sum(
                dtw_path(
                    *(arm.values[arm.offsets[k] : arm.offsets[k + 1]] for k in (row, column)),
                    cost=COST,
                ).distance
                for arm in scaled
            )
            assert found.condensed[place] == pytest.approx(wanted, rel=1e-5)
            place += 1


def test_a_unit_with_landmarks_compares_them_with_all() -> None:
    tracks = make_units([3, 8, 2], seed=5)
    chosen, sample = np.array([1, 4, 6]), np.array([0, 2, 4, 7])
    whole = all_distances(tracks, plan(tracks, TileLimits()))[1].condensed
    for limits in (TileLimits(), TileLimits(block=3), TileLimits(cells=1000)):
        tiles = plan(tracks, limits, {1: Subset(landmarks=chosen, sample=sample)})
        found = all_distances(tracks, tiles)
        assert [one.unit for one in found] == [0, 1, 2]
        large = found[1]
        assert large.condensed is None
        assert np.array_equal(large.subset.landmarks, chosen)
        among = large.to_landmarks[:, chosen]
        assert np.array_equal(among, among.T)
        first, second = sample[np.array(np.triu_indices(4, k=1))]
        assert np.array_equal(large.sample, whole[condensed_places(first, second, 8)])
        for row, landmark in enumerate(chosen):
            for track in range(8):
                if track == landmark:
                    assert large.to_landmarks[row, track] == 0
                    continue
                place = condensed_places(np.array([landmark]), np.array([track]), 8)
                assert large.to_landmarks[row, track] == pytest.approx(whole[place][0], rel=1e-5)


def test_finished_tiles_are_taken_from_the_store() -> None:
    tracks = make_units([6, 2, 3], seed=1)
    tiles = plan(tracks, TileLimits(cells=400, block=2))
    store = MemoryStore()
    computed: list[bool] = []
    wanted = all_distances(
        tracks, tiles, store=store, on_tile=lambda _, fresh: computed.append(fresh)
    )
    assert store.puts == len(tiles) == len(computed) > 4
    assert all(computed)
    computed.clear()
    found = all_distances(
        tracks, tiles, store=store, on_tile=lambda _, fresh: computed.append(fresh)
    )
    assert not any(computed)
    assert store.puts == len(tiles)
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one.condensed, other.condensed)


def test_a_stale_tile_is_never_used() -> None:
    tracks = make_units([5, 4], seed=1)
    tiles = plan(tracks, TileLimits(cells=1500, block=3))
    store = MemoryStore()
    all_distances(tracks, tiles, store=store)
    # The scale of the first unit changes with one number of one track.
    tracks.values[0, 0] += 100
    fresh: list[int] = []
    found = all_distances(
        tracks, tiles, store=store, on_tile=lambda tile, new: fresh.append(tile.number * new)
    )
    assert {number for number in fresh if number} == {
        tile.number for tile in tiles if tile.units[0] == 0 and tile.number
    }
    for one, other in zip(found, all_distances(tracks, tiles), strict=True):
        assert np.array_equal(one.condensed, other.condensed)
    # Another cost, and a payload that is cut short.
    kernel = Kernel(cost=FrameCost(space="pose"), threads=1)
    again: list[bool] = []
    kept = dict(store.held)
    list(unit_distances(tracks, tiles=tiles, kernel=kernel, store=store,
                        on_tile=lambda _, new: again.append(new)))  # fmt: skip
    assert all(again)
    store.held = {key: payload[:-4] for key, payload in kept.items()}
    again.clear()
    all_distances(tracks, tiles, store=store, on_tile=lambda _, new: again.append(new))
    assert all(again)


def test_condensed_places_are_scipys() -> None:
    places = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    first, second = np.array(places).T
    assert condensed_places(first, second, 5).tolist() == list(range(10))
    assert condensed_places(second, first, 5).tolist() == list(range(10))


def test_many_small_units_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(*arguments: object, **named: object) -> np.ndarray:
        calls.append(len(named["group_offsets"]) - 1)
        return dtw_all_pairs(*arguments, **named)

    monkeypatch.setattr("finedata.cluster.distance.tile_work.dtw_all_pairs", counted)
    tracks = make_units([2, 3, 1, 4])
    all_distances(tracks, plan(tracks, TileLimits()))
    assert calls == [4]


def test_blocks_break_ties_as_one_call_does() -> None:
    # Many equal paths of unequal lengths: which track is the row then shows in the distance.
    rng = np.random.default_rng(0)
    lengths = rng.integers(19, 21, 30)
    tracks = UnitTracks.of(
        rng.integers(0, 4, (int(lengths.sum()), 1)).astype(np.float32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        unit_offsets=np.array([0, 30]),
        arms=(ArmLayout(scaled=(0,), has_gripper=False),),
    )
    kernel = Kernel(cost=FrameCost(space="euclidean"), threads=1)
    one, many = (
        next(unit_distances(tracks, tiles=plan(tracks, limits), kernel=kernel))[0].condensed
        for limits in (TileLimits(), TileLimits(cells=9000, block=7))
    )
    assert np.array_equal(one, many)


def test_distances_among_landmarks_are_symmetric() -> None:
    tracks = make_units([6], seed=5)
    subset = Subset(landmarks=np.array([1, 3, 4]), sample=np.array([0, 2]))
    tiles = plan(tracks, TileLimits(), {0: subset})
    large = LargeUnit(np.float32)
    values = np.arange(18, dtype=np.float32)
    assert large.add(tiles[0], values) == []
    (found,) = large.add(tiles[1], np.ones(1, np.float32))
    among = found.to_landmarks[:, subset.landmarks]
    assert np.array_equal(among, among.T)
    assert not np.diag(among).any()
