"""Workers: the same batches, no batch that changes, and nothing left behind."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from shard.stream.tiny_shards import TinySet, make_shards

from finedata.errors import ConformError, OutputError
from finedata.shard.stream.opening import stream
from finedata.shard.stream.stream import Stream

SETS = [
    TinySet("a", "rep", [5, 9, 6], fine=frozenset({0, 1})),
    TinySet("b", "rep", [12, 3], fine=frozenset({0, 1})),
]
MIX = "fg=1,raw=2"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards") / "tiny", SETS)


def content(batch) -> list:
    """All of a batch, copied."""
    arrays = [batch.pictures, batch.picture_mask, batch.vectors, batch.vector_mask]
    found = [{name: array.tobytes() for name, array in one.items()} for one in arrays]
    return [batch.n.tolist(), batch.view, batch.episode_id, batch.text, batch.trace, found]


def test_workers_change_nothing_and_a_state_goes_from_them_to_none(tiny: Path):
    wanted = [content(b) for b in stream(tiny, mix=MIX, batch=6, stop=80, traces="hold")]
    # More workers than tars, and a last batch that is short.
    for workers in (1, 3):
        with stream(tiny, mix=MIX, batch=6, stop=80, traces="hold", workers=workers) as opened:
            got = [content(batch) for batch in islice(opened, 5)]
            state = opened.state_dict()
            assert state["n"] == 30
            # What was read ahead is not lost, and not given twice.
            got += [content(batch) for batch in opened]
        assert got == wanted
        with stream(tiny, mix=MIX, batch=6, stop=80, traces="hold") as other:
            other.load_state_dict(state)
            assert [content(batch) for batch in other] == wanted[5:]


def test_a_state_that_is_loaded_drops_what_was_read_ahead(tiny: Path):
    with stream(tiny, mix=MIX, batch=6, workers=2) as opened:
        first = [content(batch) for batch in islice(opened, 4)]
        opened.load_state_dict(opened.state_dict() | {"n": 6})
        assert [content(batch) for batch in islice(opened, 3)] == first[1:]


def test_late_workers_hold_up_nobody(tiny: Path):
    with stream(tiny, mix=MIX, batch=6, workers=3) as opened:
        next(iter(opened))
        ring = opened._ring
        ring.drop()
        for pid in workers_of(opened)[:2]:
            os.kill(pid, signal.SIGSTOP)
        asked = [opened.sequence.samples(n, n + 6) for n in range(0, 60, 6)]
        count = sum(ring.submit(samples) for samples in asked)
        assert count == 8
        pending, late = list(ring._pending), ring._workers[:2]
        while any(
            batch.done is None and not any(batch in worker.sent for worker in late)
            for batch in pending
        ):
            before = sum(batch.done is not None for batch in pending)
            ring._hear(timeout=60)
            ring._send()
            assert sum(batch.done is not None for batch in pending) > before
        # No more than two wait at the door of each late worker; the third has read the rest.
        assert sum(batch.done is not None for batch in pending) >= 4
        for pid in workers_of(opened)[:2]:
            os.kill(pid, signal.SIGCONT)
        assert [ring.take()[0].n.tolist() for _ in range(8)] == [
            samples.n.tolist() for samples in asked[:8]
        ]


def test_batches_that_are_held_do_not_change(tiny: Path):
    wanted = [content(b) for b in stream(tiny, mix=MIX, batch=4, stop=120)]
    with stream(tiny, mix=MIX, batch=4, stop=120, workers=1) as opened:
        held = list(opened)
        # A view of a view holds the memory as the batch does.
        rows = [batch.pictures["front"][1:][:1] for batch in held[:2]]
        assert [content(batch) for batch in held] == wanted
    pixels = [row.copy() for row in rows]
    del held
    gc.collect()
    assert all(np.array_equal(a, b) for a, b in zip(rows, pixels, strict=True))


def test_slots_that_nobody_holds_are_used_again(tiny: Path):
    with stream(tiny, mix=MIX, batch=4, stop=120, workers=1) as opened:
        places = {batch.pictures["front"].ctypes.data for batch in opened}
    assert len(places) <= 4


def test_a_dead_worker_is_named(tiny: Path):
    with stream(tiny, mix=MIX, batch=4, workers=2) as opened:
        next(iter(opened))
        victim = workers_of(opened)[1]
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(OutputError, match=rf"process {victim}: found its end by signal 9"):
            for _ in islice(opened, 20):
                pass
        state = opened.state_dict()
    with stream(tiny, mix=MIX, batch=4, workers=1) as other:
        other.load_state_dict(state)
        assert next(iter(other)).n[0] == state["n"]


def workers_of(opened: Stream) -> list[int]:
    return [worker.process.pid for worker in opened._ring._workers]


def test_what_a_worker_meets_is_raised_here(tiny: Path, tmp_path: Path):
    root = shutil.copytree(tiny, tmp_path / "s")
    path = root / "tars" / SETS[1].name / "train-000001.tar"
    damaged = bytearray(path.read_bytes())
    damaged[600] ^= 4
    path.write_bytes(damaged)
    with (
        stream(root, mix=MIX, batch=4, stop=200, workers=2) as opened,
        pytest.raises(ConformError, match=r"train-000001.tar, sample \d+"),
    ):
        list(opened)
    alone = stream(root, mix=MIX, batch=4, stop=200, on_bad="next")
    wanted = [content(batch) for batch in alone]
    with stream(root, mix=MIX, batch=4, stop=200, on_bad="next", workers=2) as opened:
        assert [content(batch) for batch in opened] == wanted
        assert opened.receipt() == alone.receipt()
    with (
        stream(root, mix=MIX, batch=4, workers=1, words={"raw": "steps"}) as opened,
    ):
        next(iter(opened))
    shutil.rmtree(next(root.glob("text/*")) / SETS[0].name)
    with (
        stream(root, mix="raw=1", batch=9, workers=1, traces="hold") as opened,
        pytest.raises(ConformError, match=r"episodes\.arrow"),
    ):
        list(islice(opened, 3))


PROGRAM = """
import sys
from finedata.shard.stream.opening import stream
opened = stream(sys.argv[1], mix="raw=1", batch=4, workers=2)
next(iter(opened))
print(*[worker.process.pid for worker in opened._ring._workers], flush=True)
sys.stdin.read()
"""


def test_nothing_stays_after_a_kill(tiny: Path):
    before = in_shm()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tiny)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        process.kill()
    for _ in range(500):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            break
        time.sleep(0.02)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not [path for path in in_shm() - before if "finedata" in path.name]


def in_shm() -> set[Path]:
    folder = Path("/dev/shm")
    return set(folder.iterdir()) if folder.is_dir() else set()


def test_two_streams_at_once_do_not_meet(tiny: Path):
    wanted = [content(b) for b in stream(tiny, mix=MIX, batch=6, stop=60)]
    with (
        stream(tiny, mix=MIX, batch=6, stop=60, workers=1) as one,
        stream(tiny, mix=MIX, batch=6, stop=60, workers=1) as other,
    ):
        pairs = [(content(a), content(b)) for a, b in zip(one, other, strict=True)]
    assert pairs == [(batch, batch) for batch in wanted]
