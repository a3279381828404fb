"""What `cuda_pairs` must do, on a GPU or in Numba's simulator.

Run by test_dtw_cuda.py in a process of its own, because the simulator is chosen when Numba is
imported. It runs each thread of the GPU as a Python thread, so tracks are few and short.
"""

import logging
from importlib import import_module

import numpy as np
import pytest

from finedata.errors import OutputError, UsageError
from finedata.motion.dtw import cuda as dtw_cuda
from finedata.motion.dtw.cuda import cuda_available, cuda_pairs
from finedata.motion.dtw.distances import FrameCost, Tracks, dtw_path

WEIGHTS = {"position_weight": 1.3, "rotation_weight": 0.7, "gripper_weight": 0.5}
COSTS = [
    ("pose", 8, False),
    ("pose", 8, True),
    ("joint", 7, False),
    ("joint", 7, True),
    ("joint", 1, True),
    ("joint", 40, True),
    ("euclidean", 3, False),
    ("pose_rms", 8, False),
    ("pose_rms", 16, False),
]
# Tiles have eight rows or fewer: a short one, whole ones, and one frame too many.
LENGTHS = (1, 2, 7, 8, 9, 17, 17, 32)
POSE = FrameCost(space="pose", two_stage=True)
JOINT = FrameCost(space="joint", two_stage=True)


def walks(space, width, lengths, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for length in lengths:
        walk = np.cumsum(rng.normal(scale=0.1, size=(length, width)), axis=0)
        if space.startswith("pose"):
            for at in range(3, width, 8):
                turned = walk[:, at : at + 4] + rng.normal(size=4)
                turned /= np.linalg.norm(turned, axis=1, keepdims=True)
                walk[:, at : at + 4] = turned * rng.choice([-1, 1], size=(length, 1))
        found.append(walk)
    return Tracks.of(found, dtype=np.float64)


def oracle(tracks, pairs, cost, band):
    """By the plain loop in float64, which keeps the path."""
    rows = []
    for pair in pairs:
        row, column = sorted(pair, key=lambda k: (tracks.lengths[k], k))
        a, b = (tracks.values[tracks.offsets[k] : tracks.offsets[k + 1]] for k in (row, column))
        found = dtw_path(a, b, cost=cost, band=band)
        rows.append((found.distance, len(found.path), found.gripper))
    return np.array(rows).T


def all_pairs(count):
    return [(i, j) for i in range(count) for j in range(count)]


def test_there_is_a_device():
    assert cuda_available()


@pytest.mark.parametrize("band", [None, 0.1])
@pytest.mark.parametrize(("space", "width", "two_stage"), COSTS)
def test_distances_are_those_of_the_cpu(space, width, two_stage, band):
    tracks = walks(space, width, LENGTHS)
    pairs = [*all_pairs(len(LENGTHS))[::3], (7, 7)]
    cost = FrameCost(space=space, two_stage=two_stage, **WEIGHTS)
    distance, length, gripper = oracle(tracks, pairs, cost, band)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-4)):
        found = cuda_pairs(tracks, pairs, cost=cost, band=band, dtype=dtype)
        np.testing.assert_allclose(found.distance, distance, rtol=tolerance, atol=1e-7)
        np.testing.assert_allclose(found.gripper, gripper, rtol=tolerance, atol=1e-7)
        np.testing.assert_array_equal(found.path_length, length)
        assert found.distance.dtype == found.gripper.dtype == dtype
        assert found.path_length.dtype == np.int32


def test_ties_go_to_the_diagonal_then_up_then_left():
    rng = np.random.default_rng(3)
    # Small whole numbers: costs are exact, and many paths cost the same.
    tracks = Tracks.of([rng.integers(0, 2, (length, 1)) for length in (5, 9, 9, 14, 20)])
    cost = FrameCost(space="euclidean")
    pairs = all_pairs(5)
    for band in (None, 0.1):
        distance, length, _ = oracle(tracks, pairs, cost, band)
        found = cuda_pairs(tracks, pairs, cost=cost, band=band)
        np.testing.assert_array_equal(found.path_length, length)
        np.testing.assert_allclose(found.distance, distance, rtol=1e-6)


@pytest.mark.parametrize("band", [0.01, 0.1, 0.3, 1.0])
def test_band_is_that_of_the_cpu(band):
    # Noise, not walks: its paths press against the band.
    tracks = walks("euclidean", 2, (1, 2, 5, 9, 9, 13, 25, 25))
    tracks.values[:] = np.random.default_rng(1).normal(size=tracks.values.shape)
    pairs = list(zip(*np.triu_indices(8), strict=True))
    cost = FrameCost(space="euclidean")
    distance, length, _ = oracle(tracks, pairs, cost, band)
    found = cuda_pairs(tracks, pairs, cost=cost, band=band, dtype=np.float64)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found.path_length, length)


