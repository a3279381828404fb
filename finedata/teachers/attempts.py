"""The attempts of one call that the ledger allowed, from the first question to its end.

The call is marked as sent before; every answer that was charged is booked before the next question
leaves, so a kill loses no cent.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from finedata.teachers.calls.record import NO_CHARGE, Charge
from finedata.teachers.prices import Price, cost_nano
from finedata.teachers.protocol import (
    Answer,
    RefusedAnswerError,
    TeacherError,
    TeacherSetupError,
    TemporaryTeacherError,
    UnusableAnswerError,
    Usage,
)
from finedata.teachers.retry import Backoff, wait_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from finedata.teachers.calls.ledger import CallLedger
    from finedata.teachers.calls.writer import CallWriter
    from finedata.teachers.protocol import Request, Teacher

_T = TypeVar("_T")


@dataclass(frozen=True)
class Outcome(Generic[_T]):
    """How one request ended.

    Attributes:
        request: The request.
        status: `ok`, `failed`, `refused` or `budget`, as in the table `calls`.
        value: What `check` made of the answer; None unless `ok`.
        answer: The good answer with its usage; None unless `ok`.
        reason: Why it did not end well; empty for `ok`.
        attempts: How often it was tried in this run.
        charge: What was charged in this run, over all attempts.
        recorded: Whether the ledger knew it, so that nothing was asked.
    """

    request: Request
    status: Literal["ok", "failed", "refused", "budget"]
    value: _T | None = None
    answer: Answer | None = None
    reason: str = ""
    attempts: int = 0
    charge: Charge = NO_CHARGE
    recorded: bool = False


@dataclass(frozen=True)
class Rules:
    """What all calls of a run share.

    Attributes:
        teacher: Who is asked.
        calls: The ledger.
        writer: Its thread.
        backoff: Bounds of attempts and waits.
        timeout_s: Longest time for one attempt.
        seed: Seed of the jitter.
        budget_nano: Cap in nano-dollars, or None.
        turn: Returns when the rate allows to begin an attempt; raises where the run is stopped.
    """

    teacher: Teacher
    calls: CallLedger
    writer: CallWriter
    backoff: Backoff
    timeout_s: float
    seed: int
    budget_nano: int | None
    turn: Callable[[], Awaitable[None]]


class Attempts:
    """One call that is ours.

    Attributes:
        under_way: Whether a question left whose end is not known yet.
    """

    def __init__(
        self, request: Request, rules: Rules, *, price: Price | None, estimate_nano: int
    ) -> None:
        self._request = request
        self._rules = rules
        self._price = price
        self._estimate_nano = estimate_nano
        self._count = 0
        self._charged = NO_CHARGE
        self.under_way = False

    async def run(self, check: Callable[[Request, Answer], _T]) -> Outcome[_T]:
        """Ask until there is a good answer, a bad end, or no attempt left.

        Raises:
            TeacherSetupError: No call can succeed; this one is recorded as failed.
        """
        request = self._request
        while True:
            await self._rules.turn()
            if self._count:
                await self._rules.writer.do(
                    partial(self._rules.calls.resume, self._request.call_id)
                )
            self._count += 1
            self.under_way = True
            try:
                answer = await self._ask(request)
                value = checked(request, answer, check)
            except RefusedAnswerError as error:
                return await self._end_badly("refused", error)
            except (TemporaryTeacherError, UnusableAnswerError) as error:
                wait = self._wait_s(error)
                if wait is None:
                    return await self._end_badly("failed", error)
                if not await self._book(self._charge_of(error)):
                    reason = f"the budget was spent before a usable answer came; the last: {error}"
                    return await self._end("budget", NO_CHARGE, reason=reason)
                self.under_way = False
                if isinstance(error, UnusableAnswerError):
                    request = replace(request, again=request.again + 1)
                await asyncio.sleep(wait)
            except TeacherError as error:
                ended = await self._end_badly("failed", error)
                if isinstance(error, TeacherSetupError):
                    raise
                return ended
            else:
                return await self._end("ok", self._charge(answer.usage), answer=answer, value=value)

    async def _ask(self, request: Request) -> Answer:
        try:
            async with asyncio.timeout(self._rules.timeout_s):
                return await self._rules.teacher.ask(request)
        except TimeoutError as error:
            raise TemporaryTeacherError(
                place=f"teacher {self._rules.teacher.name}",
                found=f"no answer within {self._rules.timeout_s:g} s",
                wanted="an answer",
                maybe_charged=True,
            ) from error

    def _wait_s(self, error: TeacherError) -> float | None:
        asked = error.retry_after_s if isinstance(error, TemporaryTeacherError) else None
        wait = wait_s(
            self._rules.backoff,
            attempt=self._count,
            name=self._request.call_id,
            seed=self._rules.seed,
            retry_after_s=asked,
        )
        # a server that gave a bad answer is not busy: no wait
        return 0.0 if wait is not None and isinstance(error, UnusableAnswerError) else wait

    def _charge_of(self, error: TeacherError) -> Charge:
        if error.usage is not None:
            return self._charge(error.usage)
        unsure = isinstance(error, TemporaryTeacherError) and error.maybe_charged
        return Charge(unsure_nano=self._estimate_nano if unsure else 0)

    def _charge(self, usage: Usage) -> Charge:
        cost = cost_nano(
            self._price, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens
        )
        unsure = self._estimate_nano if cost is None else 0
        return Charge(1, usage.input_tokens, usage.output_tokens, cost, unsure)

    async def _end_badly(
        self, status: Literal["failed", "refused"], error: TeacherError
    ) -> Outcome[Any]:
        return await self._end(status, self._charge_of(error), reason=str(error))

    async def _end(
        self,
        status: Literal["ok", "failed", "refused", "budget"],
        charge: Charge,
        *,
        reason: str = "",
        answer: Answer | None = None,
        value: _T | None = None,
    ) -> Outcome[_T]:
        self._charged = sum_charges(self._charged, charge)
        await self._rules.writer.do(partial(self._settle, status, charge, reason, answer))
        self.under_way = False
        return Outcome(
            self._request,
            status,
            value=value,
            answer=answer,
            reason=reason,
            attempts=self._count,
            charge=self._charged,
        )

    def _settle(
        self,
        status: Literal["ok", "failed", "refused", "budget"],
        charge: Charge,
        reason: str,
        answer: Answer | None,
    ) -> None:
        self._rules.calls.settle(
            self._request.call_id,
            status,
            answer=None if answer is None else answer.text,
            error=reason or None,
            attempts=self._count,
            charge=charge,
        )
        self._learn(charge)

    async def _book(self, charge: Charge) -> bool:
        """Book an attempt that did not end the call; whether the budget allows another."""
        self._charged = sum_charges(self._charged, charge)

        def book() -> bool:
            self._learn(charge)
            return self._rules.calls.charge(
                self._request.call_id, charge, budget_nano=self._rules.budget_nano
            )

        return await self._rules.writer.do(book)

    def _learn(self, charge: Charge) -> None:
        if charge.cost_nano is not None:
            self._rules.calls.learn(
                self._request.model,
                estimate_nano=self._estimate_nano,
                cost_nano=charge.cost_nano,
            )


def checked(request: Request, answer: Answer, check: Callable[[Request, Answer], _T]) -> _T:
    """The value of an answer.

    Raises:
        UnusableAnswerError: It is empty, cannot be stored, or `check` refuses it; its usage is
            the answer's, for it was charged.
    """
    try:
        if not answer.text.strip() or "\0" in answer.text:
            raise UnusableAnswerError(
                place=request.stage, found="an empty text, or one with a NUL", wanted="a text"
            )
        answer.text.encode()
        return check(request, answer)
    except UnicodeEncodeError as error:
        raise UnusableAnswerError(
            place=request.stage, found=f"{error.reason}", wanted="text", usage=answer.usage
        ) from error
    except UnusableAnswerError as error:
        error.usage = error.usage or answer.usage
        raise


def sum_charges(one: Charge, other: Charge) -> Charge:
    """Both together; what is unknown in one is unknown in the sum."""
    return Charge(
        one.answers + other.answers,
        _plus(one.input_tokens, other.input_tokens),
        _plus(one.output_tokens, other.output_tokens),
        _plus(one.cost_nano, other.cost_nano),
        one.unsure_nano + other.unsure_nano,
    )


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
