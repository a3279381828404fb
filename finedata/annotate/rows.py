"""Rows of the published tables from one episode's results: steps, facts, instructions, traces.

A `FactsResult` or `TracesResult`, the run's name and the judge's verdicts come in, dictionaries
with every column of the tables go out. Ids come from episode, run and place alone; no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finedata.annotate.settings import provenance
from finedata.schema.identity import hash16

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.annotate.answers import Fact, Step
    from finedata.annotate.kinematic.claims import Judged
    from finedata.annotate.results import EpisodeContext, FactsResult, StageEnd, TracesResult

__all__ = ["fact_rows", "instruction_row", "judged_rows", "step_rows", "trace_rows"]

# Prompts ask for English; a translation is a later revision.
_LANGUAGE = "en"


def step_rows(
    context: EpisodeContext, result: FactsResult, *, run_id: str, annotator: str
) -> list[dict[str, Any]]:
    """Rows of `steps`; `step_id` is `<episode_id>#<run_id>#<k>`."""
    end = _stage(result, "facts/refine", "facts/steps")
    return [
        {
            "step_id": _step_id(context.episode_id, run_id, index),
            "episode_id": context.episode_id,
            "step_index": index,
            **_span(step.start_frame, step.end_frame, context.fps),
            "text": step.text,
            "text_original": step.text_original,
            "language": _LANGUAGE,
            "kind": "subtask" if context.source_steps else "primitive",
            "arm": step.arm,
            "primitive_action": step.verb,
            "object": step.object,
            "problem": None,
            **_teacher(end, run_id, annotator),
        }
        for index, step in enumerate(result.steps)
    ]


def fact_rows(
    context: EpisodeContext, result: FactsResult, *, run_id: str, annotator: str
) -> list[dict[str, Any]]:
    """Rows of `facts`, not yet judged: `kinematic_verdict` is `untestable`.

    `fact_id` is hash16(`<episode>#<run>#<dimension>#<slot>#<object>#<anchor>#<step>#<next step>`),
    which is unique because duplicates by these are dropped before.
    """
    end = _stage(result, "facts/atoms")
    return [
        {
            "fact_id": _fact_id(context.episode_id, run_id, fact),
            "episode_id": context.episode_id,
            "dimension": fact.dimension,
            "slot": fact.slot,
            "value": fact.value,
            "value_number": fact.number,
            "unit": fact.unit,
            "object": fact.object,
            "actor": fact.actor,
            "text": fact.text,
            "anchor": fact.anchor,
            "step_id": _step_of(context.episode_id, run_id, fact.step),
            "step_index": fact.step,
            "next_step_index": fact.next_step,
            **_span(*_fact_frames(fact, result.steps, context.frames), context.fps),
            "kinematic_verdict": "untestable",
            "measurement": None,
            "confidence": fact.confidence,
            **_teacher(end, run_id, annotator),
        }
        for fact in result.facts
    ]


def judged_rows(rows: Sequence[dict[str, Any]], judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """The same rows of `facts` with the verdicts of the motion."""
    return [
        {
            **row,
            "kinematic_verdict": verdict.verdict,
            "measurement": None if verdict.measurement is None else verdict.measurement.row(),
        }
        for row, verdict in zip(rows, judged, strict=True)
    ]


def instruction_row(
    context: EpisodeContext,
    steps: Sequence[dict[str, Any]],
    facts: Sequence[dict[str, Any]],
    *,
    run_id: str,
    annotator: str,
) -> dict[str, Any]:
    """The fine-grained instruction: "(1) <step> (2) <step> ...", as FineVLA writes it.

    `fact_ids` are the episode's facts that the motion does not contradict.
    """
    texts = [row["text"] for row in steps]
    return {
        "instruction_id": hash16(f"{context.episode_id}#{run_id}#fine_grained#0"),
        "episode_id": context.episode_id,
        "kind": "fine_grained",
        "is_primary": False,
        "order": 0,
        "text": " ".join(f"({number}) {text}" for number, text in enumerate(texts, start=1)),
        "text_original": None,
        "language": _LANGUAGE,
        "steps": texts,
        "fact_ids": [row["fact_id"] for row in facts if row["kinematic_verdict"] != "contradicted"],
        **provenance(
            "assembled", annotator=annotator, run_id=run_id, prompt_sha256=None, call_id=None
        ),
    }


def trace_rows(
    context: EpisodeContext, result: TracesResult, *, run_id: str, annotator: str
) -> list[dict[str, Any]]:
    """Rows of `traces`, of the frames whose call ended well; the others are in `calls`."""
    return [
        {
            "trace_id": hash16(f"{context.episode_id}#{found.frame}#{run_id}"),
            "episode_id": context.episode_id,
            "frame_index": found.frame,
            "time_s": found.frame / context.fps,
            "observation": found.trace.observation,
            "situation_analysis": found.trace.situation_analysis,
            "spatial_reasoning": found.trace.spatial_reasoning,
            "task_planning": found.trace.task_planning,
            "logical_steps": found.trace.logical_steps,
            "sub_action": found.trace.sub_action,
            "raw_text": found.raw_text,
            "cameras": result.cameras,
            **_teacher(found.stage, run_id, annotator),
        }
        for found in result.traces
        if found.trace is not None
    ]


def _stage(result: FactsResult, *names: str) -> StageEnd:
    return next(end for end in result.stages if end.stage in names)


def _teacher(end: StageEnd, run_id: str, annotator: str) -> dict[str, Any]:
    return provenance(
        "teacher",
        annotator=annotator,
        run_id=run_id,
        prompt_sha256=end.prompt_sha256,
        call_id=end.call_id,
    )


def _step_id(episode_id: str, run_id: str, index: int) -> str:
    return f"{episode_id}#{run_id}#{index}"


def _step_of(episode_id: str, run_id: str, index: int | None) -> str | None:
    return None if index is None else _step_id(episode_id, run_id, index)


def _fact_id(episode_id: str, run_id: str, fact: Fact) -> str:
    thing = (fact.object or "").casefold()
    place = f"{fact.anchor}#{_or_empty(fact.step)}#{_or_empty(fact.next_step)}"
    return hash16(f"{episode_id}#{run_id}#{fact.dimension}#{fact.slot}#{thing}#{place}")


def _or_empty(number: int | None) -> str:
    return "" if number is None else str(number)


def _fact_frames(fact: Fact, steps: Sequence[Step], frames: int) -> tuple[int, int]:
    """The frames a fact is about: its step's, from the one step to the next, or an end's."""
    if fact.anchor == "step" and fact.step is not None:
        return steps[fact.step].start_frame, steps[fact.step].end_frame
    if fact.anchor == "between" and fact.step is not None and fact.next_step is not None:
        first, second = steps[fact.step].end_frame, steps[fact.next_step].start_frame
        # of steps that touch or overlap, the moment at which the second begins
        return (first, second) if first < second else (second, min(second + 1, frames))
    if fact.anchor == "episode_start":
        return 0, max(1, steps[0].start_frame)
    if fact.anchor == "episode_end":
        return min(max(step.end_frame for step in steps), frames - 1), frames
    return 0, frames


def _span(start: int, end: int, fps: float) -> dict[str, Any]:
    return {
        "start_frame": start,
        "end_frame": end,
        "start_s": start / fps,
        "end_s": end / fps,
    }
