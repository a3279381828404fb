"""A run of the benchmark: every video asked, every caption judged, and a result that is whole.

Calls go through the teachers' ledger in the result's own `.finedata/` (or in `store`, which several
runs may share), so a run that is killed pays for nothing twice and the same run again is free. The
rows are made from the ledger at the end, not from what happened in this process. Without a judge a
caption has no score: that is refused before anything is asked.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from finedata.annotate.drive import for_each, run_async
from finedata.bench.answerers import ANSWERERS, OwnAnswerer
from finedata.bench.benchmark import Benchmark, Row
from finedata.bench.caption_score import label_each
from finedata.bench.film import CAPTION_FRAMES, VQA_FRAMES, shown_frames
from finedata.bench.prompting import (
    PROMPTS,
    answer_request,
    judge_request,
    judged_lines,
    prompt_sha256,
    read_caption,
    read_judgement,
)
from finedata.bench.result import write_result
from finedata.bench.vqa_match import answers_of
from finedata.errors import FinedataError, UsageError
from finedata.schema.bench_summary import BenchSummary, Speaker
from finedata.schema.identity import hash16
from finedata.store.atomic import output_errors
from finedata.teachers.asker import Asker, AskOptions
from finedata.teachers.calls import CallLedger
from finedata.teachers.prices import Price, usd_of_nano
from finedata.teachers.protocol import Answer, Request, UnusableAnswerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from finedata.annotate.frames import FrameSettings
    from finedata.teachers.call_record import CallRecord
    from finedata.teachers.protocol import Teacher

__all__ = ["BenchSettings", "Judge", "run_benchmark"]

LIBRARIES = ("numpy", "scipy", "pyarrow", "msgspec", "av", "pillow", "simplejpeg")
"""Whose versions may change a number or what is shown."""
_READING = 4  # videos decoded beyond the calls in flight


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Who judges captions.

    Attributes:
        teacher: Who is asked; text only.
        model: As the teacher names it.
        temperature: As published, 0.1; None: the server's own.
        max_output_tokens: Longest answer.
    """

    teacher: Teacher
    model: str
    temperature: float | None = 0.1
    max_output_tokens: int = 32_768

    def settings(self) -> dict[str, Any]:
        """What goes with every request."""
        return _given(temperature=self.temperature, max_output_tokens=self.max_output_tokens)


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How a benchmark is asked; all of it stands in the result.

    Attributes:
        track: `vqa` or `caption`.
        model: Of the answerer.
        setting: `easy` tells the instruction beforehand.
        fps: Frames a second; None: as published for the track.
        width: Pixels; None: as published.
        max_frames: Of a view; None: as published. Servers have caps of their own.
        blind: Show no picture at all: what the questions leak to this answerer.
        temperature: Of the answers; None: the server's own.
        top_p: None: the server's own.
        max_output_tokens: Longest answer.
        seed: Of draws: repeated videos, the bootstrap.
        trials: How often each video is asked (`vqa`).
        judge_trials: How often captions of `judge_videos` videos are judged (`caption`).
        judge_videos: How many of them.
        method: Of the intervals.
        level: Of the intervals.
    """

    track: Literal["vqa", "caption"]
    model: str
    setting: Literal["easy", "hard"] = "hard"
    fps: float | None = None
    width: int | None = None
    max_frames: int | None = None
    blind: bool = False
    temperature: float | None = 0.0
    top_p: float | None = 0.95
    max_output_tokens: int = 32_768
    seed: int = 0
    trials: int = 1
    judge_trials: int = 1
    judge_videos: int = 50
    method: Literal["cluster_t", "cluster_bootstrap"] = "cluster_t"
    level: float = 0.95

    def frames(self) -> FrameSettings:
        """What is shown."""
        published = VQA_FRAMES if self.track == "vqa" else CAPTION_FRAMES
        changed = _given(fps=self.fps, width=self.width, max_frames=self.max_frames)
        return msgspec.structs.replace(published, **changed)

    def request_settings(self) -> dict[str, Any]:
        """What goes with every request to the answerer."""
        return _given(
            temperature=self.temperature,
            top_p=self.top_p,
            max_output_tokens=self.max_output_tokens,
        )


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
    on_progress: Callable[[int, int], None] | None = None,
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
        on_progress: Called with videos done and videos in all.

    Raises:
        UsageError: No item of the track, no judge for captions, or another result is in `out`.
        TeacherSetupError: A wrong key or an unknown model.
    """
    asked = _limited(benchmark.track(settings.track), settings.track, limit, settings.seed)
    if not asked.asked(settings.track):
        raise UsageError(
            place=f"benchmark {asked.root}",
            found=f"no usable video with an item of track {settings.track}",
            wanted="questions (QAEvalSets.json) or facts (GT_AtomicFacts.jsonl)",
        )
    if settings.track == "caption" and judge is None:
        raise UsageError(
            place="--judge",
            found="none",
            wanted="a judge: without one a caption has no score",
            next_command="--judge openai --judge-model gpt-5.4-2026-03-05",
        )
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
        answerer=_speaker(teacher.name, settings),
        judge=None if judge is None else _judge_speaker(judge),
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
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        self._benchmark = benchmark
        self._settings = settings
        self._judge = judge
        self._calls = calls
        self._options = options
        self._own = isinstance(teacher, OwnAnswerer) or settings.blind
        self._latency = _Latency(calls.path.parent / "latency.jsonl")
        self._teacher = _Timed(teacher, self._latency)
        free = Price(0, 0) if teacher.name in ANSWERERS else options.price(settings.model)
        self._asker = Asker(teacher=self._teacher, calls=calls, options=options, price=free)
        self._judge_teacher = None if judge is None else _Timed(judge.teacher, self._latency)
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
            request = await asyncio.to_thread(self._request, video, items)
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

    def _request(self, video: _Video, items: Sequence[Row]) -> Request:
        settings = self._settings
        frames = settings.frames()
        pictures = [] if self._own else shown_frames(self._benchmark.root, video.sample, frames)
        return answer_request(
            video.sample,
            items,
            track=settings.track,
            model=settings.model,
            pictures=pictures,
            fps=frames.fps,
            easy=settings.setting == "easy",
            settings=settings.request_settings(),
            # a caption is written once and judged several times
            trial=video.trial if settings.track == "vqa" else 0,
        )

    def _advance(self) -> None:
        self._done += 1
        if self._on_progress is not None:
            self._on_progress(self._done, len(self._videos))

    def rows(self) -> list[Row]:
        """Rows of `bench_answers`, from the ledger."""
        return [self._row(video) for video in self._videos]

    def _row(self, video: _Video) -> Row:
        answer = self._record(video.answer_id)
        judged = self._record(video.judge_id)
        track, text = self._settings.track, answer.answer if answer else None
        caption = read_caption(text) if track == "caption" and text is not None else None
        first = video.trial == 0 or track == "vqa"
        # an answer that the ledger holds counts, also where it was asked for once more in vain
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


