"""The pages and their addresses.

Every state of a page is in its address. Nothing in an address becomes a path: episodes are looked
up in the table of episodes, cameras and chunks are numbers, and files of the page itself are read
once, from the package. Before a data file or a video is read it must lie inside the dataset, links
followed.
"""

from __future__ import annotations

import threading
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jinja2
import msgspec
import polars as pl
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from finedata.errors import ConformError, FinedataError, MissingExtraError, UsageError
from finedata.review.catalog import FILTERS, Catalog
from finedata.review.look import cameras_of, episode_data
from finedata.review.pictures import CHUNK, Kept, packed_frames, thumbnail
from finedata.review.quality import review_quality
from finedata.review.sealed import ids_where
from finedata.review.tasks import Alignment, align, map_of, tasks_of
from finedata.store.lerobot.layout import data_file
from finedata.store.remote.path import remote_store
from finedata.store.tables.episode_rows import EpisodeRows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from finedata.review.guard import Guard
    from finedata.review.look import Newest
    from finedata.store.dataset import Dataset
    from finedata.store.episode import Episode

_PER_PAGE = 48
_TASKS_PER_PAGE = 200
_SCALED_OVER = 60  # episodes of a task whose motion tells its scale
_STATIC_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_KEEP = {"cache-control": "private, max-age=600"}
_ASK_AGAIN = {"cache-control": "no-cache"}
_MOST_FRAMES_BYTES = 32 << 20
_MOST_THUMBNAIL_BYTES = 12 << 20


