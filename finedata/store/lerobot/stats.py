"""LeRobot's statistics of an episode and of a dataset: its names and shapes, without its errors.

Names and shapes are LeRobot's: min, max, mean, std, count, q01, q10, q50, q90, q99; vectors
(n,), cameras (3, 1, 1), in the numbers that LeRobot's loader hands out: [0, 1] of colours of 8
bits, and of a PNG of 16 bits (depth) the stored numbers themselves, which it does not divide; of a
video of depth see `finedata.store.deep`.
What differs from lerobot 0.4.4, on purpose:

* its image std overflows in uint8 and comes out as zero (huggingface/lerobot issue 3682): here
  it is exact, from a histogram of 256 bins (65,536 of 16 bits, which lerobot clips to 8);
* its quantiles come from a histogram with interpolation: here they are exact order statistics
  (NumPy's linear interpolation for vectors, the bin itself for pictures);
* values that are not finite do not count, so that one bad frame leaves the rest usable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["FeatureStats", "StatsMerger", "numeric_stats", "picture_stats", "sample_frames"]

_QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_KEYS = ("min", "max", "mean", "std", "count", *_QUANTILES)

# One feature's statistics of one episode: every entry a flat list, `count` of length one.
FeatureStats = dict[str, list[float]]


def sample_frames(length: int, *, most: int) -> list[int]:
    """Which frames of an episode stand for it: evenly spread, the middle of each stretch."""
    count = min(length, most)
    return [int((2 * i + 1) * length / (2 * count)) for i in range(count)]


@np.errstate(over="ignore", invalid="ignore")
def numeric_stats(features: Mapping[str, np.ndarray]) -> dict[str, FeatureStats]:
    """Statistics of an episode's numeric features, all in one pass.

    Args:
        features: Name to (T,) or (T, n), any real dtype, bool included; the same T for all.

    Returns:
        Name to flat lists of n numbers each (NaN where no value is finite); `count` is T.
    """
    tables = {
        name: np.asarray(values, np.float64).reshape(len(values), -1)
        for name, values in features.items()
    }
    # One sort for all columns: an episode has a hundred rows, and calls cost more than numbers.
    columns = _column_stats(np.concatenate(list(tables.values()), axis=1))
    stats: dict[str, FeatureStats] = {}
    first = 0
    for name, table in tables.items():
        last = first + table.shape[1]
        stats[name] = {key: values[first:last].tolist() for key, values in columns.items()}
        stats[name]["count"] = [float(len(table))]
        first = last
    return stats


def _column_stats(table: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of each column of a (T, n) float64 table over its finite values."""
    finite = np.isfinite(table)
    if finite.all() and len(table):
        return _finite_column_stats(table)
    stats = {key: np.full(table.shape[1], np.nan) for key in _KEYS if key != "count"}
    for i, mask in enumerate(finite.T):
        if mask.any():
            for key, value in _finite_column_stats(table[mask, i : i + 1]).items():
                stats[key][i] = value[0]
    return stats


def _finite_column_stats(table: np.ndarray) -> dict[str, np.ndarray]:
    ordered = np.sort(table, axis=0)
    stats = {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": table.mean(axis=0),
        "std": table.std(axis=0),
    }
    for key, quantile in _QUANTILES.items():
        position = quantile * (len(table) - 1)
        below = int(position)
        above = min(below + 1, len(table) - 1)
        stats[key] = ordered[below] + (position - below) * (ordered[above] - ordered[below])
    return stats


def picture_stats(pictures: Iterable[np.ndarray]) -> FeatureStats | None:
    """Statistics of a camera over decoded pictures, taken one at a time.

    Args:
        pictures: uint8 (height, width, 3) each, or uint16 or float32 (height, width) of depth.
            Where a camera has both, the depth counts alone: a placeholder in its place is no
            measurement.

    Returns:
        Flat lists of 3 numbers: in [0, 1] of uint8; of depth three times the same, in the
        pictures' own unit. `count` is the number of pictures; `None` for none.
    """
    colours, depths = np.zeros((3, 256), np.int64), np.zeros(1 << 16, np.int64)
    colour_count = depth_count = 0
    floats: list[np.ndarray] = []
    for picture in pictures:
        if picture.dtype == np.float32:
            floats.append(picture)
        elif picture.ndim == 2:
            depths += np.bincount(picture.reshape(-1), minlength=1 << 16)
            depth_count += 1
        else:
            # Five times as fast as np.bincount, which first copies bytes to eight bytes each.
            colours += np.asarray(Image.fromarray(picture).histogram(), np.int64).reshape(3, 256)
            colour_count += 1
    if floats:
        return _float_stats(floats)
    if depth_count:
        stats = _histogram_stats(depths[None], np.arange(1 << 16, dtype=np.float64))
        tripled = {key: values * 3 for key, values in stats.items()}
        return tripled | {"count": [float(depth_count)]}
    if not colour_count:
        return None
    stats = _histogram_stats(colours, np.arange(256) / 255.0)
    return stats | {"count": [float(colour_count)]}


