"""Export for StarVLA and FineVLA: LeRobot v2.1 plus `meta/FineGrainedInstruction.jsonl`.

A line, as FineVLA's loader reads it, is
`{"episode_id": <number>, "FineGrainedInstruction": [<step>, ...]}`, and the training text is the
steps joined by one space (FineVLA, `lerobot_datasets.py`). We add `instruction` (the raw goal) and
`finedata_episode_id`, which it ignores.

An episode without a fine-grained instruction gets no line and is counted: that loader would fall
back to the raw goal where the whole file is missing, so a file is always written, empty or not.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import msgspec
import polars as pl

from finedata.store.export.episodes import ExportSummary, export_parts
from finedata.store.export.lerobot_v21 import export_lerobot_v21, export_lerobot_v21_pictures
from finedata.store.export.v21_meta import write_lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finedata.store.dataset import Dataset

__all__ = ["export_starvla", "export_starvla_pictures", "fine_grained_steps"]

FINE_GRAINED = "meta/FineGrainedInstruction.jsonl"


def export_starvla(dataset: Dataset, *, out: Path, episode_ids: Sequence[str]) -> ExportSummary:
    """Write the chosen episodes as LeRobot v2.1 with fine-grained instructions.

    Args:
        dataset: The dataset.
        out: An empty folder; a part is a folder below it where there are several.
        episode_ids: Which episodes.

    Returns:
        What was written; `episodes_without_fine_grained` counts those without a line.

    Raises:
        UsageError: An id is not of this dataset.
        MissingExtraError: Videos need `finedata[video]`.
    """
    summary = export_lerobot_v21(dataset, out=out, episode_ids=episode_ids)
    return _with_instructions(dataset, summary, out=out, episode_ids=episode_ids)


def export_starvla_pictures(
    dataset: Dataset, *, out: Path, episode_ids: Sequence[str]
) -> ExportSummary:
    """The same with pictures as `image` columns, byte for byte."""
    summary = export_lerobot_v21_pictures(dataset, out=out, episode_ids=episode_ids)
    return _with_instructions(dataset, summary, out=out, episode_ids=episode_ids)


def fine_grained_steps(dataset: Dataset, *, episode_ids: Sequence[str]) -> dict[str, list[str]]:
    """The fine-grained instruction of each episode that has one, as its steps.

    The newest revision of each instruction counts, rejected ones do not. Of several, an accepted
    or edited one goes before an unreviewed one, then the lower `order`, then the lower id. One
    without steps is one step.

    Returns:
        Episode id to steps, never empty.
    """
    rows = (
        dataset.instructions.filter(
            (pl.col("kind") == "fine_grained") & pl.col("episode_id").is_in(list(episode_ids))
        )
        .sort("instruction_id", "revision")
        .group_by("instruction_id", maintain_order=True)
        .last()
        .filter(pl.col("review_status") != "rejected")
        .with_columns((pl.col("review_status") == "unreviewed").alias("unreviewed"))
        .sort("episode_id", "unreviewed", "order", "instruction_id")
        .group_by("episode_id", maintain_order=True)
        .first()
        .select("episode_id", "text", "steps")
        .collect()
    )
    found: dict[str, list[str]] = {}
    for episode_id, text, steps in rows.iter_rows():
        said = [step for step in cast("list[str]", steps or []) if step.strip()]
        found[episode_id] = said or [text]
    return found


def _with_instructions(
    dataset: Dataset, summary: ExportSummary, *, out: Path, episode_ids: Sequence[str]
) -> ExportSummary:
    counts = Counter(summary.counts)
    steps_of = fine_grained_steps(dataset, episode_ids=episode_ids)
    for part in export_parts(dataset, episode_ids=episode_ids):
        lines: list[dict[str, Any]] = []
        for number, row in enumerate(part.episodes):
            steps = steps_of.get(row["episode_id"])
            if steps is None:
                counts["episodes_without_fine_grained"] += 1
                continue
            counts["episodes_with_fine_grained"] += 1
            line = {
                "episode_id": number,
                "FineGrainedInstruction": steps,
                "instruction": row["task"],
                "finedata_episode_id": row["episode_id"],
            }
            lines.append(line)
        write_lines(out / part.folder / FINE_GRAINED, lines)
    found = dict(sorted(counts.items()))
    return msgspec.structs.replace(summary, format="starvla", counts=found)
