"""RH20T scene folders: one folder is one demonstration; raw episodes go out.

Every array of a scene is keyed by camera serial and sampled at that camera's own colour frames,
so one camera, the reference, defines the rows of the episode: the first serial in order, not in
the hand where `configs.json` tells, that has a video, its time stamps and robot poses. All else
is brought to its time stamps: equal ones first, else the nearest within 100 ms, else NaN. The
reader converts no number: quaternions stay wxyz, gripper widths millimetres.

`.npy` files go through the allow-list of `finedata.readers.npy`; of a video only the index is
read. Layout and conventions: rh20t_api (`scene.py`, `configs/configs.json`), MIT.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, cast

import msgspec
import numpy as np

from finedata.errors import (
    CorruptRecordError,
    FeatureError,
    LengthError,
    MissingFeatureError,
    SourceError,
    UsageError,
)
from finedata.readers.episode import Found, Shard, VideoClip
from finedata.readers.files import SourceFile, SourceFolder, open_folder
from finedata.readers.mp4_index import Mp4Index, read_mp4_index
from finedata.readers.npy import RefusedPickleError, read_npy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from finedata.readers.episode import CameraKind, PictureList, RawEpisode

__all__ = ["ALIGNMENT_MS", "Rh20tEpisode", "Rh20tScene", "Rh20tSource", "open_rh20t", "recognises"]

# How far a sample may lie from the row it is shown in; the publisher's converters use the same.
ALIGNMENT_MS: Final = 100

_SCENE = re.compile(
    r"(?:.*/)?(task_(\d{4})_user_(\d{4})_scene_(\d{4})_cfg_(\d{4})(?:_human)?)/(.+)"
)
_COLOUR = re.compile(r"cam_([^/]+)/color\.mp4")
_MAX_NPY_BYTES = 1 << 30
_HASH_BLOCK_BYTES = 8 << 20
# Beyond the largest integer that float64 holds exactly nothing is a time in milliseconds.
_MAX_MS = 1 << 53
# A row with more frames than this within 100 ms: time stamps that tell nothing apart.
_MAX_CANDIDATES = 1000

_TEXTS = (
    "scene/name",
    "scene/task",
    "scene/user",
    "scene/scene",
    "scene/cfg",
    "task_description/english",
    "task_description/chinese",
    "reference_camera",
)
_METADATA = ("rating", "calib_quality", "finish_time")


class _Stream(NamedTuple):
    """Where a feature is: a file of `transformed/`, its member, and the width where it is fixed."""

    file: str
    member: str | None
    width: int | None


_STREAMS: Final = {
    "tcp_base": _Stream("tcp_base.npy", "tcp", 7),
    "tcp": _Stream("tcp.npy", "tcp", 7),
    "robot_ft": _Stream("tcp_base.npy", "robot_ft", 6),
    "force_torque": _Stream("force_torque.npy", "raw", 6),
    "force_torque_base": _Stream("force_torque_base.npy", "raw", 6),
    "gripper_command": _Stream("gripper.npy", "gripper_command", None),
    "gripper_info": _Stream("gripper.npy", "gripper_info", None),
    "joint": _Stream("joint.npy", None, None),
}


@dataclass(frozen=True, slots=True)
class Rh20tScene:
    """A scene folder and what belongs to it elsewhere.

    Attributes:
        folder: Name relative to the source folder.
        name: Last part of it, `task_0001_user_0001_scene_0001_cfg_0001`, perhaps `_human`.
        ids: Its four numbers as text: task, user, scene, cfg.
        files: Name in the scene (`cam_x/color.mp4`) to (name in the source, bytes). `joint.npy` may
            come from a tree of its own.
        in_hand: Serials of the cameras in the hand, where `configs.json` tells.
        descriptions: The goal by language, `english` and `chinese`.
    """

    folder: str
    name: str
    ids: tuple[str, str, str, str]
    files: dict[str, tuple[str, int]]
    in_hand: frozenset[str]
    descriptions: dict[str, str]

    @property
    def human(self) -> bool:
        """Whether it is a person's demonstration, without a robot."""
        return self.name.endswith("_human")

    def cameras(self) -> list[str]:
        """Serials that have a colour video, sorted."""
        matches = (_COLOUR.fullmatch(name) for name in self.files)
        return sorted(match[1] for match in matches if match)


