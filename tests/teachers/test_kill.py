"""Thousands of calls through every fault, the process killed three times: nothing paid twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from teachers import asking
from teachers.loopback import FAULTS, Tally, key_of, read_count, read_stats, serving_process

from finedata.schema.conform import conform
from finedata.teachers.calls.export import calls_status, write_calls
from finedata.teachers.calls.ledger import CallLedger
from finedata.teachers.prices import cost_nano

if TYPE_CHECKING:
    from collections.abc import Iterator

CONCURRENCY = 64


@contextmanager
def client(
    teacher: str, url: str, root: Path, count: int, *more: str
) -> Iterator[subprocess.Popen]:
    environment = os.environ | {"OPENAI_API_KEY": asking.KEY, "GEMINI_API_KEY": asking.KEY}
    environment["PYTHONPATH"] = str(Path(asking.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, asking.__file__, teacher, url, str(root), str(count), *more],
        env=environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run_killed(teacher: str, root: Path, count: int, *, seed: int) -> dict[str, Tally]:
    options = ["--faults", "0.3", "--seed", str(seed), "--drip", "30"]
    with serving_process(*options) as url:
        for share in (0.15, 0.4, 0.7):
            with client(teacher, url, root, count) as process:
                while read_count(url) < share * count:
                    assert process.poll() is None, "it ended before it could be killed"
                    time.sleep(0.02)
                process.send_signal(signal.SIGKILL)
        with client(teacher, url, root, count) as process:
            assert process.wait(600) == 0
        stats = read_stats(url)
    assert set(stats.faults) == set(FAULTS), "some fault did not occur: the test is too small"
    assert len(stats.tallies) == count
    return stats.tallies


def check_books(root: Path, count: int, tallies: dict[str, Tally]) -> None:
    with CallLedger(root) as calls:
        records = {record.call_id: record for record in calls.records()}
        status = calls_status(calls)
        write_calls(root, calls=calls)
    assert len(records) == count
    doubted = twice = 0
    for request in asking.requests_of(count):
        record, tally = records[request.call_id], tallies[key_of(request.prompt)]
        # one that was under way at two kills is not asked a third time by itself, and says so
        assert record.state in ("ok", "failed", "refused") or record.doubts > 1
        assert record.reserved_nano == 0
        # no failure recorded as success, no empty text, no answer of another question
        assert (record.answer is not None) == (record.state == "ok")
        if record.answer is not None:
            assert asking.parse_answer(record.answer, asking.Echoed).prompt == request.prompt
            assert tally.good >= 1
        if record.state == "in_doubt":
            assert "died" in (record.error or "")
        assert record.cost_nano == cost_nano(
            asking.PRICE, input_tokens=record.input_tokens, output_tokens=record.output_tokens
        )
        doubted += record.doubts
        if record.doubts == 0:
            # every delivered answer is in the books, to the token, and none was asked for again
            assert tally.good == (record.state == "ok")
            assert tally.refused == (record.state == "refused")
            assert (tally.input_tokens, tally.output_tokens) == (
                record.input_tokens,
                record.output_tokens,
            )
        else:
            lost = tally.good + tally.bad + tally.refused - record.charged
            assert 0 <= lost <= record.doubts
            assert tally.input_tokens >= record.input_tokens
            twice += tally.good - 1 > 0
    assert twice <= doubted <= 3 * CONCURRENCY
    assert status.doubts == doubted
    assert status.cost_nano == sum(record.cost_nano or 0 for record in records.values())
    assert sum(status.states.values()) == count
    assert status.states["ok"] > 0.8 * count
    table = pq.read_table(root / "annotations/calls/part-00000.parquet")
    assert conform(table, "calls").num_rows == count
    for path in root.rglob("*"):
        assert path.is_dir() or asking.KEY.encode() not in path.read_bytes()


@pytest.mark.parametrize("teacher", ["openai"])
def test_a_thousand_calls_through_faults_and_kills(tmp_path: Path, teacher: str) -> None:
    check_books(tmp_path, 1_000, run_killed(teacher, tmp_path, 1_000, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["openai", "gemini"])
def test_ten_thousand_calls_through_faults_and_kills(tmp_path: Path, teacher: str) -> None:
    check_books(tmp_path, 10_000, run_killed(teacher, tmp_path, 10_000, seed=2))


def test_a_budget_holds_across_processes(tmp_path: Path) -> None:
    with serving_process("--seed", "3") as url:
        with (
            client("openai", url, tmp_path, 300, "0.01") as one,
            client("openai", url, tmp_path, 300, "0.01") as other,
        ):
            assert (one.wait(300), other.wait(300)) == (0, 0)
        tallies = read_stats(url).tallies
    with CallLedger(tmp_path) as calls:
        status = calls_status(calls)
    spent = sum(
        cost_nano(asking.PRICE, input_tokens=t.input_tokens, output_tokens=t.output_tokens) or 0
        for t in tallies.values()
    )
    assert status.cost_nano == spent
    assert status.states["budget"] + status.states["ok"] == 300
    assert all(tally.good == 1 for tally in tallies.values())
    # an answer costs 0.000106 at most, so no more than one is missing to the cap
    assert 10_000_000 - 1_300_000 < spent <= 10_000_000
