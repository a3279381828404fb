"""Gate and representatives of a dataset, written by hand, so that a test says who is where."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from finedata.schema.tables.all import arrow_schema
from finedata.store.dataset import open_dataset
from finedata.store.tables.table import write_table

_SHA = "0" * 64


def curate(
    root: Path,
    *,
    failed: Iterable[str] = (),
    every: int = 3,
    chosen: Iterable[str] = (),
    duplicate_of: Mapping[str, str] | None = None,
) -> list[str]:
    """Write gate, clusters and representatives (those chosen, or every so manieth).

    Returns:
        Ids in the dataset's order.
    """
    fails, named = set(failed), set(chosen)
    frame = open_dataset(root).episodes.select("episode_id", "part", "task_id").collect()
    rows: dict[str, list[dict[str, Any]]] = {"gate": [], "clusters": [], "representatives": []}
    for number, (episode_id, part, task) in enumerate(frame.rows()):
        common = {"episode_id": episode_id, "settings_sha256": _SHA}
        fail = episode_id in fails
        rows["gate"].append(
            common
            | {
                "verdict": "fail" if fail else "pass",
                "reason": "jump" if fail else None,
                "reasons": ["jump"] if fail else [],
                "method": "dtw",
                "score": 0.5,
                "threshold_origin": "none",
                "space": "ee",
                "duplicate_of": (duplicate_of or {}).get(episode_id),
                "checks": [],
            }
        )
        if fail or not task or (episode_id not in named if named else number % every):
            continue
        rows["representatives"].append(
            common
            | {
                "cluster_id": f"{part}/{task}/{number}",
                "task_id": task,
                "rank": number,
                "role": "medoid",
                "represents": 1,
                "score": 1.0,
                "quality": 1.0,
            }
        )
    for table, of_table in rows.items():
        write_table(root, table, pa.Table.from_pylist(of_table, schema=arrow_schema(table)))
    return frame["episode_id"].to_list()


def tree(folder: Path) -> dict[str, str]:
    """Path to digest of every file that is part of shards."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".finedata" not in path.relative_to(folder).parts
    }
