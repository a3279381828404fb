"""What a conversion would do, before it does it: episodes, bytes and seconds.

Counts come from dataset_info.json where it has them; the rest is measured on the first few
records, converted in memory.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.convert.canonical import canonical_motion
from finedata.convert.planning.examine import examine
from finedata.convert.run import prepare
from finedata.convert.slabs import PictureSlabs
from finedata.convert.source_episode import read_episode
from finedata.convert.work import stored_cameras
from finedata.errors import SourceError
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finedata.convert.context import ConvertOptions
    from finedata.convert.prepared import PreparedRun
    from finedata.readers.episode import Found, RawEpisode

__all__ = ["Estimate", "estimate"]

_SAMPLED_RECORDS = 5
# Parquet writing and syncing cost about as much again as what the sample measures.
_WRITE_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Estimate(Summary):
    """An estimate; `episodes` is exact where dataset_info.json declares them."""

    episodes: int
    shards: int
    source_bytes: int
    output_bytes: int
    seconds: float
    missing_shards: list[str]
    out: str


def estimate(
    sources: Sequence[tuple[str, str]],
    *,
    out: str | Path,
    options: ConvertOptions,
    workers: int,
) -> Estimate:
    """Estimate a conversion; writes nothing.

    Args:
        sources: (converter, address) of each.
        out: The output that is meant.
        options: Choices that change the output.
        workers: Worker processes.

    Raises:
        UsageError: Unknown source, no such input, a wrong option.
        SourceError: The source cannot be read at all.
    """
    run = prepare(sources, out=str(out), options=options)
    shards = [shard for source in run.sources for shard in source.shards]
    total = sum(shard.size for shard in shards)
    count, sampled_bytes, kept_bytes, seconds = _sample(run)
    declared = [shard.declared_records for shard in shards]
    if all(number is not None for number in declared):
        episodes = sum(number or 0 for number in declared)
    else:
        episodes = round(total * count / sampled_bytes) if sampled_bytes else len(shards)
    share = min(1.0, run.selection.size(episodes) / episodes) if episodes else 1.0
    rate = sampled_bytes / seconds if seconds else 0.0
    return Estimate(
        episodes=round(episodes * share),
        shards=len(shards),
        source_bytes=round(total * share),
        output_bytes=round(total * share * kept_bytes / sampled_bytes) if sampled_bytes else 0,
        seconds=total * share * _WRITE_FACTOR / rate / workers if rate else 0.0,
        missing_shards=run.missing_shards,
        out=str(out),
    )


def _sample(run: PreparedRun) -> tuple[int, int, int, float]:
    """(records, their bytes, bytes that would be written, seconds) of the first few records."""
    records = read = kept = 0
    begun = time.perf_counter()
    for source, shard in run.units:
        described = run.sources[source].shards[shard]
        for found, raw in run.sources[source].scan(shard):
            records += 1
            read += (
                found.length
                if run.sources[source].byte_ranges
                else described.size // (described.declared_records or 1)
            )
            if raw is not None:
                kept += _convert_in_memory(run, source, shard, found, raw)
            if records >= _SAMPLED_RECORDS:
                break
        if records >= _SAMPLED_RECORDS:
            break
    return records, read, kept, time.perf_counter() - begun


def _convert_in_memory(
    run: PreparedRun, source: int, shard: int, found: Found, raw: RawEpisode
) -> int:
    """Bytes of pictures and videos that an episode would write."""
    options, opened = run.context.options, run.sources[source]
    try:
        episode = read_episode(
            raw,
            run.converters[source].converter,
            options,
            source=opened,
            shard=shard,
            reader=run.context.sources[source].reader,
            found=found,
        )
        facts = examine(episode, options, folder=opened.folder, source_number=source)
    except SourceError:
        return 0
    if episode.variant.space != "undeclared":
        canonical_motion(episode.view, episode.variant, frames=facts.frames)
    stored = stored_cameras(facts.layout, options)
    pictures = PictureSlabs(episode.view, stored, frames=facts.frames, options=options)
    stored_bytes = sum(len(data) for _, _, slab in pictures.slabs() for data, _ in slab.values())
    return stored_bytes + sum(clip.size for clip in facts.clips)
