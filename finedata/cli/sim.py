"""`finedata sim`: demonstrations recorded in a simulator, and policies judged in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finedata.cli.frame import AsJson, Workers, emit, interruptible, processes, progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.sim.record import RecordSummary

__all__ = ["app"]

app = typer.Typer(
    help="Record demonstrations in a simulator, and judge policies in it by the physics.\n\n"
    "Example: finedata sim record --out steer --episodes 200 --pictures 0",
    no_args_is_help=True,
)

_RECORD = """Record simulated demonstrations as a canonical dataset that every verb takes.

Two arms, three coloured blocks and a tray. A scripted expert does what it is wished (which arm,
from where, how it turns the block, on which side it puts it), is pushed about, and is kept where
the physics says that all of it came true. Every episode has the goal in words and its true facts;
a share has a fine-grained text too.

Example: finedata sim record --out steer --episodes 200 --pictures 0

Example: finedata sim record --out steer --dry-run
"""


@app.command("record", help=_RECORD)
def record(
    *,
    out: Annotated[
        Path, typer.Option(help="The dataset; OUT.source gets the recording.", show_default=False)
    ],
    episodes: Annotated[int, typer.Option(help="Demonstrations, each in its own scene.")] = 2000,
    first: Annotated[int, typer.Option(help="Number of the first scene.")] = 0,
    noise: Annotated[float, typer.Option(help="How much pushes the demonstrator.")] = 0.8,
    pictures: Annotated[int, typer.Option(help="Pixels of both cameras; 0 for none.")] = 128,
    fine: Annotated[float, typer.Option(help="Share with a fine-grained text.")] = 0.2,
    workers: Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See _RECORD."""
    from finedata.api.sim import sim_estimate, sim_record

    settings: dict[str, Any] = {
        "episodes": episodes,
        "first": first,
        "noise": noise,
        "pictures": pictures,
        "fine": fine,
    }
    if dry_run:
        told = sim_estimate(**settings)
        emit(told, [f"{name:<14} {value}" for name, value in told.items()], as_json=as_json)
        return
    with interruptible(), progress_bar() as on_progress:
        summary = sim_record(out, workers=processes(workers), on_progress=on_progress, **settings)
    emit(summary, _recorded(summary), as_json=as_json)
    if not as_json:
        for note in summary.notes:
            typer.echo(f"note: {note}", err=True)


def _recorded(summary: RecordSummary) -> Iterator[str]:
    yield (
        f"{summary.kept} of {summary.tried} demonstrations kept, {summary.frames} frames, "
        f"{summary.fine_grained} with fine-grained text"
    )
    for name, count in summary.missed.items():
        yield f"  missed {name:<12} {count}"
    yield f"written: {summary.out} (recording: {summary.source})"
