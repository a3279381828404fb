"""DTW against a plain reference, against dtaidistance's C, and against what must always hold."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from motion.dtw_reference import condensed, in_doubt, reference_dtw

from finedata.errors import FeatureError
from finedata.motion.dtw.distances import (
    FrameCost,
    Tracks,
    dtw_all_pairs,
    dtw_cross,
    dtw_pairs,
    dtw_path,
)

# The edges of 4, 8 and 16 lanes, and lengths mixed from one to beyond a tile.
LENGTHS = (65, 1, 8, 70, 7, 63, 9, 2, 64, 33)
WEIGHTS = (1.3, 0.7, 2.5)
COSTS = {
    "pose": ("pose", False),
    "pose two-stage": ("pose", True),
    "joint": ("joint", False),
    "joint two-stage": ("joint", True),
    "euclidean": ("euclidean", False),
    "pose_rms one arm": ("pose_rms", False),
    "pose_rms two arms": ("pose_rms", False),
}
BANDS = (None, 0.23)
#: Relative error of a distance; float32 as the docstring of the engine states it.
BOUNDS = {np.float64: 1e-9, np.float32: 1e-5}


def pose(rng: np.random.Generator, length: int) -> np.ndarray:
    """(T, 8): a wandering pose; the quaternion is unit and of any sign."""
    track = np.cumsum(rng.normal(scale=0.3, size=(length, 8)), axis=0) + rng.normal(size=8)
    track[:, 3:7] /= np.linalg.norm(track[:, 3:7], axis=1, keepdims=True)
    track[:, 3:7] *= rng.choice([-1.0, 1.0], size=(length, 1))
    track[:, 7] = rng.uniform(size=length)
    return track


def made(name: str, lengths: tuple[int, ...], *, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng([seed, len(lengths)])
    if name.startswith("pose"):
        arms = 2 if "two arms" in name else 1
        return [np.hstack([pose(rng, n) for _ in range(arms)]) for n in lengths]
    width = 7 if name.startswith("joint") else 5
    return [np.cumsum(rng.normal(size=(n, width)), axis=0) for n in lengths]


def frame_cost(name: str) -> FrameCost:
    space, two_stage = COSTS[name]
    w_p, w_r, w_g = WEIGHTS
    return FrameCost(
        space=space,
        position_weight=w_p,
        rotation_weight=w_r,
        gripper_weight=w_g,
        two_stage=two_stage,
    )


@cache
def reference(name: str, band: float | None, lengths: tuple[int, ...] = LENGTHS) -> list:
    space, two_stage = COSTS[name]
    tracks = made(name, lengths)
    return condensed(tracks, space=space, weights=WEIGHTS, two_stage=two_stage, band=band)


def numbers_of_pairs(count: int) -> np.ndarray:
    return np.stack(np.triu_indices(count, k=1), axis=1)


class TestAgainstTheReference:
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("band", BANDS)
    @pytest.mark.parametrize("name", COSTS)
    def test_pairs(self, name, band, dtype):
        tracks = Tracks.of(made(name, LENGTHS), dtype=dtype)
        pairs = numbers_of_pairs(len(LENGTHS))
        found = dtw_pairs(
            tracks, pairs, cost=frame_cost(name), band=band, dtype=dtype, device="cpu"
        )
        wanted = reference(name, band)
        assert found.distance.dtype == found.gripper.dtype == dtype
        assert found.path_length.dtype == np.int32
        bound = BOUNDS[dtype]
        np.testing.assert_array_equal(found.path_length, [len(item.path) for item in wanted])
        np.testing.assert_allclose(found.distance, [item.distance for item in wanted], rtol=bound)
        np.testing.assert_allclose(found.gripper, [item.gripper for item in wanted], rtol=bound)

    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("band", BANDS)
    @pytest.mark.parametrize("name", COSTS)
    def test_all_pairs(self, name, band, dtype):
        tracks = Tracks.of(made(name, LENGTHS), dtype=dtype)
        found = dtw_all_pairs(tracks, cost=frame_cost(name), band=band, dtype=dtype, device="cpu")
        wanted = [item.distance for item in reference(name, band)]
        assert found.dtype == dtype
        np.testing.assert_allclose(found, wanted, rtol=BOUNDS[dtype])

    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("band", BANDS)
    @pytest.mark.parametrize("name", COSTS)
    def test_cross(self, name, band, dtype):
        tracks = made(name, LENGTHS)
        rows, columns = (Tracks.of(part, dtype=dtype) for part in (tracks[:3], tracks[3:]))
        found = dtw_cross(
            rows, columns, cost=frame_cost(name), band=band, dtype=dtype, device="cpu"
        )
        at = {pair: n for n, pair in enumerate(map(tuple, numbers_of_pairs(len(tracks)).tolist()))}
        wanted = [
            [reference(name, band)[at[i, j]].distance for j in range(3, len(tracks))]
            for i in range(3)
        ]
        np.testing.assert_allclose(found, wanted, rtol=BOUNDS[dtype])

    @pytest.mark.parametrize("band", BANDS)
    @pytest.mark.parametrize("name", COSTS)
    def test_path(self, name, band):
        tracks = made(name, LENGTHS)
        # rows are the shorter ones
        order = sorted(range(len(tracks)), key=lambda k: len(tracks[k]))
        space, two_stage = COSTS[name]
        for i, j in pairwise(order):
            found = dtw_path(tracks[i], tracks[j], cost=frame_cost(name), band=band)
            wanted = reference_dtw(
                tracks[i], tracks[j], space=space, weights=WEIGHTS, two_stage=two_stage, band=band
            )
            assert found.path.tolist() == [list(step) for step in wanted.path]
            assert found.distance == pytest.approx(wanted.distance, rel=1e-9)
            assert found.gripper == pytest.approx(wanted.gripper, rel=1e-9)

    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("name", ["pose", "pose two-stage"])
    def test_many_groups_in_one_call(self, name, dtype):
        """Sizes around the number of lanes, lengths mixed; each group as if it were alone."""
        sizes = (1, 2, 7, 8, 9, 11, 17, 0, 3)
        rng = np.random.default_rng(5)
        lengths = tuple(int(n) for n in rng.integers(1, 20, size=sum(sizes)))
        tracks = made(name, lengths)
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        cost = frame_cost(name)
        found = dtw_all_pairs(
            Tracks.of(tracks, dtype=dtype),
            group_offsets=bounds,
            cost=cost,
            dtype=dtype,
            device="cpu",
        )
        space, two_stage = COSTS[name]
        groups = [tracks[a:b] for a, b in pairwise(bounds)]
        wanted = [
            item.distance
            for group in groups
            for item in condensed(group, space=space, weights=WEIGHTS, two_stage=two_stage)
        ]
        np.testing.assert_allclose(found, wanted, rtol=BOUNDS[dtype], atol=1e-12)
        alone = [
            dtw_all_pairs(Tracks.of(group, dtype=dtype), cost=cost, dtype=dtype, device="cpu")
            for group in groups
            if group
        ]
        np.testing.assert_array_equal(found, np.concatenate(alone))

    def test_float32_tracks_may_be_computed_in_float64(self):
        tracks = [track.astype(np.float32) for track in made("joint", (9, 12, 31))]
        found = dtw_all_pairs(
            Tracks.of(tracks), cost=frame_cost("joint"), dtype=np.float64, device="cpu"
        )
        wanted = condensed(tracks, space="joint", weights=WEIGHTS)
        np.testing.assert_allclose(found, [item.distance for item in wanted], rtol=1e-12)

    @pytest.mark.parametrize("band", [0.01, 0.1, 0.4, 1.0])
    def test_bands_as_narrow_as_a_path_allows_and_as_wide_as_none(self, band):
        lengths = (2, 3, 5, 17, 17, 33, 65, 65)  # whole advances from row to row: no cell in doubt
        tracks = made("joint", lengths)
        pairs = [
            (i, j)
            for i, j in numbers_of_pairs(len(lengths)).tolist()
            if not in_doubt(lengths[i], lengths[j], band)
        ]
        assert len(pairs) >= 20
        found = dtw_pairs(
            Tracks.of(tracks, dtype=np.float64),
            pairs,
            cost=frame_cost("joint"),
            band=band,
            dtype=np.float64,
            device="cpu",
        )
        wanted = [
            reference_dtw(tracks[i], tracks[j], space="joint", weights=WEIGHTS, band=band)
            for i, j in pairs
        ]
        np.testing.assert_allclose(found.distance, [item.distance for item in wanted], rtol=1e-9)
        assert found.path_length.tolist() == [len(item.path) for item in wanted]


class TestAgainstDtaidistance:
    @pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 9, 16])
    def test_sum_of_norms(self, width):
        dtw_ndim = pytest.importorskip("dtaidistance.dtw_ndim")
        rng = np.random.default_rng(width)
        tracks = [np.cumsum(rng.normal(size=(n, width)), axis=0) for n in LENGTHS if n > 1]
        theirs = dtw_ndim.distance_matrix_fast(
            tracks, inner_dist="euclidean", compact=True, parallel=False
        )
        found = dtw_pairs(
            Tracks.of(tracks, dtype=np.float64),
            numbers_of_pairs(len(tracks)),
            cost=FrameCost(space="euclidean"),
            dtype=np.float64,
            device="cpu",
        )
        np.testing.assert_allclose(found.distance * found.path_length, theirs, rtol=1e-9)


class TestAngle:
    """Tracks of one frame: their distance is the frame's cost."""

    cost = FrameCost(space="pose", position_weight=0.0, gripper_weight=0.0)

    def distances(self, first: np.ndarray, second: np.ndarray, dtype: type) -> np.ndarray:
        """(n, 4) and (n, 4) xyzw to (n,) angles."""
        n = len(first)
        values = np.zeros((2 * n, 8))
        values[:n, 3:7], values[n:, 3:7] = first, second
        tracks = Tracks(values.astype(dtype), np.arange(2 * n + 1))
        pairs = np.stack([np.arange(n), np.arange(n, 2 * n)], axis=1)
        return dtw_pairs(tracks, pairs, cost=self.cost, dtype=dtype, device="cpu").distance

    def turned(self, angles: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Random rotations and the same turned by `angles` about random axes; random signs."""
        rng = np.random.default_rng(seed)
        n = len(angles)
        q = rng.normal(size=(n, 4))
        q /= np.linalg.norm(q, axis=1, keepdims=True)
        axis = rng.normal(size=(n, 3))
        axis /= np.linalg.norm(axis, axis=1, keepdims=True)
        v, w = np.sin(angles / 2)[:, None] * axis, np.cos(angles / 2)[:, None]
        product = np.hstack(
            [
                w * q[:, :3] + q[:, 3:] * v + np.cross(v, q[:, :3]),
                w * q[:, 3:] - (v * q[:, :3]).sum(axis=1, keepdims=True),
            ]
        )
        return q, product * rng.choice([-1.0, 1.0], size=(n, 1))

    @pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 3e-6), (np.float64, 1e-14)])
    def test_error_over_all_angles(self, dtype, bound):
        angles = np.concatenate(
            [
                np.linspace(0.0, np.pi, 4001),
                np.geomspace(1e-9, 1e-2, 500),
                np.pi - np.geomspace(1e-9, 1e-2, 500),
            ]
        )
        found = self.distances(*self.turned(angles), dtype)
        np.testing.assert_allclose(found, angles, rtol=0.0, atol=bound)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_q_and_minus_q_are_exactly_equal(self, dtype):
        q, _ = self.turned(np.zeros(1000))
        assert (self.distances(q, -q, dtype) == 0.0).all()
        assert (self.distances(q, q, dtype) == 0.0).all()

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("name", ["pose", "pose two-stage", "pose_rms two arms"])
    def test_a_track_with_its_signs_turned_is_the_same_track(self, name, dtype):
        (track,) = made(name, (40,))
        turned = track.copy()
        rng = np.random.default_rng(1)
        for arm in range(track.shape[1] // 8):
            turned[:, 8 * arm + 3 : 8 * arm + 7] *= rng.choice([-1.0, 1.0], size=(40, 1))
        other = made(name, (33,), seed=2)[0]
        found = dtw_pairs(
            Tracks.of([track, turned, other], dtype=dtype),
            [(0, 1), (0, 2), (1, 2)],
            cost=frame_cost(name),
            dtype=dtype,
            device="cpu",
        )
        assert found.distance[0] == 0.0
        assert found.path_length[0] == 40
        assert found.distance[1] == found.distance[2] > 0.0


class TestWhatAlwaysHolds:
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("band", BANDS)
    @pytest.mark.parametrize("name", COSTS)
    def test_it_does_not_matter_who_asks(self, name, band, dtype):
        tracks = Tracks.of(made(name, LENGTHS), dtype=dtype)
        pairs = numbers_of_pairs(len(LENGTHS))
        how = {"cost": frame_cost(name), "band": band, "dtype": dtype, "device": "cpu"}
        there = dtw_pairs(tracks, pairs, threads=1, **how)
        back = dtw_pairs(tracks, pairs[::-1, ::-1], threads=1, **how)
        both = dtw_pairs(tracks, pairs, threads=2, **how)
        for column in ("distance", "path_length", "gripper"):
            wanted = getattr(there, column)
            np.testing.assert_array_equal(getattr(back, column)[::-1], wanted)
            np.testing.assert_array_equal(getattr(both, column), wanted)
        one, two = (dtw_all_pairs(tracks, threads=threads, **how) for threads in (1, 2))
        np.testing.assert_array_equal(one, two)
        one, two = (dtw_cross(tracks, tracks, threads=threads, **how) for threads in (1, 2))
        np.testing.assert_array_equal(one, two)
        assert (np.diagonal(one) == 0.0).all()

    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("name", COSTS)
    def test_static_tracks_cost_nothing_along_the_diagonal(self, name, dtype):
        (start,) = made(name, (1,))
        lengths = (1, 7, 8, 9, 30)
        tracks = Tracks.of([np.repeat(start, n, axis=0) for n in lengths], dtype=dtype)
        pairs = numbers_of_pairs(len(lengths))
        found = dtw_pairs(tracks, pairs, cost=frame_cost(name), dtype=dtype, device="cpu")
        assert (found.distance == 0.0).all()
        assert (found.gripper == 0.0).all()
        # all ties: as long as the diagonal goes, then along the longer track
        assert found.path_length.tolist() == [max(lengths[i], lengths[j]) for i, j in pairs]

    @pytest.mark.parametrize("name", ["pose two-stage", "joint two-stage"])
    def test_ties_decide_what_the_gripper_costs(self, name):
        """Static motion with a moving gripper: the charge stands or falls with the ties' order."""
        rng = np.random.default_rng(0)
        (start,) = made(name, (1,))
        tracks = []
        for n in (5, 8, 13, 13):
            track = np.repeat(start, n, axis=0)
            track[:, -1] = rng.uniform(size=n)
            tracks.append(track)
        space, _ = COSTS[name]
        for dtype in (np.float64, np.float32):
            found = dtw_pairs(
                Tracks.of(tracks, dtype=dtype),
                numbers_of_pairs(4),
                cost=frame_cost(name),
                dtype=dtype,
                device="cpu",
            )
            wanted = condensed(tracks, space=space, weights=WEIGHTS, two_stage=True)
            np.testing.assert_allclose(
                found.gripper, [item.gripper for item in wanted], rtol=BOUNDS[dtype]
            )
            assert found.path_length.tolist() == [len(item.path) for item in wanted]

    def test_two_stage_differs_from_one_where_the_gripper_would_bend_the_path(self):
        tracks = made("joint", (20, 30))
        one, two = (
            dtw_pairs(
                Tracks.of(tracks, dtype=np.float64),
                [(0, 1)],
                cost=frame_cost(name),
                dtype=np.float64,
                device="cpu",
            )
            for name in ("joint", "joint two-stage")
        )
        assert one.gripper[0] == 0.0 < two.gripper[0]
        assert one.distance[0] * one.path_length[0] < two.distance[0] * two.path_length[0]

    def test_nothing_asked_nothing_found(self):
        tracks = Tracks.of(made("pose", (5,)))
        cost = frame_cost("pose")
        assert dtw_pairs(tracks, np.zeros((0, 2), int), cost=cost).distance.shape == (0,)
        assert dtw_all_pairs(tracks, cost=cost).shape == (0,)

    @settings(max_examples=40, deadline=None)
    @given(
        name=st.sampled_from(list(COSTS)),
        lengths=st.lists(st.integers(1, 20), min_size=2, max_size=4).map(tuple),
        band=st.one_of(st.none(), st.floats(0.05, 1.0)),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_any_tracks(self, name, lengths, band, seed):
        pairs = numbers_of_pairs(len(lengths))
        assume(not any(in_doubt(lengths[i], lengths[j], band) for i, j in pairs))
        tracks = made(name, lengths, seed=seed)
        space, two_stage = COSTS[name]
        wanted = condensed(tracks, space=space, weights=WEIGHTS, two_stage=two_stage, band=band)
        for dtype, bound in BOUNDS.items():
            found = dtw_pairs(
                Tracks.of(tracks, dtype=dtype),
                pairs,
                cost=frame_cost(name),
                band=band,
                dtype=dtype,
                device="cpu",
            )
            for n, item in enumerate(wanted):
                length = int(found.path_length[n])
                aligned = found.distance[n] * length
                if two_stage:
                    aligned -= WEIGHTS[2] * found.gripper[n] * length
                # Of two paths that cost the same but for rounding, float32 may take the other.
                assert aligned == pytest.approx(item.aligned, rel=bound, abs=length * 10 * bound)
                if length == len(item.path) and dtype is np.float64:
                    assert found.distance[n] == pytest.approx(item.distance, rel=bound, abs=1e-12)
                    assert found.gripper[n] == pytest.approx(item.gripper, rel=bound, abs=1e-12)

    @settings(max_examples=25, deadline=None)
    @given(
        name=st.sampled_from(["pose", "joint", "euclidean", "pose_rms two arms"]),
        factor=st.floats(1e-3, 1e3),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_weights_scale_and_repeated_frames_are_free(self, name, factor, seed):
        first, second = made(name, (11, 14), seed=seed)
        space, _ = COSTS[name]
        slow = np.repeat(first, 3, axis=0)
        found = [
            dtw_pairs(
                Tracks.of([first, second, slow], dtype=np.float64),
                [(0, 1), (0, 2)],
                cost=FrameCost(
                    space=space,
                    position_weight=weight,
                    rotation_weight=weight,
                    gripper_weight=weight,
                ),
                dtype=np.float64,
                device="cpu",
            ).distance
            for weight in (1.0, factor)
        ]
        assert found[1][0] == pytest.approx(factor * found[0][0], rel=1e-9)
        assert found[0][1] == 0.0


class TestBadInput:
    def test_a_track_without_frames(self):
        tracks = Tracks(np.zeros((5, 8), np.float32), np.array([0, 2, 2, 5]))
        with pytest.raises(FeatureError) as caught:
            dtw_all_pairs(tracks, cost=FrameCost(space="joint"))
        assert caught.value.place == "track 1"

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_motion_that_is_not_finite(self, bad):
        first, second = made("pose", (5, 7))
        second[3, 7] = bad
        for dtype in (np.float32, np.float64):
            with pytest.raises(FeatureError) as caught:
                dtw_pairs(
                    Tracks.of([first, second], dtype=dtype),
                    [(0, 1)],
                    cost=FrameCost(space="pose"),
                    dtype=dtype,
                )
            assert caught.value.place == "track 1, frame 3"

    @pytest.mark.parametrize(("space", "width"), [("pose", 7), ("pose", 16), ("pose_rms", 12)])
    def test_a_width_that_does_not_fit(self, space, width):
        tracks = Tracks.of([np.zeros((3, width)), np.zeros((4, width))])
        with pytest.raises(FeatureError) as caught:
            dtw_all_pairs(tracks, cost=FrameCost(space=space))
        assert f"{width} columns" in caught.value.found

    @pytest.mark.parametrize("space", ["euclidean", "pose_rms"])
    def test_two_stages_without_a_gripper_column(self, space):
        tracks = Tracks.of(made("pose", (3, 4)))
        with pytest.raises(FeatureError):
            dtw_all_pairs(tracks, cost=FrameCost(space=space, two_stage=True))
