"""`finedata shard`: WebDataset shards of finished datasets, and everything done to shards later."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from finedata.cli.frame import AsJson, Workers, emit, interruptible, listed, processes, progress_bar
from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.shard.making.summary import ShardEstimate, ShardSummary

HELP = """Write WebDataset shards of datasets: pixels once, numbers and words beside them.

A sample is a time step, shuffled over its whole set; sets are split by source, part, tier
(representatives, the rest) and side (training, held out). Stock webdataset, megatron-energon and
`datasets` read the tars. A run that was stopped continues with the same command.

With SHARDS in the place of DIR and without --out, finished shards are looked at: --text takes up
new annotations and reviews without writing a pixel; --compact moves episodes that have become
representatives to where a fine-grained view finds them; --check-leaks exits with 1 where a list of
held-out ids is in a training file.

Example: finedata shard bridge --out shards --resize 224

Example: finedata shard shards --text bridge

Example: finedata shard shards --compact bridge

Example: finedata shard shards --check-leaks benchmark_ids.txt

Example: finedata shard bridge droid --out shards --held-out 0.05 --held-out-by task --dry-run
"""


def shard(
    *,
    datasets: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Finished datasets, gated and clustered.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="SHARDS", help="Folder of the shards.", show_default=False),
    ] = None,
    cameras: Annotated[str, typer.Option(help="Only these cameras: image_0,wrist.")] = "",
    resize: Annotated[
        str,
        typer.Option(metavar="HxW", help="Bring pictures to this size: 224, or 180x320 (lossy)."),
    ] = "",
    quality: Annotated[
        int, typer.Option(min=1, max=100, help="JPEG quality of pictures that must be encoded.")
    ] = 90,
    shard_size: Annotated[str, typer.Option(help="Wanted size of a tar, e.g. 1GB.")] = "256MB",
    order: Annotated[
        Literal["step", "episode"] | None,
        typer.Option(
            help="`step`: shuffled over the whole set; `episode`: in sequence, for history.",
            show_default="step",
        ),
    ] = None,
    type_: Annotated[
        Literal["step", "episode"],
        typer.Option(
            "--type", "--sample", help="A sample is a step, or an episode with MP4 clips."
        ),
    ] = "step",
    horizon: Annotated[int, typer.Option(min=1, help="Steps of action.npy.")] = 16,
    every: Annotated[int, typer.Option(min=1, help="One sample every so many frames.")] = 1,
    thin: Annotated[
        bool, typer.Option("--thin", help="Pictures only; numbers and words stand beside.")
    ] = False,
    where: Annotated[
        str, typer.Option(metavar="SQL", help="Only episodes for which this holds.")
    ] = "",
    held_out: Annotated[
        str,
        typer.Option(
            metavar="SHARE|LIST", help="Hold out this share (0.05), or the ids in this file."
        ),
    ] = "",
    held_out_by: Annotated[
        Literal["episode", "task"], typer.Option(help="What the share or list is of.")
    ] = "episode",
    check_leaks: Annotated[
        Path | None,
        typer.Option(
            metavar="IDS", help="Refuse if a training file has one of these.", show_default=False
        ),
    ] = None,
    text_policy: Annotated[
        Literal["not_contradicted", "reviewed"],
        typer.Option(help="Which words a fine-grained view may show."),
    ] = "not_contradicted",
    with_failed: Annotated[
        bool,
        typer.Option("--with-failed", help="Also sets of what failed or has no instruction."),
    ] = False,
    bake: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Words in the tars too: instruction,fine,trace."),
    ] = "",
    depth: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Estimate depth of cameras that have none: a folder, or org/name@COMMIT.",
        ),
    ] = "",
    seed: Annotated[int, typer.Option(help="Of the shuffle.")] = 0,
    text: Annotated[
        list[Path] | None,
        typer.Option(
            "--text",
            metavar="DIR",
            help="Take the words of this dataset into SHARDS, as they are now; may be given again.",
        ),
    ] = None,
    compact: Annotated[
        list[Path] | None,
        typer.Option(
            "--compact",
            metavar="DIR",
            help="Move episodes of SHARDS that represent this dataset now; may be given again.",
        ),
    ] = None,
    append: Annotated[
        bool, typer.Option("--append", help="Add what finished shards lack, as new tars.")
    ] = False,
    allow_mixed_licences: Annotated[
        bool,
        typer.Option("--allow-mixed-licences", help="Go on although licences do not go together."),
    ] = False,
    shard_index: Annotated[
        int | None, typer.Option(min=0, help="Which share of --num-shards this process does.")
    ] = None,
    num_shards: Annotated[
        int | None, typer.Option(min=1, help="Split the reading over so many processes.")
    ] = None,
    workers: Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Plan and estimate; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import is_shards, open
    from finedata.shard.making.summary import ShardEstimate

    leaks = _ids(check_leaks, "--check-leaks") if check_leaks else ()
    if out is None and len(datasets) == 1 and is_shards(datasets[0]):
        if compact:
            _compact(datasets[0], compact, workers=processes(workers), as_json=as_json)
        elif text:
            _take_up_text(datasets[0], text, as_json=as_json)
        else:
            _look_for_leaks(datasets[0], leaks, as_json=as_json)
        return
    if text or compact:
        option = "--text" if text else "--compact"
        raise UsageError(
            place=option,
            found="datasets to shard",
            wanted="finished shards in the place of DIR, and no --out",
            next_command=f"finedata shard SHARDS {option} DIR",
        )
    if out is None:
        raise UsageError(
            place="--out",
            found="none",
            wanted="a folder for the shards",
            next_command="finedata shard DIR --out SHARDS",
        )
    if (shard_index is None) != (num_shards is None):
        raise UsageError(
            place="--shard-index",
            found="one of --shard-index and --num-shards",
            wanted="both, or none",
            next_command="--shard-index 0 --num-shards 4",
        )
    share, ids = _held_out(held_out)
    with interruptible(), progress_bar() as on_progress:
        found = open(datasets[0]).shard(
            out,
            also=datasets[1:],
            append=append,
            allow_mixed_licences=allow_mixed_licences,
            check_leaks=leaks,
            shard_index=shard_index,
            num_shards=num_shards,
            workers=processes(workers),
            dry_run=dry_run,
            on_progress=on_progress,
            cameras=listed(cameras),
            resize=_size(resize),
            quality=quality,
            shard_bytes=_bytes(shard_size),
            order=order,
            sample=type_,
            horizon=horizon,
            every=every,
            thin=thin,
            where=where,
            held_out=share,
            held_out_ids=ids,
            held_out_by=held_out_by,
            text_policy=text_policy,
            with_failed=with_failed,
            bake=listed(bake),
            seed=seed,
            depth=depth,
        )
    if isinstance(found, ShardEstimate):
        _print_estimate(found, as_json=as_json)
    else:
        print_summary(found, as_json=as_json)


def _take_up_text(root: Path, datasets: list[Path], *, as_json: bool) -> None:
    from finedata.api import shards

    made = shards(root).take_up_text(datasets)
    lines = [f"text {made.revision}"]
    lines += [
        f"view {view.view}, {view.side}, {view.policy or 'the source'}: {view.episodes} episodes, "
        f"{view.samples} samples"
        for view in made.views
    ]
    emit(made, lines, as_json=as_json)


def _compact(root: Path, datasets: list[Path], *, workers: int, as_json: bool) -> None:
    from finedata.api import shards

    with interruptible(), progress_bar() as on_progress:
        done = shards(root).compact(datasets, workers=workers, on_progress=on_progress)
    lines = [f"{name}: {count} episodes moved" for name, count in done.moved.items()]
    if done.revisions_gone:
        lines.append(
            f"text {done.revision} takes the place of {', '.join(done.revisions_gone)}: "
            "numbers of episodes changed"
        )
    emit(done, lines or "no episode has become a representative", as_json=as_json)


def _look_for_leaks(root: Path, ids: tuple[str, ...], *, as_json: bool) -> None:
    from finedata.api import shards

    if not ids:
        raise UsageError(
            place=str(root),
            found="shards, and nothing to do with them",
            wanted="datasets with --out, or --text DIR, --compact DIR or --check-leaks IDS",
            next_command=f"finedata info {root}",
        )
    found = shards(root).leaks(ids)
    text = f"{len(found)} of {len(ids)} ids, or episodes of them, are in training files"
    emit({"leaks": found}, [text, *(f"  {one}" for one in found[:20])], as_json=as_json)
    if found:
        raise typer.Exit(1)


def _held_out(text: str) -> tuple[str, tuple[str, ...]]:
    """(share, ids): a number is a share, anything else a file of ids."""
    if not text or re.fullmatch(r"[0-9./]+", text):
        return text, ()
    ids = _ids(Path(text), "--held-out")
    if not ids:
        raise UsageError(place=f"--held-out {text}", found="no id", wanted="ids, one a line")
    return "", ids


def _ids(path: Path, option: str) -> tuple[str, ...]:
    """Ids of a file, one a line, each once and sorted."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(sorted({line.strip() for line in lines} - {""}))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            place=f"{option} {path}", found=f"{error}", wanted="a text file of ids, one a line"
        ) from error


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    match = re.fullmatch(r"([1-9][0-9]*)(?:x([1-9][0-9]*))?", text.lower())
    if match is None:
        raise UsageError(
            place="--resize",
            found=f"{text!r}",
            wanted="HEIGHTxWIDTH in pixels, or one number for both",
            next_command="--resize 224",
        )
    height = int(match[1])
    return height, int(match[2] or height)


