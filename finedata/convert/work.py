"""The work: one data file of the plan, written by one worker.

A `FileJob` comes in; a finished Parquet file lies on the disk and a `FileResult` goes out, with
each episode's receipt and statistics. One episode is in memory at a time. Nothing here decides
where anything goes; whatever could fail an episode was tried by the plan, so an error here
stops the run, resumable.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from finedata.convert.canonical import canonical_motion
from finedata.convert.checks import arm_receipt, motion_flags
from finedata.convert.context import (
    chosen_cameras,
    decoded_converter,
    opened_source,
    part_features,
)
from finedata.convert.digest import record_sha256
from finedata.convert.pictures import CameraPictures, examine_cameras
from finedata.errors import SourceError
from finedata.store.lerobot.layout import data_path, picture_column
from finedata.store.lerobot.stats import FeatureStats, numeric_stats
from finedata.store.lerobot.write import (
    DataFileWriter,
    arrow_column,
    data_schema,
    picture_array,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    import pyarrow as pa

    from finedata.convert.canonical import CanonicalMotion
    from finedata.convert.context import RunContext
    from finedata.convert.plan import EpisodeJob, FileJob
    from finedata.readers.files import RangeReader
    from finedata.readers.rlds import RldsSource
    from finedata.schema.converter import CameraSpec, Converter
    from finedata.store.lerobot.layout import Feature

__all__ = ["EpisodeResult", "FileResult", "episode_columns", "read_payload", "write_file"]


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
    """One finished data file: its size, and its episodes in order."""

    file_number: int
    size: int
    episodes: list[EpisodeResult]


def write_file(job: FileJob) -> FileResult:
    """Write one data file of the plan.

    Raises:
        OutputError: The file cannot be written.
        SourceError: The source changed since it was planned.
    """
    setup = _set_up(job.context)
    path = Path(job.context.out) / data_path(job.file_number)[0]
    results: list[EpisodeResult] = []
    with (
        closing(_OpenShards(setup.source)) as shards,
        DataFileWriter(path, setup.schema) as file,
    ):
        for episode in job.episodes:
            payload = read_payload(shards.reader(episode.shard), episode)
            columns, result = _convert_episode(payload, episode, setup)
            file.write_episode(columns)
            results.append(result)
    return FileResult(file_number=job.file_number, size=path.stat().st_size, episodes=results)


@dataclass(frozen=True, slots=True)
class _Setup:
    """What is the same for all episodes of a run, made once a file."""

    source: RldsSource
    converter: Converter
    cameras: tuple[CameraSpec, ...]
    features: dict[str, Feature]
    schema: pa.Schema
    image_stats: bool


def _set_up(context: RunContext) -> _Setup:
    source = opened_source(context.address)
    converter = decoded_converter(context.converter_text, context.converter_origin).converter
    cameras = chosen_cameras(converter, source, context.options)
    features = part_features(converter, source, cameras)
    schema = data_schema(features)
    return _Setup(source, converter, cameras, features, schema, context.options.image_stats)


class _OpenShards:
    """The shard that is being read; episodes come in shard order, so one is enough."""

    def __init__(self, source: RldsSource) -> None:
        self._source = source
        self._number = -1
        self._reader: RangeReader | None = None

    def reader(self, number: int) -> RangeReader:
        if self._reader is None or number != self._number:
            self.close()
            with _source_errors(self._source.shards[number].file):
                self._reader = self._source.folder.open(self._source.shards[number].file)
            self._number = number
        return self._reader

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def read_payload(reader: RangeReader, episode: EpisodeJob) -> bytes:
    """Read the record that the plan found.

    Raises:
        SourceError: It is no longer there, or cannot be read any more.
    """
    place = f"record {episode.plan.record} of shard {episode.shard}"
    with _source_errors(place):
        payload = reader.read(episode.plan.offset, episode.plan.length)
    if len(payload) != episode.plan.length:
        raise SourceError(
            place=place,
            found=f"{len(payload)} bytes",
            wanted=f"{episode.plan.length}, as when it was planned",
            next_command="restore the source file, then run the same command again",
        )
    return payload


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
    payload: bytes, episode: EpisodeJob, setup: _Setup
) -> tuple[dict[str, pa.Array[Any]], EpisodeResult]:
    converter, frames = setup.converter, episode.plan.frames
    raw = setup.source.episode(payload)
    motion = canonical_motion(raw, converter, frames=frames)
    numbers = episode_columns(motion, episode, fps=converter.time.fps)
    schema = cast("Any", setup.schema)  # the stub gives fields without their type
    columns = {name: arrow_column(values, schema.field(name)) for name, values in numbers.items()}
    stats = numeric_stats(numbers)
    pictures = examine_cameras(
        raw, setup.cameras, setup.features, frames=frames, with_stats=setup.image_stats
    )
    for name, examined in pictures.items():
        columns[picture_column(name)] = picture_array(examined.data, examined.lengths)
        if examined.stats is not None:
            stats[picture_column(name)] = examined.stats
    result = EpisodeResult(
        source_sha256=record_sha256(payload, raw, setup.cameras, pictures),
        source_bytes=len(payload),
        images=[_image_receipt(name, found) for name, found in pictures.items()],
        arms=[
            arm_receipt(arm, spec) for arm, spec in zip(motion.arms, converter.arms, strict=True)
        ],
        flags=sorted(motion_flags(motion) | _picture_flags(pictures) | _plan_flags(episode)),
        cameras_missing=[name for name, found in pictures.items() if found.missing],
        action_origin=motion.action_origin,
        stats=stats,
    )
    return columns, result


def episode_columns(
    motion: CanonicalMotion, episode: EpisodeJob, *, fps: float
) -> dict[str, np.ndarray]:
    """Every numeric column of an episode's rows: name to (T,) or (T, n)."""
    frames = episode.plan.frames
    frame_index = np.arange(frames, dtype=np.int64)
    return {
        "observation.state": motion.state(),
        "action": motion.action(),
        "action_valid": motion.action_valid,
        # LeRobot looks frames up by this very quotient.
        "timestamp": (frame_index / fps).astype(np.float32),
        "frame_index": frame_index,
        "episode_index": np.full(frames, episode.episode_index, np.int64),
        "index": episode.first_index + frame_index,
        "task_index": np.full(frames, episode.task_index, np.int64),
    }


def _image_receipt(camera: str, pictures: CameraPictures) -> dict[str, Any]:
    return {
        "camera": camera,
        "count": len(pictures.lengths),
        "sha256": pictures.sha256,
        "placeholder_count": pictures.placeholder_count,
        "channel_order": "rgb",
        "codec": pictures.codec,
    }


def _picture_flags(pictures: dict[str, CameraPictures]) -> set[str]:
    found = pictures.values()
    raised = {
        "undecodable_picture": any(camera.undecodable_count for camera in found),
        "picture_size_differs": any(camera.other_size_count for camera in found),
        "placeholder_pictures": any(camera.placeholder_count for camera in found),
        "camera_missing": any(camera.missing for camera in found),
    }
    return {name for name, is_raised in raised.items() if is_raised}


def _plan_flags(episode: EpisodeJob) -> set[str]:
    plan = episode.plan
    raised = {
        "empty_instruction": not plan.instructions,
        "instruction_varies": plan.instruction_varies,
        "frames_dropped": plan.frames < plan.frames_read,
        "no_last_step_mark": plan.last_step_marks == 0,
        "extra_last_step_marks": plan.last_step_marks > 1,
    }
    return {name for name, is_raised in raised.items() if is_raised}
