"""What the language of a source becomes: rows of `instructions` and `steps`, and their tables.

The source itself is the annotator. The rows are made by `finedata.schema.makers`, so the same
conversion anywhere gives the same rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from finedata.schema.conform import conform
from finedata.schema.makers import make_instruction, make_step, provenance
from finedata.schema.tables.all import build_schema, declared_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.schema.language_spec import EpisodeLanguage

__all__ = ["instruction_rows", "instructions_table", "step_rows", "steps_table"]


def instruction_rows(
    episode_id: str, language: EpisodeLanguage, *, run_id: str
) -> list[dict[str, Any]]:
    """Rows of `instructions`: one primary goal, then its alternatives; none without language.

    Args:
        episode_id: Its part before the last `-` is the source, which is the annotator.
        language: What the source says.
        run_id: `hash16` of the settings of the conversion.
    """
    said_by = _source(episode_id, run_id)
    rows: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    for instruction in language.instructions:
        order = counts.get(instruction.kind, 0)
        counts[instruction.kind] = order + 1
        rows.append(
            make_instruction(
                said_by,
                episode_id=episode_id,
                kind=instruction.kind,
                is_primary=instruction.kind == "goal" and order == 0,
                order=order,
                text=instruction.text,
                text_original=instruction.original,
                language=instruction.language,
            )
        )
    return rows


def step_rows(
    episode_id: str, language: EpisodeLanguage, *, fps: float, run_id: str
) -> list[dict[str, Any]]:
    """Rows of `steps`, numbered in the order given.

    Args:
        episode_id: Its part before the last `-` is the source, which is the annotator.
        language: What the source says; ranges may leave the episode, and then say so.
        fps: Frames a second of the episode's part; times are frame / fps, in seconds.
        run_id: `hash16` of the settings of the conversion.
    """
    said_by = _source(episode_id, run_id)
    return [
        make_step(
            said_by,
            episode_id=episode_id,
            place=place,
            start_frame=step.start_frame,
            end_frame=step.end_frame,
            fps=fps,
            text=step.text,
            text_original=step.original,
            language=step.language,
            kind=step.kind,
            arm=step.arm,
            problem=step.problem,
        )
        for place, step in enumerate(language.steps)
    ]


def instructions_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows of `instruction_rows` as the published table.

    Raises:
        ConformError: A row does not conform, e.g. two rows have one id.
    """
    return _table(rows, "instructions")


def steps_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows of `step_rows` as the published table.

    Raises:
        ConformError: A row does not conform, e.g. two rows have one id.
    """
    return _table(rows, "steps")


def _table(rows: Sequence[dict[str, Any]], name: str) -> pa.Table:
    schema = build_schema(declared_table(name))
    return conform(pa.Table.from_pylist(list(rows), schema=schema), name)


def _source(episode_id: str, run_id: str) -> dict[str, Any]:
    return provenance("source", annotator=episode_id.rpartition("-")[0], run_id=run_id)
