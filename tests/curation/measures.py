"""How near gate, clusters and choice come to the plan: a dataset goes in, numbers come out.

The tables are read as anyone would read them; the plan is that of `curation.planted`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from curation.planted import plan_tasks, write_planted_corpus
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score

from finedata.cluster.distance.last_run import iter_distances
from finedata.cluster.run import cluster
from finedata.cluster.settings import ClusterSettings
from finedata.convert.run import convert
from finedata.quality.gate import gate

if TYPE_CHECKING:
    from pathlib import Path

    from curation.planted import PlantedEpisode

__all__ = [
    "Curve",
    "clustered",
    "coverage_curve",
    "gate_mistakes",
    "made",
    "plan_of",
    "rand_by_task",
    "rand_with_k_given",
    "random_curves",
    "strategies_without",
]


@dataclass(frozen=True, eq=False)
class Curve:
    """Distances of all episodes to each other, task by task, and who is which."""

    episode_ids: list[str]
    task: np.ndarray
    place: np.ndarray
    squares: list[np.ndarray]

    @classmethod
    def of(cls, root: Path) -> Curve:
        """From the distances that the last run of `finedata cluster` left behind."""
        ids, task, place, squares = [], [], [], []
        for number, unit in enumerate(iter_distances(root)):
            assert unit.condensed is not None
            ids += unit.episode_ids
            task += [number] * len(unit.episode_ids)
            place += range(len(unit.episode_ids))
            squares.append(squareform(unit.condensed.astype(np.float64)))
        return cls(ids, np.array(task), np.array(place), squares)

    def mean_distances(self, order: list[str]) -> np.ndarray:
        """(N,) mean distance of all episodes to their nearest representative, after each choice.

        An episode whose task has none counts the largest distance within its task, or the median
        of these over the tasks if that is more: so it costs most to leave a task out.
        """
        usual = float(np.median([square.max() for square in self.squares]))
        at = {name: k for k, name in enumerate(self.episode_ids)}
        nearest = [np.full(len(square), max(square.max(), usual)) for square in self.squares]
        total = sum(float(one.sum()) for one in nearest)
        found = []
        for name in order:
            number = self.task[at[name]]
            after = np.minimum(nearest[number], self.squares[number][self.place[at[name]]])
            total += float(after.sum() - nearest[number].sum())
            nearest[number] = after
            found.append(total / len(self.episode_ids))
        return np.array(found)


def made(folder: Path, *, seed: int = 0) -> tuple[Path, list[PlantedEpisode]]:
    """Write, convert and gate the corpus: the dataset and the plan."""
    planted = write_planted_corpus(folder / "source", seed=seed)
    root = folder / "dataset"
    convert("bridge_v2", input=folder / "source", out=root)
    gate(root, workers=1)
    return root, planted


def clustered(root: Path, **settings: object) -> None:
    """Cluster with settings of `ClusterSettings`, the others left as they are."""
    cluster(root, settings=ClusterSettings(**settings), workers=1)


def plan_of(root: Path, planted: list[PlantedEpisode]) -> dict[str, PlantedEpisode]:
    """The plan by episode_id, joined on the receipts' locators."""
    receipts = pl.read_parquet(
        root / "curation/receipts.parquet", columns=["episode_id", "locator"]
    )
    by_locator = {episode.locator: episode for episode in planted}
    return {row[0]: by_locator[row[1]] for row in receipts.iter_rows()}


def gate_mistakes(root: Path, plan: dict[str, PlantedEpisode]) -> tuple[list[str], list[str]]:
    """Kinds of the corrupted logs that passed, and ids of the clean ones that did not."""
    gate = pl.read_parquet(root / "curation/gate.parquet", columns=["episode_id", "verdict"])
    passed, stopped = [], []
    for name, verdict in gate.iter_rows():
        corruption = plan[name].corruption
        if verdict == "pass" and corruption is not None:
            passed.append(corruption)
        if verdict != "pass" and corruption is None:
            stopped.append(name)
    return passed, stopped


def rand_by_task(root: Path, plan: dict[str, PlantedEpisode]) -> dict[str, float]:
    """Adjusted Rand index of clusters against strategies, for each instruction."""
    clusters = pl.read_parquet(root / "curation/clusters.parquet")
    found: dict[str, float] = {}
    for _, rows in clusters.group_by("task_id", maintain_order=True):
        episodes = [plan[name] for name in rows["episode_id"]]
        found[episodes[0].instruction] = float(
            adjusted_rand_score(
                [episode.strategy for episode in episodes], rows["cluster_id"].to_list()
            )
        )
    return found


def rand_with_k_given(root: Path, plan: dict[str, PlantedEpisode]) -> dict[str, float]:
    """As `rand_by_task`, each task having been told its true number of strategies."""
    strategies = {task.instruction: len(task.ways) for task in plan_tasks()}
    found: dict[str, float] = {}
    for k in sorted(set(strategies.values())):
        clustered(root, k=k)
        by_task = rand_by_task(root, plan)
        found |= {name: value for name, value in by_task.items() if strategies[name] == k}
    return found


def strategies_without(chosen: list[str], plan: dict[str, PlantedEpisode]) -> set[tuple[str, str]]:
    """Strategies of the plan that none of the chosen episodes shows."""
    wanted = {(one.instruction, one.strategy) for one in plan.values() if one.corruption is None}
    return wanted - {(plan[name].instruction, plan[name].strategy) for name in chosen}


def coverage_curve(root: Path, curve: Curve) -> np.ndarray:
    """Coverage along the ranks of representatives.parquet."""
    ranked = pl.read_parquet(root / "curation/representatives.parquet").sort("rank")
    return curve.mean_distances(ranked["episode_id"].to_list())


def random_curves(curve: Curve, *, seeds: int = 20) -> np.ndarray:
    """(seeds, N) coverage of episodes chosen by chance."""
    return np.array(
        [
            curve.mean_distances(
                np.random.default_rng(seed).permutation(curve.episode_ids).tolist()
            )
            for seed in range(seeds)
        ]
    )
