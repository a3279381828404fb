"""The commit: when every data file is there, the tables that describe them, marker last.

The ledger comes in (shard plans and file results, streamed in order, so memory stays flat);
each part's `meta/`, `curation/receipts.parquet`, the annotations that came with the source, and
at the very end `finedata.json` go out. Everything is derived from plans and results, so it is the
same however often the run was interrupted.
"""

from __future__ import annotations

import shutil
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pyarrow as pa

import finedata
from finedata.convert.context import library_versions
from finedata.convert.plan import RecordPlan, ShardPlan
from finedata.convert.work import EpisodeResult, FileResult, file_kind
from finedata.schema.conform import conform
from finedata.schema.identity import hash16, task_id
from finedata.schema.tables import arrow_schema
from finedata.store.annotation_rows import (
    instruction_rows,
    instructions_table,
    step_rows,
    steps_table,
)
from finedata.store.atomic import write_atomic
from finedata.store.dataset_file import DATASET_FILE, PartEntry, SourceEntry
from finedata.store.lerobot.layout import (
    EPISODES_PER_META_FILE,
    INFO_PATH,
    data_path,
    episodes_path,
    info_json,
    picture_column,
    video_path,
)
from finedata.store.lerobot.stats import FeatureStats, StatsMerger
from finedata.store.lerobot.write import stats_columns, write_stats, write_tasks
from finedata.store.row_file import RowFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from finedata.convert.assign import Assigner, EpisodeJob, Part
    from finedata.convert.prepared import PreparedRun
    from finedata.readers.episode import Source
    from finedata.schema.converter import Variant
    from finedata.schema.converter_file import ConverterFile
    from finedata.store.lerobot.layout import Feature

__all__ = ["Finished", "commit"]

_RECEIPTS_PATH = "curation/receipts.parquet"
# Statistics of a camera that was not there (every picture is black) or that is a video, which
# is not decoded: LeRobot's tools want an entry for every feature of every episode. None counts.
_ZERO = [0.0, 0.0, 0.0]
_NAMES = ("min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99")
_BLACK_STATS: FeatureStats = {**dict.fromkeys(_NAMES, _ZERO), "count": [0.0]}
_VIDEO_STATS: FeatureStats = {
    "min": _ZERO,
    "max": [1.0, 1.0, 1.0],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "q01": _ZERO,
    "q10": [0.1, 0.1, 0.1],
    "q50": [0.5, 0.5, 0.5],
    "q90": [0.9, 0.9, 0.9],
    "q99": [1.0, 1.0, 1.0],
    "count": [0.0],
}
_COUNTS = ("found", "written", "failed", "frames_read", "frames_written", "frames_dropped")


@dataclass(slots=True)
class _PartTally:
    """What is gathered of a part while its rows stream by."""

    results: Iterator[tuple[int, EpisodeResult]]
    merger: StatsMerger = field(default_factory=StatsMerger)
    codecs: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, job: EpisodeJob, result: EpisodeResult, run: PreparedRun) -> None:
        """Take in an episode."""
        self.merger.add(result.stats)
        for clip in job.clips:
            codec = run.context.options.transcode or clip.plan.codec
            self.codecs.setdefault(picture_column(clip.plan.camera), codec)


class Finished(Protocol):
    """What was finished: a ledger, or all those of a sharded run."""

    def payloads(self, kind: str) -> Iterator[bytes]:
        """The payloads of a kind in the order of their numbers."""
        ...


def commit(run: PreparedRun, ledger: Finished) -> dict[str, int]:
    """Write every table of the dataset, and the marker.

    Returns:
        Counts: found, written, failed, frames_read, frames_written, frames_dropped.
    """
    out = Path(run.context.out)
    # A commit that was interrupted may have left rows of another number of files behind.
    shutil.rmtree(out / "annotations", ignore_errors=True)
    writer = _RowWriter(run, ledger)
    writer.write()
    for number, part in enumerate(writer.assigner.parts):
        _write_part(run, out / part.path, part, writer.tallies[number])
    counts = {name: writer.counts[name] for name in _COUNTS}
    write_atomic(out / DATASET_FILE, _marker(run, writer.assigner, counts))
    return counts


