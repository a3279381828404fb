"""A run of shards that is killed with SIGKILL at the n-th event, for every n; then finished.

Run as a program: interrupted_shard.py DATASET FOLDER SETTINGS [MORE [compact]] (settings as JSON;
MORE is a dataset that is then appended, or by which the shards are compacted). Prints the number of
events, or what came out otherwise. Each run is a fork of a process that has imported everything and
used nothing, so one costs a fraction of a second. Events are what changes the disk for good: before
and after each entry in the ledger, before each sync of a file, after each rename, and before and
after a folder is removed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import polars as pl  # noqa: F401  (imported before the forks, used after them)
import pyarrow.parquet  # noqa: F401
from shard.curation import tree

import finedata.shard.making.plan
import finedata.shard.making.prepare
from finedata.shard.making import compact as compact_module
from finedata.shard.making import run as run_module
from finedata.shard.making.settings import ShardSettings
from finedata.store import atomic
from finedata.store.dataset import open_dataset
from finedata.store.run.ledger import Ledger


class Countdown:
    at = 0
    seen = 0

    def event(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def watch(countdown: Countdown) -> None:
    def counted(function: Callable[..., object], *, after: bool = False) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            countdown.event()
            result = function(*arguments, **named)
            if after:
                countdown.event()
            return result

        return call

    Ledger.put = counted(Ledger.put, after=True)
    atomic._sync_file = counted(atomic._sync_file)
    atomic.sync_folder = counted(atomic.sync_folder)
    run_module.shutil.rmtree = counted(shutil.rmtree, after=True)


def forked(work: Callable[[], None]) -> int:
    """Run in a fork; its exit code, negative where a signal ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    dataset, folder = sys.argv[1], Path(sys.argv[2])
    settings = msgspec.json.decode(sys.argv[3], type=ShardSettings)
    more = sys.argv[4] if len(sys.argv) > 4 else None
    compacts = len(sys.argv) > 5
    finedata.shard.making.plan.UNIT_BYTES = 1 << 16
    base = folder / "base"

    def once(out: Path, at: int, count: Path | None = None) -> int:
        def work() -> None:
            countdown = Countdown()
            countdown.at = at
            watch(countdown)
            if compacts:
                compact_module.compact_shards(out, [open_dataset(more)])
            elif more is None:
                run_module.shard_datasets([dataset], out=out, settings=settings)
            else:
                run_module.shard_datasets([more], out=out, settings=settings, append=True)
            if count is not None:
                count.write_text(str(countdown.seen))

        return forked(work)

    def fresh(name: str) -> Path:
        out = folder / name
        if more is not None:
            shutil.copytree(base, out)
        return out

    if more is not None:
        assert (
            forked(lambda: run_module.shard_datasets([dataset], out=base, settings=settings)) == 0
        )
    assert once(fresh("whole"), 0, folder / "events") == 0
    events = int((folder / "events").read_text())
    wanted = tree(folder / "whole")
    for at in range(1, events + 1):
        out = fresh(str(at))
        code = once(out, at)
        if code != -signal.SIGKILL:
            sys.exit(f"event {at} of {events}: not killed, {code}")
        if once(out, 0) != 0 or tree(out) != wanted:
            sys.exit(f"event {at} of {events}: another result")
        shutil.rmtree(out)
    print(events)


if __name__ == "__main__":
    main()
