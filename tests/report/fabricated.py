"""Gate, clusters and representatives written by schema, with distances that are known exactly.

Every episode gets a place in a plane (a corner for its strategy and a little noise); a distance is
that of the places, so a map must find them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.report.report import KnownDistances
from finedata.schema.tables.all import arrow_schema
from finedata.store.dataset import open_dataset

__all__ = ["Fabricated", "fabricate", "write_table"]

_SHA = "ab" * 32
_CORNERS = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])


@dataclass(frozen=True)
class Fabricated:
    """What was written: places and distances by (part, task_id), and a source of them."""

    places: dict[tuple[str, str], tuple[list[str], np.ndarray]]
    distances: dict[tuple[str, str], tuple[list[str], np.ndarray]]

    @property
    def source(self) -> KnownDistances:
        return KnownDistances(
            read=lambda part, task_id: self.distances.get((part, task_id)),
            units=lambda: iter(self.distances.values()),
        )


def write_table(root: Path, name: str, rows: list[dict[str, Any]]) -> None:
    path = root / "curation" / f"{name}.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(name)), path)


def fabricate(root: Path, *, gate: bool = True, clusters: bool = True) -> Fabricated:
    """Refuse every seventh episode, cluster the others of each task, choose two of each cluster."""
    episodes = (
        open_dataset(root)
        .episodes.select("episode_id", "part", "task_id", "length")
        .sort("episode_id")
        .collect()
        .to_dicts()
    )
    verdicts = {
        row["episode_id"]: "fail" if i % 7 == 3 else ("not_applicable" if i % 7 == 5 else "pass")
        for i, row in enumerate(episodes)
    }
    if gate:
        write_table(root, "gate", [_verdict(i, row, verdicts) for i, row in enumerate(episodes)])
    kept = [row for row in episodes if not gate or verdicts[row["episode_id"]] != "fail"]
    units: dict[tuple[str, str], list[str]] = {}
    for row in kept:
        if row["task_id"] is not None:
            units.setdefault((row["part"], row["task_id"]), []).append(row["episode_id"])
    generator = np.random.Generator(np.random.PCG64(5))
    places: dict[tuple[str, str], tuple[list[str], np.ndarray]] = {}
    distances: dict[tuple[str, str], tuple[list[str], np.ndarray]] = {}
    rows: list[dict[str, Any]] = []
    chosen: list[dict[str, Any]] = []
    for key, ids in sorted(units.items()):
        group = np.arange(len(ids)) % min(3, len(ids))
        at = _CORNERS[group] + 0.4 * generator.normal(size=(len(ids), 2))
        square = np.linalg.norm(at[:, None] - at[None], axis=-1)
        places[key] = (ids, at)
        distances[key] = (ids, square[np.triu_indices(len(ids), k=1)])
        _add_clusters(key, ids, group, square, rows, chosen)
    if clusters:
        write_table(root, "clusters", rows)
        for rank, row in enumerate(chosen):
            row["rank"] = rank
        write_table(root, "representatives", chosen)
    return Fabricated(places, distances)


def _verdict(i: int, row: dict[str, Any], verdicts: dict[str, str]) -> dict[str, Any]:
    failed = verdicts[row["episode_id"]] == "fail"
    reasons = (["too_short"] if i % 2 else []) + ["action_state"] if failed else []
    return {
        "episode_id": row["episode_id"],
        "verdict": verdicts[row["episode_id"]],
        "reason": reasons[0] if reasons else None,
        "reasons": reasons,
        "method": "dtw",
        "score": 0.1 + 0.01 * i + (2.0 if failed else 0.0),
        "threshold": 1.5,
        "threshold_origin": "percentile",
        "space": "ee",
        "lag_frames": i % 4 - 1,
        "checks": [
            {"name": "too_short", "value": row["length"], "limit": 5.0, "passed": not failed}
        ],
        "settings_sha256": _SHA,
    }


def _add_clusters(
    key: tuple[str, str],
    ids: list[str],
    group: np.ndarray,
    square: np.ndarray,
    rows: list[dict[str, Any]],
    chosen: list[dict[str, Any]],
) -> None:
    part, task_id = key
    for label in range(int(group.max()) + 1):
        members = np.flatnonzero(group == label)
        inner = square[np.ix_(members, members)]
        medoid = members[inner.mean(axis=1).argmin()]
        cluster_id = f"{part}/{task_id}/{label + 1}"
        rows += [
            {
                "episode_id": ids[i],
                "part": part,
                "task_id": task_id,
                "cluster_id": cluster_id,
                "cluster_size": len(members),
                "is_medoid": bool(i == medoid),
                "distance_to_medoid": float(square[i, medoid]),
                "mean_distance": float(square[i, members].mean()),
                "quality": 0.5,
                "method": "exact",
                "linkage": "average",
                "k": int(group.max()) + 1,
                "k_origin": "auto",
                "settings_sha256": _SHA,
            }
            for i in members
        ]
        others = [i for i in members if i != medoid][:1]
        for i, role in [(medoid, "medoid"), *((i, "quota") for i in others)]:
            chosen.append(
                {
                    "episode_id": ids[i],
                    "task_id": task_id,
                    "cluster_id": cluster_id,
                    "role": role,
                    "represents": len(members) - len(others) if role == "medoid" else 1,
                    "score": 1.0,
                    "quality": 0.5,
                    "coverage_radius": float(square[i, members].max()),
                    "settings_sha256": _SHA,
                }
            )
