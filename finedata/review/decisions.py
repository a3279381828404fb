"""Decisions of people: in the journal when they are shown as saved, in revisions of facts later.

A decision holds the whole row before and after it, and the row after has the next revision. So
decisions that wait in the journal are laid over the stored facts by one rule, a row takes the
place of the one revision before it, and nothing is applied twice however often files and journal
are read. Who decides over a revision that is no longer the newest is told, and sees the newest.

Several servers may stand over one dataset: a decision is checked and written under a lock that all
of them share, and what the others wrote is read again whenever the journal's last number differs.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from finedata.errors import StaleRowError, UsageError
from finedata.schema.conform import conform
from finedata.schema.makers import revised
from finedata.schema.tables import arrow_schema
from finedata.store.ledger import LEDGER_FOLDER
from finedata.store.lock import locked
from finedata.store.review_journal import ReviewJournal, journal_path
from finedata.store.table import compact_reviews

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.store.dataset import Dataset
    from finedata.store.table import TableWriter

__all__ = ["CHANGING", "EDITABLE", "Decisions", "over", "settle"]

CHANGING = {"accept": "accepted", "edit": "edited", "reject": "rejected"}
"""Decisions that write the row anew, and its `review_status` then."""
_UNCHANGING = ("skip", "send_back")
EDITABLE = ("text", "value", "start_frame", "end_frame")
"""What a reviewer may change of a fact."""


def over(rows: Sequence[Mapping[str, Any]], decisions: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Facts as they are after decisions that are not in files yet.

    Args:
        rows: Facts of one episode, the newest revisions.
        decisions: Rows of `reviews` in their order, of any episodes.

    Returns:
        The rows in their order, those that people added last.
    """
    now = {row["fact_id"]: dict(row) for row in rows}
    episodes = {row["episode_id"] for row in rows}
    for decision in decisions:
        known = now.get(decision["target_id"])
        if known is None and decision["decision"] != "add":
            continue
        after = _after(decision)
        if after is None or after["episode_id"] not in episodes:
            continue
        if known is None or known["revision"] + 1 == after["revision"]:
            now[after["fact_id"]] = after
    return list(now.values())


def settle(dataset: Dataset) -> int:
    """Move the decisions of the journal into files: facts get their revisions, ids stay.

    Killed at any moment and called again, it loses and doubles nothing.

    Returns:
        How many decisions were moved.
    """

    def apply(writer: TableWriter, decisions: list[dict[str, Any]]) -> None:
        for decision in decisions:
            after = _after(decision)
            if after is None:
                continue
            if decision["decision"] == "add":
                writer.add("facts", [after])
            else:
                writer.revise("facts", [after])

    return compact_reviews(dataset.root, apply=apply)


