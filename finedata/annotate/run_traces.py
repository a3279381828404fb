"""Reasoning traces with a teacher: one question a frame, from the choice of frames to the file.

New are rows of `traces`, and the table `calls`. A frame whose answer is missing a part, or never
came, has no row: it is counted, with its reason, and asked again by the next run of the same
command.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from finedata.annotate.asking.drive import Spool, for_each, run_async
from finedata.annotate.asking.limits import Asking, AskOptions, charged
from finedata.annotate.asking.pictures import PictureSource
from finedata.annotate.asking.prompt import PROMPTS, fill, load_prompt
from finedata.annotate.asking.stages import episode_prompt, stage_end
from finedata.annotate.outcome import AnnotateSummary, top_reasons
from finedata.annotate.results import EpisodeContext, TraceResult, TracesResult
from finedata.annotate.rows import trace_rows
from finedata.annotate.selection import (
    Choice,
    contexts,
    done_frames,
    nothing_chosen,
    select_ids,
)
from finedata.annotate.trace_text import Trace, read_trace
from finedata.engine.progress import Progress
from finedata.errors import ConformError, SourceError, UsageError
from finedata.store.dataset import open_dataset
from finedata.store.episode import shown_camera
from finedata.store.run.ledger import LEDGER_FOLDER
from finedata.store.tables.table import append_rows, undo_unfinished
from finedata.teachers.calls.export import write_calls
from finedata.teachers.calls.ledger import CallLedger
from finedata.teachers.protocol import Answer, Picture, Request, UnusableAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from finedata.annotate.settings import AnnotateSettings
    from finedata.engine.progress import OnProgress
    from finedata.store.dataset import Dataset
    from finedata.teachers.protocol import Teacher

# Frames of an episode whose pictures are in memory together.
_CHUNK = 16


def annotate_traces(
    root: str | Path,
    *,
    teacher: Teacher,
    settings: AnnotateSettings,
    every: int = 1,
    options: AskOptions | None = None,
    choice: Choice | None = None,
    on_progress: OnProgress = None,
) -> AnnotateSummary:
    """Write reasoning traces.

    Args:
        root: Root of the dataset.
        teacher: Who is asked; closed at the end.
        settings: How; they name the run.
        every: Of every so many frames, the first; 1 as in ReFineVLA. Not part of the run's name:
            a denser run adds what a sparser one left out.
        options: Limits.
        choice: Which episodes; the representatives by default.
        on_progress: Called after each episode, with frames.

    Returns:
        What was done; `failed` and `over_budget` count frames.

    Raises:
        UsageError: Nothing to annotate, `every` is not positive, or a budget without a price.
        TeacherSetupError: A wrong key or an unknown model.
        OutputError: The ledger or a file cannot be written.
    """
    if every < 1:
        raise UsageError(parameter="every", found=str(every), wanted="1 or more")
    path, options = Path(root), options or AskOptions()
    undo_unfinished(path)
    dataset = open_dataset(path)
    chosen = select_ids(dataset, choice or Choice())
    done = done_frames(dataset, run_id=settings.run_id("traces"))
    with CallLedger(path) as calls, Spool(path / LEDGER_FOLDER, TracesResult) as spool:
        asking = Asking(teacher, calls, settings.model, options)
        run = _Run(dataset, settings, asking, spool, done, every, on_progress)
        run_async(run.all(chosen, teacher=teacher, ahead=options.concurrency))
        summary = _written(dataset, chosen, spool, settings)
        write_calls(path, calls=calls)
    return msgspec.structs.replace(
        summary,
        before=run.before,
        notes=nothing_chosen(dataset, chosen),
        **charged(asking.spent, verdicts=summary.verdicts),
    )


class _Run:
    """One run while it asks."""

    def __init__(
        self,
        dataset: Dataset,
        settings: AnnotateSettings,
        asking: Asking,
        spool: Spool[TracesResult],
        known: dict[str, set[int]],
        every: int,
        on_progress: OnProgress,
    ) -> None:
        self._dataset = dataset
        self._settings = settings
        self._asking = asking
        self._spool = spool
        self._known = known
        self._every = every
        self._pictures = PictureSource(dataset)
        self._on_progress = on_progress
        self._done = self._failed = self._total = 0
        self.before = 0

    async def all(self, ids: Sequence[str], *, teacher: Teacher, ahead: int) -> None:
        """Ask about every chosen frame of every episode."""
        try:
            async with self._asking.asker:
                await for_each(contexts(self._dataset, ids), self._one, ahead=ahead)
        finally:
            await teacher.close()

    async def _one(self, context: EpisodeContext) -> None:
        known = self._known.get(context.episode_id, set())
        frames = [frame for frame in trace_frames(context, self._every) if frame not in known]
        if not frames:
            self.before += 1
            return
        self._total += len(frames)
        results: list[TraceResult] = []
        reason = ""
        for begin in range(0, len(frames), _CHUNK):
            chunk = frames[begin : begin + _CHUNK]
            try:
                requests = await asyncio.to_thread(self._requests, context, chunk)
            except (ConformError, SourceError, UnusableAnswerError) as error:
                reason = f"pictures: {error}"
                break
            asked = [self._frame(frame, request) for frame, request in requests]
            results += await asyncio.gather(*asked)
        cameras = self._pictures.episode(context.row).cameras(self._settings.trace)
        names = [shown_camera(camera) for camera in cameras]
        found = TracesResult(
            episode_id=context.episode_id,
            cameras=names,
            traces=results,
            reason=reason,
            missing=len(frames) - len(results),
        )
        self._spool.put(context.episode_id, found)
        self._tell(found)

    def _requests(
        self, context: EpisodeContext, frames: Sequence[int]
    ) -> list[tuple[int, Request]]:
        return list(trace_requests(self._pictures, context, frames, self._settings))

    async def _frame(self, frame: int, request: Request) -> TraceResult:
        outcome = await self._asking.ask(request, check=_check)
        text = outcome.answer.text if outcome.answer is not None else ""
        return TraceResult(
            frame=frame, stage=stage_end(outcome), trace=outcome.value, raw_text=text
        )

    def _tell(self, found: TracesResult) -> None:
        good = sum(trace.trace is not None for trace in found.traces)
        self._done += good
        self._failed += len(found.traces) - good + found.missing
        if self._on_progress is not None:
            self._on_progress(Progress("asking", self._done, self._total, self._failed))


def _check(_: Request, answer: Answer) -> Trace:
    return read_trace(answer.text)


def trace_frames(context: EpisodeContext, every: int) -> list[int]:
    """Frames that get a trace: of every so many, the first."""
    return list(range(0, context.frames, every))


def trace_requests(
    source: PictureSource,
    context: EpisodeContext,
    frames: Sequence[int],
    settings: AnnotateSettings,
) -> Iterator[tuple[int, Request]]:
    """The question about each frame: all its cameras, and nothing of the future.

    Raises:
        AnswerError: There is no picture to show.
        ConformError: A file of pictures is damaged.
    """
    prompt = load_prompt(PROMPTS["trace"])
    values = episode_prompt(context)
    shown = source.episode(context.row).by_frame(frames, settings.trace)
    for frame in frames:
        text = fill(
            prompt,
            {
                "instruction": values["instruction"],
                "arms": values["arms"],
                "time_s": f"{frame / context.fps:.2f}",
            },
        )
        pictures: tuple[Picture, ...] = tuple(shown.get(frame, ()))
        if not pictures:
            continue
        request = Request(
            episode_id=context.episode_id,
            stage="trace",
            model=settings.model,
            prompt=text,
            pictures=pictures,
            settings=settings.request_settings(),
            prompt_sha256=prompt.sha256,
        )
        _ = request.call_id
        yield frame, request


def _written(
    dataset: Dataset, ids: Sequence[str], spool: Spool[TracesResult], settings: AnnotateSettings
) -> AnnotateSummary:
    run_id = settings.run_id("traces")
    reasons: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    done = 0
    with append_rows(dataset.root, ("traces",)) as writer:
        for context in contexts(dataset, [name for name in ids if name in spool]):
            result = spool.get(context.episode_id)
            if result is None:
                continue
            rows = trace_rows(context, result, run_id=run_id, annotator=settings.model)
            writer.add("traces", rows)
            done += bool(rows)
            if result.missing:
                reasons[(result.reason or "pictures: none decodes").splitlines()[0]] += (
                    result.missing
                )
                ended["failed"] += result.missing
            for found in result.traces:
                ended[found.stage.status] += 1
                if found.stage.status != "ok":
                    reasons[f"trace: {found.stage.reason}".splitlines()[0]] += 1
    return AnnotateSummary(
        product="traces",
        teacher=settings.teacher,
        model=settings.model,
        run_id=run_id,
        episodes=len(ids),
        before=0,
        done=done,
        failed=ended["failed"] + ended["refused"],
        over_budget=ended["budget"],
        reasons=top_reasons(reasons),
        rows=dict(writer.counts),
        files=sorted(writer.files.values()),
    )
