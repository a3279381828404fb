"""`finedata sources`: the converters there are, and a copy of one to edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    help="List the sources that finedata converts; copy a converter file to edit it.\n\n"
    "Example: finedata sources copy bridge_v2 ./mine.toml",
    invoke_without_command=True,
)


@app.callback()
def sources(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array of objects.")] = False,
) -> None:
    """List the sources that finedata converts."""
    if context.invoked_subcommand is not None:
        return
    import msgspec

    from finedata.schema.converter_file import list_converters

    rows = [
        {
            "name": found.converter.name,
            "title": found.converter.title,
            "reader": found.converter.reader,
            "embodiment": found.converter.embodiment,
            "fps": found.converter.time.fps,
            "licence": found.converter.licence,
            "home": found.converter.home,
        }
        for found in list_converters()
    ]
    if as_json:
        typer.echo(msgspec.json.encode(rows).decode())
        return
    for row in rows:
        typer.echo(
            f"{row['name']:<14} {row['title']:<22} {row['reader']:<8} {row['embodiment']:<14} "
            f"{row['fps']:>4g} Hz  {row['licence']:<12} {row['home']}"
        )


@app.command("copy")
def copy(
    name: Annotated[str, typer.Argument(help="A source's name.", show_default=False)],
    target: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
) -> None:
    """Copy a converter file, to read your own variant of a corpus with it.

    Example: finedata sources copy bridge_v2 ./mine.toml
    """
    from finedata.errors import UsageError
    from finedata.schema.converter_file import find_converter
    from finedata.store.atomic import write_atomic

    found = find_converter(name)
    if target.exists():
        raise UsageError(
            place=str(target), found="a file that is there already", wanted="a new file"
        )
    write_atomic(target, found.text)
    typer.echo(f"{target}; use it with: finedata convert {target} --input DIR --out DIR", err=True)
