"""Two shorter ways through one unit: tasks of one or two episodes, and FineVLA's random members."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finedata.cluster.choose.select import TaskOrder
from finedata.cluster.clusters import Chosen, UnitClusters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.cluster.clusters import KOrigin
    from finedata.cluster.distance.pipeline import UnitDistances

# How much quality counts beside the distances; see `finedata.cluster.choose.select.task_order`.
QUALITY_WEIGHT = 0.3
# As in FineVLA's released code: a generator of this seed draws the members.
_RELEASED_SEED = 42


def small_unit(
    unit: UnitDistances,
    quality: NDArray[np.float64],
    *,
    k_origin: KOrigin,
    choose: bool,
) -> UnitClusters:
    """One or two episodes, without the machinery: half of a corpus' tasks are so small."""
    size = unit.size
    apart = 0.0 if unit.condensed is None or size == 1 else float(unit.condensed[0])
    weight = 1 - QUALITY_WEIGHT + QUALITY_WEIGHT * quality
    second_first = size > 1 and apart > 0 and weight[1] > weight[0]
    member = np.arange(size)[::-1] if second_first else np.arange(size)
    order = TaskOrder(
        member=member,
        leader=np.ones(size, np.bool_),
        weight=weight[member],
        total=np.array([apart, 0.0])[2 - size :],
        role=["kept_small_task"] * size,
        size=size,
        diameter=apart,
    )
    ones = np.ones(size, np.int64)
    chosen = Chosen(member=member, represents=ones, radius=np.zeros(size))
    return UnitClusters(
        unit=unit.unit,
        labels=ones,
        keys=None,
        sizes=np.array([size]),
        medoid=np.zeros(1, np.int64),
        mean_distance=np.full(size, apart),
        distance_to_medoid=np.array([0.0, apart])[:size],
        method="trivial",
        k_origin=k_origin,
        order=order,
        chosen=chosen if choose else None,
    )


def random_choice(
    labels: NDArray[np.int64],
    distances: NDArray[np.floating],
    per_cluster: int,
    candidates: NDArray[np.int64] | None,
) -> Chosen:
    """Members drawn as FineVLA's released code draws them; each stands for its own cluster."""
    generator = np.random.RandomState(_RELEASED_SEED)
    members: list[int] = []
    represents: list[int] = []
    radius: list[float] = []
    for label in range(1, int(labels.max()) + 1):
        own = np.flatnonzero(labels == label)
        count = min(per_cluster, len(own))
        # `choice(members)` of the released code, and the same without putting back for more.
        drawn = [generator.choice(own)] if count == 1 else generator.choice(own, count, False)  # noqa: FBT003
        members += [int(one) for one in drawn]
        represents += [len(own)] * count
        for one in drawn:
            known = np.array([one]) if candidates is None else np.flatnonzero(candidates == one)
            # Of one that is no landmark, distances to the others were never computed.
            radius.append(float(distances[known][:, own].max()) if len(known) else np.nan)
    return Chosen(
        member=np.array(members, np.int64),
        represents=np.array(represents, np.int64),
        radius=np.array(radius),
    )
