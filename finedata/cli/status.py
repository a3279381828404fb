"""`finedata status`: what was done in a folder, what runs or stopped, what to type next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finedata.cli.annotate_options import Root  # noqa: TC001  (Typer reads the annotation)
from finedata.cli.frame import AsJson, emit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.api.status import Status

HELP = """Show what was done in a folder, with which settings, what stopped, and what to type next.

Works on a dataset and on one that is being made; changes nothing.

Example: finedata status bridge
"""


def status(*, root: Root, as_json: AsJson = False) -> None:
    """See HELP."""
    from finedata.api import status as run

    found = run(root)
    emit(found, _lines(found), as_json=as_json)


def _lines(found: Status) -> Iterator[str]:
    for step in found.steps:
        when = f" ({step.last_at} UTC)" if step.last_at else ""
        yield f"{step.verb:<20} {step.state:<8} {step.far}{when}".rstrip()
        if step.settings:
            yield f"{'':<29} {step.settings}"
    yield f"next: {found.next}"
