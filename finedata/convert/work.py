"""The work: one data file of the plan, and the videos of its episodes, by one worker.

Nothing here decides where anything goes, and a slab of one episode is in memory at a time. The
result tells each episode's receipt and statistics. Whatever could fail an episode was tried by
the plan, so an error here stops the run, resumable.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from finedata.convert.checks import arm_receipt, column_flags, motion_flags
from finedata.convert.columns import episode_numbers
from finedata.convert.context import decoded_converter, opened_source
from finedata.convert.planning.layout_columns import sorted_arms
from finedata.convert.slabs import PictureSlabs
from finedata.convert.source_episode import read_episode
from finedata.convert.videos.movies import clip_receipt, write_clips
from finedata.errors import SourceError
from finedata.store.atomic import sync_folder
from finedata.store.lerobot.layout import data_path, picture_column
from finedata.store.lerobot.stats import FeatureStats, numeric_stats
from finedata.store.lerobot.write import (
    DataFileWriter,
    arrow_column,
    data_schema,
    picture_array,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import pyarrow as pa

    from finedata.convert.columns import EpisodeNumbers
    from finedata.convert.context import ConvertOptions, RunContext
    from finedata.convert.forms import EpisodeView
    from finedata.convert.pictures import CameraPictures
    from finedata.convert.planning.assign import EpisodeJob, FileJob
    from finedata.convert.planning.layout import CameraLayout, PartLayout
    from finedata.readers.episode import OpenShard, Source
    from finedata.schema.converter import Variant


class EpisodeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one written episode, beside its rows."""

    source_sha256: str
    source_bytes: int
    images: list[dict[str, Any]]
    arms: list[dict[str, Any]]
    flags: list[str]
    cameras_missing: list[str]
    action_origin: str
    stats: dict[str, FeatureStats]


class FileResult(msgspec.Struct, frozen=True, kw_only=True):
    """One finished data file: its size, those of its videos, and its episodes in order."""

    part: int
    file_number: int
    sequence: int
    size: int
    videos: dict[str, int]
    episodes: list[EpisodeResult]


def file_kind(part: int) -> str:
    """The ledger's kind of a part's finished data files."""
    return f"file {part}"


def file_is_there(job: FileJob, result: FileResult) -> bool:
    """Whether a data file and its videos lie on the disk as they were written."""
    root = Path(job.context.out) / job.part_path
    wanted = {data_path(job.file_number)[0]: result.size} | result.videos
    return all(
        (root / name).is_file() and (root / name).stat().st_size == size
        for name, size in wanted.items()
    )


def write_file(job: FileJob) -> FileResult:
    """Write one data file of the plan.

    Raises:
        OutputError: The file cannot be written.
        SourceError: The source changed since it was planned.
    """
    root = Path(job.context.out) / job.part_path
    path = root / data_path(job.file_number)[0]
    schema = part_schema(job)
    results: list[EpisodeResult] = []
    videos: dict[str, int] = {}
    with closing(OpenShards(job.context)) as shards, DataFileWriter(path, schema) as file:
        for episode in job.episodes:
            with shards.view(episode) as (view, variant):
                result = _convert_episode(view, variant, episode, job, file, schema)
                source = opened_source(*shards.address(episode.source))
                with _source_errors(episode.plan.locator):
                    written, lost = write_clips(
                        view, job.layout, episode, root, source.folder, job.context.options
                    )
                videos |= written
                results.append(without_videos(result, lost))
    for folder in sorted({(root / name).parent for name in videos}):
        sync_folder(folder)  # once for all links of this file's episodes
    return FileResult(
        part=job.part,
        file_number=job.file_number,
        sequence=job.sequence,
        size=path.stat().st_size,
        videos=videos,
        episodes=results,
    )


def without_videos(result: EpisodeResult, lost: Sequence[str]) -> EpisodeResult:
    """The result of an episode some of whose videos could not be read: black ones stand there."""
    if not lost:
        return result
    flags = {*result.flags, "undecodable_picture", "placeholder_pictures"}
    images = [
        image | {"placeholder_count": image["count"], "codec": "h264"}
        if image["camera"] in lost
        else image
        for image in result.images
    ]
    return msgspec.structs.replace(result, flags=sorted(flags), images=images)


