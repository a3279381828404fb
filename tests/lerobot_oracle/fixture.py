"""A tiny LeRobot v3.0 dataset, written with pyarrow alone and shaped like finedata's own.

Comes in: an empty folder and a number of data files. Goes out: the dataset on disk, and what a
reader should find in it. It holds what finedata adds to LeRobot's layout, so that the oracle says
which additions are harmless: JPEG bytes kept as they came, a bool column, a column that is NaN
where the source has no value, an episode without language, extra columns in meta/episodes, extra
files and folders at the root. It shares no code with finedata's writer, so neither hides the
other's faults.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CAMERA", "FPS", "LENGTHS", "TASKS", "Expected", "write_dataset"]

FPS = 10
LENGTHS = (6, 5)
TASKS = ("put the cup on the plate", "")
CAMERA = "observation.images.front"
HEIGHT, WIDTH = 48, 64
NAMES = [f"right_{name}" for name in ("x", "y", "z", "qx", "qy", "qz", "qw", "gripper")]

# The names that LeRobot's `features` and NumPy have for the types.
SCALARS = {
    "index": "int64",
    "episode_index": "int64",
    "frame_index": "int64",
    "task_index": "int64",
    "timestamp": "float32",
    "source_time_s": "float64",
    "action_valid": "bool",
}
VECTOR = pa.list_(pa.float32(), len(NAMES))
PICTURE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


@dataclass(frozen=True)
class Expected:
    """What a reader must find: columns over all frames, and the stored and the decoded pictures."""

    columns: dict[str, np.ndarray]
    tasks: list[str]
    encoded_sha256: list[str]
    decoded_sha256: list[str]


def write_dataset(root: Path, *, data_files: int = 1) -> Expected:
    """Write both episodes below `root`, into one data file or one each."""
    columns = make_columns()
    pictures = [make_picture(frame) for frame in range(sum(LENGTHS))]
    table = pa.table(
        {name: pa.array(columns[name]) for name in SCALARS}
        | {
            name: pa.FixedSizeListArray.from_arrays(pa.array(columns[name].ravel()), type=VECTOR)
            for name in ("observation.state", "action")
        }
        | {CAMERA: pa.array([{"bytes": picture, "path": None} for picture in pictures], PICTURE)}
    )
    write_data(root, table, data_files=data_files)
    write_episodes(root, columns, data_files=data_files)
    write_tasks(root)
    write_json(root / "meta" / "info.json", make_info())
    write_json(root / "meta" / "stats.json", make_stats(columns, pictures))
    write_additions(root)
    return Expected(
        columns=columns,
        tasks=[TASKS[task] for task in columns["task_index"]],
        encoded_sha256=[hashlib.sha256(picture).hexdigest() for picture in pictures],
        decoded_sha256=[hashlib.sha256(decode(item).tobytes()).hexdigest() for item in pictures],
    )


def make_columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    total = sum(LENGTHS)
    episode_index = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    frame_index = np.concatenate([np.arange(length) for length in LENGTHS])
    last = np.cumsum(LENGTHS) - 1
    action_valid = np.ones(total, dtype=bool)
    action_valid[last] = False
    # The second episode's source has no clock: NaN, because lerobot cannot batch a null.
    source_time_s = np.where(episode_index == 0, frame_index * 0.1003, np.nan)
    return {
        "index": np.arange(total),
        "episode_index": episode_index,
        "frame_index": frame_index,
        "task_index": episode_index.copy(),
        "timestamp": (frame_index / FPS).astype(np.float32),
        "source_time_s": source_time_s,
        "action_valid": action_valid,
        "observation.state": rng.normal(size=(total, len(NAMES))).astype(np.float32),
        "action": rng.normal(size=(total, len(NAMES))).astype(np.float32),
    }


def make_picture(frame: int) -> bytes:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack([rows * 4, columns * 3, np.full_like(rows, frame * 20)], axis=2).astype(
        np.uint8
    )
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def decode(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


def write_data(root: Path, table: pa.Table, *, data_files: int) -> None:
    folder = root / "data" / "chunk-000"
    folder.mkdir(parents=True)
    boundaries = [0, *LENGTHS] if data_files == len(LENGTHS) else [0, sum(LENGTHS)]
    starts = np.cumsum(boundaries)
    for file_index in range(data_files):
        start, stop = starts[file_index : file_index + 2]
        pq.write_table(table.slice(start, stop - start), folder / f"file-{file_index:03d}.parquet")


def write_episodes(root: Path, columns: dict[str, np.ndarray], *, data_files: int) -> None:
    stops = np.cumsum(LENGTHS)
    count = len(LENGTHS)
    bounds = list(zip(stops - LENGTHS, stops, strict=True))
    own = {
        "episode_index": pa.array(range(count), pa.int64()),
        "tasks": pa.array([[task] for task in TASKS], pa.list_(pa.string())),
        "length": pa.array(LENGTHS, pa.int64()),
        "dataset_from_index": pa.array(stops - LENGTHS, pa.int64()),
        "dataset_to_index": pa.array(stops, pa.int64()),
        "data/chunk_index": pa.array([0] * count, pa.int64()),
        "data/file_index": pa.array([episode % data_files for episode in range(count)], pa.int64()),
        "meta/episodes/chunk_index": pa.array([0] * count, pa.int64()),
        "meta/episodes/file_index": pa.array([0] * count, pa.int64()),
    }
    stats = {
        f"stats/action/{name}": pa.array(
            [reduce(columns["action"][start:stop]).tolist() for start, stop in bounds],
            pa.list_(pa.float64()),
        )
        for name, reduce in REDUCTIONS.items()
    }
    added = {
        "episode_id": pa.array([f"test-{episode:016x}" for episode in range(count)]),
        "success": pa.array([True, None], pa.bool_()),
        "start_time_unix_s": pa.array([None] * count, pa.float64()),
        "arms": pa.array([["right"]] * count, pa.list_(pa.string())),
        "cameras_missing": pa.array([[]] * count, pa.list_(pa.string())),
    }
    folder = root / "meta" / "episodes" / "chunk-000"
    folder.mkdir(parents=True)
    pq.write_table(pa.table(own | added | stats), folder / "file-000.parquet")


def write_tasks(root: Path) -> None:
    """The task is the index of a pandas frame, which is one entry in the file's metadata."""
    table = pa.table(
        {"task_index": pa.array(range(len(TASKS)), pa.int64()), "task": pa.array(TASKS)}
    )
    types = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {
                "name": name,
                "field_name": name,
                "pandas_type": pandas_type,
                "numpy_type": numpy_type,
                "metadata": None,
            }
            for name, (pandas_type, numpy_type) in types.items()
        ],
    }
    table = table.replace_schema_metadata({b"pandas": json.dumps(pandas).encode()})
    pq.write_table(table, root / "meta" / "tasks.parquet")


