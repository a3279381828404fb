"""How a LeRobot v3.0 dataset names its files, and what its `meta/info.json` says.

Writers and readers take names, paths and numbers of files from here, so that they cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from finedata.store.damaged import damaged_file
from finedata.store.deep import declares_depth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = [
    "CHUNK_FILES",
    "CODEBASE_VERSION",
    "DATA_FILE_COLUMNS",
    "DATA_FILE_MB",
    "EPISODES_PER_META_FILE",
    "INFO_PATH",
    "KEPT_DTYPES",
    "STATS_PATH",
    "TASKS_PATH",
    "Dtype",
    "Feature",
    "data_file",
    "data_file_number",
    "data_path",
    "episodes_path",
    "extend_splits",
    "info_json",
    "picture_column",
    "read_features",
    "read_info",
    "split_ranges",
    "standard_features",
    "video_cameras",
    "video_file",
    "video_path",
]

CODEBASE_VERSION = "v3.0"
CHUNK_FILES = 1000
# Columns of meta/episodes that say in which data file an episode is; see `data_file`.
DATA_FILE_COLUMNS = ("data/chunk_index", "data/file_index")
DATA_FILE_MB = 100
VIDEO_FILE_MB = 200
# LeRobot bounds these files by megabytes; a count keeps the boundary independent of statistics.
EPISODES_PER_META_FILE = 10_000
INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"

_DATA_TEMPLATE = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO_TEMPLATE = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_EPISODES_TEMPLATE = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"

_FILE_INDEX = "/file_index"


KEPT_DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
)
"""Types of numbers that are stored as they are: NumPy's names, which are LeRobot's."""

Dtype = Literal[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "string",
    "image",
    "video",
]


@dataclass(frozen=True, slots=True)
class Feature:
    """An entry of `features` in info.json.

    A feature of shape (1,) is stored as a plain scalar column; LeRobot refuses a list of one.
    `info` is what the source declares of a camera whose bytes are kept: depth, scales, pixels.
    """

    dtype: Dtype
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None
    info: dict[str, Any] | None = None


def data_path(file_number: int) -> tuple[str, int, int]:
    """Path, chunk index and file index of the n-th data file."""
    chunk_index, file_index = divmod(file_number, CHUNK_FILES)
    path = _DATA_TEMPLATE.format(chunk_index=chunk_index, file_index=file_index)
    return path, chunk_index, file_index


def episodes_path(file_number: int) -> tuple[str, int, int]:
    """Path, chunk index and file index of the n-th file of meta/episodes."""
    chunk_index, file_index = divmod(file_number, CHUNK_FILES)
    path = _EPISODES_TEMPLATE.format(chunk_index=chunk_index, file_index=file_index)
    return path, chunk_index, file_index


def picture_column(camera: str) -> str:
    """The feature that holds a camera's pictures."""
    return f"observation.images.{camera}"


_VIDEOS = f"videos/{picture_column('')}"


def video_path(camera: str, file_number: int) -> tuple[str, int, int]:
    """Path, chunk index and file index of a camera's n-th video file."""
    chunk_index, file_index = divmod(file_number, CHUNK_FILES)
    path = _VIDEO_TEMPLATE.format(
        video_key=picture_column(camera), chunk_index=chunk_index, file_index=file_index
    )
    return path, chunk_index, file_index


def data_file(row: Mapping[str, Any]) -> str:
    """Path of the data file of an episode, by its row of meta/episodes."""
    return data_path(data_file_number(row))[0]


def data_file_number(row: Mapping[str, Any]) -> int:
    """The data file of an episode, counted from 0 through all chunks."""
    return _file_number(row, "data")


def video_file(row: Mapping[str, Any], *, camera: str) -> str:
    """Path of the video file of an episode's camera, by its row of meta/episodes."""
    return video_path(camera, _file_number(row, f"{_VIDEOS}{camera}"))[0]


def video_cameras(row: Mapping[str, Any]) -> list[str]:
    """Cameras of an episode that are stored as videos, by its row of meta/episodes.

    Where rows of several parts are in one table, the columns of other parts' cameras are null.
    """
    return [
        name.removeprefix(_VIDEOS).removesuffix(_FILE_INDEX)
        for name, value in row.items()
        if name.startswith(_VIDEOS) and name.endswith(_FILE_INDEX) and value is not None
    ]


def _file_number(row: Mapping[str, Any], prefix: str) -> int:
    return row[f"{prefix}/chunk_index"] * CHUNK_FILES + row[f"{prefix}{_FILE_INDEX}"]


