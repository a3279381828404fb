"""Declarations of a benchmark's tables and a result's: what is asked, came back, and counts.

An answer and a score are two tables because one call answers many questions: its text, cost and
retries stand once, and scoring anew under another rule writes only the small table.
"""

from __future__ import annotations

from finedata.schema import enums
from finedata.schema.columns import Column, Table

_NON_NEGATIVE = (0.0, None)
_SAMPLE_ID = Column("sample_id", "string", "the video; the cluster of every interval")
_DATASET = Column("dataset", "string", "where it came from; the stratum of every interval")
_TRACK = Column("track", "string", "what is asked for", enum=enums.BENCH_TRACKS)
_SETTING = Column("setting", "string", "what is told beforehand", enum=enums.BENCH_SETTINGS)
_TRIAL = Column("trial", "int32", "0, or which repetition it is", range=_NON_NEGATIVE)

BENCH_SAMPLES = Table(
    name="bench_samples",
    meaning="one video of a benchmark",
    file="samples.parquet, in a benchmark",
    key=("sample_id",),
    stored_key=("sample_id",),
    columns=(
        _SAMPLE_ID,
        _DATASET,
        Column("episode_id", "string", "the episode it shows, where known", nullable=True),
        Column("instruction", "list<string>", "the task, or its steps; told in setting `easy`"),
        Column("robot_type", "string", "the robot", nullable=True),
        Column("duration_s", "float64", "length", nullable=True, unit="s", range=_NON_NEGATIVE),
        Column(
            "views",
            "list<struct<name: string, path: string, sha256: string>>",
            "its videos, the main view first",
            fields={
                "name": "name of the view",
                "path": "the file, relative to the benchmark's folder, with `/`",
                "sha256": "digest of the file; null where it was not there when pinned",
            },
        ),
        Column("usable", "bool", "false where its ground truth says that the video is broken"),
    ),
)

BENCH_ITEMS = Table(
    name="bench_items",
    meaning="one thing that is scored: a question, or a ground-truth fact that a caption must hold",
    file="items.parquet, in a benchmark",
    key=("item_id",),
    stored_key=("item_id",),
    columns=(
        Column("item_id", "string", "hash16 of sample, track and name"),
        _SAMPLE_ID,
        _DATASET,
        _TRACK,
        Column("name", "string", "question_id or fact_id in the benchmark's own files"),
        Column("dimension", "string", "one of the ten", enum=enums.FACT_DIMENSIONS),
        Column("slot", "string", "of the dimension", nullable=True, enum=enums.FACT_SLOTS),
        Column("question", "string", "for `vqa`", nullable=True),
        Column("answer_type", "string", "for `vqa`", nullable=True, enum=enums.ANSWER_TYPES),
        Column("options", "list<string>", "for multiple_choice, in the file's order"),
        Column("answer", "string", "the right answer, or the fact's value"),
        Column("fact_text", "string", "for `caption`: the fact as a sentence", nullable=True),
        Column("object", "string", "object it is about", nullable=True),
        Column("error_type", "string", "kind of mistake the question looks for", nullable=True),
        Column("fact_id", "string", "finedata's fact it was made from", nullable=True),
    ),
)

BENCH_ANSWERS = Table(
    name="bench_answers",
    meaning="one call about one video: what was answered, what the judge said, what it cost",
    file="answers.parquet, in a result",
    key=("sample_id", "track", "setting", "trial"),
    stored_key=("sample_id", "track", "setting", "trial"),
    columns=(
        _SAMPLE_ID,
        _DATASET,
        _TRACK,
        _SETTING,
        _TRIAL,
        Column("status", "string", "how the answer ended", enum=enums.CALL_STATUSES),
        Column("response", "string", "the answer as it came; null without one", nullable=True),
        Column("caption", "list<string>", "for `caption`: its steps", nullable=True),
        Column(
            "judge_status", "string", "how the judge ended", nullable=True, enum=enums.CALL_STATUSES
        ),
        Column("judge_text", "string", "the judge's answer as it came", nullable=True),
        Column(
            "hallucinated_actions",
            "list<string>",
            "for `caption`: actions that are in no ground truth",
            nullable=True,
        ),
        Column("error", "string", "the failure in words", nullable=True),
        Column("attempts", "int32", "calls of the answerer", range=_NON_NEGATIVE),
        Column("judge_attempts", "int32", "calls of the judge", range=_NON_NEGATIVE),
        Column("call_id", "string", "see calls; names what was asked", nullable=True),
        Column("judge_call_id", "string", "the judge's call", nullable=True),
        Column("input_tokens", "int64", "sent, both", nullable=True, range=_NON_NEGATIVE),
        Column("output_tokens", "int64", "received, both", nullable=True, range=_NON_NEGATIVE),
        Column("cost_usd", "float64", "what both cost", nullable=True, unit="USD"),
        Column("latency_s", "float64", "of the last answer", nullable=True, unit="s"),
    ),
)

BENCH_RESULTS = Table(
    name="bench_results",
    meaning="one item scored",
    file="results.parquet, in a result",
    key=("item_id", "setting", "trial"),
    stored_key=("item_id", "setting", "trial"),
    columns=(
        Column("item_id", "string", "the item, in bench_items"),
        _SAMPLE_ID,
        _DATASET,
        _TRACK,
        _SETTING,
        _TRIAL,
        Column("dimension", "string", "one of the ten", enum=enums.FACT_DIMENSIONS),
        Column("question", "string", "as asked; null for `caption`", nullable=True),
        Column("answer", "string", "what is right"),
        Column("response", "string", "the part of the answer that is about it", nullable=True),
        Column("parsed", "string", "that part as `strict` understands it", nullable=True),
        Column("parsed_released", "string", "as `released` understands it", nullable=True),
        Column("label", "string", "the judge's, for `caption`", nullable=True, enum=enums.LABELS),
        Column("evidence", "string", "what the judge gave for it", nullable=True),
        Column(
            "score",
            "float64",
            "in `strict`: never null, 0 where nothing was answered",
            range=(0.0, 1.0),
        ),
        Column(
            "score_released",
            "float64",
            "in `released`; null where that scorer leaves the item out",
            nullable=True,
            range=(0.0, 1.0),
        ),
    ),
)
