"""LeRobot datasets on disk, v2.0, v2.1 and v3.0, with the quirks of real ones as knobs.

Episodes as arrays come in, folders go out. pyarrow and PyAV only; nothing of finedata.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sources.video import numbered_picture, write_video

__all__ = ["WrittenEpisode", "arrow_column", "write_lerobot", "write_table"]

V2_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
V2_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
V3_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
V3_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
DEFAULTS = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}


@dataclass(frozen=True, eq=False)
class WrittenEpisode:
    """One episode: columns (T, ...) or lists of texts, `task_index` among them or all 0.

    Attributes:
        columns: Name to rows; pictures as lists of bytes, or (None, path).
        tasks: What meta/episodes says.
        meta: Further keys of its row there.
        videos: Cameras that this episode has no file for are named in `missing_videos`.
    """

    columns: dict[str, Any]
    tasks: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    missing_videos: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        return len(next(iter(self.columns.values())))


def arrow_column(values: Any, *, lists: str = "fixed") -> pa.Array:
    """A column: scalars from (T,), lists from (T, n) (`fixed` or `list`), pictures from bytes."""
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, list):
        if values and isinstance(values[0], str):
            return pa.array(values, pa.string())
        pictures = [value if isinstance(value, tuple) else (value, None) for value in values]
        return pa.array(
            [{"bytes": data, "path": path} for data, path in pictures],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        )
    column = pa.array(values.reshape(-1))
    for width in reversed(values.shape[1:]):
        if lists == "fixed":
            column = pa.FixedSizeListArray.from_arrays(column, width)
        else:
            offsets = np.arange(len(column) // width + 1, dtype=np.int32) * width
            column = pa.ListArray.from_arrays(pa.array(offsets), column)
    return column


def write_table(path: Path, columns: dict[str, Any], *, lists: str = "fixed", **options) -> None:
    """Write a Parquet file; its folder is made where missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: arrow_column(values, lists=lists) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), path, **options)


