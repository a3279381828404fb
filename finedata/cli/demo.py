"""`finedata demo`: the whole walk on a small corpus made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["HELP", "demo"]

HELP = """Make a small corpus in BridgeData-V2's own bytes and walk it through every verb.

Example: finedata demo --out demo-out
"""


def demo(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to put it.")] = Path("demo-out"),
    episodes: Annotated[int, typer.Option(min=6, help="Episodes of the corpus.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the corpus.")] = 0,
) -> None:
    """See HELP."""
    from finedata.demo.walk import walk

    for line in walk(out, episodes=episodes, seed=seed):
        typer.echo(line)
