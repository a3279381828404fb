"""Options that the commands of `finedata annotate` share, and what the library makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from finedata.annotate.asking import AskOptions
    from finedata.annotate.selection import Choice
    from finedata.annotate.settings import AnnotateSettings

__all__ = [
    "All",
    "AsJson",
    "Attempts",
    "BaseUrl",
    "Budget",
    "Concurrency",
    "Device",
    "DryRun",
    "Episodes",
    "InputPrice",
    "Limit",
    "MaxTokens",
    "Model",
    "OutputPrice",
    "PerMinute",
    "Recorded",
    "Retry",
    "Root",
    "Seed",
    "Strict",
    "TeacherName",
    "Temperature",
    "Timeout",
    "Verbs",
    "Views",
    "Where",
    "Width",
    "make_choice",
    "make_options",
    "make_settings",
    "with_frames",
]

Root = Annotated[Path, typer.Argument(metavar="DIR", help="The dataset.", show_default=False)]
TeacherName = Annotated[
    str, typer.Option("--teacher", help="gemini, openai (any compatible server), local, replay.")
]
Model = Annotated[str, typer.Option(help="Model, as the teacher names it.")]
BaseUrl = Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")]
Recorded = Annotated[Path | None, typer.Option(help="Answers for --teacher replay, JSON lines.")]
Device = Annotated[str | None, typer.Option(help="Where --teacher local runs, e.g. cuda:0.")]
Budget = Annotated[
    float | None,
    typer.Option(min=0, help="All calls of the dataset may cost so much, earlier runs included."),
]
InputPrice = Annotated[
    float | None, typer.Option(help="US dollars per million tokens sent. [published price]")
]
OutputPrice = Annotated[float | None, typer.Option(help="The same for tokens received.")]
Concurrency = Annotated[
    int, typer.Option("--workers", "--concurrency", min=1, help="Calls in flight.")
]
PerMinute = Annotated[float | None, typer.Option(help="Most calls begun in a minute.")]
Attempts = Annotated[int, typer.Option(min=1, help="How often a call is tried.")]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds for one attempt.")]
Retry = Annotated[
    Literal["never", "unpaid", "all"],
    typer.Option(help="Which calls that failed in earlier runs are asked again."),
]
Width = Annotated[int, typer.Option(min=0, help="Pixels; wider pictures are resized, 0: none.")]
Views = Annotated[
    str | None, typer.Option(help="Cameras by name, comma-separated; a number; or all.")
]
Verbs = Annotated[
    Literal["full", "released"],
    typer.Option(help="Verbs of actions and steps: finedata's list, or FineVLA's fourteen."),
]
Seed = Annotated[int, typer.Option(help="Draws cameras, and is sent where not 0.")]
Temperature = Annotated[
    float, typer.Option(help="Of the answers; below 0: what the server does by itself.")
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer.")]
All = Annotated[bool, typer.Option("--all", help="Every episode, not representatives only.")]
Episodes = Annotated[str, typer.Option(help="Only these episode_ids, comma-separated.")]
Where = Annotated[str, typer.Option(help="Only episodes for which this SQL holds.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many episodes.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Estimate; ask and write nothing.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything failed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def make_choice(everything: bool, episodes: str, where: str, limit: int | None) -> Choice:  # noqa: FBT001
    """Which episodes the options mean."""
    from finedata.annotate.selection import Choice

    names = tuple(name.strip() for name in episodes.split(",") if name.strip())
    return Choice(everything=everything, episodes=names, where=where, limit=limit)


def make_settings(
    teacher: str,
    model: str,
    seed: int,
    temperature: float,
    max_tokens: int,
    verbs: Literal["full", "released"] = "full",
) -> AnnotateSettings:
    """Settings of the run; frames come with `with_frames`.

    Raises:
        UsageError: No model is given.
    """
    from finedata.annotate.settings import AnnotateSettings
    from finedata.errors import UsageError

    if not model and teacher != "replay":
        raise UsageError(
            place="--model",
            found="none",
            wanted="the model to ask",
            next_command="--model gemini-2.5-flash, or the name your server gives its model",
        )
    return AnnotateSettings(
        teacher=teacher,
        model=model or "recorded",
        temperature=None if temperature < 0 else temperature,
        max_output_tokens=max_tokens,
        seed=seed or None,
        verbs=verbs,
    )


def with_frames(
    settings: AnnotateSettings,
    fps: float,
    refinement_fps: float,
    max_frames: int,
    width: int,
    views: str | None,
    seed: int,
) -> AnnotateSettings:
    """The same settings with frames and cameras."""
    import msgspec

    from finedata.annotate.frames import FrameSettings

    names: tuple[str, ...] = ()
    most: int | None = 1
    if views is not None and views.isdecimal():
        most = int(views)
    elif views == "all":
        most = None
    elif views is not None:
        names = tuple(name.strip() for name in views.split(",") if name.strip())

    def frames(rate: float) -> FrameSettings:
        return FrameSettings(
            fps=rate,
            width=width or None,
            max_frames=max_frames,
            views=names,
            max_views=most,
            seed=seed,
        )

    return msgspec.structs.replace(
        settings, analysis=frames(fps), refinement=frames(refinement_fps), trace=frames(fps)
    )


def make_options(
    concurrency: int,
    requests_per_minute: float | None,
    budget_usd: float | None,
    input_price: float | None,
    output_price: float | None,
    attempts: int,
    timeout_s: float,
    retry: Literal["never", "unpaid", "all"],
) -> AskOptions:
    """Limits of the run."""
    from finedata.annotate.asking import AskOptions

    return AskOptions(
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        budget_usd=budget_usd,
        input_price_usd=input_price,
        output_price_usd=output_price,
        attempts=attempts,
        timeout_s=timeout_s,
        retry=retry,
    )
