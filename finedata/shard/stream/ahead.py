"""Reading tars ahead of a stream of remote shards: what comes next is known, so nothing is guessed.

The sequence says in which group of shards each source of each view is, and when it gets to the
next. So tars are fetched in the order of their next use, as many as the cache holds, and the cache
is told when each will be read: removing the one whose next use is furthest is the best that can be
done (L. A. Belady, A study of replacement algorithms, IBM Systems Journal 5, 1966).
"""

from __future__ import annotations

import logging
import os
from threading import Condition, Thread
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import FinedataError, UsageError
from finedata.shard.stream.few import SHARE, FewSamples

if TYPE_CHECKING:
    from finedata.shard.remote import RemoteFiles
    from finedata.shard.stream.sequence import Sequence

_LOG = logging.getLogger(__name__)


def reads_ahead(sequence: Sequence) -> Ahead | None:
    """What fetches tars before they are needed; None where all of them are here."""
    # The released sampling has no order that could be known.
    if sequence.sampling != "scheduled" or sequence.shards.remote is None:
        return None
    return Ahead(sequence, sequence.shards.remote)


def next_uses(sequence: Sequence, n: int) -> dict[tuple[int, int], float]:
    """When each tar is read next, in samples from sample n of the sequence.

    Returns:
        (number of the set, number of the tar) to samples from n; 0 where it is being read.
    """
    found: dict[tuple[int, int], float] = {}
    drawn = sequence.mixture.drawn(n)
    for view, share in zip(sequence.mixture.views, sequence.mixture.schedule.weights, strict=True):
        for source, order, part in zip(
            view.sources, view.orders, view.schedule.weights, strict=True
        ):
            rate = float(share * part)
            if not rate:
                continue
            ordinal = drawn[view.name, source]
            for shard, start in order.next_groups(ordinal):
                key = sequence.tar_of(view.name, source, shard)
                distance = max(start - ordinal, 0) / rate
                found[key] = min(distance, found.get(key, np.inf))
    return found


class Ahead:
    """A thread that brings tars before they are asked for.

    Args:
        sequence: Of shards that lie elsewhere.
        files: Their files.

    Raises:
        UsageError: The cache cannot hold the tars that are read at one time.
    """

    def __init__(self, sequence: Sequence, files: RemoteFiles) -> None:
        self._sequence = sequence
        self._files = files
        self._few = FewSamples(
            sequence.shards,
            sets=sequence.sets,
            views=sequence.views,
            revision=None if sequence.revision is None else sequence.revision.revision,
            policy=sequence.policy,
        )
        if says := self._few.says():
            _LOG.warning("%s", says)
        self._owner = f"{os.getpid()}-{id(self)}"
        self._wake = Condition()
        self._n, self._changes_at = 0, -1.0
        self._stop: int | None = None
        self._ended = False
        self._thread: Thread | None = None
        self._check_room()

    def move(self, n: int, stop: int | None) -> None:
        """Say that sample n comes next, and where the stream ends; called for every batch.

        Who needs room decides by the plan, in this thread or in another process, and must not do
        so by an old one. Until a group of shards begins, all next uses come nearer alike and their
        order stands; so a new plan is written then, and by nobody but this.
        """
        with self._wake:
            if n < self._n or n >= self._changes_at:
                self._plan(n)
            self._n, self._stop = n, stop
            self._wake.notify()
        if self._thread is None:
            self._thread = Thread(target=self._run, name="finedata-ahead", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread, after the file that is on its way."""
        with self._wake:
            self._ended = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._ended = False
        self._files.cache.forget(self._owner)

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._ended:
                    return
                n, changes_at = self._n, self._changes_at
            try:
                busy = self._bring_one(n, changes_at)
            except FinedataError:
                # Whoever needs the file meets the same fault, and raises it where it counts.
                busy = False
            with self._wake:
                if not busy and self._n == n and not self._ended:
                    self._wake.wait()

    def _bring_one(self, n: int, changes_at: float) -> bool:
        """Bring the next tar that is not here and that fits; whether there was one."""
        room = self._files.cache.max_bytes
        for (shard_set, number), distance in _nearest_first(next_uses(self._sequence, n)):
            if self._stop is not None and n + distance >= self._stop:
                return False
            name = self._sequence.sets[shard_set]
            ranges = self._few.ranges(name, number)
            tar = self._sequence.shards.sets[name].tars[number]
            room -= tar.bytes if ranges is None else ranges.total_bytes
            if room < 0:
                return False

            # Not what was read meanwhile, and removed again: it is not wanted any more.
            def still() -> bool:
                return n <= self._n and self._changes_at == changes_at

            if ranges is not None:
                if self._files.bring_ranges(name, number, ranges, still=still):
                    return True
            elif not self._files.has_tar(name, number):
                self._files.bring_tar(name, number, still=still)
                return True
        return False

    def _plan(self, n: int) -> None:
        """Tell all processes when each tar is read next."""
        uses = next_uses(self._sequence, n)
        self._files.cache.plan(
            self._owner,
            {self._cached_name(*tar): distance for tar, distance in _nearest_first(uses)},
        )
        self._changes_at = n + min((one for one in uses.values() if one > 0), default=np.inf)

    def _cached_name(self, shard_set: int, number: int) -> str:
        name = self._sequence.sets[shard_set]
        if (name, number) in self._few.wanted:
            return self._files.ranges_name(name, number, self._few.name)
        return self._files.cached_name(name, number)

    def _check_room(self) -> None:
        """Refuse a cache in which tars would drive out each other while they are read."""
        sizes = {
            # Of ranges, the most that they can be: nothing is asked for to know it exactly.
            (k, number): int(2 * SHARE * tar.bytes)
            if (name, number) in self._few.wanted
            else tar.bytes
            for k, name in enumerate(self._sequence.sets)
            for number, tar in enumerate(self._sequence.shards.sets[name].tars)
        }
        uses = next_uses(self._sequence, 0)
        now = sum(sizes[key] for key, distance in uses.items() if distance == 0)
        # Groups of the views need not end together, so one more tar of each may be on its way.
        wanted = now + max((sizes[key] for key in uses), default=0)
        if sum(sizes[key] for key in uses) > self._files.cache.max_bytes < wanted:
            raise UsageError(
                parameter="cache_bytes",
                found=f"{self._files.cache.max_bytes:,}",
                wanted=f"{wanted:,} or more: the tars that are read at one time, and one",
                next_command=f"a larger cache_bytes, or group={max(self._sequence.group // 2, 1)}",
            )


def _nearest_first(
    uses: dict[tuple[int, int], float],
) -> list[tuple[tuple[int, int], float]]:
    return sorted(uses.items(), key=lambda item: (item[1], item[0]))