def part_schema(job: FileJob) -> pa.Schema:
    """The Arrow schema of a part's data files."""
    canonical = "observation.state" in job.layout.features and _space(job) != "undeclared"
    return data_schema(job.layout.features, canonical=canonical)


def _space(job: FileJob) -> str:
    described = job.context.sources[job.layout.source]
    return decoded_converter(described).converter.variants[job.layout.variant].space


class OpenShards:
    """The shard that is being read; episodes come in shard order, so one is enough."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._open: tuple[int, int] = (-1, -1)
        self._shard: OpenShard | None = None

    def address(self, source: int) -> tuple[str, str]:
        """Address and reader of a source of the run."""
        described = self._context.sources[source]
        return described.address, described.reader

    @contextmanager
    def view(self, job: EpisodeJob) -> Generator[tuple[EpisodeView, Variant]]:
        """The episode that the plan found, as its form sees it.

        Raises:
            SourceError: It is no longer there, or cannot be read any more.
        """
        source = opened_source(*self.address(job.source))
        file = source.shards[job.shard].file
        place = f"record {job.plan.record} of {file}"
        with _source_errors(place):
            raw = self._shard_of(source, job).episode(job.plan.found)
        try:
            described = self._context.sources[job.source]
            episode = read_episode(
                raw,
                decoded_converter(described).converter,
                self._context.options,
                source=source,
                shard=job.shard,
                reader=described.reader,
                found=job.plan.found,
                variant=job.plan.variant,
            )
            yield episode.view, episode.variant
        finally:
            raw.close()

    def _shard_of(self, source: Source, job: EpisodeJob) -> OpenShard:
        if self._shard is None or self._open != (job.source, job.shard):
            self.close()
            self._shard = source.open_shard(job.shard)
            self._open = (job.source, job.shard)
        return self._shard

    def close(self) -> None:
        """Close the shard."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None


@contextmanager
def _source_errors(place: str) -> Generator[None]:
    """Say of a failing read that it is the source's: around us errors are the output's."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            place=place,
            found=f"{error.strerror or error}",
            wanted="bytes that could be read when it was planned",
            next_command="run the same command again: it continues where it stopped",
        ) from error


def _convert_episode(
    view: EpisodeView,
    variant: Variant,
    episode: EpisodeJob,
    job: FileJob,
    file: DataFileWriter,
    schema: pa.Schema,
) -> EpisodeResult:
    """Write an episode's rows, a slab at a time."""
    numbers = episode_numbers(view, variant, job.layout, episode)
    fields = cast("Any", schema)  # the stub gives fields without their type
    arrays = {
        name: arrow_column(values, fields.field(name)) for name, values in numbers.columns.items()
    }
    cameras = stored_cameras(job.layout, job.context.options)
    pictures = PictureSlabs(view, cameras, frames=episode.plan.frames, options=job.context.options)
    for first, last, found in pictures.slabs():
        rows = {name: array.slice(first, last - first) for name, array in arrays.items()}
        rows |= {picture_column(name): picture_array(*slab) for name, slab in found.items()}
        file.write_rows(rows)
        del rows, found  # or one slab would still be held while the next is read
    return episode_result(
        view,
        variant,
        episode,
        numbers,
        pictures.results(),
        layout=job.layout,
        options=job.context.options,
    )


def stored_cameras(layout: PartLayout, options: ConvertOptions) -> list[CameraLayout]:
    """The cameras whose pictures are stored in the rows."""
    if options.transcode is not None:
        return []
    return [camera for camera in layout.cameras if camera.kind == "pictures"]


def known_digests(
    cameras: Sequence[CameraLayout], pictures: Mapping[str, CameraPictures]
) -> dict[str, tuple[str, np.ndarray]]:
    """Features whose pictures were hashed as they are: what `RawEpisode.digest` need not redo."""
    return {
        camera.feature: (pictures[camera.name].sha256, pictures[camera.name].lengths)
        for camera in cameras
        if pictures[camera.name].verbatim
    }