def _float_stats(pictures: list[np.ndarray]) -> FeatureStats | None:
    """As `picture_stats` of depth in floats; numbers that are not finite do not count."""
    numbers = np.concatenate([one[np.isfinite(one)] for one in pictures]).astype(np.float64)
    if not numbers.size:
        return None
    stats: FeatureStats = {
        key: [float(value)] * 3
        for key, value in zip(
            ("min", "max", "mean", "std"),
            (numbers.min(), numbers.max(), numbers.mean(), numbers.std()),
            strict=True,
        )
    }
    quantiles = np.quantile(numbers, list(_QUANTILES.values()), method="inverted_cdf")
    stats |= {key: [float(value)] * 3 for key, value in zip(_QUANTILES, quantiles, strict=True)}
    return stats | {"count": [float(len(pictures))]}


def _histogram_stats(histograms: np.ndarray, levels: np.ndarray) -> FeatureStats:
    """Statistics of (channels, n) counts of n levels, one number for each channel."""
    stats: FeatureStats = {key: [] for key in _KEYS}
    for histogram in histograms:
        total = int(histogram.sum())
        cumulative = histogram.cumsum()
        present = np.flatnonzero(histogram)
        mean = float(histogram @ levels) / total
        variance = float(histogram @ (levels - mean) ** 2) / total
        stats["min"].append(float(levels[present[0]]))
        stats["max"].append(float(levels[present[-1]]))
        stats["mean"].append(mean)
        stats["std"].append(float(np.sqrt(variance)))
        for key, quantile in _QUANTILES.items():
            rank = int(np.searchsorted(cumulative, quantile * (total - 1), side="right"))
            stats[key].append(float(levels[min(rank, len(levels) - 1)]))
    return stats


@dataclass(slots=True)
class StatsMerger:
    """Statistics of a dataset from those of its episodes, one at a time, in constant memory.

    Minimum and maximum are exact; mean and std by the parallel algorithm (Chan et al. 1979),
    exact up to rounding; quantiles are means of the episodes' quantiles weighted by count, as in
    lerobot's `aggregate_feature_stats`.
    """

    _merged: dict[str, dict[str, np.ndarray]] = field(
        default_factory=dict[str, dict[str, np.ndarray]]
    )

    @np.errstate(over="ignore", invalid="ignore")
    def add(self, stats: dict[str, FeatureStats]) -> None:
        """Take in one episode: feature name to its statistics."""
        for name, feature in stats.items():
            new = {key: np.asarray(values, np.float64) for key, values in feature.items()}
            new["count"] = np.where(np.isfinite(new["mean"]), new["count"], 0.0)
            old = self._merged.get(name)
            self._merged[name] = new if old is None else _merge(old, new)

    def result(self) -> dict[str, FeatureStats]:
        """The dataset's statistics: feature name to flat lists."""
        return {
            name: {
                key: ([float(values.max())] if key == "count" else values.tolist())
                for key, values in feature.items()
            }
            for name, feature in self._merged.items()
        }


def _merge(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    count = a["count"] + b["count"]
    # Where one side has no finite value it weighs nothing, but its NaN would still spread.
    weight = np.divide(b["count"], count, out=np.zeros_like(count), where=count > 0)
    a = {key: np.where(a["count"] > 0, values, b[key]) for key, values in a.items()} | {
        "count": a["count"]
    }
    b = {key: np.where(b["count"] > 0, values, a[key]) for key, values in b.items()}
    delta = b["mean"] - a["mean"]
    mean = a["mean"] + delta * weight
    variance = (
        a["std"] ** 2 * (1 - weight) + b["std"] ** 2 * weight + delta**2 * weight * (1 - weight)
    )
    merged = {
        "min": np.minimum(a["min"], b["min"]),
        "max": np.maximum(a["max"], b["max"]),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": count,
    }
    for key in _QUANTILES:
        merged[key] = a[key] * (1 - weight) + b[key] * weight
    return merged