def make_info() -> dict[str, Any]:
    features: dict[str, Any] = {
        name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in SCALARS.items()
    }
    for name in ("observation.state", "action"):
        features[name] = {"dtype": "float32", "shape": [len(NAMES)], "names": NAMES}
    features[CAMERA] = {
        "dtype": "image",
        "shape": [HEIGHT, WIDTH, 3],
        "names": ["height", "width", "channels"],
    }
    return {
        "codebase_version": "v3.0",
        "robot_type": "widowx",
        "total_episodes": len(LENGTHS),
        "total_frames": sum(LENGTHS),
        "total_tasks": len(TASKS),
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": FPS,
        "splits": {"train": "0:1", "test": "1:2"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "features": features,
    }


REDUCTIONS = {
    "min": lambda values: values.min(axis=0),
    "max": lambda values: values.max(axis=0),
    "mean": lambda values: values.mean(axis=0, dtype=np.float64),
    "std": lambda values: values.std(axis=0, dtype=np.float64),
    "count": lambda values: np.array([len(values)]),
}


def make_stats(columns: dict[str, np.ndarray], pictures: list[bytes]) -> dict[str, Any]:
    """Vectors as (n,), pictures as (3, 1, 1) in [0, 1]; training needs an entry per camera."""
    stats = {
        name: {key: reduce(columns[name]).tolist() for key, reduce in REDUCTIONS.items()}
        for name in ("observation.state", "action")
    }
    pixels = np.concatenate([decode(picture).reshape(-1, 3) for picture in pictures]) / 255
    stats[CAMERA] = {
        key: reduce(pixels).reshape(3, 1, 1).tolist()
        for key, reduce in REDUCTIONS.items()
        if key != "count"
    }
    stats[CAMERA]["count"] = [len(pictures)]
    return stats


def write_additions(root: Path) -> None:
    write_json(root / "finedata.json", {"schema_version": 1})
    for table in ("curation/receipts.parquet", "annotations/facts/part-0.parquet"):
        path = root / table
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"episode_id": ["test-0000000000000000"]}), path)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
