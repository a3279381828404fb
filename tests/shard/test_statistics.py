"""Statistics of shards against NumPy over all frames at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from finedata.schema.shards_file import ShardFeature
from finedata.schema.tables.all import schema_tag
from finedata.shard import statistics
from finedata.shard.files import frames_path, write_arrow
from finedata.shard.statistics import shard_statistics
from tests.shard.test_roles import a_set


def write_numbers(root: Path, name: str, values: np.ndarray) -> None:
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    table = pa.table({"action": column, "is_intervention": [False] * len(values)})
    schema = table.schema.with_metadata(schema_tag("shard_frames"))
    write_arrow(frames_path(root, name), [table.cast(schema)], schema=schema)


@pytest.fixture
def values() -> np.ndarray:
    found = np.random.default_rng(0).normal(50, [3, 0, 1], (1000, 3)).astype(np.float32)
    found[::7, 2] = np.nan
    found[:, 1] = 2.5
    return np.concatenate([found, np.full((1000, 1), np.nan, np.float32)], 1)


def test_as_numpy_has_them(tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(statistics, "_ROWS_AT_ONCE", 64)
    names = {"action": ["a", "b", "c", "d"], "is_intervention": ["0"]}
    sets = []
    for n, (tier, side) in enumerate(
        [("rep", "train"), ("rest", "train"), ("rep", "heldout"), ("failed", "train")]
    ):
        part = values[:600] if n == 0 else values[600:] if n == 1 else values * 100
        sets.append(
            a_set("s", "ee", names, [], name=f"s{n}", tier=tier, side=side, frames=len(part))
        )
        write_numbers(tmp_path, f"s{n}", part)
    (found,) = shard_statistics(tmp_path, sets)
    assert (found.embodiment, found.space, found.feature) == ("s", "ee", "action")
    assert found.count == [1000, 1000, 857, 0]
    some = values[:, :3].astype(np.float64)
    for name, wanted in {
        "mean": np.nanmean(some, 0),
        "std": np.nanstd(some, 0),
        "min": np.nanmin(some, 0),
        "max": np.nanmax(some, 0),
        "q01": np.nanquantile(some, 0.01, 0),
        "q99": np.nanquantile(some, 0.99, 0),
    }.items():
        assert getattr(found, name)[3] is None
        np.testing.assert_allclose(getattr(found, name)[:3], wanted, rtol=1e-12)


def test_quantiles_of_evenly_spaced_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(statistics, "_ROWS_AT_ONCE", 64)
    monkeypatch.setattr(statistics, "_QUANTILE_FRAMES", 300)
    values = np.arange(1000, dtype=np.float32)[:, None]
    write_numbers(tmp_path, "s", values)
    one = a_set("s", "ee", {"action": ["a"]}, [], name="s", frames=1000)
    (found,) = shard_statistics(tmp_path, [one])
    assert found.q99 == [np.quantile(values[::4].astype(np.float64), 0.99)]
    assert found.max == [999.0]


def test_other_names_are_counted_apart(tmp_path: Path):
    write_numbers(tmp_path, "a", np.ones((10, 2), np.float32))
    write_numbers(tmp_path, "b", np.zeros((10, 2), np.float32))
    sets = [
        a_set("s", "ee", {"action": ["x", "y"]}, [], name="a", frames=10),
        a_set("s", "ee", {"action": []}, [], name="b", frames=10),
    ]
    sets[1].features[0] = ShardFeature(name="action", width=2, names=[])
    found = shard_statistics(tmp_path, sets)
    assert [(one.names, one.mean, one.std) for one in found] == [
        (["0", "1"], [0.0, 0.0], [0.0, 0.0]),
        (["x", "y"], [1.0, 1.0], [0.0, 0.0]),
    ]