class Decisions:
    """Takes decisions about the facts of a dataset, for all threads of a server.

    Args:
        dataset: The dataset, on disk.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._root = dataset.root
        self._journal = ReviewJournal(dataset.root)
        self._head = journal_path(dataset.root).with_name("journal.head")
        self._lock = dataset.root / LEDGER_FOLDER / "review-decide.lock"
        self._guard = threading.RLock()
        self._seen = b"?"
        self._waiting: list[dict[str, Any]] = []
        self._stacks: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """Decisions in the journal, in their order."""
        with self._guard:
            head = self._head.read_bytes()
            if head != self._seen:
                rows, _ = self._journal.decisions()
                self._waiting, self._stacks = [], defaultdict(list)
                for row in rows:
                    self._take(row)
                self._seen = head
            return self._waiting

    def of_target(self, target_id: str) -> list[dict[str, Any]]:
        """Decisions about a fact that were not taken back."""
        with self._guard:
            _ = self.waiting
            return list(self._stacks.get(target_id, ()))

    def decided(self) -> set[str]:
        """Facts about which somebody has decided, or that were left on purpose."""
        with self._guard:
            _ = self.waiting
            return {target for target, stack in self._stacks.items() if stack}

    def _take(self, row: dict[str, Any]) -> None:
        self._waiting.append(row)
        stack = self._stacks[row["target_id"]]
        if row["decision"] == "undo" and stack:
            stack.pop()
        else:
            stack.append(row)

    def decide(
        self,
        stored: Mapping[str, Any],
        decision: str,
        *,
        review_id: str,
        reviewer: str,
        revision: int,
        changes: Mapping[str, Any] | None = None,
        fps: float,
        length: int,
        reason: str = "",
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """Write a decision about a fact; it is on the disk when this returns.

        Args:
            stored: The fact as the files have it, in its newest revision.
            decision: `accept`, `edit`, `reject`, `skip` or `send_back`.
            review_id: Its name; the same one again, of a client without an answer, is one.
            reviewer: Who.
            revision: The revision that was seen.
            changes: Of an edit: columns of `EDITABLE`.
            fps: Of the episode.
            length: Frames of the episode.
            reason: Why, for `skip` and `send_back`.
            seconds: Time it took.

        Returns:
            The fact as it is now.

        Raises:
            StaleRowError: Somebody decided in the meantime; the newest is another revision.
            UsageError: No such decision, no reason, or changes that cannot be.
            ConformError: The changed row does not conform.
            OutputError: It cannot be written, and is not decided.
        """
        if decision not in (*CHANGING, *_UNCHANGING):
            wanted = f"one of {', '.join((*CHANGING, *_UNCHANGING))}"
            raise UsageError(place="decision", found=f"{decision!r}", wanted=wanted)
        if decision in _UNCHANGING and not reason.strip():
            raise UsageError(place=f"decision {decision}", found="no reason", wanted="why")
        with locked(self._lock), self._guard:
            about = [one for one in self.waiting if one["target_id"] == stored["fact_id"]]
            [row] = over([stored], about)
            if any(one["review_id"] == review_id for one in about):
                return row
            _check_seen(row, revision)
            if decision in CHANGING:
                edits = _edits(changes or {}, row, fps, length) if decision == "edit" else {}
                after = revised("facts", row, **edits, review_status=CHANGING[decision])
                _conform(after)
            else:
                after = {"reason": reason.strip()}
            self._append(row, after, decision, review_id, reviewer, seconds)
            return after if decision in CHANGING else row

    def undo(self, *, review_id: str, reviewer: str) -> str | None:
        """Take a reviewer's last decision back, by a decision of its own.

        Returns:
            The fact that it was about; None where nothing is left to take back.

        Raises:
            StaleRowError: Somebody decided about that fact after them.
        """
        with locked(self._lock), self._guard:
            own = [row for row in self.waiting if row["reviewer"] == reviewer]
            standing = {row["review_id"] for stack in self._stacks.values() for row in stack}
            last = next((row for row in reversed(own) if row["review_id"] in standing), None)
            if last is None:
                return None
            target = last["target_id"]
            if self._stacks[target][-1] is not last:
                raise StaleRowError(
                    place=f"fact {target}",
                    found="a later decision by another reviewer",
                    wanted="the last decision about it to be yours",
                )
            before = msgspec.json.decode(last["before"])
            now = _after(last)
            if now is None:
                row, after = before, {"reason": "taken back"}
            else:
                newest = self._newest(now)
                row, after = newest, before | {"revision": newest["revision"] + 1}
            self._append(row, after, "undo", review_id, reviewer, None)
            return target

    def _newest(self, row: dict[str, Any]) -> dict[str, Any]:
        for decision in self.waiting:
            after = _after(decision) if decision["target_id"] == row["fact_id"] else None
            if after is not None and after["revision"] > row["revision"]:
                row = after
        return row

    def _append(
        self,
        row: Mapping[str, Any],
        after: Mapping[str, Any],
        decision: str,
        review_id: str,
        reviewer: str,
        seconds: float | None,
    ) -> None:
        written = {
            "review_id": review_id,
            "target_table": "facts",
            "target_id": row["fact_id"],
            "target_revision": row["revision"],
            "decision": decision,
            "before": msgspec.json.encode(row).decode(),
            "after": msgspec.json.encode(after).decode(),
            "reviewer": reviewer,
            "decided_at": datetime.now(UTC),
            "seconds": seconds,
            "blind": False,
        }
        expected = int(self._seen) + 1
        self._journal.append(written)
        head = self._head.read_bytes()
        if int(head) == expected:  # nobody else wrote: no need to read all again
            self._take(written)
            self._seen = head


def _after(decision: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row that a decision wrote; None where it wrote none."""
    if decision["target_table"] != "facts" or decision["after"] is None:
        return None
    after: dict[str, Any] = msgspec.json.decode(decision["after"])
    return after if "fact_id" in after else None


def _check_seen(row: Mapping[str, Any], revision: int) -> None:
    if row["revision"] != revision:
        raise StaleRowError(
            place=f"fact {row['fact_id']}",
            found=f"revision {row['revision']} of it, {row['review_status']}",
            wanted=f"revision {revision}, which was on the page",
            next_command="look at it again and decide",
        )


def _edits(
    changes: Mapping[str, Any], row: Mapping[str, Any], fps: float, length: int
) -> dict[str, Any]:
    """Changed columns of a fact; times follow frames, and a verdict on other words is none."""
    if unknown := [name for name in changes if name not in EDITABLE]:
        raise UsageError(
            place="an edit", found=f"{unknown[0]!r}", wanted=f"changes of {', '.join(EDITABLE)}"
        )
    edits = {name: value for name, value in changes.items() if value != row[name]}
    if not edits:
        raise UsageError(place="an edit", found="nothing changed", wanted="a change, or accept")
    for name in ("text", "value"):
        if name in edits and not (isinstance(edits[name], str) and edits[name].strip()):
            raise UsageError(place=f"an edit of {name}", found="nothing", wanted="words")
    start = edits.get("start_frame", row["start_frame"])
    end = edits.get("end_frame", row["end_frame"])
    whole = all(isinstance(one, int) and not isinstance(one, bool) for one in (start, end))
    if not whole or not 0 <= start < end <= length:
        raise UsageError(
            place="an edit of frames",
            found=f"{start} to {end}",
            wanted=f"frames in order, from 0 to {length}",
        )
    if "value" in edits:
        edits |= {"value_number": None, "unit": None}
    return edits | {
        "start_s": start / fps,
        "end_s": end / fps,
        "kinematic_verdict": "untestable",
        "measurement": None,
    }


def _conform(row: Mapping[str, Any]) -> None:
    conform(pa.Table.from_pylist([dict(row)], schema=arrow_schema("facts")), "facts")
