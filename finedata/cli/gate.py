"""`finedata gate`: a verdict with reasons for every written episode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from finedata.cli.frame import AsJson, Workers, emit, interruptible, progress_bar
from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.quality.gate import GateSummary

HELP = """Judge every episode: do action and state belong together, and is the log whole?

Writes curation/gate.parquet, one row for each written episode with score, verdict and reasons;
nothing is deleted. The score is a dynamic-time-warping distance between action and state over all
arms, the same for q and -q. Without --threshold the line is drawn from the scores of each source.
--method released is FineVLA's published score with its published thresholds.

Example: finedata gate bridge

Example: finedata gate bridge --method released --json
"""


def gate(
    *,
    root: Annotated[Path, typer.Argument(metavar="DIR", help="The dataset.", show_default=False)],
    method: Annotated[
        Literal["dtw", "released"], typer.Option(help="How action and state are compared.")
    ] = "dtw",
    threshold: Annotated[
        float | None,
        typer.Option(min=0, help="Highest score that passes.", show_default=False),
    ] = None,
    percentile: Annotated[
        float | None,
        typer.Option(help="Take this percentile of each source's scores.", show_default=False),
    ] = None,
    min_frames: Annotated[
        int | None,
        typer.Option(min=1, help="Fewest frames; the converter's by default.", show_default=False),
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="An error that counts as 1: position_m=0.02, rotation_rad, joint_rad, gripper, "
            "column_share; may be given again.",
        ),
    ] = None,
    workers: Workers = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge, but write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import open

    with interruptible("stopped; nothing was written"), progress_bar() as on_progress:
        summary = open(root).gate(
            method=method,
            threshold=threshold,
            percentile=percentile,
            min_frames=min_frames,
            scales=_scales(scale or []),
            dry_run=dry_run,
            workers=workers,
            on_progress=on_progress,
        )
    emit(summary, _lines(summary), as_json=as_json)
    if not as_json:
        for note in summary.notes:
            typer.echo(f"note: {note}", err=True)


def _scales(texts: list[str]) -> dict[str, float]:
    values: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            values[name] = float(number)
        except ValueError as error:
            raise UsageError(
                place=f"--scale {text}",
                found=f"{text!r}",
                wanted="NAME=NUMBER",
                next_command="--scale position_m=0.02",
            ) from error
    return values


def _lines(summary: GateSummary) -> Iterator[str]:
    verdicts = ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in summary.verdicts.items()
    )
    yield f"{summary.episodes} episodes, {summary.frames} frames: {verdicts}"
    for name, count in summary.reasons.items():
        yield f"  {name:<20} {count}"
    for entry in summary.thresholds:
        line = "no threshold" if entry.threshold is None else f"threshold {entry.threshold:.4g}"
        median = "" if entry.median is None else f", median score {entry.median:.4g}"
        yield (
            f"{entry.part}, {entry.source}: {line} ({entry.origin}); "
            f"{entry.scored} of {entry.episodes} episodes scored{median}"
        )
    yield (
        f"written: {summary.root}/curation/gate.parquet"
        if summary.written
        else "nothing was written"
    )
