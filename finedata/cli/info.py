"""`finedata info`: a dataset, or shards, on one page."""

from __future__ import annotations

from typing import Annotated

import typer

from finedata.cli.frame import tell_traffic, traffic_of

HELP = """Show a dataset on one page: sources, parts, rates, names, cameras, licence, flags.

Of shards: sets, members, cameras and what was lost, texts and views.

Example: finedata info bridge

Example: finedata info shards

Example: finedata info hf://datasets/org/name
"""


def info(
    *,
    root: Annotated[
        str,
        typer.Argument(
            metavar="DIR", help="The dataset, or shards, or their address.", show_default=False
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """See HELP."""
    import msgspec

    from finedata.api import is_shards, located, open, shards

    path = located(root)
    if is_shards(path):
        found = shards(path)
        document = msgspec.json.encode(found.document).decode()
        typer.echo(document if as_json else found.description())
        return
    dataset = open(path)
    if as_json:
        told = dataset.describe()
        told |= {"traffic": traffic} if (traffic := traffic_of(path)) else {}
        text = msgspec.json.encode(told).decode()
    else:
        text = dataset.description()
    tell_traffic(path)
    typer.echo(text)