def _write_part(run: PreparedRun, root: Path, part: Part, tally: _PartTally) -> None:
    """The files of a part's meta/ that come last."""
    features = _stats_features(part, run)
    stats = tally.merger.result()
    for name, feature in features.items():
        stats.setdefault(name, _placeholder_stats(feature))
    write_tasks(root, list(part.tasks))
    write_stats(root, features, stats)
    info = info_json(
        part.layout.features,
        robot_type=part.layout.embodiment,
        fps=part.layout.fps,
        total_episodes=part.episodes,
        total_frames=part.frames,
        total_tasks=len(part.tasks),
        splits=part.splits,
        codecs=tally.codecs,
    )
    write_atomic(root / INFO_PATH, info)


def _stats_features(part: Part, run: PreparedRun) -> dict[str, Feature]:
    return {
        name: feature
        for name, feature in part.layout.features.items()
        if feature.dtype != "image" or run.context.options.image_stats
    }


def _placeholder_stats(feature: Feature) -> FeatureStats:
    return _VIDEO_STATS if feature.dtype == "video" else _BLACK_STATS


class _RowWriter:
    """Streams receipts, episodes and annotations into their files."""

    def __init__(self, run: PreparedRun, ledger: Finished) -> None:
        self._run = run
        self._ledger = ledger
        self._out = Path(run.context.out)
        self.assigner: Assigner = run.assigner()
        self.tallies: list[_PartTally] = []
        self.counts: Counter[str] = Counter()
        self._episode_files: list[_EpisodeFiles] = []
        self._runs = [hash16(file.sha256 + run.context.options.sha256) for file in run.converters]

    def write(self) -> None:
        """Write them all."""
        with ExitStack() as stack:
            receipts = stack.enter_context(RowFile(self._out / _RECEIPTS_PATH, _receipts_table))
            instructions = _LazyFile(stack, self._out, "instructions", instructions_table)
            steps = _LazyFile(stack, self._out, "steps", steps_table)
            for record, plan in self._records():
                if isinstance(record, RecordPlan):
                    self.counts.update(("found", "failed"))
                    receipts.add(_failed_receipt(self._run, plan, record))
                    continue
                part = self.assigner.parts[record.part]
                tally, files = self._part(record.part, stack)
                file_number, result = next(tally.results)
                self._count(record.plan)
                tally.add(record, result, self._run)
                receipts.add(_written_receipt(self._run, part, record, result))
                files.add(_episode_row(self._run, part, record, result, file_number), result.stats)
                identity, language = record.plan.episode_id, record.plan.language
                run_id = self._runs[record.source]
                for row in instruction_rows(identity, language, run_id=run_id):
                    instructions.add(row)
                for row in step_rows(identity, language, fps=part.layout.fps, run_id=run_id):
                    steps.add(row)

    def _count(self, plan: RecordPlan) -> None:
        self.counts.update(("found", "written"))
        self.counts["frames_read"] += plan.frames_read
        self.counts["frames_written"] += plan.frames
        self.counts["frames_dropped"] += plan.frames_read - plan.frames

    def _part(self, number: int, stack: ExitStack) -> tuple[_PartTally, _EpisodeFiles]:
        while len(self.tallies) <= number:
            part = self.assigner.parts[len(self.tallies)]
            self.tallies.append(_PartTally(self._results(len(self.tallies))))
            files = _EpisodeFiles(
                self._out / part.path,
                _stats_features(part, self._run),
                videos=[
                    name
                    for name, feature in part.layout.features.items()
                    if feature.dtype == "video"
                ],
            )
            self._episode_files.append(stack.enter_context(files))
        return self.tallies[number], self._episode_files[number]

    def _records(self) -> Iterator[tuple[RecordPlan | EpisodeJob, ShardPlan]]:
        """Every selected record in the sources' order, with what became of it."""
        decoder = msgspec.msgpack.Decoder(ShardPlan)
        for payload in self._ledger.payloads("shard"):
            if self.assigner.finished:
                return
            plan = decoder.decode(payload)
            placed, _ = self.assigner.add(plan)
            for record in placed:
                yield record, plan

    def _results(self, part: int) -> Iterator[tuple[int, EpisodeResult]]:
        """Every written episode of a part in order, with the number of its data file."""
        decoder = msgspec.msgpack.Decoder(FileResult)
        for payload in self._ledger.payloads(file_kind(part)):
            result = decoder.decode(payload)
            for episode in result.episodes:
                yield result.file_number, episode


