"""`finedata export`: a dataset to another format."""

from __future__ import annotations

from typing import Annotated

import typer

from finedata.cli.frame import AsJson, emit, tell_traffic, traffic_of

HELP = """Write a dataset, or a selection of it, in another format.

Formats: lerobot-v2.1 (with modality.json for GR00T and StarVLA), starvla (the same with
fine-grained instructions), unified80 (FineVLA's vector of 80 numbers with masks) and rlds.
Colours are right whatever the dataset stores.

Example: finedata export bridge --format lerobot-v2.1 --out bridge_v21 --where "length >= 20"
"""


def export(
    *,
    root: Annotated[str, typer.Argument(metavar="DIR", help="A finedata dataset, or its address.")],
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="The new folder.", show_default=False)
    ],
    format_: Annotated[
        str, typer.Option("--format", metavar="NAME", help="See above.")
    ] = "finedata",
    where: Annotated[
        str,
        typer.Option(help="Only episodes for which this SQL holds: \"task like '%cup%'\"."),
    ] = "",
    keep_pictures: Annotated[
        bool,
        typer.Option(
            "--keep-pictures", help="LeRobot v2.1: pictures byte for byte instead of videos."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what is selected; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from msgspec import to_builtins

    from finedata.api import open

    dataset = open(root)
    summary = dataset.write(
        out, format=format_, where=where, keep_pictures=keep_pictures, dry_run=dry_run
    )
    parts = "" if summary.parts == ["."] else f" ({', '.join(summary.parts)})"
    text = (
        f"{summary.episodes} episodes, {summary.frames} frames as {summary.format} in "
        f"{summary.out}{parts}{'; nothing was written' if dry_run else ''}"
    )
    traffic = traffic_of(dataset.root)
    emit(to_builtins(summary) | {"traffic": traffic} if traffic else summary, text, as_json=as_json)
    if as_json:
        return
    tell_traffic(dataset.root)
    for name, count in summary.counts.items():
        typer.echo(f"{name.replace('_', ' ')}: {count}", err=True)
