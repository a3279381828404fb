"""Work on this machine's processes; results are taken as they finish.

A task is a function at the top of a module and its argument. One worker means this very process:
no other one is started, which is the way to debug. Workers are spawned, not forked, so that a
caller with threads is safe, and they end when their parent does, however it ended.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_process
from typing import TYPE_CHECKING, Any

from finedata.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = ["LocalEngine", "available_cores"]

# glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 256 << 20


def available_cores() -> int:
    """Cores that this process may use, where the system says; else all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # pragma: no cover  (macOS)


class LocalEngine:
    """A few worker processes and the tasks they have not finished.

    Args:
        workers: Processes; 1 runs every task in the calling process when it is waited for.
    """

    def __init__(self, *, workers: int) -> None:
        self.workers = max(1, workers)
        self._waiting: deque[tuple[object, Callable[[Any], Any], object]] = deque()
        self._running: dict[Future[Any], object] = {}
        self._pool: ProcessPoolExecutor | None = None
        if self.workers > 1:
            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin_worker,
            )

    def begin(self, module: str) -> None:
        """Start the workers now, and let them import a module while the caller plans.

        A worker that starts with its first task imports for half a second while nobody works.
        """
        if self._pool is not None:
            for _ in range(self.workers):
                self._pool.submit(_load, module)

    @property
    def pending(self) -> int:
        """Tasks submitted and not yet handed back."""
        return len(self._waiting) + len(self._running)

    def submit(self, ticket: object, function: Callable[[Any], Any], argument: object) -> None:
        """Queue `function(argument)`; its result comes back beside `ticket`."""
        if self._pool is None:
            self._waiting.append((ticket, function, argument))
        else:
            self._running[self._pool.submit(function, argument)] = ticket

    def next_finished(self) -> tuple[object, Any]:
        """Wait for a task to finish: its ticket and its result.

        Raises:
            OutputError: A worker process died (out of memory, killed).
            Exception: Whatever the function raised.
        """
        if self._pool is None:
            ticket, function, argument = self._waiting.popleft()
            return ticket, function(argument)
        done = wait(self._running, return_when=FIRST_COMPLETED).done
        future = min(done, key=lambda item: str(self._running[item]))
        ticket = self._running.pop(future)
        try:
            return ticket, future.result()
        except BrokenProcessPool as error:
            raise OutputError(
                place="a worker process",
                found="its sudden end (killed, or out of memory)",
                wanted="its result",
                next_command="run the same command again, with fewer workers if memory "
                "was short: it continues where it stopped",
            ) from error

    def close(self) -> None:
        """Drop what has not begun and end the workers."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _load(module: str) -> None:
    importlib.import_module(module)


def _begin_worker() -> None:
    """In a new worker, before anything heavy is imported."""
    # An interrupt reaches the whole terminal group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # One worker is one core's work: libraries that start threads of their own only contend.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    _keep_freed_memory()
    _end_with_parent()


def _keep_freed_memory() -> None:
    """Let the allocator keep what an episode freed for the next one.

    By default every buffer of some megabytes goes back to the system and comes again as fresh
    pages, which must be found and zeroed: a third of a worker's time when it copies pictures.
    Memory stays bounded by the largest episode. glibc only; elsewhere nothing happens.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # pragma: no cover  (not glibc)
        return
    mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _end_with_parent() -> None:
    """In a worker: watch the parent, and end at once when it is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:  # pragma: no cover  (not a worker)
        return

    def watch() -> None:
        wait_for_process([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
