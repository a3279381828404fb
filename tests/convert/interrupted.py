"""A conversion that kills itself with SIGKILL at the n-th event, or counts events (n = 0).

Run as a program: interrupted.py N INPUT OUT WORKERS [SOURCE [measure]]. Events are what changes the
disk for good: before and after each entry in the ledger, before each sync of a file and after each
rename; with `measure` they are the episodes whose videos are measured, alone. Small data files, so
that there are many of them.
"""

from __future__ import annotations

import os
import signal
import sys

import finedata.convert.planning.assign
from finedata.convert.run import convert
from finedata.convert.videos.stats import VideoStats
from finedata.store import atomic
from finedata.store.run.ledger import Ledger


class Countdown:
    def __init__(self, at: int) -> None:
        self.at = at
        self.seen = 0

    def event(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    countdown = Countdown(int(sys.argv[1]))
    put, sync_file, sync_folder = Ledger.put, atomic._sync_file, atomic.sync_folder

    def counted_put(*arguments: object, **named: object) -> None:
        countdown.event()
        put(*arguments, **named)
        countdown.event()

    def counted_sync_file(path: object) -> None:
        countdown.event()
        sync_file(path)

    def counted_sync_folder(path: object) -> None:
        countdown.event()
        sync_folder(path)

    measured = VideoStats.measure

    def counted_measure(*arguments: object, **named: object) -> object:
        found = measured(*arguments, **named)
        countdown.event()
        return found

    if sys.argv[6:] == ["measure"]:
        VideoStats.measure = counted_measure
    else:
        Ledger.put = counted_put
        atomic._sync_file = counted_sync_file
        atomic.sync_folder = counted_sync_folder
    finedata.convert.planning.assign.DATA_FILE_MB = 0.1
    source = sys.argv[5] if len(sys.argv) > 5 else "bridge_v2"
    convert(source, input=sys.argv[2], out=sys.argv[3], workers=int(sys.argv[4]))
    print(countdown.seen)


if __name__ == "__main__":
    main()
