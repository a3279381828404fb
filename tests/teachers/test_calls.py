"""The call ledger by itself: leave, money, doubt, and what is published."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from teachers.asking import request_of

from finedata.errors import OutputError, UsageError
from finedata.schema.conform import conform
from finedata.teachers.calls.export import calls_status, has_calls, write_calls
from finedata.teachers.calls.ledger import CallLedger
from finedata.teachers.calls.record import Charge
from finedata.teachers.protocol import Answer, TeacherError
from finedata.teachers.replay import ReplayTeacher, record

if TYPE_CHECKING:
    from pathlib import Path

PAID = Charge(1, 10, 2, 700)


def reserve(calls: CallLedger, number: int, estimate: int = 0, budget: int | None = None) -> str:
    return calls.reserve(
        request_of(number), teacher="fake", estimate_nano=estimate, budget_nano=budget
    ).verdict


def test_leave_is_given_once(tmp_path: Path) -> None:
    with CallLedger(tmp_path) as one, CallLedger(tmp_path) as other:
        assert reserve(one, 1) == "ask"
        assert reserve(other, 1) == reserve(one, 1) == "in_flight"
        one.settle(request_of(1).call_id, "ok", answer="x", charge=PAID)
        assert reserve(other, 1) == "recorded"


def test_money_is_held_back(tmp_path: Path) -> None:
    with CallLedger(tmp_path) as one, CallLedger(tmp_path) as other:
        assert reserve(one, 1, 600, 1000) == "ask"
        assert reserve(other, 2, 600, 1000) == "wait"
        assert reserve(other, 3, 1001, 1000) == "budget"
        assert reserve(other, 4, 400, 1000) == "ask"
        one.settle(request_of(1).call_id, "ok", answer="x", charge=Charge(1, 1, 1, 100))
        other.settle(request_of(4).call_id, "failed", error="no")
        assert reserve(other, 2, 600, 1000) == "ask"
        assert reserve(other, 5, 901, 1000) == "budget"
        status = calls_status(one)
        assert (status.cost_nano, status.reserved_nano) == (100, 600)


def test_an_empty_answer_is_no_success(tmp_path: Path) -> None:
    with CallLedger(tmp_path) as calls:
        reserve(calls, 1)
        for answer in (None, "", " \n"):
            with pytest.raises(UsageError):
                calls.settle(request_of(1).call_id, "ok", answer=answer)
        with pytest.raises(UsageError):
            calls.settle(request_of(1).call_id, "failed", answer="text")
        with pytest.raises(UsageError, match="not in flight"):
            calls.settle(request_of(2).call_id, "ok", answer="text")
        assert calls.record(request_of(1).call_id).state == "sent"  # type: ignore[union-attr]


def _die_with_calls_in_flight(root: Path) -> None:
    calls = CallLedger(root)
    for number in range(3):
        reserve(calls, number, 100)
    calls.charge(request_of(2).call_id, PAID)
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_dead_processes_had_in_flight_is_in_doubt(tmp_path: Path) -> None:
    for death in (1, 2):
        child = multiprocessing.get_context("spawn").Process(
            target=_die_with_calls_in_flight, args=(tmp_path,)
        )
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        with CallLedger(tmp_path) as calls:
            status = calls_status(calls)
            # the third was between two attempts: nobody doubts it
            assert status.states == {"in_doubt": 2, "stopped": 1}
            assert (status.doubts, status.unsure_nano) == (2 * death, 200 * death)
            assert status.reserved_nano == 0
            assert status.cost_nano == 700 * death
    with CallLedger(tmp_path) as calls:
        assert reserve(calls, 0) == "recorded"  # in doubt twice: not a third time by itself
        assert calls.reserve(request_of(0), teacher="fake", retry="all").verdict == "ask"
        assert reserve(calls, 2) == "ask"
    assert not list((tmp_path / ".finedata/calls").glob("*.alive"))


def test_the_published_table(tmp_path: Path) -> None:
    assert not has_calls(tmp_path)
    with CallLedger(tmp_path, clock=lambda: 1_700_000_000.123456) as calls:
        for number in range(5):
            reserve(calls, number)
        calls.settle(request_of(0).call_id, "ok", answer="x", attempts=2, charge=PAID)
        calls.settle(
            request_of(1).call_id, "failed", error="why", charge=Charge(1, None, None, None)
        )
        calls.settle(request_of(2).call_id, "refused", error="no")
        calls.abandon(request_of(3).call_id, in_doubt=True)
        path = write_calls(tmp_path, calls=calls)
    rows = {row["call_id"]: row for row in conform(pq.read_table(path), "calls").to_pylist()}
    assert len(rows) == 4, "a call in flight is not published"
    first = rows[request_of(0).call_id]
    assert (first["status"], first["attempts"], first["cost_usd"]) == ("ok", 2, 7e-7)
    assert first["started_at"].isoformat() == "2023-11-14T22:13:20.123456+00:00"
    assert rows[request_of(1).call_id]["cost_usd"] is None
    assert rows[request_of(1).call_id]["input_tokens"] is None
    doubtful = rows[request_of(3).call_id]
    assert doubtful["status"] == "failed"
    assert doubtful["error"].startswith("in_doubt: its process died")
    assert write_calls(tmp_path) == path
    assert has_calls(tmp_path)


def test_a_broken_ledger_is_an_error_with_its_place(tmp_path: Path) -> None:
    (tmp_path / ".finedata").mkdir()
    (tmp_path / ".finedata/calls.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(OutputError, match=r"calls\.sqlite"):
        CallLedger(tmp_path)


def test_many_may_open_and_close_it_at_once(tmp_path: Path) -> None:
    """SQLite refuses whoever opens while another turns the log on, however long it may wait."""

    def open_and_close(root: Path, start: threading.Barrier) -> None:
        start.wait()
        for _ in range(3):
            CallLedger(root).close()

    with ThreadPoolExecutor(8) as pool:
        for attempt in range(60):
            start = threading.Barrier(8)
            root = tmp_path / str(attempt)
            for done in [pool.submit(open_and_close, root, start) for _ in range(8)]:
                done.result()


def test_what_was_recorded_can_be_replayed(tmp_path: Path) -> None:

    with CallLedger(tmp_path) as calls:
        for number in range(3):
            reserve(calls, number)
        calls.settle(request_of(0).call_id, "ok", answer="zero", charge=PAID)
        calls.settle(request_of(1).call_id, "refused", error="no")
        calls.settle(request_of(2).call_id, "failed", error="no")
    path = tmp_path / "answers.jsonl"
    assert record(tmp_path, path) == 2
    with path.open("a") as file:
        file.write('\n{"stage": "te*", "episode_id": "*3", "text": "pattern"}\n')
    teacher = ReplayTeacher(path)
    answer = asyncio.run(teacher.ask(request_of(0)))
    assert (answer.text, answer.usage.input_tokens) == ("zero", 10)
    assert asyncio.run(teacher.ask(request_of(3))) == Answer("pattern")
    for number, found in ((1, "refusal"), (2, "no answer")):
        with pytest.raises(TeacherError, match=found):
            asyncio.run(teacher.ask(request_of(number)))
    path.write_text('{"txt": 1}\n')
    with pytest.raises(UsageError, match=r"answers\.jsonl:1"):
        ReplayTeacher(path)
    with pytest.raises(UsageError):
        ReplayTeacher(tmp_path / "none.jsonl")


def test_a_shared_call_names_the_least_of_its_episodes(tmp_path: Path) -> None:
    """Two episodes may ask one question; which came first depends on the clock."""
    one = request_of(1)
    for order in ((1, 2, 3), (3, 2, 1), (2, 3, 1)):
        with CallLedger(tmp_path / str(order)) as calls:
            for number in order:
                asking = replace(one, episode_id=request_of(number).episode_id)
                if calls.reserve(asking, teacher="fake").verdict == "ask":
                    calls.settle(asking.call_id, "ok", answer="yes")
            [record] = calls.records()
        assert record.episode_id == one.episode_id
