"""Many questions to one `Asker`, as no pipeline asks them: the tests and a benchmark drive it so.

Requests come in lazily, outcomes go out as they are ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from finedata.teachers.asker import Asker, AskOptions, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from finedata.teachers.calls.ledger import CallLedger
    from finedata.teachers.prices import Price
    from finedata.teachers.protocol import Answer, Request, Teacher

_T = TypeVar("_T")


async def ask_all(
    requests: AsyncIterable[Request] | Iterable[Request],
    *,
    teacher: Teacher,
    calls: CallLedger,
    check: Callable[[Request, Answer], _T],
    price: Price | None = None,
    **limits: Any,
) -> AsyncGenerator[Outcome[_T]]:
    """Ask many questions; yield one outcome for each request, in the order in which they end.

    Args:
        requests: Taken lazily, at most twice `concurrency` ahead; a plain iterable is advanced in
            a thread of its own, so that it may read and decode.
        teacher: Who is asked.
        calls: Ledger of the dataset.
        check: See `Asker.ask`.
        price: See `Asker`.
        limits: Fields of `AskOptions`.
    """
    options = AskOptions(**limits)
    asker = Asker(teacher=teacher, calls=calls, options=options, price=price)
    async with asker:
        run = _Run(asker, check, ahead=2 * options.concurrency)
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
