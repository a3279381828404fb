"""`finedata info`: a dataset, or shards, on one page."""

from __future__ import annotations

from typing import Annotated

import typer

from finedata.cli.frame import tell_traffic, traffic_of

__all__ = ["HELP", "info"]

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

    from finedata.api import open
    from finedata.shard.files import is_shards
    from finedata.store.describe import describe, description_text
    from finedata.store.remote.path import open_root

    path = open_root(root)
    if is_shards(path):
        from finedata.shard.describe import shards_text
        from finedata.shard.shards import Shards

        shards = Shards.open(path)
        document = msgspec.json.encode(shards.document).decode()
        typer.echo(document if as_json else shards_text(shards))
        return
    found = describe(open(path))
    found |= {"traffic": traffic} if (traffic := traffic_of(path)) else {}
    tell_traffic(path)
    typer.echo(msgspec.json.encode(found).decode() if as_json else description_text(found))
