"""Export of FineVLA's unified vectors: a Parquet file an episode, without pictures.

`unified_output/episode_*.parquet` and `unified_meta.json` are as FineVLA's `convert_unified.py`
writes them (columns, types, keys); `episodes.jsonl` beside them is ours and says which
`episode_id` each file is.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.errors import UsageError
from finedata.store.episode import Episode
from finedata.store.export.episodes import ExportPart, ExportSummary, export_parts, summary_of_parts
from finedata.store.export.modality import side_features
from finedata.store.export.unified80 import SLOTS, UNIFIED_DIM, Unified, unify
from finedata.store.export.v21_meta import write_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from finedata.store.dataset import Dataset
    from finedata.store.lerobot.layout import Feature


def export_unified80(dataset: Dataset, *, out: Path, episode_ids: Sequence[str]) -> ExportSummary:
    """Write `unified_output/episode_*.parquet` and `unified_meta.json`, without pictures.

    `episodes.jsonl` beside them says which `episode_id` each file is.

    Args:
        dataset: The dataset.
        out: An empty folder; a part is a folder below it where there are several.
        episode_ids: Which episodes.

    Raises:
        UsageError: An id is not of this dataset, or no number of a part has a slot (a dataset
            whose vectors are undeclared).
        FeatureError: An arm or a hand has more numbers than its slot.
    """
    counts: Counter[str] = Counter()
    parts = export_parts(dataset, episode_ids=episode_ids)
    for part in parts:
        _write_part(dataset, part, out / part.folder / "unified_output", counts)
    return summary_of_parts(parts, format="unified80", out=out, counts=counts)


def _write_part(dataset: Dataset, part: ExportPart, folder: Path, counts: Counter[str]) -> None:
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    left_out: set[str] = set()
    for number, row in enumerate(part.episodes):
        episode = Episode(dataset, row)
        unified = unify(episode.columns, features=part.features)
        if not unified.used:
            raise UsageError(
                place=f"part {part.name}",
                found="no number whose meaning is declared",
                wanted="names such as right_x or right_joint_0",
                next_command="finedata sources draft DIR > my.toml  # then convert with it",
            )
        left_out = _named(part.features) - unified.used
        name = f"episode_{number:06d}.parquet"
        pq.write_table(_table(episode.columns["frame_index"], unified), folder / name)  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
        lines.append({"file": name, "episode_id": row["episode_id"], "length": len(episode)})
        counts["masked_actions"] += int((~unified.mask_action.any(axis=1)).sum())
    counts["numbers_without_slot"] += len(left_out)
    write_lines(folder / "episodes.jsonl", lines)
    text = json.dumps(_meta(sorted(left_out)), indent=4, ensure_ascii=False)
    (folder / "unified_meta.json").write_text(text + "\n", encoding="utf-8")


def _named(features: Mapping[str, Feature]) -> set[str]:
    """Every number of state and action, as `<column>.<name>`."""
    return {
        f"{column}.{name}"
        for side in ("state", "action")
        for column, feature in side_features(features, side=side).items()
        for name in feature.names or ()
    }


def _table(frame_index: np.ndarray, unified: Unified) -> pa.Table:
    columns: dict[str, pa.Array[Any]] = {"frame_index": pa.array(frame_index, pa.int64())}
    for name, values, kind in (
        ("state_unified", unified.state, pa.float32()),
        ("action_unified", unified.action, pa.float32()),
        ("mask_state", unified.mask_state, pa.bool_()),
        ("mask_action", unified.mask_action, pa.bool_()),
    ):
        offsets = np.arange(len(values) + 1, dtype=np.int32) * UNIFIED_DIM
        flat = pa.array(values.reshape(-1), kind)
        columns[name] = cast("Any", pa.ListArray).from_arrays(pa.array(offsets), flat)
    return pa.table(columns)  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)


def _meta(left_out: list[str]) -> dict[str, Any]:
    return {
        "description": "Unified state/action representation metadata",
        "unified_dim": UNIFIED_DIM,
        "target_types": {
            "joint_state": "abs_joint",
            "eef_state": "abs_quat",
            "joint_action": "abs_joint",
            "eef_action": "abs_quat",
        },
        "slot_layout": {
            name: {"start": first, "end": last, "dim": last - first}
            for name, (first, last) in SLOTS.items()
        },
        "columns": {
            "frame_index": "int64, original frame index from the dataset",
            "state_unified": f"list<float32>[{UNIFIED_DIM}], unified state vector",
            "action_unified": f"list<float32>[{UNIFIED_DIM}], unified action vector",
            "mask_state": f"list<bool>[{UNIFIED_DIM}], True where state has valid data",
            "mask_action": f"list<bool>[{UNIFIED_DIM}], True where action has valid data",
        },
        "without_slot": left_out,
    }