@dataclass(frozen=True, slots=True)
class Rh20tSource:
    """A folder of scenes; see `Source`."""

    folder: SourceFolder
    scenes: tuple[Rh20tScene, ...]
    version: str = ""
    missing_shards: tuple[str, ...] = ()
    one_part: bool = False
    byte_ranges: bool = False

    @property
    def shards(self) -> Sequence[Shard]:
        """The scene folders, sorted by path."""
        return tuple(Shard(scene.folder, 0) for scene in self.scenes)

    def scan(self, shard: int) -> Iterator[tuple[Found, RawEpisode | None]]:
        """The one record of a scene; see `Source.scan`."""
        scene = self.scenes[shard]
        try:
            episode = Rh20tEpisode(self.folder, scene)
        except SourceError as error:
            yield Found(0, 0, 0, _reason(error), str(error)), None
            return
        rows = len(episode.time_ms)
        if rows:
            yield Found(0, 0, rows), episode
        else:
            message = f"{scene.folder}: no time stamp of the camera {episode.reference}"
            yield Found(0, 0, 0, "zero_steps", message), None
        episode.close()

    def open_shard(self, shard: int) -> _OpenScene:
        """Open a scene; see `Source.open_shard`."""
        return _OpenScene(self.folder, self.scenes[shard])


def _reason(error: SourceError) -> str:
    reasons = {
        RefusedPickleError: "refused_pickle",
        CorruptRecordError: "unparsable",
        MissingFeatureError: "missing_feature",
        LengthError: "unequal_lengths",
        FeatureError: "wrong_type",
    }
    return next((r for kind, r in reasons.items() if isinstance(error, kind)), "unreadable_file")


@dataclass(frozen=True, slots=True)
class _OpenScene:
    """A scene; no file stays open. See `OpenShard`."""

    folder: SourceFolder
    scene: Rh20tScene

    def episode(self, found: Found) -> Rh20tEpisode:
        """The scene's episode; see `OpenShard.episode`."""
        episode = Rh20tEpisode(self.folder, self.scene)
        if len(episode.time_ms) != found.length:
            raise SourceError(
                place=self.scene.folder,
                found=f"{len(episode.time_ms)} rows",
                wanted=f"{found.length}, as when it was planned",
                next_command="restore the source files, then run the same command again",
            )
        return episode

    def close(self) -> None:
        """Nothing is open."""


# Opening


def recognises(files: list[SourceFile]) -> bool:
    """Whether files are RH20T's: a scene folder that holds `metadata.json` or a camera."""
    matches = (_SCENE.fullmatch(file.name) for file in files)
    return any(m and (m[6] == "metadata.json" or m[6].startswith("cam_")) for m in matches)


def open_rh20t(address: str | Path) -> Rh20tSource:
    """Open a folder of scenes: `RH20T_cfg3` or its parent.

    Scenes found twice under the same name in trees of depth or joints are one scene. The
    publisher's `configs.json` and `task_description.json` are read where they lie in the folder or
    one below.

    Args:
        address: A local path, or an address with a scheme that fsspec knows.

    Raises:
        UsageError: No such folder, or no scene in it.
        SourceError: `configs.json` or `task_description.json` does not decode.
    """
    folder = open_folder(address)
    listed = folder.files()
    held: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
    for file in listed:
        match = _SCENE.fullmatch(file.name)
        if match:
            scene = file.name[: -len(match[6]) - 1]
            held[scene][match[6]] = (file.name, file.size)
    if not held:
        raise UsageError(
            place=f"--input {address}",
            found="no folder named like task_0001_user_0001_scene_0001_cfg_0001",
            wanted="the folder that holds RH20T's scene folders, or its parent",
        )
    in_hand = _in_hand(folder, listed)
    descriptions = _descriptions(folder, listed)
    scenes = [
        _scene(path, files, in_hand, descriptions) for path, files in _with_joints(held).items()
    ]
    return Rh20tSource(folder, tuple(sorted(scenes, key=lambda scene: scene.folder)))


