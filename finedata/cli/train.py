"""`finedata train`: fine-tune a policy on shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from finedata.cli.frame import AsJson, emit, interruptible
from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.train.loop import Trained

HELP = """Fine-tune a vision-language-action policy on shards.

RECIPE is a name in trainers/ or a TOML file; --mix and --set change single keys and are recorded.
A run that was killed goes on with --resume as if nothing had happened. With several GPUs, put
`torchrun --nproc-per-node 8 -m` before `finedata`.

Example: finedata train oft_rdt_pretrain --shards shards --mix fg=1,raw=1 --out runs/a

Example: finedata train oft_rdt_pretrain --shards shards --out runs/a --resume

Example: finedata train report runs/a runs/b --out runs.html
"""


class _Train(TyperGroup):
    """`finedata train RECIPE` is `finedata train run RECIPE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_Train, help=HELP, no_args_is_help=True)


@app.command("run", help=HELP)
def run(
    *,
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Name or TOML file.", show_default=False)
    ],
    shards: Annotated[Path, typer.Option(help="The shards.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="The run's folder.", show_default=False)] = None,
    mix: Annotated[
        str, typer.Option(help="Views and weights: fg=1,raw=2.", show_default=False)
    ] = "",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another value; may be given again."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it stopped.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read and encode.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1.", show_default=False)] = "",
    sharding: Annotated[
        Literal["fsdp", "ddp"], typer.Option(help="How several ranks share the weights.")
    ] = "fsdp",
    tracker: Annotated[
        list[str] | None, typer.Option(help="tensorboard, wandb or trackio; may be given again.")
    ] = None,
    stop: Annotated[
        int | None,
        typer.Option(min=0, help="End after this step; 0 only evaluates.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would do and cost; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api.recipe import recipe_of_texts

    found = recipe_of_texts(recipe, _changes(changes or [], mix))
    if dry_run:
        estimate = found.estimate(shards)
        emit(estimate, str(estimate), as_json=as_json)
        return
    if out is None:
        raise UsageError(parameter="out", found="nothing", wanted="the run's folder")
    with interruptible("stopped; --resume goes on from the last checkpoint"):
        done = found.train(
            shards,
            out=out,
            resume=resume,
            workers=workers,
            device=device,
            sharding=sharding,
            trackers=tuple(tracker or ()),
            stop=stop,
            on_log=_show,
        )
    emit(_told(done), _lines(done), as_json=as_json)


@app.command("export")
def export(
    *,
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run, or a checkpoint.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="A new folder.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint as a plain Hugging Face folder, adapters merged and weights averaged.

    Example: finedata train export runs/a --out policy
    """
    from finedata.api.recipe import export_policy

    made = export_policy(run, out)
    emit({"out": str(made)}, f"{made}: transformers loads it", as_json=as_json)


@app.command("report")
def report(
    *,
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("training.html"),
    as_json: AsJson = False,
) -> None:
    """Compare runs on one page: curves with bands over seeds, held-out errors, what was drawn.

    Example: finedata train report runs/a runs/b --out runs.html
    """
    from finedata.api.recipe import training_report

    made = training_report(runs, out)
    emit({"out": str(made)}, str(made), as_json=as_json)


def _changes(given: list[str], mix: str) -> dict[str, str]:
    found: dict[str, str] = {"mix": mix} if mix else {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals:
            raise UsageError(place=f"--set {one}", found="no value", wanted="KEY=VALUE")
        found[key] = value
    return found


def _show(entry: dict[str, Any]) -> None:
    """A line on stderr for each entry of the log."""
    for view, errors in entry.get("heldout", {}).items():
        told = " ".join(f"{name} {value:.3g}" for name, value in errors.items() if "/" not in name)
        typer.echo(f"step {entry['step']:>7,}  held out, {view}: {told}", err=True)
    if "loss" not in entry:
        return
    terms = " ".join(f"{name} {value:.4f}" for name, value in entry["terms"].items())
    typer.echo(
        f"step {entry['step']:>7,}  {terms}  |g| {entry['gradient_norm']:.3g}  "
        f"{entry['samples_per_s']:,.0f} samples/s  waiting {entry['waiting_share']:.1%}",
        err=True,
    )


def _told(done: Trained) -> dict[str, Any]:
    return {
        "run": str(done.run),
        "step": done.step,
        "checkpoint": None if done.checkpoint is None else str(done.checkpoint),
        "last": done.last,
        "heldout": done.heldout,
        "heldout_before": done.heldout_before,
        "notes": list(done.notes),
    }


def _lines(done: Trained) -> list[str]:
    lines = [f"step {done.step:,}, checkpoint {done.checkpoint}"]
    for name, value in done.last.get("terms", {}).items():
        lines.append(f"  {name} {value:.5f}")
    for name, share in done.last.get("drawn", {}).items():
        asked = done.last["asked"].get(name, 0.0)
        lines.append(f"  {name}: {share:.1%} drawn, {asked:.1%} asked")
    for view, errors in done.heldout.items():
        lines += _learnt(view, errors, done.heldout_before.get(view, {}))
    return lines + [f"  note: {note}" for note in done.notes]


def _learnt(view: str, now: dict[str, float], before: dict[str, float]) -> list[str]:
    """What was learnt on episodes that were never trained on, in words."""
    lines = [
        f"On {now['samples']:.0f} samples of held-out episodes (view {view}), how far what it "
        "predicts is from what was recorded, on average:"
    ]
    if "l1" not in now:  # an annotator, which only speaks
        lines = [f"On {now['samples']:.0f} lessons of held-out episodes ({view}):"]
    better, told = 0, 0
    for name, value in now.items():
        if "/" in name or name == "samples":
            continue
        lines.append(f"  {_in_words(name, value)}")
        if name in before and before != now:
            lines[-1] += f"; before training {_in_words(name, before[name]).split(': ')[1]}"
            nearer = value > before[name] if name.endswith("_accuracy") else value < before[name]
            told, better = told + 1, better + nearer
    if told:
        lines.append(f"  {better} of these {told} numbers are better than before training")
    return lines


def _in_words(name: str, value: float) -> str:
    """An error of `evaluate` with its unit, as a reader says it."""
    said = name.replace("_", " ")
    if name == "l1":
        return f"all numbers together, normalised: {value:.3f}"
    if name.endswith(("_x_m", "_y_m", "_z_m")):
        return f"{said[:-4]} along {said[-3]}: {value * 100:.1f} cm".replace("  ", " ")
    if name.endswith("_deg"):
        return f"{said[:-4]}: {value:.0f} degrees"
    if name.endswith("_accuracy"):
        return f"tokens of {said[:-9]} that were the likeliest: {value:.1%}"
    if name in ("action", "reasoning", "words"):
        return f"cross-entropy of a token of {said}: {value:.3f}"
    if name.endswith("gripper"):
        return f"{said}: {value:.0%} of its opening"
    return f"{said}: {value:.4g}"
