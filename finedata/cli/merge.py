"""`finedata merge`: several datasets to one, or the shares of a split conversion."""

from __future__ import annotations

from typing import Annotated

import typer

from finedata.cli.convert import print_conversion
from finedata.cli.frame import AsJson, emit, interruptible, processes, progress_bar
from finedata.cli.shard import print_summary
from finedata.errors import UsageError

HELP = """Merge datasets into a new one, or finish a conversion that was split over machines.

Parts stay side by side, their files linked; with --concatenate those of equal robot, features,
rate, source and options become one. Sources whose licences do not go together are refused.
With one DIR and no --out: commits what `finedata convert --num-shards` wrote there, or finishes the
shards that `finedata shard --num-shards` began there.

Example: finedata merge bridge droid --out both
"""


def merge(
    *,
    datasets: Annotated[list[str], typer.Argument(metavar="DIR...", help="Finished datasets.")],
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="DIR", help="The new dataset.", show_default=False),
    ] = None,
    concatenate: Annotated[
        bool, typer.Option("--concatenate", help="Join parts that differ in nothing.")
    ] = False,
    allow_mixed_licences: Annotated[
        bool,
        typer.Option("--allow-mixed-licences", help="Merge although licences do not go together."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import finish_shard_shares, finish_shares, has_shard_shares
    from finedata.api import merge as run

    if out is None:
        if len(datasets) != 1:
            raise UsageError(
                place="--out",
                found="none",
                wanted="a new folder; only one DIR that finedata convert --num-shards or "
                "finedata shard --num-shards wrote needs none",
                next_command="finedata merge DIR DIR --out DIR",
            )
        if has_shard_shares(datasets[0]):
            with interruptible(), progress_bar() as on_progress:
                shards = finish_shard_shares(
                    datasets[0], workers=processes(None), on_progress=on_progress
                )
            print_summary(shards, as_json=as_json)
            return
        print_conversion(finish_shares(datasets[0]).conversion, as_json=as_json)
        return
    summary = run(
        datasets, out=out, concatenate=concatenate, allow_mixed_licences=allow_mixed_licences
    )
    text = (
        f"{summary.episodes} episodes, {summary.frames} frames in {summary.out} "
        f"({', '.join(summary.parts)})"
    )
    emit(summary, text, as_json=as_json)
    if as_json:
        return
    for licence, sources in summary.licences.items():
        typer.echo(f"{licence}: {', '.join(sources)}", err=True)
    for table, rows in summary.left_out.items():
        typer.echo(
            f"{rows} rows of {table} were left out: joined parts must be clustered anew", err=True
        )
