"""A benchmark and its results: asking, judging, scoring, comparing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from finedata.api.teacher import Teacher
from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.bench.benchmark import Benchmark as Files
    from finedata.bench.estimate import BenchEstimate
    from finedata.bench.profile import BenchProfile
    from finedata.bench.report import Section
    from finedata.bench.scores.agreement import JudgeAgreement, RankAgreement
    from finedata.bench.settings import BenchSettings, Judge
    from finedata.engine.progress import OnProgress
    from finedata.schema.bench_summary import BenchSummary
    from finedata.store.dataset import Dataset
    from finedata.teachers.protocol import Teacher as Client

Interval: TypeAlias = Literal["cluster_t", "cluster_bootstrap"]
# As the benchmark's authors ask.
_MAX_TOKENS = 32_768


def benchmark(root: str | Path, *, revision: str = "") -> Benchmark:
    """Name a benchmark: RoboFine-Bench as released, or one that `Dataset.make_benchmark` cut.

    Args:
        root: Its folder.
        revision: What its state is called; else the Hub's snapshot, or the digest of its truth.

    Example:
        >>> bench = benchmark("RoboFine-bench")  # doctest: +SKIP
        >>> bench.vqa("blind", out="results/blind")  # doctest: +SKIP
    """
    return Benchmark(Path(root), revision)


@dataclass(frozen=True)
class Benchmark:
    """Videos, facts and questions, to be asked; made by `benchmark`."""

    root: Path
    revision: str = ""

    def profile(self) -> BenchProfile:
        """Durations, embodiments, facts and questions by dimension."""
        from finedata.bench.profile import profile_benchmark

        return profile_benchmark(self._files())

    def vqa(
        self,
        teacher: Teacher | str,
        *,
        out: str | Path | None = None,
        trials: int = 1,
        setting: Literal["easy", "hard"] = "hard",
        facts: str | Path | Dataset | None = None,
        blind: bool = False,
        fps: float | None = None,
        width: int | None = None,
        max_frames: int | None = None,
        top_p: float | None = 0.95,
        budget_usd: float | None = None,
        retry: Literal["never", "unpaid", "all"] = "unpaid",
        workers: int = 16,
        store: str | Path | None = None,
        limit: int | None = None,
        interval: Interval = "cluster_t",
        seed: int = 0,
        dry_run: bool = False,
        on_progress: OnProgress = None,
    ) -> BenchSummary | BenchEstimate:
        """Ask the questions of every video and score the answers, by both modes.

        Args:
            teacher: Whom to ask; or one of finedata's own by name: `perfect`, `random`, `blind`
                (never sees a video: the leak of the questions), `annotated` (answers from facts).
            out: Folder of the result; the same call continues one that was stopped.
            trials: How often each video is asked.
            setting: `easy` tells the instruction beforehand.
            facts: The dataset whose facts `annotated` answers from; its `model` is the annotator.
            blind: Show a teacher no picture.
            fps: Frames a second; None: as published. So are `width` in pixels and `max_frames`.
            width: See `fps`.
            max_frames: See `fps`.
            top_p: Of the answers; None: the server's own.
            budget_usd: All calls of the store may cost so much.
            retry: Which calls that failed in earlier runs are asked again.
            workers: Calls in flight.
            store: Keep calls here, for several runs; in the result by default.
            limit: So many videos only.
            interval: How intervals are had.
            seed: Of all draws.
            dry_run: Estimate; ask and write nothing.
            on_progress: Told after every video.

        Raises:
            UsageError: No such benchmark, another result in `out`, or an argument is missing.
        """
        asked = _asked(teacher)
        settings = _settings(
            asked, "vqa", setting, fps, width, max_frames, top_p,
            blind=blind, seed=seed, trials=trials, interval=interval,
        )  # fmt: skip
        return self._run(
            asked, settings, None, out=out, facts=facts, budget_usd=budget_usd, retry=retry,
            workers=workers, store=store, limit=limit, dry_run=dry_run, on_progress=on_progress,
        )  # fmt: skip

    def caption(
        self,
        teacher: Teacher | str,
        *,
        judge: Teacher | None = None,
        out: str | Path | None = None,
        judge_trials: int = 1,
        judge_videos: int = 50,
        setting: Literal["easy", "hard"] = "hard",
        facts: str | Path | Dataset | None = None,
        blind: bool = False,
        fps: float | None = None,
        width: int | None = None,
        max_frames: int | None = None,
        top_p: float | None = 0.95,
        budget_usd: float | None = None,
        retry: Literal["never", "unpaid", "all"] = "unpaid",
        workers: int = 16,
        store: str | Path | None = None,
        limit: int | None = None,
        interval: Interval = "cluster_t",
        seed: int = 0,
        dry_run: bool = False,
        on_progress: OnProgress = None,
    ) -> BenchSummary | BenchEstimate:
        """Have every video described and the descriptions judged, fact by fact.

        Args:
            teacher: See `vqa`, as for every argument that is not named here.
            judge: Who judges; without one there is no score.
            judge_trials: Judge some captions so often, to tell the judge's noise apart.
            judge_videos: So many of them.
            out: See `vqa`.
            setting: See `vqa`.
            facts: See `vqa`.
            blind: See `vqa`.
            fps: See `vqa`.
            width: See `vqa`.
            max_frames: See `vqa`.
            top_p: See `vqa`.
            budget_usd: See `vqa`.
            retry: See `vqa`.
            workers: See `vqa`.
            store: See `vqa`.
            limit: See `vqa`.
            interval: See `vqa`.
            seed: See `vqa`.
            dry_run: See `vqa`.
            on_progress: See `vqa`.
        """
        asked = _asked(teacher)
        settings = _settings(
            asked, "caption", setting, fps, width, max_frames, top_p,
            blind=blind, seed=seed, interval=interval,
            judge_trials=judge_trials, judge_videos=judge_videos,
        )  # fmt: skip
        return self._run(
            asked, settings, judge, out=out, facts=facts, budget_usd=budget_usd, retry=retry,
            workers=workers, store=store, limit=limit, dry_run=dry_run, on_progress=on_progress,
        )  # fmt: skip

    def _files(self) -> Files:
        from finedata.bench.reading import read_benchmark

        return read_benchmark(self.root, revision=self.revision)

    def _run(
        self,
        asked: Teacher,
        settings: BenchSettings,
        judge: Teacher | None,
        *,
        out: str | Path | None,
        facts: str | Path | Dataset | None,
        budget_usd: float | None,
        retry: Literal["never", "unpaid", "all"],
        workers: int,
        store: str | Path | None,
        limit: int | None,
        dry_run: bool,
        on_progress: OnProgress,
    ) -> BenchSummary | BenchEstimate:
        from finedata.bench.estimate import estimate_benchmark
        from finedata.bench.run import run_benchmark

        files = self._files()
        options = asked.limits(workers=workers, budget_usd=budget_usd, retry=retry)
        if dry_run:
            name = asked.name if isinstance(asked.name, str) else asked.name.name
            return estimate_benchmark(
                files, settings=settings, teacher=name, options=options, limit=limit
            )
        client = _client(asked, files, facts, seed=settings.seed)
        opened = None if judge is None else _judge(judge)
        if out is None:
            raise UsageError(parameter="out", found="none", wanted="the folder of the result")
        return run_benchmark(
            files,
            out=out,
            teacher=client,
            settings=settings,
            judge=opened,
            options=options,
            judge_options=None
            if judge is None
            else judge.limits(workers=workers, budget_usd=budget_usd, retry=retry),
            store=store,
            limit=limit,
            on_progress=on_progress,
        )


def bench_report(
    results: Sequence[str | Path], *, out: str | Path | None = None, force: bool = False
) -> tuple[list[Section], list[str]]:
    """Tables of results with intervals, and paired differences; see `finedata.bench.report`.

    Args:
        results: Folders of results.
        out: A file that ends in `.html` or `.md`, or a name for both; nothing is written if None.
        force: Compare results of different questions.

    Returns:
        The sections, and the files written.
    """
    from finedata.bench.report import write_report

    return write_report(results, out=out, force=force)


def bench_markdown(sections: list[Section]) -> str:
    """What `bench_report` found, as Markdown."""
    from finedata.bench.report import markdown_of

    return markdown_of(sections)


def bench_score(
    result: str | Path, *, out: str | Path, interval: Interval = "cluster_t"
) -> BenchSummary:
    """Score a result's stored answers again, by this finedata; nothing is asked."""
    from finedata.bench.result import score_again

    return score_again(result, out=out, method=interval)


