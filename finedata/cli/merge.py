"""`finedata merge`: several datasets to one, or the shares of a split conversion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.store.merge import MergeSummary

__all__ = ["HELP", "merge"]

HELP = """Merge datasets into a new one, or finish a conversion that was split over machines.

Parts stay side by side, their files linked; with --concatenate those of equal robot, features,
rate, source and options become one. Sources whose licences do not go together are refused.
With one DIR and no --out: commits what `finedata convert --num-shards` wrote there.

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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """See HELP."""
    if out is None:
        _finish_shares(datasets, as_json=as_json)
        return
    from finedata.store.merge import merge_datasets

    summary = merge_datasets(
        datasets,
        out=out,
        concatenate=concatenate,
        allow_mixed_licences=allow_mixed_licences,
    )
    _print(summary, as_json=as_json)


def _print(summary: MergeSummary, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(summary).decode())
        return
    typer.echo(
        f"{summary.episodes} episodes, {summary.frames} frames in {summary.out} "
        f"({', '.join(summary.parts)})"
    )
    for licence, sources in summary.licences.items():
        typer.echo(f"{licence}: {', '.join(sources)}", err=True)
    for table, rows in summary.left_out.items():
        typer.echo(
            f"{rows} rows of {table} were left out: joined parts must be clustered anew", err=True
        )


def _finish_shares(folders: list[str], *, as_json: bool) -> None:
    from finedata.convert.sharded import is_sharded, merge_shards

    if len(folders) != 1 or not is_sharded(Path(folders[0])):
        raise UsageError(
            place="--out",
            found="none",
            wanted="a new folder; only one DIR that finedata convert --num-shards wrote needs none",
            next_command="finedata merge DIR DIR --out DIR",
        )
    summary = merge_shards(folders[0])
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(summary).decode())
        return
    typer.echo(
        f"{summary.episodes} episodes, {summary.frames} frames in {summary.out} "
        f"({', '.join(summary.parts)})"
    )
    if summary.failed:
        typer.echo(
            f"{summary.failed} of {summary.found} episodes could not be converted; see receipts",
            err=True,
        )
