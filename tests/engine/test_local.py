"""Tasks come back with their tickets, in this process or in others, and errors with their words."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finedata.engine.local import LocalEngine
from finedata.errors import OutputError, SourceError


def square(number: int) -> int:
    return number * number


def where(_: int) -> int:
    return os.getpid()


def fail(number: int) -> int:
    raise SourceError(place=f"task {number}", found="this", wanted="that", next_command="go")


def die(_: int) -> int:
    os._exit(3)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_back_with_their_tickets(workers: int) -> None:
    with LocalEngine(workers=workers) as engine:
        for number in range(10):
            engine.submit(("square", number), square, number)
        results = {}
        while engine.pending:
            (_, number), result = engine.next_finished()
            results[number] = result
    assert results == {number: number * number for number in range(10)}


def test_one_worker_is_this_process() -> None:
    with LocalEngine(workers=1) as engine:
        engine.submit("a", where, 0)
        assert engine.next_finished() == ("a", os.getpid())


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_cross_the_process_boundary_whole(workers: int) -> None:
    with LocalEngine(workers=workers) as engine:
        engine.submit("a", fail, 7)
        with pytest.raises(SourceError, match="task 7: found this, wanted that\nnext: go"):
            engine.next_finished()


def test_a_dead_worker_is_said_and_not_waited_for() -> None:
    with LocalEngine(workers=2) as engine:
        engine.submit("a", die, 0)
        with pytest.raises(OutputError, match="worker process"):
            engine.next_finished()


def test_workers_end_with_a_killed_parent() -> None:
    program = (
        "import os, signal, sys, time\n"
        "from finedata.engine.local import LocalEngine\n"
        "if __name__ == '__main__':\n"
        "    engine = LocalEngine(workers=2)\n"
        "    for n in range(2):\n"
        "        engine.submit(n, abs, -n)\n"
        "    while engine.pending:\n"
        "        engine.next_finished()\n"
        "    pids = list(engine._pool._processes)\n"
        "    print(*pids, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert killed.returncode == -9, killed.stderr
    pids = [int(pid) for pid in killed.stdout.split()]
    assert len(pids) >= 1
    for pid in pids:
        assert _ends_within(pid, seconds=10.0), f"worker {pid} outlived its parent"


def _ends_within(pid: int, *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        # A reaped-by-nobody zombie has ended too.
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_begin_early_have_loaded_the_module(workers: int) -> None:
    with LocalEngine(workers=workers) as engine:
        engine.begin("xml.dom.pulldom")
        assert engine.pending == 0
        for number in range(4):
            engine.submit(number, _is_loaded, "xml.dom.pulldom")
        loaded = {engine.next_finished()[1] for _ in range(4)}
    # With one worker the work is done here, and nothing is loaded for it. Of two, the first to
    # start may have taken both orders.
    assert (True in loaded) == (workers == 2)


def _is_loaded(module: str) -> bool:
    return module in sys.modules
