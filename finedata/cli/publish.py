"""`finedata publish`: a dataset, shards or both as a repository of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finedata.cli.frame import AsJson, emit, interruptible, progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.hub.send import PublishSummary

HELP = """Publish a dataset, shards, or both as one repository of the Hugging Face Hub.

It is verified first. A dataset goes up as LeRobot reads it, with the tag that LeRobot looks for,
moved when every file was compared; shards go up as tars with their indexes. The card is written
from the data. The same command continues what was stopped, and publishes what changed: of new
words, no tar goes up again. The token is that of `hf auth login`, or HF_TOKEN.

Example: finedata publish shards --repo-id org/name --dry-run

Example: finedata publish bridge shards --repo-id org/name --private
"""


def publish(
    *,
    roots: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|SHARDS...",
            help="A finished dataset, finished shards, or one of each.",
            show_default=False,
        ),
    ],
    repo_id: Annotated[
        str, typer.Option(metavar="ORG/NAME", help="The repository.", show_default=False)
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Nobody else sees a repository that is made.")
    ] = False,
    revision: Annotated[str, typer.Option(metavar="BRANCH", help="The branch.")] = "main",
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Leave pictures, videos and tars here.")
    ] = False,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="PATH|URL",
            help="What the dataset was converted from, to verify it against that too.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Verify and count; send nothing, ask nobody.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import publish as act
    from finedata.hub.plan import PublishPlan

    with interruptible(), progress_bar() as on_progress:
        found = act(
            roots,
            repo_id=repo_id,
            private=private,
            revision=revision,
            tables_only=tables_only,
            source=input_ or [],
            dry_run=dry_run,
            on_progress=on_progress,
        )
    emit(
        found,
        found.lines() if isinstance(found, PublishPlan) else _text(found),
        as_json=as_json,
    )


def _text(found: PublishSummary) -> Iterator[str]:
    yield (
        f"{found.address}: {found.files:,} files, {found.sent_files:,} of them sent "
        f"({found.sent_bytes / 1e6:,.1f} MB), {found.removed:,} removed, in {found.commits:,} "
        f"commits and {found.requests:,} requests"
    )
    yield f"the tag {found.tag} is on this commit" if found.tag else "no tag was moved"
    if found.waited_s:
        yield f"{found.waited_s:,.0f} s waited for limits"
    yield from (f"not checked: {note}" for note in found.not_checked)
