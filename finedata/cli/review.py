"""`finedata review`: say what is right, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from finedata.cli.frame import AsJson, emit, interruptible
from finedata.cli.view import Browser, Host, Port, opened

HELP = """Decide about a dataset's facts in a browser: accept, edit, reject, skip, send back, undo.

One fact after the other, the most doubtful first, by keyboard. Every decision is in a journal on
the disk when it is shown as saved; when the server ends, and when it begins, decisions become
revisions of the facts. Several people, and several servers, may review one dataset at once.

Example: finedata review bridge --reviewer ana

Example: finedata review status bridge --json
"""


class _Review(TyperGroup):
    """`finedata review DIR` is `finedata review serve DIR`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_Review, help=HELP, no_args_is_help=True)
Root = Annotated[Path, typer.Argument(metavar="DIR", help="The dataset.", show_default=False)]


@app.command("serve", help=HELP)
def serve(
    *,
    root: Root,
    reviewer: Annotated[
        str, typer.Option(help="Who decides; your login by default.", show_default=False)
    ] = "",
    gold: Annotated[
        Path | None,
        typer.Option(
            help="Facts with known answers, lines of JSON, asked now and then to measure people.",
            show_default=False,
        ),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8400,
    browser: Browser = True,
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import open

    ready = opened(browser=browser, as_json=as_json)
    with interruptible("stopped; every decision that was shown as saved is saved"):
        open(root).review(reviewer=reviewer, gold=gold, host=host, port=port, on_ready=ready)


@app.command("status")
def status(*, root: Root, as_json: AsJson = False) -> None:
    """How far the review is: facts by status, decisions by kind and reviewer.

    Example: finedata review status bridge
    """
    from finedata.api import open

    found = open(root).review_status()
    lines = [
        f"{found.facts} facts: {_counts(found.by_status)}",
        f"decisions: {_counts(found.decisions)}",
        f"reviewers: {_counts(found.reviewers)}",
        f"in the journal, not yet in files: {found.in_journal}",
    ]
    emit(found, lines, as_json=as_json)


@app.command("quality")
def quality(
    *,
    root: Root,
    every: Annotated[
        bool,
        typer.Option("--all", help="Of all judged facts, not of the audit share; this is biased."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """How good facts and reviewers are: precision with intervals, agreement, facts an hour.

    Example: finedata review quality bridge --json
    """
    from finedata.api import open

    found = open(root).review_quality(share="all" if every else "audit")
    lines = [f"{found.judged} judged facts of {found.share}"]
    for one in (*found.precision, *found.kinematic):
        of = one.right
        if of.value is not None:
            lines.append(
                f"{one.name}: {of.value:.2f} right ({of.lower:.2f} to {of.upper:.2f}), "
                f"{of.facts} facts of {of.episodes} episodes"
            )
    for name, agreed in (("Cohen's kappa", found.kappa), ("Krippendorff's alpha", found.alpha)):
        value = "none" if agreed.value is None else f"{agreed.value:.2f}"
        lines.append(f"{name}: {value} of {agreed.facts} facts judged twice")
    lines += [
        f"{one.name}: {_counts(one.decisions)}; known answers {one.gold.right} of {one.gold.facts}"
        for one in found.reviewers
    ]
    lines.append(f"remaining: {sum(found.remaining.values())} facts")
    emit(found, lines, as_json=as_json)


@app.command("export")
def export(
    *,
    root: Root,
    out: Annotated[Path, typer.Option(help="The file, JSON.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Write what people reviewed as FineVLA's Human_Review records.

    Example: finedata review export bridge --out human_review.json
    """
    from finedata.api import open

    found = open(root).export_review(out)
    lines = [
        f"{found.records} records of {found.steps} steps, with {found.facts} reviewed facts: "
        f"{found.out}",
        f"{found.unreviewed} episodes of which no person said anything are left out",
    ]
    emit(found, lines, as_json=as_json)


@app.command("import")
def take(
    *,
    root: Root,
    released: Annotated[
        Path, typer.Argument(metavar="FILE", help="Human_Review records.", show_default=False)
    ],
    reviewer: Annotated[
        str, typer.Option(help="Who decided; your login by default.", show_default=False)
    ] = "",
    by: Annotated[
        Literal["source", "dataset"],
        typer.Option(help="What numbers in ids count: the source's episodes, or this dataset's."),
    ] = "source",
    ids: Annotated[
        Path | None,
        typer.Option(
            help='JSON Lines of {"id": ..., "episode_id": ...}, for other ids.', show_default=False
        ),
    ] = None,
    unmatched: Annotated[
        Literal["refuse", "skip"],
        typer.Option(help="Where an id means no episode: refuse the file, or skip those."),
    ] = "refuse",
    as_json: AsJson = False,
) -> None:
    """Take decisions over out of Human_Review records; the same file twice changes nothing.

    Example: finedata review import bridge human_review.json --reviewer ana
    """
    from finedata.api import open

    found = open(root).import_review(
        released, reviewer=reviewer, by=by, ids=ids, unmatched=unmatched
    )
    lines = [
        f"{found.records} records: {found.accepted} accepted, {found.edited} edited, "
        f"{found.added} added, {found.unchanged} as they were, {found.unmatched} of no episode"
    ]
    emit(found, lines, as_json=as_json)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
