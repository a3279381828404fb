"""`finedata sources`: the converters there are, a copy of one to edit, a draft of a new one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADER = ("NAME", "SOURCE", "READER", "ROBOT", "FPS", "LICENCE")
# Wider cells end in an ellipsis where a person reads; --json has everything.
_WIDEST = 44

app = typer.Typer(
    help="List the sources that finedata converts; copy a converter file to edit it.\n\n"
    "Example: finedata sources copy bridge_v2 ./mine.toml",
    invoke_without_command=True,
)


@app.callback()
def _sources(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array of objects.")] = False,
) -> None:
    """List the sources that finedata converts."""
    if context.invoked_subcommand is not None:
        return
    import msgspec

    from finedata.api import sources

    rows = sources()
    if as_json:
        typer.echo(msgspec.json.encode(rows).decode())
        return
    cells = [
        (
            row.name,
            row.title,
            ",".join(row.readers),
            ",".join(row.robots),
            ",".join(row.fps),
            row.licence,
        )
        for row in rows
    ]
    for line in _aligned([_HEADER, *cells]):
        typer.echo(line)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    short = [[_short(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in short) for column in range(len(short[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in short
    ]


def _short(cell: str) -> str:
    return cell if len(cell) <= _WIDEST else f"{cell[: _WIDEST - 3]}..."


@app.command("copy")
def copy(
    name: Annotated[str, typer.Argument(help="A source's name.", show_default=False)],
    target: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
) -> None:
    """Copy a converter file, to read your own variant of a corpus with it.

    Example: finedata sources copy bridge_v2 ./mine.toml
    """
    from finedata.api import copy_converter

    copy_converter(name, target)
    typer.echo(f"{target}; use it with: finedata convert {target} --input DIR --out DIR", err=True)


@app.command("draft")
def draft(
    address: Annotated[
        str,
        typer.Argument(metavar="DIR", help="A LeRobot, RLDS or HDF5 source.", show_default=False),
    ],
    name: Annotated[
        str | None, typer.Option(help="The converter's name; the folder's by default.")
    ] = None,
) -> None:
    """Propose a converter file for a source that has none, from its names and numbers.

    The text goes to stdout; every guess in it says why. It converts the source as it is, and is
    meant to be read and corrected.

    Example: finedata sources draft ./my_dataset > mine.toml
    """
    from finedata.api import draft_converter

    typer.echo(draft_converter(address, name=name), nl=False)
    typer.echo(
        "a draft: read its comments and doubts, then finedata convert mine.toml --input DIR "
        "--out DIR; finedata verify --source mine.toml --input DIR --pose checks it",
        err=True,
    )
