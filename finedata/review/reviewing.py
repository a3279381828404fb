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
from finedata.review.changes import over, rows_after
from finedata.review.decisions import Decisions
from finedata.review.look import Newest, episode_data
from finedata.review.opinions import GOLD_EVERY, SECOND_EVERY, Opinions
from finedata.review.pictures import CHUNK
from finedata.review.queue import Leases, Queue
from finedata.schema.dimension import SLOTS
from finedata.store.tables.episode_rows import EpisodeRows, unjudged_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from finedata.review.guard import Guard
    from finedata.store.dataset import Dataset

_COOKIE = "finedata_reviewer"
_MOST_NAME = 64


class _Decision(msgspec.Struct, forbid_unknown_fields=True):
    review_id: str
    revision: int
    decision: str
    changes: dict[str, Any] = {}
    reason: str = ""
    seconds: float | None = None
    blind: bool = False


class _Added(msgspec.Struct, forbid_unknown_fields=True):
    review_id: str
    slot: str
    value: str
    text: str
    start_frame: int
    end_frame: int
    seconds: float | None = None


class _Steps(msgspec.Struct, forbid_unknown_fields=True):
    review_id: str
    decision: str
    step_id: str
    seen: dict[str, int]
    frame: int = 0
    edge: str = ""
    seconds: float | None = None


class _Undo(msgspec.Struct, forbid_unknown_fields=True):
    review_id: str


