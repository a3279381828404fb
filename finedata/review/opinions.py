"""Who is asked for a second opinion, and which facts have a known answer.

A tenth of the facts, which their names alone choose, are judged twice: a second person sees the
fact as it was before anybody had said anything of it, so that the two can be compared (Cohen's
kappa). A fact has a known answer where a file of such was given, or where two people agreed
without seeing each other; everybody else may be asked it, in the same way, to measure the person.
Neither changes the fact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from finedata.errors import UsageError
from finedata.review.queue import in_second_share
from finedata.store.remote.scan import scan_tables
from finedata.store.tables.table import annotation_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from finedata.store.dataset import Dataset

GOLD_EVERY = 20
"""Of twenty decisions of a person one is about a fact with a known answer, where there is one."""
SECOND_EVERY = 8
"""And of eight one is a second opinion."""
_JUDGED = ("accept", "edit", "reject")
_COLUMNS = ("review_id", "target_table", "target_id", "decision", "reviewer", "blind")


class Opinion(NamedTuple):
    """What one person said of one fact."""

    review_id: str
    fact_id: str
    decision: str
    reviewer: str
    blind: bool


class _Gold(msgspec.Struct, forbid_unknown_fields=True):
    fact_id: str
    decision: Literal["accept", "reject"]


def read_gold(path: Path) -> dict[str, str]:
    """Known answers: lines of JSON, `{"fact_id": "...", "decision": "accept"}` or `"reject"`.

    Raises:
        UsageError: A line is something else.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=_Gold)
        except msgspec.MsgspecError as error:
            raise UsageError(
                parameter="gold",
                place=f"{path}, line {number}",
                found=f"{error}",
                wanted='{"fact_id": "0123456789abcdef", "decision": "accept"}, or "reject"',
            ) from error
        found[row.fact_id] = row.decision
    return found


def standing_opinions(rows: Iterable[Mapping[str, Any]]) -> list[Opinion]:
    """Decisions about facts that were not taken back, of rows of `reviews` in their order."""
    stacks: dict[tuple[str, str], list[Opinion]] = {}
    for row in rows:
        if row["target_table"] != "facts":
            continue
        # a blind opinion is taken back by its own reviewer only, and stands in nobody's way
        who = row["reviewer"] if row["blind"] else ""
        stack = stacks.setdefault((row["target_id"], who), [])
        if row["decision"] != "undo":
            stack.append(
                Opinion(
                    row["review_id"],
                    row["target_id"],
                    row["decision"],
                    row["reviewer"],
                    row["blind"],
                )
            )
        elif stack:
            stack.pop()
    return [one for stack in stacks.values() for one in stack]


def known_answers(opinions: Iterable[Opinion], gold: Mapping[str, str]) -> dict[str, str]:
    """Facts with a known answer: given, or said by two people who did not see each other."""
    found = dict(gold)
    first: dict[str, Opinion] = {}
    for one in opinions:
        if not one.blind and one.decision in _JUDGED:
            first[one.fact_id] = one
    for one in opinions:
        other = first.get(one.fact_id)
        if (
            one.blind
            and other is not None
            and one.decision in ("accept", "reject")
            and (one.decision, one.reviewer != other.reviewer) == (other.decision, True)
        ):
            found.setdefault(one.fact_id, one.decision)
    return found


class Opinions:
    """Second opinions and known answers, for one server.

    Args:
        dataset: The dataset, as it was when the server began.
        gold: Known answers that were given.
    """

    def __init__(self, dataset: Dataset, gold: Mapping[str, str]) -> None:
        self._gold = gold
        files = annotation_files(dataset.root, "reviews")
        rows: list[dict[str, Any]] = []
        if files:
            scanned = scan_tables(files).select(_COLUMNS)
            rows = scanned.collect().to_dicts()
        held = [one for one in standing_opinions(rows) if self._is_shared(one.fact_id)]
        self._stored = {one.review_id: one for one in held}

    def _is_shared(self, fact_id: str) -> bool:
        return fact_id in self._gold or in_second_share(fact_id)

    def _of_all(self, journal: Sequence[Mapping[str, Any]]) -> list[Opinion]:
        found = dict(self._stored)
        for one in standing_opinions(row for row in journal if self._is_shared(row["target_id"])):
            found[one.review_id] = one
        return list(found.values())

    def for_gold(self, who: str, journal: Sequence[Mapping[str, Any]]) -> list[str]:
        """Facts with a known answer of which a person has said nothing."""
        opinions = self._of_all(journal)
        spoken = {one.fact_id for one in opinions if one.reviewer == who}
        return sorted(known_answers(opinions, self._gold).keys() - spoken)

    def for_second(self, who: str, journal: Sequence[Mapping[str, Any]]) -> list[str]:
        """Facts that one other person has judged, and nobody a second time."""
        opinions = self._of_all(journal)
        first = {one.fact_id for one in opinions if not one.blind and one.decision in _JUDGED}
        twice = {one.fact_id for one in opinions if one.blind or one.reviewer == who}
        return sorted(first - twice)

    def is_blind(self, fact_id: str, who: str, journal: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a person may see a fact only as it was before anybody judged it."""
        if not self._is_shared(fact_id):
            return False
        return fact_id in self.for_second(who, journal) or fact_id in self.for_gold(who, journal)
