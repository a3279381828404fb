"""What a conversion would do, before it does it: episodes, bytes and seconds.

Counts come from dataset_info.json where it has them; the rest is measured on the first few
records, converted in memory.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.convert.canonical import canonical_motion
from finedata.convert.examine import examine
from finedata.convert.pictures import examine_cameras
from finedata.convert.run import prepare
from finedata.errors import SourceError
from finedata.readers.tfrecord import scan_records

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.convert.context import ConvertOptions
    from finedata.convert.plan import PreparedRun

__all__ = ["Estimate", "estimate"]

_SAMPLED_RECORDS = 5
# Parquet writing and syncing cost about as much again as what the sample measures.
_WRITE_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate; `episodes` is exact where dataset_info.json declares them."""

    episodes: int
    shards: int
    source_bytes: int
    output_bytes: int
    seconds: float
    missing_shards: list[str]
    out: str


def estimate(
    source: str,
    *,
    input: str | Path,
    out: str | Path,
    options: ConvertOptions,
    num_workers: int,
) -> Estimate:
    """Estimate a conversion; writes nothing.

    Raises:
        UsageError: Unknown source, no such input, a wrong option.
        SourceError: The source cannot be read at all.
    """
    run = prepare(source, address=str(input), out=str(out), options=options)
    total = sum(shard.size for shard in run.source.shards)
    count, sampled_bytes, kept_bytes, seconds = _sample(run)
    declared = [shard.declared_records for shard in run.source.shards]
    if all(number is not None for number in declared):
        episodes = sum(number or 0 for number in declared)
    else:
        episodes = round(total * count / sampled_bytes) if sampled_bytes else 0
    share = min(1.0, run.selection.size(episodes) / episodes) if episodes else 1.0
    rate = sampled_bytes / seconds if seconds else 0.0
    return Estimate(
        episodes=round(episodes * share),
        shards=len(run.source.shards),
        source_bytes=round(total * share),
        output_bytes=round(total * share * kept_bytes / sampled_bytes) if sampled_bytes else 0,
        seconds=total * share * _WRITE_FACTOR / rate / num_workers if rate else 0.0,
        missing_shards=list(run.source.missing_shards),
        out=str(out),
    )


def _sample(run: PreparedRun) -> tuple[int, int, int, float]:
    """(records, their bytes, bytes that would be written, seconds) of the first few records."""
    reader = run.source.folder.open(run.source.shards[0].file)
    records = read = kept = 0
    begun = time.perf_counter()
    try:
        for record in itertools.islice(scan_records(reader), _SAMPLED_RECORDS):
            records += 1
            read += record.length
            if record.payload is None:
                continue
            raw = run.source.episode(record.payload)
            converter = run.converter.converter
            try:
                facts = examine(raw, converter, run.cameras)
            except SourceError:
                continue
            canonical_motion(raw, converter, frames=facts.frames)
            pictures = examine_cameras(
                raw,
                run.cameras,
                run.features,
                frames=facts.frames,
                with_stats=run.context.options.image_stats,
            )
            kept += sum(len(examined.data) for examined in pictures.values())
    finally:
        reader.close()
    return records, read, kept, time.perf_counter() - begun
