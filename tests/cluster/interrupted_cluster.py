"""A clustering run that kills itself with SIGKILL at the n-th event, or counts events (n = 0).

Run as a program: interrupted_cluster.py N DIR. Events are what changes the disk for good: before
and after each entry in a ledger, before each sync of a file and after each rename. Small tiles, so
that there are many. Prints the events, and the tiles that were computed.
"""

from __future__ import annotations

import os
import signal
import sys

from finedata.cluster.distance.tiles import TileLimits
from finedata.cluster.run import cluster
from finedata.cluster.settings import ClusterSettings
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

    Ledger.put = counted_put
    atomic._sync_file = counted_sync_file
    atomic.sync_folder = counted_sync_folder
    summary = cluster(
        sys.argv[2],
        settings=ClusterSettings(budget=6, landmarks_above=4, num_landmarks=3),
        limits=TileLimits(cells=1500, block=2),
        workers=1,
    )
    print(countdown.seen, summary.tiles_computed, summary.tiles)


if __name__ == "__main__":
    main()
