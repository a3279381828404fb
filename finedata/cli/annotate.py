"""`finedata annotate`: facts, traces and kinematic facts; how far it is; other projects' forms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from finedata.cli.annotate_options import (
    All,
    Asked,
    Episodes,
    Limit,
    Root,
    Strict,
    Where,
    asks,
    chosen,
)
from finedata.cli.frame import AsJson, emit, interruptible, progress_bar
from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.annotate.estimate import AnnotateEstimate
    from finedata.annotate.outcome import AnnotateSummary

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
_IMPORT = """Take over annotations that another project released, each with its origin.

Formats: finevla (meta/FineGrainedInstruction.jsonl), human-review (FineVLA's Human_Review),
refinevla (reasoning/*.json), lerobot-language (a dataset with the language columns). An id that
means no episode is an error with counts; nothing is written. The same import twice adds nothing.

Example: finedata annotate import bridge ReFineVLA_traces --format refinevla
"""


@app.command("facts", help=_FACTS)
@asks
def facts(
    *,
    asked: Asked,
    fps: Annotated[float, typer.Option(help="Frames a second of the first look.")] = 4.0,
    refinement_fps: Annotated[float, typer.Option(help="The same for the later looks.")] = 1.0,
    max_frames: Annotated[int, typer.Option(min=4, help="Of a camera, a call.")] = 100_000,
    verbs: Annotated[
        Literal["full", "released"],
        typer.Option(help="Verbs of actions and steps: finedata's list, or FineVLA's fourteen."),
    ] = "full",
) -> None:
    """See _FACTS."""
    if asked.teacher is None:
        _kinematic(asked.root, asked.chosen, workers=1, strict=asked.strict, as_json=asked.as_json)
        return
    from finedata.api import open

    with interruptible(_PAID), progress_bar() as on_progress:
        found = open(asked.root).annotate_facts(
            asked.teacher,
            fps=fps,
            refinement_fps=refinement_fps,
            max_frames=max_frames,
            verbs=verbs,
            on_progress=on_progress,
            **asked.chosen,
            **asked.asking,
        )
    _end(found, strict=asked.strict, as_json=asked.as_json)


@app.command("traces", help=_TRACES)
@asks
def traces(
    *,
    asked: Asked,
    every: Annotated[int, typer.Option(min=1, help="Of every so many frames, the first.")] = 1,
) -> None:
    """See _TRACES."""
    from finedata.api import open

    if asked.teacher is None:
        raise UsageError(
            parameter="teacher", found="kinematic", wanted="a model: the motion tells no traces"
        )
    with interruptible(_PAID), progress_bar() as on_progress:
        found = open(asked.root).annotate_traces(
            asked.teacher, every=every, on_progress=on_progress, **asked.chosen, **asked.asking
        )
    _end(found, strict=asked.strict, as_json=asked.as_json)


@app.command("kinematic", help=_KINEMATIC)
def kinematic(
    *,
    root: Root,
    everything: All = False,
    episodes: Episodes = "",
    where: Where = "",
    limit: Limit = None,
    workers: Annotated[
        int, typer.Option("--workers", "--num-workers", min=1, help="Processes. Changes no byte.")
    ] = 1,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """See _KINEMATIC."""
    which = chosen(everything, episodes, where, limit)
    _kinematic(root, which, workers=workers, strict=strict, as_json=as_json)


@app.command("status", help=_STATUS)
def status(*, root: Root, as_json: AsJson = False) -> None:
    """See _STATUS."""
    from finedata.api import open
    from finedata.cli.annotate_text import status_lines

    found = open(root).annotation_status()
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
    from finedata.api import open

    summary = open(root).write_annotations(out, format=format_, where=where)
    text = f"{summary.episodes} episodes as {summary.format} in {summary.out}"
    emit(summary, text, as_json=as_json)
    if as_json:
        return
    for name, count in summary.counts.items():
        typer.echo(f"{name.replace('_', ' ')}: {count}", err=True)


@app.command("import", help=_IMPORT)
def import_(
    *,
    root: Root,
    released: Annotated[
        Path, typer.Argument(metavar="RELEASED", help="File or folder.", show_default=False)
    ],
    format_: Annotated[str, typer.Option("--format", metavar="NAME", help="See above.")],
    by: Annotated[
        Literal["source", "dataset"],
        typer.Option(help="What numbers in the files count: the source's episodes, or DIR's."),
    ] = "source",
    ids: Annotated[
        Path | None, typer.Option(help="JSON Lines of id and episode_id.", show_default=False)
    ] = None,
    origin: Annotated[
        Literal["teacher", "human", "source"] | None,
        typer.Option(help="Who made them. [by the format]", show_default=False),
    ] = None,
    annotator: Annotated[str, typer.Option(help="The same by name. [by the format]")] = "",
    unmatched: Annotated[
        Literal["refuse", "skip"], typer.Option(help="What to do where an id means no episode.")
    ] = "refuse",
    as_json: AsJson = False,
) -> None:
    """See _IMPORT."""
    from finedata.api import open
    from finedata.cli.annotate_text import import_lines

    found = open(root).import_annotations(
        released,
        format=format_,
        by=by,
        ids=ids,
        origin=origin,
        annotator=annotator,
        unmatched=unmatched,
    )
    emit(found, import_lines(found), as_json=as_json)


def _kinematic(
    root: Path, which: dict[str, Any], *, workers: int, strict: bool, as_json: bool
) -> None:
    from finedata.api import open

    with interruptible(), progress_bar() as on_progress:
        summary = open(root).annotate_kinematic(workers=workers, on_progress=on_progress, **which)
    _end(summary, strict=strict, as_json=as_json)


def _end(found: AnnotateSummary | AnnotateEstimate, *, strict: bool, as_json: bool) -> None:
    """Print what was or would be done; exit with 1 where all failed, or anything with --strict."""
    from finedata.annotate.estimate import AnnotateEstimate
    from finedata.cli.annotate_text import estimate_lines, failure_lines, summary_lines

    if isinstance(found, AnnotateEstimate):
        emit(found, estimate_lines(found), as_json=as_json)
        return
    emit(found, summary_lines(found), as_json=as_json)
    for line in failure_lines(found):
        typer.echo(line, err=True)
    if not found.succeeded or (strict and (found.failed or found.over_budget)):
        raise typer.Exit(1)
