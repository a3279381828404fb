"""`finedata pull`: what was published, or a selection of it, brought here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finedata.cli.frame import AsJson, emit, interruptible, progress_bar

HELP = """Bring a published dataset, a selection of it, or shards here, and verify what arrived.

The revision is pinned to its commit. With --where only the rows, pictures and videos of the chosen
episodes come. The same command continues what was stopped.

Example: finedata pull hf://datasets/org/name --out bridge

Example: finedata pull hf://datasets/org/name@v3.0 --out cups --where "task like '%cup%'"
"""


def pull(
    *,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Of a dataset or shards.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder.", show_default=False)
    ],
    where: Annotated[
        str, typer.Option(metavar="SQL", help="Only episodes for which this holds.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import pull as act

    with interruptible(), progress_bar() as on_progress:
        found = act(address, out=out, where=where, on_progress=on_progress)
    lines = [
        f"{found.address}: {found.episodes:,} episodes in {found.out}, {found.fetched:,} of "
        f"{found.files:,} files fetched, {found.requests:,} requests, "
        f"{found.received_bytes / 1e6:,.1f} MB",
        *(f"not checked: {note}" for note in found.not_checked),
    ]
    emit(found, lines, as_json=as_json)
