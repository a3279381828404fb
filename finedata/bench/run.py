"""A run of the benchmark: every video asked, every caption judged, and a result that is whole.

Calls go through the teachers' ledger in the result's own `.finedata/` (or in `store`, which several
runs may share), so a run that is killed pays for nothing twice and the same run again is free. The
rows are made from the ledger at the end, not from what happened in this process. Without a judge a
caption has no score: that is refused before anything is asked.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from finedata.annotate.asking.drive import for_each, run_async
from finedata.bench.answerers import ANSWERERS, OwnAnswerer
from finedata.bench.latency import Latencies, TimedTeacher
from finedata.bench.prompting import (
    judge_request,
    judged_lines,
    read_caption,
    read_judgement,
)
from finedata.bench.result import write_result
from finedata.bench.scores.caption import label_each
from finedata.bench.scores.vqa_match import answers_of
from finedata.bench.settings import (
    BenchSettings,
    Judge,
    request_of,
    speaker_of_answerer,
    speaker_of_judge,
)
from finedata.engine.progress import Progress
from finedata.errors import FinedataError, UsageError
from finedata.schema.identity import hash16
from finedata.teachers.asker import Asker, AskOptions
from finedata.teachers.calls.ledger import CallLedger
from finedata.teachers.prices import Price, usd_of_nano
from finedata.teachers.protocol import Answer, Request, UnusableAnswerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from finedata.bench.benchmark import Benchmark, Row
    from finedata.engine.progress import OnProgress
    from finedata.schema.bench_summary import BenchSummary
    from finedata.teachers.calls.record import CallRecord
    from finedata.teachers.protocol import Teacher

__all__ = ["run_benchmark"]

LIBRARIES = ("numpy", "scipy", "pyarrow", "msgspec", "av", "pillow", "simplejpeg")
"""Whose versions may change a number or what is shown."""
_READING = 4  # videos decoded beyond the calls in flight


def run_benchmark(
    benchmark: Benchmark,
    *,
    out: str | Path,
    teacher: Teacher,
    settings: BenchSettings,
    judge: Judge | None = None,
    options: AskOptions | None = None,
    judge_options: AskOptions | None = None,
    store: str | Path | None = None,
    limit: int | None = None,
    on_progress: OnProgress = None,
) -> BenchSummary:
    """Ask, judge and score.

    Args:
        benchmark: Which; see `read_benchmark`.
        out: Folder of the result. The same command continues one that was stopped.
        teacher: The answerer; closed at the end, as the judge's is.
        settings: How.
        judge: Who judges captions.
        options: Limits of asking the answerer.
        judge_options: Limits of asking the judge; those of the answerer without prices if None.
        store: Folder whose `.finedata/` keeps the calls; that of the result if None.
        limit: Only so many videos, drawn by the seed within datasets; then the items are fewer and
            the result is of another benchmark.
        on_progress: Called after each video.

    Raises:
        UsageError: No item of the track, no judge for captions, or another result is in `out`.
        TeacherSetupError: A wrong key or an unknown model.
    """
    asked = benchmark.track(settings.track).limited(settings.track, limit, seed=settings.seed)
    if not asked.asked(settings.track):
        raise UsageError(
            place=f"benchmark {asked.root}",
            found=f"no usable video with an item of track {settings.track}",
            wanted="questions (QAEvalSets.json) or facts (GT_AtomicFacts.jsonl)",
        )
    if settings.track == "caption" and judge is None:
        raise UsageError(
            parameter="judge",
            found="none",
            wanted="a judge: without one a caption has no score",
            next_command="name a judge and its model, e.g. openai and gpt-5.4-2026-03-05",
        )
    _check_not_its_own(benchmark, settings)
    root = Path(out)
    if judge is not None and settings.track == "vqa":
        judge = None  # answers to questions are matched, not judged
    options = options or AskOptions()
    with CallLedger(Path(store) if store else root) as calls:
        run = _Run(asked, settings, teacher, judge, options, judge_options, calls, on_progress)
        run_async(run.all())
        answers = run.rows()
        usages = run.usages()
    return write_result(
        root,
        benchmark=asked,
        answers=answers,
        settings=settings,
        answerer=speaker_of_answerer(teacher.name, settings),
        judge=None if judge is None else speaker_of_judge(judge),
        usages=usages,
        libraries=_versions(),
    )


@dataclass
class _Video:
    """One video and trial while it is asked."""

    sample: Row
    trial: int
    answer_id: str | None = None
    judge_id: str | None = None
    error: str | None = None
    pictures: bool = field(default=True)


class _Run:
    def __init__(
        self,
        benchmark: Benchmark,
        settings: BenchSettings,
        teacher: Teacher,
        judge: Judge | None,
        options: AskOptions,
        judge_options: AskOptions | None,
        calls: CallLedger,
        on_progress: OnProgress,
    ) -> None:
        self._benchmark = benchmark
        self._settings = settings
        self._judge = judge
        self._calls = calls
        self._options = options
        self._shown = not (isinstance(teacher, OwnAnswerer) or settings.blind)
        self._knows = teacher.knows if isinstance(teacher, OwnAnswerer) else ""
        self._latency = Latencies(calls.path.parent / "latency.jsonl")
        self._teacher = TimedTeacher(teacher, self._latency)
        free = Price(0, 0) if teacher.name in ANSWERERS else options.price(settings.model)
        self._asker = Asker(teacher=self._teacher, calls=calls, options=options, price=free)
        self._judge_teacher = None if judge is None else TimedTeacher(judge.teacher, self._latency)
        self._judging: Asker | None = None
        if judge is not None and self._judge_teacher is not None:
            limits = judge_options or options
            self._judging = Asker(
                teacher=self._judge_teacher,
                calls=calls,
                options=limits,
                price=limits.price(judge.model),
            )
        self._on_progress = on_progress
        self._videos = self._planned()
        self._done = 0

    def _planned(self) -> list[_Video]:
        asked = self._benchmark.asked(self._settings.track)
        first = [_Video(sample, 0) for sample in asked]
        if self._settings.track == "vqa":
            more = range(1, self._settings.trials)
            return first + [_Video(sample, trial) for trial in more for sample in asked]
        drawn = sorted(asked, key=lambda s: hash16(f"{self._settings.seed}/{s['sample_id']}"))
        repeated = drawn[: self._settings.judge_videos]
        more = range(1, self._settings.judge_trials)
        return first + [_Video(sample, trial) for trial in more for sample in repeated]

    async def all(self) -> None:
        """Ask about every video."""
        try:
            async with self._asker:
                if self._judging is None:
                    await self._each()
                else:
                    async with self._judging:
                        await self._each()
        finally:
            await self._teacher.close()
            if self._judge_teacher is not None:
                await self._judge_teacher.close()

    async def _each(self) -> None:
        ahead = self._options.concurrency + _READING
        await for_each(self._videos, self._one, ahead=ahead)

    async def _one(self, video: _Video) -> None:
        track = self._settings.track
        items = self._benchmark.items_of(video.sample["sample_id"], track)
        try:
            request = await asyncio.to_thread(self._request, video)
        except FinedataError as error:
            video.error = f"pictures: {error}"
            self._advance()
            return
        video.answer_id = request.call_id
        outcome = await self._asker.ask(request, check=_checked(track, items))
        if outcome.status != "ok":
            video.error = outcome.reason
        elif self._judging is not None and self._judge is not None and outcome.answer is not None:
            await self._judged(video, items, read_caption(outcome.answer.text))
        self._advance()

    async def _judged(self, video: _Video, items: Sequence[Row], caption: list[str]) -> None:
        judge, judging = self._judge, self._judging
        if judge is None or judging is None or not caption:
            return
        request = judge_request(
            video.sample["sample_id"],
            items,
            caption,
            model=judge.model,
            settings=judge.settings(),
            trial=video.trial,
        )
        video.judge_id = request.call_id
        outcome = await judging.ask(request, check=_check_judgement(items))
        if outcome.status != "ok":
            video.error = f"judge: {outcome.reason}"

    def _request(self, video: _Video) -> Request:
        # a caption is written once and judged several times
        trial = video.trial if self._settings.track == "vqa" else 0
        return request_of(
            self._benchmark,
            self._settings,
            video.sample,
            trial=trial,
            shown=self._shown,
            knows=self._knows,
        )

    def _advance(self) -> None:
        self._done += 1
        if self._on_progress is not None:
            self._on_progress(Progress("asking", self._done, len(self._videos)))

    def rows(self) -> list[Row]:
        """Rows of `bench_answers`, from the ledger."""
        return [self._row(video) for video in self._videos]

    def _row(self, video: _Video) -> Row:
        answer = self._record(video.answer_id)
        judged = self._record(video.judge_id)
        track, text = self._settings.track, answer.answer if answer else None
        caption = read_caption(text) if track == "caption" and text is not None else None
        first = video.trial == 0 or track == "vqa"
        # an answer that the ledger holds counts, also where asking for it once more failed
        failed = _status(answer) != "ok" or (bool(caption) and _status(judged) != "ok")
        # what a repeated judgement is about was paid for once
        paid = [one for one in ((answer if first else None), judged) if one is not None]
        return {
            "sample_id": video.sample["sample_id"],
            "dataset": video.sample["dataset"],
            "track": track,
            "setting": self._settings.setting,
            "trial": video.trial,
            "status": _status(answer),
            "response": text,
            "caption": caption,
            "judge_status": _status(judged) if video.judge_id or self._unjudged(caption) else None,
            "judge_text": judged.answer if judged else None,
            "hallucinated_actions": _hallucinated(judged),
            "error": video.error if failed else None,
            "attempts": answer.attempts if answer and first else 0,
            "judge_attempts": judged.attempts if judged else 0,
            "call_id": video.answer_id,
            "judge_call_id": video.judge_id,
            "input_tokens": _total([one.input_tokens for one in paid]),
            "output_tokens": _total([one.output_tokens for one in paid]),
            "cost_usd": _usd([one.cost_nano for one in paid]),
            "latency_s": self._latency.of(video.answer_id),
        }

    def _unjudged(self, caption: list[str] | None) -> bool:
        return self._settings.track == "caption" and bool(caption)

    def _record(self, call_id: str | None) -> CallRecord | None:
        return None if call_id is None else self._calls.record(call_id)

    def usages(self) -> tuple[list[CallRecord], list[CallRecord]]:
        """Records of the answerer's calls and of the judge's, each once."""
        answers = {video.answer_id for video in self._videos}
        judged = {video.judge_id for video in self._videos}
        found: list[list[CallRecord]] = []
        for ids in (answers, judged):
            records = [self._record(one) for one in sorted(one for one in ids if one)]
            found.append([record for record in records if record is not None])
        return found[0], found[1]


def _checked(track: str, items: Sequence[Row]) -> Callable[[Request, Answer], None]:
    names = [item["name"] for item in items]

    def check(_request: Request, answer: Answer) -> None:
        if track == "vqa":
            answers_of(answer.text, names)
        else:
            read_caption(answer.text)

    return check


def _check_judgement(items: Sequence[Row]) -> Callable[[Request, Answer], None]:
    """One repair, as published: a second answer with wrong ids is taken as it is."""
    names = [item["name"] for item in items]
    taken: set[str] = set()

    def check(request: Request, answer: Answer) -> None:
        problem = label_each(names, judged_lines(read_judgement(answer.text))).problem
        if problem and not request.again and request.call_id not in taken:
            taken.add(request.call_id)
            raise UnusableAnswerError(
                place="judge", found=problem, wanted="each fact_id exactly once"
            )

    return check


def _status(record: CallRecord | None) -> str:
    if record is None:
        return "failed"
    return record.state if record.state in ("ok", "refused", "budget") else "failed"


def _hallucinated(record: CallRecord | None) -> list[str] | None:
    if record is None or record.answer is None:
        return None
    found = read_judgement(record.answer).hallucinated_actions
    return [one if isinstance(one, str) else one.description for one in found]


def _check_not_its_own(benchmark: Benchmark, settings: BenchSettings) -> None:
    own = [one for one in benchmark.annotators if one.partition("/")[2] == settings.model]
    if own:
        raise UsageError(
            parameter="model",
            found=f"{settings.model}, which made the ground truth of {benchmark.name} ({own[0]})",
            wanted="an answerer that is not graded on its own facts",
            next_command="cut the benchmark from facts of another annotator, or of people",
        )


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _total(values: Sequence[int | None]) -> int | None:
    return None if None in values else sum(value or 0 for value in values)


def _usd(nanos: Sequence[int | None]) -> float | None:
    total = _total(nanos)
    return None if total is None else usd_of_nano(total)