def bench_agree(
    results: Sequence[str | Path], *, human: str | Path | None = None
) -> JudgeAgreement | RankAgreement:
    """How two judges agree on the same captions, or scores with people.

    Args:
        results: Two results; or any number of them with `human`.
        human: CSV of two columns, model and score (higher is better).

    Raises:
        UsageError: Not two results, or nothing that they share.
    """
    from finedata.bench.result import read_result
    from finedata.bench.scores.agreement import (
        agree_judges,
        agree_ranks,
        read_human,
        scores_by_model,
    )

    opened = [read_result(one) for one in results]
    if human is not None:
        return agree_ranks(scores_by_model(opened), read_human(human))
    if len(opened) != 2:
        raise UsageError(
            place="results", found=f"{len(opened)}", wanted="two, or what people gave (human)"
        )
    return agree_judges(opened[0], opened[1])


def _asked(teacher: Teacher | str) -> Teacher:
    """Whom to ask; finedata's own answerers need nothing but their name."""
    if isinstance(teacher, Teacher):
        return teacher
    from finedata.api.teacher import teacher as name_teacher
    from finedata.bench.answerers import ANSWERERS

    if teacher not in ANSWERERS:
        raise UsageError(
            parameter="teacher",
            found=f"{teacher!r}",
            wanted=f"one of {', '.join(ANSWERERS)}, or fd.teacher(name, model=...)",
        )
    model = "kinematic" if teacher == "annotated" else teacher
    return name_teacher(teacher, model=model, max_tokens=_MAX_TOKENS)


