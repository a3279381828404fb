"""`finedata annotate`: facts, traces and kinematic facts; how far it is; other projects' forms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finedata.cli.annotate_options import (
    All,
    AsJson,
    Attempts,
    BaseUrl,
    Budget,
    Concurrency,
    Device,
    DryRun,
    Episodes,
    InputPrice,
    Limit,
    MaxTokens,
    Model,
    OutputPrice,
    PerMinute,
    Recorded,
    Retry,
    Root,
    Seed,
    Strict,
    TeacherName,
    Temperature,
    Timeout,
    Verbs,
    Views,
    Where,
    Width,
    make_choice,
    make_options,
    make_settings,
    with_frames,
)
from finedata.cli.frame import emit, interruptible, progress_bar

if TYPE_CHECKING:
    from finedata.annotate.estimate import AnnotateEstimate
    from finedata.annotate.outcome import AnnotateSummary
    from finedata.annotate.selection import Choice
    from finedata.teachers.protocol import Teacher

__all__ = ["app"]

app = typer.Typer(
    name="annotate",
    help="""Write fine-grained facts and reasoning traces, and say how far that is.

Example: finedata annotate kinematic bridge --all
""",
    no_args_is_help=True,
)

_PAID = "stopped; the same command continues, and pays for nothing twice"
_FACTS = """Fine-grained facts: actions, steps, atomic facts in ten dimensions, one instruction.

Asks a vision-language model about each representative and holds every fact against the recorded
motion. Answers are kept: a run that was stopped continues with the same command and pays for
nothing twice. Start with --dry-run, which estimates calls, tokens and cost.

Example: finedata annotate facts bridge --teacher gemini --model gemini-2.5-flash --budget-usd 20
"""
_TRACES = """Reasoning traces in ReFineVLA's four parts, for every frame or every k-th.

Example: finedata annotate traces bridge --teacher gemini --model gemini-2.5-flash --every 5
"""
_KINEMATIC = """Facts measured from the recorded motion: no model, no cost.

Example: finedata annotate kinematic bridge --all
"""
_STATUS = """What is annotated, what failed and why, tokens, cost, and cost per accepted fact.

Example: finedata annotate status bridge
"""
_EXPORT = """Write the annotations in another project's form.

