"""How a LeRobot v2.1 dataset names its files, types its columns and fills its `meta/`.

The schema is the one that Hugging Face's `datasets` reads. Files of JSON lines grow an episode at
a time, so memory does not depend on how many there are.

Source: lerobot 0.3 (v2.1), `lerobot/datasets/utils.py`.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from finedata.schema.tables.all import column_type
from finedata.store.lerobot.layout import KEPT_DTYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from finedata.store.lerobot.layout import Feature
    from finedata.store.lerobot.stats import FeatureStats

__all__ = [
    "CHUNK_EPISODES",
    "append_line",
    "data_file",
    "fits_hf_schema",
    "hf_schema",
    "info_json",
    "stats_line",
    "video_file",
    "write_lines",
]

CHUNK_EPISODES = 1000
_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
# `datasets` has Array2D to Array5D.
_MOST_DIMENSIONS = 5
# What v2.1 knows; the quantiles came later.
_STATS_KEYS = ("min", "max", "mean", "std", "count")


def data_file(episode_index: int) -> str:
    """Path of an episode's table, below the dataset."""
    return _DATA.format(episode_chunk=episode_index // CHUNK_EPISODES, episode_index=episode_index)


def video_file(episode_index: int, *, video_key: str) -> str:
    """Path of an episode's video of one camera, below the dataset."""
    return _VIDEO.format(
        episode_chunk=episode_index // CHUNK_EPISODES,
        episode_index=episode_index,
        video_key=video_key,
    )


def fits_hf_schema(feature: Feature) -> bool:
    """Whether a feature is a number, a text or an array a row that `hf_schema` can hold."""
    return feature.dtype in (*KEPT_DTYPES, "string") and len(feature.shape) <= _MOST_DIMENSIONS


def hf_schema(features: Mapping[str, Feature]) -> pa.Schema:
    """The schema of an episode's table: vectors of fixed size, a shape of (1,) as a scalar.

    Args:
        features: Columns of the table: no videos.
    """
    fields: list[pa.Field[Any]] = []
    described: dict[str, Any] = {}
    for name, feature in features.items():
        if feature.dtype == "image":
            picture = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
            fields.append(pa.field(name, picture))
            described[name] = {"_type": "Image"}
            continue
        fields.append(pa.field(name, column_type(feature.dtype, feature.shape)))
        scalar = {"dtype": feature.dtype, "_type": "Value"}
        if len(feature.shape) > 1:
            array = {"shape": list(feature.shape), "_type": f"Array{len(feature.shape)}D"}
            described[name] = array | {"dtype": feature.dtype}
        elif feature.shape == (1,):
            described[name] = scalar
        else:
            length = math.prod(feature.shape)
            described[name] = {"feature": scalar, "length": length, "_type": "Sequence"}
    metadata = {"huggingface": json.dumps({"info": {"features": described}})}
    return pa.schema(fields, metadata=metadata)  # pyright: ignore[reportArgumentType]  (its stub is invariant)


def info_json(
    features: Mapping[str, Feature],
    *,
    videos: Mapping[str, Mapping[str, Any]],
    robot_type: str,
    fps: float,
    episodes: int,
    frames: int,
    tasks: int,
) -> str:
    """The text of meta/info.json.

    Args:
        features: Columns of the tables.
        videos: Video features in the words of info.json.
        robot_type: The embodiment.
        fps: Frames a second; a whole number is written as one.
        episodes: How many episodes.
        frames: How many rows in all.
        tasks: How many instructions.
    """
    columns = {
        name: {
            "dtype": feature.dtype,
            "shape": list(feature.shape),
            "names": None if feature.names is None else list(feature.names),
        }
        for name, feature in features.items()
    }
    info: dict[str, Any] = {
        "codebase_version": "v2.1",
        "robot_type": robot_type,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "total_videos": episodes * len(videos),
        "total_chunks": -(-episodes // CHUNK_EPISODES),
        "chunks_size": CHUNK_EPISODES,
        "fps": int(fps) if float(fps).is_integer() else fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": _DATA,
        "video_path": _VIDEO if videos else None,
        "features": {**columns, **videos},
    }
    return json.dumps(info, indent=4, ensure_ascii=False) + "\n"


def stats_line(
    stats: Mapping[str, FeatureStats], *, episode_index: int, cameras: Sequence[str]
) -> dict[str, Any]:
    """A line of episodes_stats.jsonl: cameras as (3, 1, 1), `count` a list of one integer.

    Args:
        stats: Feature to flat lists.
        episode_index: The episode.
        cameras: Names of the features that are pictures or videos.
    """
    nested: dict[str, Any] = {}
    for name, feature in stats.items():
        nested[name] = {}
        for key in _STATS_KEYS:
            if key == "count":
                nested[name][key] = [int(feature[key][0])]
            elif name in cameras:
                nested[name][key] = [[[value]] for value in feature[key]]
            else:
                nested[name][key] = feature[key]
    return {"episode_index": episode_index, "stats": nested}


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add an object to a file of JSON lines.

    A number that does not exist is written as `NaN`, as LeRobot does and reads.
    """
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write a file of JSON lines."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
