"""Statistics of the numbers of shards, over training sides only: held-out frames must not leak.

Parts of one embodiment and space that have a feature under the same names are counted together.
Mean, standard deviation (of the population), minimum and maximum are over every frame; the two
quantiles are linear interpolations over at most `_QUANTILE_FRAMES` frames of a set, evenly spaced,
so that memory does not grow with the shards. NaN counts nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from finedata.schema.shards_file import Statistics
from finedata.shard.files import frames_path
from finedata.shard.mapped import MappedTable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finedata.schema.shards_file import ShardFeature, ShardSet

_QUANTILE_FRAMES = 500_000
_ROWS_AT_ONCE = 65_536
COUNTED_TIERS = ("rep", "rest")
"""Tiers of the sets that count."""


def feature_names(feature: ShardFeature) -> list[str]:
    """The names of a feature's numbers; their places where it has no names."""
    return list(feature.names) or [str(place) for place in range(feature.width)]


def shard_statistics(root: Path, sets: Sequence[ShardSet]) -> list[Statistics]:
    """Statistics of every floating feature, by embodiment, space and feature.

    Args:
        root: The shards; the sets' frames are there.
        sets: Those of `rep` and `rest` on the training side count.

    Raises:
        ConformError: A file of frames is damaged.
    """
    found: dict[tuple[str, str, str, tuple[str, ...]], Moments] = {}
    for one in sorted(sets, key=lambda one: one.name):
        if one.side != "train" or one.tier not in COUNTED_TIERS or not one.frames:
            continue
        frames = MappedTable(frames_path(root, one.name), name="shard_frames")
        for feature in one.features:
            if feature.name == "source_time_s" or not _is_floating(frames, feature.name):
                continue
            key = (one.embodiment, one.space, feature.name, tuple(feature_names(feature)))
            moments = found.setdefault(key, Moments(feature.width))
            moments.add_set(frames, feature.name)
    return [
        moments.statistics(embodiment, space, feature, names)
        for (embodiment, space, feature, names), moments in sorted(found.items())
    ]


def _is_floating(frames: MappedTable, name: str) -> bool:
    schema: Any = frames.schema  # the stubs leave the type of its fields unknown
    kind: pa.DataType = schema.field(name).type
    while pa.types.is_fixed_size_list(kind):
        kind = cast("pa.FixedSizeListType[pa.DataType, int]", kind).value_type
    return pa.types.is_floating(kind)


@dataclass
class Moments:
    """Sums of one feature, merged piece by piece.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", 1979.
    """

    width: int
    count: np.ndarray = field(init=False)
    mean: np.ndarray = field(init=False)
    squares: np.ndarray = field(init=False)
    low: np.ndarray = field(init=False)
    high: np.ndarray = field(init=False)
    # What the quantiles are of.
    sample: list[np.ndarray] = field(default_factory=list[np.ndarray])

    def __post_init__(self) -> None:
        self.count = np.zeros(self.width, np.int64)
        self.mean = np.zeros(self.width)
        self.squares = np.zeros(self.width)
        self.low = np.full(self.width, np.inf)
        self.high = np.full(self.width, -np.inf)

    def add_set(self, frames: MappedTable, name: str) -> None:
        """Count a column of a set's frames."""
        step = -(-len(frames) // _QUANTILE_FRAMES)
        for start in range(0, len(frames), _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, len(frames))
            values = frames.numbers(name, start, stop).reshape(stop - start, self.width)
            self.add(values.astype(np.float64))
            self.sample.append(values[-start % step :: step].copy())

    def add(self, values: np.ndarray) -> None:
        """Count (n, width) float64; what is NaN counts nowhere, and no quantile is of it."""
        there = ~np.isnan(values)
        count = there.sum(axis=0)
        zeroed = np.where(there, values, 0.0)
        mean = zeroed.sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(there, values - mean, 0.0) ** 2).sum(axis=0)
        total = self.count + count
        delta = mean - self.mean
        share = count / np.maximum(total, 1)
        self.squares += squares + delta**2 * self.count * share
        self.mean += delta * share
        self.count = total
        self.low = np.minimum(self.low, np.where(there, values, np.inf).min(axis=0))
        self.high = np.maximum(self.high, np.where(there, values, -np.inf).max(axis=0))

    def statistics(
        self, embodiment: str, space: str, feature: str, names: tuple[str, ...]
    ) -> Statistics:
        """What was counted."""
        deviation = np.sqrt(self.squares / np.maximum(self.count, 1))
        sample = np.concatenate(self.sample)
        quantiles = np.full((2, self.width), np.nan)
        for place in range(self.width):
            column = sample[:, place].astype(np.float64)
            column = column[~np.isnan(column)]
            if len(column):
                quantiles[:, place] = np.quantile(column, [0.01, 0.99])
        return Statistics(
            embodiment=embodiment,
            space=space,
            feature=feature,
            names=list(names),
            count=[int(n) for n in self.count],
            mean=self._told(self.mean),
            std=self._told(deviation),
            min=self._told(self.low),
            max=self._told(self.high),
            q01=self._told(quantiles[0]),
            q99=self._told(quantiles[1]),
        )

    def _told(self, values: np.ndarray) -> list[float | None]:
        """As JSON has numbers; null of a name without any number or of an infinite one."""
        return [
            float(value) if n and np.isfinite(value) else None
            for value, n in zip(values, self.count, strict=True)
        ]