class _Latency:
    """How long answers took: a line each, beside the ledger, so that a resumed run knows them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds: dict[str, float] = {}
        if path.exists():
            for line in path.read_bytes().splitlines():
                try:
                    call_id, seconds = msgspec.json.decode(line, type=tuple[str, float])
                except msgspec.DecodeError:
                    continue  # a line that a killed process did not end
                self._seconds[call_id] = seconds

    def put(self, call_id: str, seconds: float) -> None:
        """Keep what an answer took."""
        self._seconds[call_id] = round(seconds, 3)
        with output_errors(self._path), self._path.open("ab") as file:
            file.write(b"\n" + msgspec.json.encode((call_id, self._seconds[call_id])))

    def of(self, call_id: str | None) -> float | None:
        """Seconds of the last answer; None where it was not met."""
        return None if call_id is None else self._seconds.get(call_id)


class _Timed:
    """A teacher whose answers are timed."""

    def __init__(self, teacher: Teacher, latency: _Latency) -> None:
        self.name = teacher.name
        self._teacher = teacher
        self._latency = latency

    async def ask(self, request: Request) -> Answer:
        started = time.monotonic()
        answer = await self._teacher.ask(request)
        self._latency.put(request.call_id, time.monotonic() - started)
        return answer

    async def close(self) -> None:
        await self._teacher.close()


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


def _limited(benchmark: Benchmark, track: str, limit: int | None, seed: int) -> Benchmark:
    """So many videos, spread over datasets: each dataset's n-th video before any's n+1-th."""
    if limit is None:
        return benchmark
    turn: dict[str, int] = {}
    order: list[tuple[int, str, Row]] = []
    asked = benchmark.asked(track)
    for sample in sorted(asked, key=lambda s: hash16(f"{seed}/limit/{s['sample_id']}")):
        number = turn[sample["dataset"]] = turn.get(sample["dataset"], -1) + 1
        order.append((number, sample["dataset"], sample))
    chosen = {s["sample_id"] for _, _, s in sorted(order, key=lambda one: one[:2])[:limit]}
    return Benchmark(
        benchmark.root,
        benchmark.name,
        benchmark.revision,
        [sample for sample in benchmark.samples if sample["sample_id"] in chosen],
        [item for item in benchmark.items if item["sample_id"] in chosen],
        [*benchmark.notes, f"{limit} of {len(asked)} videos only"],
        benchmark.annotators,
    )


def _speaker(teacher: str, settings: BenchSettings) -> Speaker:
    frames = settings.frames()
    shown = {"shown": "nothing"} if settings.blind or teacher in ANSWERERS else {
        f"frames.{name}": f"{getattr(frames, name)}"
        for name in ("fps", "width", "quality", "max_frames")
    }  # fmt: skip
    requested = {name: f"{value}" for name, value in settings.request_settings().items()}
    return Speaker(
        teacher=teacher,
        model=settings.model,
        settings=requested | shown,
        prompts={PROMPTS[settings.track]: prompt_sha256(settings.track)},
    )


def _judge_speaker(judge: Judge) -> Speaker:
    return Speaker(
        teacher=judge.teacher.name,
        model=judge.model,
        settings={name: f"{value}" for name, value in judge.settings().items()},
        prompts={PROMPTS["judge"]: prompt_sha256("judge")},
    )


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _total(values: Sequence[int | None]) -> int | None:
    return None if None in values else sum(value or 0 for value in values)


def _usd(nanos: Sequence[int | None]) -> float | None:
    total = _total(nanos)
    return None if total is None else usd_of_nano(total)