class Pages:
    """The answers of one server over one dataset.

    Args:
        dataset: The dataset.
        guard: Whose token of writes the pages carry.
    """

    def __init__(self, dataset: Dataset, guard: Guard) -> None:
        self.dataset = dataset
        self.catalog = Catalog(dataset)
        self.rows = EpisodeRows(dataset)
        self.guard = guard
        self.writes = False
        self.gold: Mapping[str, str] = {}
        self._remote = remote_store(dataset.root) is not None
        self._frames = Kept(_MOST_FRAMES_BYTES)
        self._thumbnails = Kept(_MOST_THUMBNAIL_BYTES)
        self._reading = threading.Lock()  # files kept open have one place of reading
        self._static = _static_files()
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("finedata.review"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(self, name: str, **values: Any) -> HTMLResponse:
        """A page by its template."""
        page = self._templates.get_template(name).render(
            name=self.dataset.root.name,
            writes=self.writes,
            csrf=self.guard.csrf,
            as_json=as_json,
            **values,
        )
        return HTMLResponse(page, headers={"cache-control": "no-store"})

    def routes(self) -> list[Route]:
        """Addresses and who answers them."""
        return [
            Route("/", self.home),
            Route("/episodes", self.browse),
            Route("/episode/{episode_id}", self.episode),
            Route("/episode/{episode_id}/thumbnail", self.thumbnail),
            Route("/episode/{episode_id}/camera/{camera:int}/{chunk:int}", self.frames),
            Route("/quality", self.quality),
            Route("/tasks", self.tasks),
            Route("/task/{task_id}", self.task),
            Route("/compare", self.compare),
            Route("/static/{name}", self.static),
        ]

    def home(self, request: Request) -> Response:
        """Browsing is where one begins."""
        del request
        return RedirectResponse("/episodes", 307)

    def browse(self, request: Request) -> Response:
        """Episodes by filters, a page of them."""
        given = {name: request.query_params.get(name, "").strip() for name in FILTERS}
        sql = request.query_params.get("sql", "").strip()
        wrong = ""
        try:
            ids = ids_where(self.dataset.root, sql) if sql else None
            saying = self.catalog.saying(given["q"]) if given["q"] else None
            rows = self.catalog.chosen(given, ids=ids, saying=saying)
        except UsageError as error:
            wrong, rows = str(error), self.catalog.rows.head(0)
        page, pages = _page_of(request, len(rows), _PER_PAGE)
        shown = rows.slice((page - 1) * _PER_PAGE, _PER_PAGE).to_dicts()
        asked = {name: value for name, value in (given | {"sql": sql}).items() if value}

        def address(**changes: object) -> str:
            merged = {k: v for k, v in (asked | changes).items() if v not in ("", None, 1)}
            return f"/episodes?{urlencode(merged)}" if merged else "/episodes"

        return self.render(
            "browse.html",
            title="Episodes",
            rows=shown,
            total=len(rows),
            of=len(self.catalog.rows),
            page=page,
            pages=pages,
            given=given,
            sql=sql,
            wrong=wrong,
            choices=self.catalog.choices(),
            address=address,
        )

    def episode(self, request: Request) -> Response:
        """One episode: cameras, motion, words."""
        episode = self._episode(request)
        data = episode_data(self.dataset, episode, self.annotations())
        before, after = self.catalog.beside(episode.episode_id)
        return self.render(
            "episode.html",
            title=data["task"] or episode.episode_id,
            data=data,
            page_data=data | {"chunk": CHUNK},
            neighbours=self.catalog.same_cluster(episode.episode_id),
            before=before,
            after=after,
        )

    def tasks(self, request: Request) -> Response:
        """All tasks."""
        rows = tasks_of(self.catalog.rows)
        page, pages = _page_of(request, len(rows), _TASKS_PER_PAGE)
        shown = rows.slice((page - 1) * _TASKS_PER_PAGE, _TASKS_PER_PAGE).to_dicts()
        return self.render(
            "tasks.html", title="Tasks", rows=shown, total=len(rows), page=page, pages=pages
        )

    def task(self, request: Request) -> Response:
        """One task: its map, its representatives, two of its episodes to lay side by side."""
        task_id = request.path_params["task_id"]
        rows = self.catalog.rows.filter(pl.col("task_id") == task_id)
        if not rows.height:
            raise UsageError(place="a task", found=f"{task_id!r}", wanted="one of /tasks")
        medoids = rows.filter("is_medoid").sort("cluster_id")["episode_id"].to_list()
        first = medoids[0] if medoids else rows["episode_id"][0]
        apart = rows.sort("distance_to_medoid", nulls_last=False)["episode_id"].to_list()
        farthest = next((one for one in reversed(apart) if one != first), first)
        # those that the form names are among those that are shown
        ahead = pl.col("episode_id").is_in([first, farthest])
        shown = rows.sort(~ahead, pl.col("rank").is_null(), "rank", maintain_order=True)
        return self.render(
            "task.html",
            title=rows["task"][0],
            task_id=task_id,
            total=len(rows),
            maps=[
                map_of(self.dataset, str(part[0]), task_id, of)
                for part, of in rows.group_by("part", maintain_order=True)
            ],
            chosen=rows.filter(pl.col("rank").is_not_null())
            .sort("rank")
            .head(_PER_PAGE)
            .to_dicts(),
            rows=shown.head(_PER_PAGE).to_dicts(),
            medoid=first,
            farthest=farthest,
        )

    def compare(self, request: Request) -> Response:
        """Two episodes along their alignment."""
        first, second = (
            self.rows.episode(request.query_params.get(name, "")) for name in ("a", "b")
        )
        row = self.catalog.rows.filter(pl.col("episode_id") == first.episode_id)
        task_id = row["task_id"][0]
        same = (pl.col("task_id") == task_id) & (pl.col("part") == first.part)
        ids = self.catalog.rows.filter(same)["episode_id"].head(_SCALED_OVER)
        wrong = ""
        try:
            others = [self.rows.episode(one) for one in ids]
            found = align(first, second, others=others)
        except (UsageError, MissingExtraError) as error:
            wrong = str(error)
            longest = max(len(first), len(second))
            path = [(min(k, len(first) - 1), min(k, len(second) - 1)) for k in range(longest)]
            found = Alignment(path, 0.0, "", 1)
        sides = [
            {
                "id": episode.episode_id,
                "length": len(episode),
                "fps": episode.fps,
                "task": episode.task,
                "cameras": [camera | {"number": k} for k, camera in enumerate(cameras_of(episode))],
            }
            for episode in (first, second)
        ]
        return self.render(
            "compare.html",
            title="Side by side",
            sides=sides,
            task_id=task_id,
            wrong=wrong,
            path=found.path,
            last=[max(1, len(episode) - 1) for episode in (first, second)],
            distance=found.distance,
            arm=found.arm,
            every=found.every,
            page_data={"sides": sides, "path": found.path, "chunk": CHUNK},
        )

    def quality(self, request: Request) -> Response:
        """Quality of facts and reviewers."""
        share = "all" if request.query_params.get("share") == "all" else "audit"
        found = review_quality(self.dataset, share=share, gold=self.gold)
        return self.render("quality.html", title="Quality", found=found)

    def annotations(self) -> Newest:
        """Annotations as they are shown: as they are stored."""
        return self.rows

    def frames(self, request: Request) -> Response:
        """Frames of a camera; see `packed_frames`."""
        episode = self._episode(request)
        number, chunk = (int(request.path_params[name]) for name in ("camera", "chunk"))
        frames = range(len(episode))[chunk * CHUNK : (chunk + 1) * CHUNK]
        if number >= len(episode.cameras) or not frames:
            return PlainTextResponse("no such camera or frame", 404)
        camera = episode.cameras[number]
        self._inside(episode, camera)
        key = (episode.episode_id, number, chunk)
        with self._reading:
            packed = self._frames.get(key, partial(packed_frames, episode, camera, frames))
        return Response(packed, media_type="application/octet-stream", headers=_KEEP)

    def thumbnail(self, request: Request) -> Response:
        """A small picture of an episode."""
        episode = self._episode(request)
        for camera in episode.cameras:
            self._inside(episode, camera)
        with self._reading:
            made = self._thumbnails.get(episode.episode_id, partial(thumbnail, episode))
        return Response(made, media_type="image/jpeg", headers=_KEEP)

    def static(self, request: Request) -> Response:
        """A file of the page itself."""
        found = self._static.get(request.path_params["name"])
        if found is None:
            return PlainTextResponse("no such file", 404)
        return Response(found[0], media_type=found[1], headers=_ASK_AGAIN)

    def _episode(self, request: Request) -> Episode:
        return self.rows.episode(request.path_params["episode_id"])

    def _inside(self, episode: Episode, camera: str) -> None:
        """Refuse a file of an episode that is not inside the dataset, links followed."""
        if self._remote:
            return
        span = episode.videos.get(camera)
        path: Path = (
            self.dataset.part_folder(episode.part) / data_file(episode.row)
            if span is None
            else span.path
        )
        if not path.resolve().is_relative_to(self.dataset.root.resolve()):
            raise ConformError(
                place=str(path),
                found="a link or a name that leads out of the dataset",
                wanted="a file inside it",
                next_command="copy the dataset with its links followed: cp -rL",
            )


def make_app(dataset: Dataset, guard: Guard) -> ASGIApp:
    """The application that looks at a dataset and writes nothing."""
    pages = Pages(dataset, guard)
    return guarded_app(pages, pages.routes())


def guarded_app(pages: Pages, routes: list[Route]) -> ASGIApp:
    """Addresses behind the guard, with the errors of finedata told as they are."""

    def told(request: Request, error: Exception) -> Response:
        status = 404 if isinstance(error, UsageError) else 500
        text = str(error)
        if "text/html" in request.headers.get("accept", ""):
            answer = pages.render("error.html", title="Error", text=text)
            answer.status_code = status
            return answer
        return PlainTextResponse(text, status)

    handlers: dict[Any, Callable[[Request, Exception], Response]] = {FinedataError: told}
    return pages.guard.around(Starlette(routes=routes, exception_handlers=handlers))


def _page_of(request: Request, rows: int, each: int) -> tuple[int, int]:
    """Which page is asked for, and how many there are."""
    number = request.query_params.get("page", "1")
    page = int(number) if number.isdecimal() and len(number) < 9 else 1
    pages = max(1, -(-rows // each))
    return min(max(page, 1), pages), pages


def as_json(value: object) -> str:
    """JSON for a data block of a page: no `<`, so that no text can end the block."""
    text = msgspec.json.encode(value).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _static_files() -> dict[str, tuple[bytes, str]]:
    folder = files("finedata.review") / "static"
    return {
        one.name: (one.read_bytes(), _STATIC_TYPES[one.name[one.name.rindex(".") :]])
        for one in folder.iterdir()
        if one.is_file() and one.name.endswith(tuple(_STATIC_TYPES))
    }
