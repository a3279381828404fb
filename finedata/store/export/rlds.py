"""Export to RLDS: a folder that tensorflow-datasets reads without code of ours.

`tfds.builder_from_directory(OUT)` reads it: `features.json`, `dataset_info.json` and TFRecord
files. A record is an episode; its steps hold `observation` (`state`, every other vector under its
last name, cameras as JPEG or PNG), `action`, `is_first|is_last|is_terminal`, `reward`, `discount`
and `language_instruction`.

Conventions, as the Open X-Embodiment corpora have them: the last step of a demonstration is
terminal and its reward is 1, or 0 where the source says that the episode failed; the discount is
1. `episode_metadata/success` keeps what the source said: 1, 0, or -1 where it said nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.store.episode import Episode, shown_camera
from finedata.store.export.episodes import (
    ExportPart,
    ExportSummary,
    camera_features,
    export_parts,
    summary_of_parts,
)
from finedata.store.export.rlds_features import (
    MAIN_COLUMNS,
    dataset_info,
    dataset_name,
    features_json,
    step_vectors,
)
from finedata.store.export.rlds_pictures import RldsPictures
from finedata.store.export.tfrecord import ExampleValue, encode_example, frame_record
from finedata.store.lerobot.layout import picture_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from finedata.store.dataset import Dataset

_SHARD_BYTES = 256 << 20
_FRAME_BYTES = 16
_DEFAULT_SPLIT = "train"


def export_rlds(dataset: Dataset, *, out: Path, episode_ids: Sequence[str]) -> ExportSummary:
    """Write the chosen episodes as an RLDS dataset.

    Pictures go byte for byte where a camera has one codec and right colours; the rest, and
    videos, are encoded as JPEG (quality 95) and counted as `pictures_encoded`.

    Args:
        dataset: The dataset.
        out: An empty folder; a part is a folder below it where there are several.
        episode_ids: Which episodes.

    Raises:
        UsageError: An id is not of this dataset.
    """
    counts: Counter[str] = Counter()
    parts = export_parts(dataset, episode_ids=episode_ids)
    for part in parts:
        _write_part(dataset, part, out / part.folder, counts)
    return summary_of_parts(parts, format="rlds", out=out, counts=counts)


def _write_part(dataset: Dataset, part: ExportPart, folder: Path, counts: Counter[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = dataset_name(part.name)
    pictures = RldsPictures(camera_features(part), counts)
    splits: dict[str, list[dict[str, Any]]] = {}
    for row in part.episodes:
        splits.setdefault(_split_name(row["split"]), []).append(row)
    written: dict[str, _Shards] = {}
    for split, rows in splits.items():
        with _Shards(folder, f"{name}-{split}.tfrecord") as shards:
            for row in rows:
                episode = Episode(dataset, row)
                shards.add(encode_example(_example(part, episode, row, pictures)))
        written[split] = shards
    info = dataset_info(
        name=name,
        sources=[
            source
            for source in dataset.info.sources
            if source.name in {row["source"] for row in part.episodes}
        ],
        splits={split: (shards.payload_bytes, shards.lengths) for split, shards in written.items()},
    )
    infos = {
        shown_camera(name): part.infos.get(picture_column(name), {})
        for name in camera_features(part)
    }
    declared = features_json(part.features, cameras=pictures.declared(), infos=infos)
    for file, content in (("features.json", declared), ("dataset_info.json", info)):
        text = json.dumps(content, indent=4, ensure_ascii=False) + "\n"
        (folder / file).write_text(text, encoding="utf-8")


def _split_name(split: str | None) -> str:
    """TFDS takes letters, digits and underscores."""
    cleaned = "".join(letter if letter.isalnum() else "_" for letter in split or "")
    return cleaned or _DEFAULT_SPLIT


def _example(
    part: ExportPart, episode: Episode, row: Mapping[str, Any], pictures: RldsPictures
) -> dict[str, ExampleValue]:
    length = len(episode)
    last = np.arange(length) == length - 1
    tasks = [part.tasks[index].encode() for index in episode.columns["task_index"].tolist()]
    success = row["success"]
    example: dict[str, ExampleValue] = {
        "steps/is_first": np.arange(length) == 0,
        "steps/is_last": last,
        "steps/is_terminal": last,
        "steps/reward": (last & (success is not False)).astype(np.float32),
        "steps/discount": np.ones(length, np.float32),
        "steps/language_instruction": tasks,
        "episode_metadata/episode_id": [row["episode_id"].encode()],
        "episode_metadata/source": [row["source"].encode()],
        "episode_metadata/embodiment": [row["embodiment"].encode()],
        "episode_metadata/licence": [row["licence"].encode()],
        "episode_metadata/fps": np.array([row["fps"]], np.float32),
        "episode_metadata/success": np.array([-1 if success is None else int(success)]),
    }
    for column, key in step_vectors(part.features).items():
        example[f"steps/{key}"] = episode.columns[column]
    for column, key in MAIN_COLUMNS.items():
        if column in episode.columns:
            example[f"steps/{key}"] = episode.columns[column]
    for camera in camera_features(part):
        name = shown_camera(camera)
        example[f"steps/observation/{name}"] = pictures.encoded(episode, camera=camera)
        is_there = camera not in row["cameras_missing"]
        example[f"episode_metadata/has_{name}"] = np.array([is_there])
    return example


@dataclass(slots=True)
class _Shards:
    """The files of one split; they get their names when their number is known."""

    folder: Path
    stem: str
    lengths: list[int] = field(default_factory=list[int])
    payload_bytes: int = 0
    _file: Any = None
    _bytes: int = 0

    def __enter__(self) -> Self:
        return self

    def add(self, payload: bytes) -> None:
        """Write a record; a file that is full is followed by another."""
        if self._file is None or self._bytes + len(payload) > _SHARD_BYTES:
            self._close()
            self._file = self._path(len(self.lengths)).open("wb")
            self.lengths.append(0)
            self._bytes = 0
        self._file.write(frame_record(payload))
        self.lengths[-1] += 1
        self._bytes += len(payload) + _FRAME_BYTES
        self.payload_bytes += len(payload)

    def __exit__(self, *error: object) -> None:
        self._close()
        total = len(self.lengths)
        for index in range(total):
            name = f"{self.stem}-{index:05d}-of-{total:05d}"
            self._path(index).rename(self.folder / name)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _path(self, index: int) -> Path:
        return self.folder / f".{self.stem}-{index:05d}.partial"
