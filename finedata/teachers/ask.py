"""The scheduler: many requests to one teacher, each asked and paid for once, within a budget.

Requests come in lazily, outcomes go out as they are ready. In between: a bounded number in flight,
a rate, waits between attempts, the check of every answer, and the ledger. A slot is held from the
moment a call is marked as sent until its end is recorded, so a killed process leaves at most
`concurrency` calls in doubt; an outcome is given out when the ledger would survive a power cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING, Generic, TypeVar

from finedata.teachers.asker import Asker, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from finedata.teachers.call_record import Retry
    from finedata.teachers.calls import CallLedger
    from finedata.teachers.prices import Price
    from finedata.teachers.protocol import Answer, Request, Teacher

__all__ = ["Asker", "Outcome", "ask_all"]

_T = TypeVar("_T")


async def ask_all(
    requests: AsyncIterable[Request] | Iterable[Request],
    *,
    teacher: Teacher,
    calls: CallLedger,
    check: Callable[[Request, Answer], _T],
    concurrency: int = 64,
    requests_per_minute: float | None = None,
    budget_usd: float | None = None,
    price: Price | None = None,
    attempts: int = 6,
    backoff_s: float = 0.5,
    timeout_s: float = 300.0,
    seed: int = 0,
    retry: Retry = "unpaid",
) -> AsyncGenerator[Outcome[_T]]:
    """Ask many questions; yield one outcome for each request, in the order in which they end.

    Args:
        requests: Taken lazily, at most twice `concurrency` ahead; a plain iterable is advanced in
            a thread of its own, so that it may read and decode.
        teacher: Who is asked.
        calls: Ledger of the dataset.
        check: Turns an answer into a value, or raises `UnusableAnswerError`; then it is asked
            again. An answer is recorded as good only after this.
        concurrency: Calls in flight.
        requests_per_minute: Most calls begun in a minute by this process; None for no limit.
        budget_usd: Cap of what all calls of the ledger may cost, those of other processes and
            earlier runs included. No call is begun whose estimate does not fit in.
        price: Price of the model; None for the published one.
        attempts: How often a call is tried in all: after faults, after a wait; after an answer
            that `check` refuses, at once.
        backoff_s: Upper end of the first wait.
        timeout_s: Longest time for one attempt.
        seed: Seed of the jitter.
        retry: Which calls that ended badly in earlier runs are asked again.

    Yields:
        One `Outcome` per request; bad ends are outcomes, not exceptions. Close the generator
        (`contextlib.aclosing`) when leaving early: calls under way are then in doubt.

    Raises:
        UsageError: A budget without a known price, or an option that makes no sense.
        TeacherSetupError: A wrong key or an unknown model; raised after the calls under way.
        OutputError: The ledger cannot be written.
    """
    asker = Asker(
        teacher=teacher,
        calls=calls,
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        budget_usd=budget_usd,
        price=price,
        attempts=attempts,
        backoff_s=backoff_s,
        timeout_s=timeout_s,
        seed=seed,
        retry=retry,
    )
    async with asker:
        run = _Run(asker, check, ahead=2 * concurrency)
        feeder = asyncio.create_task(run.feed(requests))
        try:
            while (outcome := await run.outcomes.get()) is not None:
                run.took_one()
                yield outcome
            if run.failure is not None:
                raise run.failure
        finally:
            tasks = [feeder, *run.tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Run(Generic[_T]):
    """Tasks between the requests and the outcomes; the first failure ends the taking of more."""

    def __init__(self, asker: Asker, check: Callable[[Request, Answer], _T], *, ahead: int) -> None:
        self._asker = asker
        self._check = check
        self._room = asyncio.Semaphore(ahead)
        self.outcomes: asyncio.Queue[Outcome[_T] | None] = asyncio.Queue()
        self.tasks: set[asyncio.Task[None]] = set()
        self.failure: Exception | None = None

    async def feed(self, requests: AsyncIterable[Request] | Iterable[Request]) -> None:
        """Begin a task per request while there is room; put None when all have ended."""
        try:
            async with aclosing(_lazily(requests)) as lazily:
                async for request in lazily:
                    await self._room.acquire()
                    if self.failure is not None:
                        break
                    task = asyncio.create_task(self._one(request))
                    self.tasks.add(task)
                    task.add_done_callback(self.tasks.discard)
        except Exception as error:
            self.failure = self.failure or error
        while self.tasks:
            await asyncio.wait(set(self.tasks))
        self.outcomes.put_nowait(None)

    async def _one(self, request: Request) -> None:
        try:
            outcome = await self._asker.ask(request, check=self._check)
        except Exception as error:
            self.failure = self.failure or error
            self._asker.stop()
            self._room.release()
        else:
            self.outcomes.put_nowait(outcome)

    def took_one(self) -> None:
        """An outcome was taken: only now is its place free, so a slow reader slows the asking."""
        self._room.release()


async def _lazily(
    requests: AsyncIterable[Request] | Iterable[Request],
) -> AsyncGenerator[Request]:
    """The requests one by one, their ids already computed (pictures are hashed for that)."""
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
        return
    iterator = iter(requests)

    def advance() -> Request | None:
        request = next(iterator, None)
        if request is not None:
            _ = request.call_id
        return request

    # one thread for all steps: a generator may hold things that belong to its thread
    with ThreadPoolExecutor(1, thread_name_prefix="finedata-requests") as thread:
        loop = asyncio.get_running_loop()
        while (request := await loop.run_in_executor(thread, advance)) is not None:
            yield request