def _with_joints(
    held: dict[str, dict[str, tuple[str, int]]],
) -> dict[str, dict[str, tuple[str, int]]]:
    """Scenes proper, each with the joints of a tree beside; what has no scene stays to be refused.

    A folder is a scene proper where it holds metadata or a colour video.
    """
    proper = {
        path
        for path, files in held.items()
        if "metadata.json" in files or any(_COLOUR.fullmatch(name) for name in files)
    }
    names = {path.rpartition("/")[2] for path in proper}
    joints: dict[str, tuple[str, int]] = {}
    for path in sorted(held):
        joint = held[path].get("transformed/joint.npy")
        if joint:
            joints.setdefault(path.rpartition("/")[2], joint)
    found: dict[str, dict[str, tuple[str, int]]] = {}
    for path, files in held.items():
        name = path.rpartition("/")[2]
        if path in proper or name not in names:
            beside = {"transformed/joint.npy": joints[name]} if name in joints else {}
            found[path] = beside | files
    return found


def _scene(
    path: str,
    files: dict[str, tuple[str, int]],
    in_hand: dict[int, frozenset[str]],
    descriptions: dict[str, dict[str, str]],
) -> Rh20tScene:
    match = _SCENE.fullmatch(f"{path}/-")
    if match is None:  # the path was cut from such a match
        raise SourceError(place=path, found="no scene folder", wanted="a scene folder")
    name, task, user, scene, cfg = match.groups()[:5]
    described = descriptions.get(f"task_{task}", {})
    hand = in_hand.get(int(cfg), frozenset())
    return Rh20tScene(path, name, (task, user, scene, cfg), files, hand, described)


def _shallow_json(folder: SourceFolder, listed: list[SourceFile], base: str) -> Any:
    """The file of this name in the folder or one below, the nearest first; `None` without."""
    names = [f.name for f in listed if f.name == base or f.name.endswith(f"/{base}")]
    names = [name for name in names if name.count("/") <= 1]
    if not names:
        return None
    name = min(names, key=lambda name: (name.count("/"), name))
    return _decoded(folder.read_all(name), name)