_DECIMAL = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_UNITS = {**_DECIMAL, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def _bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)", text.lower())
    if match is None or match[2] not in _UNITS:
        raise UsageError(
            place="--shard-size", found=f"{text!r}", wanted="a size, e.g. 256MB, 1GB, 512MiB"
        )
    return int(float(match[1]) * _UNITS[match[2]])


def print_summary(summary: ShardSummary, *, as_json: bool) -> None:
    """Print what shards hold."""
    if as_json or summary.share:
        text = f"share {summary.share} is done; the same command without it finishes"
        emit(summary, text, as_json=as_json)
        return
    for one in summary.sets:
        lossy = f", {one.encoded} pictures encoded" if one.encoded else ""
        lossy += f" ({one.psnr_db} dB)" if one.psnr_db is not None else ""
        typer.echo(
            f"{one.name}: {one.episodes} episodes, {one.samples} samples, {one.tars} tars, "
            f"{one.bytes / 1e6:.1f} MB{lossy}"
        )
    for view in summary.views:
        words = "the source's words" if view.policy is None else f"{view.policy} text"
        typer.echo(
            f"view {view.view}, {view.side}, {words}: {view.episodes} episodes, "
            f"{view.samples} samples"
        )
    if not any(view.view == "fg" and view.samples for view in summary.views):
        typer.echo(
            "no sample has fine-grained text: finedata annotate facts DIR, then "
            f"finedata shard {summary.out} --text DIR",
            err=True,
        )
    _print_left_out(summary.left_out)
    new = f", {summary.added} episodes added" if summary.added else ""
    typer.echo(f"written: {summary.out}{new}")


def _print_estimate(found: ShardEstimate, *, as_json: bool) -> None:
    scratch = "; as much again meanwhile" if found.scratch_bytes else ""
    lines = [
        f"{one.name}: {one.episodes} episodes, {one.samples} samples, about {one.tars} tars, "
        f"{one.bytes / 1e6:.1f} MB"
        for one in found.sets
    ]
    lines.append(f"about {found.bytes / 1e6:.1f} MB{scratch}; nothing was written")
    emit(found, lines, as_json=as_json)
    if not as_json:
        _print_left_out(found.left_out)


def _print_left_out(left_out: dict[str, int]) -> None:
    for reason, count in left_out.items():
        typer.echo(f"left out: {count} episodes ({reason})", err=True)
