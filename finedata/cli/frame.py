"""What every verb does alike on the command line: its bar, its JSON, its end by an interrupt."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from finedata.engine.progress import OnProgress, Progress

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "--num-workers",
        "--threads",
        min=1,
        help="Processes or threads; all cores by default (processes: at most 8). Changes no byte.",
        show_default=False,
    ),
]

_CONTINUES = "stopped; the same command continues where it stopped"


def emit(result: object, text: str | Iterable[str], *, as_json: bool) -> None:
    """Print a result on stdout: as one JSON value, or as lines for a person."""
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(result).decode())
        return
    for line in [text] if isinstance(text, str) else text:
        typer.echo(line)


def traffic_of(root: object) -> dict[str, int]:
    """What reading from elsewhere cost: requests and bytes; nothing for a folder."""
    from finedata.store.remote.path import remote_store

    store = remote_store(root)
    if store is None:
        return {}
    return {"requests": store.traffic.requests, "received_bytes": store.traffic.received_bytes}


def tell_traffic(root: object) -> None:
    """Say on stderr what reading from elsewhere cost."""
    found = traffic_of(root)
    if found:
        size = found["received_bytes"] / 1e6
        typer.echo(f"{root}: {found['requests']:,} requests, {size:,.3f} MB received", err=True)


def processes(workers: int | None) -> int:
    """How many processes a verb takes where nobody said."""
    from finedata.engine.local import available_cores

    return workers or min(8, available_cores())


@contextmanager
def interruptible(message: str = _CONTINUES) -> Generator[None]:
    """End an interrupted run with exit code 130 and a word on what the same command does next."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(message, err=True)
        raise typer.Exit(130) from None


@contextmanager
def progress_bar() -> Generator[OnProgress]:
    """A bar on stderr, and none where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, counts="")

        def advance(now: Progress) -> None:
            behind = now.done + (0 if now.phase in _FAILURES_APART else now.failed)
            bar.update(
                task,
                description=f"{now.phase}, {now.failed} failed" if now.failed else now.phase,
                completed=behind,
                total=now.total,
                counts=f"{_short(behind)} of {_short(now.total)}",
            )

        yield advance


# Phases that count something else than what fails; see `Progress`.
_FAILURES_APART = ("converting",)
_KILO = 1000


def _short(count: float) -> str:
    """12_345_678 as `12.3M`."""
    for ending in ("", "k", "M", "G"):
        if count < _KILO:
            return f"{count:.3g}{ending}"
        count /= _KILO
    return f"{count:.3g}T"


def listed(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated option."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
