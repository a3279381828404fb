"""The call ledger: every question to a teacher, what it cost and what came back, in SQLite.

It tells whether to ask, to wait, or what was answered before. It lies under
`ROOT/.finedata/calls.sqlite` and serves several processes at once: a question is marked `sent`,
and the money for it held back, in one transaction before it leaves, so the budget is a hard cap
and what was in flight when a process died is known. Nothing of a request but its hash is stored.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from finedata.errors import UsageError
from finedata.store.atomic import output_errors
from finedata.store.run.ledger import LEDGER_FOLDER
from finedata.teachers.calls.database import CallDatabase
from finedata.teachers.calls.owner import Owner
from finedata.teachers.calls.record import (
    COLUMNS,
    LAYOUT,
    NO_CHARGE,
    SELECT_TOTALS,
    CallRecord,
    Charge,
    Claim,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from finedata.teachers.calls.record import Retry
    from finedata.teachers.protocol import Request

__all__ = ["CallLedger"]

_MARGIN_PERCENT = 150  # of the most expensive answer so far, once one cost more than its estimate

_SELECT = f"select {', '.join(COLUMNS)} from calls"


class CallLedger:
    """The calls of one dataset; open it once in a process and use it from any thread.

    Args:
        root: Root of the dataset; `.finedata/` is made where it is missing.
        clock: Seconds since 1970, for `started_at`.

    Raises:
        OutputError: It cannot be read or written.
    """

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        home = root / LEDGER_FOLDER
        self.path = home / "calls.sqlite"
        self._clock = clock
        with output_errors(home):
            home.mkdir(parents=True, exist_ok=True)
        self._owner = Owner(home / "calls")
        try:
            self._database = CallDatabase(self.path, layout=LAYOUT)
        except BaseException:
            self._owner.close()
            raise
        # one transaction around several calls of these methods, and rows for status and export
        self.transaction = self._database.transaction
        self.select = self._database.rows
        self.recover()

    def record(self, call_id: str) -> CallRecord | None:
        """One call, or None where it was never asked."""
        found = self.select(f"{_SELECT} where call_id = ?", (call_id,))
        return CallRecord.of_row(found[0]) if found else None

    def records(self) -> Iterator[CallRecord]:
        """All calls in the order of their ids, a thousand in memory at a time."""
        last = ""
        while True:
            rows = self.select(f"{_SELECT} where call_id > ? order by call_id limit 1000", (last,))
            if not rows:
                return
            yield from (CallRecord.of_row(row) for row in rows)
            last = rows[-1][0]

    def reserve(
        self,
        request: Request,
        *,
        teacher: str,
        estimate_nano: int = 0,
        budget_nano: int | None = None,
        retry: Retry = "unpaid",
        reopen: bool = False,
    ) -> Claim:
        """Ask for leave to send a request; given leave, the call is marked `sent`.

        A call that was answered, or ended badly and is not to be tried again, comes back as it
        was recorded. One in doubt is asked again once; in doubt twice, it needs `retry="all"`.

        Args:
            request: What would be sent.
            teacher: Name of the teacher.
            estimate_nano: What it will cost at most, in nano-dollars; it is scaled up where
                calls of this model cost more than their estimates before.
            budget_nano: Cap of all calls of the ledger, of every process and run.
            retry: Which bad ends of earlier runs are tried again.
            reopen: Ask although a good answer is recorded, because it is no longer accepted.
        """
        with self.transaction():
            known = self.record(request.call_id)
            if known is not None and known.state in ("sent", "waiting"):
                if self._is_alive(known.owner):
                    return Claim("in_flight", known)
                self.recover()
                known = self.record(request.call_id)
            if known is not None and request.episode_id < known.episode_id:
                # which of them came first is the clock's, not the data's
                self._database.change(
                    "update calls set episode_id = ? where call_id = ?",
                    (request.episode_id, request.call_id),
                )
            if known is not None and not reopen and not self._is_open(known, retry):
                return Claim("recorded", known)
            estimate = self._scaled(request.model, estimate_nano)
            short = self._shortage(estimate, budget_nano)
            if short == "budget" and known is None:
                self._insert(request, teacher, "budget", 0, "the budget is spent")
            if short is not None:
                return Claim(short, known)
            if known is None:
                self._insert(request, teacher, "sent", estimate, None)
            else:
                self._database.change(
                    "update calls set state = 'sent', error = null, answer = null, owner = ?, "
                    "teacher = ?, reserved_nano = ? where call_id = ?",
                    (self._owner.name, teacher, estimate, request.call_id),
                )
            return Claim("ask", known)

    def charge(
        self, call_id: str, charge: Charge, *, attempts: int = 0, budget_nano: int | None = None
    ) -> bool:
        """Book what a failed attempt cost; the call waits for the next, its money held back.

        `resume` goes before the next attempt.

        Returns:
            Whether the budget allows to ask once more.
        """
        with self.transaction():
            self.settle(call_id, "waiting", charge=charge, attempts=attempts, keep_reserved=True)
            return self._shortage(0, budget_nano) is None

    def resume(self, call_id: str) -> None:
        """Mark a waiting call of ours as sent again."""
        with self.transaction():
            self._database.change(
                "update calls set state = 'sent' "
                "where call_id = ? and state = 'waiting' and owner = ?",
                (call_id, self._owner.name),
            )

    def settle(
        self,
        call_id: str,
        state: Literal["ok", "failed", "refused", "budget", "waiting"],
        *,
        answer: str | None = None,
        error: str | None = None,
        attempts: int = 0,
        charge: Charge = NO_CHARGE,
        keep_reserved: bool = False,
    ) -> None:
        """Record how a call of ours ended, and let go of the money held back for it.

        Raises:
            UsageError: `ok` without an answer, or an answer without `ok`; or the call is not ours.
        """
        if (state == "ok") != bool(answer and answer.strip()):
            raise UsageError(
                place=f"call {call_id}", found=f"state {state}, answer {answer!r:.40}",
                wanted="a text that is not empty with `ok`, and none otherwise",
            )  # fmt: skip
        with self.transaction():
            changed = self._database.change(
                "update calls set state = ?, answer = ?, error = ?, attempts = attempts + ?, "
                "charged = charged + ?, input_tokens = input_tokens + ?, "
                "output_tokens = output_tokens + ?, cost_nano = cost_nano + ?, "
                "unsure_nano = unsure_nano + ?, "
                "reserved_nano = case when ? then reserved_nano else 0 end "
                "where call_id = ? and state in ('sent', 'waiting') and owner = ?",
                (
                    *(state, answer, error, attempts, charge.answers, charge.input_tokens),
                    *(charge.output_tokens, charge.cost_nano, charge.unsure_nano),
                    *(keep_reserved, call_id, self._owner.name),
                ),
            )
        if changed != 1:
            raise UsageError(
                place=f"call {call_id}",
                found="not in flight in this process",
                wanted="a call that `reserve` allowed to ask",
            )

    def learn(self, model: str, *, estimate_nano: int, cost_nano: int) -> None:
        """Remember that an answer cost more than its estimate, which should have been a bound.

        The next estimates are scaled by what was seen and a margin, for one answer does not show
        the most expensive one; what is held back for calls of this model in flight is raised with
        them.
        """
        if not 0 < estimate_nano < cost_nano:
            return
        percent = -(-cost_nano * _MARGIN_PERCENT // estimate_nano)
        with self.transaction():
            found = self.select("select percent from learned where model = ?", (model,))
            before = found[0][0] if found else 100
            if percent > before:
                self._database.change(
                    "insert or replace into learned values (?, ?)", (model, percent)
                )
                self._database.change(
                    "update calls set reserved_nano = reserved_nano * ? / ? "
                    "where model = ? and state in ('sent', 'waiting')",
                    (percent, before, model),
                )

    def abandon(self, call_id: str, *, in_doubt: bool) -> None:
        """Give up a call of ours: it may have been answered (in doubt), or was not under way."""
        with self.transaction():
            mine = ("call_id = ? and owner = ?", (call_id, self._owner.name))
            self._give_up(*mine, in_doubt=in_doubt)

    def recover(self) -> int:
        """Mark what dead processes had in flight as in doubt; how many calls that were."""
        with self.transaction():
            owners = self.select(
                "select distinct owner from calls where state in ('sent', 'waiting')"
            )
            found = 0
            for (owner,) in owners:
                if not self._is_alive(owner):
                    found += self._give_up("owner = ?", (owner,), in_doubt=True)
                    self._owner.forget(owner)
            return found

    def close(self) -> None:
        """Close it; what is still marked as in flight here is in doubt."""
        try:
            with self.transaction():
                self._give_up("owner = ?", (self._owner.name,), in_doubt=True)
        finally:
            self._database.close()
            self._owner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _insert(
        self, request: Request, teacher: str, state: str, reserved: int, error: str | None
    ) -> None:
        self._database.change(
            "insert into calls (call_id, episode_id, stage, teacher, model, state, reserved_nano, "
            "error, started_at_us, owner) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(request.call_id, request.episode_id, request.stage, teacher, request.model),
                *(state, reserved, error, int(self._clock() * 1_000_000), self._owner.name),
            ),
        )

    def _is_open(self, known: CallRecord, retry: Retry) -> bool:
        """Whether a call that is not in flight may be asked (again)."""
        if known.state in ("ok", "sent", "waiting"):
            return False
        if known.state in ("budget", "stopped") or retry == "all":
            return True
        if known.state == "in_doubt":
            return known.doubts < 2
        # within one run a bad end stands
        earlier = known.owner != self._owner.name
        return known.state == "failed" and retry == "unpaid" and earlier and known.charged == 0

    def _is_alive(self, owner: str | None) -> bool:
        return owner is not None and self._owner.is_alive(owner)

    def _scaled(self, model: str, estimate_nano: int) -> int:
        found = self.select("select percent from learned where model = ?", (model,))
        return -(-estimate_nano * found[0][0] // 100) if found else estimate_nano

    def _shortage(
        self, estimate_nano: int, budget_nano: int | None
    ) -> Literal["wait", "budget"] | None:
        if budget_nano is None:
            return None
        [(spent, unsure, reserved)] = self.select(SELECT_TOTALS)
        if spent + unsure + estimate_nano > budget_nano:
            return "budget"
        return "wait" if spent + unsure + reserved + estimate_nano > budget_nano else None

    def _give_up(self, condition: str, values: tuple[Any, ...], *, in_doubt: bool) -> int:
        """End what is in flight under a condition; what waits was not under way in any case."""
        doubtful = (
            "state = 'in_doubt', error = 'its process died or was stopped while it was in flight', "
            "doubts = doubts + 1, attempts = attempts + 1, "
            "unsure_nano = unsure_nano + reserved_nano, reserved_nano = 0"
        )
        stopped = "state = 'stopped', error = 'stopped before it was answered', reserved_nano = 0"
        changes = {"sent": doubtful if in_doubt else stopped, "waiting": stopped}
        return sum(
            self._database.change(
                f"update calls set {change} where state = '{state}' and {condition}", values
            )
            for state, change in changes.items()
        )
