"""`finedata gate`: a verdict with reasons for every written episode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from finedata.cli.frame import Workers, interruptible, progress_bar
from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.quality.gate import GateSummary
    from finedata.quality.groups import Scales

__all__ = ["HELP", "gate"]

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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """See HELP."""
    from finedata.quality.gate import gate as run

    with interruptible("stopped; nothing was written"), progress_bar() as on_progress:
        summary = run(
            root,
            method=method,
            threshold=threshold,
            percentile=percentile,
            min_frames=min_frames,
            scales=_scales(scale or []),
            dry_run=dry_run,
            workers=workers,
            on_progress=on_progress,
        )
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(summary).decode())
    else:
        _print_summary(summary)


def _scales(texts: list[str]) -> Scales:
    import msgspec

    from finedata.quality.groups import Scales

    known = Scales.__struct_fields__
    values: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            values[name] = float(number)
        except ValueError:
            name = ""
        if name not in known:
            raise UsageError(
                place=f"--scale {text}",
                found=f"{text!r}",
                wanted=f"NAME=NUMBER with one of {', '.join(known)}",
                next_command="--scale position_m=0.02",
            )
    return msgspec.convert(values, Scales)


def _print_summary(summary: GateSummary) -> None:
    verdicts = ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in summary.verdicts.items()
    )
    typer.echo(f"{summary.episodes} episodes, {summary.frames} frames: {verdicts}")
    for name, count in summary.reasons.items():
        typer.echo(f"  {name:<20} {count}")
    for entry in summary.thresholds:
        line = "no threshold" if entry.threshold is None else f"threshold {entry.threshold:.4g}"
        median = "" if entry.median is None else f", median score {entry.median:.4g}"
        typer.echo(
            f"{entry.part}, {entry.source}: {line} ({entry.origin}); "
            f"{entry.scored} of {entry.episodes} episodes scored{median}"
        )
    for note in summary.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(
        f"written: {summary.root}/curation/gate.parquet"
        if summary.written
        else "nothing was written"
    )
