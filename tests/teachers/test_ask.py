"""The scheduler with teachers made of Python: once, bounded, checked, durable before it is told."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from teachers import asking
from teachers.ask_all import ask_all
from teachers.asking import PRICE, check_echo, request_of, requests_of

from finedata.errors import UsageError
from finedata.teachers.asker import Asker, AskOptions, Outcome
from finedata.teachers.calls.export import calls_status
from finedata.teachers.calls.ledger import CallLedger
from finedata.teachers.protocol import (
    Answer,
    RefusedAnswerError,
    Request,
    TeacherError,
    TeacherSetupError,
    TemporaryTeacherError,
    UnusableAnswerError,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

USAGE = Usage(100, 10)
COST = 100 * 100 + 10 * 400


def good(request: Request) -> Answer:
    return Answer(f'{{"prompt": "{request.prompt}", "pictures": 0}}', USAGE)


class Fake:
    """Answers by a function of request and how often it was asked."""

    name = "fake"

    def __init__(
        self, answer: Callable[[Request, int], Answer | Exception] | None = None, wait_s: float = 0
    ) -> None:
        self.answer = answer or (lambda request, _: good(request))
        self.wait_s = wait_s
        self.asked: list[Request] = []
        self.busy = self.peak = 0

    async def ask(self, request: Request) -> Answer:
        self.asked.append(request)
        self.busy += 1
        self.peak = max(self.peak, self.busy)
        try:
            await asyncio.sleep(self.wait_s)
        finally:
            self.busy -= 1
        again = sum(one.call_id == request.call_id for one in self.asked)
        answer = self.answer(request, again)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None: ...


def run(root: Path, teacher: Fake, requests: Any, **options: Any) -> list[Outcome[Any]]:
    settings: dict[str, Any] = {"check": check_echo, "price": PRICE, "backoff_s": 0.001}

    async def collect() -> list[Outcome[Any]]:
        with CallLedger(root) as calls:
            asked = ask_all(requests, teacher=teacher, calls=calls, **settings | options)
            return [outcome async for outcome in asked]

    return asyncio.run(collect())


def told(**more: Any) -> dict[str, str]:
    return {"place": "fake", "found": "x", "wanted": "y"} | more


def test_every_request_has_one_outcome(tmp_path: Path) -> None:
    teacher = Fake(wait_s=0.2)
    outcomes = run(tmp_path, teacher, requests_of(50), concurrency=16)
    assert sorted(o.request.call_id for o in outcomes) == sorted(r.call_id for r in requests_of(50))
    assert {(o.status, o.attempts, o.charge.cost_nano) for o in outcomes} == {("ok", 1, COST)}
    assert all(o.value.prompt == o.request.prompt for o in outcomes)
    assert teacher.peak == 16


def test_what_is_recorded_is_not_asked(tmp_path: Path) -> None:
    run(tmp_path, Fake(), requests_of(20))
    teacher = Fake()
    outcomes = run(tmp_path, teacher, requests_of(25), budget_usd=0.01)
    assert len(teacher.asked) == 5
    assert sum(o.recorded for o in outcomes) == 20
    assert all(o.status == "ok" and o.value.prompt == o.request.prompt for o in outcomes)
    assert sum(o.charge.cost_nano for o in outcomes) == 5 * COST


def test_identical_requests_are_asked_once(tmp_path: Path) -> None:
    teacher = Fake(wait_s=0.01)
    same = [replace(request_of(1), episode_id=f"e{i}") for i in range(30)]
    outcomes = run(tmp_path, teacher, same)
    assert len(teacher.asked) == 1
    assert {o.status for o in outcomes} == {"ok"}
    assert sum(o.recorded for o in outcomes) == 29


def test_faults_are_tried_again_and_bad_answers_paid_for(tmp_path: Path) -> None:
    def answer(request: Request, again: int) -> Answer | Exception:
        if again == 1:
            return TemporaryTeacherError(**told())
        if again == 2:
            return Answer('{"prompt": "cut', USAGE)
        if again == 3:
            return UnusableAnswerError(usage=USAGE, **told())
        if again == 4:
            return Answer(" \n", USAGE)
        return good(request)

    teacher = Fake(answer)
    outcomes = run(tmp_path, teacher, requests_of(3))
    assert {(o.status, o.attempts, o.charge.answers) for o in outcomes} == {("ok", 5, 4)}
    assert {o.charge.cost_nano for o in outcomes} == {4 * COST}
    with CallLedger(tmp_path) as calls:
        assert {(r.attempts, r.cost_nano, r.input_tokens) for r in calls.records()} == {
            (5, 4 * COST, 400)
        }
    # a server that remembers keys must not give its bad answer again
    keys = [r.idempotency_key for r in teacher.asked if r.prompt == "question 0"]
    assert len(set(keys)) == 4
    assert keys[0] == keys[1]


def test_bad_ends_are_no_success(tmp_path: Path) -> None:
    ends: dict[str, Answer | Exception] = {
        "question 0": Answer("no JSON at all", USAGE),
        "question 1": RefusedAnswerError(usage=USAGE, **told(found="no")),
        "question 2": TeacherError(**told(found="HTTP 400")),
        "question 3": TemporaryTeacherError(**told(found="HTTP 503")),
        "question 4": TemporaryTeacherError(retry_after_s=9999.0, **told()),
        "question 5": Answer("\ud800", USAGE),
    }
    outcomes = run(tmp_path, Fake(lambda r, _: ends[r.prompt]), requests_of(6), attempts=3)
    ended = {o.request.prompt: (o.status, o.attempts, o.charge.answers) for o in outcomes}
    assert ended == {
        "question 0": ("failed", 3, 3),
        "question 1": ("refused", 1, 1),
        "question 2": ("failed", 1, 0),
        "question 3": ("failed", 3, 0),
        "question 4": ("failed", 1, 0),
        "question 5": ("failed", 3, 3),
    }
    assert all(o.value is None and o.answer is None and o.reason for o in outcomes)
    with CallLedger(tmp_path) as calls:
        assert all(r.answer is None and r.error for r in calls.records())
        assert calls_status(calls).states == {"failed": 5, "refused": 1}
    # what nothing was paid for is tried again by the next run; the rest only when asked to
    teacher = Fake()
    again = run(tmp_path, teacher, requests_of(6), retry="never")
    assert not teacher.asked
    assert {o.status for o in again} == {"failed", "refused"}
    run(tmp_path, teacher, requests_of(6))
    assert sorted(r.prompt for r in teacher.asked) == [f"question {i}" for i in (2, 3, 4)]
    run(tmp_path, teacher, requests_of(6), retry="all")
    assert len(teacher.asked) == 6
    with CallLedger(tmp_path) as calls:
        assert calls_status(calls).states == {"ok": 6}


def test_a_wrong_key_stops_the_run(tmp_path: Path) -> None:
    teacher = Fake(lambda r, _: TeacherSetupError(**told(found="HTTP 401")), wait_s=0.005)
    with pytest.raises(TeacherSetupError, match="401"):
        run(tmp_path, teacher, requests_of(1000), concurrency=4)
    assert len(teacher.asked) <= 8
    with CallLedger(tmp_path) as calls:
        assert set(calls_status(calls).states) <= {"failed", "stopped"}


def test_a_bug_in_check_is_raised_and_nothing_is_left_in_flight(tmp_path: Path) -> None:
    def broken(request: Request, answer: Answer) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(tmp_path, Fake(), requests_of(50), check=broken, concurrency=2)
    with CallLedger(tmp_path) as calls:
        assert set(calls_status(calls).states) <= {"in_doubt", "stopped"}


def test_leaving_early_leaves_doubts_and_no_flight(tmp_path: Path) -> None:
    async def leave() -> int:
        with CallLedger(tmp_path) as calls:
            teacher = Fake(wait_s=0.02)
            asked = ask_all(
                requests_of(500), teacher=teacher, calls=calls, check=check_echo, concurrency=8
            )
            async with aclosing(asked):
                async for _ in asked:
                    break
            states = calls_status(calls).states
            assert states.get("in_doubt", 0) <= 8
            assert "sent" not in states
            assert "waiting" not in states
            return len(teacher.asked)

    assert asyncio.run(leave()) <= 24
    teacher = Fake()
    outcomes = run(tmp_path, teacher, requests_of(500))
    assert {o.status for o in outcomes} == {"ok"}


def test_requests_are_taken_lazily(tmp_path: Path) -> None:
    taken = 0

    def counting() -> Iterator[Request]:
        nonlocal taken
        for request in requests_of(10_000):
            taken += 1
            yield request

    async def look() -> None:
        with CallLedger(tmp_path) as calls:
            asked = ask_all(
                counting(), teacher=Fake(), calls=calls, check=check_echo, concurrency=4
            )
            async with aclosing(asked):
                seen = 0
                async for _ in asked:
                    seen += 1
                    await asyncio.sleep(0.001)  # a slow reader
                    assert taken <= seen + 2 * 4 + 1
                    if seen == 50:
                        break

    asyncio.run(look())


def test_an_answer_is_in_the_file_before_it_is_told(tmp_path: Path) -> None:
    async def look() -> None:
        with CallLedger(tmp_path) as calls:
            asked = ask_all(requests_of(20), teacher=Fake(), calls=calls, check=check_echo)
            async for outcome in asked:
                other = sqlite3.connect(calls.path)
                [(state, answer)] = other.execute(
                    "select state, answer from calls where call_id = ?", (outcome.request.call_id,)
                ).fetchall()
                other.close()
                assert (state, answer) == ("ok", outcome.answer and outcome.answer.text)

    asyncio.run(look())


def test_a_budget_is_never_passed(tmp_path: Path) -> None:
    teacher = Fake(wait_s=0.001)
    budget = 10 * COST
    outcomes = run(tmp_path, teacher, requests_of(50), budget_usd=budget / 1e9)
    ends = [o.status for o in outcomes]
    assert len(ends) == 50
    assert ends.count("ok") + ends.count("budget") == 50
    # the estimate of one call (80,000 for 200 tokens out) bounds what is left unspent
    spent = ends.count("ok") * COST
    assert spent <= budget
    with CallLedger(tmp_path) as calls:
        status = calls_status(calls)
        assert (status.cost_nano, status.reserved_nano) == (spent, 0)
    # with more money the rest is asked
    more = run(tmp_path, teacher, requests_of(50), budget_usd=1.0)
    assert {o.status for o in more} == {"ok"}
    assert len(teacher.asked) == 50


def test_estimates_that_are_too_low_are_learned_from(tmp_path: Path) -> None:
    dear = Usage(5_000, 500)  # fifty times what the request looks like
    cost = 5_000 * 100 + 500 * 400

    def answer(request: Request, _: int) -> Answer:
        return replace(good(request), usage=dear)

    outcomes = run(tmp_path, Fake(answer, wait_s=0.1), requests_of(60), budget_usd=cost * 20 / 1e9)
    assert sum(o.charge.cost_nano or 0 for o in outcomes) <= cost * 20
    assert sum(o.status == "ok" for o in outcomes) >= 18


def test_a_budget_holds_where_answers_cost_more_than_the_first(tmp_path: Path) -> None:
    """The first answer shows less than the dearest one, and many are in flight by then."""

    def answer(request: Request, _: int) -> Answer:
        first = request.episode_id == request_of(0).episode_id
        return replace(good(request), usage=Usage(1_200 if first else 1_500, 250))

    dearest = 1_500 * 100 + 250 * 400
    for parts in (20, 33, 50):
        outcomes = run(
            tmp_path / str(parts), Fake(answer, wait_s=0.02), requests_of(120),
            budget_usd=dearest * parts / 1e9,
        )  # fmt: skip
        spent = sum(o.charge.cost_nano or 0 for o in outcomes)
        assert dearest * (parts - 2) <= spent <= dearest * parts


def test_what_is_held_back_grows_with_what_was_learned(tmp_path: Path) -> None:
    with CallLedger(tmp_path) as calls:
        for number in (0, 1):
            calls.reserve(request_of(number), teacher="fake", estimate_nano=100, budget_nano=1_000)
        calls.learn("loopback", estimate_nano=100, cost_nano=200)
        held = [record.reserved_nano for record in calls.records()]
        assert held == [300, 300]
        calls.learn("loopback", estimate_nano=100, cost_nano=150)  # less than was known
        assert [record.reserved_nano for record in calls.records()] == held
        claim = calls.reserve(request_of(2), teacher="fake", estimate_nano=200, budget_nano=1_000)
        assert claim.verdict == "wait"


def test_a_budget_needs_a_price(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--input-price"):
        run(tmp_path, Fake(), requests_of(2), price=None, budget_usd=1.0)


def test_without_a_price_the_cost_is_unknown(tmp_path: Path) -> None:
    [outcome] = run(tmp_path, Fake(), requests_of(1), price=None)
    assert (outcome.status, outcome.charge.cost_nano) == ("ok", None)
    with CallLedger(tmp_path) as calls:
        status = calls_status(calls)
    assert (status.cost_nano, status.unknown_cost, status.input_tokens) == (0, 1, 100)


def test_time_outs_are_faults_that_may_have_cost(tmp_path: Path) -> None:
    [outcome] = run(tmp_path, Fake(wait_s=5.0), requests_of(1), timeout_s=0.02, attempts=2)
    assert (outcome.status, outcome.attempts) == ("failed", 2)
    assert "0.02 s" in outcome.reason
    assert outcome.charge.cost_nano == 0
    assert outcome.charge.unsure_nano > 0


def test_the_rate_is_kept(tmp_path: Path) -> None:
    async def timed() -> float:
        begun = asyncio.get_running_loop().time()
        with CallLedger(tmp_path) as calls:
            async for _ in ask_all(
                requests_of(21), teacher=Fake(), calls=calls, check=check_echo,
                requests_per_minute=6000,
            ):  # fmt: skip
                pass
        return asyncio.get_running_loop().time() - begun

    assert asyncio.run(timed()) >= 0.2


def test_two_runs_share_the_work(tmp_path: Path) -> None:
    """Two ledgers on one file, as two processes have them."""

    async def both() -> None:
        teachers = Fake(wait_s=0.003), Fake(wait_s=0.003)

        async def one(teacher: Fake) -> list[Outcome[Any]]:
            with CallLedger(tmp_path) as calls:
                asked = ask_all(
                    requests_of(60), teacher=teacher, calls=calls, check=check_echo, concurrency=4
                )
                return [outcome async for outcome in asked]

        first, second = await asyncio.gather(*map(one, teachers))
        assert {o.status for o in first + second} == {"ok"}
        assert len(teachers[0].asked) + len(teachers[1].asked) == 60

    asyncio.run(both())


def test_an_asker_serves_pipelines(tmp_path: Path) -> None:
    async def pipeline() -> None:
        with CallLedger(tmp_path) as calls:
            async with Asker(
                teacher=Fake(), calls=calls, options=AskOptions(concurrency=2)
            ) as asker:
                first = await asker.ask(request_of(1), check=check_echo)
                assert first.value is not None
                second = await asker.ask(
                    replace(request_of(2), prompt=f"after {first.value.prompt}"), check=check_echo
                )
                assert second.value is not None
                assert second.value.prompt == "after question 1"

    asyncio.run(pipeline())


@pytest.mark.parametrize("option", ["concurrency", "attempts", "timeout_s", "requests_per_minute"])
def test_senseless_options_are_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(UsageError, match=option):
        run(tmp_path, Fake(), requests_of(1), **{option: 0})
    assert asking.KEY
