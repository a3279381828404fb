"""`finedata cluster`: which episodes of a task are alike, and which stand for the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from finedata.cli.frame import AsJson, Workers, emit, interruptible, progress_bar
from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.cluster.summary import ClusterSummary

HELP = """Group the episodes of each task by dynamic time warping and choose representatives.

Compares, within each task and part, the episodes that passed the gate and have an instruction.
Writes curation/clusters.parquet and curation/representatives.parquet; nothing is deleted. A run
that was stopped continues with the same command; another k or budget uses the same distances.

Example: finedata cluster bridge --auto --budget 200
"""


def cluster(
    *,
    root: Annotated[Path, typer.Argument(metavar="DIR", help="The dataset.", show_default=False)],
    k: Annotated[int | None, typer.Option("--k", min=1, help="Clusters of every task.")] = None,
    k_ratio: Annotated[
        float | None, typer.Option(help="Clusters as a share of a task's episodes: 0.1.")
    ] = None,
    auto: Annotated[
        bool, typer.Option("--auto", help="By the largest gap of merge heights (the default).")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="By gaps, and each cluster again.")
    ] = False,
    budget: Annotated[
        int | None, typer.Option(min=1, help="Choose so many episodes in all.")
    ] = None,
    per_cluster: Annotated[
        int, typer.Option(min=1, help="Without --budget: so many of each cluster, at most.")
    ] = 1,
    linkage: Annotated[
        Literal["average", "complete", "single"], typer.Option(help="Distance of two clusters.")
    ] = "average",
    on: Annotated[
        Literal["action", "state"], typer.Option(help="Which trajectories are compared.")
    ] = "action",
    position_weight: Annotated[
        float | None, typer.Option(min=0, help="Of positions or joints, scaled to 0..1. [1]")
    ] = None,
    rotation_weight: Annotated[
        float | None, typer.Option(min=0, help="Of rotations, per radian. [1]")
    ] = None,
    gripper_weight: Annotated[
        float | None, typer.Option(min=0, help="Of grippers, scaled to 0..1. [1]")
    ] = None,
    single_stage: Annotated[
        bool, typer.Option("--single-stage", help="Let the gripper take part in the alignment.")
    ] = False,
    band: Annotated[
        float | None, typer.Option(help="Warp by this share of the longer episode, at most.")
    ] = None,
    float64: Annotated[bool, typer.Option("--float64", help="Slower and more exact.")] = False,
    landmarks_above: Annotated[
        int, typer.Option(min=2, help="Tasks with more episodes are compared with landmarks.")
    ] = 5000,
    num_landmarks: Annotated[
        int | None, typer.Option(min=2, help="How many landmarks. [1000]")
    ] = None,
    preset: Annotated[
        Literal["finevla"] | None, typer.Option(help="The choices of FineVLA's released code.")
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="auto: a GPU where there is one.")
    ] = "auto",
    workers: Workers = None,
    seed: Annotated[int, typer.Option(help="Of landmarks and random choices.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be compared; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import open

    rules = [("--auto", auto), ("--k", k), ("--k-ratio", k_ratio), ("--recursive", recursive)]
    given = [name for name, value in rules if value]
    if len(given) > 1:
        raise UsageError(place=given[1], found=" with ".join(given), wanted="one of them")
    with interruptible(), progress_bar() as on_progress:
        summary = open(root).cluster(
            on=on,
            k=k,
            k_ratio=k_ratio,
            auto=auto,
            recursive=recursive,
            linkage=linkage,
            budget=budget,
            per_cluster=per_cluster,
            position_weight=position_weight,
            rotation_weight=rotation_weight,
            gripper_weight=gripper_weight,
            two_stage=not single_stage,
            band=band,
            float64=float64,
            landmarks_above=landmarks_above,
            num_landmarks=num_landmarks,
            preset=preset,
            device=device,
            seed=seed,
            workers=workers,
            dry_run=dry_run,
            on_progress=on_progress,
        )
    _print(summary, root, dry_run=dry_run, as_json=as_json)


def _print(summary: ClusterSummary, root: Path, *, dry_run: bool, as_json: bool) -> None:
    text = (
        f"{summary.clustered} of {summary.episodes} episodes in {summary.units} tasks: "
        f"{summary.pairs} pairs, {summary.cells:.3g} cells in {summary.tiles} tiles; nothing was "
        "written"
        if dry_run
        else f"{summary.clustered} of {summary.episodes} episodes in {summary.units} tasks: "
        f"{summary.clusters} clusters, {summary.representatives} representatives in "
        f"{root / 'curation'}"
    )
    emit(summary, text, as_json=as_json)
    for reason, count in summary.left_out.items():
        meaning = summary.reasons[reason]
        typer.echo(f"left out, {reason}: {count} ({meaning})", err=True)
    for error in summary.landmarks[:20]:
        typer.echo(
            f"task {error.task_id}: {error.episodes} episodes by {error.landmarks} landmarks; on "
            f"a sample of {error.sampled} its clusters agree with the exact ones with an "
            f"adjusted Rand index of {error.adjusted_rand:.2f}",
            err=True,
        )
    for note in summary.notes:
        typer.echo(f"note: {note}", err=True)
