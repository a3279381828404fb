"""Statistics equal NumPy's on the same numbers, and merging equals computing at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from finedata.store.lerobot.stats import (
    StatsMerger,
    numeric_stats,
    picture_stats,
    sample_frames,
)

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
FLOATS = st.floats(-1e3, 1e3, width=32)


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=30), elements=FLOATS)
)
def test_numbers_equal_numpy(values: np.ndarray) -> None:
    flags = values[:, 0] > 0
    stats = numeric_stats({"v": values, "flags": flags})
    table = values.astype(np.float64)
    np.testing.assert_array_equal(stats["v"]["min"], table.min(0))
    np.testing.assert_array_equal(stats["v"]["max"], table.max(0))
    np.testing.assert_allclose(stats["v"]["mean"], table.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(stats["v"]["std"], table.std(0), rtol=1e-12, atol=1e-12)
    for name, quantile in QUANTILES.items():
        wanted = np.quantile(table, quantile, axis=0)
        np.testing.assert_allclose(stats["v"][name], wanted, rtol=1e-9, atol=1e-9)
    assert stats["v"]["count"] == stats["flags"]["count"] == [len(values)]
    np.testing.assert_allclose(stats["flags"]["mean"], flags.mean())


def test_values_that_are_not_finite_do_not_count() -> None:
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    stats = numeric_stats({"v": values})["v"]
    assert stats["mean"][0] == 2.0
    assert stats["min"][0] == 1.0
    assert np.isnan(stats["mean"][1])
    merger = StatsMerger()
    merger.add({"v": stats})
    merger.add(numeric_stats({"v": np.array([[5.0, 7.0]])}))
    merged = merger.result()["v"]
    assert merged["max"] == [5.0, 7.0]
    assert merged["mean"][1] == 7.0


def test_pictures_equal_numpy_and_std_is_not_zero() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (16, 20, 3), np.uint8) for _ in range(5)]
    stats = picture_stats(pictures)
    assert stats is not None
    pixels = np.stack(pictures).reshape(-1, 3) / 255.0
    np.testing.assert_allclose(stats["mean"], pixels.mean(0), rtol=1e-12)
    # lerobot 0.4.4 squares in uint8 here and stores zero.
    np.testing.assert_allclose(stats["std"], pixels.std(0), rtol=1e-12)
    np.testing.assert_array_equal(stats["min"], pixels.min(0))
    np.testing.assert_array_equal(stats["max"], pixels.max(0))
    for name, quantile in QUANTILES.items():
        wanted = np.quantile(pixels, quantile, axis=0, method="lower")
        np.testing.assert_allclose(stats[name], wanted, atol=1e-12)
    assert stats["count"] == [5]
    assert picture_stats([]) is None


def test_depth_of_16_bits_is_not_clipped() -> None:
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 1 << 16, (16, 20), np.uint16) for _ in range(3)]
    # A placeholder of 8 bits among them measures nothing.
    stats = picture_stats([*pictures, np.zeros((16, 20, 3), np.uint8)])
    assert stats is not None
    pixels = np.stack(pictures).reshape(-1).astype(float)
    for key in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(stats[key], [getattr(pixels, key)()] * 3, rtol=1e-12)
    for name, quantile in QUANTILES.items():
        wanted = np.quantile(pixels, quantile, method="lower")
        np.testing.assert_allclose(stats[name], [wanted] * 3)
    assert stats["count"] == [3]


def test_every_pixel_of_every_channel_counts_once() -> None:
    """Against np.bincount, also where channels are turned round as for exchanged colours."""
    rng = np.random.default_rng(3)
    pictures = [rng.integers(low, 256, (7, 11, 3), np.uint8) for low in (0, 100)]
    pictures += [np.dstack([np.full((5, 4), level, np.uint8) for level in (0, 128, 255)])]
    for turned in (pictures, [one[..., ::-1] for one in pictures]):
        stats = picture_stats(turned)
        assert stats is not None
        pixels = np.concatenate([one.reshape(-1, 3) for one in turned])
        levels = np.arange(256) / 255.0
        for channel in range(3):
            counts = np.bincount(pixels[:, channel], minlength=256)
            assert stats["mean"][channel] == float(counts @ levels) / int(counts.sum())


@settings(deadline=None)
@given(
    st.lists(
        hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.just(3)), elements=FLOATS),
        min_size=1,
        max_size=6,
    )
)
def test_merging_equals_computing_at_once(episodes: list[np.ndarray]) -> None:
    merger = StatsMerger()
    for episode in episodes:
        merger.add(numeric_stats({"v": episode}))
    merged = merger.result()["v"]
    whole = np.concatenate(episodes)
    np.testing.assert_array_equal(merged["min"], whole.min(0))
    np.testing.assert_allclose(merged["mean"], whole.mean(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(merged["std"], whole.std(0), rtol=1e-6, atol=1e-6)
    assert merged["count"] == [len(whole)]


@given(st.integers(1, 500), st.integers(1, 8))
def test_sampled_frames_are_spread_and_bounded(length: int, most: int) -> None:
    frames = sample_frames(length, most=most)
    assert len(frames) == len(set(frames)) == min(length, most)
    assert frames == sorted(frames)
    assert frames[0] >= 0
    assert frames[-1] < length
    if length >= 2 * most:
        gaps = np.diff([0, *frames, length])
        assert gaps.max() <= 2 * length / most
