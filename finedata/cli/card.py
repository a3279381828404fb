"""`finedata card`: the dataset card alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finedata.cli.frame import AsJson, emit

HELP = """Write the dataset card (README.md) that `publish` would write, beside the data.

Licence, configurations, where episodes went, facts by dimension with what motion and people said
of them, citations, doubts, how to load it. What you write between `<!-- section: NAME -->` and
`<!-- end: NAME -->` survives.

Example: finedata card bridge --repo-id org/name
"""


def card(
    *,
    roots: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|SHARDS...",
            help="A finished dataset, finished shards, or one of each; it lies in the first.",
            show_default=False,
        ),
    ],
    repo_id: Annotated[
        str, typer.Option(metavar="ORG/NAME", help="For the lines that show how to load it.")
    ] = "org/name",
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import card as act

    files = [str(path) for path in act(roots, repo_id=repo_id)]
    emit({"files": files}, files, as_json=as_json)
