"""`finedata verify`: prove a conversion against its source, or its conventions against evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finedata.cli.frame import AsJson, emit
from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.convert.pose.evidence import ArmPose
    from finedata.convert.pose.prove import PoseReport
    from finedata.convert.verify.report import VerifyReport
    from finedata.motion import PartEvidence, Reading
    from finedata.shard.verify_report import ShardReport

HELP = """Re-read source and output and prove the round trip; or prove the poses with --pose.

The source is enumerated by another way than the converter's: each thing that it declares or holds
(features, cameras, episodes, tasks) is listed with what became of it: kept, renamed, left out, why.
Every record is converted anew and compared with the output number for number, picture for picture,
video packet for video packet, table row for table row. --decode decodes pictures and videos too.
What was not looked at is said. Exits with 1 when anything differs, or is lost without a reason.

--pose asks instead whether the conventions are right: the poses of some episodes, read in every
way that their numbers allow, are held against forward kinematics of the joints (where the robot's
model is published) and against the actions. It needs no dataset: --source checks a converter
before anything is converted. Exits with 1 when evidence contradicts the converter.

Of shards, tars, indexes, tables, words and sides are read again and held against each other, and
against the datasets of --input.

Example: finedata verify bridge --input bridge_dataset/1.0.0

Example: finedata verify --source droid --input droid/1.0.1 --pose

