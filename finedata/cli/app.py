"""The verbs put together, and what happens to an error on its way out."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finedata.cli import (
    annotate,
    attention,
    bench,
    card,
    cluster,
    convert,
    demo,
    doctor,
    episodes,
    export,
    gate,
    info,
    merge,
    publish,
    pull,
    query,
    report,
    review,
    serve,
    shard,
    sim,
    sources,
    status,
    stream,
    summary,
    train,
    verify,
    view,
)
from finedata.errors import FinedataError

if TYPE_CHECKING:
    from typing import NoReturn

app = typer.Typer(
    name="finedata",
    help="Robot demonstrations as one canonical, queryable, finely annotated dataset.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("convert", help=convert.HELP)(convert.convert)
app.command("query", help=query.HELP)(query.query)
app.command("info", help=info.HELP)(info.info)
app.command("verify", help=verify.HELP)(verify.verify)
app.command("merge", help=merge.HELP)(merge.merge)
app.command("export", help=export.HELP)(export.export)
app.command("gate", help=gate.HELP)(gate.gate)
app.command("cluster", help=cluster.HELP)(cluster.cluster)
app.command("report", help=report.HELP)(report.report)
app.command("shard", help=shard.HELP)(shard.shard)
app.command("publish", help=publish.HELP)(publish.publish)
app.command("pull", help=pull.HELP)(pull.pull)
app.command("card", help=card.HELP)(card.card)
app.command("episodes", help=episodes.HELP)(episodes.episodes)
app.command("view", help=view.HELP)(view.view)
app.add_typer(sources.app, name="sources")
app.add_typer(annotate.app, name="annotate")
app.add_typer(bench.app, name="bench")
app.add_typer(train.app, name="train")
app.command("serve", help=serve.HELP)(serve.serve)
app.command("attention", help=attention.HELP)(attention.attention)
app.add_typer(review.app, name="review")
app.add_typer(sim.app, name="sim")
app.command("summary", help=summary.HELP)(summary.summary)
app.command("stream", help=stream.HELP)(stream.stream)
app.command("status", help=status.HELP)(status.status)
app.command("doctor", help=doctor.HELP)(doctor.doctor)
app.command("demo", help=demo.HELP)(demo.demo)


def _print_version(value: bool) -> None:  # noqa: FBT001  (Typer calls it so)
    if value:
        import finedata

        typer.echo(f"finedata {finedata.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log more, to stderr.")] = False,
) -> None:
    del version
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    try:
        app()
    except FinedataError as error:
        _end(error)
    except OSError as error:
        # The machine's refusal, not ours: its words are the message.
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # Polars' panics are no Exception
        from finedata.cli.damage import error_of_damage

        damage = error_of_damage(error, arguments=sys.argv[1:])
        if damage is None:
            raise
        _end(damage)
    sys.exit(0)


def _end(error: FinedataError) -> NoReturn:
    text = str(error)
    if error.parameter:
        # The library says min_frames to people who type Python; here it is --min-frames.
        text = text.replace(error.parameter, as_typed(error.parameter), 1)
    typer.echo(f"error: {text}", err=True)
    sys.exit(error.exit_code)


def as_typed(parameter: str) -> str:
    """How the command that runs takes a parameter: `--its-name`, `--set its_name`, or bare."""
    command: Any = typer.main.get_command(app)
    for word in sys.argv[1:]:
        group = getattr(command, "commands", {})
        if group and not word.startswith("-"):
            # `finedata train RECIPE` is `finedata train run RECIPE`, and `review DIR` serves it.
            command = group.get(word) or group.get("run") or group.get("serve") or command
    given = {name for one in command.params for name in (one.name, *one.opts)}
    if f"--{parameter.replace('_', '-')}" in given or not given & {"--set", parameter}:
        return f"--{parameter.replace('_', '-')}"
    return parameter if parameter in given else f"--set {parameter}"