Formats: finevla (meta/FineGrainedInstruction.jsonl), refinevla (reasoning/*.json), robofine
(GT_AtomicFacts.jsonl), lerobot-language (a LeRobot dataset with the language columns).

Example: finedata annotate export bridge --format finevla --out bridge_fg
"""


@app.command("facts", help=_FACTS)
def facts(
    *,
    root: Root,
    teacher: TeacherName,
    model: Model = "",
    base_url: BaseUrl = None,
    recorded: Recorded = None,
    device: Device = None,
    budget_usd: Budget = None,
    input_price: InputPrice = None,
    output_price: OutputPrice = None,
    concurrency: Concurrency = 64,
    requests_per_minute: PerMinute = None,
    attempts: Attempts = 6,
    timeout: Timeout = 300.0,
    retry: Retry = "unpaid",
    fps: Annotated[float, typer.Option(help="Frames a second of the first look.")] = 4.0,
    refinement_fps: Annotated[float, typer.Option(help="The same for the later looks.")] = 1.0,
    max_frames: Annotated[int, typer.Option(min=4, help="Of a camera, a call.")] = 100_000,
    verbs: Verbs = "full",
    width: Width = 512,
    views: Views = None,
    seed: Seed = 0,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 8192,
    everything: All = False,
    episodes: Episodes = "",
    where: Where = "",
    limit: Limit = None,
    dry_run: DryRun = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """See _FACTS."""
    choice = make_choice(everything, episodes, where, limit)
    if teacher == "kinematic":
        _kinematic(root, choice, strict=strict, as_json=as_json)
        return
    from finedata.annotate.estimate import estimate_facts
    from finedata.annotate.run import annotate_facts

    settings = make_settings(teacher, model, seed, temperature, max_tokens, verbs)
    settings = with_frames(settings, fps, refinement_fps, max_frames, width, views, seed)
    options = make_options(
        concurrency, requests_per_minute, budget_usd, input_price, output_price, attempts, timeout,
        retry,
    )  # fmt: skip
    if dry_run:
        found = estimate_facts(root, settings=settings, options=options, choice=choice)
        _print_estimate(found, as_json=as_json)
        return
    opened = _open(teacher, model, base_url, recorded, device)
    with interruptible(_PAID), progress_bar() as on_progress:
        summary = annotate_facts(
            root,
            teacher=opened,
            settings=settings,
            options=options,
            choice=choice,
            on_progress=on_progress,
        )
    _end(summary, strict=strict, as_json=as_json)


@app.command("traces", help=_TRACES)
def traces(
    *,
    root: Root,
    teacher: TeacherName,
    model: Model = "",
    every: Annotated[int, typer.Option(min=1, help="Of every so many frames, the first.")] = 1,
    base_url: BaseUrl = None,
    recorded: Recorded = None,
    device: Device = None,
    budget_usd: Budget = None,
    input_price: InputPrice = None,
    output_price: OutputPrice = None,
    concurrency: Concurrency = 64,
    requests_per_minute: PerMinute = None,
    attempts: Attempts = 6,
    timeout: Timeout = 300.0,
    retry: Retry = "unpaid",
    width: Width = 512,
    views: Views = None,
    seed: Seed = 0,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 8192,
    everything: All = False,
    episodes: Episodes = "",
    where: Where = "",
    limit: Limit = None,
    dry_run: DryRun = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """See _TRACES."""
    from finedata.annotate.estimate import estimate_traces
    from finedata.annotate.run import annotate_traces

    choice = make_choice(everything, episodes, where, limit)
    settings = make_settings(teacher, model, seed, temperature, max_tokens)
    settings = with_frames(settings, 4.0, 1.0, 100_000, width, views or "all", seed)
    options = make_options(
        concurrency, requests_per_minute, budget_usd, input_price, output_price, attempts, timeout,
        retry,
    )  # fmt: skip
    if dry_run:
        found = estimate_traces(
            root, settings=settings, every=every, options=options, choice=choice
        )
        _print_estimate(found, as_json=as_json)
        return
    opened = _open(teacher, model, base_url, recorded, device)
    with interruptible(_PAID), progress_bar() as on_progress:
        summary = annotate_traces(
            root,
            teacher=opened,
            settings=settings,
            every=every,
            options=options,
            choice=choice,
            on_progress=on_progress,
        )
    _end(summary, strict=strict, as_json=as_json)


@app.command("kinematic", help=_KINEMATIC)
def kinematic(
    *,
    root: Root,
    everything: All = False,
    episodes: Episodes = "",
    where: Where = "",
    limit: Limit = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """See _KINEMATIC."""
    _kinematic(
        root, make_choice(everything, episodes, where, limit), strict=strict, as_json=as_json
    )


@app.command("status", help=_STATUS)
def status(*, root: Root, as_json: AsJson = False) -> None:
    """See _STATUS."""
    from finedata.annotate.status import annotate_status
    from finedata.cli.annotate_text import status_lines

    found = annotate_status(root)
    emit(found, status_lines(found), as_json=as_json)


@app.command("export", help=_EXPORT)
def export(
    *,
    root: Root,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The new folder.", show_default=False)
    ],
    format_: Annotated[str, typer.Option("--format", metavar="NAME", help="See above.")],
    where: Where = "",
    as_json: AsJson = False,
) -> None:
    """See _EXPORT."""
    from finedata.annotate.export.run import export_annotations
    from finedata.store.dataset import open_dataset

    summary = export_annotations(open_dataset(root), out=out, format=format_, where=where)
    text = f"{summary.episodes} episodes as {summary.format} in {summary.out}"
    emit(summary, text, as_json=as_json)
    if as_json:
        return
    for name, count in summary.counts.items():
        typer.echo(f"{name.replace('_', ' ')}: {count}", err=True)


def _kinematic(root: Path, choice: Choice, *, strict: bool, as_json: bool) -> None:
    from finedata.annotate.run import annotate_kinematic

    with interruptible(), progress_bar() as on_progress:
        summary = annotate_kinematic(root, choice=choice, on_progress=on_progress)
    _end(summary, strict=strict, as_json=as_json)


def _open(
    teacher: str, model: str, base_url: str | None, recorded: Path | None, device: str | None
) -> Teacher:
    from finedata.teachers.opening import open_teacher

    return open_teacher(
        teacher, base_url=base_url, recorded=recorded, model=model or None, device=device
    )


def _print_estimate(found: AnnotateEstimate, *, as_json: bool) -> None:
    from finedata.cli.annotate_text import estimate_lines

    emit(found, estimate_lines(found), as_json=as_json)


def _end(summary: AnnotateSummary, *, strict: bool, as_json: bool) -> None:
    """Print what was done; exit with 1 where all failed, or anything with --strict."""
    from finedata.cli.annotate_text import failure_lines, summary_lines

    emit(summary, summary_lines(summary), as_json=as_json)
    for line in failure_lines(summary):
        typer.echo(line, err=True)
    if not summary.succeeded or (strict and (summary.failed or summary.over_budget)):
        raise typer.Exit(1)