def standard_features() -> dict[str, Feature]:
    """The columns that every LeRobot dataset has."""
    return {
        "timestamp": Feature("float32", (1,)),
        "frame_index": Feature("int64", (1,)),
        "episode_index": Feature("int64", (1,)),
        "index": Feature("int64", (1,)),
        "task_index": Feature("int64", (1,)),
    }


def info_json(
    features: Mapping[str, Feature],
    *,
    robot_type: str,
    fps: float,
    total_episodes: int,
    total_frames: int,
    total_tasks: int,
    splits: Sequence[tuple[str, int, int]],
    codecs: Mapping[str, str],
) -> str:
    """The text of meta/info.json.

    Args:
        features: Every stored column.
        robot_type: The embodiment.
        fps: Frames a second; LeRobot wants a whole number where it is one.
        total_episodes: Episodes in the dataset.
        total_frames: Rows in the dataset; LeRobot trusts this number.
        total_tasks: Distinct task strings.
        splits: (name, first episode, one past the last) of each split.
        codecs: Codec of each video feature.
    """
    videos = any(feature.dtype == "video" for feature in features.values())
    info: dict[str, Any] = {
        "codebase_version": CODEBASE_VERSION,
        "robot_type": robot_type,
        "total_episodes": total_episodes,
        "total_frames": total_frames,
        "total_tasks": total_tasks,
        "chunks_size": CHUNK_FILES,
        "data_files_size_in_mb": DATA_FILE_MB,
        "video_files_size_in_mb": VIDEO_FILE_MB,
        "fps": int(fps) if float(fps).is_integer() else fps,
        "splits": split_ranges(splits, total_episodes),
        "data_path": _DATA_TEMPLATE,
        "video_path": _VIDEO_TEMPLATE if videos else None,
        "features": {
            name: _feature_entry(feature, codec=codecs.get(name), fps=fps)
            for name, feature in features.items()
        },
    }
    return msgspec.json.format(msgspec.json.encode(info), indent=2).decode() + "\n"


def extend_splits(splits: list[tuple[str, int, int]], split: str, *, episodes: int) -> None:
    """Count one more episode, the last of `episodes`, to a split.

    Args:
        splits: (name, first episode, one past the last) in order; changed in place.
        split: The episode's split.
        episodes: How many episodes there are with it.
    """
    if splits and splits[-1][0] == split:
        splits[-1] = (split, splits[-1][1], episodes)
    else:
        splits.append((split, episodes - 1, episodes))


def split_ranges(splits: Sequence[tuple[str, int, int]], episodes: int) -> dict[str, str]:
    """LeRobot's splits: one range each. Where a split comes in pieces, all episodes are `train`.

    `episodes.split` still says which is which.
    """
    names = [name for name, _, _ in splits]
    if len(set(names)) < len(names):
        return {"train": f"0:{episodes}"}
    return {name: f"{start}:{stop}" for name, start, stop in splits}


def _feature_entry(feature: Feature, *, codec: str | None, fps: float) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "dtype": feature.dtype,
        "shape": list(feature.shape),
        "names": None if feature.names is None else list(feature.names),
    }
    if feature.info is not None:
        entry["info"] = feature.info
    if feature.dtype == "video":
        height, width, channels = feature.shape
        unless_declared = {
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": declares_depth(feature.info),
            "has_audio": False,
        }
        made: dict[str, Any] = {
            "video.height": height,
            "video.width": width,
            "video.channels": channels,
            "video.codec": codec or "",
            "video.fps": int(fps) if float(fps).is_integer() else fps,
        }
        entry["info"] = unless_declared | (feature.info or {}) | made
    return entry


class _Declared(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    names: list[str] | None


class _Info(msgspec.Struct):
    """What finedata needs of a part's info.json; LeRobot needs more."""

    features: dict[str, _Declared]
    fps: float


def read_info(root: Path) -> dict[str, Any]:
    """A part's info.json, whole.

    Raises:
        ConformError: It is not there, or is not an info.json as finedata writes it.
    """
    path = root / INFO_PATH
    try:
        text = path.read_bytes()
        msgspec.json.decode(text, type=_Info)
        return msgspec.json.decode(text)
    # of a broken key msgspec says a bare UnicodeDecodeError
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise damaged_file(path, found=error, wanted="the info.json that finedata wrote") from error


def read_features(root: Path) -> dict[str, Feature]:
    """The features of a part, from its info.json, with what is declared of depth; see `read_info`.

    Raises:
        ConformError: As `read_info`.
    """
    info = read_info(root)
    return {
        name: Feature(
            entry["dtype"],
            tuple(entry["shape"]),
            None if entry["names"] is None else tuple(entry["names"]),
            entry["info"] if declares_depth(entry.get("info")) else None,
        )
        for name, entry in info["features"].items()
    }
