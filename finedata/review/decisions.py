"""Decisions of people: in the journal when they are shown as saved, in revisions of rows later.

What a decision changes is told in `changes`. Here it is taken: checked against the newest
revision, so that who decides over one that somebody else wrote meanwhile is told and sees the
newest; written; and taken back, as a decision of its own.

Several servers may stand over one dataset: a decision is checked and written under a lock that all
of them share, and what the others wrote is read again whenever the journal's last number differs.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from finedata.errors import StaleRowError, UsageError
from finedata.review.changes import (
    CHANGING,
    added_fact,
    check_conforms,
    edits_of,
    over,
    rows_after,
    rows_before,
    step_change,
    taken_back,
    touched,
)
from finedata.schema.makers import revised
from finedata.store.lock import locked
from finedata.store.review_journal import ReviewJournal, journal_path
from finedata.store.run.ledger import LEDGER_FOLDER
from finedata.store.tables.table import REVISED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.store.dataset import Dataset

_UNCHANGING = ("skip", "send_back")


class Decisions:
    """Takes decisions about the facts and steps of a dataset, for all threads of a server.

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
        self._about: dict[str, list[dict[str, Any]]] = defaultdict(list)

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
                self._waiting = []
                self._stacks, self._about = defaultdict(list), defaultdict(list)
                for row in rows:
                    self._take(row)
                self._seen = head
            return self._waiting

    def about(self, episode_id: str) -> list[dict[str, Any]]:
        """Decisions in the journal about rows of an episode, in their order."""
        with self._guard:
            _ = self.waiting
            return list(self._about.get(episode_id, ()))

    def decided(self) -> set[str]:
        """Facts about which somebody has decided, or that were left on purpose."""
        with self._guard:
            _ = self.waiting
            return {target for target, stack in self._stacks.items() if stack}

    def standing(self) -> list[dict[str, Any]]:
        """Decisions in the journal that were not taken back, in their order."""
        with self._guard:
            rows = self.waiting
            held = {row["review_id"] for stack in self._stacks.values() for row in stack}
            return [row for row in rows if row["review_id"] in held]

    def _take(self, row: dict[str, Any]) -> None:
        self._waiting.append(row)
        rows = [*rows_before(row), *rows_after(row)]
        for episode_id in {one["episode_id"] for one in rows}:
            self._about[episode_id].append(row)
        for name in touched(row):
            stack = self._stacks[name]
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
        blind: bool = False,
    ) -> dict[str, Any]:
        """Write a decision about a fact; it is on the disk when this returns.

        Args:
            stored: The fact as the files have it, in its newest revision; of a blind opinion as
                it was before anybody had said anything.
            decision: `accept`, `edit`, `reject`, `skip` or `send_back`.
            review_id: Its name; the same one again, of a client without an answer, is one.
            reviewer: Who.
            revision: The revision that was seen.
            changes: Of an edit: columns of `EDITABLE`.
            fps: Of the episode.
            length: Frames of the episode.
            reason: Why, for `skip` and `send_back`.
            seconds: Time it took.
            blind: The reviewer did not see what others said; the fact stays as it is.

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
            about = self.about(stored["episode_id"])
            [row] = over([stored], [] if blind else _of_target(about, stored["fact_id"]))
            if any(one["review_id"] == review_id for one in about):
                return row
            _check_seen("fact", row["fact_id"], row, revision)
            after: dict[str, Any] = {"reason": reason.strip()}
            if decision in CHANGING:
                edits = edits_of(changes or {}, row, fps, length) if decision == "edit" else {}
                after = revised("facts", row, **edits, review_status=CHANGING[decision])
                check_conforms("facts", [after])
                if blind:
                    after = {"opinion": decision, "changes": dict(changes or {})}
            told: dict[str, Any] = {
                "reviewer": reviewer,
                "review_id": review_id,
                "seconds": seconds,
            }
            self._append("facts", row["fact_id"], row, after, decision, blind=blind, **told)
            return after if decision in CHANGING and not blind else row

    def add(
        self,
        like: Mapping[str, Any],
        *,
        review_id: str,
        reviewer: str,
        facts: Sequence[Mapping[str, Any]],
        steps: Sequence[Mapping[str, Any]],
        seconds: float | None = None,
        **words: Any,
    ) -> dict[str, Any]:
        """Write a fact that was missing.

        Args:
            like: A fact of the run that it is added to.
            review_id: Name of the decision.
            reviewer: Who.
            facts: Facts of the episode, as the files have them.
            steps: Steps of the episode, as the files have them.
            seconds: Time it took.
            words: As for `added_fact`.

        Returns:
            The new fact.

        Raises:
            UsageError: It cannot be.
            OutputError: It cannot be written, and is not added.
        """
        with locked(self._lock), self._guard:
            about = self.about(like["episode_id"])
            for one in about:
                if one["review_id"] == review_id:
                    return rows_after(one)[0]
            known = over(facts, about)
            now = over(steps, about, table="steps")
            row = added_fact(like, reviewer=reviewer, steps=now, known=known, **words)
            check_conforms("facts", [row])
            told: dict[str, Any] = {
                "reviewer": reviewer,
                "review_id": review_id,
                "seconds": seconds,
            }
            self._append("facts", row["fact_id"], None, row, "add", **told)
            return row

    def change_steps(
        self,
        steps: Sequence[Mapping[str, Any]],
        decision: str,
        *,
        step_id: str,
        frame: int,
        edge: str,
        seen: Mapping[str, int],
        review_id: str,
        reviewer: str,
        fps: float,
        length: int,
        seconds: float | None = None,
    ) -> list[dict[str, Any]]:
        """Split, merge or move steps of an episode.

        Args:
            steps: All steps of the episode, as the files have them.
            decision: `split`, `merge` or `move`.
            step_id: The step.
            frame: Where; see `step_change`.
            edge: Of `move`.
            seen: Step to the revision that was on the page.
            review_id: Name of the decision.
            reviewer: Who.
            fps: Of the episode.
            length: Frames of the episode.
            seconds: Time it took.

        Returns:
            All steps as they are now.

        Raises:
            StaleRowError: Somebody changed one of these steps in the meantime.
            UsageError: It cannot be.
            OutputError: It cannot be written.
        """
        episode_id = steps[0]["episode_id"] if steps else ""
        with locked(self._lock), self._guard:
            about = self.about(episode_id)
            now = over(steps, about, table="steps")
            if any(one["review_id"] == review_id for one in about):
                return now
            before, after = step_change(
                decision, now, step_id, frame=frame, edge=edge, reviewer=reviewer,
                fps=fps, length=length,
            )  # fmt: skip
            for row in before:
                _check_seen("step", row["step_id"], row, seen.get(row["step_id"], -1))
            check_conforms("steps", after)
            told: dict[str, Any] = {
                "reviewer": reviewer,
                "review_id": review_id,
                "seconds": seconds,
            }
            self._append("steps", step_id, before, after, decision, **told)
            return over(steps, self.about(episode_id), table="steps")

    def undo(self, *, review_id: str, reviewer: str) -> dict[str, Any] | None:
        """Take a reviewer's last decision back, by a decision of its own.

        Returns:
            The decision that was taken back; None where nothing is left.

        Raises:
            StaleRowError: Somebody decided about that fact or these steps after them.
        """
        with locked(self._lock), self._guard:
            own = [row for row in self.standing() if row["reviewer"] == reviewer]
            own = [row for row in own if row["decision"] != "undo"]
            if not own:
                return None
            last = own[-1]
            if any(self._stacks[name][-1] is not last for name in touched(last)):
                raise StaleRowError(
                    place=f"{last['target_table'].removesuffix('s')} {last['target_id']}",
                    found="a later decision by another reviewer",
                    wanted="the last decision about it to be yours",
                )
            told: dict[str, Any] = {"reviewer": reviewer, "review_id": review_id, "seconds": None}
            table, target = last["target_table"], last["target_id"]
            changed = rows_after(last)
            if not changed:
                before: Any = msgspec.json.decode(last["before"])
                after: Any = {"reason": "taken back"}
            else:
                key = REVISED[table]
                newest = {row[key]: self._newest(table, row) for row in changed}
                before, after = list(newest.values()), taken_back(last, newest)
                if table == "facts":
                    [before], [after] = before, after
            self._append(table, target, before, after, "undo", blind=last["blind"], **told)
            return last

    def _newest(self, table: str, row: dict[str, Any]) -> dict[str, Any]:
        key = REVISED[table]
        for decision in self._about[row["episode_id"]]:
            for after in rows_after(decision) if decision["target_table"] == table else ():
                if after[key] == row[key] and after["revision"] > row["revision"]:
                    row = after
        return row

    def _append(
        self,
        table: str,
        target_id: str,
        before: Any,
        after: Any,
        decision: str,
        *,
        reviewer: str,
        review_id: str,
        seconds: float | None,
        blind: bool = False,
    ) -> None:
        seen: list[Any] = before if isinstance(before, list) else [before or {}]  # pyright: ignore[reportUnknownVariableType]  (it is of JSON)
        key = REVISED[table]
        written = {
            "review_id": review_id,
            "target_table": table,
            "target_id": target_id,
            "target_revision": next(
                (row["revision"] for row in seen if row.get(key) == target_id), 0
            ),
            "decision": decision,
            "before": None if before is None else msgspec.json.encode(before).decode(),
            "after": msgspec.json.encode(after).decode(),
            "reviewer": reviewer,
            "decided_at": datetime.now(UTC),
            "seconds": seconds,
            "blind": blind,
        }
        expected = int(self._seen) + 1
        self._journal.append(written)
        head = self._head.read_bytes()
        if int(head) == expected:  # nobody else wrote: no need to read all again
            self._take(written)
            self._seen = head


def _of_target(about: Sequence[dict[str, Any]], target_id: str) -> list[dict[str, Any]]:
    return [one for one in about if one["target_id"] == target_id]


def _check_seen(what: str, name: str, row: Mapping[str, Any], revision: int) -> None:
    if row["revision"] != revision:
        raise StaleRowError(
            place=f"{what} {name}",
            found=f"revision {row['revision']} of it, {row['review_status']}",
            wanted=f"revision {revision}, which was on the page",
            next_command="look at it again and decide",
        )
