"""One task in detail: its clusters and representatives, with a map, a tree and film strips.

Distances are those that clustering left in the ledger. Where there are none (a task of one or two
episodes, landmarks, a dataset that was copied without its ledger) the map and the tree are
replaced by a sentence that says why; clusters and representatives are shown all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
import polars as pl

from finedata.report.film import FilmStrip, read_film_strip
from finedata.report.task_maps import plane_of, task_tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.report.drawing.clusters import MapPoint, Tree
    from finedata.report.facts import TaskCount
    from finedata.store.dataset import Dataset

# part, task_id -> episode ids and their condensed distances, or None
DistanceReader: TypeAlias = Callable[[str, str], "tuple[list[str], NDArray[np.floating]] | None"]


class TaskLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a task is shown; the rest is counted.

    Attributes:
        strips: Film strips.
        frames: Pictures of a strip.
        width: Of a picture, in pixels.
        points: Points of a map.
        clusters: Rows of the table of clusters.
        leaves: Leaves of a tree.
    """

    strips: int = 8
    frames: int = 6
    width: int = 128
    points: int = 600
    clusters: int = 24
    leaves: int = 31


class ClusterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster: `number` is its colour, `label` its path of splits."""

    number: int
    label: str
    size: int
    representatives: int
    medoid: str
    mean_to_medoid: float
    quality: float


class RepresentativeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A representative; `badge` is its number on the map."""

    badge: str
    episode_id: str
    task: str
    cluster: int
    cluster_label: str
    role: str
    rank: int
    length: int
    duration_s: float
    represents: int
    coverage_radius: float | None
    quality: float
    score: float
    strip: FilmStrip


class TaskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A task of a part in detail; `plane_note` and `tree_note` say why something is missing."""

    count: TaskCount
    method: str
    linkage: str
    k: int
    k_origin: str
    clusters: list[ClusterFacts]
    representatives: list[RepresentativeFacts]
    points: list[MapPoint]
    points_left_out: int
    kept_share: float
    plane_note: str
    tree: Tree | None
    tree_note: str


def read_task(
    dataset: Dataset,
    count: TaskCount,
    *,
    distances: DistanceReader,
    limits: TaskLimits,
    seed: int,
) -> TaskFacts:
    """Gather one task.

    Args:
        dataset: With clusters.
        count: Which task.
        distances: Reads the ledger.
        limits: What is shown at most.
        seed: Of the points that a map shows where there are too many.
    """
    mine = (pl.col("part") == count.part) & (pl.col("task_id") == count.task_id)
    rows = dataset.clusters.filter(mine).sort("episode_id").collect()
    chosen = (
        dataset.representatives.filter(pl.col("episode_id").is_in(rows["episode_id"].to_list()))
        .sort("rank", "episode_id")
        .collect()
    )
    order = sorted(set(rows["cluster_id"].to_list()), key=_path_key)
    number = {cluster_id: i for i, cluster_id in enumerate(order)}
    badges = {row["episode_id"]: str(i + 1) for i, row in enumerate(chosen.to_dicts())}
    found = distances(count.part, count.task_id)
    plane = plane_of(rows, number, badges, found, most=limits.points, seed=seed)
    first = rows.row(0, named=True)
    tree, tree_note = task_tree(rows, number, badges, found, most_leaves=limits.leaves)
    return TaskFacts(
        count=count,
        method=first["method"],
        linkage=first["linkage"],
        k=first["k"],
        k_origin=first["k_origin"],
        clusters=_clusters(rows, chosen, number),
        representatives=_representatives(dataset, chosen, number, badges, limits),
        points=plane[0],
        points_left_out=plane[1],
        kept_share=plane[2],
        plane_note=plane[3],
        tree=tree,
        tree_note=tree_note,
    )


def _path_key(cluster_id: str) -> list[tuple[int, int | str]]:
    """`1.10` after `1.9`."""
    pieces = re.split(r"(\d+)", cluster_id.rsplit("/", 1)[-1])
    return [(0, int(piece)) if piece.isdigit() else (1, piece) for piece in pieces if piece]


def _clusters(
    rows: pl.DataFrame, chosen: pl.DataFrame, number: dict[str, int]
) -> list[ClusterFacts]:
    counts = dict(chosen.group_by("cluster_id").len().iter_rows())
    found: list[ClusterFacts] = []
    for cluster_id, i in number.items():
        group = rows.filter(pl.col("cluster_id") == cluster_id)
        medoids = group.filter(pl.col("is_medoid"))["episode_id"].to_list()
        found.append(
            ClusterFacts(
                number=i,
                label=cluster_id.rsplit("/", 1)[-1],
                size=group.height,
                representatives=int(counts.get(cluster_id, 0)),
                medoid=medoids[0] if medoids else "",
                mean_to_medoid=_mean(group["distance_to_medoid"]),
                quality=_mean(group["quality"]),
            )
        )
    return found


def _mean(column: pl.Series) -> float:
    return float(np.mean(column.to_numpy()))


def _representatives(
    dataset: Dataset,
    chosen: pl.DataFrame,
    number: dict[str, int],
    badges: dict[str, str],
    limits: TaskLimits,
) -> list[RepresentativeFacts]:
    shown = chosen.head(limits.strips)
    stored = (
        dataset.episodes.select(~pl.selectors.starts_with("stats/"))
        .filter(pl.col("episode_id").is_in(shown["episode_id"].to_list()))
        .collect()
    )
    episodes = {row["episode_id"]: row for row in stored.to_dicts()}
    found: list[RepresentativeFacts] = []
    for row in shown.to_dicts():
        episode = episodes[row["episode_id"]]
        kept = ("episode_id", "role", "rank", "represents", "coverage_radius", "quality", "score")
        found.append(
            RepresentativeFacts(
                badge=badges[row["episode_id"]],
                cluster=number[row["cluster_id"]],
                cluster_label=row["cluster_id"].rsplit("/", 1)[-1],
                task=episode["task"],
                length=episode["length"],
                duration_s=episode["duration_s"],
                strip=read_film_strip(dataset, episode, frames=limits.frames, width=limits.width),
                **{name: row[name] for name in kept},
            )
        )
    return found
