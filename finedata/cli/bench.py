"""`finedata bench`: ask and score a benchmark, cut one, look at one, report results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from finedata.cli.bench_options import (
    Attempts,
    BaseUrl,
    Device,
    InputPrice,
    OutputPrice,
    PerMinute,
    Recorded,
    Retry,
    Strict,
    Timeout,
    Workers,
    or_none,
    whom,
)
from finedata.cli.bench_run import (
    AGAIN,
    print_run,
    summary_lines,
    three_digits,
)
from finedata.cli.frame import AsJson, emit, interruptible, progress_bar

app = typer.Typer(
    name="bench",
    help="""Evaluate teachers and annotators: RoboFine-Bench, or a benchmark of your own data.

Example: finedata bench vqa --data RoboFine-bench --teacher gemini --model gemini-2.5-flash --out r
""",
    no_args_is_help=True,
)

_VQA = """Ask the questions of every video and score the answers.

Two modes stand side by side: `strict`, and `released`, the published matcher with its holes. A run
that was stopped continues with the same command and pays for nothing twice.

--teacher is a model's (gemini, openai, local, replay) or one of finedata's own: perfect, random,
blind (never sees a video: the leak of the questions), annotated (the facts of --facts DIR).

Example: finedata bench vqa --data BENCH --teacher openai --base-url http://localhost:8000/v1
--model qwen3-vl --out results/qwen
"""
_CAPTION = """Have every video described and the descriptions judged, fact by fact.

Needs a judge: without one there is no score. --judge-trials 3 judges 50 captions three times and
tells the judge's noise apart.

Example: finedata bench caption --data BENCH --teacher gemini --model gemini-2.5-flash
--judge openai --judge-model gpt-5.4-2026-03-05 --out results/gemini --dry-run
"""
_MAKE = """Cut a benchmark from an annotated dataset: videos held out, facts, questions.

Facts must have been accepted by a person, or --policy not_contradicted. What a blind answerer
scores is printed: the leak of the questions. BENCH/heldout.txt is the list for
`finedata shard --held-out`; with --shards the videos are of a held-out side already.

Example: finedata bench make bridge --out bridge_bench --videos 200
"""
_PROFILE = """What a benchmark holds: durations, embodiments, facts and questions by dimension.

Example: finedata bench profile RoboFine-bench
"""
_REPORT = """Tables of results with intervals, and paired differences of two or more.

Example: finedata bench report results/qwen results/gemini --out tables
"""
_SCORE = """Score a result's stored answers again, by this finedata; nothing is asked.

Example: finedata bench score results/qwen --out results/qwen_again
"""
_AGREE = """How two judges agree on the same captions, and scores with people.

--human is a CSV of two columns, model and score (higher is better).

