"""`finedata verify`: prove a conversion against its source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["HELP", "verify"]

HELP = """Re-read source and output and prove the round trip.

Every receipt's record is read again: its digest, its motion converted anew and compared number
for number, every picture's bytes, the counts. Exits with 1 when anything differs.

Example: finedata verify bridge --input bridge_dataset/1.0.0
"""


def verify(
    *,
    root: Annotated[Path, typer.Argument(metavar="DIR", help="The dataset.", show_default=False)],
    input_: Annotated[
        str, typer.Option("--input", metavar="PATH|URL", help="Its source.", show_default=False)
    ],
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every picture too (slow).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """See HELP."""
    import msgspec

    from finedata.convert.verify import verify as run

    report = run(root, input=input_, decode=decode)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        typer.echo(
            f"{report.episodes} episodes, {report.frames} frames, {report.pictures} pictures "
            f"checked; {len(report.problems)} problems"
        )
        for problem in report.problems[:20]:
            typer.echo(f"  {problem.place}: found {problem.found}, wanted {problem.wanted}")
    if report.problems:
        raise typer.Exit(1)
