"""The ledger off the event loop: many small transactions joined into few, by one thread.

A coroutine has the result of its work on a `CallLedger` once the transaction that it was part of
is committed. A commit survives the death of the process; `durable` waits until what is committed
also survives the loss of power, again for many at once.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from finedata.teachers.calls.ledger import CallLedger

_R = TypeVar("_R")
_MOST_IN_ONE = 500  # bounds how long one transaction keeps other processes waiting
_Job = tuple["Callable[[], Any]", "asyncio.Future[Any]"]


class CallWriter:
    """One thread that works on a ledger and one that flushes it; made inside a running loop."""

    def __init__(self, calls: CallLedger) -> None:
        self._calls = calls
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._flush: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run_work, name="finedata-calls", daemon=True),
            threading.Thread(target=self._run_flush, name="finedata-calls-flush", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    async def do(self, work: Callable[[], _R]) -> _R:
        """Run `work` in the ledger's thread; its result comes after the commit.

        `work` must not leave half of its changes when it raises: the others in its transaction
        are committed with them.
        """
        future: asyncio.Future[_R] = self._loop.create_future()
        self._work.put((work, future))
        return await future

    def post(self, work: Callable[[], Any]) -> None:
        """Run `work` in the ledger's thread, in its turn, and wait for nothing."""
        self._work.put((work, self._loop.create_future()))

    async def durable(self) -> None:
        """Return when everything committed until now survives the loss of power."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._flush.put((_nothing, future))
        await future

    async def close(self) -> None:
        """Finish what was handed in, and end the threads."""
        self._work.put(None)
        self._flush.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _run_work(self) -> None:
        while (jobs := _next_jobs(self._work)) is not None:
            results: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
            try:
                with self._calls.transaction():
                    results += [(future, *_outcome(work)) for work, future in jobs]
            except BaseException as error:  # the commit failed: nothing of it is recorded
                results = [(future, None, error) for _, future in jobs]
            self._tell(results)

    def _run_flush(self) -> None:
        wal = self._calls.path.with_name(self._calls.path.name + "-wal")
        while (jobs := _next_jobs(self._flush)) is not None:
            failure: BaseException | None = None
            try:
                for path in (wal, self._calls.path):
                    _sync(str(path))
            except OSError as error:
                failure = error
            self._tell([(future, None, failure) for _, future in jobs])

    def _tell(self, results: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve, results)


def _nothing() -> None:
    return None


def _next_jobs(jobs: queue.SimpleQueue[_Job | None]) -> list[_Job] | None:
    """All that wait, at least one; None when it is over."""
    first = jobs.get()
    if first is None:
        return None
    found = [first]
    while len(found) < _MOST_IN_ONE:
        try:
            job = jobs.get_nowait()
        except queue.Empty:
            break
        if job is None:
            jobs.put(None)  # seen again by the next round
            break
        found.append(job)
    return found


def _outcome(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return work(), None
    except Exception as error:  # handed to the coroutine that asked
        return None, error


def _resolve(results: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for future, result, error in results:
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


def _sync(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return  # no WAL where the file system does not allow one
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
