"""Driving many episodes at once: a bounded number under way, results kept on disk until the end.

Results end in any order; `Spool` holds them, encoded, in an unnamed file, so a run over a hundred
thousand episodes needs the memory of a few. After a failure no more episodes are begun, but what
is under way ends first, because its calls are paid for.
"""

from __future__ import annotations

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["Spool", "for_each", "run_async"]

_T = TypeVar("_T")


async def for_each(
    items: Iterable[_T], work: Callable[[_T], Awaitable[None]], *, ahead: int
) -> None:
    """Do the work of every item, `ahead` of them at once.

    The first failure ends the taking of more items; what is under way ends first, because its
    calls are paid for.

    Raises:
        Exception: The first failure.
    """
    room = asyncio.Semaphore(ahead)
    failures: list[Exception] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one(item: _T) -> None:
        try:
            await work(item)
        except Exception as error:  # noqa: BLE001, RUF100  (raised again below)
            failures.append(error)
        finally:
            room.release()

    try:
        for item in items:
            await room.acquire()
            if failures:
                break
            task = asyncio.create_task(one(item))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        while tasks:
            await asyncio.wait(set(tasks))
    finally:
        left = list(tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    if failures:
        raise failures[0]


def run_async(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end, also inside a notebook, whose own loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


class Spool(Generic[_T]):
    """Results by name, in a file without a name that the system forgets with the process.

    Args:
        folder: Where the file lies; made where it is missing.
        kind: Type of the results, a msgspec struct.
    """

    def __init__(self, folder: Path, kind: type[_T]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by `__exit__`)
        self._places: dict[str, tuple[int, int]] = {}
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._end = 0

    def put(self, name: str, result: _T) -> None:
        """Keep a result."""
        data = self._encoder.encode(result)
        self._file.seek(self._end)
        self._file.write(data)
        self._places[name] = (self._end, len(data))
        self._end += len(data)

    def get(self, name: str) -> _T | None:
        """A result, or None where there is none of that name."""
        place = self._places.get(name)
        if place is None:
            return None
        self._file.seek(place[0])
        return self._decoder.decode(self._file.read(place[1]))

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
