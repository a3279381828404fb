"""Plan, work, keep: the one orchestrator of runs, whole or shared by many processes.

`run_plan` is for a run whose jobs come out of a plan that is itself work; `run_jobs` for one whose
jobs are known, or read, here. Both hand tasks to an engine in the same bounds.

A run is planned unit by unit, in order; a plan that is there makes jobs possible; a job that is
finished is kept at once, so that a killed run goes on. How far planning runs ahead, and how many
jobs are in flight, is decided here and nowhere else: memory stays bounded, and a unit's bytes are
still in the machine's memory when its jobs read them again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from finedata.engine.engine import Engine

__all__ = ["Flow", "PlannedRun", "run_jobs", "run_plan"]

_P = TypeVar("_P")
_J = TypeVar("_J")
_R = TypeVar("_R")

# For each worker: jobs in flight, and units that are planned before they are wanted.
_IN_FLIGHT = 3
_AHEAD = 2


class Flow:
    """Tasks in flight on an engine, so many and no more; each result goes where its task says."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._keep: dict[int, Callable[[Any], None]] = {}
        self._number = 0

    def submit(
        self, function: Callable[[_J], _R], argument: _J, *, keep: Callable[[_R], None]
    ) -> None:
        """Queue `keep(function(argument))`, having waited for others where many are in flight."""
        while self._engine.pending > _IN_FLIGHT * self._engine.workers:
            self.take()
        self._keep[self._number] = keep
        self._engine.submit(self._number, function, argument)
        self._number += 1

    def take(self) -> None:
        """Wait for one task, and keep its result."""
        ticket, result = self._engine.next_finished()
        self._keep.pop(int(str(ticket)))(result)

    def drain(self) -> None:
        """Wait for all of them."""
        while self._engine.pending:
            self.take()


class PlannedRun(Protocol[_P, _J, _R]):
    """What a run tells its orchestrator: P is the plan of a unit, J a job, R its result."""

    @property
    def units(self) -> int:
        """How many units there are to plan."""
        ...

    @property
    def enough(self) -> bool:
        """Whether the jobs so far are all that is wanted, whatever is not planned yet."""
        ...

    def planning(self, unit: int) -> tuple[Callable[[Any], _P], object]:
        """The function that plans a unit, and its argument."""
        ...

    def known_plan(self, unit: int) -> _P | None:
        """The plan of a unit, where it is kept already."""
        ...

    def keep_plan(self, unit: int, plan: _P) -> None:
        """Keep the plan of a unit."""
        ...

    def jobs_of(self, plan: _P) -> Sequence[_J]:
        """The jobs that are possible now; called once for each unit, in order."""
        ...

    def last_jobs(self) -> Iterable[_J]:
        """The jobs that remain after the last unit."""
        ...

    def working(self, job: _J) -> tuple[Callable[[Any], _R], object] | None:
        """The function that does a job, and its argument; None where it is done, or not ours."""
        ...

    def keep_result(self, job: _J, result: _R) -> None:
        """Keep what a job gave."""
        ...


def run_plan(run: PlannedRun[_P, _J, _R], *, engine: Engine, first: Iterable[int] = ()) -> None:
    """Do everything of a run that is not done.

    Args:
        run: The run.
        engine: Where it works.
        first: Units to plan before anything else, in this order: a process that shares a run
            begins with its own share of the planning.

    Raises:
        OutputError: A worker died, or a result cannot be kept; the same run goes on later.
        Exception: Whatever a task raised.
    """
    flow = Flow(engine)
    for unit in first:
        if run.known_plan(unit) is None:
            flow.submit(*run.planning(unit), keep=partial(run.keep_plan, unit))
    flow.drain()
    plans: dict[int, _P] = {}

    def planned(unit: int, plan: _P) -> None:
        run.keep_plan(unit, plan)
        plans[unit] = plan

    def work(jobs: Iterable[_J]) -> None:
        for job in jobs:
            task = run.working(job)
            if task is not None:
                flow.submit(*task, keep=partial(run.keep_result, job))

    asked = 0
    for unit in range(run.units):
        if run.enough:
            break
        for number in range(asked, min(unit + _AHEAD * engine.workers, run.units)):
            asked = number + 1
            known = run.known_plan(number)
            if known is not None:
                plans[number] = known
            else:
                flow.submit(*run.planning(number), keep=partial(planned, number))
        while unit not in plans:
            flow.take()
        work(run.jobs_of(plans.pop(unit)))
    work(run.last_jobs())
    flow.drain()


def run_jobs(
    function: Callable[[_J], _R],
    jobs: Iterable[_J],
    *,
    engine: Engine,
    known: Callable[[_J], _R | None] | None = None,
    in_flight: int = _IN_FLIGHT,
) -> Iterator[tuple[_J, _R]]:
    """Do jobs that need no plan, and give their results in the jobs' order.

    A job is drawn when one that was drawn before it has been given back, so that `jobs` may read
    what it hands out: no more than `in_flight` times the workers are held, done or not.

    Args:
        function: What is done with each; at the top of a module.
        jobs: Plain values.
        engine: Where it works.
        known: Tells the result of a job that need not be done.
        in_flight: Jobs held for each worker. 1 for jobs that are large: with the one worker of this
            process the next is drawn when the last is done, though `jobs` may prepare it meanwhile.

    Yields:
        Each job and its result.

    Raises:
        OutputError: A worker died.
        Exception: Whatever a task raised.
    """
    flow, done = Flow(engine), dict[int, tuple[_J, _R]]()
    drawn = given = 0

    def keep(number: int, job: _J, result: _R) -> None:
        done[number] = job, result

    def next_given() -> tuple[_J, _R]:
        while given not in done:
            flow.take()
        return done.pop(given)

    for job in jobs:
        result = None if known is None else known(job)
        if result is None:
            flow.submit(function, job, keep=partial(keep, drawn, job))
        else:
            keep(drawn, job, result)
        drawn += 1
        del job, result  # or it would be held while the next is read
        while given in done or drawn - given >= in_flight * engine.workers:
            yield next_given()
            given += 1
    while given < drawn:
        yield next_given()
        given += 1
