"""What the ledger of calls tells: a status to print, and the published table `calls`.

The ledger is the record and the Parquet file its copy: it is written whole again each time, so a
call stands in it once, with its last end.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from finedata.store.run.ledger import LEDGER_FOLDER
from finedata.teachers.calls.ledger import CallLedger
from finedata.teachers.calls.record import SELECT_TOTALS
from finedata.teachers.prices import usd_of_nano

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from finedata.teachers.calls.record import CallRecord

__all__ = ["CallsStatus", "StageStatus", "calls_status", "has_calls", "write_calls"]

_BATCH = 20_000


class StageStatus(msgspec.Struct, frozen=True):
    """Calls of one stage, teacher and model.

    Attributes:
        stage: Stage of the pipeline.
        teacher: Name of the teacher.
        model: Model.
        states: State -> number of calls; see `CallRecord.state`.
        attempts: Attempts in all.
        input_tokens: Tokens sent; None where a server did not say.
        output_tokens: Tokens received, the same.
        cost_nano: Exact cost; None where it is not known for all.
    """

    stage: str
    teacher: str
    model: str
    states: dict[str, int]
    attempts: int
    input_tokens: int | None
    output_tokens: int | None
    cost_nano: int | None


class CallsStatus(msgspec.Struct, frozen=True):
    """All calls of a dataset.

    Attributes:
        stages: One entry per stage, teacher and model.
        states: State -> number of calls.
        reasons: Why calls did not end well -> how many, the most frequent first, at most twenty.
        input_tokens: Tokens sent; None where a server did not say.
        output_tokens: Tokens received, the same.
        cost_nano: Exact cost of what is known, in nano-dollars.
        doubts: How often a call was in flight when its process died or was stopped; each may
            have been charged once more than the books say.
        unknown_cost: Calls that were charged at a price or usage nobody knows.
        unsure_nano: What may have been charged besides: calls in doubt and time-outs, at their
            estimates. Counts against a budget.
        reserved_nano: Held back for calls in flight.
    """

    stages: list[StageStatus]
    states: dict[str, int]
    reasons: dict[str, int]
    input_tokens: int | None
    output_tokens: int | None
    cost_nano: int
    doubts: int
    unknown_cost: int
    unsure_nano: int
    reserved_nano: int

    @property
    def cost_usd(self) -> float:
        """`cost_nano` in US dollars."""
        return usd_of_nano(self.cost_nano)


def has_calls(root: Path) -> bool:
    """Whether a teacher was ever asked for this dataset; makes nothing, unlike `CallLedger`."""
    return (root / LEDGER_FOLDER / "calls.sqlite").is_file()


def calls_status(calls: CallLedger) -> CallsStatus:
    """Add up the ledger.

    Raises:
        OutputError: It cannot be read.
    """
    calls.recover()
    stages: dict[tuple[str, str, str], StageStatus] = {}
    states: dict[str, int] = {}
    sums: list[int | None] = [0, 0]
    unknown = 0
    for stage, teacher, model, state, count, attempts, *figures, nulls in calls.select(
        "select stage, teacher, model, state, count(*), sum(attempts), "
        + ", ".join(
            f"case when count({name}) = count(*) then sum({name}) end"
            for name in ("input_tokens", "output_tokens", "cost_nano")
        )
        + ", sum(cost_nano is null) from calls group by stage, teacher, model, state "
        "order by stage, teacher, model, state"
    ):
        known = stages.get((stage, teacher, model)) or StageStatus(
            stage, teacher, model, {}, 0, 0, 0, 0
        )
        stages[stage, teacher, model] = StageStatus(
            stage,
            teacher,
            model,
            {**known.states, state: count},
            known.attempts + attempts,
            _plus(known.input_tokens, figures[0]),
            _plus(known.output_tokens, figures[1]),
            _plus(known.cost_nano, figures[2]),
        )
        states[state] = states.get(state, 0) + count
        sums = [_plus(sums[0], figures[0]), _plus(sums[1], figures[1])]
        unknown += nulls
    [(spent, unsure, reserved)] = calls.select(SELECT_TOTALS)
    [(doubts,)] = calls.select("select coalesce(sum(doubts), 0) from calls")
    reasons = calls.select(
        "select error, count(*) from calls where error is not null "
        "group by error order by 2 desc, 1 limit 20"
    )
    return CallsStatus(
        stages=list(stages.values()),
        states=states,
        reasons=dict(reasons),
        input_tokens=sums[0],
        output_tokens=sums[1],
        cost_nano=spent,
        doubts=doubts,
        unknown_cost=unknown,
        unsure_nano=unsure,
        reserved_nano=reserved,
    )


def write_calls(root: Path, *, calls: CallLedger | None = None) -> Path:
    """Write the table `calls` of a dataset from its ledger.

    Calls in flight are left out; one in doubt is `failed` with that reason.

    Args:
        root: Root of the dataset.
        calls: Its ledger where it is open already.

    Returns:
        The file.

    Raises:
        OutputError: The ledger cannot be read, or the file not written.
    """
    if calls is None:
        with CallLedger(root) as own:
            return write_calls(root, calls=own)
    from finedata.store.tables.table import write_table

    calls.recover()
    return write_table(root, "calls", _tables(calls))


def _tables(calls: CallLedger) -> Iterator[pa.Table]:
    import pyarrow as pa

    from finedata.schema.tables.all import arrow_schema

    rows, schema = _rows(calls), arrow_schema("calls")
    while batch := list(islice(rows, _BATCH)):
        yield pa.Table.from_pylist(batch, schema=schema)


def _rows(calls: CallLedger) -> Iterator[dict[str, Any]]:
    for record in calls.records():
        if record.state not in ("sent", "waiting"):
            yield _row(record)


def _row(record: CallRecord) -> dict[str, Any]:
    ended = record.state in ("ok", "failed", "refused", "budget")
    started = record.started_at_us
    return {
        "call_id": record.call_id,
        "episode_id": record.episode_id,
        "stage": record.stage,
        "teacher": record.teacher,
        "model": record.model,
        "status": record.state if ended else "failed",
        "error": record.error if ended else f"{record.state}: {record.error}",
        "attempts": record.attempts,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "cost_usd": None if record.cost_nano is None else usd_of_nano(record.cost_nano),
        "started_at": None
        if started is None
        else datetime.fromtimestamp(started // 1_000_000, UTC).replace(
            microsecond=started % 1_000_000
        ),
    }


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
