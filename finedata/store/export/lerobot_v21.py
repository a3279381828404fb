"""Export to LeRobot v2.1: one Parquet file and one video a camera for each episode.

Each part becomes a dataset of its own: `meta/` (info.json, tasks.jsonl, episodes.jsonl,
episodes_stats.jsonl and, for GR00T and StarVLA, modality.json), `data/` and `videos/`. Episodes,
frames and tasks are numbered anew from 0; `episodes.jsonl` says which `episode_id` each is.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.store.episode import Episode, shown_camera
from finedata.store.export.episodes import (
    ExportPart,
    ExportSummary,
    camera_features,
    export_parts,
    right_pictures,
    summary_of_parts,
)
from finedata.store.export.modality import modality_json, rotation_columns, rotation_features
from finedata.store.export.v21_meta import (
    append_line,
    data_file,
    fits_hf_schema,
    hf_schema,
    info_json,
    stats_line,
    video_file,
    write_lines,
)
from finedata.store.export.v21_video import camera_stats, video_feature, write_video
from finedata.store.lerobot.layout import Feature, picture_column
from finedata.store.lerobot.stats import FeatureStats, numeric_stats
from finedata.store.lerobot.write import arrow_column
from finedata.store.pictures import is_deep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from finedata.store.dataset import Dataset


def export_lerobot_v21(dataset: Dataset, *, out: Path, episode_ids: Sequence[str]) -> ExportSummary:
    """Write the chosen episodes as LeRobot v2.1, cameras as H.264 videos.

    A video of the dataset that holds exactly one episode in right colours is linked or copied;
    any other, and pictures, are encoded.

    Args:
        dataset: The dataset.
        out: An empty folder; a part is a folder below it where there are several.
        episode_ids: Which episodes.

    Raises:
        UsageError: An id is not of this dataset.
        MissingExtraError: Videos need `finedata[video]`.
    """
    return _export(dataset, out=out, episode_ids=episode_ids, keep_pictures=False)


def export_lerobot_v21_pictures(
    dataset: Dataset, *, out: Path, episode_ids: Sequence[str]
) -> ExportSummary:
    """The same with pictures as `image` columns, byte for byte; stored videos stay videos."""
    return _export(dataset, out=out, episode_ids=episode_ids, keep_pictures=True)


def _export(
    dataset: Dataset, *, out: Path, episode_ids: Sequence[str], keep_pictures: bool
) -> ExportSummary:
    counts: Counter[str] = Counter()
    parts = export_parts(dataset, episode_ids=episode_ids)
    for part in parts:
        writer = _PartWriter(part, out / part.folder, counts, keep_pictures=keep_pictures)
        for row in part.episodes:
            writer.add(Episode(dataset, row), row)
        writer.finish()
    return summary_of_parts(parts, format="lerobot-v2.1", out=out, counts=counts)


@dataclass(slots=True)
class _PartWriter:
    """One part that is being written: its numbering and its files."""

    part: ExportPart
    folder: Path
    counts: Counter[str]
    keep_pictures: bool = field(kw_only=True)
    tasks: dict[str, int] = field(default_factory=dict[str, int])
    episodes: int = 0
    frames: int = 0
    videos: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    deep: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        (self.folder / "meta").mkdir(parents=True)

    def add(self, episode: Episode, row: Mapping[str, Any]) -> None:
        """Write an episode under the next number."""
        number = self.episodes
        # 16 bits do not go through a video of colours: such pictures stay as they are.
        found = {name for name, pictures in episode.pictures.items() if is_deep(pictures)}
        self.counts["cameras_of_16_bits"] += len(found - self.deep)
        self.deep |= found
        columns = self._columns(episode)
        cameras = camera_features(self.part)
        as_pictures = [name for name in cameras if self._stays_picture(name, episode)]
        pictures = {
            name: right_pictures(episode, camera=name, counts=self.counts) for name in as_pictures
        }
        self._write_table(number, columns, pictures)
        for name, feature in cameras.items():
            if name not in as_pictures:
                self._write_video(number, episode, name, feature)
        stats = numeric_stats(
            {name: values for name, values in columns.items() if values.dtype.kind in "biuf"}
        )
        stats |= self._camera_stats(episode, cameras)
        self._write_lines(number, row, columns["task_index"], stats)
        self.episodes += 1
        self.frames += len(episode)

    def finish(self) -> None:
        """Write what is known only at the end."""
        cameras_and_numbers = len(camera_features(self.part)) + len(self._numeric_features())
        self.counts["features_left_out"] += len(self.part.features) - cameras_and_numbers
        meta = self.folder / "meta"
        text = info_json(
            self._features(),
            videos=self.videos,
            robot_type=self.part.embodiment,
            fps=self.part.fps,
            episodes=self.episodes,
            frames=self.frames,
            tasks=len(self.tasks),
        )
        (meta / "info.json").write_text(text, encoding="utf-8")
        lines = [{"task_index": index, "task": task} for task, index in self.tasks.items()]
        write_lines(meta / "tasks.jsonl", lines)
        cameras = [shown_camera(name) for name in camera_features(self.part)]
        declared = all(row["space"] != "undeclared" for row in self.part.episodes)
        groups = modality_json(self._numeric_features(), cameras=cameras, declared=declared)
        (meta / "modality.json").write_text(json.dumps(groups, indent=4) + "\n", encoding="utf-8")

    def _stays_picture(self, camera: str, episode: Episode) -> bool:
        return camera in episode.pictures and (self.keep_pictures or camera in self.deep)

    def _numeric_features(self) -> dict[str, Feature]:
        cameras = {picture_column(name) for name in camera_features(self.part)}
        return {
            name: feature
            for name, feature in self.part.features.items()
            if name not in cameras and fits_hf_schema(feature)
        }

    def _features(self) -> dict[str, Feature]:
        """Columns of the tables: numbers, the added rotations, pictures that stay pictures."""
        numbers = self._numeric_features()
        pictures = {
            picture_column(shown_camera(name)): Feature(
                "image", feature.shape, feature.names, self.part.infos.get(picture_column(name))
            )
            for name, feature in camera_features(self.part).items()
            if (self.keep_pictures or name in self.deep) and str(feature.dtype) == "image"
        }
        return {**numbers, **rotation_features(numbers), **pictures}

    def _columns(self, episode: Episode) -> dict[str, np.ndarray]:
        """Every number of an episode, under the new numbering."""
        numbers = self._numeric_features()
        columns = {name: episode.columns[name] for name in numbers}
        columns |= rotation_columns(columns, features=numbers)
        old: list[int] = episode.columns["task_index"].tolist()
        new = [self.tasks.setdefault(self.part.tasks[task], len(self.tasks)) for task in old]
        length = len(episode)
        columns["task_index"] = np.array(new, np.int64)
        columns["episode_index"] = np.full(length, self.episodes, np.int64)
        columns["index"] = np.arange(self.frames, self.frames + length, dtype=np.int64)
        return columns

    def _write_table(
        self, number: int, columns: Mapping[str, np.ndarray], pictures: Mapping[str, list[bytes]]
    ) -> None:
        schema = hf_schema(self._features())
        encoded = {
            picture_column(shown_camera(name)): [
                {"bytes": picture, "path": None} for picture in values
            ]
            for name, values in pictures.items()
        }
        arrays: list[pa.Array[Any]] = []
        for entry in cast("list[pa.Field[Any]]", list(schema)):
            if entry.name in encoded:
                arrays.append(cast("pa.Array[Any]", pa.array(encoded[entry.name], type=entry.type)))
            else:
                arrays.append(arrow_column(columns[entry.name], entry))
        path = self.folder / data_file(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path)  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)

    def _write_video(self, number: int, episode: Episode, camera: str, feature: Feature) -> None:
        key = picture_column(shown_camera(camera))
        target = self.folder / video_file(number, video_key=key)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_video(episode, camera=camera, feature=feature, target=target, counts=self.counts)
        if key not in self.videos:
            self.videos[key] = video_feature(
                target,
                feature=feature,
                fps=self.part.fps,
                declared=self.part.infos.get(picture_column(camera), {}),
                counts=self.counts,
            )

    def _camera_stats(
        self, episode: Episode, cameras: Mapping[str, Feature]
    ) -> dict[str, FeatureStats]:
        row = self.part.stats.row(self.episodes, named=True)
        found: dict[str, FeatureStats] = {}
        for camera in cameras:
            stats = camera_stats(row, episode, camera=camera)
            if stats is not None:
                found[picture_column(shown_camera(camera))] = stats
        return found

    def _write_lines(
        self,
        number: int,
        row: Mapping[str, Any],
        task_index: np.ndarray,
        stats: Mapping[str, FeatureStats],
    ) -> None:
        names = list(self.tasks)
        seen = cast("list[int]", task_index.tolist())
        line = {
            "episode_index": number,
            "tasks": [names[index] for index in dict.fromkeys(seen)],
            "length": int(row["length"]),
            "episode_id": row["episode_id"],
        }
        meta = self.folder / "meta"
        append_line(meta / "episodes.jsonl", line)
        cameras = [picture_column(shown_camera(name)) for name in camera_features(self.part)]
        append_line(
            meta / "episodes_stats.jsonl",
            stats_line(stats, episode_index=number, cameras=cameras),
        )
