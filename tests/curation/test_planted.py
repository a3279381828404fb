"""Planted truth: what gate, clusters and choice make of a corpus whose plan is known.

The corpus goes the whole way: source bytes, `convert`, `gate`, `cluster`, and the tables are read
from disk. `benchmarks/planted.py` prints the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from curation.measures import (
    Curve,
    clustered,
    coverage_curve,
    gate_mistakes,
    made,
    plan_of,
    rand_by_task,
    rand_with_k_given,
    random_curves,
    strategies_without,
)
from curation.planted import CORRUPTIONS, plan_tasks, write_planted_corpus
from scipy.spatial.distance import squareform

from finedata.cluster.choose.coverage import coverage_curve as library_curve

if TYPE_CHECKING:
    from pathlib import Path

    from curation.planted import PlantedEpisode


@dataclass(frozen=True)
class Planted:
    root: Path
    plan: dict[str, PlantedEpisode]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """Converted, gated, and clustered with every choice left to itself."""
    root, episodes = made(tmp_path_factory.mktemp("planted"), seed=0)
    clustered(root)
    return Planted(root, plan_of(root, episodes))


class TestThePlan:
    def test_it_is_what_the_issue_asks_for(self, planted):
        tasks = plan_tasks()
        assert len(tasks) == 12
        assert {len(task.ways) for task in tasks} == {3, 4, 5}
        clean = [one for one in planted.plan.values() if one.corruption is None]
        for task in tasks:
            own = [one.strategy for one in clean if one.instruction == task.instruction]
            assert 15 <= len(own) <= 25
            assert all(own.count(way.name) >= 3 for way in task.ways)
        kinds = [one.corruption for one in planted.plan.values() if one.corruption]
        assert sorted(set(kinds)) == sorted(CORRUPTIONS)

    def test_the_same_seed_gives_the_same_bytes(self, tmp_path):
        for name in "ab":
            write_planted_corpus(tmp_path / name, corrupted_of_each=1)
        one, two = (
            {
                p.relative_to(tmp_path / name): p.read_bytes()
                for p in (tmp_path / name).rglob("*.*0*-*")
            }
            for name in "ab"
        )
        assert one == two
        assert one

    def test_it_is_no_gift(self, planted):
        """In most tasks some two of one strategy are further apart than some of two."""
        curve = Curve.of(planted.root)
        overlapping = 0
        for number, square in enumerate(curve.squares):
            ids = np.array(curve.episode_ids)[curve.task == number]
            strategy = np.array([planted.plan[name].strategy for name in ids])
            same = strategy[:, None] == strategy[None, :]
            overlapping += square[same].max() > square[~same].min()
        assert overlapping >= 6


class TestGate:
    def test_every_corrupted_log_is_stopped_and_no_clean_one(self, planted):
        assert gate_mistakes(planted.root, planted.plan) == ([], [])

    def test_reasons_and_scores_are_there(self, planted):
        gate = pl.read_parquet(planted.root / "curation/gate.parquet")
        assert len(gate) == len(planted.plan)
        for row in gate.iter_rows(named=True):
            corrupted = planted.plan[row["episode_id"]].corruption is not None
            assert bool(row["reasons"]) == corrupted
            assert (row["score"] > row["threshold"]) == corrupted


class TestClusters:
    def test_only_what_passed_is_clustered(self, planted):
        clusters = pl.read_parquet(planted.root / "curation/clusters.parquet")
        clean = {name for name, one in planted.plan.items() if one.corruption is None}
        assert set(clusters["episode_id"]) == clean

    def test_with_k_given(self, planted, tmp_path):
        found = rand_with_k_given(planted.root, planted.plan)
        assert np.mean(list(found.values())) >= 0.95, found

    def test_with_k_found(self, planted):
        clustered(planted.root)
        found = rand_by_task(planted.root, planted.plan)
        assert np.mean(list(found.values())) >= 0.8, found


class TestChoice:
    def test_representatives_cover_every_strategy(self, planted):
        clustered(planted.root)
        chosen = pl.read_parquet(planted.root / "curation/representatives.parquet")
        assert strategies_without(chosen["episode_id"].to_list(), planted.plan) == set()
        # one for each cluster, not everything
        assert len(chosen) < 0.4 * len(planted.plan)

    def test_the_library_draws_the_same_curve(self, planted):
        curve = Curve.of(planted.root)
        order = np.random.default_rng(7).permutation(len(curve.episode_ids))
        diameters = np.array([square.max() for square in curve.squares])
        theirs = library_curve(
            [squareform(square) for square in curve.squares],
            curve.task[order],
            curve.place[order],
            uncovered=np.maximum(diameters, np.median(diameters)),
        )
        ours = curve.mean_distances([curve.episode_ids[k] for k in order])
        np.testing.assert_allclose(theirs.mean_distance[1:], ours, rtol=1e-9, atol=1e-12)

    def test_the_coverage_curve_beats_chance(self, planted):
        curve = Curve.of(planted.root)
        count = len(curve.episode_ids)
        clustered(planted.root, budget=count)
        ours = coverage_curve(planted.root, curve)
        by_chance = random_curves(curve, seeds=20).mean(axis=0)
        assert len(ours) == count
        assert (ours <= by_chance + 1e-12).all()
        share = np.arange(1, count + 1) / count
        between = (share >= 0.05) & (share <= 0.8)
        assert (ours[between] < by_chance[between]).all()
