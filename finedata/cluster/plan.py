"""Which episodes may be compared, decided by the tables alone.

Every episode is in the plan of a part or is left out for one reason; the counts add up. What of a
part is compared with what, `finedata.cluster.group.unit_groups` tells from its motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.store.dataset import Dataset

LEFT_OUT = {
    "failed_gate": "the gate found something wrong with them",
    "not_gated": "they have no row in curation/gate.parquet",
    "no_instruction": "they have no instruction, so no task",
    "small_task": "their task has fewer episodes than the preset wants",
    "empty": "they have no frame",
    "no_vector": "their part has no vector of numbers that could be compared",
    "not_finite": "a number of their motion is not finite, or a quaternion is zero",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartPlan:
    """The episodes of one part that may be compared, in the order of their tasks.

    Args:
        part: Name of the part.
        space: `ee`, `joint` or `undeclared`.
        sources: Names of the sources that its episodes came from, sorted.
        episode_ids: N ids, sorted by task and id.
        task_ids: (N,) their tasks.
        arms: (N,) the arms that each episode declares, joined by `+`.
        lengths: (N,) int64 frames.
        known: (N, 3) score and threshold of the gate, number of flags; NaN where unknown.
    """

    part: str
    space: str
    sources: tuple[str, ...]
    episode_ids: list[str]
    task_ids: NDArray[np.str_]
    arms: NDArray[np.str_]
    lengths: NDArray[np.int64]
    known: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DatasetPlan:
    """What the tables say.

    Args:
        episodes: How many the dataset has.
        parts: The parts that have something to compare.
        left_out: Reason to count.
        gated: Whether the gate has run.
    """

    episodes: int
    parts: list[PartPlan]
    left_out: dict[str, int]
    gated: bool


def plan_dataset(dataset: Dataset, *, smallest_task: int = 1) -> DatasetPlan:
    """Choose the episodes by the tables alone; no motion is read.

    Args:
        dataset: The dataset.
        smallest_task: Tasks of a part with fewer episodes are left out.
    """
    rows = dataset.episodes.select(
        "episode_id", "part", "episode_index", "task_id", "length", "source", "space",
        arms=pl.col("arms").list.join("+"),
    ).collect()  # fmt: skip
    gate = dataset.verdicts.select("episode_id", "verdict", "score", "threshold").collect()
    flags = dataset.receipts.select("episode_id", flags=pl.col("flags").list.len()).collect()
    gated = (dataset.root / "curation" / "gate.parquet").is_file()
    rows = rows.join(gate, on="episode_id", how="left").join(flags, on="episode_id", how="left")
    rows = rows.with_columns(
        left_out=pl.when(pl.lit(gated) & pl.col("verdict").is_null())
        .then(pl.lit("not_gated"))
        .when(pl.col("verdict") == "fail")
        .then(pl.lit("failed_gate"))
        .when(pl.col("task_id").is_null())
        .then(pl.lit("no_instruction"))
        .when(pl.col("length") < 1)
        .then(pl.lit("empty"))
    )
    kept = rows.filter(pl.col("left_out").is_null())
    sizes = kept.group_by("part", "task_id").agg(size=pl.len())
    kept = kept.join(sizes, on=("part", "task_id"), how="left")
    small = kept.filter(pl.col("size") < smallest_task)
    kept = kept.filter(pl.col("size") >= smallest_task).sort("part", "task_id", "episode_id")
    left_out = dict(rows.drop_nulls("left_out")["left_out"].value_counts().sort("left_out").rows())
    if len(small):
        left_out["small_task"] = len(small)
    parts = [
        PartPlan(
            part=str(part),
            space=str(own["space"][0]),
            sources=tuple(sorted(set(own["source"].to_list()))),
            episode_ids=own["episode_id"].to_list(),
            task_ids=np.array(own["task_id"].to_list(), np.str_),
            arms=np.array(own["arms"].fill_null("").to_list(), np.str_),
            lengths=own["length"].to_numpy().astype(np.int64),
            known=own.select(
                pl.col("score", "threshold", "flags").cast(pl.Float64).fill_null(float("nan"))
            ).to_numpy(),
        )
        for (part,), own in kept.group_by("part", maintain_order=True)
    ]
    return DatasetPlan(episodes=len(rows), parts=parts, left_out=left_out, gated=gated)
