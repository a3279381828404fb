"""`finedata doctor`: what works on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from finedata.cli.frame import AsJson, emit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.api.doctor import Doctor

HELP = """Show versions, which extras are installed, and what works on this machine.

Exits with 1 where a library is missing that every verb needs.

Example: finedata doctor
"""


def doctor(*, as_json: AsJson = False) -> None:
    """See HELP."""
    from finedata.api import doctor as run

    found = run()
    emit(found, _lines(found), as_json=as_json)
    if not all(one.works for one in found.extras if one.name == "core"):
        raise typer.Exit(1)


def _lines(found: Doctor) -> Iterator[str]:
    yield f"finedata {found.finedata}, Python {found.python}, {found.cores} cores"
    yield f"DTW on a GPU: {found.gpu}"
    yield f"encoding videos: {found.video}"
    yield f"keys in the environment: {', '.join(found.keys) or 'none'}"
    for one in found.extras:
        lacking = f"; missing: {', '.join(one.missing)}" if one.missing else ""
        yield f"{one.name:<12} {'works' if one.works else 'no':<6} {', '.join(one.found)}{lacking}"
    if found.next:
        yield f"next: {found.next}"