class _LazyFile:
    """A table that is written only where it has a row."""

    def __init__(
        self,
        stack: ExitStack,
        out: Path,
        table: str,
        build: Callable[[list[dict[str, Any]]], pa.Table],
    ) -> None:
        self._stack = stack
        self._path = out / "annotations" / table / "part-00000.parquet"
        self._build = build
        self._file: RowFile[dict[str, Any]] | None = None

    def add(self, row: dict[str, Any]) -> None:
        if self._file is None:
            self._file = self._stack.enter_context(RowFile(self._path, self._build))
        self._file.add(row)


def _revision(source: Source, file: ConverterFile) -> str:
    """The source's own version, or the one that the converter was written for."""
    return source.version or file.converter.revision


def _receipt(run: PreparedRun, number: int, shard: int, plan: RecordPlan) -> dict[str, Any]:
    source, file = run.sources[number], run.converters[number]
    return {
        "episode_id": plan.episode_id,
        "source": file.converter.name,
        "source_revision": _revision(source, file),
        "locator": plan.locator,
        "source_file": source.shards[shard].file,
        "source_record": plan.record,
        "byte_offset": plan.offset if source.byte_ranges else None,
        "byte_length": plan.length if source.byte_ranges else None,
        "converter_sha256": file.sha256,
        "options_sha256": run.context.options.sha256,
        "finedata_version": finedata.__version__,
        "frames_read": plan.frames_read,
        "instruction_count": len(plan.language.instructions),
        "time_base": plan.time_base,
        "fps_measured": plan.fps_measured,
        "dt_max_s": plan.dt_max_s,
    }


def _failed_receipt(run: PreparedRun, shard: ShardPlan, plan: RecordPlan) -> dict[str, Any]:
    return _receipt(run, shard.source, shard.shard, plan) | {
        "status": "failed",
        "reason": plan.reason,
        "message": plan.message,
        "part": None,
        "frames_written": 0,
        "frames_dropped": plan.frames_read,
        "images": [],
        "arms": [],
        "flags": [],
    }


def _written_receipt(
    run: PreparedRun, part: Part, job: EpisodeJob, result: EpisodeResult
) -> dict[str, Any]:
    plan = job.plan
    return _receipt(run, job.source, job.shard, plan) | {
        "status": "written",
        "part": part.name,
        "source_sha256": result.source_sha256,
        "frames_written": plan.frames,
        "frames_dropped": plan.frames_read - plan.frames,
        "images": result.images,
        "action_origin": result.action_origin,
        "arms": result.arms,
        "flags": result.flags,
    }


def _episode_row(
    run: PreparedRun, part: Part, job: EpisodeJob, result: EpisodeResult, file_number: int
) -> dict[str, Any]:
    source, file = run.sources[job.source], run.converters[job.source]
    variant: Variant = file.converter.variants[job.plan.variant]
    plan, layout = job.plan, part.layout
    frames = {arm.name: arm.tool_frame for arm in variant.arms if arm.state.position is not None}
    _, data_chunk, data_file = data_path(file_number)
    row = {
        "episode_id": plan.episode_id,
        "part": part.name,
        "episode_index": job.episode_index,
        "source": file.converter.name,
        "source_revision": _revision(source, file),
        "split": plan.split or None,
        "embodiment": layout.embodiment,
        "length": plan.frames,
        "fps": layout.fps,
        "duration_s": plan.frames / layout.fps,
        "start_time_unix_s": plan.start_unix_s,
        "task": plan.task,
        "task_id": task_id(plan.task),
        "task_index": job.task_index,
        "tasks": [plan.task],
        "success": plan.success,
        "arms": sorted((arm.name for arm in variant.arms), key=lambda name: name != "right"),
        "space": variant.space,
        "right_tool_frame": frames.get("right"),
        "left_tool_frame": frames.get("left"),
        "action_origin": result.action_origin,
        "cameras": sorted(camera.name for camera in layout.cameras),
        "cameras_missing": sorted(result.cameras_missing),
        "licence": file.converter.licence,
        "data/chunk_index": data_chunk,
        "data/file_index": data_file,
        "dataset_from_index": job.first_index,
        "dataset_to_index": job.first_index + plan.frames,
    }
    for clip in job.clips:
        name = f"videos/{picture_column(clip.plan.camera)}"
        _, chunk_index, file_index = video_path(clip.plan.camera, clip.file_number)
        row[f"{name}/chunk_index"] = chunk_index
        row[f"{name}/file_index"] = file_index
        row[f"{name}/from_timestamp"] = clip.from_s
        row[f"{name}/to_timestamp"] = clip.to_s
    return row


