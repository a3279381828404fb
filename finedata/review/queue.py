"""Which fact a reviewer sees next: the most doubtful first, and a random share among them.

First what motion contradicts, then where two runs say different things of one slot at one time,
then what nobody reviewed; what was measured from motion itself comes last. Every tenth is drawn
from an audit share, facts whose id decides alone that they belong to it, so that precision can be
told without the bias of looking where the doubt is.

A fact on somebody's screen is leased for ten minutes, in a file that all servers over the dataset
share: two people never hold one. A lease that is lost costs nothing but a second look: decisions
are checked against revisions, not against leases.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.store.run.ledger import LEDGER_FOLDER
from finedata.store.tables.episode_rows import newest_facts, text_key, text_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from finedata.store.dataset import Dataset

LEASE_S = 600.0
_AUDIT_SHARE = 20
_SECOND_SHARE = 10
_AUDIT_EVERY = 10


def in_audit(fact_id: str) -> bool:
    """Whether a fact belongs to the audit share, a twentieth, whatever is known of it.

    Example:
        >>> in_audit("000000000000c0ff"), in_audit("0000000000000014")
        (False, True)
    """
    return bool(_digits(np.array([fact_id.encode()], "S"), 0)[0] % _AUDIT_SHARE == 0)


def in_second_share(fact_id: str) -> bool:
    """Whether two people judge a fact, a tenth of all, whatever is known of it."""
    return bool(_digits(np.array([fact_id.encode()], "S"), 1)[0] % _SECOND_SHARE == 0)


def _digits(fact_ids: NDArray[np.bytes_], nth: int) -> NDArray[np.uint32]:
    """Numbers below 65536 that names of facts give: they are digits of a SHA-256."""
    letters = fact_ids.astype("S16").view(np.uint8).reshape(len(fact_ids), 16)
    letters = letters[:, 12 - 4 * nth : 16 - 4 * nth]
    digits = np.where(letters >= ord("a"), letters - ord("a") + 10, letters - ord("0")) & 15
    return digits.astype(np.uint32) @ np.array([4096, 256, 16, 1], np.uint32)


class Leases:
    """Who looks at which fact, for all servers over a dataset.

    Args:
        dataset: The dataset, on disk.
        now: The clock, in seconds.
    """

    def __init__(self, dataset: Dataset, *, now: Callable[[], float] = time.time) -> None:
        path = dataset.root / LEDGER_FOLDER / "review-leases.sqlite"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._now = now
        self._guard = threading.Lock()
        self._file = sqlite3.connect(
            path, isolation_level=None, timeout=10.0, check_same_thread=False
        )
        # no lease is worth waiting for the disk, and a loss of power costs no more than leases
        self._file.execute("pragma journal_mode = wal")
        self._file.execute("pragma synchronous = normal")
        self._file.execute(
            "create table if not exists leases "
            "(fact text primary key, reviewer text not null, until real not null)"
        )

    def take(self, fact_id: str, reviewer: str) -> bool:
        """Hold a fact for ten minutes from now; False where another holds it."""
        now = self._now()
        with self._guard:
            taken = self._file.execute(
                "insert into leases values (:fact, :reviewer, :until) on conflict (fact) do update "
                "set reviewer = :reviewer, until = :until "
                "where reviewer = :reviewer or until < :now",
                {"fact": fact_id, "reviewer": reviewer, "until": now + LEASE_S, "now": now},
            )
            return taken.rowcount > 0

    def give_back(self, fact_id: str, reviewer: str) -> None:
        """Hold it no longer."""
        with self._guard:
            self._file.execute(
                "delete from leases where fact = ? and reviewer = ?", (fact_id, reviewer)
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Queue:
    """Facts that wait for a reviewer, in the order of doubt.

    A million of them are a few numbers each: their order, their episodes, and their names.

    Args:
        dataset: The dataset, as it was when the server began.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._guard = threading.Lock()
        rows = newest_facts(
            dataset, "fact_id", "episode_id", "slot", "value", "run_id", "start_frame", "origin",
            "kinematic_verdict", "review_status",
        )  # fmt: skip
        self._episodes = dataset.episodes.select("episode_id").collect()["episode_id"]
        self._facts: NDArray[np.bytes_] = rows["fact_id"]
        self._place = _places(rows["episode_id"], text_keys(self._episodes))
        waits = rows["review_status"] == text_key("unreviewed")
        waits &= self._place < len(self._episodes)
        audit = _digits(self._facts, 0) % _AUDIT_SHARE == 0
        key = _doubt(rows).astype(np.uint64) << 56
        key |= self._place.astype(np.uint64) << 32
        key |= rows["start_frame"].astype(np.uint64)
        order = np.argsort(key, kind="stable").astype(np.uint32)
        self._doubtful = order[(waits & ~audit)[order]]
        # names are hashes, so that their order is as good as drawn
        audited = np.flatnonzero(waits & audit).astype(np.uint32)
        self._audited = audited[np.argsort(self._facts[audited])]
        self._from = [0, 0]

    def __len__(self) -> int:
        return len(self._doubtful) + len(self._audited)

    def waiting(self, is_done: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
        """Facts that are not done: fact_id and episode_id, the next one first."""
        with self._guard:
            for which, rows in enumerate((self._doubtful, self._audited)):
                while self._from[which] < len(rows) and is_done(
                    self._name(int(rows[self._from[which]]))
                ):
                    self._from[which] += 1
            doubt, audit = self._from
        turn = 0
        while doubt < len(self._doubtful) or audit < len(self._audited):
            turn += 1
            from_audit = audit < len(self._audited) and (
                turn % _AUDIT_EVERY == 0 or doubt >= len(self._doubtful)
            )
            row = int(self._audited[audit] if from_audit else self._doubtful[doubt])
            if from_audit:
                audit += 1
            else:
                doubt += 1
            fact_id = self._name(row)
            if not is_done(fact_id):
                yield fact_id, self._episodes[int(self._place[row])]

    def _name(self, row: int) -> str:
        return bytes(self._facts[row]).decode()

    def taken_back(self) -> None:
        """Look from the beginning again: a decision was taken back."""
        with self._guard:
            self._from = [0, 0]


def _doubt(rows: dict[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """0 contradicted, 1 two runs disagree, 2 said by somebody, 3 measured."""
    said = rows["origin"] != text_key("kinematic")
    own = np.flatnonzero(said)
    # one number for an episode, a slot and a frame: nearly never the same for two of them
    spot = rows["episode_id"] ^ (rows["slot"] * np.uint64(0x9E3779B97F4A7C15))
    spot = (spot + rows["start_frame"].astype(np.uint64) * np.uint64(0xD1B54A32D192ED03))[own]
    order = np.argsort(spot, kind="stable")
    spot = spot[order]
    begins = np.flatnonzero(np.append([True], spot[1:] != spot[:-1])[: len(own)])
    disagree = np.ones(len(begins), bool)
    for name in ("value", "run_id"):
        values = rows[name][own][order]
        if len(values):
            least, most = (of.reduceat(values, begins) for of in (np.minimum, np.maximum))
            disagree &= least != most
    sizes = np.diff(np.append(begins, len(own)))
    doubt = np.where(said, 2, 3).astype(np.uint8)
    doubt[own[order][np.repeat(disagree, sizes)]] = 1
    doubt[rows["kinematic_verdict"] == text_key("contradicted")] = 0
    return doubt


def _places(episode: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Where episodes stand in the dataset's order; of one that is not there, past the last."""
    order = np.argsort(known)
    at = np.searchsorted(known[order], episode)
    found = order[np.minimum(at, len(known) - 1)] if len(known) else np.zeros(len(episode), int)
    there = known[found] == episode if len(known) else np.zeros(len(episode), bool)
    return np.where(there, found, len(known)).astype(np.uint32)
