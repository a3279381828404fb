"""Which episodes are compared with which: tables come in, units and reasons go out.

A unit is one task in one part with one set of arms: nothing else has comparable numbers. Every
episode is in a unit or is left out for one reason; the counts add up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from finedata.cluster.motion import ArmLayout, UnitTracks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.cluster.scratch import PartMotion
    from finedata.store.dataset import Dataset
    from finedata.store.tracks import ArmColumns

__all__ = [
    "LEFT_OUT",
    "DatasetPlan",
    "PartPlan",
    "UnitGroup",
    "layouts_of",
    "plan_dataset",
    "units_of",
]

LEFT_OUT = {
    "failed_gate": "the gate found something wrong with them",
    "not_gated": "they have no row in curation/gate.parquet",
    "no_instruction": "they have no instruction, so no task",
    "small_task": "their task has fewer episodes than the preset wants",
    "empty": "they have no frame",
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitGroup:
    """The units of a part that have the same arms.

    Args:
        part: The part's plan.
        space: `ee`, `joint` or `undeclared`.
        arms: Names of the arms; () where undeclared.
        task_ids: (U,) the task of each unit, ascending.
        members: (N,) number in the part's plan of every track.
        tracks: The motion.
    """

    part: PartPlan
    space: str
    arms: tuple[str, ...]
    task_ids: list[str]
    members: NDArray[np.int64]
    tracks: UnitTracks

    @property
    def episode_ids(self) -> list[str]:
        """(N,) the episode of every track."""
        return [self.part.episode_ids[k] for k in map(int, self.members)]


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
    gate = dataset.gate.select("episode_id", "verdict", "score", "threshold").collect()
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


def units_of(part: PartPlan, motion: PartMotion) -> tuple[list[UnitGroup], int]:
    """Group a part's episodes by task and by the arms that are really there.

    An arm is there where the episode declares it and some of its numbers are finite.

    Returns:
        One group for each set of arms, and how many episodes are left out as not finite.
    """
    names = tuple(motion.arms)
    present = np.ones(motion.usable.shape, bool)
    for place, name in enumerate(names):
        declared = np.array([name in arms.split("+") for arms in np.unique(part.arms)])
        known = np.searchsorted(np.unique(part.arms), part.arms)
        present[:, place] = declared[known] & (motion.usable[:, place] >= 0)
    fine = (~present | (motion.usable == 1)).all(axis=1) & present.any(axis=1)
    starts = np.concatenate([[0], np.cumsum(part.lengths)[:-1]])
    groups: list[UnitGroup] = []
    for pattern in np.unique(present[fine], axis=0)[::-1]:
        members = np.flatnonzero(fine & (present == pattern).all(axis=1))
        tasks, first = np.unique(part.task_ids[members], return_index=True)
        chosen = tuple(name for name, there in zip(names, pattern, strict=False) if there)
        arms = {name: motion.arms[name] for name in chosen}
        layouts = layouts_of(motion.space, arms, motion.width)
        posed = all(layout.quaternion is not None for layout in layouts)
        tracks = UnitTracks(
            values=motion,
            starts=starts[members],
            lengths=part.lengths[members],
            unit_offsets=np.append(first, len(members)).astype(np.int64),
            arms=layouts,
        )
        groups.append(
            UnitGroup(
                part=part,
                space="joint" if motion.space == "ee" and not posed else motion.space,
                arms=chosen,
                task_ids=[str(task) for task in tasks],
                members=members,
                tracks=tracks,
            )
        )
    return groups, int((~fine).sum())


def layouts_of(space: str, arms: dict[str, ArmColumns], width: int) -> tuple[ArmLayout, ...]:
    """What to compare of each arm; all columns as one track where no arms are declared."""
    if not arms:
        return (ArmLayout(scaled=tuple(range(width)), has_gripper=False),)
    found: list[ArmLayout] = []
    for arm in arms.values():
        if space == "ee" and arm.position is not None and arm.quaternion is not None:
            position = range(arm.position.start, arm.position.stop)
            layout = ArmLayout(scaled=tuple(position), quaternion=arm.quaternion.start)
        else:
            joints = arm.joints or arm.position or slice(0, 0)
            layout = ArmLayout(scaled=tuple(range(joints.start, joints.stop)))
        found.append(replace(layout, gripper=arm.gripper))
    return tuple(found)
