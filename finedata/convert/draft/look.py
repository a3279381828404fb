"""A first look at a source nobody described: which features its episodes hold.

A stated sample of episodes, spread over the source's files, speaks together: a feature or camera
that one of them has is there, a vector is as wide as it is in most, and which episode comes first
changes nothing. Pictures are never decoded.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.convert.context import opened_source, recognised_reader
from finedata.errors import FeatureError, SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.readers.episode import CameraKind, RawEpisode, Source

_READERS = ("rlds", "lerobot", "rh20t", "hdf5")
# Episodes whose numbers are looked at: enough for ranges, quick on a big corpus.
_EPISODES = 8
# Shards that are opened in search of them, spread over all.
_MOST_SHARDS = 16
# So many differences between episodes are listed.
_MOST_ODD = 12
# What attributes call the rate: robosuite's, and plain ones.
_RATES = frozenset({"control_freq", "fps", "frequency", "frame_rate", "hz"})
_USUAL_HZ = (0.9, 250.0)
# A vector of more columns is an embedding or a picture.
_WIDEST = 256


@dataclass(frozen=True, slots=True)
class NumberFeature:
    """A numeric feature with one row a step.

    Attributes:
        feature: Its name.
        values: (T, n) float64 of the episode that moves most.
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
    """A camera: its feature, and how many pictures an episode has of it that has some."""

    feature: str
    frames: int


@dataclass(frozen=True, slots=True)
class Look:
    """What a sample of the episodes holds.

    Attributes:
        reader: The file family.
        source: The opened source.
        sample: Which episodes were looked at, in words.
        odd: What is not the same in all of them, in words.
        mixed: Whether a vector is not equally wide in all of them.
        features: Every feature of any of them.
        vectors: Their numeric features with one row a step, of the most frequent length.
        texts: Its text features and their first text.
        cameras: Its cameras.
        frames: Steps of the vectors.
        fps: The declared rate.
        fps_feature: The feature that declares it.
        robot: The declared robot; empty where none is.
    """

    reader: str
    source: Source
    sample: str
    odd: tuple[str, ...]
    mixed: bool
    features: tuple[str, ...]
    vectors: tuple[NumberFeature, ...]
    texts: dict[str, str]
    cameras: tuple[Camera, ...]
    frames: int
    fps: float | None
    fps_feature: str
    robot: str


def look_at(address: str) -> Look:
    """Read a sample of the episodes of a source.

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
    numbers = spread(len(source.shards), _MOST_SHARDS)
    # Of few files more than one episode each.
    each = -(-_EPISODES // max(len(numbers), 1))
    for number in numbers:
        taken = 0
        for found, raw in source.scan(number):
            if raw is None:
                problems.append(f"{source.shards[number].file}: {found.message}")
                continue
            try:
                look = _look(source, reader, raw)
            except SourceError as error:
                problems.append(str(error))
                continue
            if look.frames:
                looks.append(look)
                taken += 1
            if taken == each or len(looks) == _EPISODES:
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
    return _joined(looks, len(source.shards))


def spread(count: int, most: int) -> list[int]:
    """So many numbers below `count`, evenly spread, in an order whose beginnings are spread too."""
    chosen = np.unique(np.rint(np.linspace(0, count - 1, min(count, most))).astype(int)).tolist()
    middle = sorted(range(len(chosen)), key=lambda k: f"{k:08b}"[::-1])
    return [chosen[k] for k in middle]


def _look(source: Source, reader: str, raw: RawEpisode) -> Look:
    names = raw.feature_names()
    vectors: list[NumberFeature] = []
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
            vectors.append(NumberFeature(name, floats, floats, raw.columns_of(name), is_float))
    lengths = [len(vector.values) for vector in vectors]
    frames = max(lengths, key=lengths.count) if lengths else 0
    if not vectors and cameras:
        frames = cameras[0].frames
    rate, fps = _rate(raw, names)
    return Look(
        reader=reader,
        source=source,
        sample="",
        odd=(),
        mixed=False,
        features=tuple(names),
        vectors=tuple(vector for vector in vectors if len(vector.values) == frames),
        texts=texts,
        cameras=tuple(cameras),
        frames=frames,
        fps=fps,
        fps_feature=rate,
        robot=texts.get("dataset/robot_type", ""),
    )


def _rate(raw: RawEpisode, names: Sequence[str]) -> tuple[str, float | None]:
    """The feature that declares the rate, and the rate: LeRobot's, or what attributes say."""
    if raw.has("dataset/fps"):
        return "dataset/fps", float(raw.numbers("dataset/fps"))
    for name in names:
        if "@" not in name or re.split(r"[@#./]", name)[-1] not in _RATES:
            continue
        try:
            value = np.asarray(raw.numbers(name), np.float64)
        except FeatureError:
            continue
        if value.size == 1 and _USUAL_HZ[0] <= value.item() <= _USUAL_HZ[1]:
            return name, value.item()
    return "", None


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _usual(looks: list[Look]) -> list[Look]:
    """The looks whose vectors are as wide as in most, all of them where no width is usual."""
    shapes = [tuple((v.feature, v.values.shape[1]) for v in look.vectors) for look in looks]
    counts = Counter(shapes)
    most = max(counts.values())
    return [look for look, shape in zip(looks, shapes, strict=True) if counts[shape] == most]


