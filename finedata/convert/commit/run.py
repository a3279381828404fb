"""The commit: when every data file is there, the tables that describe them, and the marker last.

Those are each part's `meta/`, `curation/receipts.parquet`, the annotations that came with the
source and, at the very end, `finedata.json`: a folder without it is not finished. Everything is
derived from the plans and results in the ledger, so it is the same however often the run was
interrupted; they are read in order, one after the other, so memory stays flat.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec.structs import replace

import finedata
from finedata.convert.commit.episode_files import BLACK_STATS, EpisodeFiles
from finedata.convert.commit.rows import episode_row, failed_receipt, written_receipt
from finedata.convert.context import library_versions
from finedata.convert.planning.assign import EpisodeJob
from finedata.convert.planning.plan import RecordPlan, ShardPlan
from finedata.convert.videos.clips import written_codec
from finedata.convert.videos.stats import VideoStats, count_frames
from finedata.convert.work import EpisodeResult, FileResult, file_kind
from finedata.schema.identity import hash16
from finedata.store.atomic import write_atomic
from finedata.store.dataset_file import DATASET_FILE, PartEntry, SourceEntry
from finedata.store.lerobot.layout import INFO_PATH, info_json, picture_column
from finedata.store.lerobot.stats import StatsMerger
from finedata.store.lerobot.write import write_stats, write_tasks
from finedata.store.tables.annotation_rows import instruction_rows, step_rows
from finedata.store.tables.table import TableFile, part_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from finedata.convert.planning.assign import Assigner, Part
    from finedata.convert.planning.layout import PartLayout
    from finedata.convert.prepared import PreparedRun
    from finedata.store.lerobot.layout import Feature
    from finedata.store.lerobot.stats import FeatureStats

_RECEIPTS_PATH = "curation/receipts.parquet"
_Row = dict[str, Any]
_COUNTS = ("found", "written", "failed", "frames_read", "frames_written", "frames_dropped")


@dataclass(slots=True)
class _PartTally:
    """What is gathered of a part while its rows stream by."""

    results: Iterator[tuple[int, EpisodeResult]]
    merger: StatsMerger = field(default_factory=StatsMerger)
    codecs: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, job: EpisodeJob, stats: dict[str, FeatureStats], run: PreparedRun) -> None:
        """Take in an episode."""
        self.merger.add(stats)
        for clip in job.clips:
            codec = written_codec(clip.plan, run.context.options)
            name = picture_column(clip.plan.camera)
            if clip.plan.mode != "black":  # it tells nothing of the others
                self.codecs.setdefault(name, codec)


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
    for table in ("instructions", "steps"):
        # Left by a commit that was interrupted. Only our own: later verbs put files beside it.
        part_path(out, table, 0).unlink(missing_ok=True)
    videos = _measure_videos(run, ledger)
    writer = _RowWriter(run, ledger, videos)
    writer.write()
    for number, part in enumerate(writer.assigner.parts):
        features = _stats_features(part, run, videos.of_part.get(number, {}))
        _write_part(out / part.path, part, writer.tallies[number], features)
    counts = {name: writer.counts[name] for name in _COUNTS}
    write_atomic(out / DATASET_FILE, marker_of(run, writer.assigner, counts))
    return counts


def _measure_videos(run: PreparedRun, ledger: Finished) -> VideoStats:
    """Decode the frames that stand for the videos; nothing is read where there is no video."""
    if not run.context.options.image_stats:
        return VideoStats(Counter())
    assigner = run.assigner()
    placed = (record for record, _ in _records(assigner, ledger))
    videos = VideoStats(count_frames(job for job in placed if not isinstance(job, RecordPlan)))
    if videos.wanted:
        assigner = run.assigner()
        results: dict[int, Iterator[tuple[int, EpisodeResult]]] = {}
        for job, _ in _records(assigner, ledger):
            if isinstance(job, RecordPlan):
                continue
            part = assigner.parts[job.part]
            _, result = next(results.setdefault(job.part, _results(job.part, ledger)))
            root = Path(run.context.out) / part.path
            videos.measure(
                job, result, root=root, fps=part.layout.fps, features=part.layout.features
            )
    videos.finish()
    return videos


def _write_part(root: Path, part: Part, tally: _PartTally, features: dict[str, Feature]) -> None:
    """The files of a part's meta/ that come last."""
    stats = tally.merger.result()
    for name in features:
        stats.setdefault(name, BLACK_STATS)
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


def _stats_features(
    part: Part, run: PreparedRun, videos: Mapping[str, FeatureStats]
) -> dict[str, Feature]:
    """The features of a part that have statistics: of videos those that were measured."""
    return {
        name: feature
        for name, feature in part.layout.features.items()
        if feature.dtype != "string"
        and (feature.dtype != "image" or run.context.options.image_stats)
        and (feature.dtype != "video" or name in videos)
    }