class _Reviewer(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class _Now:
    """Annotations with what was decided since they were stored."""

    def __init__(self, rows: EpisodeRows, decisions: Decisions) -> None:
        self._rows = rows
        self._decisions = decisions

    def newest(self, table: str, episode_id: str) -> pl.DataFrame:
        rows = self._rows.newest(table, episode_id)
        about = self._decisions.about(episode_id) if table in ("facts", "steps") else []
        if not about:
            return rows
        return pl.DataFrame(over(rows.to_dicts(), about, table=table), schema=rows.schema)


class _Unjudged:
    """Annotations as they were before any person said anything of them."""

    def __init__(self, rows: EpisodeRows) -> None:
        self._rows = rows

    def newest(self, table: str, episode_id: str) -> pl.DataFrame:
        return unjudged_of(table, self._rows.history(table, episode_id))


class Decided(Pages):
    """The answers of a server that takes decisions.

    Args:
        dataset: The dataset, on disk.
        guard: Checks of who asks.
        reviewer: Who reviews where the browser says nothing else.
    """

    def __init__(
        self, dataset: Dataset, guard: Guard, *, reviewer: str, gold: Mapping[str, str]
    ) -> None:
        super().__init__(dataset, guard)
        self.writes = True
        self._reviewer = reviewer
        self._decisions = Decisions(dataset)
        self._leases = Leases(dataset)
        self._queue = Queue(dataset)
        self._opinions = Opinions(dataset, gold)
        self.gold = gold
        self._now = _Now(self.rows, self._decisions)
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
            Route("/review/{fact_id}/decide", _takes(_Decision, self._decide), methods=["POST"]),
            Route("/review/{fact_id}/add", _takes(_Added, self._add), methods=["POST"]),
            Route("/review/{fact_id}/steps", _takes(_Steps, self._steps), methods=["POST"]),
            Route("/undo", _takes(_Undo, self._undo), methods=["POST"]),
            Route("/reviewer", self.name, methods=["POST"]),
        ]

    def annotations(self) -> Newest:
        """Annotations with what was decided since they were stored."""
        return self._now

    def next_page(self, request: Request) -> Response:
        """Go to the next fact that nobody holds."""
        found = self._next(self._who(request))
        if found is None:
            return self.render("done.html", title="Review")
        return RedirectResponse(f"/review/{found[0]}", 303)

    def review(self, request: Request) -> Response:
        """An episode with one fact to decide about.

        Of a second opinion nothing that people said is on the page, hidden or not.
        """
        fact_id, who = request.path_params["fact_id"], self._who(request)
        episode_id = self._episode_of(fact_id)
        episode = self.rows.episode(episode_id)
        blind = self._is_blind(fact_id, who)
        shown: Newest = _Unjudged(self.rows) if blind else self._now
        data = episode_data(self.dataset, episode, shown)
        fact = next((one for one in data["facts"] if one["fact_id"] == fact_id), None)
        if fact is None:
            raise UsageError(
                place=f"fact {fact_id}", found="one that people wrote", wanted="another to judge"
            )
        held = self._leases.take(fact_id, who)
        before, after = self.catalog.beside(episode_id)
        return self.render(
            "review.html",
            title=f"Review: {data['task'] or episode_id}",
            data=data,
            page_data=data | {"chunk": CHUNK, "target": fact_id, "held": held, "blind": blind},
            fact=fact,
            held=held,
            blind=blind,
            slots=SLOTS,
            reviewer=who,
            waiting=len(self._queue),
            neighbours=[],
            before=before,
            after=after,
        )

    def next_of(self, request: Request) -> Response:
        """Which fact comes after one, so that its page can be made ready; it is leased."""
        found = self._next(self._who(request), without=request.path_params["fact_id"], ahead=1)
        if found is not None:  # its rows are read now, not when somebody waits for them
            self._now.newest("facts", found[1])
            self.rows.episode(found[1])
        return _answer({"next": _named(found)})

    def _decide(self, request: Request, asked: _Decision) -> Response:
        fact_id, who = request.path_params["fact_id"], self._who(request)
        episode = self.rows.episode(self._episode_of(fact_id))
        if asked.blind != self._is_blind(fact_id, who):
            return PlainTextResponse("others have decided meanwhile; load the page again", 409)
        if asked.blind:
            rows = _Unjudged(self.rows).newest("facts", episode.episode_id)
        else:
            rows = self.rows.newest("facts", episode.episode_id)
        found = rows.filter(pl.col("fact_id") == fact_id).to_dicts()
        if not found:  # it was added, and is in the journal only
            about = self._decisions.about(episode.episode_id)
            found = [one for one in over([], about, anywhere=True) if one["fact_id"] == fact_id][:1]
        now = self._decisions.decide(
            found[0],
            asked.decision,
            review_id=asked.review_id,
            reviewer=who,
            revision=asked.revision,
            changes=asked.changes,
            fps=episode.fps,
            length=len(episode),
            reason=asked.reason,
            seconds=asked.seconds,
            blind=asked.blind,
        )
        self._leases.give_back(fact_id, who)
        following = self._next(who, without=fact_id)
        return _answer({"fact": None if asked.blind else now, "next": _named(following)})

    def _add(self, request: Request, asked: _Added) -> Response:
        fact_id, who = request.path_params["fact_id"], self._who(request)
        episode = self.rows.episode(self._episode_of(fact_id))
        facts = self.rows.newest("facts", episode.episode_id).to_dicts()
        now = over(facts, self._decisions.about(episode.episode_id))
        row = self._decisions.add(
            next(one for one in now if one["fact_id"] == fact_id),
            review_id=asked.review_id,
            reviewer=who,
            facts=facts,
            steps=self.rows.newest("steps", episode.episode_id).to_dicts(),
            seconds=asked.seconds,
            slot=asked.slot,
            value=asked.value,
            text=asked.text,
            start_frame=asked.start_frame,
            end_frame=asked.end_frame,
            fps=episode.fps,
            length=len(episode),
        )
        self._episodes[row["fact_id"]] = episode.episode_id
        return _answer({"fact": row})

    def _steps(self, request: Request, asked: _Steps) -> Response:
        episode = self.rows.episode(self._episode_of(request.path_params["fact_id"]))
        steps = self._decisions.change_steps(
            self.rows.newest("steps", episode.episode_id).to_dicts(),
            asked.decision,
            step_id=asked.step_id,
            frame=asked.frame,
            edge=asked.edge,
            seen=asked.seen,
            review_id=asked.review_id,
            reviewer=self._who(request),
            fps=episode.fps,
            length=len(episode),
            seconds=asked.seconds,
        )
        return _answer({"steps": _shown(steps)})

    def _undo(self, request: Request, asked: _Undo) -> Response:
        undone = self._decisions.undo(review_id=asked.review_id, reviewer=self._who(request))
        if undone is None:
            return _answer({"decision": None})
        self._queue.taken_back()
        found: dict[str, Any] = {"decision": undone["decision"]}
        rows = rows_after(undone)
        if undone["target_table"] == "steps":
            episode_id = rows[0]["episode_id"]
            steps = self._now.newest("steps", episode_id).to_dicts()
            return _answer(found | {"episode_id": episode_id, "steps": _shown(steps)})
        return _answer(found | {"fact_id": undone["target_id"]})

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

    def _next(self, who: str, *, without: str = "", ahead: int = 0) -> tuple[str, str] | None:
        journal = self._decisions.standing()
        turn = sum(row["reviewer"] == who for row in journal) + ahead + 1
        asked: list[str] = []
        if turn % GOLD_EVERY == 0:
            asked = self._opinions.for_gold(who, journal)
        if not asked and turn % SECOND_EVERY == 0:
            asked = self._opinions.for_second(who, journal)
        for fact_id in asked:
            if fact_id != without and self._leases.take(fact_id, who):
                return fact_id, self._episode_of(fact_id)
        done = self._decisions.decided()
        for fact_id, episode_id in self._queue.waiting(done.__contains__):
            if fact_id in self.gold or fact_id == without:
                continue
            if self._leases.take(fact_id, who):
                self._episodes[fact_id] = episode_id
                if self._waits(fact_id, episode_id):
                    return fact_id, episode_id
                self._leases.give_back(fact_id, who)
        for fact_id in self._opinions.for_second(who, journal):
            if fact_id != without and self._leases.take(fact_id, who):
                return fact_id, self._episode_of(fact_id)
        return None

    def _waits(self, fact_id: str, episode_id: str) -> bool:
        """Whether it is still unreviewed: another server may have decided and ended."""
        rows = self.rows.newest("facts", episode_id).filter(pl.col("fact_id") == fact_id)
        return bool(rows.height) and rows["review_status"][0] == "unreviewed"

    def _is_blind(self, fact_id: str, who: str) -> bool:
        return self._opinions.is_blind(fact_id, who, self._decisions.standing())

    def _episode_of(self, fact_id: str) -> str:
        found = self._episodes.get(fact_id)
        if found is None:
            rows = self.dataset.history("facts").filter(pl.col("fact_id") == fact_id)
            ids = rows.select("episode_id").head(1).collect()["episode_id"].to_list()
            for decision in self._decisions.waiting if not ids else ():
                ids += [
                    row["episode_id"]
                    for row in rows_after(decision)
                    if row.get("fact_id") == fact_id
                ]
            if not ids:
                raise UsageError(
                    place="a fact", found=f"{fact_id!r}", wanted="a fact of this dataset"
                )
            found = self._episodes[fact_id] = ids[0]
        return found


