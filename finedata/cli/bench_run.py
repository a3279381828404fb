"""What the commands of `finedata bench` share: opening, running, printing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from finedata.cli.frame import emit, interruptible, progress_bar

if TYPE_CHECKING:
    from finedata.bench.benchmark import Benchmark
    from finedata.bench.settings import BenchSettings, Judge
    from finedata.schema.bench_summary import BenchSummary
    from finedata.teachers.asker import AskOptions
    from finedata.teachers.protocol import Teacher

__all__ = [
    "answerer",
    "model_of",
    "open_named",
    "or_none",
    "print_estimate",
    "run_and_print",
    "summary_lines",
    "three_digits",
]


def three_digits(value: float | None) -> str:
    """A number, or that it is none."""
    return "not defined" if value is None else f"{value:.3f}"


def or_none(value: float) -> float | None:
    """Below zero means the server's own."""
    return None if value < 0 else value


def model_of(teacher: str, model: str, annotator: str) -> str:
    """What the answerer is called."""
    from finedata.bench.answerers import ANSWERERS
    from finedata.errors import UsageError

    if teacher in ANSWERERS:
        return annotator if teacher == "annotated" else teacher
    if not model and teacher != "replay":
        raise UsageError(
            parameter="model",
            found="none",
            wanted="the model to ask",
            next_command="--model gemini-2.5-flash, or the name your server gives its model",
        )
    return model or "recorded"


def answerer(
    teacher: str,
    benchmark: Benchmark,
    seed: int,
    facts: Path | None,
    annotator: str,
    base_url: str | None,
    recorded: Path | None,
    model: str,
    device: str | None,
) -> Teacher:
    """The answerer that the options mean."""
    from finedata.bench.answerers import ANSWERERS, own_answerer, read_facts
    from finedata.errors import UsageError

    if teacher not in ANSWERERS:
        return open_named(teacher, base_url, recorded, model, device)
    rows: list[dict[str, Any]] = []
    if teacher == "annotated":
        if facts is None:
            raise UsageError(
                parameter="facts",
                found="none",
                wanted="the dataset whose facts are graded",
                next_command="--facts DIR --annotator kinematic",
            )
        rows = read_facts(facts, annotator=annotator)
    return own_answerer(teacher, benchmark, seed=seed, facts=rows)


def open_named(
    name: str, base_url: str | None, recorded: Path | None, model: str, device: str | None
) -> Teacher:
    """Open a teacher by name."""
    from finedata.teachers.opening import open_teacher

    return open_teacher(
        name, base_url=base_url, recorded=recorded, model=model or None, device=device
    )


def print_estimate(
    benchmark: Benchmark,
    settings: BenchSettings,
    teacher: str,
    options: AskOptions,
    limit: int | None,
    *,
    as_json: bool,
) -> None:
    """Say what a run would ask."""
    from finedata.bench.estimate import estimate_benchmark

    found = estimate_benchmark(
        benchmark, settings=settings, teacher=teacher, options=options, limit=limit
    )
    cost = "unknown price" if found.most_usd is None else f"at most {found.most_usd:.2f} USD"
    line = (
        f"{found.videos} videos: {found.calls} calls with {found.pictures} pictures, {cost} "
        f"(from {found.looked_at} videos); {found.judge_calls} calls of the judge besides"
    )
    emit(found, line, as_json=as_json)


def run_and_print(
    benchmark: Benchmark,
    out: Path | None,
    teacher: Teacher,
    settings: BenchSettings,
    judge: Judge | None,
    options: AskOptions,
    judge_options: AskOptions | None,
    store: Path | None,
    limit: int | None,
    *,
    strict: bool,
    as_json: bool,
) -> None:
    """Run, print, and exit with 1 where nothing came well."""
    from finedata.bench.run import run_benchmark
    from finedata.errors import UsageError

    if out is None:
        raise UsageError(parameter="out", found="none", wanted="the folder of the result")
    again = "stopped; the same command continues, and pays for nothing twice"
    with progress_bar() as on_progress, interruptible(again):
        found = run_benchmark(
            benchmark,
            out=out,
            teacher=teacher,
            settings=settings,
            judge=judge,
            options=options,
            judge_options=judge_options,
            store=store,
            limit=limit,
            on_progress=on_progress,
        )
    emit(found, summary_lines(found), as_json=as_json)
    for note in found.notes:
        typer.echo(note, err=True)
    answered, judged = found.statuses, found.judge_statuses
    unwell = sum(n for status, n in (*answered.items(), *judged.items()) if status != "ok")
    if not answered.get("ok") or (judged and not judged.get("ok")) or (strict and unwell):
        raise typer.Exit(1)


def summary_lines(found: BenchSummary) -> list[str]:
    """Everything of both modes, then the dimensions in `strict`."""
    head = f"{found.benchmark.name} {found.benchmark.revision}, {found.track}, {found.setting}"
    lines = [f"{head}: {found.answerer.model}"]
    for one in found.scores:
        if one.value is None or one.by not in ("all", "dimension"):
            continue
        if one.by == "dimension" and one.mode == "released":
            continue
        what = one.group or f"{one.average}, {one.mode}"
        ends = "" if one.low is None or one.high is None else (
            f"  [{100 * one.low:5.1f}, {100 * one.high:5.1f}]"
        )  # fmt: skip
        few = f"  unrankable: {one.clusters} videos" if one.unrankable else ""
        lines.append(f"  {one.metric:18} {what:28} {100 * one.value:6.1f}{ends}{few}")
    return lines
