"""`finedata convert`: a source corpus to a canonical dataset."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from finedata.convert.run import ConvertSummary, Progress

__all__ = ["HELP", "convert"]

HELP = """Convert a source corpus into a canonical dataset that LeRobot opens and Polars queries.

SOURCE is a name from `finedata sources`, or the path of a converter file. Pictures keep their
bytes. A run that was stopped continues with the same command.

Example: finedata convert bridge_v2 --input bridge_dataset/1.0.0 --out bridge
"""


def convert(
    *,
    source: Annotated[str, typer.Argument(help="A source's name, or the path of a TOML file.")],
    input_: Annotated[
        str,
        typer.Option(
            "--input", metavar="PATH|URL", help="Where the source lies.", show_default=False
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="The new dataset.", show_default=False)
    ],
    episodes: Annotated[
        str,
        typer.Option(help="Only these: positions in the source, ranges, ids: 0,5,10-19."),
    ] = "",
    max_episodes: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many written episodes.")
    ] = None,
    cameras: Annotated[str, typer.Option(help="Only these cameras: image_0,image_1.")] = "",
    image_stats: Annotated[
        bool,
        typer.Option(
            "--image-stats/--no-image-stats",
            help="Decode up to four pictures per camera and episode for LeRobot's statistics.",
        ),
    ] = True,
    num_workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; all cores (at most 8) by default.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate episodes, bytes and time; write nothing.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 when any episode or shard was lost.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """See HELP."""
    from finedata.convert.context import ConvertOptions
    from finedata.engine.local import available_cores

    options = ConvertOptions(
        cameras=_listed(cameras),
        episodes=_listed(episodes),
        max_episodes=max_episodes,
        image_stats=image_stats,
    )
    workers = num_workers or min(8, available_cores())
    if dry_run:
        _print_estimate(source, input_, out, options, workers, as_json=as_json)
        return
    from finedata.convert.run import convert as run

    try:
        with _progress_bar() as on_progress:
            summary = run(
                source,
                input=input_,
                out=out,
                options=options,
                num_workers=workers,
                on_progress=on_progress,
            )
    except KeyboardInterrupt:
        typer.echo("stopped; the same command continues where it stopped", err=True)
        raise typer.Exit(130) from None
    _print_summary(summary, as_json=as_json)
    lost = summary.failed or summary.missing_shards
    if not summary.episodes or (strict and lost):
        raise typer.Exit(1)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _print_summary(summary: ConvertSummary, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(summary).decode())
    else:
        typer.echo(
            f"{summary.episodes} episodes, {summary.frames} frames in {summary.out} "
            f"({', '.join(summary.parts)})"
        )
    if summary.failed:
        typer.echo(
            f"{summary.failed} of {summary.found} episodes could not be converted; why:\n"
            f'  finedata query {summary.out} "select reason, source_file, source_record, message '
            "from receipts where status = 'failed'\"",
            err=True,
        )
    if summary.dropped_frames:
        typer.echo(f"{summary.dropped_frames} frames were dropped; see receipts", err=True)


def _print_estimate(
    source: str, input_: str, out: str, options: object, workers: int, *, as_json: bool
) -> None:
    import msgspec

    from finedata.convert.context import ConvertOptions
    from finedata.convert.estimate import estimate

    if not isinstance(options, ConvertOptions):  # pragma: no cover
        return
    found = estimate([(source, input_)], out=out, options=options, num_workers=workers)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    typer.echo(
        f"about {found.episodes} episodes, {found.source_bytes / 1e6:.1f} MB in {found.shards} "
        f"shards -> {found.output_bytes / 1e6:.1f} MB, about {found.seconds:.0f} s with "
        f"{workers} workers; nothing was written"
    )
    for name in found.missing_shards:
        typer.echo(f"not there: {name}", err=True)


@contextmanager
def _progress_bar() -> Generator[Callable[[Progress], None] | None]:
    """A bar on stderr, and none where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.fields[episodes]} episodes"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("convert", total=None, episodes=0)

        def advance(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.done_bytes,
                total=progress.total_bytes,
                episodes=progress.episodes,
            )

        yield advance
