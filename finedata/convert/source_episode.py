"""One episode of a source, set up to be read: the one place that does it.

Planning, working, estimating, drafting and proving all see an episode in the same way: the form
that knows it, without what this episode lacks, its cameras by name, and its features as that form
sees them. What one of them decodes, the next need not decode again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.convert.cameras import resolved_cameras
from finedata.convert.forms import choose_variant, fitted_variant, view_episode

if TYPE_CHECKING:
    from finedata.convert.context import ConvertOptions
    from finedata.convert.forms import EpisodeView
    from finedata.readers.episode import Found, RawEpisode, Shard, Source
    from finedata.schema.converter import CameraSpec, Converter, Variant


@dataclass(frozen=True, slots=True)
class SourceEpisode:
    """An episode as its form sees it.

    Attributes:
        raw: As the reader gives it; it is the caller's to close.
        shard: The file that holds it.
        number: Of its form, among the converter's variants.
        declared: The form as the converter file has it.
        variant: The form without what may be absent and is not there.
        cameras: Its cameras, patterns resolved; only those asked for.
        view: Its features; each is decoded once.
    """

    raw: RawEpisode
    shard: Shard
    number: int
    declared: Variant
    variant: Variant
    cameras: tuple[CameraSpec, ...]
    view: EpisodeView


def read_episode(
    raw: RawEpisode,
    converter: Converter,
    options: ConvertOptions,
    *,
    source: Source,
    shard: int,
    reader: str,
    found: Found,
    variant: int | None = None,
) -> SourceEpisode:
    """See an episode as its form does; numbers and pictures are read when they are asked for.

    Args:
        raw: From `Source.scan` or `OpenShard.episode`.
        converter: That of its source.
        options: Choices of the conversion; `cameras` counts here.
        source: Where it is.
        shard: Number of its shard there.
        reader: The file family that the source was opened as.
        found: Its place in the shard.
        variant: Number of its form, where that is known; else the first whose signature holds.

    Raises:
        UnknownFormError: No form knows it.
        SourceError: What tells its form cannot be read.
    """
    described = source.shards[shard]
    if variant is None:
        variant = choose_variant(raw, converter.variants, shard=described, reader=reader)
    declared = converter.variants[variant]
    fitted = fitted_variant(raw, declared)
    cameras = resolved_cameras(raw, fitted, options)
    view = view_episode(raw, fitted, cameras, shard=described, number=shard, found=found)
    return SourceEpisode(raw, described, variant, declared, fitted, cameras, view)
