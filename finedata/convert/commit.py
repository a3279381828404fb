"""The commit: when every data file is there, the tables that describe them, marker last.

The ledger comes in (shard plans and file results, streamed in order, so memory stays flat);
`meta/`, `curation/receipts.parquet` and at the very end `finedata.json` go out. Everything is
derived from plans and results, so it is the same however often the run was interrupted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

import finedata
from finedata.convert.context import library_versions
from finedata.convert.plan import Assigner, EpisodeJob, PreparedRun, RecordPlan, ShardPlan
from finedata.convert.work import EpisodeResult, FileResult
from finedata.schema.conform import conform
from finedata.schema.identity import task_id
from finedata.schema.tables import arrow_schema
from finedata.store.atomic import write_atomic
from finedata.store.dataset_file import DATASET_FILE, PartEntry
from finedata.store.lerobot.layout import (
    EPISODES_PER_META_FILE,
    INFO_PATH,
    data_path,
    episodes_path,
    info_json,
)
from finedata.store.lerobot.stats import FeatureStats, StatsMerger
from finedata.store.lerobot.write import stats_columns, write_stats, write_tasks
from finedata.store.row_file import RowFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from finedata.store.ledger import Ledger
    from finedata.store.lerobot.layout import Feature

__all__ = ["commit"]

_RECEIPTS_PATH = "curation/receipts.parquet"
# A camera that was not there: every picture is black, and none counts. LeRobot's tools want an
# entry for every feature of every episode.
_ZERO = [0.0, 0.0, 0.0]
_NAMES = ("min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99")
_BLACK_STATS: FeatureStats = {**dict.fromkeys(_NAMES, _ZERO), "count": [0.0]}


@dataclass(slots=True)
class _Tally:
    """Counts, statistics and tasks, gathered while rows stream by."""

    assigner: Assigner
    merger: StatsMerger = field(default_factory=StatsMerger)
    counts: Counter[str] = field(default_factory=Counter[str])


def commit(run: PreparedRun, ledger: Ledger) -> dict[str, int]:
    """Write every table of the dataset, and the marker.

    Returns:
        Counts: found, written, failed, frames_read, frames_written, frames_dropped.
    """
    out = Path(run.context.out)
    tally = _Tally(Assigner(run.context, run.selection))
    _write_rows(run, ledger, tally)
    assigner = tally.assigner
    stats = tally.merger.result()
    for name in _stats_features(run):
        stats.setdefault(name, _BLACK_STATS)
    write_tasks(out, list(assigner.tasks))
    write_stats(out, _stats_features(run), stats)
    info = info_json(
        run.features,
        robot_type=run.converter.converter.embodiment,
        fps=run.converter.converter.time.fps,
        total_episodes=assigner.written,
        total_frames=assigner.frames,
        total_tasks=len(assigner.tasks),
        splits=assigner.splits,
    )
    write_atomic(out / INFO_PATH, info)
    counts = {
        name: tally.counts[name]
        for name in (
            "found",
            "written",
            "failed",
            "frames_read",
            "frames_written",
            "frames_dropped",
        )
    }
    write_atomic(out / DATASET_FILE, _marker(run, tally, counts))
    return counts


def _stats_features(run: PreparedRun) -> dict[str, Feature]:
    return {
        name: feature
        for name, feature in run.features.items()
        if feature.dtype != "image" or run.context.options.image_stats
    }


def _write_rows(run: PreparedRun, ledger: Ledger, tally: _Tally) -> None:
    """Stream receipts and episodes into their files."""
    results = _results(ledger)
    with (
        RowFile(Path(run.context.out) / _RECEIPTS_PATH, _receipts_table) as receipts,
        _EpisodeFiles(run) as episodes,
    ):
        for shard, record in _placed_records(run, ledger, tally.assigner):
            tally.counts["found"] += 1
            if isinstance(record, RecordPlan):
                tally.counts["failed"] += 1
                receipts.add(_failed_receipt(run, shard, record))
                continue
            file_number, result = next(results)
            plan = record.plan
            tally.counts["written"] += 1
            tally.counts["frames_read"] += plan.frames_read
            tally.counts["frames_written"] += plan.frames
            tally.counts["frames_dropped"] += plan.frames_read - plan.frames
            tally.merger.add(result.stats)
            receipts.add(_written_receipt(run, record, result))
            episodes.add(_episode_row(run, record, result, file_number), result.stats)


def _placed_records(
    run: PreparedRun, ledger: Ledger, assigner: Assigner
) -> Iterator[tuple[int, RecordPlan | EpisodeJob]]:
    """Every selected record in the source's order, with what became of it."""
    decoder = msgspec.msgpack.Decoder(ShardPlan)
    for payload in ledger.payloads("shard"):
        if assigner.finished:
            return
        plan = decoder.decode(payload)
        shard = run.source.shards[plan.shard]
        placed, _ = assigner.add(
            plan, file=shard.file, split=shard.split, source=run.converter.converter.name
        )
        for record in placed:
            yield plan.shard, record


def _results(ledger: Ledger) -> Iterator[tuple[int, EpisodeResult]]:
    """Every written episode in order, with the number of its data file."""
    decoder = msgspec.msgpack.Decoder(FileResult)
    for payload in ledger.payloads("file"):
        result = decoder.decode(payload)
        for episode in result.episodes:
            yield result.file_number, episode


