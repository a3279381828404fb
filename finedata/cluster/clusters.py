"""What becomes of one unit: the record that grouping makes and the tables are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finedata.cluster.choose.select import TaskOrder

Method: TypeAlias = Literal["exact", "landmark", "trivial"]
KOrigin: TypeAlias = Literal["fixed", "proportional", "auto"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """Episodes of a unit that are representatives.

    Args:
        member: (r,) their numbers in the unit, in the order of choice.
        represents: (r,) episodes that each stands for, itself included.
        radius: (r,) largest distance to one of them.
    """

    member: NDArray[np.int64]
    represents: NDArray[np.int64]
    radius: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleError:
    """How clusters by landmarks differ from the exact ones of a sample of the unit.

    Args:
        sampled: Episodes of the sample.
        adjusted_rand: Agreement of the clusters: 1 if equal, about 0 if by chance.
        coverage: See `finedata.cluster.distance.landmarks.LandmarkError`; None where it is not
            defined.
    """

    sampled: int
    adjusted_rand: float
    coverage: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitClusters:
    """What became of one unit of n episodes.

    Args:
        unit: Its number.
        labels: (n,) clusters 1, 2, ...
        keys: The key of label 1, of label 2, ...; None for "1", "2", ...
        sizes: (k,) episodes of label 1, 2, ...
        medoid: (k,) number of the middle of label 1, 2, ...
        mean_distance: (n,) to the others of its cluster.
        distance_to_medoid: (n,)
        method: Which pairs were compared.
        k_origin: How k was chosen.
        order: The order of choice.
        chosen: The representatives, where they do not depend on other units.
        error: What landmarks cost; None without them.
    """

    unit: int
    labels: NDArray[np.int64]
    keys: tuple[str, ...] | None
    sizes: NDArray[np.int64]
    medoid: NDArray[np.int64]
    mean_distance: NDArray[np.float64]
    distance_to_medoid: NDArray[np.float64]
    method: Method
    k_origin: KOrigin
    order: TaskOrder
    chosen: Chosen | None
    error: SampleError | None = None
