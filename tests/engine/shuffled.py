"""An engine for tests, whose tasks finish in any order."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any


class Shuffled:
    """An engine that hands back whatever it likes, and dies after so many tasks."""

    def __init__(self, seed: int, workers: int, dies_after: int = 10**9) -> None:
        self.workers = workers
        self.most_pending = 0
        self._random = random.Random(seed)
        self._left = dies_after
        self._tasks: list[tuple[object, Callable[[Any], Any], object]] = []

    @property
    def pending(self) -> int:
        return len(self._tasks)

    def submit(self, ticket: object, function: Callable[[Any], Any], argument: object) -> None:
        self._tasks.append((ticket, function, argument))
        self.most_pending = max(self.most_pending, self.pending)

    def next_finished(self) -> tuple[object, Any]:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        ticket, function, argument = self._tasks.pop(self._random.randrange(self.pending))
        return ticket, function(argument)