def _moved(look: Look) -> tuple[float, int]:
    """How far an episode's numbers move, in their own units; of equals the longer."""
    ranges = [np.nan_to_num(np.ptp(vector.values, axis=0)) for vector in look.vectors]
    return float(sum(np.log1p(one).sum() for one in ranges)), look.frames


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


def _joined(looks: list[Look], shards: int) -> Look:
    """What all looks say together; none goes before another."""
    odd: list[str] = []
    features = list(dict.fromkeys(name for look in looks for name in look.features))
    for name in features:
        having = sum(name in look.features for look in looks)
        if having < len(looks):
            odd.append(f"{name} is in {having} of {len(looks)} episodes")
    # Cameras of robots of another form in the same folder are not in this one.
    usual = _usual(looks)
    speaker = max(usual, key=_moved)
    vectors: list[NumberFeature] = []
    mixed = False
    for name in dict.fromkeys(vector.feature for look in looks for vector in look.vectors):
        every = [vector for look in looks for vector in look.vectors if vector.feature == name]
        widths = Counter(vector.values.shape[1] for vector in every)
        width = max(widths, key=lambda one: (widths[one], -one))
        if len(widths) > 1:
            mixed = True
            odd.append(
                f"{name} is {width} numbers wide in {widths[width]} of {len(every)} episodes"
            )
        like = [vector for vector in every if vector.values.shape[1] == width]
        own = [
            vector
            for vector in speaker.vectors
            if vector.feature == name and vector.values.shape[1] == width
        ]
        if not own:
            continue
        more = np.concatenate([vector.values for vector in like])
        vectors.append(NumberFeature(name, own[0].values, more, own[0].names, own[0].is_float))
    frames: dict[str, int] = {}
    for look in (speaker, *usual):
        for camera in look.cameras:
            # beside the speaker's steps it would have as many more or fewer as beside its own
            count = camera.frames and speaker.frames + camera.frames - look.frames
            frames[camera.feature] = frames.get(camera.feature) or count
    texts: dict[str, str] = {}
    for look in looks:
        for name, text in look.texts.items():
            texts[name] = min(filter(None, (texts.get(name, ""), text)), default="")
    if len(odd) > _MOST_ODD:
        odd[_MOST_ODD:] = [f"and {len(odd) - _MOST_ODD} more features"]
    return Look(
        reader=speaker.reader,
        source=speaker.source,
        sample=f"{_counted(len(looks), 'episode')}, spread over {_counted(shards, 'file')}",
        odd=tuple(odd),
        mixed=mixed,
        features=tuple(features),
        vectors=tuple(vectors),
        texts=texts,
        cameras=tuple(Camera(name, count) for name, count in frames.items()),
        frames=speaker.frames,
        fps=speaker.fps,
        fps_feature=speaker.fps_feature,
        robot=speaker.robot,
    )