def episode_result(
    view: EpisodeView,
    variant: Variant,
    episode: EpisodeJob,
    numbers: EpisodeNumbers,
    pictures: dict[str, CameraPictures],
    *,
    layout: PartLayout,
    options: ConvertOptions,
) -> EpisodeResult:
    """What is told of an episode in its receipt, its row and its statistics.

    Args:
        view: The episode as its form sees it.
        variant: Its form.
        episode: Its place in the output.
        numbers: Its converted numbers.
        pictures: What was seen of the pictures that are stored in rows, by camera.
        layout: That of its part.
        options: Those of the conversion.

    Raises:
        SourceError: The record cannot be read for its digest.
    """
    cameras = stored_cameras(layout, options)
    stats = numeric_stats(
        {name: values for name, values in numbers.columns.items() if values.dtype != np.object_}
    )
    for name, found in pictures.items():
        if found.stats is not None:
            stats[picture_column(name)] = found.stats
    motion = numbers.motion
    arms = sorted_arms(variant) if motion is not None else []
    flags = set(episode.plan.flags) | _plan_flags(episode) | _picture_flags(pictures)
    flags |= column_flags(numbers.columns) if motion is None else motion_flags(motion)
    flags |= _camera_flags(layout, options)
    images = [_image_receipt(camera, pictures[camera.name], options) for camera in cameras]
    absent = [clip.plan.camera for clip in episode.clips if not view.has(clip.plan.feature)]
    images += [
        clip_receipt(clip, episode.plan.frames, options, absent=clip.plan.camera in absent)
        for clip in episode.clips
    ]
    flags |= {"camera_missing", "placeholder_pictures"} if absent else set[str]()
    return EpisodeResult(
        source_sha256=view.digest(known_digests(cameras, pictures)),
        source_bytes=episode.plan.length,
        images=images,
        arms=[
            arm_receipt(arm, spec)
            for arm, spec in zip(motion.arms if motion else (), arms, strict=True)
        ],
        flags=sorted(flags),
        cameras_missing=[name for name, found in pictures.items() if found.missing] + absent,
        action_origin="recorded" if motion is None else motion.action_origin,
        stats=stats,
    )


def _image_receipt(
    camera: CameraLayout, pictures: CameraPictures, options: ConvertOptions
) -> dict[str, Any]:
    return {
        "camera": camera.name,
        "count": len(pictures.lengths),
        "sha256": pictures.sha256,
        "placeholder_count": pictures.placeholder_count,
        "channel_order": "rgb" if options.fix_colour else camera.channel_order,
        "codec": pictures.codec,
    }


def _camera_flags(layout: PartLayout, options: ConvertOptions) -> set[str]:
    swapped = any(camera.channel_order == "bgr" for camera in layout.cameras)
    kept = not options.fix_colour and options.transcode is None
    if not swapped:
        return set()
    return {"channel_order_bgr"} if kept else {"colour_fixed"}


def _picture_flags(pictures: dict[str, CameraPictures]) -> set[str]:
    found = pictures.values()
    raised = {
        "undecodable_picture": any(camera.undecodable_count for camera in found),
        "picture_size_differs": any(camera.other_size_count for camera in found),
        "placeholder_pictures": any(camera.placeholder_count for camera in found),
        "camera_missing": any(camera.missing for camera in found),
        "raw_pictures": any(camera.raw_count for camera in found),
    }
    return {name for name, is_raised in raised.items() if is_raised}


def _plan_flags(episode: EpisodeJob) -> set[str]:
    plan = episode.plan
    raised = {
        "empty_instruction": not plan.language.instructions,
        "instruction_varies": plan.language.varies,
        "frames_dropped": plan.frames < plan.frames_read,
        "no_last_step_mark": plan.last_step_marks == 0,
        "extra_last_step_marks": plan.last_step_marks > 1,
    }
    return {name for name, is_raised in raised.items() if is_raised}
