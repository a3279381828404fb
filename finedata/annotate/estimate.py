"""What a run would take, before a cent is spent: episodes are looked at, nobody is asked.

Of many episodes an evenly spaced sample is looked at and scaled up, and the answer says so. Later
stages depend on answers nobody has yet; a usual one stands in for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from finedata.annotate.asking.limits import AskOptions
from finedata.annotate.asking.pictures import PictureSource
from finedata.annotate.asking.stages import requests_of_episode
from finedata.annotate.run_facts import shown_pictures
from finedata.annotate.run_traces import trace_frames, trace_requests
from finedata.annotate.selection import (
    Choice,
    contexts,
    done_episodes,
    done_frames,
    nothing_chosen,
    select_ids,
)
from finedata.errors import ConformError, SourceError
from finedata.store.dataset import open_dataset
from finedata.store.summary import Summary
from finedata.teachers.calls.export import has_calls
from finedata.teachers.calls.ledger import CallLedger
from finedata.teachers.estimate import Estimate, estimate_requests
from finedata.teachers.prices import usd_of_nano
from finedata.teachers.protocol import UnusableAnswerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.annotate.settings import AnnotateSettings
    from finedata.store.dataset import Dataset
    from finedata.teachers.protocol import Request

__all__ = ["SAMPLE", "AnnotateEstimate", "estimate_facts", "estimate_traces"]

SAMPLE = 100
"""Episodes that are looked at, at most."""

_FRAMES = 8  # of a sampled episode, for traces


class AnnotateEstimate(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What a run would take.

    Attributes:
        product: `facts` or `traces`.
        teacher: Who would be asked.
        model: With which model.
        run_id: Name of the run.
        episodes: Episodes that were chosen.
        before: Of these, those the same run has annotated.
        sampled: Episodes that were looked at; the rest was scaled up from them.
        without_pictures: Of these, those that could not be asked about.
        calls: Questions.
        recorded: Of these, answered in the ledger already, as far as can be known.
        pictures: Pictures sent.
        input_tokens: Tokens sent.
        output_tokens: Tokens expected back.
        cost_usd: Expected cost; None without a price.
        most_usd: Cost if every answer is as long as allowed; None without a price.
        notes: What the user should know: why nothing was chosen.
    """

    product: Literal["facts", "traces"]
    teacher: str
    model: str
    run_id: str
    episodes: int
    before: int
    sampled: int
    without_pictures: int
    calls: int
    recorded: int
    pictures: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    most_usd: float | None
    notes: list[str] = []


def estimate_facts(
    root: str | Path,
    *,
    settings: AnnotateSettings,
    options: AskOptions | None = None,
    choice: Choice | None = None,
) -> AnnotateEstimate:
    """What `annotate_facts` would take; nothing is asked and nothing written.

    Raises:
        UsageError: Nothing to annotate.
    """
    dataset = open_dataset(Path(root))
    chosen = select_ids(dataset, choice or Choice())
    done = done_episodes(dataset, run_id=settings.run_id("facts"))
    todo = [episode_id for episode_id in chosen if episode_id not in done]
    source = PictureSource(dataset)
    total = _Total(dataset, settings, options or AskOptions())
    for context in contexts(dataset, _sample(todo)):
        try:
            analysis, refinement = shown_pictures(source, context, settings)
        except (ConformError, SourceError, UnusableAnswerError):
            total.without_pictures += 1
            continue
        requests = requests_of_episode(
            context, analysis=analysis, refinement=refinement, settings=settings
        )
        total.add(requests)
    found = total.result("facts", episodes=len(chosen), todo=len(todo))
    return msgspec.structs.replace(found, notes=nothing_chosen(dataset, chosen))


