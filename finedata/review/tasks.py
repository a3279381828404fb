"""Tasks: a map of a task's episodes, and two of them laid on each other in time.

The map is the plane that best keeps the distances of the last `finedata cluster`, which are in the
dataset's ledger; without them there is a sentence. Two episodes are aligned by the cost of
clustering's defaults, on actions scaled over episodes of their task: of a task whose episodes are
all given, what plays side by side is what clustering compared. An alignment is computed when it is
asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from finedata.cluster.distance.condensed import square_of, sub_condensed
from finedata.cluster.distance.last_run import read_distances
from finedata.cluster.distance.motion import prepare, ranges_of
from finedata.cluster.embedding import classical_mds
from finedata.cluster.group.unit_groups import layouts_of
from finedata.cluster.settings import ClusterSettings, Weights
from finedata.errors import UsageError, need
from finedata.store.motion.arm_columns import arm_columns
from finedata.store.remote.path import remote_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.store.dataset import Dataset
    from finedata.store.episode import Episode

_MOST_POINTS = 400
_MOST_CELLS = 4_000_000
_SIDE = 100.0


class TaskMap(msgspec.Struct, frozen=True):
    """Episodes of a task in one part, in a plane.

    Attributes:
        part: The part.
        points: Of each episode `episode_id`, `x` and `y` from 0 to 100, `group` (number of its
            cluster), `cluster_id`, `is_medoid` and `rank` (null where it was not chosen).
        kept: Share of the distances that the plane keeps.
        note: What to say of it.
    """

    part: str
    points: list[dict[str, Any]]
    kept: float
    note: str


class Alignment(msgspec.Struct, frozen=True):
    """Two episodes laid on each other.

    Attributes:
        path: Frames of the first and the second, in step.
        distance: Cost a frame pair, as in clustering.
        arm: Which arm was compared; empty where none is declared.
        every: Only every so many frames were compared, where the episodes are long.
    """

    path: list[tuple[int, int]]
    distance: float
    arm: str
    every: int


def tasks_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Tasks with their counts, the largest first: task_id, task, episodes, clusters, chosen."""
    known = rows.filter(pl.col("task_id").is_not_null())
    counted = known.group_by("task_id").agg(
        pl.col("task").first(),
        pl.len().alias("episodes"),
        pl.col("cluster_id").n_unique().alias("clusters")
        - pl.col("cluster_id").null_count().clip(0, 1),
        pl.col("rank").is_not_null().sum().alias("chosen"),
    )
    return counted.sort("episodes", "task", "task_id", descending=[True, False, False])


def map_of(dataset: Dataset, part: str, task_id: str, rows: pl.DataFrame) -> TaskMap:
    """The map of a task's episodes of one part.

    Args:
        dataset: The dataset.
        part: The part.
        task_id: The task.
        rows: Its episodes, as the catalog has them.

    Raises:
        OutputError: The ledger of distances cannot be read.
    """
    clustered = rows.filter(pl.col("cluster_id").is_not_null())
    nothing = TaskMap(part, [], 0.0, "")
    if not clustered.height:
        return msgspec.structs.replace(nothing, note="Not clustered: finedata cluster makes a map.")
    known = None
    if remote_store(dataset.root) is None:
        known = read_distances(dataset.root, part=part, task_id=task_id)
    mine = {row["episode_id"]: row for row in clustered.to_dicts()}
    kept = [k for k, one in enumerate(known[0]) if one in mine] if known else []
    if known is None or len(kept) < 2 or not np.isfinite(known[1]).all():
        note = "Its distances are not here: too few episodes, or it was clustered elsewhere."
        return msgspec.structs.replace(nothing, note=note)
    ids = [known[0][k] for k in kept]
    # medoids and chosen episodes come first where there are too many
    order = sorted(
        range(len(ids)),
        key=lambda k: (not mine[ids[k]]["is_medoid"], mine[ids[k]]["rank"] is None, k),
    )[:_MOST_POINTS]
    chosen = sorted(kept[k] for k in order)
    plane = classical_mds(square_of(sub_condensed(known[1], chosen)).astype(np.float64))
    low, high = plane.points.min(0), plane.points.max(0)
    scale = (_SIDE - 10) / max(float((high - low).max()), 1e-12)
    places = (plane.points - (low + high) / 2) * scale + _SIDE / 2
    numbers = {one: k for k, one in enumerate(sorted(clustered["cluster_id"].unique().to_list()))}
    every: list[str] = known[0]
    points: list[dict[str, Any]] = [
        {
            "episode_id": one,
            "x": round(float(x), 2),
            "y": round(float(y), 2),
            "group": numbers[mine[one]["cluster_id"]],
            "cluster_id": mine[one]["cluster_id"],
            "is_medoid": mine[one]["is_medoid"],
            "rank": mine[one]["rank"],
        }
        for one, (x, y) in zip([every[k] for k in chosen], places, strict=True)
    ]
    left = len(mine) - len(points)
    return TaskMap(part, points, plane.kept_share, f"{left} more are not drawn." if left else "")


def align(first: Episode, second: Episode, *, others: Sequence[Episode] = ()) -> Alignment:
    """Lay two episodes on each other by dynamic time warping of their actions.

    Args:
        first: One.
        second: The other, of a part with the same numbers.
        others: More of their task: motion is scaled over all of them.

    Raises:
        MissingExtraError: Without the extra `curate`.
        UsageError: Their numbers are others, or not all finite.
    """
    need("numba", extra="curate", place="two episodes side by side")
    from finedata.motion.dtw.distances import dtw_path

    names = first.names["action"]
    if names != second.names["action"]:
        raise UsageError(
            place=f"episodes {first.episode_id} and {second.episode_id}",
            found="actions of other names",
            wanted="two episodes of one kind of robot",
        )
    pair = [episode.rows(["action"])["action"] for episode in (first, second)]
    for episode, values in zip((first, second), pair, strict=True):
        if not np.isfinite(values).all():
            raise UsageError(
                place=f"actions of episode {episode.episode_id}",
                found="some that are not finite",
                wanted="numbers",
            )
    every = max(1, int(np.ceil(np.sqrt(len(pair[0]) * len(pair[1]) / _MOST_CELLS))))
    pair = [values[::every] for values in pair]
    more = [
        values
        for values in (one.rows(["action"])["action"] for one in others)
        if values.shape[1] == pair[0].shape[1] and np.isfinite(values).all()
    ]
    arms = arm_columns(names)
    space = str(first.row["space"]) if arms else "undeclared"
    layout = layouts_of(space, arms, pair[0].shape[1])[0]
    if space == "ee" and layout.quaternion is None:
        space = "joint"
    settings = ClusterSettings()
    [tracks] = prepare(
        np.concatenate(pair),
        lengths=np.array([len(values) for values in pair], np.int64),
        ranges=ranges_of(np.concatenate([*pair, *more]), np.zeros(1, np.int64)),
        unit_of_track=np.zeros(2, np.int64),
        arms=(layout,),
        dtype=np.float64,
    )
    cut = int(tracks.offsets[1])
    found = dtw_path(
        tracks.values[:cut],
        tracks.values[cut:],
        cost=settings.frame_cost(space, settings.weights(Weights())),
    )
    path = [(int(i) * every, int(j) * every) for i, j in found.path.tolist()]
    return Alignment(path, found.distance, next(iter(arms), ""), every)
