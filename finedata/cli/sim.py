"""`finedata sim`: demonstrations recorded in a simulator, and policies judged in it."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from finedata.cli.frame import AsJson, Workers, emit, interruptible, processes, progress_bar
from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.sim.cells import CellDifference
    from finedata.sim.compare import Difference
    from finedata.sim.evaluate import Result
    from finedata.sim.film import Film
    from finedata.sim.record import RecordSummary

app = typer.Typer(
    help="Record demonstrations in a simulator, and judge policies in it by the physics.\n\n"
    "Example: finedata sim record --out steer --episodes 200 --pictures 0",
    no_args_is_help=True,
)

_RECORD = """Record simulated demonstrations as a canonical dataset that every verb takes.

Two arms, three coloured blocks, a tray and a mat. A scripted expert does what it is wished (which
arm, from where, how it turns the block, where it puts it), is pushed about, and is kept where the
physics says that all of it came true. Every episode has the goal in words and its true facts;
a share has a fine-grained text too.

Example: finedata sim record --out steer --episodes 200 --pictures 0

Example: finedata sim record --out steer --dry-run
"""


@app.command("record", help=_RECORD)
def record(
    *,
    out: Annotated[
        Path, typer.Option(help="The dataset; OUT.source gets the recording.", show_default=False)
    ],
    episodes: Annotated[int, typer.Option(help="Demonstrations, each in its own scene.")] = 2000,
    first: Annotated[int, typer.Option(help="Number of the first scene.")] = 0,
    noise: Annotated[float, typer.Option(help="How much pushes the demonstrator.")] = 0.8,
    pictures: Annotated[int, typer.Option(help="Pixels of both cameras; 0 for none.")] = 128,
    fine: Annotated[float, typer.Option(help="Share with a fine-grained text.")] = 0.2,
    workers: Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See _RECORD."""
    from finedata.api.sim import sim_estimate, sim_record

    settings: dict[str, Any] = {
        "episodes": episodes,
        "first": first,
        "noise": noise,
        "pictures": pictures,
        "fine": fine,
    }
    if dry_run:
        told = sim_estimate(**settings)
        emit(told, [f"{name:<14} {value}" for name, value in told.items()], as_json=as_json)
        return
    with interruptible(), progress_bar() as on_progress:
        summary = sim_record(out, workers=processes(workers), on_progress=on_progress, **settings)
    emit(summary, _recorded(summary), as_json=as_json)
    if not as_json:
        for note in summary.notes:
            typer.echo(f"note: {note}", err=True)


def _recorded(summary: RecordSummary) -> Iterator[str]:
    yield (
        f"{summary.kept} of {summary.tried} demonstrations kept, {summary.frames} frames, "
        f"{summary.fine_grained} with fine-grained text"
    )
    for name, count in summary.missed.items():
        yield f"  missed {name:<12} {count}"
    yield f"written: {summary.out} (recording: {summary.source})"


_EVALUATE = """Put a policy before scenes that nobody recorded, in closed loop.

The physics says what it did: the goal, each factor, all of it. POLICY is a run, the address of a
policy that `finedata serve` serves, or expert (knows the wish), usual (knows the goal, and does it
as demonstrators usually do: the chance of every factor) or random. Scenes, wishes, phrasings and
noise are the same for every policy. A result that was stopped is gone on with by the same command.

Example: finedata sim evaluate expert --scenes 16 --out expert.jsonl

Example: finedata sim evaluate runs/a --prompts fine --out fine.jsonl
"""


