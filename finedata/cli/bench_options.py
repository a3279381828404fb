"""Options that `finedata bench vqa` and `finedata bench caption` share, and whom they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from finedata.api import Teacher

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
_OWN = ("perfect", "random", "blind", "annotated")


def or_none(value: float) -> float | None:
    """Below zero means the server's own."""
    return None if value < 0 else value


def whom(name: str, model: str, annotator: str, *, max_tokens: int = 32_768, **how: Any) -> Teacher:
    """Whom the options mean; finedata's own answerers are called by their names."""
    from finedata.api import teacher

    if name in _OWN:
        model = annotator if name == "annotated" else name
    return teacher(name, model=model, max_tokens=max_tokens, **how)