Example: finedata bench agree results/judged_by_gpt results/judged_by_gemini
"""

Data = Annotated[
    Path,
    typer.Option("--data", metavar="DIR", help="The benchmark's folder.", show_default=False),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="RESULT", help="Folder of the result.")]
TeacherName = Annotated[
    str, typer.Option("--teacher", help="A model's teacher, or perfect, random, blind, annotated.")
]
Model = Annotated[str, typer.Option(help="Model, as the teacher names it.")]
Setting = Annotated[
    Literal["easy", "hard"], typer.Option(help="easy: the instruction is told beforehand.")
]
Facts = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Dataset whose facts `annotated` answers from."),
]
Annotator = Annotated[str, typer.Option(help="Whose facts these are, for `annotated`.")]
Blind = Annotated[bool, typer.Option("--blind", help="Show this teacher no picture.")]
Fps = Annotated[float | None, typer.Option(help="Frames a second. [as published]")]
Width = Annotated[int | None, typer.Option(help="Pixels. [512, as published]")]
MaxFrames = Annotated[int | None, typer.Option(min=1, help="Of a view. [as published]")]
Temperature = Annotated[float, typer.Option(help="Below 0: the server's own.")]
TopP = Annotated[float, typer.Option(help="Below 0: the server's own.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer.")]
Budget = Annotated[
    float | None, typer.Option(min=0, help="All calls of the store may cost so much.")
]
Store = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Keep calls here, for several runs. [RESULT]")
]
Limit = Annotated[int | None, typer.Option(min=1, help="So many videos only.")]
Revision = Annotated[str, typer.Option(help="What this state of the benchmark is called.")]
Seed = Annotated[int, typer.Option(help="Of all draws.")]
Interval = Annotated[
    Literal["cluster_t", "cluster_bootstrap"], typer.Option(help="How intervals are had.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Estimate; ask and write nothing.")]


@app.command("vqa", help=_VQA)
def vqa(
    *,
    data: Data,
    teacher: TeacherName,
    out: Out = None,
    model: Model = "",
    setting: Setting = "hard",
    facts: Facts = None,
    annotator: Annotator = "kinematic",
    blind: Blind = False,
    trials: Annotated[int, typer.Option(min=1, help="How often each video is asked.")] = 1,
    base_url: BaseUrl = None,
    recorded: Recorded = None,
    device: Device = None,
    fps: Fps = None,
    width: Width = None,
    max_frames: MaxFrames = None,
    temperature: Temperature = 0.0,
    top_p: TopP = 0.95,
    max_tokens: MaxTokens = 32_768,
    budget_usd: Budget = None,
    input_price: InputPrice = None,
    output_price: OutputPrice = None,
    workers: Workers = 16,
    requests_per_minute: PerMinute = None,
    attempts: Attempts = 6,
    timeout: Timeout = 300.0,
    retry: Retry = "unpaid",
    store: Store = None,
    limit: Limit = None,
    revision: Revision = "",
    interval: Interval = "cluster_t",
    seed: Seed = 0,
    dry_run: DryRun = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """See _VQA."""
    from finedata.api import benchmark

    asked = whom(
        teacher, model, annotator, base_url=base_url, recorded=recorded, device=device,
        temperature=or_none(temperature), max_tokens=max_tokens, input_price_usd=input_price,
        output_price_usd=output_price, requests_per_minute=requests_per_minute,
        attempts=attempts, timeout_s=timeout,
    )  # fmt: skip
    with progress_bar() as on_progress, interruptible(AGAIN):
        found = benchmark(data, revision=revision).vqa(
            asked, out=out, trials=trials, setting=setting, facts=facts, blind=blind, fps=fps,
            width=width, max_frames=max_frames, top_p=or_none(top_p), budget_usd=budget_usd,
            retry=retry, workers=workers, store=store, limit=limit, interval=interval, seed=seed,
            dry_run=dry_run, on_progress=on_progress,
        )  # fmt: skip
    print_run(found, strict=strict, as_json=as_json)


@app.command("caption", help=_CAPTION)
def caption(
    *,
    data: Data,
    teacher: TeacherName,
    out: Out = None,
    model: Model = "",
    judge: Annotated[str, typer.Option(help="Teacher who judges: gemini, openai, local.")] = "",
    judge_model: Annotated[str, typer.Option(help="Model of the judge.")] = "",
    judge_base_url: Annotated[str | None, typer.Option(help="Address of the judge.")] = None,
    judge_recorded: Annotated[Path | None, typer.Option(help="Recorded judgements.")] = None,
    judge_temperature: Annotated[float, typer.Option(help="0.1, as published.")] = 0.1,
    judge_input_price: InputPrice = None,
    judge_output_price: OutputPrice = None,
    judge_trials: Annotated[int, typer.Option(min=1, help="Judge some so often.")] = 1,
    judge_videos: Annotated[int, typer.Option(min=1, help="So many of them.")] = 50,
    setting: Setting = "hard",
    facts: Facts = None,
    annotator: Annotator = "kinematic",
    blind: Blind = False,
    base_url: BaseUrl = None,
    recorded: Recorded = None,
    device: Device = None,
    fps: Fps = None,
    width: Width = None,
    max_frames: MaxFrames = None,
    temperature: Temperature = 0.0,
    top_p: TopP = 0.95,
    max_tokens: MaxTokens = 32_768,
    budget_usd: Budget = None,
    input_price: InputPrice = None,
    output_price: OutputPrice = None,
    workers: Workers = 16,
    requests_per_minute: PerMinute = None,
    attempts: Attempts = 6,
    timeout: Timeout = 300.0,
    retry: Retry = "unpaid",
    store: Store = None,
    limit: Limit = None,
    revision: Revision = "",
    interval: Interval = "cluster_t",
    seed: Seed = 0,
    dry_run: DryRun = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """See _CAPTION."""
    from finedata.api import benchmark

    asked = whom(
        teacher, model, annotator, base_url=base_url, recorded=recorded, device=device,
        temperature=or_none(temperature), max_tokens=max_tokens, input_price_usd=input_price,
        output_price_usd=output_price, requests_per_minute=requests_per_minute,
        attempts=attempts, timeout_s=timeout,
    )  # fmt: skip
    judging = None if not judge else whom(
        judge, judge_model, "", base_url=judge_base_url, recorded=judge_recorded,
        temperature=or_none(judge_temperature), input_price_usd=judge_input_price,
        output_price_usd=judge_output_price, requests_per_minute=requests_per_minute,
        attempts=attempts, timeout_s=timeout,
    )  # fmt: skip
    with progress_bar() as on_progress, interruptible(AGAIN):
        found = benchmark(data, revision=revision).caption(
            asked, judge=judging, out=out, judge_trials=judge_trials, judge_videos=judge_videos,
            setting=setting, facts=facts, blind=blind, fps=fps, width=width,
            max_frames=max_frames, top_p=or_none(top_p), budget_usd=budget_usd, retry=retry,
            workers=workers, store=store, limit=limit, interval=interval, seed=seed,
            dry_run=dry_run, on_progress=on_progress,
        )  # fmt: skip
    print_run(found, strict=strict, as_json=as_json)


@app.command("make", help=_MAKE)
def make(
    *,
    root: Annotated[Path, typer.Argument(metavar="DIR", help="The dataset.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="BENCH", help="The new folder.")],
    name: Annotated[str, typer.Option(help="Of the benchmark. [the folder's]")] = "",
    videos: Annotated[int, typer.Option(min=1, help="At most so many.")] = 500,
    questions: Annotated[float, typer.Option(min=0, help="For each video, on average.")] = 2.0,
    policy: Annotated[
        Literal["reviewed", "not_contradicted"],
        typer.Option(help="Facts that a person accepted, or all that nothing speaks against."),
    ] = "reviewed",
    shards: Annotated[
        Path | None, typer.Option(metavar="SHARDS", help="Take their held-out side.")
    ] = None,
    fps: Annotated[float, typer.Option(help="Pictures a second that are kept.")] = 4.0,
    everything: Annotated[
        bool, typer.Option("--all", help="Every episode, not representatives only.")
    ] = False,
    episodes: Annotated[str, typer.Option(help="Only these episode_ids.")] = "",
    where: Annotated[str, typer.Option(help="Only episodes for which this SQL holds.")] = "",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """See _MAKE."""
    from finedata.api import open

    with progress_bar() as on_progress, interruptible():
        found = open(root).make_benchmark(
            out,
            name=name,
            videos=videos,
            questions=questions,
            policy=policy,
            shards=shards,
            where=where,
            episodes=episodes,
            everything=everything,
            fps=fps,
            seed=seed,
            on_progress=on_progress,
        )
    lines = [
        f"{found.out}: {found.videos} videos, {found.questions} questions, {found.facts} facts",
        *(f"  {dimension:28} {count}" for dimension, count in found.by_dimension.items()),
        f"yes {found.answers['yes']}, no {found.answers['no']}; facts by "
        f"{', '.join(found.annotators)}",
        *found.notes,
    ]
    if found.held_out:
        lines.append(f"hold them out: finedata shard … --held-out {found.held_out}")
    emit(found, lines, as_json=as_json)


@app.command("profile", help=_PROFILE)
def profile(
    *,
    data: Annotated[Path, typer.Argument(metavar="BENCH", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """See _PROFILE."""
    from finedata.api import benchmark

    found = benchmark(data).profile()
    lines = [
        f"{found.name} {found.revision}: {found.videos} videos, {found.unusable} of them broken, "
        f"{found.files_missing} without all files"
    ]
    if found.durations_s is not None:
        short, median, mean, longest = found.durations_s
        lines.append(
            f"durations: {short:.1f} to {longest:.1f} s, median {median:.1f}, mean {mean:.1f}"
        )
    for title, counts in (
        ("datasets", found.datasets), ("embodiments", found.embodiments),
        ("durations from second", found.duration_counts), ("facts", found.facts),
        ("questions", found.questions), ("answers", found.answer_types),
        ("mistakes", found.error_types),
    ):  # fmt: skip
        lines.append(f"{title}:")
        lines += [f"  {name:28} {count}" for name, count in counts.items()]
    emit(found, [*lines, *found.notes], as_json=as_json)


@app.command("report", help=_REPORT)
def report(
    *,
    results: Annotated[list[Path], typer.Argument(metavar="RESULT...", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="FILE.html and FILE.md, or one of them. [stdout]"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compare results of different questions.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See _REPORT."""
    from finedata.api import bench_markdown, bench_report

    sections, written = bench_report(results, out=out, force=force)
    if as_json:
        emit({"files": written, "sections": sections}, [], as_json=True)
    else:
        emit(None, written or bench_markdown(sections), as_json=False)


