"""Where the video of an episode is: which file, and which of its frames. Nothing is decoded.

A v2.x file belongs to one episode; in v3.0 several share one, and `from_timestamp` says where each
begins. Times count from the first frame that a file shows, whatever its own clock says there. Where
an episode begins is told twice, by `from_timestamp` and by the lengths of the episodes before it:
the two are compared, and a clip says so where they differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import FeatureError, LengthError, MissingFeatureError, SourceError
from finedata.readers.episode import VideoClip
from finedata.readers.mp4.index import Mp4Index, read_mp4_index

if TYPE_CHECKING:
    from finedata.readers.files import SourceFolder
    from finedata.readers.lerobot.dataset import LerobotDataset
    from finedata.readers.lerobot.files import DataFile

# The farthest a start may lie from a frame: LeRobot refuses to show another one (`tolerance_s`).
_TOLERANCE_S = 1e-4
# As a share of a frame's time: nearer than this there is no doubt which frame is meant.
_NEAR = 0.25


class VideoIndexes:
    """The indexes of video files, each read once while a shard is open."""

    def __init__(self, folder: SourceFolder) -> None:
        self._folder = folder
        self._known: dict[str, Mp4Index] = {}

    def index(self, name: str) -> Mp4Index:
        """The index of a file, by its name relative to the source folder.

        Raises:
            FeatureError: No MP4 file, or one that was cut.
            OSError: The disk or the network failed.
        """
        if name not in self._known:
            reader = self._folder.open(name)
            try:
                self._known[name] = read_mp4_index(reader)
            except SourceError as error:
                raise FeatureError(place=name, found=error.found, wanted=error.wanted) from error
            finally:
                reader.close()
        return self._known[name]


@dataclass(frozen=True, slots=True)
class EpisodeVideos:
    """The videos of one episode of a data file."""

    dataset: LerobotDataset
    data_file: DataFile
    episode: int
    indexes: VideoIndexes

    def has(self, feature: str) -> bool:
        """Whether the episode has a video of the camera; damage is for `clip` to tell."""
        if feature not in self.dataset.videos:
            return False
        try:
            self.name(feature)
        except MissingFeatureError:
            return False
        except FeatureError:
            return True
        one_per_file = self.dataset.is_one_per_file(self.data_file)
        return one_per_file or self._start(feature) is not None

    def clip(self, feature: str, *, rows: int) -> VideoClip:
        """Where a camera's video is; fewer frames than rows where the file has no more.

        Raises:
            MissingFeatureError: No file of the camera for this episode.
            LengthError: The episode begins where the file has no frame.
            FeatureError: A file whose index cannot be read.
        """
        index = self.index(feature)
        first, frames = 0, index.frames
        certain = True
        if not self.dataset.is_one_per_file(self.data_file):
            first, certain = self._first_frame(feature, index)
            frames = max(0, min(rows, index.frames - first))
        return VideoClip(
            file=self.name(feature),
            size=index.byte_size,
            first_frame=first,
            frames=frames,
            shape=index.shape,
            fps=index.fps,
            codec=index.codec,
            flags=() if certain else ("video_start_differs",),
        )

    def index(self, feature: str) -> Mp4Index:
        """The index of a camera's file; errors as `clip`."""
        return self.indexes.index(self.name(feature))

    def digest(self, feature: str) -> str:
        """What changes when the video's index, size or place does."""
        try:
            name = self.name(feature)
        except MissingFeatureError:
            return "missing"
        try:
            index = self.indexes.index(name)
        except FeatureError:
            size = self.dataset.files.sizes[name.removeprefix(self.dataset.files.prefix)]
            return f"unreadable {size}"
        return f"{index.sha256} {index.byte_size} {self._start(feature)!r}"

    def name(self, feature: str) -> str:
        """The file of a camera in this episode, by episode number or by what the meta says.

        Raises:
            MissingFeatureError: There is none.
            FeatureError: What the meta says cannot be read.
        """
        number: tuple[Any, ...] = (self.episode,)
        if not self.dataset.is_one_per_file(self.data_file):
            row = self.dataset.meta.episode(self.episode)
            number = tuple(row.get(f"videos/{feature}/{key}_index") for key in ("chunk", "file"))
        name = self.dataset.videos.get(feature, {}).get(number)
        if name is None:
            raise MissingFeatureError(
                place=f"feature {feature}",
                found=f"no video file of it with the number {number}",
                wanted=f"one for episode {self.episode}",
            )
        return f"{self.dataset.files.prefix}{name}"

    def _start(self, feature: str) -> Any:
        row = self.dataset.meta.episodes.get(self.episode, {})
        return row.get(f"videos/{feature}/from_timestamp")

    def _first_frame(self, feature: str, index: Mp4Index) -> tuple[int, bool]:
        """The episode's first frame, and whether nothing contradicts it.

        `from_timestamp` decides where a frame is shown then. Where it lies between two frames,
        the lengths of the episodes decide if together they are the whole file; else the nearest
        frame, if it is much nearer than the other one. `to_timestamp` is not looked at: it is
        from + length/fps or from + (length - 1)/fps, whoever wrote it.

        Raises:
            MissingFeatureError: The description does not say where the episode begins.
            LengthError: No frame can be told to be the first.
        """
        start = self._start(feature)
        if isinstance(start, bool) or not isinstance(start, int | float) or start != start:
            raise MissingFeatureError(
                place=f"feature {feature}",
                found=f"from_timestamp {start!r} of episode {self.episode}",
                wanted="seconds",
            )
        shown_s = index.time_s - index.time_s[0]
        nearest = int(np.argmin(np.abs(shown_s - start)))
        apart_s = abs(float(shown_s[nearest]) - start)
        before, total = self.dataset.video_places(feature).get(self.episode, (-1, -1))
        fills = total == index.frames
        if apart_s <= _TOLERANCE_S:
            return nearest, not fills or before == nearest
        if fills and apart_s <= 0.5 / index.fps:
            return before, False
        if apart_s > _NEAR / index.fps:
            raise LengthError(
                place=f"feature {feature}",
                found=f"{index.frames} frames, none at {start} s",
                wanted=f"the first frame of episode {self.episode} there",
            )
        return nearest, False
