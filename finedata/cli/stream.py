"""`finedata stream`: what a mixture draws, where it comes from, and how fast it is here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from finedata.cli.frame import tell_traffic, traffic_of
from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.shard.stream.diff import Difference
    from finedata.shard.stream.measure import Speed

HELP = """Stream an exact mixture of shards, explain its samples, or compare two runs.

Streams some batches and prints the receipt: what was asked, what was drawn, and the hash chain that
two runs with the same samples share. Nothing is written unless --receipt names a file.

Example: finedata stream shards --mix fg=1,raw=1 --batches 100

Example: finedata stream shards --mix fg=1,raw=1 --explain 0:20

An address works as a folder does; its tars come to a bounded cache before they are needed.

Example: finedata stream hf://datasets/org/name --mix raw=1 --cache-gb 20

Example: finedata stream shards --diff run_a.json run_b.json
"""


def stream(
    *,
    shards: Annotated[
        str,
        typer.Argument(metavar="SHARDS", help="The shards, or their address.", show_default=False),
    ],
    mix: Annotated[str, typer.Option(help="Views and weights: fg=1,raw=2.")] = "fg=1,raw=1",
    batch: Annotated[int, typer.Option(min=1, help="Samples of a batch.")] = 32,
    batches: Annotated[int, typer.Option(min=1, help="So many batches.")] = 10,
    seed: Annotated[int, typer.Option(help="Of order and wording.")] = 0,
    group: Annotated[int, typer.Option(min=1, help="Shards that are mixed at a time.")] = 8,
    horizon: Annotated[int, typer.Option(min=1, help="Steps of an action chunk.")] = 16,
    words: Annotated[
        str, typer.Option(help="Words of each view: fg=numbered,raw=goal.", show_default=False)
    ] = "",
    traces: Annotated[
        Literal["none", "exact", "hold"], typer.Option(help="Which traces a sample has.")
    ] = "none",
    policy: Annotated[
        Literal["not_contradicted", "reviewed"], typer.Option(help="Which fine texts count.")
    ] = "not_contradicted",
    text: Annotated[
        str, typer.Option(help="Text revision; the last by default.", show_default=False)
    ] = "",
    side: Annotated[Literal["train", "heldout"], typer.Option(help="Which side.")] = "train",
    size: Annotated[
        str, typer.Option(metavar="HxW", help="Size of pictures: 224x224.", show_default=False)
    ] = "",
    workers: Annotated[int, typer.Option(min=0, help="Processes that read.")] = 0,
    on_bad: Annotated[
        Literal["raise", "next"], typer.Option(help="At a sample that cannot be read.")
    ] = "raise",
    explain: Annotated[
        str, typer.Option(metavar="N[:M]", help="Where samples come from.", show_default=False)
    ] = "",
    diff: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="RUN_A RUN_B", help="Compare two receipts.", show_default=False),
    ] = None,
    benchmark: Annotated[bool, typer.Option("--benchmark", help="Measure speed here.")] = False,
    receipt: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the receipt there.", show_default=False),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where tars of an address come to.", show_default=False),
    ] = None,
    cache_gb: Annotated[
        float | None, typer.Option(help="Its bound in GB; 64 by default.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """See HELP."""
    import msgspec

    from finedata import api

    def show(found: Any, text: str) -> None:
        typer.echo(msgspec.json.encode(found).decode() if as_json else text)

    opened_shards = api.shards(
        shards, cache=cache, cache_bytes=None if cache_gb is None else round(cache_gb * 1e9)
    )
    if diff is not None:
        found = opened_shards.compare(*diff)
        show(found, _difference_text(found))
        if not (found.same_sequence and found.same_content) or found.differ_by is not None:
            raise typer.Exit(1)
        return
    with opened_shards.stream(
        mix=mix,
        batch=batch,
        seed=seed,
        group=group,
        horizon=horizon,
        words=words,
        traces=traces,
        policy=policy,
        text=text or None,
        side=side,
        size=_size(size),
        workers=workers,
        on_bad=on_bad,
        stop=None if benchmark else batch * batches,
    ) as opened:
        if explain:
            rows = api.explain(opened, *_span(explain))
            show(rows, "\n\n".join(_lineage_text(row) for row in rows))
            return
        if benchmark:
            speed = api.measure(opened, batches=batches)
            show(speed, _speed_text(speed))
            return
        for _ in opened:
            pass
        made = opened.receipt()
    if receipt is not None:
        api.write_receipt(made, receipt)
    if opened_shards.remote is None:
        show(made, api.receipt_text(made))
        return
    place = opened_shards.remote.place
    show(msgspec.to_builtins(made) | traffic_of(place), api.receipt_text(made))
    tell_traffic(place)


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    height, _, width = text.partition("x")
    if not (height.isdigit() and (width or height).isdigit()):
        raise UsageError(place="--size", found=repr(text), wanted="224 or 180x320")
    return int(height), int(width or height)


def _span(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    if not first.isdigit() or (colon and not last.isdigit()):
        raise UsageError(place="--explain", found=repr(text), wanted="n, or n:m with m behind n")
    return int(first), int(last) if colon else int(first) + 1


def _lineage_text(row: dict[str, Any]) -> str:
    source = f"{row['source_file']} at {row['byte_offset']}, {row['byte_length']} bytes"
    lines = [
        f"{row['n']}: {row['view']} of {row['source']}, epoch {row['epoch']}, {row['words']!r}",
        f"  episode {row['episode_id']}, frame {row['frame_index']} ({row['licence']})",
        f"  tar {row['address']}{row['address'] and '/'}{row['tar']}, sample {row['place']}",
        f"  source {source}, record {row['source_record']}",
        f"  gate {row['verdict']}, score {row['gate_score']}, cluster {row['cluster_id']}, "
        f"rank {row['rank']}",
    ]
    made = row["fine_grained"]
    if made is not None:
        lines.append(
            f"  fine text {made['policy']} by {made['annotator']}, run {made['run_id']}, prompt "
            f"{(made['prompt_sha256'] or '-')[:16]}, reviewer {made['reviewer'] or '-'}, "
            f"{len(made['facts'])} facts"
        )
    return "\n".join(lines)


def _difference_text(found: Difference) -> str:
    lines = [
        f"samples: {'the same' if found.same_sequence else 'different sequences'}",
        f"words and numbers: {'the same' if found.same_content else 'different'}",
        f"chains agree up to sample {found.equal_until:,}",
    ]
    if found.differ_by is not None:
        lines.append(f"chains differ before sample {found.differ_by:,}")
    if found.first is not None:
        lines.append(f"first difference: sample {found.first:,}")
        lines.append(f"  a: {found.sample_a}")
        lines.append(f"  b: {found.sample_b}")
    if found.settings:
        lines.append(f"asked differently: {', '.join(found.settings)}")
    for name, numbers in (("a", found.bad_only_a), ("b", found.bad_only_b)):
        if numbers:
            lines.append(f"bad in {name} only: {', '.join(map(str, numbers[:10]))}")
    return "\n".join(lines)


def _speed_text(speed: Speed) -> str:
    peak = "unknown" if speed.peak_bytes is None else f"{speed.peak_bytes / 1e6:,.0f} MB"
    return "\n".join(
        [
            f"{speed.median_samples_per_s:,.0f} samples/s (median of {speed.samples_per_s}), "
            f"{speed.workers} workers",
            f"first batch {speed.first_batch_s} s",
            f"draw {speed.draw_us} µs a sample, numbers and words {speed.join_us} µs a sample",
            f"peak resident memory {peak}, mapped files included",
        ]
    )
