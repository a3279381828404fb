"""Which features one LeRobot episode has: its columns, and what the dataset says of it elsewhere.

Columns keep their names. What the dataset says elsewhere has names of its own: `task`,
`tasks[COLUMN]`, `episode/tasks`, `episode/KEY`, `annotations/STEM#KEY` and `dataset/...`. A video
is located by its file's index, never decoded.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from finedata.errors import (
    CorruptRecordError,
    FeatureError,
    MissingFeatureError,
)
from finedata.readers.lerobot.language import is_persistent_type, language_texts
from finedata.readers.lerobot.pictures import ArrowPictures
from finedata.readers.lerobot.table import is_picture_type, is_text_type, to_numbers
from finedata.readers.lerobot.video import EpisodeVideos
from finedata.store.pictures import read_header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.readers.episode import Absent, CameraKind, PictureList, VideoClip
    from finedata.readers.lerobot.dataset import LerobotDataset
    from finedata.readers.lerobot.files import DataFile
    from finedata.readers.lerobot.table import ParquetRows
    from finedata.readers.lerobot.video import VideoIndexes

_TASKS_OF = re.compile(r"tasks\[(.+)\]")
# Index columns of every dataset; `task_index` has the shorter name `task`.
_OWN_INDEXES = ("index", "frame_index", "episode_index", "task_index")
# Video files that are looked into for the size of an absent camera's pictures.
_MOST_FILES = 16
_COUNTED = (*_OWN_INDEXES, "timestamp")
_DATASET_TEXTS = ("path", "name", "robot_type", "codebase_version", "episode", "rows_sha256")


@dataclass(frozen=True)
class LerobotEpisode:
    """Rows [first, last) of a data file; see `RawEpisode`."""

    dataset: LerobotDataset
    table: ParquetRows
    file: DataFile
    episode_index: int
    first: int
    last: int
    indexes: VideoIndexes
    _shapes: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])

    def has(self, feature: str) -> bool:
        """Whether the episode has the feature: a column, a video of its own, or what is derived."""
        if self.table.has(feature) or self._videos().has(feature) or feature in self._language:
            return True
        return feature in self._derived_names() or self._index_column(feature) is not None

    def feature_names(self) -> list[str]:
        """Columns, then cameras that are videos, then what is derived.

        In the place of a column of language stand the styles that it has.
        """
        columns = [n for n in dict.fromkeys(self.table.schema.names) if not self._is_language(n)]
        columns += self._language
        declared = [*self.dataset.videos, *self.dataset.info.video_keys]
        videos = [n for n in dict.fromkeys(declared) if n not in columns and self.camera_kind(n)]
        return columns + videos + [n for n in self._derived_names() if n not in columns]

    def declared_absent(self) -> dict[str, Absent]:
        """What info.json declares and nothing holds; see `RawEpisode.declared_absent`."""
        found: dict[str, Absent] = {}
        for name, declared in self.dataset.info.features.items():
            if not self.table.has(name) and self.camera_kind(name) is None:
                is_camera = declared.get("dtype") in ("video", "image")
                found[name] = "camera" if is_camera else "other"
        return found

    def is_derived(self, feature: str) -> bool:
        """What is neither a column nor a camera, and what every dataset counts by."""
        column = self.table.has(feature) and feature not in _COUNTED
        column = column or feature in self._language
        return not column and self.camera_kind(feature) is None

    def as_declared(self) -> bool:
        """Whether the numbers decoded so far have as many columns as info.json says."""
        return all(
            declared is None or math.prod(declared) == math.prod(shape[1:])
            for name, shape in self._shapes.items()
            for declared in [self.dataset.info.shape(name)]
        )

    def numbers(self, feature: str) -> np.ndarray:
        """Decode a numeric feature; see `RawEpisode.numbers`."""
        if feature in self._language:
            raise FeatureError(
                place=f"feature {feature}", found="language of no known form", wanted="numbers"
            )
        if not self.table.has(feature):
            return self._derived_numbers(feature)
        if is_picture_type(self._type(feature)):
            raise FeatureError(place=f"feature {feature}", found="pictures", wanted="numbers")
        values = to_numbers(
            self.table.column(feature, first=self.first, last=self.last), feature=feature
        )
        declared = self.dataset.info.shape(feature)
        if len(values) == 0 and declared is not None and values.ndim == 1 + len(declared):
            # No row tells the width of a list.
            values = values.reshape(0, *declared)
        self._shapes[feature] = values.shape
        return values

    def texts(self, feature: str) -> list[str]:
        """Decode a text feature; see `RawEpisode.texts`. A null is an empty text."""
        if (spoken := self._language.get(feature)) is not None:
            return spoken
        if not self.table.has(feature):
            return self._derived_texts(feature)
        if not is_text_type(self._type(feature)):
            raise FeatureError(
                place=f"feature {feature}", found=f"{self._type(feature)}", wanted="text"
            )
        column = self.table.column(feature, first=self.first, last=self.last)
        try:
            return [text or "" for text in cast("list[str | None]", column.to_pylist())]
        except UnicodeDecodeError as error:
            raise FeatureError(
                place=f"feature {feature}", found=f"bytes ({error})", wanted="UTF-8 text"
            ) from error
        except pa.ArrowException as error:
            raise CorruptRecordError(
                place=f"feature {feature}", found=f"{error}", wanted="text"
            ) from error

    def columns_of(self, feature: str) -> tuple[str, ...] | None:
        """The declared names of a feature's columns, where there are as many as columns."""
        names = self.dataset.info.column_names(feature)
        if names is None or not self.table.has(feature):
            return None
        if feature not in self._shapes:
            try:
                self.numbers(feature)
            except FeatureError:
                return None
        width = int(np.prod(self._shapes[feature][1:], dtype=np.int64))
        return names if len(names) == width else None

    def camera_kind(self, feature: str) -> CameraKind | None:
        """Whether a feature is pictures in a column, or a video; the files decide, not a dtype.

        Also of a camera that this episode lacks and another one of the dataset has.
        """
        if self.table.has(feature):
            return "pictures" if is_picture_type(self._type(feature)) else None
        if feature in self.dataset.videos:
            return "video"
        declared = self.dataset.info.features.get(feature, {}).get("dtype")
        return "pictures" if declared == "image" and self.dataset.has_column(feature) else None

    def pictures(self, feature: str) -> PictureList:
        """The encoded pictures of a camera; see `RawEpisode.pictures`."""
        kind = self.camera_kind(feature)
        if kind != "pictures":
            if kind is None and not self.has(feature):
                raise self._missing(feature)
            raise FeatureError(
                place=f"feature {feature}",
                found="a video" if kind else "no pictures",
                wanted="one encoded picture a step",
            )
        column_type = self._type(feature)
        if not isinstance(column_type, pa.StructType):
            return ArrowPictures(self._rows(feature), self.dataset.folder)
        column = self._rows(feature, "bytes")
        files: dict[int, tuple[str, int]] = {}
        if column.null_count and column_type.get_field_index("path") >= 0:
            files = self._picture_files(feature, column)
        return ArrowPictures(column, self.dataset.folder, files)

    def picture_shape(self, feature: str) -> tuple[int, int, int] | None:
        """(height, width, channels): the video file's own, or what holds for the first picture."""
        kind = self.camera_kind(feature)
        if kind == "video":
            return self._video_shape(feature)
        declared = self._declared_picture_shape(feature)
        if kind is None or declared is None or not self.table.has(feature):
            return declared if kind else None
        header = self._first_header(feature)
        return declared if header is None or header == declared[:2] else None

    def picture_info(self, feature: str) -> dict[str, Any] | None:
        """`info` of the feature in info.json; see `RawEpisode.picture_info`."""
        declared = self.dataset.info.features.get(feature, {}).get("info")
        return cast("dict[str, Any]", _in_64_bits(declared)) if isinstance(declared, dict) else None

    def video(self, feature: str) -> VideoClip:
        """Where a camera's video is; see `RawEpisode.video`.

        A video with fewer frames than the episode has rows is given with the frames it has.

        Raises:
            MissingFeatureError: No such camera, or no file for this episode.
            LengthError: The episode begins where the file has no frame.
            FeatureError: Not a video, or a file whose index cannot be read.
        """
        kind = self.camera_kind(feature)
        if kind == "pictures" or (kind is None and self.has(feature)):
            raise FeatureError(
                place=f"feature {feature}", found=kind or "no camera", wanted="a video"
            )
        if kind is None:
            raise self._missing(feature)
        return self._videos().clip(feature, rows=self.last - self.first)

    def digest(self, pictures: Mapping[str, tuple[str, np.ndarray]]) -> str:
        """Hex sha256 of the record: columns, texts that it refers to, pictures, video indexes."""
        digest = hashlib.sha256(f"lerobot {self.last - self.first}".encode())
        for feature in sorted(set(self.table.schema.names) | set(self.dataset.videos)):
            digest.update(f"\n{json.dumps(feature)} ".encode())
            kind = self.camera_kind(feature)
            if kind == "pictures":
                digest.update(self._picture_digest(feature, pictures).encode())
            elif kind == "video":
                digest.update(self._videos().digest(feature).encode())
            else:
                self._digest_column(feature, digest)
        row = self.dataset.meta.episodes.get(self.episode_index, {})
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
        if self.has("task"):
            digest.update(json.dumps(sorted(set(self.texts("task")))).encode())
        return digest.hexdigest()

    def close(self) -> None:
        """Nothing is held but the shard's own file."""

    def _is_language(self, name: str) -> bool:
        return self.table.has(name) and is_persistent_type(self._type(name))

    @cached_property
    def _language(self) -> dict[str, list[str] | None]:
        """What columns of language say, by style; see `finedata.readers.lerobot.language`."""
        names = [name for name in dict.fromkeys(self.table.schema.names) if self._is_language(name)]
        if not names:
            return {}
        fps = self.dataset.info.fps or 1.0
        time_s = [frame / fps for frame in range(self.last - self.first)]
        found: dict[str, list[str] | None] = {}
        for name in names:
            column = self.table.column(name, first=self.first, last=self.last)
            try:
                rows = column.to_pylist()
            except (UnicodeDecodeError, pa.ArrowException) as error:
                raise CorruptRecordError(
                    place=f"feature {name}", found=f"{error}", wanted="text"
                ) from error
            found |= language_texts(name, rows, time_s)
        return found

    def _derived_names(self) -> list[str]:
        meta, columns = self.dataset.meta, self.table.schema.names
        names: list[str] = []
        if (meta.has_tasks and "task_index" in columns) or self._has_tasks():
            names.append("task")
        if meta.has_tasks:
            names += [
                f"tasks[{name}]"
                for name in columns
                if name.endswith("_index") and name not in _OWN_INDEXES and self._is_index(name)
            ]
        names += [f"episode/{key}" for key in meta.episodes.get(self.episode_index, {})]
        names += [f"annotations/{key}" for key in meta.vocabularies]
        names += [f"dataset/{key}" for key in _DATASET_TEXTS]
        return names if self.dataset.info.fps is None else [*names, "dataset/fps"]

    def _derived_numbers(self, feature: str) -> np.ndarray:
        fps = self.dataset.info.fps
        if feature == "dataset/fps" and fps is not None:
            return np.array(fps)
        if feature == "dataset/fps":
            place = f"{self.dataset.files.prefix}meta/info.json"
            raise self.dataset.info.no_fps(place)
        if self.has(feature):
            raise FeatureError(place=f"feature {feature}", found="no numbers", wanted="numbers")
        raise self._missing(feature)

    def _derived_texts(self, feature: str) -> list[str]:
        if not self.has(feature):
            raise self._missing(feature)
        meta = self.dataset.meta
        column = self._index_column(feature)
        if column is not None:
            return self._task_texts(feature, column)
        if feature == "task":
            return meta.episode_tasks(self.episode_index)[:1]
        room, _, key = feature.partition("/")
        if room == "dataset" and key != "fps":
            return [self._dataset_text(key)]
        if room == "episode":
            return _as_texts(meta.episode(self.episode_index)[key])
        if room == "annotations":
            return meta.vocabulary(key)
        raise FeatureError(place=f"feature {feature}", found="no text", wanted="text")

    def _task_texts(self, feature: str, column: str) -> list[str]:
        values = self.numbers(column)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != 1 or not np.all(np.isfinite(values)) or np.any(values != values // 1):
            raise FeatureError(
                place=f"feature {feature}",
                found=f"{values.dtype} of shape {values.shape}",
                wanted="one whole number a step",
            )
        asked = self.episode_index if feature == "task" else None
        known = {
            index: self.dataset.meta.task(int(index), episode=asked)
            for index in np.unique(values).tolist()
        }
        return [known[index] for index in values.tolist()]

    def _index_column(self, feature: str) -> str | None:
        """The column whose numbers `task` or `tasks[COLUMN]` looks up."""
        match = _TASKS_OF.fullmatch(feature)
        column = "task_index" if feature == "task" else match.group(1) if match else None
        if column is None or not self._is_index(column):
            return None
        known = self.dataset.meta.has_tasks or (feature == "task" and self._has_tasks())
        return column if known else None

    def _has_tasks(self) -> bool:
        return bool(self.dataset.meta.episode_tasks(self.episode_index))

    def _is_index(self, column: str) -> bool:
        if not self.table.has(column):
            return False
        kind = self._type(column)
        if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            kind = kind.value_type
        return pa.types.is_integer(kind) or pa.types.is_floating(kind)

    def _dataset_text(self, key: str) -> str:
        texts = {
            "path": self.dataset.files.path,
            "name": self.dataset.name,
            "episode": str(self.episode_index),
        }
        if key == "rows_sha256":
            return self._rows_sha256()
        return texts[key] if key in texts else self.dataset.info.text(key)

    def _rows_sha256(self) -> str:
        """16 hex digits of the sha256 of the episode's own rows, column by column.

        Of a picture only its size counts, and nothing that other episodes or another export
        change: the same rows have the same digest wherever they lie.
        """
        digest = hashlib.sha256(f"rows {self.last - self.first}".encode())
        for feature in sorted(set(self.table.schema.names) - set(_OWN_INDEXES)):
            digest.update(f"\n{json.dumps(feature)} ".encode())
            if self.camera_kind(feature) == "pictures":
                digest.update(self.pictures(feature).lengths.astype("<i8").tobytes())
            else:
                self._digest_column(feature, digest)
        return digest.hexdigest()[:16]

    def _type(self, feature: str) -> Any:
        return self.table.schema.field(self.table.schema.names.index(feature)).type

    def _videos(self) -> EpisodeVideos:
        return EpisodeVideos(self.dataset, self.file, self.episode_index, self.indexes)

    def _rows(self, feature: str, field: str | None = None) -> Any:
        return self.table.column(feature, first=self.first, last=self.last, field=field)

    def _missing(self, feature: str) -> MissingFeatureError:
        return MissingFeatureError(
            place=f"feature {feature}",
            found=f"no such feature in {self.dataset.files.prefix}{self.file.name}",
            wanted=f"one of {', '.join(self.feature_names())}",
        )

    def _picture_files(self, feature: str, column: Any) -> dict[int, tuple[str, int]]:
        """The listed files of the rows that have a path instead of bytes."""
        paths = cast("list[str | None]", self._rows(feature, "path").to_pylist())
        empty = cast("list[bool]", column.is_null().to_pylist())
        found: dict[int, tuple[str, int]] = {}
        files = self.dataset.files
        for row, (path, absent) in enumerate(zip(paths, empty, strict=True)):
            if not absent or not path:
                continue
            name = files.picture(path, feature=feature, episode=self.episode_index)
            if name is None:
                raise FeatureError(
                    place=f"feature {feature}, row {row}",
                    found=f"no bytes, and the path {path!r}",
                    wanted="bytes, or the path of a file inside the dataset",
                )
            found[row] = (f"{files.prefix}{name}", files.sizes[name])
        return found

    def _declared_picture_shape(self, feature: str) -> tuple[int, int, int] | None:
        shape = self.dataset.info.shape(feature)
        if shape is None or len(shape) != 3 or not all(shape):
            return None
        names = self.dataset.info.column_names(feature) or ()
        channels_first = names[:1] in (("channel",), ("channels",), ("c",))
        if channels_first or (not names and shape[0] in (1, 3, 4) and shape[2] > 4):
            return shape[1], shape[2], shape[0]
        return shape[0], shape[1], shape[2]

    def _video_shape(self, feature: str) -> tuple[int, int, int] | None:
        """Of the episode's own file; where it has none, of the first file that can be read."""
        prefix = self.dataset.files.prefix
        files = self.dataset.videos[feature]
        names = [self._videos().name(feature)] if self._videos().has(feature) else []
        for name in names or [f"{prefix}{files[number]}" for number in sorted(files)[:_MOST_FILES]]:
            try:
                return self.indexes.index(name).shape
            except FeatureError:
                continue
        return self._declared_picture_shape(feature)

    def _first_header(self, feature: str) -> tuple[int, int] | None:
        """(height, width) of the first picture, where there is one that says so."""
        one = LerobotEpisode(
            self.dataset,
            self.table,
            self.file,
            self.episode_index,
            self.first,
            min(self.first + 1, self.last),
            self.indexes,
        )
        pictures = one.pictures(feature)
        header = read_header(pictures[0]) if len(pictures) else None
        return None if header is None else (header.height, header.width)

    def _picture_digest(self, feature: str, pictures: Mapping[str, tuple[str, np.ndarray]]) -> str:
        if feature in pictures:
            known, lengths = pictures[feature]
        else:
            values = self.pictures(feature)
            lengths = values.lengths
            content = hashlib.sha256()
            for index in range(len(values)):
                content.update(values[index])
            known = content.hexdigest()
        return f"{known} {hashlib.sha256(lengths.astype('<i8').tobytes()).hexdigest()}"

    def _digest_column(self, feature: str, digest: Any) -> None:
        try:
            column = self._rows(feature)
        except CorruptRecordError:
            # What is converted was read by the plan: damage here concerns a column left out.
            digest.update(b"unreadable")
            return
        try:
            values = to_numbers(column, feature=feature)
        except FeatureError:
            # Text, ragged lists, nested objects: one line a row, keys in order.
            try:
                for value in column.to_pylist():
                    digest.update(json.dumps(value, sort_keys=True, default=repr).encode() + b"\n")
            except (UnicodeDecodeError, pa.ArrowException):
                digest.update(b"unreadable")
            return
        little = values.astype(values.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{little.dtype.str} {little.shape} ".encode())
        digest.update(little.tobytes())


def _in_64_bits(value: Any) -> Any:
    """JSON whose whole numbers are of any size; what no table and no file of ours holds is text."""
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {name: _in_64_bits(one) for name, one in pairs}
    if isinstance(value, list):
        return [_in_64_bits(one) for one in cast("list[Any]", value)]
    fits = not isinstance(value, int) or -(2**63) <= value < 2**63
    return value if fits else str(value)


def _as_texts(value: Any) -> list[str]:
    if isinstance(value, list) and all(
        isinstance(entry, str) for entry in cast("list[Any]", value)
    ):
        return cast("list[str]", value)
    return [value if isinstance(value, str) else json.dumps(value, default=str)]