def write_lerobot(
    folder: Path,
    episodes: list[WrittenEpisode],
    *,
    version: str = "v2.1",
    fps: float = 10,
    tasks: list[str] | None = None,
    names: dict[str, Any] | None = None,
    shapes: dict[str, list[int]] | None = None,
    cameras: tuple[str, ...] = (),
    phantom_cameras: tuple[str, ...] = (),
    codec: str = "h264",
    lists: str = "fixed",
    video_folder: str = "videos",
    tasks_column: str = "task",
    to_timestamp_short_by: int = 0,
    episodes_per_file: int = 2,
    row_group_size: int = 16,
    chunks_size: int = 1000,
    timestamp_dtype: str = "float32",
    drop: tuple[str, ...] = (),
    name_key: str = "names",
    **info: Any,
) -> Path:
    """Write a dataset.

    Args:
        folder: Becomes the dataset.
        episodes: In order of their indices.
        version: `v2.0`, `v2.1` or `v3.0`.
        fps: As info.json has it, and the videos.
        tasks: The table of tasks; by default the episodes' first tasks.
        names: Column names that info.json gives, in whatever spelling; `None` where absent.
        shapes: Shapes that info.json gives instead of the true ones.
        cameras: Videos, whose frame k of episode e says 100 e + k.
        phantom_cameras: Declared, and nowhere.
        codec: Of the videos.
        lists: `fixed` (Hugging Face) or `list` (pandas).
        video_folder: Where the videos really are; info.json says `videos`.
        tasks_column: Name of the text column of tasks.parquet.
        to_timestamp_short_by: 0: from + length/fps; 1: from + (length - 1)/fps.
        episodes_per_file: v3.0 only, of data and of videos.
        row_group_size: Rows of a row group.
        chunks_size: Episodes of a chunk (v2.x).
        timestamp_dtype: `float32`, or `float64` as some write it.
        drop: Default columns to leave out.
        name_key: `names`, or `name` as early RoboCOIN has it.
        info: Replaces keys of info.json (`splits`, `data_path`, `total_episodes`, ...).
    """
    tasks = tasks or list(dict.fromkeys(e.tasks[0] for e in episodes if e.tasks)) or ["do it"]
    rows = _full_columns(episodes, fps, timestamp_dtype, drop)
    features = {
        key: {
            "dtype": "video",
            "shape": [32, 48, 3],
            "names": ["height", "width", "channels"],
            "info": {"video.fps": fps, "video.codec": codec},
        }
        for key in (*cameras, *phantom_cameras)
    }
    for name, values in rows[0].items():
        features[name] = _feature(values)
        if names and name in names:
            features[name].pop("names")
            features[name][name_key] = names[name]
        if shapes and name in shapes:
            features[name]["shape"] = shapes[name]
    description = {
        "codebase_version": version,
        "robot_type": "test_robot",
        "total_episodes": len(episodes),
        "total_frames": sum(e.length for e in episodes),
        "total_tasks": len(tasks),
        "chunks_size": chunks_size,
        "fps": fps,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": V3_DATA if version == "v3.0" else V2_DATA,
        "video_path": V3_VIDEO if version == "v3.0" else V2_VIDEO,
        "features": features,
    }
    _write_json(folder / "meta/info.json", description | info)
    if version == "v3.0":
        _write_v3(
            folder,
            episodes,
            rows,
            tasks,
            cameras,
            fps=fps,
            codec=codec,
            lists=lists,
            video_folder=video_folder,
            tasks_column=tasks_column,
            short_by=to_timestamp_short_by,
            per_file=episodes_per_file,
            row_group_size=row_group_size,
        )
        return folder
    _write_lines(
        folder / "meta/tasks.jsonl", [{"task_index": i, "task": t} for i, t in enumerate(tasks)]
    )
    _write_lines(
        folder / "meta/episodes.jsonl",
        [
            {"episode_index": i, "tasks": list(e.tasks), "length": e.length} | e.meta
            for i, e in enumerate(episodes)
        ],
    )
    for number, (episode, columns) in enumerate(zip(episodes, rows, strict=True)):
        values = {"episode_index": number, "episode_chunk": number // chunks_size}
        write_table(
            folder / V2_DATA.format(**values), columns, lists=lists, row_group_size=row_group_size
        )
        for camera in cameras:
            if camera not in episode.missing_videos:
                name = V2_VIDEO.format(video_key=camera, **values)
                path = folder / name.replace("videos/", f"{video_folder}/", 1)
                write_video(path, _frames(number, episode.length), fps=fps, codec=codec)
    return folder


def _write_v3(
    folder: Path,
    episodes: list[WrittenEpisode],
    rows: list[dict[str, Any]],
    tasks: list[str],
    cameras: tuple[str, ...],
    *,
    fps: float,
    codec: str,
    lists: str,
    video_folder: str,
    tasks_column: str,
    short_by: int,
    per_file: int,
    row_group_size: int,
) -> None:
    write_table(
        folder / "meta/tasks.parquet",
        {"task_index": np.arange(len(tasks)), tasks_column: tasks},
    )
    table: list[dict[str, Any]] = []
    index = 0
    for first in range(0, len(episodes), per_file):
        group = range(first, min(first + per_file, len(episodes)))
        file = first // per_file
        where = {"chunk_index": 0, "file_index": file}
        columns = {
            name: arrow_column(_join([rows[e][name] for e in group]), lists=lists)
            for name in rows[0]
        }
        write_table(folder / V3_DATA.format(**where), columns, row_group_size=row_group_size)
        start = 0
        for e in group:
            length = episodes[e].length
            row = {
                "episode_index": e,
                "tasks": list(episodes[e].tasks),
                "length": length,
                "data/chunk_index": 0,
                "data/file_index": file,
                "dataset_from_index": index,
                "dataset_to_index": index + length,
                "stats/action/min": [0.0],
            } | episodes[e].meta
            for camera in cameras:
                row |= {
                    f"videos/{camera}/chunk_index": 0,
                    f"videos/{camera}/file_index": file,
                    f"videos/{camera}/from_timestamp": start / fps,
                    f"videos/{camera}/to_timestamp": (start + length - short_by) / fps,
                }
            table.append(row)
            start, index = start + length, index + length
        for camera in cameras:
            name = V3_VIDEO.format(video_key=camera, **where)
            path = folder / name.replace("videos/", f"{video_folder}/", 1)
            frames = [f for e in group for f in _frames(e, episodes[e].length)]
            write_video(path, frames, fps=fps, codec=codec)
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(table), path)


def _full_columns(
    episodes: list[WrittenEpisode], fps: float, timestamp_dtype: str, drop: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Each episode's columns and the default ones that it does not bring."""
    rows = []
    index = 0
    for number, episode in enumerate(episodes):
        T = episode.length
        defaults = {
            "timestamp": (np.arange(T) / fps).astype(timestamp_dtype),
            "frame_index": np.arange(T),
            "episode_index": np.full(T, number),
            "index": index + np.arange(T),
            "task_index": np.zeros(T, np.int64),
        }
        index += T
        kept = {k: v for k, v in defaults.items() if k not in drop and k not in episode.columns}
        rows.append(episode.columns | kept)
    return rows


def _feature(values: Any) -> dict[str, Any]:
    if isinstance(values, list):
        if values and isinstance(values[0], str):
            return {"dtype": "string", "shape": [1], "names": None}
        return {"dtype": "image", "shape": [32, 48, 3], "names": ["height", "width", "channels"]}
    if isinstance(values, pa.Array):
        return {"dtype": "float32", "shape": [1], "names": None}
    return {"dtype": str(values.dtype), "shape": list(values.shape[1:]) or [1], "names": None}


def _join(parts: list[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return pa.concat_arrays([arrow_column(part) for part in parts])


def _frames(episode: int, length: int) -> list[np.ndarray]:
    return [numbered_picture(100 * episode + k) for k in range(length)]


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False))


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
