"""Streams of published shards: the same samples, each tar once, and what faults do."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub.loopback import Fault, Hub
from typer.testing import CliRunner

import finedata
from finedata.cli.app import app
from finedata.errors import OutputError, SourceError, UsageError
from finedata.shard.remote import RemoteFiles
from finedata.shard.shards import Shards
from finedata.shard.stream.ahead import Ahead, next_uses
from finedata.shard.stream.released import open_sequence
from finedata.store.remote.cache import FileCache

REPO = "org/shards"
ADDRESS = f"hf://datasets/{REPO}"
ASKED: dict[str, Any] = {"mix": "raw=1", "batch": 16, "horizon": 4, "group": 2, "seed": 3}
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def published(hub: Hub, shards: Path) -> Hub:
    finedata.publish([shards], repo_id=REPO)
    hub.seen.clear()
    return hub


def opened(cache: Path, *, cache_bytes: int | None = None, address: str = ADDRESS) -> Shards:
    found = Shards.open(address, cache=cache, cache_bytes=cache_bytes)
    assert isinstance(found.remote, RemoteFiles)
    return found


def drawn(shards: Shards | Path | str, **options: Any) -> tuple[list[Any], dict[str, Any]]:
    """Numbers, names and picture sums of what is drawn, and the state at the end.

    The commit alone says in a state where the shards lay; it is looked at on its own.
    """
    with finedata.stream(shards, **{**ASKED, **options}) as stream:
        found = [
            (
                batch.n.tolist(),
                batch.episode_id,
                batch.text,
                {role: int(array.sum()) for role, array in batch.pictures.items()},
                {role: float(np.nansum(array)) for role, array in batch.vectors.items()},
            )
            for batch in stream
        ]
        return found, stream.state_dict() | {"commit": ""}


def tar_requests(hub: Hub) -> Counter[str]:
    """How often each tar was asked for."""
    return Counter(one.path.partition("/tars/")[2] for one in hub.seen if one.path.endswith(".tar"))


def bytes_of_tars(shards: Path) -> int:
    return sum(path.stat().st_size for path in shards.rglob("*.tar"))


def samples_of(shards: Path) -> int:
    return sum(one.samples for one in Shards.open(shards).sets.values())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_is_that_of_the_local_shards(
    published: Hub, shards: Path, tmp_path: Path, workers: int
) -> None:
    # Two epochs in this process, a part of one in workers, which are slow to start.
    stop = samples_of(shards) * (1 if workers else 2)
    here = drawn(shards, stop=stop)
    there = drawn(opened(tmp_path / "cache"), stop=stop, workers=workers)
    assert there == here
    # Every tar came once.
    assert set(tar_requests(published).values()) == {1}
    sent = sum(one.sent for one in published.seen)
    every = sum(
        path.stat().st_size
        for path in shards.rglob("*")
        if path.is_file() and ".finedata" not in path.parts
    )
    assert sent <= 1.02 * every
    published.seen.clear()
    assert drawn(opened(tmp_path / "cache"), stop=stop) == here
    assert not tar_requests(published)


def test_a_cache_smaller_than_the_shards(published: Hub, shards: Path, tmp_path: Path) -> None:
    total = bytes_of_tars(shards)
    epochs = 2
    stop = epochs * samples_of(shards)
    bound = total // 2
    remote = opened(tmp_path / "cache", cache_bytes=bound)
    assert drawn(remote, stop=stop) == drawn(shards, stop=stop)
    asked = tar_requests(published)
    assert len(asked) == len(list(shards.rglob("*.tar")))
    # One request a shard, view and epoch at most; what is still here is not asked for.
    assert max(asked.values()) <= epochs
    assert sum(asked.values()) < epochs * len(asked)
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.tar"))
    assert kept <= bound
    # What lies behind the end of a stream is not fetched for it.
    published.seen.clear()
    drawn(opened(tmp_path / "other", cache_bytes=bound), stop=samples_of(shards))
    assert set(tar_requests(published).values()) == {1}


@pytest.mark.parametrize("late", [0.01, 0.1])
def test_one_request_an_epoch_however_late_the_thread_ahead_is(
    published: Hub, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    """On a busy machine the reader passes it, and makes room by the same plan."""
    bring = Ahead._bring_one

    def bring_late(self: Ahead, *asked: Any) -> bool:
        time.sleep(late)
        return bring(self, *asked)

    monkeypatch.setattr(Ahead, "_bring_one", bring_late)
    remote = opened(tmp_path / "cache", cache_bytes=bytes_of_tars(shards) // 2)
    drawn(remote, stop=2 * samples_of(shards))
    assert max(tar_requests(published).values()) <= 2


def test_a_cache_that_cannot_hold_a_group_is_refused(
    published: Hub, shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="read at one time") as caught:
        drawn(opened(tmp_path / "cache", cache_bytes=70_000), stop=16)
    assert caught.value.parameter == "cache_bytes"
    assert not tar_requests(published)


def test_next_uses_are_when_tars_are_read(shards: Path) -> None:
    sequence = open_sequence(
        Shards.open(shards), mix="raw=1", sources=None, seed=3, group=2,
        policy="not_contradicted", revision=None, side="train",
    )  # fmt: skip
    stop = 3 * samples_of(shards)
    read = sequence.samples(0, stop)
    keys = list(zip(read.shard_set.tolist(), read.tar.tolist(), strict=True))
    for n in range(0, stop // 2, 37):
        for key, distance in next_uses(sequence, n).items():
            later = [at - n for at in range(n, stop) if keys[at] == key]
            # A tar is read from when its group begins; inside the group, at any moment.
            assert distance <= later[0], (n, key)
    assert set(next_uses(sequence, 0)) == set(keys)


def test_processes_share_a_cache(published: Hub, shards: Path, tmp_path: Path) -> None:
    program = (
        "import sys, finedata\n"
        "from finedata.shard.shards import Shards\n"
        "shards = Shards.open(sys.argv[1], cache=sys.argv[2])\n"
        "with finedata.stream(shards, mix='raw=1', batch=16, horizon=4, group=2, seed=3,\n"
        "                     rank=int(sys.argv[3]), world=2, stop=int(sys.argv[4])) as stream:\n"
        "    print(sum(len(batch.n) for batch in stream))\n"
    )
    stop = samples_of(shards) // 16 * 16
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, ADDRESS, str(tmp_path / "c"), str(rank), str(stop)],
            stdout=subprocess.PIPE,
            env=os.environ | {"HF_HUB_DISABLE_XET": "1"},
        )
        for rank in range(2)
    ]
    given = [int(one.communicate(timeout=120)[0]) for one in running]
    assert sum(given) == stop
    assert set(tar_requests(published).values()) == {1}


def test_a_state_goes_on_elsewhere(published: Hub, shards: Path, tmp_path: Path) -> None:
    _, state = drawn(opened(tmp_path / "one"), stop=48)
    whole, end = drawn(shards, stop=96)
    with finedata.stream(opened(tmp_path / "two"), **ASKED, stop=96) as stream:
        stream.load_state_dict(state)
        assert [batch.n.tolist() for batch in stream] == [one[0] for one in whole[3:]]
        assert stream.state_dict() | {"commit": ""} == end


@pytest.mark.parametrize("kind", ["bucket", "web", "memory"])
def test_shards_at_other_addresses(hub: Hub, shards: Path, tmp_path: Path, kind: str) -> None:
    import fsspec

    if kind == "memory":
        fsspec.filesystem("memory").put(str(shards), "/remote/shards", recursive=True)
        address = "memory://remote/shards"
    else:
        shutil.copytree(shards, hub.store / "buckets" / "org" / "data" / "shards")
        address = {
            "bucket": "hf://buckets/org/data/shards",
            "web": f"{hub.endpoint}/buckets/org/data/resolve/shards",
        }[kind]
    found = drawn(opened(tmp_path / "cache", address=address), stop=64)
    assert found == drawn(shards, stop=64)


def test_new_words_are_a_small_commit_and_no_tar_comes_again(
    hub: Hub, bridge: Path, shards: Path, tmp_path: Path
) -> None:
    root, dataset = tmp_path / "shards", tmp_path / "bridge"
    shutil.copytree(shards, root)
    shutil.copytree(bridge, dataset)
    finedata.publish([root], repo_id=REPO)
    drawn(opened(tmp_path / "cache"), stop=64)
    facts = next((dataset / "annotations" / "instructions").glob("*.parquet"))
    import polars as pl
    import pyarrow.parquet as pq

    rows = pl.read_parquet(facts).with_columns(text=pl.col("text") + " now")
    pq.write_table(rows.to_arrow().cast(pq.read_schema(facts)), facts)
    done = CliRunner().invoke(app, ["shard", str(root), "--text", str(dataset)])
    assert done.exit_code == 0, done.output
    hub.stored.clear()
    hub.seen.clear()
    found = finedata.publish([root], repo_id=REPO)
    assert found.commits == 1
    assert found.sent_files <= 3 + 6 * len(Shards.open(root).sets)
    assert hub.count(r"PUT") < found.sent_files
    tars = {one.sha256 for path, one in hub.tree(REPO).items() if path.endswith(".tar")}
    assert not tars & set(hub.stored)
    hub.seen.clear()
    there = drawn(opened(tmp_path / "cache"), stop=64)
    assert there == drawn(root, stop=64)
    new = Shards.open(root).text_revision().revision
    assert opened(tmp_path / "cache").text_revision().revision == new
    assert new != Shards.open(shards).text_revision().revision
    again = tar_requests(hub)
    assert not again or max(again.values()) == 1
    kept = {path.name for path in (tmp_path / "cache").rglob("*.tar")}
    assert not [name for name in again if Path(name).name in kept and again[name] > 1]


# Faults.


def test_half_a_body_while_the_cache_is_filled(
    published: Hub, shards: Path, tmp_path: Path, waits: list[float]
) -> None:
    published.faults.append(Fault("half", r"GET .*\.tar$", times=3))
    assert drawn(opened(tmp_path / "cache"), stop=64) == drawn(shards, stop=64)


def test_other_bytes_are_fetched_again_once(published: Hub, shards: Path, tmp_path: Path) -> None:
    published.faults.append(Fault("wrong", r"GET .*\.tar$", times=1))
    assert drawn(opened(tmp_path / "cache"), stop=64) == drawn(shards, stop=64)
    published.faults.append(Fault("wrong", r"GET .*\.tar$", times=1000))
    with pytest.raises(SourceError, match="SHA-256"):
        drawn(opened(tmp_path / "other"), stop=64)
    assert not list((tmp_path / "other").rglob("*.tar"))


def test_a_table_with_other_bytes(published: Hub, tmp_path: Path) -> None:
    published.faults.append(Fault("wrong", r"GET .*/frames/", times=2))
    with pytest.raises(SourceError, match="SHA-256"):
        drawn(opened(tmp_path / "cache"), stop=16)


def test_a_full_disk_while_the_cache_is_filled(
    published: Hub, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FileCache._fill

    def full(self: FileCache, partial: Path, path: Path, *rest: Any) -> None:
        if path.suffix == ".tar":
            from finedata.store.atomic import output_errors

            with output_errors(path):
                raise OSError(errno.ENOSPC, "No space left on device")
        real(self, partial, path, *rest)

    monkeypatch.setattr(FileCache, "_fill", full)
    with pytest.raises(OutputError, match="No space left"):
        drawn(opened(tmp_path / "cache"), stop=16)
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_a_machine_without_a_network_reads_what_is_here(
    published: Hub,
    shards: Path,
    tmp_path: Path,
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What is read ahead may all be here before the network goes.
    monkeypatch.setattr(Ahead, "_bring_one", lambda *_: False)
    remote = opened(tmp_path / "cache")
    stop = samples_of(shards)
    with finedata.stream(remote, **ASKED, stop=stop) as stream:
        first = next(iter(stream))
        published.faults.append(Fault("status", ".*", times=10_000, status=503))
        with pytest.raises(SourceError, match="503"):
            for _ in stream:
                pass
    assert first.n.tolist() == list(range(16))


def test_a_killed_process_leaves_a_cache_that_works(
    published: Hub, shards: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    found = opened(cache)
    remote = found.remote
    assert remote is not None
    name = next(iter(found.sets))
    tar = found.sets[name].tars[0]
    folder = cache / remote.root.name / "tars" / name
    folder.mkdir(parents=True)
    (folder / f".{tar.name}.partial").write_bytes(b"\0" * (tar.bytes + 5))
    (cache / ".plans").mkdir()
    plan = {"pid": 2**22 + 1, "distance": {remote.cached_name(name, 0): 0.0}}
    (cache / ".plans" / "gone.json").write_text(json.dumps(plan))
    assert remote.bring_tar(name, 0)
    assert hashlib.sha256((folder / tar.name).read_bytes()).hexdigest() == tar.sha256
    assert drawn(found, stop=32) == drawn(shards, stop=32)


def test_what_is_read_is_never_removed(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 250)

    def bring(name: str) -> bool:
        content = name.encode() * 10
        return cache.bring(
            f"{name}.tar",
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            pieces=lambda: iter([content]),
            removable=True,
        )

    for name in ("a" * 8, "b" * 8, "c" * 8):
        assert bring(name)
    cache.plan("me", {f"{'a' * 8}.tar": 0.0, f"{'b' * 8}.tar": 500.0, f"{'c' * 8}.tar": 9.0})
    assert bring("d" * 8)
    assert not (tmp_path / f"{'b' * 8}.tar").exists()
    cache.plan("me", {f"{name * 8}.tar": 0.0 for name in "acd"})
    with pytest.raises(OutputError, match="being read"):
        bring("e" * 8)
    cache.forget("me")
    assert bring("e" * 8)


def test_what_a_killed_process_left_makes_room(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 100)
    (tmp_path / ".old.tar.partial").write_bytes(b"x" * 90)
    content = b"y" * 50
    sha256 = hashlib.sha256(content).hexdigest()
    assert cache.bring(
        "new.tar", size=50, sha256=sha256, pieces=lambda: iter([content]), removable=True
    )
    assert {path.name for path in tmp_path.iterdir()} == {".locks", "new.tar"}


def test_no_shards_there(published: Hub, tmp_path: Path) -> None:
    published.make("org/empty")
    with pytest.raises(UsageError, match=r"no shards\.json"):
        opened(tmp_path, address="hf://datasets/org/empty")


def test_the_command_line(published: Hub, tmp_path: Path) -> None:
    told = CliRunner().invoke(
        app,
        ["stream", ADDRESS, "--mix", "raw=1", "--batches", "2", "--cache", str(tmp_path), "--json"],
    )
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["stop"] == 64
    assert re.search(r"[\d,]+ requests", told.stderr)
    known = {"FINEDATA_CACHE": str(tmp_path)}
    told = CliRunner().invoke(app, ["info", ADDRESS, "--json"], env=known)
    assert told.exit_code == 0, told.exception
    assert json.loads(told.stdout)["finedata.schema"] == "shards"
