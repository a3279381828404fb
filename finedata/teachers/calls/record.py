"""The tables of the call ledger in SQLite, and how their rows are read and written.

The running totals are kept by triggers, in the transaction that changes a row, so the budget is
checked against one row however many calls there are, and cannot drift from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "COLUMNS",
    "LAYOUT",
    "NO_CHARGE",
    "SELECT_TOTALS",
    "CallRecord",
    "Charge",
    "Claim",
    "Retry",
]

Retry = Literal["never", "unpaid", "all"]
"""Which calls that ended badly in an earlier run are asked again: none, those that nothing was
charged for, or all of them, with those in doubt twice."""

COLUMNS = (
    "call_id",
    "episode_id",
    "stage",
    "teacher",
    "model",
    "state",
    "error",
    "attempts",
    "charged",
    "input_tokens",
    "output_tokens",
    "cost_nano",
    "unsure_nano",
    "reserved_nano",
    "doubts",
    "started_at_us",
    "owner",
    "answer",
)
"""Columns of the table `calls`, in the order of `CallRecord`."""

SELECT_TOTALS = "select spent_nano, unsure_nano, reserved_nano from purse"
"""What all calls together cost, may have cost and hold back, in nano-dollars: one row.

The table of these totals is called `purse` on the disk of whoever has a ledger. It keeps that name:
an older finedata that opened a ledger without it would make an empty one, and spend the budget
again.
"""

LAYOUT = """
create table if not exists calls (
    call_id text primary key, episode_id text not null, stage text not null, teacher text not null,
    model text not null, state text not null, error text, attempts integer not null default 0,
    charged integer not null default 0, input_tokens integer default 0,
    output_tokens integer default 0, cost_nano integer default 0,
    unsure_nano integer not null default 0, reserved_nano integer not null default 0,
    doubts integer not null default 0, started_at_us integer, owner text, answer text
) without rowid;
create index if not exists calls_in_flight on calls (owner) where state in ('sent', 'waiting');
create table if not exists purse (
    only integer primary key check (only = 1), spent_nano integer not null,
    unsure_nano integer not null, reserved_nano integer not null
);
insert or ignore into purse values (1, 0, 0, 0);
create table if not exists learned (model text primary key, percent integer not null) without rowid;
create trigger if not exists calls_inserted after insert on calls begin
    update purse set spent_nano = spent_nano + coalesce(new.cost_nano, 0),
        unsure_nano = unsure_nano + new.unsure_nano,
        reserved_nano = reserved_nano + new.reserved_nano;
end;
create trigger if not exists calls_updated
after update of cost_nano, unsure_nano, reserved_nano on calls begin
    update purse set
        spent_nano = spent_nano + coalesce(new.cost_nano, 0) - coalesce(old.cost_nano, 0),
        unsure_nano = unsure_nano + new.unsure_nano - old.unsure_nano,
        reserved_nano = reserved_nano + new.reserved_nano - old.reserved_nano;
end;
create trigger if not exists calls_deleted after delete on calls begin
    update purse set spent_nano = spent_nano - coalesce(old.cost_nano, 0),
        unsure_nano = unsure_nano - old.unsure_nano,
        reserved_nano = reserved_nano - old.reserved_nano;
end;
"""


@dataclass(frozen=True)
class CallRecord:
    """One call as the ledger knows it.

    Attributes:
        call_id: See `Request.call_id`.
        episode_id: The least of the episodes that asked it.
        stage: Stage of the pipeline.
        teacher: Name of the teacher.
        model: Model, as the teacher names it.
        state: `sent` (in flight), `waiting` (between two attempts), `in_doubt` (its process died
            while it was in flight), `stopped` (given up while it was not), or how it ended: `ok`,
            `failed`, `refused`, `budget`.
        error: Why it did not end well.
        attempts: How often it was tried, in all runs.
        charged: How many answers to it came and were charged, good or bad.
        input_tokens: Tokens sent, over all charged answers; None where the server does not say.
        output_tokens: Tokens received, the same.
        cost_nano: Exact cost in nano-dollars, over all charged answers; None where unknown.
        unsure_nano: What may have been charged besides and nobody knows, in nano-dollars: calls
            in doubt and time-outs, at their estimate. Counts against a budget.
        reserved_nano: Estimate that is held back while it is in flight.
        doubts: How often a process died, or was stopped, while it was in flight.
        started_at_us: When it was first begun, microseconds since 1970 in UTC.
        owner: Name of the process that asked last.
        answer: Text of the good answer.
    """

    call_id: str
    episode_id: str
    stage: str
    teacher: str
    model: str
    state: str
    error: str | None
    attempts: int
    charged: int
    input_tokens: int | None
    output_tokens: int | None
    cost_nano: int | None
    unsure_nano: int
    reserved_nano: int
    doubts: int
    started_at_us: int | None
    owner: str | None
    answer: str | None

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> CallRecord:
        """One row of `select` over `COLUMNS`."""
        return cls(*row)


@dataclass(frozen=True)
class Charge:
    """What one or more answers to a call cost.

    Attributes:
        answers: How many answers were charged.
        input_tokens: Tokens sent; None where the server does not say.
        output_tokens: Tokens received; None where the server does not say.
        cost_nano: Exact cost in nano-dollars; None where it is not known.
        unsure_nano: What may have been charged besides, at its estimate.
    """

    answers: int = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cost_nano: int | None = 0
    unsure_nano: int = 0


NO_CHARGE = Charge()
"""Nothing was charged: the question did not get through."""


@dataclass(frozen=True)
class Claim:
    """What is to be done with a request.

    Attributes:
        verdict: `ask` (it is ours now, the money is held back), `recorded` (it ended before, see
            `record`), `in_flight` (a live process is at it), `wait` (the money would be enough,
            but is held back for calls in flight), `budget` (the money is not enough).
        record: The call as it stands, where there is one.
    """

    verdict: Literal["ask", "recorded", "in_flight", "wait", "budget"]
    record: CallRecord | None = None