def _decoded(data: bytes, name: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptRecordError(
            place=name, found=f"bytes that do not decode ({error})", wanted="JSON"
        ) from error


def _in_hand(folder: SourceFolder, listed: list[SourceFile]) -> dict[int, frozenset[str]]:
    try:
        configs = msgspec.convert(
            _shallow_json(folder, listed, "configs.json") or [], list[dict[str, Any]]
        )
        return {
            config["conf_num"]: frozenset(msgspec.convert(config.get("in_hand", []), list[str]))
            for config in configs
            if isinstance(config.get("conf_num"), int)
        }
    except msgspec.ValidationError as error:
        raise SourceError(
            place="configs.json", found=f"{error}", wanted="a list of robot configurations"
        ) from error


def _descriptions(folder: SourceFolder, listed: list[SourceFile]) -> dict[str, dict[str, str]]:
    try:
        tasks = msgspec.convert(
            _shallow_json(folder, listed, "task_description.json") or {},
            dict[str, dict[str, str | None]],
        )
    except msgspec.ValidationError as error:
        raise SourceError(
            place="task_description.json", found=f"{error}", wanted="descriptions by task"
        ) from error
    languages = ("english", "chinese")
    return {
        task: {
            language: text
            for language in languages
            if (text := words.get(f"task_description_{language}")) is not None
        }
        for task, words in tasks.items()
    }


# One episode


class Rh20tEpisode:
    """One scene, its arrays unread until asked for; see `RawEpisode`.

    Attributes:
        scene: What the source knows of it.
        reference: Serial of the camera whose frames are the rows.
        time_ms: Colour time stamps of the reference camera, int64 (T,), Unix milliseconds, as
            they are stored: perhaps neither ordered nor distinct.

    Raises:
        MissingFeatureError: A human demonstration, or no camera that can be the reference.
        CorruptRecordError: `tcp_base.npy`, the time stamps or the metadata are damaged.
        RefusedPickleError: One of them asks for what is not allow-listed.
        FeatureError: One of them holds something else than RH20T's.
    """

    def __init__(self, folder: SourceFolder, scene: Rh20tScene) -> None:
        if scene.human:
            raise MissingFeatureError(
                place=scene.folder,
                found="a human demonstration, which has no robot arrays",
                wanted="a robot's demonstration",
            )
        self.scene = scene
        self._folder = folder
        self._indices: dict[str, Mp4Index] = {}
        self._entries: dict[str, Any] = {}
        self._sampled: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.reference = self._choose_reference()
        self.time_ms = self._frame_times(self.reference)
        self._metadata = self._read_metadata()

    # What there is

    def has(self, feature: str) -> bool:
        """Whether the scene holds it; a damaged file counts, `numbers` then says what is wrong."""
        if feature in _STREAMS:
            try:
                self._samples(feature)
            except MissingFeatureError:
                return False
            except SourceError:
                return True
            return True
        if feature.startswith("metadata/"):
            name = feature.removeprefix("metadata/")
            return name in _METADATA and self._metadata.get(name) is not None
        if feature.startswith("task_description/"):
            return feature.removeprefix("task_description/") in self.scene.descriptions
        if feature == "after_finish":
            return self.has("metadata/finish_time")
        return feature == "time_ms" or feature in _TEXTS or self.camera_kind(feature) is not None

    def feature_names(self) -> list[str]:
        """See `RawEpisode.feature_names`."""
        metadata = [f"metadata/{name}" for name in _METADATA]
        cameras = [f"cam_{serial}" for serial in self.scene.cameras()]
        names = ["time_ms", "after_finish", *_STREAMS, *metadata, *_TEXTS, *cameras]
        return [name for name in names if self.has(name)]

    def columns_of(self, feature: str) -> tuple[str, ...] | None:
        """RH20T names no columns; see `RawEpisode.columns_of`."""
        del feature

    def camera_kind(self, feature: str) -> CameraKind | None:
        """See `RawEpisode.camera_kind`."""
        there = feature.startswith("cam_") and f"{feature}/color.mp4" in self.scene.files
        return "video" if there else None

    # Numbers and texts

    def numbers(self, feature: str) -> np.ndarray:
        """Decode a numeric feature; see `RawEpisode.numbers`.

        `time_ms` int64 (T,), `after_finish` bool (T,), `metadata/...` (); the others float64 (T, n)
        at the rows' times, NaN where there is no sample within `ALIGNMENT_MS` or it is `None`.
        """
        if feature == "time_ms":
            return self.time_ms
        if feature == "after_finish":
            return self.time_ms > float(self.numbers("metadata/finish_time"))
        if feature in _STREAMS:
            sample_ms, values = self._samples(feature)
            return _aligned(self.time_ms, sample_ms, values)
        if feature.startswith("metadata/") and self.has(feature):
            value = self._metadata[feature.removeprefix("metadata/")]
            known = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not known or not -(1 << 63) <= value < 1 << 63:
                self._wrong(feature, found=f"{value!r:.80}", wanted="a number")
            return np.asarray(value, np.int64 if isinstance(value, int) else np.float64)
        return self._absent(feature, wanted="numbers")

    def texts(self, feature: str) -> list[str]:
        """One text of the scene; see `RawEpisode.texts`."""
        scene = self.scene
        if feature == "reference_camera":
            return [self.reference]
        if feature == "scene/name":
            return [scene.name]
        room, _, name = feature.partition("/")
        ids: dict[str, str] = dict(zip(("task", "user", "scene", "cfg"), scene.ids, strict=True))
        known = {"scene": ids, "task_description": scene.descriptions}.get(room, {})
        return [known[name]] if name in known else self._absent(feature, wanted="text")

    # Cameras

    def pictures(self, feature: str) -> PictureList:
        """RH20T holds videos; see `RawEpisode.pictures`."""
        return self._absent(feature, wanted="pictures")

    def picture_shape(self, feature: str) -> tuple[int, int, int] | None:
        """What the video's index says; see `RawEpisode.picture_shape`."""
        try:
            return self._index(feature).shape if self.camera_kind(feature) else None
        except SourceError:
            return None

    def video(self, feature: str) -> VideoClip:
        """A camera's colour video; see `RawEpisode.video`.

        Frame i is at time stamp i; frames without a time stamp do not belong to the episode. Other
        cameras than the reference get one frame a row, each another one, in order and within
        `ALIGNMENT_MS`, as near in all as these rules allow.

        Raises:
            FeatureError: Missing, or rows without a frame of this camera.
            CorruptRecordError: Its index or its time stamps cannot be read.
        """
        if self.camera_kind(feature) is None:
            self._absent(feature, wanted="a video")
        index = self._index(feature)
        serial = feature.removeprefix("cam_")
        rows: np.ndarray | None = None
        if serial == self.reference:
            frames = min(index.frames, len(self.time_ms))
        else:
            camera_ms = self._frame_times(serial)[: index.frames]
            frames = len(camera_ms)
            rows = _frames_of_rows(self.time_ms, camera_ms, place=f"{self.scene.folder}/{feature}")
            if frames == len(rows):
                rows = None  # increasing, so row k shows frame k
        return VideoClip(
            file=self.scene.files[f"{feature}/color.mp4"][0],
            size=index.byte_size,
            first_frame=0,
            frames=frames,
            shape=index.shape,
            fps=index.fps,
            codec=index.codec,
            rows=rows,
        )

    # The record as a whole

    def digest(self, pictures: Mapping[str, tuple[str, np.ndarray]]) -> str:
        """See `RawEpisode.digest`; a video stands by its size and the sha256 of its index."""
        del pictures
        digest = hashlib.sha256()
        for name, (file, size) in sorted(self.scene.files.items()):
            if _COLOUR.fullmatch(name):
                digest.update(f"{name}\0{size}\0{self._index_digest(name)}\0".encode())
            elif re.fullmatch(
                r"metadata\.json|transformed/.+\.npy|cam_[^/]+/timestamps\.npy", name
            ):
                digest.update(f"{name}\0{size}\0".encode())
                self._hash_file(file, digest)
        digest.update(msgspec.json.encode(self.scene.descriptions, order="sorted"))
        return digest.hexdigest()

    def close(self) -> None:
        """Forget what was read."""
        self._entries.clear()
        self._sampled.clear()
        self._indices.clear()

    def _index_digest(self, name: str) -> str:
        try:
            return self._index(name.removesuffix("/color.mp4")).sha256
        except SourceError:
            return "unreadable"

    def _hash_file(self, file: str, digest: Any) -> None:
        reader = self._folder.open(file)
        try:
            for offset in range(0, reader.size, _HASH_BLOCK_BYTES):
                digest.update(reader.read(offset, _HASH_BLOCK_BYTES))
        finally:
            reader.close()

    # Files

    def _choose_reference(self) -> str:
        scene = self.scene
        poses = self._tree("transformed/tcp_base.npy")
        serials = [
            serial
            for serial in scene.cameras()
            if f"cam_{serial}/timestamps.npy" in scene.files and _holds(poses.get(serial))
        ]
        if not serials:
            raise MissingFeatureError(
                place=scene.folder,
                found=f"{len(scene.cameras())} colour videos, {len(poses)} cameras in tcp_base.npy",
                wanted="a camera with color.mp4, timestamps.npy and poses in tcp_base.npy",
            )
        reference = min(serials, key=lambda serial: (serial in scene.in_hand, serial))
        self._entries["tcp_base.npy"] = poses[reference]
        return reference

    def _tree(self, name: str) -> dict[Any, Any]:
        """An object `.npy` of the scene, a dict."""
        known = self.scene.files.get(name)
        if known is None:
            self._absent(name, wanted="the file")
        file, size = known
        if size > _MAX_NPY_BYTES:
            self._wrong(name, found=f"{size} bytes", wanted=f"at most {_MAX_NPY_BYTES}")
        tree = read_npy(self._folder.read_all(file), place=file)
        if not isinstance(tree, dict):
            self._wrong(name, found=f"a {type(tree).__name__}", wanted="a dict")
        return cast("dict[Any, Any]", tree)

    def _read_metadata(self) -> dict[str, Any]:
        if "metadata.json" not in self.scene.files:
            return {}
        name, _ = self.scene.files["metadata.json"]
        found = _decoded(self._folder.read_all(name), name)
        if not isinstance(found, dict):
            self._wrong("metadata.json", found=f"a {type(found).__name__}", wanted="an object")
        return cast("dict[str, Any]", found)

    def _frame_times(self, serial: str) -> np.ndarray:
        name = f"cam_{serial}/timestamps.npy"
        times = self._tree(name).get("color")
        if isinstance(times, np.ndarray):
            times = cast("list[Any]", times.tolist())
        if not isinstance(times, list):
            self._wrong(name, found="no list named 'color'", wanted="milliseconds of each frame")
        return _milliseconds(cast("list[Any]", times), f"{self.scene.folder}/{name}")

    def _index(self, camera: str) -> Mp4Index:
        if camera not in self._indices:
            name = self.scene.files[f"{camera}/color.mp4"][0]
            reader = self._folder.open(name)
            try:
                self._indices[camera] = read_mp4_index(reader)
            except SourceError as error:
                raise type(error)(place=name, found=error.found, wanted=error.wanted) from error
            finally:
                reader.close()
        return self._indices[camera]

    def _samples(self, feature: str) -> tuple[np.ndarray, np.ndarray]:
        """Times, int64 (n,) ms, and values, float64 (n, width), of the reference camera."""
        if feature in self._sampled:
            return self._sampled[feature]
        stream = _STREAMS[feature]
        name = f"transformed/{stream.file}"
        if stream.file not in self._entries:
            self._entries[stream.file] = self._tree(name).get(self.reference)
        entry = self._entries[stream.file]
        pairs = _pairs(entry, stream.member, place=f"{self.scene.folder}/{name}")
        if all(value is None for _, value in pairs) and (not pairs or stream.width is None):
            found = f"no sample for the camera {self.reference}"
            raise MissingFeatureError(
                place=f"{self.scene.folder}/{name}", found=found, wanted=f"the feature {feature}"
            )
        place = f"feature {feature} of {self.scene.folder}"
        values = [value for _, value in pairs]
        times = _milliseconds([time for time, _ in pairs], place)
        self._sampled[feature] = times, _matrix(values, stream.width, place)
        return self._sampled[feature]

    # Refusals

    def _absent(self, feature: str, *, wanted: str) -> NoReturn:
        """There is no such thing, or it is of another kind."""
        if self.has(feature):
            kinds = "a video" if self.camera_kind(feature) else "another kind of feature"
            self._wrong(feature, found=kinds, wanted=wanted)
        raise MissingFeatureError(
            place=f"{self.scene.folder}/{feature}", found="nothing there", wanted=wanted
        )

    def _wrong(self, feature: str, *, found: str, wanted: str) -> NoReturn:
        raise FeatureError(place=f"{self.scene.folder}/{feature}", found=found, wanted=wanted)


# Samples


def _holds(entry: Any) -> bool:
    """Whether a camera has an entry; one of the wrong type is refused where it is read."""
    return entry is not None and not (isinstance(entry, (list, dict)) and not entry)


def _pairs(entry: Any, member: str | None, *, place: str) -> list[tuple[Any, Any]]:
    """(time, value) of a camera's samples: a list of dicts with `timestamp`, or a dict by time."""
    if entry is None:
        return []
    if isinstance(entry, dict):
        timed = list(cast("dict[Any, Any]", entry).items())
    elif isinstance(entry, list):
        # Without its dict or its time a sample says nothing; its row stays NaN or goes without.
        samples = [s for s in cast("list[Any]", entry) if s is not None]
        if not all(isinstance(sample, dict) for sample in samples):
            raise FeatureError(place=place, found="a sample that is no dict", wanted="dicts")
        timed = [(s["timestamp"], s) for s in samples if s.get("timestamp") is not None]
    else:
        found = f"a {type(entry).__name__} for a camera"
        raise FeatureError(place=place, found=found, wanted="a list or a dict")
    if member is None:
        return timed
    if not all(sample is None or isinstance(sample, dict) for _, sample in timed):
        raise FeatureError(place=place, found="a sample that is no dict", wanted="dicts")
    # A member that no sample has is a feature that is not there; one that is None is unknown.
    if not any(sample and member in sample for _, sample in timed):
        return []
    return [(time, None if sample is None else sample.get(member)) for time, sample in timed]


def _milliseconds(times: list[Any], place: str) -> np.ndarray:
    for time in times:
        if not _is_whole(time):
            raise FeatureError(place=place, found=f"{time!r:.60}", wanted="whole milliseconds")
    return np.array(times, np.int64)


def _is_whole(time: Any) -> bool:
    # The comparison is false for NaN and infinity: int() is asked only of what it can take.
    return (
        isinstance(time, (int, float, np.integer, np.floating))
        and not isinstance(time, bool)
        and abs(cast("float", time)) < _MAX_MS
        and int(cast("float", time)) == time
    )


def _matrix(values: list[Any], width: int | None, place: str) -> np.ndarray:
    """Rows float64 (n, width); `None` as a whole or inside becomes NaN."""
    rows = [None if value is None else _row(value, place) for value in values]
    widths = {len(row) for row in rows if row is not None}
    if width:
        widths.add(width)
    if len(widths) != 1:
        raise LengthError(
            place=place, found=f"values of {sorted(widths)} numbers", wanted="one width"
        )
    unknown = np.full(widths.pop(), np.nan)
    return np.stack([unknown if row is None else row for row in rows])


def _row(value: Any, place: str) -> np.ndarray:
    try:
        found = np.asarray(value)
        if found.dtype.kind == "O" and found.ndim <= 1:
            listed: list[Any] = found.reshape(-1).tolist()
            found = np.array([np.nan if item is None else float(item) for item in listed])
    except (TypeError, ValueError, OverflowError) as error:
        raise FeatureError(place=place, found=f"{error}", wanted="numbers") from error
    if found.dtype.kind not in "iuf" or found.ndim > 1 or not found.size:
        kind = f"{found.dtype} of shape {found.shape}"
        raise FeatureError(place=place, found=kind, wanted="a row of numbers")
    return found.reshape(-1).astype(np.float64)


def _aligned(row_ms: np.ndarray, sample_ms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The sample of each row: of equal time, else the nearest (the earlier of two) in reach."""
    order = np.argsort(sample_ms, kind="stable")
    nearest = order[_nearest(row_ms, sample_ms[order])]
    aligned = values[nearest]
    aligned[np.abs(sample_ms[nearest] - row_ms) > ALIGNMENT_MS] = np.nan
    return aligned


def _nearest(row_ms: np.ndarray, sorted_ms: np.ndarray) -> np.ndarray:
    """Index of the nearest of sorted times, int64 (T,); of two as near, or equal, the first."""
    after = np.searchsorted(sorted_ms, row_ms, side="left").clip(max=len(sorted_ms) - 1)
    before = np.searchsorted(sorted_ms, sorted_ms[(after - 1).clip(min=0)], side="left")
    is_before = np.abs(sorted_ms[before] - row_ms) <= np.abs(sorted_ms[after] - row_ms)
    return np.where(is_before, before, after)


def _frames_of_rows(row_ms: np.ndarray, camera_ms: np.ndarray, *, place: str) -> np.ndarray:
    """Give every row a frame of a camera: in order, none twice, each within `ALIGNMENT_MS`.

    Args:
        row_ms: Times of the rows, int64 (T,).
        camera_ms: Times of the camera's frames, int64 (n,).
        place: The camera, for errors.

    Returns:
        Frame of each row, int64 (T,), strictly increasing, of the least summed distance.

    Raises:
        FeatureError: Some rows cannot have one; says how many.
    """
    if len(camera_ms) and np.all(np.diff(camera_ms) >= 0):
        nearest = _nearest(row_ms, camera_ms)
        in_reach = np.abs(camera_ms[nearest] - row_ms) <= ALIGNMENT_MS
        if np.all(in_reach) and np.all(np.diff(nearest) > 0):
            return nearest  # each row has its own best
    candidates = _candidates(row_ms, camera_ms, place)
    _refuse_rows_without(candidates, place)
    return _least_distance(row_ms, camera_ms, candidates)


def _candidates(row_ms: np.ndarray, camera_ms: np.ndarray, place: str) -> list[np.ndarray]:
    """Frames within reach of each row, ascending."""
    order = np.argsort(camera_ms, kind="stable")
    sorted_ms = camera_ms[order]
    first = np.searchsorted(sorted_ms, row_ms - ALIGNMENT_MS, side="left")
    last = np.searchsorted(sorted_ms, row_ms + ALIGNMENT_MS, side="right")
    if len(row_ms) and (last - first).max() > _MAX_CANDIDATES:
        found = f"more than {_MAX_CANDIDATES} frames within {ALIGNMENT_MS} ms of a row"
        raise FeatureError(place=place, found=found, wanted="time stamps that tell frames apart")
    return [np.sort(order[a:b]) for a, b in zip(first, last, strict=True)]


def _refuse_rows_without(candidates: list[np.ndarray], place: str) -> None:
    """The earliest free frame for each row: where this fails, everything does."""
    none = sum(not len(frames) for frames in candidates)
    last, missed = -1, 0
    for frames in candidates:
        at = int(np.searchsorted(frames, last, side="right"))
        if at < len(frames):
            last = int(frames[at])
        else:
            missed += 1
    if missed:
        found = f"{none} of {len(candidates)} rows have no frame of this camera within "
        found += f"{ALIGNMENT_MS} ms, {missed - none} more none of their own"
        raise FeatureError(place=place, found=found, wanted="a frame of its own for every row")


def _least_distance(
    row_ms: np.ndarray, camera_ms: np.ndarray, candidates: list[np.ndarray]
) -> np.ndarray:
    """Dynamic programming over rows: least sum of |frame - row| among increasing choices."""
    came_from: list[np.ndarray] = []
    best = np.zeros(0)
    for row, frames in enumerate(candidates):
        cost = np.abs(camera_ms[frames] - row_ms[row]).astype(np.float64)
        if row:
            # The best choice so far up to each frame of the row before, and where it is.
            running = np.minimum.accumulate(best)
            is_new = best < np.concatenate(([np.inf], running[:-1]))
            where = np.maximum.accumulate(np.where(is_new, np.arange(len(best)), 0))
            before = np.searchsorted(candidates[row - 1], frames, side="left") - 1
            cost += np.where(before >= 0, running[before], np.inf)
            came_from.append(where[before])
        best = cost
    chosen = np.empty(len(candidates), np.int64)
    at = int(np.argmin(best)) if len(candidates) else 0
    for row in range(len(candidates) - 1, -1, -1):
        chosen[row] = candidates[row][at]
        if row:
            at = int(came_from[row - 1][at])
    return chosen