@app.command("evaluate", help=_EVALUATE)
def evaluate(
    *,
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY", help="RUN, ws://HOST:PORT, expert, usual, random.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="The result, JSON Lines.", show_default=False)],
    scenes: Annotated[int, typer.Option(help="How many.")] = 192,
    first: Annotated[int, typer.Option(help="Number of the first; recordings begin at 0.")] = (
        1_000_000
    ),
    prompts: Annotated[
        Literal["raw", "fine"], typer.Option(help="The goal only, or the manner too.")
    ] = "fine",
    wording: Annotated[
        Literal["seen", "held_out"], typer.Option(help="Phrasings of demonstrations, or others.")
    ] = "held_out",
    goals: Annotated[
        Literal["fine", "raw_only", "all"],
        typer.Option(help="Goals that fine texts speak of, that only raw data has, or all."),
    ] = "fine",
    execute: Annotated[int, typer.Option(help="Steps of an answer that are taken.")] = 4,
    seed: Annotated[int, typer.Option(help="Of wishes and phrasings.")] = 0,
    name: Annotated[
        str, typer.Option(help="What the result calls the policy.", show_default=False)
    ] = "",
    api_key: Annotated[
        str, typer.Option(envvar="FINEDATA_API_KEY", help="Of the server.", show_default=False)
    ] = "",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """See _EVALUATE."""
    from finedata.api.sim import sim_evaluate

    with interruptible(), progress_bar() as on_progress:
        result = sim_evaluate(
            policy,
            out=out,
            name=name,
            api_key=api_key,
            device=device,
            on_progress=on_progress,
            scenes=scenes,
            first=first,
            prompts=prompts,
            wording=wording,
            goals=goals,
            execute=execute,
            seed=seed,
        )
    emit(_told([result]), [*_rate_lines(result), f"written: {out}"], as_json=as_json)


_FILM = """Film one scene under several instructions: what the words change, and nothing else.

POLICY as for evaluate. Written are `film.json`, a video of each instruction and pictures of it;
`finedata sim report --film DIR` shows them as strips. A wish is colour,arm,approach,rotation,half
of the tray, and is said in a held-out phrasing; without any, three of the scene's own are filmed.

Example: finedata sim film expert --out film

Example: finedata sim film runs/a --scene 1000007 --wish red,left,above,clockwise,left --out film
"""


@app.command("film", help=_FILM)
def film(
    *,
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY", help="RUN, ws://HOST:PORT, expert, usual, random.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="A new folder.", show_default=False)],
    scene: Annotated[int, typer.Option(help="Number of the scene.")] = 1_000_000,
    wish: Annotated[
        list[str] | None, typer.Option(help="What is wished; several.", show_default=False)
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Words of your own; several.", show_default=False)
    ] = None,
    camera: Annotated[Literal["front", "top"], typer.Option(help="Which one.")] = "front",
    pictures: Annotated[int, typer.Option(help="Its pixels.")] = 256,
    strip: Annotated[int, typer.Option(help="Pictures of a film that are kept.")] = 8,
    video: Annotated[bool, typer.Option(help="Write mp4 files, too.")] = True,
    execute: Annotated[int, typer.Option(help="Steps of an answer that are taken.")] = 4,
    name: Annotated[
        str, typer.Option(help="What the film calls the policy.", show_default=False)
    ] = "",
    api_key: Annotated[
        str, typer.Option(envvar="FINEDATA_API_KEY", help="Of the server.", show_default=False)
    ] = "",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """See _FILM."""
    from finedata.api.sim import sim_film

    with interruptible():
        made = sim_film(
            policy,
            out=out,
            wishes=wish or (),
            prompts=prompt or (),
            name=name,
            api_key=api_key,
            device=device,
            scene=scene,
            camera=camera,
            pictures=pictures,
            strip=strip,
            video=video,
            execute=execute,
        )
    emit(made, [*_film_lines(made), f"written: {out}"], as_json=as_json)


def _film_lines(made: Film) -> Iterator[str]:
    for number, one in enumerate(made.films, start=1):
        missed = [name for name, good in one.scored.items() if not good and name != "all"]
        yield f"{number}  {one.prompt}"
        if one.fault:
            yield "   the policy's answer was no number"
        elif one.scored:
            yield f"   {one.frames} actions; " + (
                f"missed: {', '.join(missed)}" if missed else "all of it came true"
            )


_REPORT = """Compare results: rates with Wilson's intervals, and paired differences from the first.

Results of other scenes are refused. With --html a page is written: runs that differ in their seed
alone are one cell, with curves over mixtures, differences over scenes and seeds, what was done
instead, and the films of --film.

Example: finedata sim report usual.jsonl fine.jsonl

Example: finedata sim report *.jsonl --film film --html steer.html
"""


@app.command("report", help=_REPORT)
def report(
    *,
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT...", help="Results.", show_default=False)
    ],
    html: Annotated[
        Path | None, typer.Option(help="The page; replaced.", show_default=False)
    ] = None,
    film: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of sim film, for the page; several.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See _REPORT."""
    from finedata.api.sim import sim_compare, sim_report, sim_result

    read = [sim_result(path) for path in results]
    if html is not None:
        cells = sim_report(read, out=html, films=film or ())
        told: dict[str, Any] = {"differences": cells, "html": str(html)}
        lines: list[str] = []
        for question, group in groupby(cells, key=lambda one: one.question):
            lines += [question, *(f"  {_difference_line(one.cell, one)}" for one in group)]
        lines.append(f"written: {html}")
    elif film:
        raise UsageError(parameter="film", found="no page", wanted="--html OUT")
    else:
        apart = sim_compare(read)
        told = {"differences": apart}
        lines = [_difference_line(one.policy, one) for one in apart]
    rates = [line for one in read for line in _rate_lines(one)]
    emit({**_told(read), **told}, [*rates, *lines], as_json=as_json)


def _difference_line(name: str, one: Difference | CellDifference) -> str:
    return (
        f"{name} - {one.against}, {one.score}: {100 * one.mean:+.1f} points "
        f"[{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
    )


def _told(results: list[Result]) -> dict[str, Any]:
    from finedata.api.sim import sim_rates

    return {
        "results": [
            {
                "policy": one.policy,
                "settings": one.settings,
                "scenes_sha256": one.scenes_sha256,
                "faults": sum(bool(episode.fault) for episode in one.episodes),
                "rates": sim_rates(one),
            }
            for one in results
        ]
    }


def _rate_lines(result: Result) -> Iterator[str]:
    from finedata.api.sim import sim_rates

    settings = result.settings
    yield (
        f"{result.policy}: {settings.scenes} scenes from {settings.first}, {settings.prompts} "
        f"prompts, {settings.wording.replace('_', ' ')} wording, goals {settings.goals}"
    )
    for one in sim_rates(result):
        yield (
            f"  {one.score:<10} {100 * one.share:5.1f} % "
            f"[{100 * one.low:.1f}, {100 * one.high:.1f}]"
        )
    faults = sum(bool(episode.fault) for episode in result.episodes)
    if faults:
        yield f"  {faults} episodes ended by an answer that is no number"
    frames = sum(episode.frames for episode in result.episodes)
    beyond = sum(episode.out_of_reach for episode in result.episodes)
    if 2 * beyond > frames:
        yield (
            f"  {beyond} of {frames} actions were where no arm gets: other units, another frame, "
            "or a gripper that counts the other way?"
        )