def _settings(
    asked: Teacher,
    track: Literal["vqa", "caption"],
    setting: Literal["easy", "hard"],
    fps: float | None,
    width: int | None,
    max_frames: int | None,
    top_p: float | None,
    *,
    blind: bool,
    seed: int,
    interval: Interval,
    trials: int = 1,
    judge_trials: int = 1,
    judge_videos: int = 50,
) -> BenchSettings:
    from finedata.bench.settings import BenchSettings

    return BenchSettings(
        track=track,
        model=asked.model,
        setting=setting,
        fps=fps,
        width=width,
        max_frames=max_frames,
        blind=blind,
        temperature=asked.temperature,
        top_p=top_p,
        max_output_tokens=asked.max_tokens,
        seed=seed,
        trials=trials,
        judge_trials=judge_trials,
        judge_videos=judge_videos,
        method=interval,
    )


def _client(
    asked: Teacher, files: Files, facts: str | Path | Dataset | None, *, seed: int
) -> Client:
    from finedata.bench.answerers import ANSWERERS, own_answerer, read_facts

    if not isinstance(asked.name, str) or asked.name not in ANSWERERS:
        return asked.connect()
    if asked.name != "annotated":
        return own_answerer(asked.name, files, seed=seed)
    if facts is None:
        raise UsageError(
            parameter="facts",
            found="none",
            wanted="the dataset whose facts are graded",
            next_command="--facts DIR --annotator kinematic",
        )
    root = facts if isinstance(facts, str | Path) else facts.root
    rows = read_facts(root, annotator=asked.model)
    return own_answerer(asked.name, files, seed=seed, facts=rows)


def _judge(judge: Teacher) -> Judge:
    from finedata.bench.settings import Judge

    return Judge(
        teacher=judge.connect(),
        model=judge.model,
        temperature=judge.temperature,
        max_output_tokens=judge.max_tokens,
    )
