"""Curation and annotation tables with a row for each episode, for tests that copy datasets."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from finedata.schema.tables.all import arrow_schema
from finedata.store.dataset import open_dataset

__all__ = ["add_tables", "frame_tables", "tree"]

_SHA = "0" * 64


def add_tables(root: Path, *, source: str = "teacher") -> None:
    """Give every episode of a dataset a verdict, a cluster, a rank, a fact and a review of it."""
    episodes = open_dataset(root).episodes.select("episode_id", "part").collect().rows()
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("gate", "clusters")}
    rows |= {name: [] for name in ("representatives", "facts", "reviews", "calls")}
    for rank, (episode_id, part) in enumerate(episodes):
        cluster = {"cluster_id": f"{part}/{'0' * 16}/{rank}", "task_id": "0" * 16}
        common = {"episode_id": episode_id, "settings_sha256": _SHA}
        rows["gate"].append(
            common
            | {
                "verdict": "pass",
                "reasons": [],
                "method": "dtw",
                "threshold_origin": "none",
                "space": "ee",
                "checks": [],
            }
        )
        rows["clusters"].append(
            common
            | cluster
            | {
                "part": part,
                "cluster_size": 1,
                "is_medoid": True,
                "distance_to_medoid": 0.0,
                "mean_distance": 0.0,
                "quality": 1.0,
                "method": "exact",
                "linkage": "average",
                "k": 1,
                "k_origin": "fixed",
            }
        )
        rows["representatives"].append(
            common
            | cluster
            | {"rank": rank, "role": "medoid", "represents": 1, "score": 1.0, "quality": 1.0}
        )
        rows["facts"] += [_fact(episode_id, revision) for revision in (0, 1)]
        rows["reviews"].append(_review(f"fact of {episode_id}"))
        rows["calls"].append(
            {
                "call_id": f"call of {episode_id}",
                "episode_id": episode_id,
                "stage": "facts",
                "teacher": source,
                "model": "m",
                "status": "ok",
                "attempts": 1,
                "started_at": datetime(2026, 1, 1, tzinfo=UTC),
            }
        )
    for name in ("gate", "clusters", "representatives"):
        _write(root / "curation" / f"{name}.parquet", name, rows[name])
    half = len(rows["facts"]) // 2
    for number, some in enumerate((rows["facts"][:half], rows["facts"][half:])):
        _write(root / "annotations" / "facts" / f"part-{number:05d}.parquet", "facts", some)
    for name in ("reviews", "calls"):
        _write(root / "annotations" / name / "part-00000.parquet", name, rows[name])


def _fact(episode_id: str, revision: int) -> dict[str, Any]:
    return {
        "fact_id": f"fact of {episode_id}",
        "episode_id": episode_id,
        "dimension": "outcome",
        "slot": "outcome",
        "value": "done",
        "text": f"it is done, revision {revision}",
        "anchor": "episode",
        "start_frame": 0,
        "end_frame": 1,
        "start_s": 0.0,
        "end_s": 0.1,
        "kinematic_verdict": "untestable",
        "origin": "teacher",
        "annotator": "test",
        "run_id": "0" * 16,
        "revision": revision,
        "review_status": "unreviewed",
    }


def _review(target_id: str) -> dict[str, Any]:
    return {
        "review_id": f"review of {target_id}",
        "target_table": "facts",
        "target_id": target_id,
        "target_revision": 0,
        "decision": "accept",
        "reviewer": "test",
        "decided_at": datetime(2026, 1, 1, tzinfo=UTC),
        "blind": False,
    }


def _write(path: Path, name: str, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(name)), path)


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder, by its relative path."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def frame_tables(root: Path) -> dict[str, dict[str, Any]]:
    """Each episode's columns but those whose numbers a copy changes, and its pictures."""
    dataset = open_dataset(root)
    found: dict[str, dict[str, Any]] = {}
    for episode_id in dataset.episodes.select("episode_id").collect()["episode_id"]:
        episode = dataset.episode(episode_id)
        columns = {
            name: values.tobytes()
            for name, values in episode.columns.items()
            if name not in ("index", "episode_index", "task_index")
        }
        found[episode_id] = columns | {"pictures": episode.pictures, "task": episode.task}
    return found
