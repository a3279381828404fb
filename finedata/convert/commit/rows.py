"""What the tables `receipts` and `episodes` say of a record, from its plan and its result.

Every record has a receipt, a failed one too, so that nothing is dropped silently; only written
episodes have a row in `episodes`. This is arithmetic without files: the commit streams the rows
to disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import finedata
from finedata.schema.identity import task_id
from finedata.store.lerobot.layout import data_path, picture_column, video_path

if TYPE_CHECKING:
    from finedata.convert.planning.assign import EpisodeJob, Part
    from finedata.convert.planning.plan import RecordPlan, ShardPlan
    from finedata.convert.prepared import PreparedRun
    from finedata.convert.work import EpisodeResult
    from finedata.readers.episode import Source
    from finedata.schema.converter import Variant
    from finedata.schema.converter_file import ConverterFile


def failed_receipt(run: PreparedRun, shard: ShardPlan, plan: RecordPlan) -> dict[str, Any]:
    """The receipt of a record that could not be converted; its frames count as dropped."""
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


def written_receipt(
    run: PreparedRun, part: Part, job: EpisodeJob, result: EpisodeResult
) -> dict[str, Any]:
    """The receipt of a written episode."""
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


def episode_row(
    run: PreparedRun, part: Part, job: EpisodeJob, result: EpisodeResult, file_number: int
) -> dict[str, Any]:
    """The row of a written episode, with where LeRobot finds its rows and its videos."""
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
        "cameras_missing": sorted({*result.cameras_missing, *plan.cameras_missing}),
        "licence": file.converter.licence,
        "variant": variant.name,
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


def _revision(source: Source, file: ConverterFile) -> str:
    """The source's own version, or the one that the converter was written for."""
    return source.version or file.converter.revision
