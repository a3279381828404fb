"""When one question may be asked, and how it ends: reserved, asked, checked, tried again, settled.

`Asker` is for pipelines whose later questions depend on earlier answers. It never decides on its
own that money may be spent: the ledger does, for all processes alike.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from finedata.errors import UsageError
from finedata.teachers.attempts import Attempts, Outcome, Rules, checked
from finedata.teachers.calls.writer import CallWriter
from finedata.teachers.estimate import upper_bound_nano
from finedata.teachers.prices import Price, nano_of_usd, price_of
from finedata.teachers.protocol import Answer, TeacherError, TeacherSetupError, Usage
from finedata.teachers.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from finedata.teachers.calls.ledger import CallLedger
    from finedata.teachers.calls.record import CallRecord, Claim, Retry
    from finedata.teachers.protocol import Request, Teacher

__all__ = ["AskOptions", "Asker", "Outcome"]

_T = TypeVar("_T")
_FREE = ("local", "replay")
_POLL_S = 0.2  # how often calls of other processes are looked at


@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """Limits of asking, stated here and nowhere else; none of them changes an answer.

    Attributes:
        concurrency: Calls in flight.
        requests_per_minute: Most calls begun in a minute by this process; None: no limit.
        budget_usd: Cap of what all calls of the ledger may cost, those of other processes and
            earlier runs included. No call is begun whose estimate does not fit in.
        input_price_usd: US dollars per million tokens sent; None: the published price.
        output_price_usd: The same for tokens received.
        attempts: How often a call is tried in all: after faults, after a wait; after an answer
            that its check refuses, at once.
        backoff_s: Upper end of the first wait.
        timeout_s: Longest time for one attempt.
        retry: Which calls that ended badly in earlier runs are asked again.
    """

    concurrency: int = 64
    requests_per_minute: float | None = None
    budget_usd: float | None = None
    input_price_usd: float | None = None
    output_price_usd: float | None = None
    attempts: int = 6
    backoff_s: float = 0.5
    timeout_s: float = 300.0
    retry: Retry = "unpaid"

    def price(self, model: str) -> Price | None:
        """The price of a model: the one given, else the published one."""
        return price_of(
            model,
            input_usd_per_million=self.input_price_usd,
            output_usd_per_million=self.output_price_usd,
        )


class Asker:
    """Asks one teacher, within its limits; an async context manager.

    Args:
        teacher: Who is asked.
        calls: Ledger of the dataset.
        options: Limits.
        price: Price of the model; None for the published one.
        seed: Seed of the jitter of the waits.

    Raises:
        UsageError: An option makes no sense.
    """

    def __init__(
        self,
        *,
        teacher: Teacher,
        calls: CallLedger,
        options: AskOptions | None = None,
        price: Price | None = None,
        seed: int = 0,
    ) -> None:
        options = options or AskOptions()
        _check_positive(
            concurrency=options.concurrency,
            requests_per_minute=options.requests_per_minute,
            attempts=options.attempts,
            timeout_s=options.timeout_s,
        )
        self._teacher = teacher
        self._calls = calls
        self._slots = asyncio.Semaphore(options.concurrency)
        rate, budget_usd = options.requests_per_minute, options.budget_usd
        self._interval_s = 60.0 / rate if rate else 0.0
        self._budget_nano = None if budget_usd is None else nano_of_usd(budget_usd)
        self._price = Price(0, 0) if price is None and teacher.name in _FREE else price
        self._backoff = Backoff(attempts=options.attempts, first_s=options.backoff_s)
        self._timeout_s = options.timeout_s
        self._seed = seed
        self._retry: Retry = options.retry
        self._asking: dict[str, asyncio.Event] = {}
        self._settled = asyncio.Event()
        self._probe = asyncio.Lock()
        self._probed = self._budget_nano is None
        self._next_start = 0.0
        self._stopped: TeacherSetupError | None = None
        self._writer: CallWriter | None = None

    async def __aenter__(self) -> Self:
        self._writer = CallWriter(self._calls)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            await self._writer.close()

    def stop(self) -> None:
        """Begin nothing more: no attempt after a wait either."""
        if self._stopped is None:
            self._stopped = TeacherSetupError(
                place=f"teacher {self._teacher.name}", found="a run that was stopped", wanted="none"
            )

    async def ask(self, request: Request, *, check: Callable[[Request, Answer], _T]) -> Outcome[_T]:
        """Ask, or look the answer up; return when the end is recorded durably.

        Args:
            request: The question.
            check: Turns an answer into a value, or raises `UnusableAnswerError`.

        Raises:
            UsageError: A budget without a known price.
            TeacherSetupError: No call can succeed, or the run was stopped.
            OutputError: The ledger cannot be written.
        """
        price = self._price_of(request)
        while (other := self._asking.get(request.call_id)) is not None:
            await other.wait()
        self._asking[request.call_id] = done = asyncio.Event()
        try:
            if self._probed:
                outcome = await self._ask_alone(request, price, check)
            else:
                outcome = await self._ask_first(request, price, check)
        finally:
            del self._asking[request.call_id]
            done.set()
        if not outcome.recorded:
            await self._do.durable()
        return outcome

    @property
    def _do(self) -> CallWriter:
        if self._writer is None:
            raise UsageError(
                place="Asker", found="not entered", wanted="async with Asker(...) as asker:"
            )
        return self._writer

    def _price_of(self, request: Request) -> Price | None:
        price = self._price or price_of(request.model)
        if price is None and self._budget_nano is not None:
            raise UsageError(
                parameter="budget_usd",
                place=f"budget_usd with model {request.model}",
                found="no known price of this model",
                wanted="its price, so that the budget can be kept",
                next_command="add --input-price and --output-price, US dollars per million tokens",
            )
        return price

    async def _ask_first(
        self, request: Request, price: Price | None, check: Callable[[Request, Answer], _T]
    ) -> Outcome[_T]:
        """With a budget, the first answer comes alone: it tells whether estimates are too low."""
        async with self._probe:
            if not self._probed:
                outcome = await self._ask_alone(request, price, check)
                self._probed = outcome.charge.answers > 0
                return outcome
        return await self._ask_alone(request, price, check)

    async def _ask_alone(
        self, request: Request, price: Price | None, check: Callable[[Request, Answer], _T]
    ) -> Outcome[_T]:
        estimate = 0
        if price is not None:
            estimate = upper_bound_nano(request, teacher=self._teacher.name, price=price)
        reopen = False
        while True:
            async with self._slots:
                if self._stopped is not None:
                    raise self._stopped
                call = Attempts(request, self._rules(), price=price, estimate_nano=estimate)
                try:
                    claim = await self._claim(request, estimate, reopen=reopen)
                    if claim.verdict == "ask":
                        return await call.run(check)
                except BaseException:
                    in_doubt = call.under_way
                    self._do.post(partial(self._calls.abandon, request.call_id, in_doubt=in_doubt))
                    raise
                finally:
                    self._settled.set()
            if claim.verdict == "budget":
                return Outcome(request, "budget", reason="the budget is spent")
            if claim.verdict == "recorded" and claim.record is not None:
                outcome = _recorded(request, claim.record, check)
                if outcome.status == "ok" or claim.record.state != "ok" or self._retry != "all":
                    return outcome
                reopen = True
                continue
            # in flight elsewhere, or the money is held back: without a slot meanwhile
            self._settled.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._settled.wait()

    async def _claim(self, request: Request, estimate_nano: int, *, reopen: bool) -> Claim:
        return await self._do.do(
            partial(
                self._calls.reserve,
                request,
                teacher=self._teacher.name,
                estimate_nano=estimate_nano,
                budget_nano=self._budget_nano,
                retry=self._retry,
                reopen=reopen,
            )
        )

    def _rules(self) -> Rules:
        return Rules(
            teacher=self._teacher,
            calls=self._calls,
            writer=self._do,
            backoff=self._backoff,
            timeout_s=self._timeout_s,
            seed=self._seed,
            budget_nano=self._budget_nano,
            turn=self._turn,
        )

    async def _turn(self) -> None:
        """Wait for the next start that the rate allows; starts are spread evenly."""
        if self._stopped is not None:
            raise self._stopped
        if self._interval_s:
            now = asyncio.get_running_loop().time()
            start = max(now, self._next_start)
            self._next_start = start + self._interval_s
            await asyncio.sleep(start - now)


def _recorded(
    request: Request, record: CallRecord, check: Callable[[Request, Answer], _T]
) -> Outcome[_T]:
    """The outcome of a call that the ledger knows to have ended."""
    if record.state == "refused":
        return Outcome(request, "refused", reason=record.error or "", recorded=True)
    if record.state != "ok" or record.answer is None:
        return Outcome(request, "failed", reason=_reason(record), recorded=True)
    answer = Answer(record.answer, Usage(record.input_tokens, record.output_tokens))
    try:
        value = checked(request, answer, check)
    except TeacherError as error:
        reason = f"the recorded answer is no longer accepted: {error}"
        return Outcome(request, "failed", reason=reason, recorded=True)
    return Outcome(request, "ok", value=value, answer=answer, recorded=True)


def _reason(record: CallRecord) -> str:
    if record.state == "in_doubt":
        return f"in doubt {record.doubts} times: {record.error}"
    return record.error or record.state


def _check_positive(**options: float | None) -> None:
    for name, value in options.items():
        if value is not None and not value > 0:
            raise UsageError(place=name, found=f"{value}", wanted="more than zero")
