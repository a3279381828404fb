"""`finedata info`: a dataset on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["HELP", "info"]

HELP = """Show a dataset on one page: sources, parts, rates, names, cameras, licence, flags.

Example: finedata info bridge
"""


def info(
    *,
    root: Annotated[Path, typer.Argument(metavar="DIR", help="The dataset.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """See HELP."""
    import msgspec

    from finedata.store.dataset import open_dataset
    from finedata.store.describe import describe, description_text

    found = describe(open_dataset(root))
    typer.echo(msgspec.json.encode(found).decode() if as_json else description_text(found))