def _receipt(run: PreparedRun, shard: int, plan: RecordPlan) -> dict[str, Any]:
    converter = run.converter.converter
    return {
        "episode_id": plan.episode_id,
        "part": converter.embodiment,
        "source": converter.name,
        "source_revision": run.source.version or None,
        "locator": plan.locator,
        "source_file": run.source.shards[shard].file,
        "source_record": plan.record,
        "byte_offset": plan.offset,
        "byte_length": plan.length,
        "converter_sha256": run.converter.sha256,
        "options_sha256": run.context.options.sha256,
        "finedata_version": finedata.__version__,
        "frames_read": plan.frames_read,
        "instruction_count": len(plan.instructions),
        "time_base": "declared",
    }


def _failed_receipt(run: PreparedRun, shard: int, plan: RecordPlan) -> dict[str, Any]:
    return _receipt(run, shard, plan) | {
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


def _written_receipt(run: PreparedRun, job: EpisodeJob, result: EpisodeResult) -> dict[str, Any]:
    plan = job.plan
    return _receipt(run, job.shard, plan) | {
        "status": "written",
        "source_sha256": result.source_sha256,
        "frames_written": plan.frames,
        "frames_dropped": plan.frames_read - plan.frames,
        "images": result.images,
        "action_origin": result.action_origin,
        "arms": result.arms,
        "flags": result.flags,
    }


def _episode_row(
    run: PreparedRun, job: EpisodeJob, result: EpisodeResult, file_number: int
) -> dict[str, Any]:
    converter = run.converter.converter
    plan = job.plan
    task = plan.instructions[0] if plan.instructions else ""
    _, chunk_index, file_index = data_path(file_number)
    frames = {arm.name: arm.tool_frame for arm in converter.arms}
    return {
        "episode_id": plan.episode_id,
        "part": converter.embodiment,
        "episode_index": job.episode_index,
        "source": converter.name,
        "source_revision": run.source.version or None,
        "split": run.source.shards[job.shard].split,
        "embodiment": converter.embodiment,
        "length": plan.frames,
        "fps": converter.time.fps,
        "duration_s": plan.frames / converter.time.fps,
        "task": task,
        "task_id": task_id(task),
        "task_index": job.task_index,
        "tasks": list(plan.instructions) or [""],
        "arms": [arm.name for arm in converter.arms],
        "space": converter.space,
        "right_tool_frame": frames.get("right"),
        "left_tool_frame": frames.get("left"),
        "action_origin": result.action_origin,
        "cameras": sorted(camera.name for camera in run.cameras),
        "cameras_missing": sorted(result.cameras_missing),
        "licence": converter.licence,
        "data/chunk_index": chunk_index,
        "data/file_index": file_index,
        "dataset_from_index": job.first_index,
        "dataset_to_index": job.first_index + plan.frames,
    }


_LEROBOT_COLUMNS = (
    "data/chunk_index",
    "data/file_index",
    "dataset_from_index",
    "dataset_to_index",
    "meta/episodes/chunk_index",
    "meta/episodes/file_index",
)


def _receipts_table(rows: list[dict[str, Any]]) -> pa.Table:
    return conform(pa.Table.from_pylist(rows, schema=arrow_schema("receipts")), "receipts")


class _EpisodeFiles:
    """meta/episodes: rows with their statistics, in files of a fixed number of episodes."""

    def __init__(self, run: PreparedRun) -> None:
        self._out = Path(run.context.out)
        self._features = _stats_features(run)
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
        absent = {name: _BLACK_STATS for name in self._features if name not in stats}
        self._file.add((row | place, stats | absent))
        self._count += 1

    def _table(self, items: list[tuple[dict[str, Any], dict[str, FeatureStats]]]) -> pa.Table:
        schema = arrow_schema("episodes")
        for name in _LEROBOT_COLUMNS:
            schema = schema.append(  # pyright: ignore[reportUnknownMemberType]  (half-typed stub)
                pa.field(name, pa.int64(), nullable=False)
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


def _marker(run: PreparedRun, tally: _Tally, counts: dict[str, int]) -> str:
    """The text of finedata.json: what this dataset is and where it came from."""
    converter = run.converter.converter
    part = PartEntry(
        name=converter.embodiment,
        path=".",
        embodiment=converter.embodiment,
        fps=converter.time.fps,
        episodes=tally.assigner.written,
        frames=tally.assigner.frames,
    )
    marker = {
        "finedata.schema": "dataset",
        "finedata.version": 1,
        "finedata_version": finedata.__version__,
        "libraries": library_versions(),
        "sources": [
            {
                "name": converter.name,
                "title": converter.title,
                "revision": run.source.version,
                "home": converter.home,
                "licence": converter.licence,
                "citation": converter.citation,
                "shards": len(run.source.shards),
                "missing_shards": list(run.source.missing_shards),
                "converter_sha256": run.converter.sha256,
                "converter": run.converter.text,
            }
        ],
        "parts": [part],
        "options": run.context.options,
        "counts": counts,
    }
    return msgspec.json.format(msgspec.json.encode(marker), indent=2).decode() + "\n"