_LEROBOT_COLUMNS = (
    "data/chunk_index",
    "data/file_index",
    "dataset_from_index",
    "dataset_to_index",
    "meta/episodes/chunk_index",
    "meta/episodes/file_index",
)

_VIDEO_COLUMNS = (
    ("chunk_index", pa.int64()),
    ("file_index", pa.int64()),
    ("from_timestamp", pa.float64()),
    ("to_timestamp", pa.float64()),
)


def _receipts_table(rows: list[dict[str, Any]]) -> pa.Table:
    return conform(pa.Table.from_pylist(rows, schema=arrow_schema("receipts")), "receipts")


class _EpisodeFiles:
    """meta/episodes: rows with their statistics, in files of a fixed number of episodes."""

    def __init__(self, root: Path, features: dict[str, Feature], *, videos: Sequence[str]) -> None:
        self._out = root
        self._features = features
        self._videos = videos
        self._count = 0
        self._file: RowFile[tuple[dict[str, Any], dict[str, FeatureStats]]] | None = None

    def __enter__(self) -> Self:
        return self

    def add(self, row: dict[str, Any], stats: dict[str, FeatureStats]) -> None:
        number, inside = divmod(self._count, EPISODES_PER_META_FILE)
        path, chunk_index, file_index = episodes_path(number)
        if self._file is None or inside == 0:
            self.__exit__(None, None, None)
            self._file = RowFile(self._out / path, self._table).__enter__()
        place = {
            "meta/episodes/chunk_index": chunk_index,
            "meta/episodes/file_index": file_index,
        }
        absent = {
            name: _placeholder_stats(feature)
            for name, feature in self._features.items()
            if name not in stats
        }
        self._file.add((row | place, stats | absent))
        self._count += 1

    def _table(self, items: list[tuple[dict[str, Any], dict[str, FeatureStats]]]) -> pa.Table:
        schema = arrow_schema("episodes")
        for name in _LEROBOT_COLUMNS:
            schema = schema.append(  # pyright: ignore[reportUnknownMemberType]  (half-typed stub)
                pa.field(name, pa.int64(), nullable=False)
            )
        for name in self._videos:
            for key, kind in _VIDEO_COLUMNS:
                schema = schema.append(  # pyright: ignore[reportUnknownMemberType]  (half-typed stub)
                    pa.field(f"videos/{name}/{key}", kind, nullable=False)
                )
        table = pa.Table.from_pylist([row for row, _ in items], schema=schema)
        for column, values in stats_columns(self._features, [stats for _, stats in items]):
            table = table.append_column(column, values)
        return conform(table, "episodes")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.__exit__(kind, error, trace)


def _marker(run: PreparedRun, assigner: Assigner, counts: dict[str, int]) -> str:
    """The text of finedata.json: what this dataset is and where it came from."""
    marker = {
        "finedata.schema": "dataset",
        "finedata.version": 1,
        "finedata_version": finedata.__version__,
        "libraries": library_versions(),
        "sources": [
            SourceEntry(
                name=file.converter.name,
                title=file.converter.title,
                revision=source.version,
                home=file.converter.home,
                licence=file.converter.licence,
                citation=file.converter.citation,
                shards=len(source.shards),
                missing_shards=list(source.missing_shards),
                converter_sha256=file.sha256,
                converter=file.text,
            )
            for source, file in zip(run.sources, run.converters, strict=True)
        ],
        "parts": [
            PartEntry(
                name=part.name,
                path=part.path,
                embodiment=part.layout.embodiment,
                fps=part.layout.fps,
                episodes=part.episodes,
                frames=part.frames,
            )
            for part in assigner.parts
        ],
        "options": run.context.options,
        "counts": counts,
    }
    return msgspec.json.format(msgspec.json.encode(marker), indent=2).decode() + "\n"
