"""How one unit is grouped: small units by a rule of their own, large ones through landmarks.

Chance is drawn from the seed and the unit's name, so a unit's answer depends on no other unit.
Landmarks are drawn evenly, because `auto_k` looks at the share of episodes that a cluster holds.
"""

from __future__ import annotations

import hashlib
from math import ceil, isfinite
from typing import TYPE_CHECKING

import numpy as np

from finedata.cluster.choose.quota import first_of_each
from finedata.cluster.choose.select import SMALL_TASK, represented, task_order
from finedata.cluster.clusters import Chosen, SampleError, UnitClusters
from finedata.cluster.distance.condensed import square_of
from finedata.cluster.distance.landmarks import Landmarks, landmark_error, nearest_labels
from finedata.cluster.distance.tiles import Subset
from finedata.cluster.group.auto_k import auto_k, released_k
from finedata.cluster.group.linkage import flat_labels, in_order_of_first, linkage_of
from finedata.cluster.group.medoid import medoids
from finedata.cluster.group.recursive import recursive_clusters
from finedata.cluster.group.special import QUALITY_WEIGHT, random_choice, small_unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.cluster.clusters import KOrigin, Method
    from finedata.cluster.distance.pipeline import UnitDistances
    from finedata.cluster.settings import ClusterSettings

# Of a unit with landmarks: enough for a Rand index to two digits, 1 % of the cells.
_SAMPLE = 400


def unit_rng(seed: int, name: str) -> np.random.Generator:
    """Chance for one unit that depends on no other unit."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def subset_for(size: int, *, settings: ClusterSettings, name: str) -> Subset | None:
    """Landmarks and sample of a unit that is too large for all pairs; None for the others.

    Landmarks are drawn evenly: a cluster's share of them is its share of the episodes, which
    `auto_k` looks at. (Farthest-first landmarks would be mostly odd episodes.)
    """
    if size <= settings.landmarks_above:
        return None
    rng = unit_rng(settings.seed, name)
    chosen = rng.choice(size, size=min(settings.landmarks, size), replace=False)
    sample = rng.choice(size, size=min(_SAMPLE, size), replace=False)
    return Subset(landmarks=np.sort(chosen), sample=np.sort(sample))


def group_unit(
    unit: UnitDistances,
    *,
    quality: NDArray[np.float64],
    settings: ClusterSettings,
    fixed_k: int | None = None,
) -> UnitClusters:
    """Group one unit.

    Args:
        unit: Its distances.
        quality: (n,) of its episodes, in [0, 1].
        settings: The rules.
        fixed_k: Number of clusters, where a preset says one and the settings none.

    Returns:
        Its clusters.
    """
    if unit.size <= SMALL_TASK and settings.preset is None:
        return small_unit(
            unit, quality, k_origin=_origin(settings, fixed_k), choose=settings.budget is None
        )
    rows = Landmarks(unit.subset.landmarks, unit.to_landmarks) if (
        unit.subset is not None and unit.to_landmarks is not None
    ) else None  # fmt: skip
    condensed = unit.condensed if rows is None else rows.condensed
    condensed = np.zeros(0, np.float32) if condensed is None else condensed
    labels, keys, origin = _labels(condensed, unit.size, settings, fixed_k)
    candidates = None
    if rows is not None:
        candidates = rows.numbers
        labels = nearest_labels(rows, labels)
    distances = square_of(condensed) if rows is None else rows.distances
    middle = medoids(distances, labels, candidates=candidates)
    order = task_order(
        distances,
        labels,
        quality=quality,
        candidates=candidates,
        quality_weight=QUALITY_WEIGHT,
    )
    method: Method = "trivial" if unit.size <= SMALL_TASK else "exact"
    chosen = None
    if settings.preset == "finevla":
        chosen = random_choice(labels, distances, settings.per_cluster, candidates)
    elif settings.budget is None:
        member = order.member[first_of_each(order, labels, settings.per_cluster)]
        chosen = choose(distances, member, candidates=candidates)
    return UnitClusters(
        unit=unit.unit,
        labels=labels,
        keys=keys,
        sizes=np.bincount(labels)[1:],
        medoid=middle.medoid,
        mean_distance=middle.mean_distance,
        distance_to_medoid=middle.distance_to_medoid,
        method=method if rows is None else "landmark",
        k_origin=origin,
        order=order,
        chosen=chosen,
        error=None if rows is None else _error(unit, labels, settings),
    )


def choose(
    distances: NDArray[np.floating],
    member: NDArray[np.int64],
    *,
    candidates: NDArray[np.int64] | None = None,
) -> Chosen:
    """Who stands for whom when these are the representatives of a unit.

    Args:
        distances: (c, n) of each candidate to each episode.
        member: (r,) numbers of the chosen episodes.
        candidates: (c,) what the rows are about; all episodes by default.
    """
    rows = member if candidates is None else np.searchsorted(candidates, member)
    found = represented(distances[rows])
    nearest = found.nearest
    # One that equals another chosen one stands for itself all the same.
    nearest[member] = np.arange(len(member))
    radius = np.zeros(len(member))
    np.maximum.at(radius, nearest, np.where(np.isin(np.arange(len(nearest)), member), 0.0,
                                            found.distance))  # fmt: skip
    return Chosen(
        member=member, represents=np.bincount(nearest, minlength=len(member)), radius=radius
    )


def _labels(
    condensed: NDArray[np.floating], size: int, settings: ClusterSettings, fixed_k: int | None
) -> tuple[NDArray[np.int64], tuple[str, ...] | None, KOrigin]:
    """Clusters of the episodes that `condensed` is about."""
    origin = _origin(settings, fixed_k)
    if size <= SMALL_TASK:
        return np.ones(size, np.int64), None, origin
    if settings.recursive:
        split = recursive_clusters(condensed, method=settings.linkage)
        return split.labels, split.keys, origin
    merges = linkage_of(condensed, method=settings.linkage)
    if settings.k_ratio is not None:
        k = max(1, ceil(settings.k_ratio * size))
    elif origin == "fixed":
        k = settings.k or fixed_k or 1
    else:
        k = released_k(merges) if settings.preset == "finevla" else auto_k(merges).k
    return flat_labels(merges, k), None, origin


def _error(
    unit: UnitDistances, labels: NDArray[np.int64], settings: ClusterSettings
) -> SampleError | None:
    """What landmarks cost: the unit's clusters against the exact ones of the sample."""
    if unit.subset is None or unit.sample is None:
        return None
    found = in_order_of_first(labels[unit.subset.sample])
    square = square_of(unit.sample)
    # As many clusters as are met in the sample: the number is not what is measured here.
    merges = linkage_of(unit.sample, method=settings.linkage)
    exact = flat_labels(merges, int(found.max()))
    error = landmark_error(
        square,
        exact_labels=exact,
        labels=found,
        exact_chosen=medoids(square, exact).medoid,
        chosen=medoids(square, found).medoid,
    )
    return SampleError(
        sampled=len(found),
        adjusted_rand=error.adjusted_rand,
        coverage=error.coverage if isfinite(error.coverage) else None,
    )


def _origin(settings: ClusterSettings, fixed_k: int | None) -> KOrigin:
    if settings.k is not None:
        return "fixed"
    if settings.k_ratio is not None:
        return "proportional"
    return "auto" if settings.auto or settings.recursive or fixed_k is None else "fixed"
