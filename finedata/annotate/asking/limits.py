"""Asking for a run: the teacher, its limits, and what all its calls cost.

What was charged is added up for this run alone, so that a summary can say what it cost, whatever
the ledger held before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from finedata.teachers.asker import Asker, AskOptions, Outcome
from finedata.teachers.prices import usd_of_nano

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from finedata.teachers.calls.ledger import CallLedger
    from finedata.teachers.protocol import Answer, Request, Teacher

__all__ = ["AskOptions", "Asking", "Spent", "charged"]

_T = TypeVar("_T")


class Spent:
    """What the calls of a run came to."""

    def __init__(self) -> None:
        self.calls = 0
        self.recorded = 0
        self.input_tokens: int | None = 0
        self.output_tokens: int | None = 0
        self._cost_nano: int | None = 0

    def add(self, outcome: Outcome[_T]) -> None:
        """Count an outcome."""
        self.recorded += outcome.recorded
        self.calls += outcome.charge.answers
        self.input_tokens = _plus(self.input_tokens, outcome.charge.input_tokens)
        self.output_tokens = _plus(self.output_tokens, outcome.charge.output_tokens)
        self._cost_nano = _plus(self._cost_nano, outcome.charge.cost_nano)

    @property
    def cost_usd(self) -> float | None:
        """The cost, where it is known."""
        return None if self._cost_nano is None else usd_of_nano(self._cost_nano)


class Asking:
    """An `Asker` that counts."""

    def __init__(
        self, teacher: Teacher, calls: CallLedger, model: str, options: AskOptions
    ) -> None:
        self.spent = Spent()
        self.asker = Asker(
            teacher=teacher,
            calls=calls,
            options=options,
            price=options.price(model),
        )

    async def ask(self, request: Request, *, check: Callable[[Request, Answer], _T]) -> Outcome[_T]:
        """Ask one question; see `Asker.ask`."""
        outcome = await self.asker.ask(request, check=check)
        self.spent.add(outcome)
        return outcome


def charged(spent: Spent, *, verdicts: Mapping[str, int]) -> dict[str, Any]:
    """The fields of a summary that say what a run cost.

    Args:
        spent: What the calls came to.
        verdicts: Verdict -> facts written; those not contradicted count as accepted.
    """
    cost = spent.cost_usd
    accepted = sum(count for verdict, count in verdicts.items() if verdict != "contradicted")
    return {
        "calls": spent.calls,
        "recorded": spent.recorded,
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "cost_usd": cost,
        "cost_per_fact_usd": cost / accepted if cost is not None and accepted else None,
    }


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
