"""Exports as JSON: instructions for FineVLA, facts for RoboFine-Bench, traces for ReFineVLA.

Small text files in the very form that those projects read. An episode without such an annotation
gets no line, and is counted.

Sources: FineVLA's loader (`lerobot_datasets.py`), RoboFine-Bench (`GT_AtomicFacts.jsonl`),
ReFineVLA (arXiv 2505.19080, appendix B).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from finedata.annotate.export.choose import chosen_rows
from finedata.annotate.trace_text import Trace, trace_text
from finedata.schema.dimension import DIMENSIONS
from finedata.store.atomic import output_errors
from finedata.store.export.episodes import ExportSummary, export_parts, summary_of_parts
from finedata.store.export.starvla import FINE_GRAINED, fine_grained_steps
from finedata.store.export.v21_meta import write_lines
from finedata.store.lerobot.layout import data_file_number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finedata.store.dataset import Dataset

_SHARD = re.compile(r"-(\d+)-of-\d+$")


def export_finevla(dataset: Dataset, *, out: Path, episode_ids: Sequence[str]) -> ExportSummary:
    """`meta/FineGrainedInstruction.jsonl` of each part, to lie in that LeRobot dataset's `meta/`.

    A line is `{"episode_id": <episode_index>, "FineGrainedInstruction": [<step>, ...]}`.
    """
    counts: Counter[str] = Counter()
    steps_of = fine_grained_steps(dataset, episode_ids=episode_ids)
    parts = export_parts(dataset, episode_ids=episode_ids)
    for part in parts:
        lines: list[dict[str, Any]] = []
        for row in part.episodes:
            steps = steps_of.get(row["episode_id"])
            if steps is None:
                counts["episodes_without_fine_grained"] += 1
                continue
            lines.append({"episode_id": row["episode_index"], "FineGrainedInstruction": steps})
        path = out / part.folder / FINE_GRAINED
        path.parent.mkdir(parents=True, exist_ok=True)
        write_lines(path, lines)
        counts["lines"] += len(lines)
    return summary_of_parts(parts, format="finevla", out=out, counts=counts)


def export_robofine(dataset: Dataset, *, out: Path, episode_ids: Sequence[str]) -> ExportSummary:
    """`GT_AtomicFacts.jsonl`, one line an episode, the ten capabilities in canonical order.

    `sample_id` is the episode's id. Facts that a person rejected or the motion contradicts are
    left out: the file is taken for the truth.
    """
    counts: Counter[str] = Counter()
    order = ("start_frame", "step_index", "slot", "fact_id")
    facts_of = chosen_rows(dataset, "facts", episode_ids=episode_ids, order=order)
    lines: list[dict[str, Any]] = []
    parts = export_parts(dataset, episode_ids=episode_ids)
    for row in (row for part in parts for row in part.episodes):
        facts = facts_of.get(row["episode_id"])
        if facts is None:
            counts["episodes_without_facts"] += 1
            continue
        results = [
            {
                "capability": dimension,
                "gt_atomic_facts": [
                    _atomic_fact(fact, number)
                    for number, fact in enumerate(
                        (fact for fact in facts if fact["dimension"] == dimension), start=1
                    )
                ],
            }
            for dimension in DIMENSIONS
        ]
        counts["facts"] += len(facts)
        lines.append(
            {"sample_id": row["episode_id"], "status": "ok", "capability_results": results}
        )
    write_lines(out / "GT_AtomicFacts.jsonl", lines)
    return summary_of_parts(parts, format="robofine", out=out, counts=counts)


def _atomic_fact(fact: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "fact_id": f"{fact['dimension']}_{number}",
        "step_anchor": _step_anchor(fact),
        "object": fact["object"],
        "slot": fact["slot"],
        "value": fact["value"],
        "fact_text": fact["text"],
    }


def _step_anchor(fact: dict[str, Any]) -> str | None:
    """Steps from 1; null for what belongs to none."""
    step, after = fact["step_index"], fact["next_step_index"]
    if fact["anchor"] == "step" and step is not None:
        return f"step_{step + 1}"
    if fact["anchor"] == "between" and step is not None and after is not None:
        return f"between_step_{step + 1}_and_step_{after + 1}"
    return None


def export_refinevla(dataset: Dataset, *, out: Path, episode_ids: Sequence[str]) -> ExportSummary:
    """`reasoning/{file_id}_{episode_id}.json`, each `[{"<t>": "<trace>"}, ...]`.

    `file_id` and `episode_id` are the shard of the source and the record's number in it, as
    ReFineVLA counts them, where the source has shards; else the data file and the episode's number
    in its part, after the part's own number where there are several. `index.jsonl` says which file
    is which `finedata_episode_id`. A frame without a trace has no entry, never an empty one.
    """
    counts: Counter[str] = Counter()
    traces_of = chosen_rows(
        dataset, "traces", episode_ids=episode_ids, order=("frame_index", "trace_id")
    )
    records = _records(dataset, episode_ids)
    parts = export_parts(dataset, episode_ids=episode_ids)
    index: list[dict[str, Any]] = []
    taken: set[str] = set()
    for part_number, part in enumerate(parts):
        for row in part.episodes:
            traces = traces_of.get(row["episode_id"])
            if traces is None:
                counts["episodes_without_traces"] += 1
                continue
            name = records.get(row["episode_id"])
            if name is None or name in taken:
                prefix = f"part{part_number}-" if len(parts) > 1 else ""
                name = f"{prefix}{data_file_number(row)}_{row['episode_index']}"
            taken.add(name)
            entries = [{str(trace["frame_index"]): _text(trace)} for trace in traces]
            path = out / "reasoning" / f"{name}.json"
            with output_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(msgspec.json.encode(entries))
            index.append({"file": path.name, "finedata_episode_id": row["episode_id"]})
            counts["traces"] += len(entries)
            counts["frames_without_traces"] += row["length"] - len(entries)
    write_lines(out / "index.jsonl", index)
    return summary_of_parts(parts, format="refinevla", out=out, counts=counts)


def _text(row: dict[str, Any]) -> str:
    """The trace in one form, from its columns: these are what a person may have edited."""
    names = Trace.__struct_fields__
    return trace_text(Trace(**{name: row[name] for name in names}))


def _records(dataset: Dataset, episode_ids: Sequence[str]) -> dict[str, str]:
    """Shard and record of episodes whose source has numbered shards."""
    receipts = dataset.receipts.filter(pl.col("episode_id").is_in(list(episode_ids)))
    columns = ("episode_id", "source_file", "source_record")
    found: dict[str, str] = {}
    for episode_id, file, record in receipts.select(columns).collect().iter_rows():
        shard = _SHARD.search(file)
        if shard and record is not None:
            found[episode_id] = f"{int(shard[1])}_{record}"
    return found
