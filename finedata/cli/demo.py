"""`finedata demo`: the whole walk on a small corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HELP = """Walk a small corpus in BridgeData-V2's own bytes through every verb.

Example: finedata demo --out demo-out
"""


def demo(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to put it.")] = Path("demo-out"),
) -> None:
    """See HELP."""
    from finedata.demo.walk import walk

    for line in walk(out):
        typer.echo(line)