@app.command("score", help=_SCORE)
def score(
    *,
    result: Annotated[Path, typer.Argument(metavar="RESULT", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The new folder.")],
    interval: Interval = "cluster_t",
    as_json: AsJson = False,
) -> None:
    """See _SCORE."""
    from finedata.api import bench_score

    found = bench_score(result, out=out, interval=interval)
    emit(found, summary_lines(found), as_json=as_json)


@app.command("agree", help=_AGREE)
def agree(
    *,
    results: Annotated[list[Path], typer.Argument(metavar="RESULT...", show_default=False)],
    human: Annotated[
        Path | None, typer.Option(metavar="CSV", help="What people gave each model.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See _AGREE."""
    from finedata.api import bench_agree
    from finedata.bench.scores.agreement import RankAgreement

    found = bench_agree(results, human=human)
    if isinstance(found, RankAgreement):
        text = f"{found.models} models: Pearson {three_digits(found.pearson)}, Spearman "
        emit(found, text + three_digits(found.spearman), as_json=as_json)
        return
    lines = [
        f"{found.facts} facts of {found.captions} captions: {100 * found.share:.1f} % alike, "
        f"kappa {three_digits(found.kappa)}",
        *(f"  {label:14} kappa {three_digits(value)}" for label, value in found.by_label.items()),
    ]
    emit(found, lines, as_json=as_json)
