"""`finedata convert`: a source corpus to a canonical dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from finedata.cli.frame import AsJson, Workers, emit, interruptible, processes, progress_bar
from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.api.source import Selected
    from finedata.convert.planning.estimate import Estimate
    from finedata.convert.run import ConvertSummary

HELP = """Convert source corpora into a canonical dataset that LeRobot opens and Polars queries.

SOURCE is a name from `finedata sources`, or the path of a converter file; several sources go into
one dataset as NAME=PATH each. Pictures and videos keep their bytes. A run that was stopped
continues with the same command. With --num-shards the work is split over machines that share a
folder; `finedata merge` finishes it.

Example: finedata convert bridge_v2 --input bridge_dataset/1.0.0 --out bridge
"""


def convert(
    *,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="A name or a TOML file; or NAME=PATH for each of several."
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="The new dataset.", show_default=False)
    ],
    input_: Annotated[
        str | None,
        typer.Option(
            "--input", metavar="PATH|URL", help="Where the source lies.", show_default=False
        ),
    ] = None,
    episodes: Annotated[
        str,
        typer.Option(help="Only these: positions in the source, ranges, ids: 0,5,10-19."),
    ] = "",
    max_episodes: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many written episodes.")
    ] = None,
    cameras: Annotated[str, typer.Option(help="Only these cameras: image_0,image_1.")] = "",
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CHOICE", help="Decide a doubt of the converter; may be given again."
        ),
    ] = None,
    image_stats: Annotated[
        bool,
        typer.Option(
            "--image-stats/--no-image-stats",
            help="Decode up to four pictures per camera and episode, and 64 frames per camera "
            "of videos, for LeRobot's statistics.",
        ),
    ] = True,
    fix_colour: Annotated[
        bool,
        typer.Option(
            "--fix-colour", help="Rewrite pictures whose red and blue are exchanged (lossy)."
        ),
    ] = False,
    transcode: Annotated[
        Literal["av1", "h264"] | None,
        typer.Option(help="Encode all cameras anew as video with this codec (lossy)."),
    ] = None,
    resize: Annotated[
        str,
        typer.Option(metavar="HxW", help="Bring all cameras to this size, e.g. 224x224 (lossy)."),
    ] = "",
    shard_index: Annotated[
        int | None, typer.Option(min=0, help="Which share of --num-shards this process does.")
    ] = None,
    num_shards: Annotated[
        int | None, typer.Option(min=1, help="Split the work over so many processes.")
    ] = None,
    workers: Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate episodes, bytes and time; write nothing.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 when any episode or shard was lost.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import Source

    source = Source(_sources(sources, input_), _choices(option or []))
    selected: Selected = {
        "cameras": cameras,
        "episodes": episodes,
        "max_episodes": max_episodes,
        "image_stats": image_stats,
        "fix_colour": fix_colour,
        "transcode": transcode,
        "resize": _size(resize),
    }
    count = processes(workers)
    if (shard_index is None) != (num_shards is None):
        raise UsageError(
            place="--shard-index",
            found="one of --shard-index and --num-shards",
            wanted="both, or none",
            next_command="--shard-index 0 --num-shards 4",
        )
    if dry_run:
        estimated = source.estimate(out, workers=count, **selected)
        emit(estimated, _estimate_lines(estimated, count), as_json=as_json)
        if not as_json:
            for name in estimated.missing_shards:
                typer.echo(f"not there: {name}", err=True)
        return
    if shard_index is not None and num_shards is not None:
        share = source.convert_share(
            out, shard_index=shard_index, num_shards=num_shards, workers=count, **selected
        )
        text = (
            f"share {shard_index} of {num_shards}: {share.files} of {share.all_files} data files "
            f"in {out}; when all shares are done: finedata merge {out}"
        )
        emit(share, text, as_json=as_json)
        return
    with interruptible(), progress_bar() as on_progress:
        dataset = source.convert(out, workers=count, on_progress=on_progress, **selected)
    summary = dataset.conversion
    print_conversion(summary, as_json=as_json)
    lost = summary.failed or summary.missing_shards
    if not summary.episodes or (strict and lost):
        raise typer.Exit(1)


def _sources(sources: list[str], input_: str | None) -> tuple[tuple[str, str], ...]:
    """(converter, address) of each source, in the form of `SOURCE --input` or `NAME=PATH ...`."""
    pairs = [text.partition("=") for text in sources]
    if input_ is None and all(sign for _, sign, _ in pairs):
        return tuple((name, path) for name, _, path in pairs)
    if input_ is not None and len(sources) == 1:
        return ((sources[0], input_),)
    raise UsageError(
        place="SOURCE",
        found=f"{' '.join(sources)}, {'with' if input_ else 'without'} --input",
        wanted="one source with --input, or NAME=PATH for each of several",
        next_command="finedata convert bridge_v2=DIR droid=DIR --out DIR",
    )


def _choices(texts: list[str]) -> tuple[tuple[str, str], ...]:
    pairs = [text.partition("=") for text in texts]
    for (name, sign, choice), text in zip(pairs, texts, strict=True):
        if not (name and sign and choice):
            raise UsageError(
                place="--option",
                found=f"{text!r}",
                wanted="NAME=CHOICE",
                next_command="finedata sources --json",
            )
    return tuple(sorted((name, choice) for name, _, choice in pairs))


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    height, sign, width = text.lower().partition("x")
    if not (sign and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise UsageError(
            place="--resize",
            found=f"{text!r}",
            wanted="HEIGHTxWIDTH in pixels",
            next_command="--resize 224x224",
        )
    return int(height), int(width)


def print_conversion(summary: ConvertSummary, *, as_json: bool) -> None:
    """What was written on stdout; what failed or was odd on stderr."""
    text = (
        f"{summary.episodes} episodes, {summary.frames} frames in {summary.out} "
        f"({', '.join(summary.parts)})"
    )
    emit(summary, text, as_json=as_json)
    if summary.failed:
        typer.echo(
            f"{summary.failed} of {summary.found} episodes could not be converted; why:\n"
            f'  finedata query {summary.out} "select reason, source_file, source_record, message '
            "from receipts where status = 'failed'\"",
            err=True,
        )
    if summary.flags:
        flags = ", ".join(f"{name} {count}" for name, count in summary.flags.items())
        typer.echo(f"episodes by flag: {flags}", err=True)
    for why in sorted(set(summary.left_out.values())):
        names = [name for name, reason in summary.left_out.items() if reason == why]
        typer.echo(f"left out ({why}): {', '.join(names)}", err=True)
    if summary.dropped_frames:
        typer.echo(f"{summary.dropped_frames} frames were dropped; see receipts", err=True)


def _estimate_lines(found: Estimate, workers: int) -> str:
    return (
        f"about {found.episodes} episodes, {found.source_bytes / 1e6:.1f} MB in {found.shards} "
        f"shards -> {found.output_bytes / 1e6:.1f} MB, about {found.seconds:.0f} s with "
        f"{workers} workers; nothing was written"
    )
