"""The rows of `clusters` and `representatives`, with cluster names that never meet in one task.

A task can have two units in one part, where its episodes have different arms: the numbers of the
second go on after those of the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from finedata.schema.tables.all import arrow_schema
from finedata.schema.tables.curation import CLUSTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from finedata.cluster.choose.rank import Representatives
    from finedata.cluster.clusters import UnitClusters
    from finedata.cluster.group.unit_groups import UnitGroup


def first_components(groups: Sequence[UnitGroup], clusters: Sequence[UnitClusters]) -> list[int]:
    """What is added to the first number of each unit's cluster keys.

    Nothing, but where a task has two units in one part (its episodes have different arms): the
    numbers go on, so that no two clusters of a task have one name.
    """
    used: dict[tuple[str, str], int] = {}
    added: list[int] = []
    place = 0
    for group in groups:
        for task_id in group.task_ids:
            one = clusters[place]
            name = (group.part.part, task_id)
            added.append(used.get(name, 0))
            top = len(one.sizes)
            if one.keys is not None:
                top = max(int(key.split(".")[0]) for key in one.keys)
            used[name] = added[-1] + top
            place += 1
    return added


def clusters_table(
    groups: Sequence[UnitGroup],
    clusters: Sequence[UnitClusters],
    qualities: Sequence[NDArray[np.float64]],
    *,
    linkage: str,
    settings_sha256: str,
) -> pl.DataFrame:
    """One row for each clustered episode, in the order of units.

    Args:
        groups: The units.
        clusters: Of all units, those of the first group first.
        qualities: (N,) of each group's tracks.
        linkage: Name of the linkage.
        settings_sha256: Hash of the settings.
    """
    added = first_components(groups, clusters)
    frames: list[pl.DataFrame] = []
    place = 0
    for group, quality in zip(groups, qualities, strict=True):
        own = clusters[place : place + len(group.task_ids)]
        sizes = np.array([len(one.labels) for one in own], np.int64)
        keys: list[str] = []
        for unit, one in enumerate(own):
            stem = f"{group.part.part}/{group.task_ids[unit]}/"
            names = [stem + _shifted(key, added[place + unit]) for key in _keys(one)]
            keys += [names[label - 1] for label in one.labels.tolist()]
        frames.append(
            pl.DataFrame(
                {
                    "episode_id": group.episode_ids,
                    "task_id": pl.Series(group.task_ids, dtype=pl.String).gather(
                        np.repeat(np.arange(len(own)), sizes)
                    ),
                    "cluster_id": keys,
                    "cluster_size": np.concatenate([one.sizes[one.labels - 1] for one in own]),
                    "is_medoid": np.concatenate([_is_medoid(one) for one in own]),
                    "distance_to_medoid": np.concatenate(
                        [one.distance_to_medoid for one in own]
                    ).astype(np.float64),
                    "mean_distance": np.concatenate([one.mean_distance for one in own]),
                    "quality": quality,
                    "method": _repeated([one.method for one in own], sizes),
                    "k": np.repeat(np.array([len(one.sizes) for one in own]), sizes),
                    "k_origin": _repeated([one.k_origin for one in own], sizes),
                }
            ).with_columns(part=pl.lit(group.part.part))
        )
        place += len(own)
    rows = pl.concat(frames) if frames else _no_rows()
    return rows.with_columns(
        pl.col("cluster_size", "k").cast(pl.Int32),
        linkage=pl.lit(linkage),
        settings_sha256=pl.lit(settings_sha256),
    )


def representatives_table(
    chosen: Representatives,
    clusters: pl.DataFrame,
    unit_offsets: NDArray[np.int64],
    *,
    settings_sha256: str,
) -> pl.DataFrame:
    """One row for each representative, by rank.

    Args:
        chosen: The representatives.
        clusters: From `clusters_table`.
        unit_offsets: (units + 1,) rows of `clusters` of each unit.
        settings_sha256: Hash of the settings.
    """
    rows = clusters.select("episode_id", "task_id", "cluster_id", "quality")
    picked = rows[unit_offsets[chosen.unit] + chosen.member]
    return picked.with_columns(
        rank=pl.Series(np.arange(len(chosen.unit), dtype=np.int64)),
        role=pl.Series(chosen.role, dtype=pl.String),
        represents=pl.Series(chosen.represents.astype(np.int32)),
        score=pl.Series(chosen.score),
        coverage_radius=pl.Series(chosen.radius).fill_nan(None),
        settings_sha256=pl.lit(settings_sha256),
    )


def _no_rows() -> pl.DataFrame:
    names = [column.name for column in CLUSTERS.columns]
    found = pl.DataFrame(pl.from_arrow(arrow_schema("clusters").empty_table()))  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    return found.select(name for name in names if name not in ("linkage", "settings_sha256"))


def _keys(one: UnitClusters) -> Sequence[str]:
    return one.keys or [f"{label}" for label in range(1, len(one.sizes) + 1)]


def _shifted(key: str, added: int) -> str:
    if not added:
        return key
    first, dot, rest = key.partition(".")
    return f"{int(first) + added}{dot}{rest}"


def _is_medoid(one: UnitClusters) -> NDArray[np.bool_]:
    flags = np.zeros(len(one.labels), np.bool_)
    flags[one.medoid] = True
    return flags


def _repeated(values: list[str], sizes: NDArray[np.int64]) -> pl.Series:
    return pl.Series(values, dtype=pl.String).gather(np.repeat(np.arange(len(values)), sizes))
