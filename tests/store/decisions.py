"""Decisions of a reviewer, and a process that makes them until it is killed.

python tests/store/decisions.py ROOT FIRST LAST         each acknowledged by a line on stdout
python tests/store/decisions.py ROOT compact N          dies at its N-th sync or SQLite step
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from finedata.store.review_journal import ReviewJournal


def decision(number: int, **changed) -> dict:
    return {
        "review_id": f"r{number:06d}",
        "target_table": "facts",
        "target_id": f"f{number}",
        "target_revision": 0,
        "decision": "accept",
        "before": None,
        "after": '{"text": "größer als „b“"}',
        "reviewer": "ana",
        "decided_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=number),
        "seconds": 0.1,
        "blind": False,
    } | changed


def decide(root: Path, first: int, last: int) -> None:
    with ReviewJournal(root) as journal:
        for number in range(first, last):
            journal.append(decision(number))
            print(number, flush=True)


def compact_and_die(root: Path, after: int) -> None:
    import finedata.store.atomic as atomic
    import finedata.store.tables.table as table

    left = after

    def counted(real):
        def step(*arguments):
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(9)
            return real(*arguments)

        return step

    atomic.sync_folder = counted(atomic.sync_folder)
    table.sync_folder = counted(table.sync_folder)
    ReviewJournal.forget = counted(ReviewJournal.forget)
    ReviewJournal.close = counted(ReviewJournal.close)
    table.compact_reviews(root)


if __name__ == "__main__":
    if sys.argv[2] == "compact":
        compact_and_die(Path(sys.argv[1]), int(sys.argv[3]))
    else:
        decide(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
