"""`finedata report`: what was kept and why, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finedata.cli.frame import AsJson, emit

HELP = """Write one HTML file that shows what was kept and why; it needs no network.

The funnel from episodes found to representatives, the distributions of length, gate score and
lag, every reason with examples, what a budget covers against random selection, and for the
largest tasks a map of the clusters, a dendrogram and a film strip of each representative. What
has not run yet is said.

Example: finedata report bridge --out bridge.html
"""


def report(
    *,
    root: Annotated[Path, typer.Argument(metavar="DIR", help="The dataset.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file; report.html in DIR where none is given."),
    ] = None,
    tasks: Annotated[
        int, typer.Option(min=0, help="Tasks in detail at most, the largest first.")
    ] = 12,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the random selections, and of crowded maps.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import open

    summary = open(root).report(out, tasks=tasks, seed=seed)
    funnel = summary.funnel
    text = (
        f"{summary.out}: {funnel.found} found, {funnel.written} written, {funnel.through} let "
        f"through, {funnel.clustered} clustered, {funnel.representatives} representatives; "
        f"{summary.tasks_in_detail} of {summary.tasks} tasks in detail, "
        f"{summary.bytes / 1e6:.1f} MB"
    )
    emit(summary, text, as_json=as_json)
    if as_json:
        return
    for step in summary.not_yet:
        typer.echo(f"not run yet: finedata {step} {root}", err=True)