def make_review_app(
    dataset: Dataset, guard: Guard, *, reviewer: str, gold: Mapping[str, str]
) -> tuple[ASGIApp, Decided]:
    """The application that takes decisions, and its pages, to close when it ends."""
    pages = Decided(dataset, guard, reviewer=reviewer, gold=gold)
    return guarded_app(pages, pages.routes()), pages


def _takes(
    form: type[Any], answer: Callable[[Request, Any], Response]
) -> Callable[[Request], Awaitable[Response]]:
    """A write: its form is checked, and what cannot be is told in words."""

    async def write(request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        asked = _decoded(await request.body(), form)
        try:
            return await run_in_threadpool(answer, request, asked)
        except StaleRowError as error:
            return PlainTextResponse(str(error), 409)
        except UsageError as error:
            return PlainTextResponse(str(error), 422)

    return write


def _shown(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    standing = [row for row in steps if row["merged_into"] is None]
    return sorted(standing, key=lambda row: (row["start_frame"], row["step_index"]))


def _named(found: tuple[str, str] | None) -> dict[str, str] | None:
    return found and {"fact_id": found[0], "episode_id": found[1]}


def _answer(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _decoded(body: bytes, form: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.MsgspecError as error:
        raise UsageError(place="the request", found=f"{error}", wanted="what the page sends") from (
            error
        )
