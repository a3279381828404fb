"""One RH20T scene as one raw episode: rows of the reference camera, the rest brought to them.

Features are arrays (`tcp_base`, `joint`, ...), the metadata of a scene (`metadata/rating`), its
texts (`scene/task`, `task_description/english`) and its colour videos (`cam_SERIAL`).

Every array of a scene is keyed by camera serial and sampled at that camera's own colour frames,
so one camera, the reference, defines the rows of the episode: the first serial in order, not in
the hand where `configs.json` tells, that has a video, its time stamps and robot poses. Samples
are brought to its time stamps by `rh20t_samples`, other cameras' frames by `rh20t_frames`. The
reader converts no number: quaternions stay wxyz, gripper widths millimetres; what they mean is
the converter file's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from finedata.errors import FeatureError, MissingFeatureError, SourceError
from finedata.readers.episode import VideoClip
from finedata.readers.rh20t.files import SceneFiles
from finedata.readers.rh20t.frames import frames_of_rows
from finedata.readers.rh20t.samples import STREAMS, aligned_to_rows, holds_samples, samples_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.readers.episode import Absent, CameraKind, PictureList
    from finedata.readers.files import SourceFolder
    from finedata.readers.rh20t.scene import Rh20tScene

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


class Rh20tEpisode:
    """One scene, its arrays unread until asked for; see `RawEpisode`.

    Args:
        folder: The source.
        scene: Which scene of it.

    Attributes:
        scene: What the source knows of it.
        reference: Serial of the camera whose frames are the rows.
        time_ms: Colour time stamps of the reference camera, int64 (T,), Unix milliseconds, as
            they are stored: maybe neither ordered nor distinct.

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
        self._files = SceneFiles(folder, scene)
        self._entries: dict[str, Any] = {}
        self._sampled: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.reference = self._choose_reference()
        self.time_ms = self._files.frame_times(self.reference)
        self._metadata = self._files.metadata()

    # What there is

    def has(self, feature: str) -> bool:
        """Whether the scene holds it; a damaged file counts, `numbers` then says what is wrong."""
        if feature in STREAMS:
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
        names = ["time_ms", "after_finish", *STREAMS, *metadata, *_TEXTS, *cameras]
        return [name for name in names if self.has(name)]

    def columns_of(self, feature: str) -> tuple[str, ...] | None:
        """RH20T names no columns; see `RawEpisode.columns_of`."""
        del feature

    def camera_kind(self, feature: str) -> CameraKind | None:
        """See `RawEpisode.camera_kind`."""
        there = feature.startswith("cam_") and f"{feature}/color.mp4" in self.scene.files
        return "video" if there else None

    # Numbers and texts

    def picture_info(self, feature: str) -> dict[str, Any] | None:
        """Nothing: see `RawEpisode.picture_info`."""
        del feature

    def declared_absent(self) -> dict[str, Absent]:
        """Nothing: no description says what an episode must hold."""
        return {}

    def is_derived(self, feature: str) -> bool:
        """What the scene's folder and its metadata say."""
        return (
            feature.startswith(("metadata/", "task_description/", "scene/"))
            or feature == "after_finish"
        )

    def as_declared(self) -> bool:
        """True: nothing is declared."""
        return True

    def numbers(self, feature: str) -> np.ndarray:
        """Decode a numeric feature; see `RawEpisode.numbers`.

        `time_ms` int64 (T,), `after_finish` bool (T,), `metadata/...` (); the others float64 (T, n)
        at the rows' times, NaN where there is no sample within `ALIGNMENT_MS` or it is `None`.
        """
        if feature == "time_ms":
            return self.time_ms
        if feature == "after_finish":
            return self.time_ms > float(self.numbers("metadata/finish_time"))
        if feature in STREAMS:
            sample_ms, values = self._samples(feature)
            return aligned_to_rows(self.time_ms, sample_ms=sample_ms, values=values)
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
            return self._files.index(feature).shape if self.camera_kind(feature) else None
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
        index = self._files.index(feature)
        serial = feature.removeprefix("cam_")
        rows: np.ndarray | None = None
        if serial == self.reference:
            frames = min(index.frames, len(self.time_ms))
        else:
            camera_ms = self._files.frame_times(serial)[: index.frames]
            frames = len(camera_ms)
            rows = frames_of_rows(
                self.time_ms, camera_ms=camera_ms, place=f"{self.scene.folder}/{feature}"
            )
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
        return self._files.digest()

    def close(self) -> None:
        """Forget what was read."""
        self._entries.clear()
        self._sampled.clear()
        self._files.forget()

    # What is read once

    def _choose_reference(self) -> str:
        """Serial of the camera that defines the rows; keeps its poses, the file being read."""
        scene = self.scene
        poses = self._files.tree("transformed/tcp_base.npy")
        serials = [
            serial
            for serial in scene.cameras()
            if f"cam_{serial}/timestamps.npy" in scene.files and holds_samples(poses.get(serial))
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

    def _samples(self, feature: str) -> tuple[np.ndarray, np.ndarray]:
        """Times, int64 (n,) ms, and values, float64 (n, width), of the reference camera."""
        if feature not in self._sampled:
            file = STREAMS[feature].file
            if file not in self._entries:
                self._entries[file] = self._files.tree(f"transformed/{file}").get(self.reference)
            self._sampled[feature] = samples_of(
                self._entries[file],
                feature=feature,
                camera=self.reference,
                folder=self.scene.folder,
            )
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