class _RowWriter:
    """Streams receipts, episodes and annotations into their files."""

    def __init__(self, run: PreparedRun, ledger: Finished, videos: VideoStats) -> None:
        self._run = run
        self._videos = videos
        self._ledger = ledger
        self._out = Path(run.context.out)
        self.assigner: Assigner = run.assigner()
        self.tallies: list[_PartTally] = []
        self.counts: Counter[str] = Counter()
        self._episode_files: list[EpisodeFiles] = []
        self._cameras = _cameras_of_kinds(run, ledger)
        self._runs = [hash16(file.sha256 + run.context.options.sha256) for file in run.converters]

    def write(self) -> None:
        """Write them all."""
        with ExitStack() as stack:
            receipts = stack.enter_context(TableFile[_Row](self._out / _RECEIPTS_PATH, "receipts"))
            instructions = _LazyFile(stack, self._out, "instructions")
            steps = _LazyFile(stack, self._out, "steps")
            for record, plan in _records(self.assigner, self._ledger):
                if isinstance(record, RecordPlan):
                    self.counts.update(("found", "failed"))
                    receipts.add(failed_receipt(self._run, plan, record))
                    continue
                part = self.assigner.parts[record.part]
                tally, files = self._part(record.part, stack)
                file_number, result = next(tally.results)
                result = self._with_absent(result, part.layout)
                self._count(record.plan)
                place = (record.part, record.episode_index)
                stats = result.stats | self._videos.of_episode.get(place, {})
                tally.add(record, stats, self._run)
                receipts.add(written_receipt(self._run, part, record, result))
                files.add(episode_row(self._run, part, record, result, file_number), stats)
                identity, language = record.plan.episode_id, record.plan.language
                run_id = self._runs[record.source]
                for row in instruction_rows(identity, language, run_id=run_id):
                    instructions.add(row)
                for row in step_rows(identity, language, fps=part.layout.fps, run_id=run_id):
                    steps.add(row)

    def _with_absent(self, result: EpisodeResult, layout: PartLayout) -> EpisodeResult:
        """An episode, and the cameras that others of its kind have and it has not."""
        others = self._cameras.get((layout.source, layout.variant), set[str]())
        absent = others - {camera.name for camera in layout.cameras}
        if not absent:
            return result
        return replace(
            result,
            flags=sorted({*result.flags, "camera_missing"}),
            cameras_missing=sorted({*result.cameras_missing, *absent}),
        )

    def _count(self, plan: RecordPlan) -> None:
        self.counts.update(("found", "written"))
        self.counts["frames_read"] += plan.frames_read
        self.counts["frames_written"] += plan.frames
        self.counts["frames_dropped"] += plan.frames_read - plan.frames

    def _part(self, number: int, stack: ExitStack) -> tuple[_PartTally, EpisodeFiles]:
        while len(self.tallies) <= number:
            part = self.assigner.parts[len(self.tallies)]
            videos = self._videos.of_part.get(len(self.tallies), {})
            self.tallies.append(_PartTally(_results(len(self.tallies), self._ledger)))
            files = EpisodeFiles(
                self._out / part.path,
                _stats_features(part, self._run, videos),
                absent=videos,
                videos=[
                    name
                    for name, feature in part.layout.features.items()
                    if feature.dtype == "video"
                ],
            )
            self._episode_files.append(stack.enter_context(files))
        return self.tallies[number], self._episode_files[number]


def _records(
    assigner: Assigner, ledger: Finished
) -> Iterator[tuple[RecordPlan | EpisodeJob, ShardPlan]]:
    """Every selected record in the sources' order, with what became of it."""
    decoder = msgspec.msgpack.Decoder(ShardPlan)
    for payload in ledger.payloads("shard"):
        if assigner.finished:
            return
        plan = decoder.decode(payload)
        placed, _ = assigner.add(plan)
        for record in placed:
            yield record, plan


def _cameras_of_kinds(run: PreparedRun, ledger: Finished) -> dict[tuple[int, int], set[str]]:
    """(source, variant) to the cameras that any of its episodes has, where no description tells.

    Of HDF5 only other files say which cameras a robot had. Where a description or the converter
    names them, the plan knows of each episode by itself what it lacks.
    """
    silent = {number for number, one in enumerate(run.context.sources) if one.reader == "hdf5"}
    found: dict[tuple[int, int], set[str]] = {}
    assigner = run.assigner()
    for record, _ in _records(assigner, ledger) if silent else ():
        if isinstance(record, EpisodeJob) and record.source in silent:
            layout = assigner.parts[record.part].layout
            known = found.setdefault((layout.source, layout.variant), set())
            known.update(camera.name for camera in layout.cameras)
    return found


def _results(part: int, ledger: Finished) -> Iterator[tuple[int, EpisodeResult]]:
    """Every written episode of a part in order, with the number of its data file."""
    decoder = msgspec.msgpack.Decoder(FileResult)
    for payload in ledger.payloads(file_kind(part)):
        result = decoder.decode(payload)
        for episode in result.episodes:
            yield result.file_number, episode


class _LazyFile:
    """A table of what came with the sources, written only where it has a row."""

    def __init__(self, stack: ExitStack, out: Path, table: str) -> None:
        self._stack = stack
        self._out = out
        self._table = table
        self._file: TableFile[_Row] | None = None

    def add(self, row: _Row) -> None:
        if self._file is None:
            path = part_path(self._out, self._table, 0)
            self._file = self._stack.enter_context(TableFile[_Row](path, self._table))
        self._file.add(row)


def marker_of(run: PreparedRun, assigner: Assigner, counts: dict[str, int]) -> str:
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
                renamed=part.layout.renamed,
                left_out=part.left_out,
            )
            for part in assigner.parts
        ],
        "options": run.context.options,
        "counts": counts,
    }
    return msgspec.json.format(msgspec.json.encode(marker), indent=2).decode() + "\n"
