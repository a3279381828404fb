"""How far the annotation of a dataset is: what is done, what failed and why, what it cost.

Rows are counted by run in the tables of annotations, calls in the ledger. A dataset that was
merged or copied has no ledger; its table `calls` is read then.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from finedata.store.dataset import open_dataset
from finedata.store.summary import Summary
from finedata.teachers.calls.export import calls_status, has_calls
from finedata.teachers.calls.ledger import CallLedger
from finedata.teachers.prices import usd_of_nano

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset

__all__ = ["AnnotateStatus", "RunStatus", "StageCalls", "annotate_status"]

_ACCEPTED = (pl.col("kinematic_verdict") != "contradicted") & (
    pl.col("review_status") != "rejected"
)


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one run in one table."""

    table: str
    run_id: str
    origin: str
    annotator: str
    episodes: int
    rows: int


class StageCalls(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one stage with one model; `None` where a server did not say or no price is known."""

    stage: str
    teacher: str
    model: str
    states: dict[str, int]
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


class AnnotateStatus(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """How far the annotation is.

    Attributes:
        episodes: Episodes of the dataset.
        representatives: Episodes that were chosen to be annotated.
        representatives_done: Of these, those with a fine-grained instruction.
        runs: Rows by table and run; what came with the source is left out.
        verdicts: What the motion says of the teachers' facts.
        accepted_facts: Teachers' facts that neither the motion contradicts nor a person rejected.
        stages: Calls by stage, teacher and model.
        states: State -> calls: `ok`, `failed`, `refused`, `budget`, `in_doubt`, `sent`, `stopped`.
        reasons: Why calls did not end well -> how many, the most frequent first.
        input_tokens: Tokens sent, in all runs.
        output_tokens: Tokens received.
        cost_usd: Exact cost of all calls whose price is known.
        unknown_cost: Calls charged at a price or usage that nobody knows.
        unsure_usd: What may have been charged besides: calls in doubt, at their estimates.
        cost_per_fact_usd: Cost of the stages of facts over accepted facts; None where unknown.
    """

    episodes: int
    representatives: int
    representatives_done: int
    runs: list[RunStatus]
    verdicts: dict[str, int]
    accepted_facts: int
    stages: list[StageCalls]
    states: dict[str, int]
    reasons: dict[str, int]
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float
    unknown_cost: int
    unsure_usd: float
    cost_per_fact_usd: float | None


def annotate_status(root: str | Path) -> AnnotateStatus:
    """How far the annotation of a dataset is.

    Raises:
        UsageError: There is no dataset.
        OutputError: The ledger of calls cannot be read.
    """
    dataset = open_dataset(Path(root))
    teachers = dataset.facts.filter(pl.col("origin") == "teacher")
    verdicts = dict(
        teachers.group_by("kinematic_verdict").agg(pl.len()).sort("kinematic_verdict").collect()
        .iter_rows()
    )  # fmt: skip
    accepted = int(teachers.filter(_ACCEPTED).select(pl.len()).collect().item())
    chosen = set(dataset.representatives.select("episode_id").collect()["episode_id"].to_list())
    fine = dataset.instructions.filter(pl.col("kind") == "fine_grained").select("episode_id")
    annotated = set(fine.collect()["episode_id"].to_list())
    calls = _calls(dataset)
    costs = [stage.cost_usd for stage in calls["stages"] if stage.stage.startswith("facts/")]
    known = [cost for cost in costs if cost is not None]
    per_fact = sum(known) / accepted if accepted and known and len(known) == len(costs) else None
    return AnnotateStatus(
        episodes=sum(part.episodes for part in dataset.parts),
        representatives=len(chosen),
        representatives_done=len(chosen & annotated),
        runs=_runs(dataset),
        verdicts=verdicts,
        accepted_facts=accepted,
        cost_per_fact_usd=per_fact,
        **calls,
    )


def _runs(dataset: Dataset) -> list[RunStatus]:
    names = ("run_id", "origin", "annotator")
    found: list[RunStatus] = []
    for table in ("steps", "facts", "instructions", "traces"):
        rows = (
            dataset.table(table)
            .filter(pl.col("origin") != "source")
            .group_by(names)
            .agg(pl.col("episode_id").n_unique().alias("episodes"), pl.len().alias("rows"))
            .sort(names)
            .collect()
        )
        found += [RunStatus(table=table, **row) for row in rows.iter_rows(named=True)]
    return found


def _calls(dataset: Dataset) -> dict[str, Any]:
    if not has_calls(dataset.root):
        return _calls_of_table(dataset.table("calls").collect())
    with CallLedger(dataset.root) as ledger:
        status = calls_status(ledger)
    stages = [
        StageCalls(
            stage=stage.stage,
            teacher=stage.teacher,
            model=stage.model,
            states=stage.states,
            input_tokens=stage.input_tokens,
            output_tokens=stage.output_tokens,
            cost_usd=None if stage.cost_nano is None else usd_of_nano(stage.cost_nano),
        )
        for stage in status.stages
    ]
    return {
        "stages": stages,
        "states": status.states,
        "reasons": status.reasons,
        "input_tokens": status.input_tokens,
        "output_tokens": status.output_tokens,
        "cost_usd": usd_of_nano(status.cost_nano),
        "unknown_cost": status.unknown_cost,
        "unsure_usd": usd_of_nano(status.unsure_nano),
    }


def _calls_of_table(calls: pl.DataFrame) -> dict[str, Any]:
    """The same from the published table, which a merged dataset has."""
    stages: list[StageCalls] = []
    for key, rows in sorted(calls.partition_by("stage", "teacher", "model", as_dict=True).items()):
        stage, teacher, model = (str(value) for value in key)
        stages.append(
            StageCalls(
                stage=stage,
                teacher=teacher,
                model=model,
                states=_counted(rows["status"]),
                input_tokens=_sum(rows["input_tokens"]),
                output_tokens=_sum(rows["output_tokens"]),
                cost_usd=_sum(rows["cost_usd"]),
            )
        )
    return {
        "stages": stages,
        "states": _counted(calls["status"]),
        "reasons": dict(list(_counted(calls["error"].drop_nulls()).items())[:20]),
        "input_tokens": _sum(calls["input_tokens"]),
        "output_tokens": _sum(calls["output_tokens"]),
        "cost_usd": float(calls["cost_usd"].sum()),
        "unknown_cost": int(calls["cost_usd"].null_count()),
        "unsure_usd": 0.0,
    }


def _counted(values: pl.Series) -> dict[str, int]:
    counts = values.value_counts().rows()
    return dict(sorted(counts, key=lambda item: (-item[1], item[0])))


def _sum(values: pl.Series) -> Any:
    return None if values.null_count() else values.sum()
