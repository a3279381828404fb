"""What users of other loaders have reported, tried here: datasets 3423, 6673 and 7447, torchdata
1437 and 1520, KempnerForge 57, streaming 880, pytorch 5040, webdataset 444, wall-x 113.

Tried elsewhere: nothing left in shared memory and more readers than shards (`test_ring`,
`test_topology`), constants that become NaN when serving (`test_codec`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import pytest
from shard.stream.tiny_shards import TinySet, make_shards

from finedata.errors import OutputError, UsageError
from finedata.shard.stream.opening import stream
from finedata.shard.torch import TensorStream

SETS = [
    TinySet("a", "rep", [5, 9, 6], fine=frozenset({0, 1}), size=(8, 8)),
    TinySet("b", "rep", [12, 3], fine=frozenset({0, 1}), size=(8, 8)),
]
SIZE = 35


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards") / "tiny", SETS)


def rows(batches) -> list[tuple[str, int]]:
    return [
        row
        for batch in batches
        for row in zip(batch.episode_id, batch.frame_index.tolist(), strict=True)
    ]


def test_workers_of_a_loader_would_repeat_every_sample_and_are_refused(tiny: Path):
    data = pytest.importorskip("torch.utils.data", reason="torch is not installed")
    loader = data.DataLoader(
        TensorStream(stream(tiny, mix="raw=1", batch=5, stop=35)), batch_size=None, num_workers=2
    )
    # torch raises errors of workers anew, as its own where it cannot make ours.
    with pytest.raises((UsageError, RuntimeError), match="num_workers=0"):
        list(loader)


def test_a_third_resume_is_where_the_first_run_would_be(tiny: Path):
    whole = rows(stream(tiny, mix="raw=1", batch=5, stop=80))
    got, state = [], None
    for count in (3, 1, 0, 4, 8):
        opened = stream(tiny, mix="raw=1", batch=5, stop=80)
        if state is not None:
            opened.load_state_dict(state)
            # A state that was loaded and not used is the same state.
            assert opened.state_dict() == state
        got += rows(islice(opened, count))
        state = json.loads(json.dumps(opened.state_dict()))
    assert got == whole


def test_epochs_after_a_resume_are_whole(tiny: Path):
    first = stream(tiny, mix="raw=1", batch=5)
    begun = rows(islice(first, 5))
    rest = stream(tiny, mix="raw=1", batch=5, stop=3 * SIZE)
    rest.load_state_dict(first.state_dict())
    got = begun + rows(rest)
    epochs = [got[at : at + SIZE] for at in range(0, 3 * SIZE, SIZE)]
    assert all(len(set(epoch)) == SIZE for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_what_was_read_ahead_when_a_state_was_taken_is_given_after_it(tiny: Path):
    whole = rows(stream(tiny, mix="raw=1", batch=5, stop=60))
    with stream(tiny, mix="raw=1", batch=5, workers=2) as opened:
        given = rows(islice(opened, 3))
        state = opened.state_dict()
    with stream(tiny, mix="raw=1", batch=5, stop=60, workers=1) as other:
        other.load_state_dict(state)
        assert given + rows(other) == whole


def test_a_worker_without_memory_is_named(tiny: Path):
    with stream(tiny, mix="raw=1", batch=4, workers=1) as opened:
        next(iter(opened))
        os.kill(opened._ring._workers[0].process.pid, signal.SIGBUS)
        with pytest.raises(OutputError, match=r"signal 7(.|\n)*if memory was short"):
            list(islice(opened, 9))


def test_workers_end_although_a_fork_holds_their_sockets(tiny: Path):
    opened = stream(tiny, mix="raw=1", batch=4, workers=2)
    next(iter(opened))
    processes = [worker.process for worker in opened._ring._workers]
    begin, end = os.pipe()
    child = os.fork()
    if not child:
        os.close(end)
        os.read(begin, 1)
        os._exit(0)
    try:
        opened.close()
        # They were not killed: they heard that nobody sends any more.
        assert [process.returncode for process in processes] == [0, 0]
    finally:
        os.close(end)
        os.close(begin)
        os.waitpid(child, 0)


def test_files_where_somebody_works_are_no_modules_of_workers(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "msgspec.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    with stream(tiny, mix="raw=1", batch=5, stop=10, workers=1) as opened:
        assert len(rows(opened)) == 10


def test_a_relative_path_is_meant_where_the_stream_was_opened(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wanted = rows(stream(tiny, mix="raw=1", batch=5, stop=20))
    shutil.copytree(tiny, tmp_path / "here/s")
    monkeypatch.chdir(tmp_path / "here")
    for workers in (0, 1):
        monkeypatch.chdir(tmp_path / "here")
        with stream("s", mix="raw=1", batch=5, stop=20, workers=workers) as opened:
            monkeypatch.chdir(tmp_path)
            assert rows(opened) == wanted


ROLES = """
version = 1
cameras = ["main"]
[vectors.go]
names = ["x"]
[[parts]]
source = "a"
part = "main"
cameras = {main = "front"}
vectors = {go = {x = "action:right_x"}}
[[parts]]
source = "b"
part = "main"
cameras = {main = "front"}
vectors = {go = {x = "action:right_x"}}
"""


def test_settings_may_be_of_numpy_or_lists(tiny: Path, tmp_path: Path):
    (tmp_path / "r.toml").write_text(ROLES)
    plain = {"batch": 4, "seed": 3, "horizon": 2, "stop": 12, "group": 2, "history": 1, "stride": 2}
    one = stream(
        tiny, mix={"fg": 0.1, "raw": 0.25}, size=(8, 8), roles=tmp_path / "r.toml", **plain
    )
    other = stream(
        str(tiny),
        mix={"fg": np.float64(0.1), "raw": np.float32(0.25)},
        size=[8, 8],
        roles=str(tmp_path / "r.toml"),
        workers=np.int64(1),
        **{name: np.int64(value) for name, value in plain.items()},
    )
    with other:
        assert rows(one) == rows(other)
        assert json.dumps(one.state_dict()) == json.dumps(other.state_dict())
        assert msgspec.json.encode(one.receipt()) == msgspec.json.encode(other.receipt())


@pytest.mark.parametrize(
    "wrong", [{"batch": 4.0}, {"seed": "7"}, {"seed": 2**64}, {"horizon": None}, {"stop": 1.5}]
)
def test_settings_that_are_no_whole_numbers_are_named(tiny: Path, wrong: dict):
    (name,) = wrong
    with pytest.raises(UsageError, match=name):
        stream(tiny, mix="raw=1", **wrong)