def test_who_asks_does_not_matter():
    tracks = Tracks.of([np.array(row)[:, None] for row in ([0, 0, 1, 1, 0], [0, 1, 0, 0, 1])])
    cost = FrameCost(space="euclidean")
    found = cuda_pairs(tracks, [(0, 1), (1, 0)], cost=cost)
    assert found.distance[0] == found.distance[1]
    assert found.path_length[0] == found.path_length[1]


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-6), (np.float64, 1e-12)])
def test_angle_is_accurate_and_blind_to_sign(dtype, tolerance):
    angles = np.array([0, 1e-6, 1e-4, 1e-2, 0.5, 1, 2, 3, np.pi])
    frames = np.zeros((len(angles), 8))
    frames[:, 3], frames[:, 6] = np.sin(angles / 2), np.cos(angles / 2)
    other = frames.copy()
    other[:, 3:7] *= -1
    start = np.zeros((1, 8))
    start[0, 6] = 1
    tracks = Tracks.of([start, *frames[:, None], *other[:, None]], dtype=np.float64)
    cost = FrameCost(space="pose")
    count = len(angles)
    pairs = [(0, 1 + k) for k in range(2 * count)] + [(1 + k, 1 + count + k) for k in range(count)]
    found = cuda_pairs(tracks, pairs, cost=cost, dtype=dtype).distance
    np.testing.assert_allclose(found[:count], angles, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(found[count : 2 * count], found[:count])
    np.testing.assert_array_equal(found[2 * count :], 0)


def test_no_pairs():
    found = cuda_pairs(walks("pose", 8, (3,)), np.zeros((0, 2)), cost=POSE)
    assert len(found.distance) == len(found.path_length) == len(found.gripper) == 0


@pytest.mark.parametrize("device", ["cpu", "cuda:99", "cuda:x", "gpu"])
def test_unknown_device_is_refused(device):
    with pytest.raises(UsageError, match="device"):
        cuda_pairs(walks("pose", 8, (3, 4)), [(0, 1)], cost=POSE, device=device)


def many():
    """More than one block of pairs, each of two tiles."""
    lengths = [9 + k % 4 for k in range(12)]
    return walks("joint", 2, lengths), all_pairs(12)


def limit_memory(monkeypatch, most):
    """A device with room for arrays of so many numbers, and the message of a real one."""
    cuda = import_module("numba.cuda")
    allocate = cuda.device_array

    def limited(shape, dtype):
        if np.prod(shape) > most:
            message = "[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY"
            raise RuntimeError(message)
        return allocate(shape, dtype)

    monkeypatch.setattr(cuda, "device_array", limited)


def test_answers_do_not_depend_on_batches():
    tracks, pairs = many()
    whole = cuda_pairs(tracks, pairs, cost=JOINT)
    for scratch_bytes in (1, 128 * 12 * 12 + 1):
        cut = cuda_pairs(tracks, pairs, cost=JOINT, scratch_bytes=scratch_bytes)
        np.testing.assert_array_equal(cut.distance, whole.distance)
        np.testing.assert_array_equal(cut.path_length, whole.path_length)


def test_full_memory_halves_the_batches_and_says_so(monkeypatch, caplog):
    tracks, pairs = many()
    whole = cuda_pairs(tracks, pairs, cost=JOINT)
    limit_memory(monkeypatch, 2 * 128 * 12 * 3 - 1)
    with caplog.at_level(logging.WARNING):
        cut = cuda_pairs(tracks, pairs, cost=JOINT)
    np.testing.assert_array_equal(cut.distance, whole.distance)
    assert [record.name for record in caplog.records] == ["finedata.motion.dtw.cuda"]
    assert "batches of half the size" in caplog.text


def test_too_little_memory_is_an_error(monkeypatch):
    tracks, pairs = many()
    limit_memory(monkeypatch, 10)
    with pytest.raises(OutputError, match="128 pairs of 12 frames"):
        cuda_pairs(tracks, pairs, cost=JOINT)


def test_other_errors_of_the_device_pass_through(monkeypatch):
    def broken(*_):
        message = "CUDA_ERROR_ILLEGAL_ADDRESS"
        raise RuntimeError(message)

    monkeypatch.setattr(dtw_cuda._Batches, "align", broken)
    with pytest.raises(RuntimeError, match="ILLEGAL"):
        cuda_pairs(walks("pose", 8, (3, 4)), [(0, 1)], cost=POSE)
