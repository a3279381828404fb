"""How long answers took, kept beside the ledger so that a resumed run knows it too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from finedata.store.atomic import output_errors

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.teachers.protocol import Answer, Request, Teacher


class Latencies:
    """Seconds by call: a line each.

    Args:
        path: The file; its folder is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds: dict[str, float] = {}
        if path.exists():
            for line in path.read_bytes().splitlines():
                try:
                    call_id, seconds = msgspec.json.decode(line, type=tuple[str, float])
                except msgspec.DecodeError:
                    continue  # a line that a killed process did not end
                self._seconds[call_id] = seconds

    def put(self, call_id: str, seconds: float) -> None:
        """Keep what an answer took."""
        self._seconds[call_id] = round(seconds, 3)
        with output_errors(self._path), self._path.open("ab") as file:
            file.write(b"\n" + msgspec.json.encode((call_id, self._seconds[call_id])))

    def of(self, call_id: str | None) -> float | None:
        """Seconds of the last answer; None where it was not met."""
        return None if call_id is None else self._seconds.get(call_id)


class TimedTeacher:
    """A teacher whose answers are timed."""

    def __init__(self, teacher: Teacher, latency: Latencies) -> None:
        self.name = teacher.name
        self._teacher = teacher
        self._latency = latency

    async def ask(self, request: Request) -> Answer:
        """See `Teacher.ask`."""
        started = time.monotonic()
        answer = await self._teacher.ask(request)
        self._latency.put(request.call_id, time.monotonic() - started)
        return answer

    async def close(self) -> None:
        """See `Teacher.close`."""
        await self._teacher.close()
