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

import hashlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import polars as pl

from finedata.store.ledger import LEDGER_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from finedata.store.dataset import Dataset

__all__ = ["Leases", "Queue", "in_audit"]

LEASE_S = 600.0
_AUDIT_SHARE = 20
_AUDIT_EVERY = 10


def in_audit(fact_id: str) -> bool:
    """Whether a fact belongs to the audit share, a twentieth, whatever is known of it.

    Example:
        >>> in_audit("0000000000000000")
        False
    """
    return hashlib.sha256(f"audit {fact_id}".encode()).digest()[0] % _AUDIT_SHARE == 0


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
        self._file.execute(
            "create table if not exists leases "
            "(fact text primary key, reviewer text not null, until real not null)"
        )

    def take(self, fact_id: str, reviewer: str) -> bool:
        """Hold a fact for ten minutes from now; False where another holds it."""
        now = self._now()
        with self._guard:
            taken = self._file.execute(
                "insert into leases values (?1, ?2, ?3) on conflict (fact) do update set "
                "reviewer = ?2, until = ?3 where reviewer = ?2 or until < ?4",
                (fact_id, reviewer, now + LEASE_S, now),
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

    Args:
        dataset: The dataset, as it was when the server began.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._guard = threading.Lock()
        rows = _by_doubt(dataset)
        audit = rows["fact_id"].map_elements(in_audit, return_dtype=pl.Boolean)
        self._doubtful = rows.filter(~audit)
        self._audited = rows.filter(audit).sort(pl.col("fact_id").hash(0))
        self._from = [0, 0]

    def __len__(self) -> int:
        return len(self._doubtful) + len(self._audited)

    def waiting(self, is_done: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
        """Facts that are not done: fact_id and episode_id, the next one first."""
        with self._guard:
            for which, rows in enumerate((self._doubtful, self._audited)):
                while self._from[which] < len(rows) and is_done(rows["fact_id"][self._from[which]]):
                    self._from[which] += 1
            doubt, audit = self._from
        turn = 0
        while doubt < len(self._doubtful) or audit < len(self._audited):
            turn += 1
            from_audit = audit < len(self._audited) and (
                turn % _AUDIT_EVERY == 0 or doubt >= len(self._doubtful)
            )
            rows, at = (self._audited, audit) if from_audit else (self._doubtful, doubt)
            if from_audit:
                audit += 1
            else:
                doubt += 1
            fact_id = rows["fact_id"][at]
            if not is_done(fact_id):
                yield fact_id, rows["episode_id"][at]

    def taken_back(self) -> None:
        """Look from the beginning again: a decision was taken back."""
        with self._guard:
            self._from = [0, 0]


def _by_doubt(dataset: Dataset) -> pl.DataFrame:
    columns = (
        "fact_id", "episode_id", "slot", "value", "start_frame", "run_id", "origin",
        "kinematic_verdict", "review_status",
    )  # fmt: skip
    rows = dataset.facts.select(columns).collect()
    said = pl.col("origin") != "kinematic"
    key = ["episode_id", "slot", "start_frame"]
    disagree = (
        said
        & (pl.col("value").n_unique().over(key) > 1)
        & (pl.col("run_id").n_unique().over(key) > 1)
    )
    doubt = (
        pl.when(pl.col("kinematic_verdict") == "contradicted")
        .then(0)
        .when(disagree)
        .then(1)
        .when(said)
        .then(2)
        .otherwise(3)
    )
    places = dataset.episodes.select("episode_id").with_row_index("place").collect()
    waiting = rows.with_columns(doubt.alias("doubt")).filter(
        pl.col("review_status") == "unreviewed"
    )
    return (
        waiting.join(places, on="episode_id", how="left")
        .sort("doubt", "place", "start_frame", "fact_id")
        .select("fact_id", "episode_id", "doubt")
    )
