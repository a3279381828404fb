"""What people do with a dataset in a browser, as verbs of `Dataset`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from finedata.store import dataset as store

if TYPE_CHECKING:
    from collections.abc import Callable

    from finedata.review.human_review import ReviewExport, ReviewImport
    from finedata.review.quality import ReviewQuality
    from finedata.review.serve import Served
    from finedata.review.status import ReviewStatus


class Reviewing(store.Dataset):
    """The verbs of looking and deciding."""

    def view(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        on_ready: Callable[[Served], None] | None = None,
    ) -> None:
        """Serve pages to look at this dataset until interrupted; nothing is written.

        Args:
            host: Where to listen; beyond the loopback the address holds a token.
            port: Its port; 0 takes a free one.
            on_ready: Called with the address once it listens.

        Raises:
            MissingExtraError: Without the extra `review`.
            UsageError: Nothing can listen there.
        """
        from finedata.review.serve import serve

        serve(self, host=host, port=port, on_ready=on_ready)

    def review(
        self,
        *,
        reviewer: str = "",
        gold: str | Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        on_ready: Callable[[Served], None] | None = None,
    ) -> None:
        """Serve pages to look and to decide about facts, until interrupted.

        Args:
            reviewer: Who decides where a browser names nobody; the user's login by default.
            gold: A file of facts with known answers, which measure reviewers: lines of
                `{"fact_id": "...", "decision": "accept"}`, or `"reject"`.
            host: Where to listen; beyond the loopback the address holds a token.
            port: Its port; 0 takes a free one.
            on_ready: Called with the address once it listens.

        Raises:
            MissingExtraError: Without the extra `review`.
            UsageError: Nothing can listen there, or the dataset is not on this machine.
            ConformError: The journal of decisions is damaged.
        """
        from finedata.review.serve import serve

        serve(
            self,
            host=host,
            port=port,
            reviewer=reviewer or getpass.getuser(),
            gold=None if gold is None else Path(gold),
            on_ready=on_ready,
        )

    def review_status(self) -> ReviewStatus:
        """Count facts by review status, and decisions by kind and reviewer."""
        from finedata.review.status import review_status

        return review_status(self)

    def review_quality(self, *, share: Literal["audit", "all"] = "audit") -> ReviewQuality:
        """Precision of facts with intervals, agreement of people, and their pace.

        Args:
            share: Facts of the audit share, which their names alone choose, or all that were
                judged, the doubtful ones first.
        """
        from finedata.review.quality import review_quality

        return review_quality(self, share=share)

    def export_review(self, out: str | Path) -> ReviewExport:
        """Write what people reviewed as FineVLA's `Human_Review` records.

        Args:
            out: The file, JSON.
        """
        from finedata.review.human_review import export_human_review

        return export_human_review(self, Path(out))

    def import_review(
        self,
        released: str | Path,
        *,
        reviewer: str = "",
        by: Literal["source", "dataset"] = "source",
        ids: str | Path | None = None,
        unmatched: Literal["refuse", "skip"] = "refuse",
    ) -> ReviewImport:
        """Take decisions over out of `Human_Review` records; the same file twice changes nothing.

        Args:
            released: What `export_review` wrote, edited or not, or a file of FineVLA's.
            reviewer: Who decided; the user's login by default.
            by: Whether numbers in ids count the source's episodes or this dataset's.
            ids: JSON Lines of `{"id": ..., "episode_id": ...}`, for ids that are neither.
            unmatched: Refuse the whole where an id means no episode, or skip those.

        Raises:
            UsageError: Ids mean no episode, with counts; nothing was written.
        """
        from finedata.review.human_review import import_human_review

        return import_human_review(
            self,
            Path(released),
            reviewer=reviewer or getpass.getuser(),
            by=by,
            ids=None if ids is None else Path(ids),
            unmatched=unmatched,
        )
