"""A task's map and the alignment of two episodes are those of clustering."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from review.conftest import page_of, running

from finedata.api import open as open_dataset
from finedata.cluster.distance.last_run import read_distances
from finedata.errors import UsageError
from finedata.review.catalog import Catalog
from finedata.review.tasks import align, map_of, tasks_of
from finedata.store.dataset import Dataset


@pytest.fixture(scope="module")
def clustered(looked_at: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("clustered") / "bridge"
    shutil.copytree(looked_at, root)
    dataset = open_dataset(root)
    dataset.cluster()
    return dataset


@pytest.fixture
def largest(clustered: Dataset) -> pl.DataFrame:
    rows = Catalog(clustered).rows
    tasks = tasks_of(rows)
    assert tasks["episodes"].sum() == rows["task_id"].is_not_null().sum()
    assert tasks["episodes"].is_sorted(descending=True)
    found = rows.filter(task_id=tasks["task_id"][0])
    assert tasks.row(0, named=True) == {
        "task_id": found["task_id"][0],
        "task": found["task"][0],
        "episodes": found.height,
        "clusters": found["cluster_id"].drop_nulls().n_unique(),
        "chosen": found["rank"].drop_nulls().len(),
    }
    return found


def test_two_episodes_are_aligned_as_clustering_compared_them(
    clustered: Dataset, largest: pl.DataFrame
) -> None:
    part, task_id = largest["part"][0], largest["task_id"][0]
    known = read_distances(clustered.root, part=part, task_id=task_id)
    assert known is not None
    ids, condensed = known
    episodes = [clustered.episode(one) for one in ids]
    pairs = [(i, j) for i in range(len(ids)) for j in range(i + 1, len(ids))]
    for (i, j), stored in zip(pairs, condensed, strict=True):
        found = align(episodes[i], episodes[j], others=episodes)
        assert found.distance == pytest.approx(float(stored), rel=2e-3, abs=2e-4)
        path = np.array(found.path)
        assert path[0].tolist() == [0, 0]
        assert path[-1].tolist() == [len(episodes[i]) - 1, len(episodes[j]) - 1]
        steps = np.diff(path, axis=0)
        assert ((steps >= 0) & (steps <= 1)).all()
        assert (steps.sum(1) >= 1).all()
    same = align(episodes[0], episodes[0])
    assert (same.distance, same.path) == (0.0, [(k, k) for k in range(len(episodes[0]))])


def test_what_cannot_be_aligned_is_said(clustered: Dataset, monkeypatch) -> None:
    first, second = list(clustered.iter_episodes())[:2]
    broken = {"action": np.full((len(second), 8), np.nan, np.float32)}
    monkeypatch.setattr(second, "rows", lambda columns: broken)
    with pytest.raises(UsageError, match="not finite"):
        align(first, second)
    second.__dict__["names"] = {"action": ("a", "b")}
    with pytest.raises(UsageError, match="other names"):
        align(first, second)


def test_a_map_holds_every_clustered_episode(clustered: Dataset, largest: pl.DataFrame) -> None:
    part, task_id = largest["part"][0], largest["task_id"][0]
    found = map_of(clustered, part, task_id, largest)
    there = largest.filter(pl.col("cluster_id").is_not_null())
    assert sorted(p["episode_id"] for p in found.points) == sorted(there["episode_id"])
    assert all(0 <= p[axis] <= 100 for p in found.points for axis in ("x", "y"))
    assert 0 < found.kept <= 1
    assert sum(p["is_medoid"] for p in found.points) == there["cluster_id"].n_unique()
    none = largest.with_columns(cluster_id=pl.lit(None, pl.String))
    assert "Not clustered" in map_of(clustered, part, task_id, none).note
    assert "not here" in map_of(clustered, part, "f" * 16, largest).note


@pytest.fixture(scope="module")
def address(clustered: Dataset, browser) -> Iterator[str]:
    with running(clustered.root) as (found, _):
        yield found


def test_two_episodes_play_in_step(
    clustered: Dataset, largest: pl.DataFrame, address: str, browser
) -> None:
    with page_of(browser) as page:
        page.goto(f"{address}/tasks")
        page.click(f"text={largest['task'][0]}")
        drawn = largest["cluster_id"].drop_nulls().len()
        page.wait_for_selector(".map a")
        assert page.locator(".map a").count() == drawn
        page.click("button:has-text('Play them in step')")
        page.wait_for_selector("[data-ready]")
        a, b = _ids_of(page.url)
        first, second = clustered.episode(a), clustered.episode(b)
        others = [clustered.episode(one) for one in largest["episode_id"]]
        path = align(first, second, others=others).path
        for key, place in [("End", len(path) - 1), ("Home", 0), ("Shift+ArrowRight", 10)]:
            page.keyboard.press(key)
            for side, frame in enumerate(path[place]):
                page.wait_for_selector(f'[data-side="{side}"] canvas[data-frame="{frame}"]')
            assert page.inner_text("#clock") == f"pair {place} of {len(path) - 1}"
        page.keyboard.press(" ")
        page.wait_for_selector(f"#clock:has-text('pair {len(path) - 1} of')")


def _ids_of(url: str) -> list[str]:
    return [part.split("=")[1] for part in url.split("?")[1].split("&")]
