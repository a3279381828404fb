"""The pages that write: one fact after the other, and every decision in the journal.

What a page shows as saved is on the disk: the answer to a decision comes after the journal's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from finedata.errors import StaleRowError, UsageError
from finedata.review.app import Pages, guarded_app
from finedata.review.decisions import Decisions, over
from finedata.review.look import episode_data, unsaid
from finedata.review.pictures import CHUNK
from finedata.review.queue import Leases, Queue

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from finedata.review.guard import Guard
    from finedata.store.dataset import Dataset

__all__ = ["Decided", "make_review_app"]

_COOKIE = "finedata_reviewer"
_MOST_NAME = 64


class _Decision(msgspec.Struct, forbid_unknown_fields=True):
    review_id: str
    revision: int
    decision: str
    changes: dict[str, Any] = {}
    reason: str = ""
    seconds: float | None = None


class _Undo(msgspec.Struct, forbid_unknown_fields=True):
    review_id: str


class _Reviewer(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Decided(Pages):
    """The answers of a server that takes decisions.

    Args:
        dataset: The dataset, on disk.
        guard: Checks of who asks.
        reviewer: Who reviews where the browser says nothing else.
    """

    def __init__(self, dataset: Dataset, guard: Guard, *, reviewer: str) -> None:
        super().__init__(dataset, guard)
        self.writes = True
        self._reviewer = reviewer
        self._decisions = Decisions(dataset)
        self._leases = Leases(dataset)
        self._queue = Queue(dataset)
        self._episodes: dict[str, str] = {}  # fact_id -> episode_id

    def close(self) -> None:
        """Close what is open."""
        self._decisions.close()
        self._leases.close()

    def routes(self) -> list[Route]:
        """Addresses and who answers them."""
        return [
            *super().routes(),
            Route("/review", self.next_page),
            Route("/review/{fact_id}", self.review),
            Route("/review/{fact_id}/next", self.next_of),
            Route("/review/{fact_id}/decide", self.decide, methods=["POST"]),
            Route("/undo", self.undo, methods=["POST"]),
            Route("/reviewer", self.name, methods=["POST"]),
        ]

    def facts_of(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Facts with what was decided since they were stored."""
        return over(rows, self._decisions.waiting)

    def next_page(self, request: Request) -> Response:
        """Go to the next fact that nobody holds."""
        found = self._next(self._who(request))
        if found is None:
            return self.render("done.html", title="Review")
        return RedirectResponse(f"/review/{found[0]}", 303)

    def review(self, request: Request) -> Response:
        """An episode with one fact to decide about."""
        fact_id, who = request.path_params["fact_id"], self._who(request)
        episode_id = self._episode_of(fact_id)
        episode = self.rows.episode(episode_id)
        data = episode_data(self.dataset, episode, self.rows)
        data["facts"] = self.facts_of(data["facts"])
        data["unsaid"] = unsaid(data["facts"])
        held = self._leases.take(fact_id, who)
        before, after = self.catalog.beside(episode_id)
        return self.render(
            "review.html",
            title=f"Review: {data['task'] or episode_id}",
            data=data,
            page_data=data | {"chunk": CHUNK, "target": fact_id, "held": held},
            fact=next(one for one in data["facts"] if one["fact_id"] == fact_id),
            held=held,
            reviewer=who,
            waiting=len(self._queue),
            neighbours=[],
            before=before,
            after=after,
        )

    def next_of(self, request: Request) -> Response:
        """Which fact comes after one, so that its page can be made ready; it is leased."""
        found = self._next(self._who(request), without=request.path_params["fact_id"])
        return _answer({"next": found and {"fact_id": found[0], "episode_id": found[1]}})

    async def decide(self, request: Request) -> Response:
        """Write a decision."""
        from starlette.concurrency import run_in_threadpool

        asked = _decoded(await request.body(), _Decision)
        return await run_in_threadpool(self._decide, request, asked)

    def _decide(self, request: Request, asked: _Decision) -> Response:
        fact_id, who = request.path_params["fact_id"], self._who(request)
        episode = self.rows.episode(self._episode_of(fact_id))
        rows = self.rows.newest("facts", episode.episode_id)
        [stored] = rows.filter(pl.col("fact_id") == fact_id).to_dicts()
        try:
            now = self._decisions.decide(
                stored,
                asked.decision,
                review_id=asked.review_id,
                reviewer=who,
                revision=asked.revision,
                changes=asked.changes,
                fps=episode.fps,
                length=len(episode),
                reason=asked.reason,
                seconds=asked.seconds,
            )
        except StaleRowError as error:
            return PlainTextResponse(str(error), 409)
        except UsageError as error:
            return PlainTextResponse(str(error), 422)
        self._leases.give_back(fact_id, who)
        found = self._next(who, without=fact_id)
        following = found and {"fact_id": found[0], "episode_id": found[1]}
        return _answer({"fact": now, "next": following})

    async def undo(self, request: Request) -> Response:
        """Take the reviewer's last decision back."""
        from starlette.concurrency import run_in_threadpool

        asked = _decoded(await request.body(), _Undo)
        return await run_in_threadpool(self._undo, request, asked)

    def _undo(self, request: Request, asked: _Undo) -> Response:
        try:
            target = self._decisions.undo(review_id=asked.review_id, reviewer=self._who(request))
        except StaleRowError as error:
            return PlainTextResponse(str(error), 409)
        self._queue.taken_back()
        return _answer({"fact_id": target})

    async def name(self, request: Request) -> Response:
        """Say who reviews in this browser."""
        given = " ".join(_decoded(await request.body(), _Reviewer).name.split())
        if not given or len(given) > _MOST_NAME or not given.isprintable():
            return PlainTextResponse(f"a name of 1 to {_MOST_NAME} letters", 422)
        answer = _answer({"reviewer": given})
        answer.set_cookie(_COOKIE, given.encode().hex(), httponly=True, samesite="strict", path="/")
        return answer

    def _who(self, request: Request) -> str:
        try:
            return bytes.fromhex(request.cookies.get(_COOKIE, "")).decode() or self._reviewer
        except ValueError:
            return self._reviewer

    def _next(self, who: str, *, without: str = "") -> tuple[str, str] | None:
        done = self._decisions.decided()
        for fact_id, episode_id in self._queue.waiting(done.__contains__):
            if fact_id != without and self._leases.take(fact_id, who):
                self._episodes[fact_id] = episode_id
                return fact_id, episode_id
        return None

    def _episode_of(self, fact_id: str) -> str:
        found = self._episodes.get(fact_id)
        if found is None:
            rows = self.dataset.history("facts").filter(pl.col("fact_id") == fact_id)
            ids = rows.select("episode_id").head(1).collect()["episode_id"]
            if not len(ids):
                raise UsageError(
                    place="a fact", found=f"{fact_id!r}", wanted="a fact of this dataset"
                )
            found = self._episodes[fact_id] = ids[0]
        return found


def make_review_app(dataset: Dataset, guard: Guard, *, reviewer: str) -> tuple[ASGIApp, Decided]:
    """The application that takes decisions, and its pages, to close when it ends."""
    pages = Decided(dataset, guard, reviewer=reviewer)
    return guarded_app(pages, pages.routes()), pages


def _answer(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _decoded(body: bytes, form: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.MsgspecError as error:
        raise UsageError(place="the request", found=f"{error}", wanted="what the page sends") from (
            error
        )