def estimate_traces(
    root: str | Path,
    *,
    settings: AnnotateSettings,
    every: int = 1,
    options: AskOptions | None = None,
    choice: Choice | None = None,
) -> AnnotateEstimate:
    """What `annotate_traces` would take; nothing is asked and nothing written.

    Raises:
        UsageError: Nothing to annotate.
    """
    dataset = open_dataset(Path(root))
    chosen = select_ids(dataset, choice or Choice())
    done = done_frames(dataset, run_id=settings.run_id("traces"))
    left = _frames_left(dataset, chosen, every=every, done=done)
    todo = [episode_id for episode_id in chosen if left[episode_id]]
    source = PictureSource(dataset)
    total = _Total(dataset, settings, options or AskOptions())
    frames_sampled = 0
    for context in contexts(dataset, _sample(todo)):
        known = done.get(context.episode_id, set())
        frames = [frame for frame in trace_frames(context, every) if frame not in known]
        chosen_frames = [frames[k] for k in _spaced(len(frames), _FRAMES)]
        frames_sampled += len(chosen_frames)
        try:
            shown = trace_requests(source, context, chosen_frames, settings)
            total.add([request for _, request in shown])
        except (ConformError, SourceError):
            total.without_pictures += 1
    frames_in_all = sum(left.values())
    scale = frames_in_all / frames_sampled if frames_sampled else 0.0
    found = total.result("traces", episodes=len(chosen), todo=len(todo), scale=scale)
    return msgspec.structs.replace(found, notes=nothing_chosen(dataset, chosen))


class _Total:
    """Adds up the requests of sampled episodes."""

    def __init__(self, dataset: Dataset, settings: AnnotateSettings, options: AskOptions) -> None:
        self._settings = settings
        self._price = options.price(settings.model)
        self._calls = CallLedger(dataset.root) if has_calls(dataset.root) else None
        self._sum = Estimate(cost_nano=0, most_nano=0)
        self._pictures = 0
        self.sampled = 0
        self.without_pictures = 0

    def add(self, requests: Sequence[Request]) -> None:
        """Count one episode's requests."""
        self.sampled += 1
        self._pictures += sum(len(request.pictures) for request in requests)
        found = estimate_requests(
            requests,
            teacher=self._settings.teacher,
            price=self._price,
            recorded=[request.call_id for request in requests if self._is_answered(request)],
        )
        self._sum = Estimate(
            self._sum.calls + found.calls,
            self._sum.recorded + found.recorded,
            self._sum.input_tokens + found.input_tokens,
            self._sum.output_tokens + found.output_tokens,
            _plus(self._sum.cost_nano, found.cost_nano),
            _plus(self._sum.most_nano, found.most_nano),
        )

    def _is_answered(self, request: Request) -> bool:
        record = None if self._calls is None else self._calls.record(request.call_id)
        return record is not None and record.state == "ok"

    def result(
        self,
        product: Literal["facts", "traces"],
        *,
        episodes: int,
        todo: int,
        scale: float | None = None,
    ) -> AnnotateEstimate:
        """Scale up what was sampled: by episodes, or by the given factor."""
        if self._calls is not None:
            self._calls.close()
        looked_at = self.sampled + self.without_pictures
        scale = scale if scale is not None else (todo / looked_at if looked_at else 0.0)
        found = self._sum
        return AnnotateEstimate(
            product=product,
            teacher=self._settings.teacher,
            model=self._settings.model,
            run_id=self._settings.run_id(product),
            episodes=episodes,
            before=episodes - todo,
            sampled=looked_at,
            without_pictures=self.without_pictures,
            calls=round(found.calls * scale),
            recorded=round(found.recorded * scale),
            pictures=round(self._pictures * scale),
            input_tokens=round(found.input_tokens * scale),
            output_tokens=round(found.output_tokens * scale),
            cost_usd=_scaled_usd(found.cost_nano, scale),
            most_usd=_scaled_usd(found.most_nano, scale),
        )


def _frames_left(
    dataset: Dataset, ids: Sequence[str], *, every: int, done: dict[str, set[int]]
) -> dict[str, int]:
    lengths = dict(dataset.episodes.select("episode_id", "length").collect().iter_rows())
    left: dict[str, int] = {}
    for episode_id in ids:
        known = done.get(episode_id, set())
        wanted = range(0, lengths[episode_id], every)
        left[episode_id] = len(wanted) - sum(frame in wanted for frame in known)
    return left


def _sample(ids: Sequence[str]) -> list[str]:
    return [ids[k] for k in _spaced(len(ids), SAMPLE)]


def _spaced(length: int, most: int) -> list[int]:
    if length <= most:
        return list(range(length))
    return [int(k) for k in np.unique(np.rint(np.linspace(0, length - 1, most)))]


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _scaled_usd(nano: int | None, scale: float) -> float | None:
    return None if nano is None else usd_of_nano(round(nano * scale))
