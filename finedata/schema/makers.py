"""The one maker of an annotation's row, whoever speaks: source, teacher, motion or person.

A row has every column of its table and its name from `finedata.schema.identity`; what differs
between speakers is the provenance, which is made first and given to each maker. A row is made
once; what changes it afterwards is `revised`, which keeps its name. Rows are plain dictionaries;
the annotator of motion, which makes a million of them, fills columns instead and takes ids and
provenance from the same places (a test holds its rows against these makers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from finedata.errors import ConformError
from finedata.schema.identity import fact_id, instruction_id, step_id, trace_id
from finedata.schema.tables.annotation import FACTS, INSTRUCTIONS, STEPS, TRACES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "make_fact",
    "make_instruction",
    "make_step",
    "make_trace",
    "provenance",
    "revised",
]

Origin = Literal["source", "kinematic", "teacher", "human", "assembled"]

_REVISED = {table.name: table for table in (STEPS, FACTS, TRACES, INSTRUCTIONS)}


def provenance(
    origin: Origin,
    *,
    annotator: str,
    run_id: str,
    prompt_sha256: str | None = None,
    call_id: str | None = None,
) -> dict[str, Any]:
    """Say who speaks: block P of a row that nobody has reviewed yet.

    Args:
        origin: Which kind of speaker.
        annotator: Model, person or rule.
        run_id: hash16 of the settings of the run; of a row that a person adds, the run that it
            is added to, because readers take an episode's rows from one run.
        prompt_sha256: Of a teacher's prompt.
        call_id: Of a teacher's call.
    """
    return {
        "origin": origin,
        "annotator": annotator,
        "run_id": run_id,
        "prompt_sha256": prompt_sha256,
        "call_id": call_id,
        "revision": 0,
        "review_status": "unreviewed",
    }


def make_step(
    said_by: Mapping[str, Any],
    *,
    episode_id: str,
    place: int,
    start_frame: int,
    end_frame: int,
    fps: float,
    text: str,
    kind: str,
    language: str,
    step_index: int | None = None,
    text_original: str | None = None,
    arm: str | None = None,
    primitive_action: str | None = None,
    object: str | None = None,
    problem: str | None = None,
    reworded: str | None = None,
) -> dict[str, Any]:
    """A row of `steps`.

    Args:
        said_by: Its provenance.
        episode_id: The episode.
        place: How many steps the run had made of the episode before; the name comes from it.
        start_frame: First frame.
        end_frame: One past the last.
        fps: Frames a second of the episode's part; times are frame / fps, in seconds.
        text: What happens.
        kind: One of `enums.STEP_KINDS`.
        language: BCP-47 tag of the text.
        step_index: Where it stands among the run's steps; its place by default.
        text_original: As the source wrote it.
        arm: Which arm acts.
        primitive_action: Verb.
        object: What is acted on.
        problem: The source's error.
        reworded: Why the text is not the teacher's own.
    """
    return {
        "step_id": step_id(episode_id, said_by["run_id"], place=place),
        "episode_id": episode_id,
        "step_index": place if step_index is None else step_index,
        **_span(start_frame, end_frame, fps),
        "text": text,
        "text_original": text_original,
        "language": language,
        "kind": kind,
        "arm": arm,
        "primitive_action": primitive_action,
        "object": object,
        "problem": problem,
        "reworded": reworded,
        "merged_into": None,
        **said_by,
    }


def make_fact(
    said_by: Mapping[str, Any],
    *,
    episode_id: str,
    dimension: str,
    slot: str,
    value: str,
    text: str,
    anchor: str,
    start_frame: int,
    end_frame: int,
    fps: float,
    step: Mapping[str, Any] | None = None,
    next_step: Mapping[str, Any] | None = None,
    value_number: float | None = None,
    unit: str | None = None,
    object: str | None = None,
    actor: str | None = None,
    confidence: float | None = None,
    more: Mapping[str, Any] | None = None,
    nth: int = 0,
) -> dict[str, Any]:
    """A row of `facts`, not yet judged: `kinematic_verdict` is `untestable`.

    Args:
        said_by: Its provenance.
        episode_id: The episode.
        dimension: One of the ten.
        slot: One of the dimension's.
        value: In words.
        text: A sentence that stands for itself.
        anchor: One of `enums.ANCHORS`.
        start_frame: First frame that it is about.
        end_frame: One past the last.
        fps: Frames a second of the episode's part.
        step: Row of its step, for the anchors `step` and `between`.
        next_step: Row of the other step, for `between`.
        value_number: The value as a number.
        unit: Of the number.
        object: What it is about.
        actor: Which arm it is about.
        confidence: Of the speaker, 0 to 1.
        more: Columns that teachers are asked for (`Column.asked`); null where it has none.
        nth: See `identity.fact_id`.
    """
    name = fact_id(
        episode_id,
        said_by["run_id"],
        dimension=dimension,
        slot=slot,
        anchor=anchor,
        object=object,
        step=None if step is None else step["step_id"],
        next_step=None if next_step is None else next_step["step_id"],
        nth=nth,
    )
    return {
        "fact_id": name,
        "episode_id": episode_id,
        "dimension": dimension,
        "slot": slot,
        "value": value,
        "value_number": value_number,
        "unit": unit,
        "object": object,
        "actor": actor,
        "text": text,
        "anchor": anchor,
        "step_id": None if step is None else step["step_id"],
        "step_index": None if step is None else step["step_index"],
        "next_step_id": None if next_step is None else next_step["step_id"],
        "next_step_index": None if next_step is None else next_step["step_index"],
        **_span(start_frame, end_frame, fps),
        "kinematic_verdict": "untestable",
        "measurement": None,
        "confidence": confidence,
        **{column.name: (more or {}).get(column.name) for column in FACTS.columns if column.asked},
        **said_by,
    }


def make_instruction(
    said_by: Mapping[str, Any],
    *,
    episode_id: str,
    kind: str,
    order: int,
    text: str,
    language: str,
    is_primary: bool = False,
    text_original: str | None = None,
    steps: Sequence[str] | None = None,
    fact_ids: Sequence[str] | None = None,
) -> dict[str, Any]:
    """A row of `instructions`.

    Args:
        said_by: Its provenance.
        episode_id: The episode.
        kind: One of `enums.INSTRUCTION_KINDS`.
        order: How many of its kind the run had made of the episode before.
        text: The wording, never empty.
        language: BCP-47 tag of the text.
        is_primary: Whether it is the episode's one goal.
        text_original: As the source wrote it.
        steps: Its steps, where it has such.
        fact_ids: Facts that it is assembled from.
    """
    return {
        "instruction_id": instruction_id(episode_id, said_by["run_id"], kind=kind, order=order),
        "episode_id": episode_id,
        "kind": kind,
        "is_primary": is_primary,
        "order": order,
        "text": text,
        "text_original": text_original,
        "language": language,
        "steps": None if steps is None else list(steps),
        "fact_ids": None if fact_ids is None else list(fact_ids),
        **said_by,
    }


def make_trace(
    said_by: Mapping[str, Any],
    *,
    episode_id: str,
    frame_index: int,
    fps: float,
    observation: str,
    situation_analysis: str,
    spatial_reasoning: str,
    task_planning: str,
    logical_steps: Sequence[str],
    sub_action: str,
    raw_text: str,
    cameras: Sequence[str],
) -> dict[str, Any]:
    """A row of `traces`: the reasoning before one frame.

    Args:
        said_by: Its provenance.
        episode_id: The episode.
        frame_index: The frame; a run has one trace of it.
        fps: Frames a second of the episode's part.
        observation: What is seen.
        situation_analysis: What it means for the task.
        spatial_reasoning: Where things are to each other.
        task_planning: What is to be done.
        logical_steps: The plan.
        sub_action: What comes next.
        raw_text: The answer as it came.
        cameras: What was shown.
    """
    return {
        "trace_id": trace_id(episode_id, said_by["run_id"], frame_index=frame_index),
        "episode_id": episode_id,
        "frame_index": frame_index,
        "time_s": frame_index / fps,
        "observation": observation,
        "situation_analysis": situation_analysis,
        "spatial_reasoning": spatial_reasoning,
        "task_planning": task_planning,
        "logical_steps": list(logical_steps),
        "sub_action": sub_action,
        "raw_text": raw_text,
        "cameras": list(cameras),
        **said_by,
    }


def revised(table: str, row: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """The next revision of a row: changed, under the name it was made with.

    Args:
        table: `steps`, `facts`, `traces` or `instructions`.
        row: The newest revision.
        changes: Column to its new value.

    Raises:
        ConformError: The table has no revisions, a column is not one of its own, or it is one that
            names the row (its id, `episode_id`, `run_id`, `revision`).

    Example:
        >>> step = make_step(
        ...     provenance("human", annotator="ada", run_id="0" * 16),
        ...     episode_id="made-1",
        ...     place=0,
        ...     start_frame=0,
        ...     end_frame=9,
        ...     fps=10.0,
        ...     text="Grasp the cup.",
        ...     kind="subtask",
        ...     language="en",
        ... )
        >>> later = revised("steps", step, step_index=1, review_status="edited")
        >>> later["step_id"] == step["step_id"], later["revision"]
        (True, 1)
    """
    declared = _REVISED.get(table)
    if declared is None:
        raise ConformError(
            place=f"table {table!r}", found="no revisions", wanted=f"one of {', '.join(_REVISED)}"
        )
    kept = {*declared.key, "episode_id", "run_id", "revision"}
    for name in changes:
        if name in kept or declared.column(name) is None:
            free = [column.name for column in declared.columns if column.name not in kept]
            raise ConformError(
                place=f"table {table!r}, column {name!r}",
                found="a new value in a revision",
                wanted=f"changes of {', '.join(free)}",
            )
    return {**row, **changes, "revision": row["revision"] + 1}


def _span(start_frame: int, end_frame: int, fps: float) -> dict[str, Any]:
    return {
        "start_frame": start_frame,
        "end_frame": end_frame,
        "start_s": start_frame / fps,
        "end_s": end_frame / fps,
    }
