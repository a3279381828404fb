"""Declarations of the tables under annotations/: steps to instructions, reviews, calls.

These files are append-only: a changed row is written again with a higher `revision`, and the newest
revision of an id wins. Block P, the provenance that every annotation carries, is written once here.
"""

from __future__ import annotations

from finedata.schema import enums
from finedata.schema.columns import Column, EnumBy, Table
from finedata.schema.dimension import SLOTS

__all__ = ["CALLS", "FACTS", "INSTRUCTIONS", "PROVENANCE", "REVIEWS", "STEPS", "TRACES"]

_NON_NEGATIVE = (0.0, None)

PROVENANCE = (
    Column("origin", "string", "where the row comes from", enum=enums.ORIGINS),
    Column("annotator", "string", "model, person or rule that made it"),
    Column("run_id", "string", "hash16 of the settings of the run"),
    Column("prompt_sha256", "string", "SHA-256 of the prompt", nullable=True),
    Column("call_id", "string", "the call that answered, in `calls`", nullable=True),
    Column("revision", "int32", "0 first; the newest of an id wins", range=_NON_NEGATIVE),
    Column("review_status", "string", "what a person said", enum=enums.REVIEW_STATUSES),
)
"""Block P: the last columns of steps, facts, traces and instructions."""

_EPISODE_ID = Column("episode_id", "string", "the episode")
_LANGUAGE = Column("language", "string", "BCP-47 tag of `text`, or `und`", never_empty=True)
_TEXT_ORIGINAL = Column("text_original", "string", "as the source wrote it", nullable=True)
_SPAN = (
    Column("start_frame", "int32", "first frame, inclusive", unit="frame"),
    Column("end_frame", "int32", "one past the last frame", unit="frame"),
    Column("start_s", "float64", "start_frame / fps", unit="s"),
    Column("end_s", "float64", "end_frame / fps", unit="s"),
)

STEPS = Table(
    name="steps",
    meaning="one stretch of an episode, named in words",
    file="annotations/steps/part-*.parquet",
    key=("step_id",),
    stored_key=("step_id", "revision"),
    columns=(
        Column("step_id", "string", "hash16 of episode, run and first place; never made anew"),
        _EPISODE_ID,
        Column("step_index", "int32", "its place among the run's steps", range=_NON_NEGATIVE),
        *_SPAN,
        Column("text", "string", "what happens"),
        _TEXT_ORIGINAL,
        _LANGUAGE,
        Column("kind", "string", "what sort of stretch it is", enum=enums.STEP_KINDS),
        Column("arm", "string", "which arm acts", nullable=True, enum=enums.ACTORS),
        Column("primitive_action", "string", "verb of the action", nullable=True),
        Column("object", "string", "object that is acted on", nullable=True),
        Column(
            "problem",
            "string",
            "the source's error, kept and never silently repaired",
            nullable=True,
            enum=enums.STEP_PROBLEMS,
        ),
        Column(
            "reworded",
            "string",
            "why `text` is not the teacher's: what that claims and the motion contradicts",
            nullable=True,
        ),
        Column("merged_into", "string", "step_id of the step it became part of", nullable=True),
        *PROVENANCE,
    ),
)

FACTS = Table(
    name="facts",
    meaning="one atomic fact of an episode",
    file="annotations/facts/part-*.parquet",
    key=("fact_id",),
    stored_key=("fact_id", "revision"),
    columns=(
        Column(
            "fact_id",
            "string",
            "hash16 of episode, run, dimension, slot, object, anchor and steps, when made",
        ),
        _EPISODE_ID,
        Column("dimension", "string", "one of the ten", enum=enums.FACT_DIMENSIONS),
        Column(
            "slot",
            "string",
            "what about the dimension",
            enum=enums.FACT_SLOTS,
            enum_by=EnumBy("dimension", SLOTS),
        ),
        Column("value", "string", "the value in words"),
        Column("value_number", "float64", "the value as a number, in `unit`", nullable=True),
        Column("unit", "string", "of value_number", nullable=True, enum=enums.FACT_UNITS),
        Column("object", "string", "object the fact is about", nullable=True),
        Column("actor", "string", "arm the fact is about", nullable=True, enum=enums.ACTORS),
        Column("text", "string", "self-contained sentence, unique per run, dimension and episode"),
        Column("anchor", "string", "what the fact is tied to", enum=enums.ANCHORS),
        Column("step_id", "string", "the step, in `steps`", nullable=True),
        Column("step_index", "int32", "its index", nullable=True, range=_NON_NEGATIVE),
        Column("next_step_id", "string", "for `between`: the other step", nullable=True),
        Column("next_step_index", "int32", "its index", nullable=True, range=_NON_NEGATIVE),
        *_SPAN,
        Column(
            "kinematic_verdict",
            "string",
            "what the recorded motion says about it",
            enum=enums.KINEMATIC_VERDICTS,
        ),
        Column(
            "measurement",
            "struct<name: string, value: float64, unit: string, lower: float64, upper: float64>",
            "what was measured for the verdict",
            nullable=True,
            fields={
                "name": "name of the measurement",
                "value": "measured value",
                "unit": "m, rad, count or s",
                "lower": "lowest value that would confirm",
                "upper": "highest value that would confirm",
            },
        ),
        Column("confidence", "float32", "of the annotator", nullable=True, range=(0.0, 1.0)),
        *PROVENANCE,
    ),
)

