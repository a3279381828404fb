"""Options that `finedata bench vqa` and `finedata bench caption` share, and what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from finedata.annotate.selection import Choice
    from finedata.teachers.asker import AskOptions

__all__ = [
    "Attempts",
    "BaseUrl",
    "Device",
    "InputPrice",
    "OutputPrice",
    "PerMinute",
    "Recorded",
    "Retry",
    "Strict",
    "Timeout",
    "Workers",
    "make_choice",
    "make_options",
]

BaseUrl = Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")]
Recorded = Annotated[Path | None, typer.Option(help="Answers for --teacher replay, JSON lines.")]
Device = Annotated[str | None, typer.Option(help="Where --teacher local runs, e.g. cuda:0.")]
InputPrice = Annotated[
    float | None, typer.Option(help="US dollars per million tokens sent. [published price]")
]
OutputPrice = Annotated[float | None, typer.Option(help="The same for tokens received.")]
Workers = Annotated[int, typer.Option("--workers", "--concurrency", min=1, help="Calls in flight.")]
PerMinute = Annotated[float | None, typer.Option(help="Most calls begun in a minute.")]
Attempts = Annotated[int, typer.Option(min=1, help="How often a call is tried.")]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds for one attempt.")]
Retry = Annotated[
    Literal["never", "unpaid", "all"],
    typer.Option(help="Which calls that failed in earlier runs are asked again."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything failed.")]


def make_choice(everything: bool, episodes: str, where: str) -> Choice:  # noqa: FBT001
    """Which episodes the options mean."""
    from finedata.annotate.selection import Choice
    from finedata.cli.frame import listed

    return Choice(everything=everything, episodes=listed(episodes), where=where)


def make_options(
    workers: int,
    requests_per_minute: float | None,
    budget_usd: float | None,
    input_price: float | None,
    output_price: float | None,
    attempts: int,
    timeout_s: float,
    retry: Literal["never", "unpaid", "all"],
) -> AskOptions:
    """Limits of asking."""
    from finedata.teachers.asker import AskOptions

    return AskOptions(
        concurrency=workers,
        requests_per_minute=requests_per_minute,
        budget_usd=budget_usd,
        input_price_usd=input_price,
        output_price_usd=output_price,
        attempts=attempts,
        timeout_s=timeout_s,
        retry=retry,
    )
