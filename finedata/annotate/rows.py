"""What a teacher's results become: rows of steps, facts, instructions and traces.

The rows are made by `finedata.schema.makers`; what is decided here is which call each row was
answered by, and which frames a fact is about.
"""

from __future__ import annotations

from itertools import count as count_from
from typing import TYPE_CHECKING, Any

from finedata.kinematic.rows import ANNOTATOR
from finedata.schema.makers import (
    make_fact,
    make_instruction,
    make_step,
    make_trace,
    provenance,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.annotate.asking.answers import Fact, Step
    from finedata.annotate.results import EpisodeContext, FactsResult, StageEnd, TracesResult
    from finedata.kinematic.judge.claims import Judged, Omission

# Prompts ask for English; a translation is a later revision.
_LANGUAGE = "en"
# As the motion's own facts of retries: see `kinematic.fact_kinds`.
_RETRY_CONFIDENCE = 0.9


def step_rows(
    context: EpisodeContext, result: FactsResult, *, run_id: str, annotator: str
) -> list[dict[str, Any]]:
    """Rows of `steps`, in their order."""
    said_by = _teacher(_stage(result, "facts/refine", "facts/steps"), run_id, annotator)
    return [
        make_step(
            said_by,
            episode_id=context.episode_id,
            place=place,
            start_frame=step.start_frame,
            end_frame=step.end_frame,
            fps=context.fps,
            text=step.text,
            text_original=step.text_original,
            language=_LANGUAGE,
            kind="subtask" if context.source_steps else "primitive",
            arm=step.arm,
            primitive_action=step.verb,
            object=step.object,
            reworded=step.reworded,
        )
        for place, step in enumerate(result.steps)
    ]


def fact_rows(
    context: EpisodeContext,
    result: FactsResult,
    steps: Sequence[dict[str, Any]],
    *,
    run_id: str,
    annotator: str,
) -> list[dict[str, Any]]:
    """Rows of `facts`, not yet judged; ids differ as duplicates by their keys are dropped before.

    Args:
        context: The episode.
        result: What the teacher said.
        steps: Its rows of `steps`, in their order.
        run_id: hash16 of the settings of the run.
        annotator: The model.
    """
    said_by = _teacher(_stage(result, "facts/atoms"), run_id, annotator)
    rows: list[dict[str, Any]] = []
    for fact in result.facts:
        start_frame, end_frame = _fact_frames(fact, result.steps, context.frames)
        rows.append(
            make_fact(
                said_by,
                episode_id=context.episode_id,
                dimension=fact.dimension,
                slot=fact.slot,
                value=fact.value,
                value_number=fact.number,
                unit=fact.unit,
                object=fact.object,
                actor=fact.actor,
                text=fact.text,
                anchor=fact.anchor,
                step=None if fact.step is None else steps[fact.step],
                next_step=None if fact.next_step is None else steps[fact.next_step],
                start_frame=start_frame,
                end_frame=end_frame,
                fps=context.fps,
                confidence=fact.confidence,
                more=fact.more,
            )
        )
    return rows


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


def omitted_rows(
    context: EpisodeContext,
    omissions: Sequence[Omission],
    steps: Sequence[dict[str, Any]],
    facts: Sequence[dict[str, Any]],
    *,
    run_id: str,
) -> list[dict[str, Any]]:
    """Rows of `facts` for the retries that no fact of a teacher mentions, said by the motion.

    Args:
        context: The episode.
        omissions: What the teacher's facts leave out.
        steps: The episode's rows of `steps`.
        facts: Its rows of `facts`, whose names are taken.
        run_id: The teacher's run, as readers take an episode's facts from one run.
    """
    said_by = provenance("kinematic", annotator=ANNOTATOR, run_id=run_id)
    taken = {row["fact_id"] for row in facts}
    rows: list[dict[str, Any]] = []
    for omission in omissions:
        if omission.kind != "retry":
            continue
        count = omission.measurement.value
        first, end = omission.start_frame, omission.end_frame
        when = f"between {first / context.fps:.2f} s and {end / context.fps:.2f} s"
        step = _step_over(steps, first, end)
        made = (
            make_fact(
                said_by,
                episode_id=context.episode_id,
                dimension="failure_and_recovery",
                slot="retry",
                value="grasps again",
                value_number=count - 1.0,
                unit="count",
                actor=omission.arm,
                text=f"The {omission.arm} arm makes {count:.0f} attempts to grasp {when}.",
                anchor="episode" if step is None else "step",
                step=step,
                start_frame=first,
                end_frame=end,
                fps=context.fps,
                confidence=_RETRY_CONFIDENCE,
                nth=nth,
            )
            for nth in count_from(0)
        )
        row = next(row for row in made if row["fact_id"] not in taken)
        taken.add(row["fact_id"])
        measured = omission.measurement.row()
        rows.append({**row, "kinematic_verdict": "confirmed", "measurement": measured})
    return rows


def _step_over(steps: Sequence[dict[str, Any]], first: int, end: int) -> dict[str, Any] | None:
    """The step that shares most frames with a range; None where none does."""
    shared = [min(end, row["end_frame"]) - max(first, row["start_frame"]) for row in steps]
    most = max(shared, default=0)
    return steps[shared.index(most)] if most > 0 else None


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
    return make_instruction(
        provenance("assembled", annotator=annotator, run_id=run_id),
        episode_id=context.episode_id,
        kind="fine_grained",
        order=0,
        text=" ".join(f"({number}) {text}" for number, text in enumerate(texts, start=1)),
        language=_LANGUAGE,
        steps=texts,
        fact_ids=[row["fact_id"] for row in facts if row["kinematic_verdict"] != "contradicted"],
    )


def trace_rows(
    context: EpisodeContext, result: TracesResult, *, run_id: str, annotator: str
) -> list[dict[str, Any]]:
    """Rows of `traces`, of the frames whose call ended well; the others are in `calls`."""
    return [
        make_trace(
            _teacher(found.stage, run_id, annotator),
            episode_id=context.episode_id,
            frame_index=found.frame,
            fps=context.fps,
            observation=found.trace.observation,
            situation_analysis=found.trace.situation_analysis,
            spatial_reasoning=found.trace.spatial_reasoning,
            task_planning=found.trace.task_planning,
            logical_steps=found.trace.logical_steps,
            sub_action=found.trace.sub_action,
            raw_text=found.raw_text,
            cameras=result.cameras,
        )
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