Example: finedata verify shards --input bridge
"""


def verify(
    *,
    root: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="The dataset.", show_default=False)
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="PATH|URL",
            help="Its source (of shards: their datasets); once for each of several.",
            show_default=False,
        ),
    ] = None,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every picture and video too.")
    ] = False,
    pose: Annotated[
        bool, typer.Option("--pose", help="Hold the poses against evidence instead.")
    ] = False,
    pose_episodes: Annotated[
        int, typer.Option(min=1, help="Episodes to compare for each arm of each form.")
    ] = 20,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|TOML",
            help="With --pose: the converter to check, where there is no dataset.",
            show_default=False,
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CHOICE", help="With --source: a choice of its file.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import open

    if root is not None and (root / "shards.json").exists():
        _verify_shards(root, input_ or [], as_json=as_json)
        return
    if not input_:
        raise UsageError(
            place="--input",
            found="none",
            wanted="the source that the dataset was converted from",
            next_command="finedata verify DIR --input SOURCE_DIR",
        )
    if pose:
        _verify_pose(root, input_, source, option or [], pose_episodes, as_json=as_json)
        return
    if root is None or source is not None or option:
        raise UsageError(
            place="finedata verify",
            found="no dataset" if root is None else "--source or --option without --pose",
            wanted="a dataset, or --source with --pose",
            next_command="finedata verify DIR --input SOURCE_DIR",
        )
    import msgspec

    report = open(root).verify(input_, decode=decode)
    fields = msgspec.to_builtins(report).items()
    found = {name: value for name, value in fields if not name.startswith("_")}
    found["counts"] = report.counts()
    emit(found, _verified(report), as_json=as_json)
    if report.problems:
        raise typer.Exit(1)


def _verify_shards(root: Path, inputs: list[str], *, as_json: bool) -> None:
    from finedata.api import shards

    report = shards(root).verify(inputs)
    emit(report, _shards_verified(report), as_json=as_json)
    if report.problems:
        raise typer.Exit(1)


def _shards_verified(report: ShardReport) -> Iterator[str]:
    yield (
        f"{report.sets} sets, {report.tars} tars, {report.samples} samples, {report.frames} "
        f"frames, {report.texts} text revisions checked; {len(report.problems)} problems"
    )
    if report.compared:
        yield f"{report.compared} episodes and {report.pictures} pictures as in the datasets"
    for path in report.rebuilt:
        yield f"made again: {path}, which was missing"
    for note in report.not_checked:
        yield f"not checked: {note}"
    for problem in report.problems:
        yield f"problem: {problem.place}: found {problem.found}, wanted {problem.wanted}"


def _verified(report: VerifyReport) -> Iterator[str]:
    yield (
        f"{report.episodes} episodes, {report.frames} frames, {report.pictures} pictures "
        f"checked; {len(report.problems)} problems"
    )
    for kind, verdicts in report.counts().items():
        told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in verdicts.items())
        yield f"{kind}s: {told}"
    for thing in report.things:
        if thing.verdict != "kept":
            stored = f" -> {', '.join(thing.stored)}" if thing.stored else ""
            because = f": {thing.because}" if thing.because else ""
            verdict = thing.verdict.replace("_", " ")
            yield f"  {verdict}: {thing.kind} {thing.name}{stored}{because}"
    for note in report.not_checked:
        yield f"not checked: {note}"
    for problem in report.problems:
        yield f"problem: {problem.place}: found {problem.found}, wanted {problem.wanted}"


def _verify_pose(
    root: Path | None,
    addresses: list[str],
    source: str | None,
    options: list[str],
    most: int,
    *,
    as_json: bool,
) -> None:
    from finedata.api import Source, open

    if root is not None and source is None:
        report = open(root).verify_pose(addresses, episodes=most)
    elif source is not None and root is None and len(addresses) == 1:
        choices = tuple(_choice(text) for text in options)
        report = Source(((source, addresses[0]),), choices).verify(episodes=most)
    else:
        raise UsageError(
            place="the pose check",
            found="both a dataset and a converter"
            if source and root
            else "no dataset and no converter"
            if source is None
            else f"{len(addresses)} --input",
            wanted="one of them, a converter with one --input",
            next_command="finedata verify --source NAME --input DIR --pose",
        )
    if as_json:
        emit(report, "", as_json=True)
    else:
        _print_report(report)
    for message in report.messages:
        typer.echo(f"not read: {message}", err=True)
    if report.verdict == "contradicted":
        raise typer.Exit(1)


def _choice(text: str) -> tuple[str, str]:
    name, equals, choice = text.partition("=")
    if not equals:
        raise UsageError(
            place=f"--option {text}",
            found="no choice",
            wanted="NAME=CHOICE",
            next_command="finedata sources --json",
        )
    return name, choice


def _print_report(report: PoseReport) -> None:
    for arm in report.arms:
        _print_arm(arm)
    typer.echo(
        f"{report.verdict}; {report.looked_at} episodes looked at, {report.failed} of them not read"
    )


def _print_arm(arm: ArmPose) -> None:
    who = f"{arm.arm} arm" if arm.arm else "no arm"
    typer.echo(f"{arm.source}, {arm.variant}, {arm.embodiment}, {who}: {arm.verdict}")
    skipped = "".join(f", {count} skipped: {flag}" for flag, count in arm.skipped.items())
    model = arm.model or "none published"
    typer.echo(f"  {arm.episodes} episodes compared{skipped}; robot model: {model}")
    decided = ""
    if arm.decided_by_norm:
        decided = " (quaternion_or_euler, decided by the norm of the numbers)"
    typer.echo(f"  state: {arm.encoding}{decided}; action: {arm.action}")
    if not arm.parts:
        typer.echo(f"  undecided: {arm.reason}")
    for part in arm.parts:
        _print_part(part)
    typer.echo("")


def _print_part(part: PartEvidence) -> None:
    typer.echo(f"  {part.part}: {part.verdict}: {part.reason}")
    if not part.readings:
        return
    wide = max(len(reading.name) for reading in part.readings)
    heads = ("deg", "after tool", "m", "after tool", "unexplained")
    typer.echo(f"    {'reading':<{wide}}  declared  " + "  ".join(f"{head:>11}" for head in heads))
    for reading in part.readings:
        cells = "  ".join(f"{cell:>11}" for cell in _cells(reading))
        typer.echo(f"    {reading.name:<{wide}}  {_declared(reading):<8}  {cells}")


def _declared(reading: Reading) -> str:
    if reading.declared:
        return "yes"
    return "same" if reading.same_as_declared else ""


def _cells(reading: Reading) -> list[str]:
    numbers = (
        reading.residual_deg,
        reading.residual_after_constant_tool_deg,
        reading.residual_m,
        reading.residual_after_constant_tool_m,
        reading.unexplained,
    )
    return ["" if number is None else f"{number:.3g}" for number in numbers]
