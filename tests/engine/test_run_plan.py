"""The orchestrator over a toy run: whatever finishes when, all is done once, in bounds, kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
from engine.shuffled import Shuffled
from hypothesis import given
from hypothesis import strategies as st

from finedata.engine.local import LocalEngine
from finedata.engine.run_plan import run_jobs, run_plan


def plan(unit: int) -> int:
    return unit * 10


def work(job: int) -> int:
    return job + 1


class Toy:
    """Unit u has plan 10 u; two plans make a job, which is their sum; a job gives itself + 1."""

    def __init__(self, units: int, kept: dict[str, dict[int, int]], share: tuple[int, int]) -> None:
        self.units = units
        self.kept = kept
        self.share = share
        self.planned: list[int] = []
        self.worked: list[int] = []
        self._open: list[int] = []
        self._jobs = 0

    @property
    def enough(self) -> bool:
        return self._jobs >= 5

    def planning(self, unit: int) -> tuple[Callable[[int], int], int]:
        self.planned.append(unit)
        return plan, unit

    def known_plan(self, unit: int) -> int | None:
        return self.kept["plans"].get(unit)

    def keep_plan(self, unit: int, plan: int) -> None:
        self.kept["plans"][unit] = plan

    def jobs_of(self, plan: int) -> Sequence[int]:
        self._open.append(plan)
        return self.last_jobs() if len(self._open) == 2 else []

    def last_jobs(self) -> Sequence[int]:
        job, self._open = sum(self._open), []
        self._jobs += 1
        return [job] if job else []

    def working(self, job: int) -> tuple[Callable[[int], int], int] | None:
        if self._jobs % self.share[1] != self.share[0] or job in self.kept["results"]:
            return None
        self.worked.append(job)
        return work, job

    def keep_result(self, job: int, result: int) -> None:
        assert job not in self.kept["results"]
        self.kept["results"][job] = result


def empty() -> dict[str, dict[int, int]]:
    return {"plans": {}, "results": {}}


WHOLE = {10: 11, 50: 51, 90: 91, 60: 61}


@given(st.integers(0, 999), st.integers(1, 4), st.integers(0, 12))
def test_a_killed_run_goes_on_and_does_nothing_twice(seed: int, workers: int, death: int) -> None:
    kept = empty()
    first = Toy(7, kept, (0, 1))
    try:
        run_plan(first, engine=Shuffled(seed, workers, dies_after=death))
    except KeyboardInterrupt:
        done = dict(kept["results"])
        second = Toy(7, kept, (0, 1))
        run_plan(second, engine=Shuffled(seed + 1, workers))
        assert not set(second.worked) & set(done)
    assert kept["results"] == WHOLE


@given(st.integers(0, 999), st.integers(1, 4))
def test_tasks_in_flight_are_bounded(seed: int, workers: int) -> None:
    engine = Shuffled(seed, workers)
    run_plan(Toy(60, empty(), (0, 1)), engine=engine, first=range(60))
    assert engine.most_pending <= 3 * workers + 1
    assert engine.pending == 0


def test_planning_stops_where_there_is_enough() -> None:
    run = Toy(1000, empty(), (0, 1))
    run_plan(run, engine=LocalEngine(workers=1))
    assert max(run.planned) < 13


@given(st.integers(0, 999), st.integers(2, 3))
def test_shares_together_are_the_whole(seed: int, count: int) -> None:
    kept = empty()
    planned: list[int] = []
    for index in range(count):
        run = Toy(7, kept, (index, count))
        run_plan(run, engine=Shuffled(seed, 2), first=[6, 5, 4, 3, 2, 1, 0])
        planned += run.planned
    assert kept["results"] == WHOLE
    assert sorted(planned) == list(range(7))


def test_what_a_task_raises_is_raised() -> None:
    class Broken(Toy):
        def planning(self, unit: int) -> tuple[Callable[[int], int], int]:
            return (lambda n: 1 // n), unit

    with pytest.raises(ZeroDivisionError):
        run_plan(Broken(3, empty(), (0, 1)), engine=LocalEngine(workers=1))


@given(st.integers(0, 999), st.integers(1, 4), st.integers(0, 20), st.integers(1, 3))
def test_jobs_are_given_back_in_order_and_drawn_in_bounds(
    seed: int, workers: int, count: int, in_flight: int
) -> None:
    given_back: list[tuple[int, int]] = []
    most_held = drawn = 0

    def jobs() -> Iterator[int]:
        nonlocal most_held, drawn
        for number in range(count):
            drawn += 1
            most_held = max(most_held, drawn - len(given_back))
            yield number

    for pair in run_jobs(
        work,
        jobs(),
        engine=Shuffled(seed, workers),
        known=lambda job: 0 if job % 3 == 1 else None,
        in_flight=in_flight,
    ):
        given_back.append(pair)  # noqa: PERF402  (jobs() looks at it meanwhile)
    assert given_back == [(n, 0 if n % 3 == 1 else n + 1) for n in range(count)]
    assert most_held <= in_flight * workers


def test_a_large_job_is_drawn_when_the_one_before_is_done() -> None:
    events: list[str] = []

    def jobs() -> Iterator[int]:
        for number in range(3):
            events.append(f"drawn {number}")
            yield number

    for job, _ in run_jobs(work, jobs(), engine=LocalEngine(workers=1), in_flight=1):
        events.append(f"given {job}")
    assert events == [f"{what} {n}" for n in range(3) for what in ("drawn", "given")]