TRACES = Table(
    name="traces",
    meaning="the reasoning before one frame, in ReFineVLA's four parts",
    file="annotations/traces/part-*.parquet",
    key=("trace_id",),
    stored_key=("trace_id", "revision"),
    columns=(
        Column("trace_id", "string", "hash16 of episode, frame, run"),
        _EPISODE_ID,
        Column("frame_index", "int32", "frame in the episode", range=_NON_NEGATIVE),
        Column("time_s", "float64", "frame_index / fps", unit="s", range=_NON_NEGATIVE),
        Column("observation", "string", "what is seen", never_empty=True),
        Column("situation_analysis", "string", "what it means for the task", never_empty=True),
        Column("spatial_reasoning", "string", "where things are to each other", never_empty=True),
        Column("task_planning", "string", "what is to be done", never_empty=True),
        Column("logical_steps", "list<string>", "the plan, step by step"),
        Column("sub_action", "string", "what comes next"),
        Column("raw_text", "string", "the answer as it came"),
        Column("cameras", "list<string>", "cameras that were shown"),
        *PROVENANCE,
    ),
)

INSTRUCTIONS = Table(
    name="instructions",
    meaning="one wording of what the robot is to do in an episode",
    file="annotations/instructions/part-*.parquet",
    key=("instruction_id",),
    stored_key=("instruction_id", "revision"),
    columns=(
        Column("instruction_id", "string", "hash16 of episode, run, kind and order, when made"),
        _EPISODE_ID,
        Column("kind", "string", "what sort of wording", enum=enums.INSTRUCTION_KINDS),
        Column("is_primary", "bool", "the one goal of the episode"),
        Column("order", "int32", "order among those of its kind", range=_NON_NEGATIVE),
        Column("text", "string", "the wording", never_empty=True),
        _TEXT_ORIGINAL,
        _LANGUAGE,
        Column("steps", "list<string>", "its steps, where it has such", nullable=True),
        Column("fact_ids", "list<string>", "facts it is assembled from", nullable=True),
        *PROVENANCE,
    ),
)

REVIEWS = Table(
    name="reviews",
    meaning="one decision of one person about one revision of one row",
    file="annotations/reviews/part-*.parquet",
    key=("review_id",),
    stored_key=("review_id",),
    columns=(
        Column("review_id", "string", "unique name of the decision"),
        Column("target_table", "string", "table of the reviewed row"),
        Column("target_id", "string", "id of the reviewed row"),
        Column("target_revision", "int32", "revision that was seen", range=_NON_NEGATIVE),
        Column("decision", "string", "the decision", enum=enums.DECISIONS),
        Column("before", "string", "the row before, as JSON", nullable=True),
        Column("after", "string", "the row or rows after, as JSON", nullable=True),
        Column("reviewer", "string", "who decided", never_empty=True),
        Column("decided_at", "timestamp[us, UTC]", "when"),
        Column(
            "seconds",
            "float32",
            "time it took",
            nullable=True,
            unit="s",
            range=_NON_NEGATIVE,
        ),
        Column("blind", "bool", "the reviewer did not see earlier verdicts"),
    ),
)

CALLS = Table(
    name="calls",
    meaning="one call to a teacher; failures are here, never in facts or traces",
    file="annotations/calls/part-*.parquet",
    key=("call_id",),
    stored_key=("call_id",),
    columns=(
        Column("call_id", "string", "SHA-256 of prompt, frames, model and settings"),
        _EPISODE_ID,
        Column("stage", "string", "stage of the pipeline"),
        Column("teacher", "string", "name of the teacher in the settings"),
        Column("model", "string", "model, as the teacher names it"),
        Column("status", "string", "how it ended", enum=enums.CALL_STATUSES),
        Column("error", "string", "the failure in words", nullable=True),
        Column("attempts", "int32", "how often it was tried", range=_NON_NEGATIVE),
        Column("input_tokens", "int64", "tokens sent", nullable=True, range=_NON_NEGATIVE),
        Column("output_tokens", "int64", "tokens received", nullable=True, range=_NON_NEGATIVE),
        Column("cost_usd", "float64", "what it cost", nullable=True, unit="USD"),
        Column("started_at", "timestamp[us, UTC]", "when it began", nullable=True),
    ),
)
