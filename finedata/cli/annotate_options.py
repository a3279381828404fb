"""Options that the commands of `finedata annotate` share, each written once.

`facts` and `traces` ask a teacher about chosen episodes: a command marked `@asks` is given all the
options of that, besides its own, and takes what they come to as one argument, `asked`.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from finedata.cli.frame import AsJson  # noqa: TC001  (Typer reads the annotation)

if TYPE_CHECKING:
    from collections.abc import Callable

    from finedata.api import Teacher
    from finedata.api.arguments import Views

Root = Annotated[Path, typer.Argument(metavar="DIR", help="The dataset.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="Every episode, not representatives only.")]
Episodes = Annotated[str, typer.Option(help="Only these episode_ids, comma-separated.")]
Where = Annotated[str, typer.Option(help="Only episodes for which this SQL holds.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many episodes.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything failed.")]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the shared options come to.

    Attributes:
        root: The dataset.
        teacher: Whom to ask; None for `--teacher kinematic`, which asks nobody.
        chosen: Which episodes, as a verb takes it.
        asking: How they are shown and what it may cost, as a verb takes it.
        strict: As given.
        as_json: As given.
    """

    root: Path
    teacher: Teacher | None
    chosen: dict[str, Any]
    asking: dict[str, Any]
    strict: bool
    as_json: bool


def chosen(everything: bool, episodes: str, where: str, limit: int | None) -> dict[str, Any]:  # noqa: FBT001
    """Which episodes the options mean, as a verb takes it."""
    return {"everything": everything, "episodes": episodes, "where": where, "limit": limit}


def _asked(
    *,
    root: Root,
    teacher: Annotated[
        str, typer.Option(help="gemini, openai (any compatible server), local, replay.")
    ],
    model: Annotated[str, typer.Option(help="Model, as the teacher names it.")] = "",
    base_url: Annotated[
        str | None, typer.Option(help="Address of an OpenAI-compatible server.")
    ] = None,
    recorded: Annotated[
        Path | None, typer.Option(help="Answers for --teacher replay, JSON lines.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where --teacher local runs, e.g. cuda:0.")
    ] = None,
    budget_usd: Annotated[
        float | None,
        typer.Option(
            min=0, help="All calls of the dataset may cost so much, earlier runs included."
        ),
    ] = None,
    input_price: Annotated[
        float | None, typer.Option(help="US dollars per million tokens sent. [published price]")
    ] = None,
    output_price: Annotated[
        float | None, typer.Option(help="The same for tokens received.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", "--concurrency", min=1, help="Calls in flight.")
    ] = 64,
    requests_per_minute: Annotated[
        float | None, typer.Option(help="Most calls begun in a minute.")
    ] = None,
    attempts: Annotated[int, typer.Option(min=1, help="How often a call is tried.")] = 6,
    timeout: Annotated[float, typer.Option(help="Seconds for one attempt.")] = 300.0,
    retry: Annotated[
        Literal["never", "unpaid", "all"],
        typer.Option(help="Which calls that failed in earlier runs are asked again."),
    ] = "unpaid",
    width: Annotated[
        int, typer.Option(min=0, help="Pixels; wider pictures are resized, 0: none.")
    ] = 512,
    views: Annotated[
        str | None, typer.Option(help="Cameras by name, comma-separated; a number; or all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws cameras, and is sent where not 0.")] = 0,
    temperature: Annotated[
        float, typer.Option(help="Of the answers; below 0: what the server does by itself.")
    ] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 8192,
    everything: All = False,
    episodes: Episodes = "",
    where: Where = "",
    limit: Limit = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate; ask and write nothing.")
    ] = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> Asked:
    """Every option of asking, and what they come to."""
    asking: dict[str, Any] = {
        "budget_usd": budget_usd,
        "workers": workers,
        "retry": retry,
        "width": width or None,
        "seed": seed,
        "dry_run": dry_run,
    }
    if views is not None:
        asking["views"] = _views(views)
    named = None
    if teacher != "kinematic":
        from finedata.api import teacher as name_teacher

        named = name_teacher(
            teacher,
            model=model,
            base_url=base_url,
            recorded=recorded,
            device=device,
            temperature=None if temperature < 0 else temperature,
            max_tokens=max_tokens,
            input_price_usd=input_price,
            output_price_usd=output_price,
            requests_per_minute=requests_per_minute,
            attempts=attempts,
            timeout_s=timeout,
        )
    return Asked(
        root=root,
        teacher=named,
        chosen=chosen(everything, episodes, where, limit),
        asking=asking,
        strict=strict,
        as_json=as_json,
    )


def _views(text: str) -> Views:
    if text.isdecimal():
        return int(text)
    return "all" if text == "all" else text


def asks(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of asking; it takes `asked` for all of them."""
    shared = inspect.signature(_asked).parameters
    own = [
        parameter
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "asked"
    ]

    def run(**values: Any) -> None:
        asked = _asked(**{name: values.pop(name) for name in shared})
        command(asked=asked, **values)

    hints = get_type_hints(_asked, include_extras=True)
    hints |= get_type_hints(command, include_extras=True)
    parameters = [*shared.values(), *own]
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [one.replace(annotation=hints[one.name]) for one in parameters]
    )
    run.__annotations__ = {one.name: hints[one.name] for one in parameters}
    run.__doc__ = command.__doc__
    return run
