"""A first look at a source nobody described: which features its first episodes hold.

An address comes in, a `Look` goes out: numeric features with their values, texts, cameras, the
rate. A handful of episodes is read, pictures are never decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.convert.context import opened_source, recognised_reader
from finedata.errors import FeatureError, SourceError, UsageError

if TYPE_CHECKING:
    from finedata.readers.episode import CameraKind, RawEpisode, Source

__all__ = ["Camera", "Look", "Vector", "look_at"]

_READERS = ("rlds", "lerobot", "rh20t", "hdf5")
# Episodes whose numbers are looked at, one a shard: enough for ranges, quick on a big corpus.
_EPISODES = 4
# Shards that are opened in search of them.
_MOST_SHARDS = 16
# A vector of more columns is an embedding or a picture.
_WIDEST = 256


@dataclass(frozen=True, slots=True)
class Vector:
    """A numeric feature with one row a step.

    Attributes:
        feature: Its name.
        values: (T, n) float64 of the first episode.
        more: (N, n) float64 of several episodes, joined: for ranges and norms.
        names: What the source calls its columns, where it does.
        is_float: Whether it is stored as floating point numbers.
    """

    feature: str
    values: np.ndarray
    more: np.ndarray
    names: tuple[str, ...] | None
    is_float: bool


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera: its feature, and how many pictures the first episode has of it."""

    feature: str
    frames: int


@dataclass(frozen=True, slots=True)
class Look:
    """What the first episodes hold.

    Attributes:
        reader: The file family.
        source: The opened source.
        features: Every feature of the first episode.
        vectors: Its numeric features with one row a step, of the most frequent length.
        texts: Its text features and their first text.
        cameras: Its cameras.
        frames: Steps of the vectors.
        fps: The declared rate.
        robot: The declared robot; empty where none is.
    """

    reader: str
    source: Source
    features: tuple[str, ...]
    vectors: tuple[Vector, ...]
    texts: dict[str, str]
    cameras: tuple[Camera, ...]
    frames: int
    fps: float | None
    robot: str


def look_at(address: str) -> Look:
    """Read the first episodes of a source.

    Raises:
        UsageError: There is no such folder, or it is RH20T's, which has a converter.
        SourceError: No file family, or no episode that can be read.
    """
    reader = recognised_reader(address, _READERS)
    if reader == "rh20t":
        raise UsageError(
            place=address,
            found="RH20T scene folders",
            wanted="a source that has no converter file yet",
            next_command="finedata sources copy rh20t ./mine.toml",
        )
    source = opened_source(address, reader)
    looks: list[Look] = []
    problems: list[str] = []
    for number in range(min(len(source.shards), _MOST_SHARDS)):
        for found, raw in source.scan(number):
            if raw is None:
                problems.append(f"{found.reason}: {found.message}")
                continue
            try:
                look = _look(source, reader, raw)
            except SourceError as error:
                problems.append(str(error))
                continue
            if look.frames:
                looks.append(look)
                break
        if len(looks) == _EPISODES:
            break
    if not looks:
        raise SourceError(
            place=address,
            found=problems[0] if problems else "no record",
            wanted="at least one episode that can be read",
            next_command=f"ls {address}",
        )
    return _joined(looks)


def _look(source: Source, reader: str, raw: RawEpisode) -> Look:
    names = raw.feature_names()
    vectors: list[Vector] = []
    texts: dict[str, str] = {}
    cameras: list[Camera] = []
    for name in names:
        kind = raw.camera_kind(name)
        if kind is not None:
            cameras.append(Camera(name, _frames(raw, name, kind)))
            continue
        try:
            values = np.asarray(raw.numbers(name))
        except FeatureError:
            texts |= _text(raw, name)
            continue
        if reader == "rlds" and not name.startswith("steps/"):
            continue
        table = values[:, None] if values.ndim == 1 else values
        if table.ndim == 2 and 0 < table.shape[1] <= _WIDEST and "@" not in name:
            floats = np.asarray(table, np.float64)
            is_float = table.dtype.kind == "f"
            vectors.append(Vector(name, floats, floats, raw.columns_of(name), is_float))
    lengths = [len(vector.values) for vector in vectors]
    frames = max(lengths, key=lengths.count) if lengths else 0
    if not vectors and cameras:
        frames = cameras[0].frames
    fps = float(raw.numbers("dataset/fps")) if raw.has("dataset/fps") else None
    return Look(
        reader=reader,
        source=source,
        features=tuple(names),
        vectors=tuple(vector for vector in vectors if len(vector.values) == frames),
        texts=texts,
        cameras=tuple(cameras),
        frames=frames,
        fps=fps,
        robot=texts.get("dataset/robot_type", ""),
    )


def _frames(raw: RawEpisode, name: str, kind: CameraKind) -> int:
    """Pictures of a camera; 0 where they cannot be counted."""
    try:
        return len(raw.pictures(name)) if kind == "pictures" else raw.video(name).frames
    except FeatureError:
        return 0


def _text(raw: RawEpisode, name: str) -> dict[str, str]:
    try:
        return {name: next(iter(raw.texts(name)), "")}
    except FeatureError:
        return {}


def _joined(looks: list[Look]) -> Look:
    """The first look, with the values of the like vectors of the others."""
    first, *others = looks
    vectors: list[Vector] = []
    for vector in first.vectors:
        like = [
            other.values
            for look in others
            for other in look.vectors
            if other.feature == vector.feature and other.values.shape[1] == vector.values.shape[1]
        ]
        more = np.concatenate([vector.values, *like])
        vectors.append(Vector(vector.feature, vector.values, more, vector.names, vector.is_float))
    return Look(
        reader=first.reader,
        source=first.source,
        features=first.features,
        vectors=tuple(vectors),
        texts=first.texts,
        cameras=first.cameras,
        frames=first.frames,
        fps=first.fps,
        robot=first.robot,
    )
