"""Measured statistics of videos: which frames of a part stand for each of its cameras.

At most 64 frames of a camera are decoded, evenly spread over all frames of all episodes of the
part that have it, so that no episode speaks for the others and a corpus of any size costs the
same. Which frames depends on the episodes' lengths and order alone. An episode has the statistics
of its own frames among them; one without has the part's, with a count of zero, because LeRobot's
tools want an entry for every episode. A camera of which nothing was decoded has none anywhere:
LeRobot would normalise with them.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import ConformError, MissingExtraError, SourceError
from finedata.store.deep import video_stats
from finedata.store.lerobot.layout import picture_column, video_path
from finedata.store.lerobot.stats import StatsMerger, sample_frames
from finedata.store.videos.files import import_av
from finedata.store.videos.frames import VideoReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from finedata.convert.planning.assign import ClipJob, EpisodeJob
    from finedata.convert.work import EpisodeResult
    from finedata.store.lerobot.layout import Feature
    from finedata.store.lerobot.stats import FeatureStats

_LOG = logging.getLogger(__name__)

# Of each camera and part.
SAMPLED_VIDEO_FRAMES = 64


def count_frames(jobs: Iterable[EpisodeJob]) -> Counter[tuple[int, str]]:
    """How many frames of the source's each (part, camera) that is stored as video has."""
    counts: Counter[tuple[int, str]] = Counter()
    for job in jobs:
        for clip in job.clips:
            if clip.plan.mode != "black":
                counts[job.part, clip.plan.camera] += job.plan.frames
    return counts


class VideoStats:
    """The statistics of the videos of a whole output, measured episode by episode, in order.

    Args:
        counts: How many frames each (part, camera) has; see `count_frames`.

    Attributes:
        of_episode: (part, episode_index) to feature to statistics, of the episodes that have some.
        of_part: Part to feature to statistics over all its episodes, `count` zero.
        wanted: Whether there is anything that can be measured.
    """

    def __init__(self, counts: Counter[tuple[int, str]]) -> None:
        self.of_episode: dict[tuple[int, int], dict[str, FeatureStats]] = {}
        self.of_part: dict[int, dict[str, FeatureStats]] = {}
        self._numbers = {
            key: sample_frames(total, most=SAMPLED_VIDEO_FRAMES) for key, total in counts.items()
        }
        self._before: Counter[tuple[int, str]] = Counter()
        self._mergers: dict[int, StatsMerger] = {}
        self.wanted = bool(counts) and _has_decoder()

    def measure(
        self,
        job: EpisodeJob,
        result: EpisodeResult,
        *,
        root: Path,
        fps: float,
        features: Mapping[str, Feature],
    ) -> dict[str, FeatureStats]:
        """Measure the frames of an episode that stand for its part.

        Args:
            job: Its place in the output.
            result: What became of it: a video that could not be read is black, and not measured.
            root: Folder of its part.
            fps: Rate of its part.
            features: Of its part: what they say of a camera of depth.

        Returns:
            Feature to statistics, of the cameras that have a frame among the chosen ones.

        Raises:
            SourceError: The disk fails; a frame that does not decode is left out instead.
        """
        black = {
            image["camera"]
            for image in result.images
            if image["placeholder_count"] == image["count"]
        }
        found: dict[str, FeatureStats] = {}
        for clip in job.clips:
            camera = clip.plan.camera
            if clip.plan.mode == "black":
                continue
            frames = self._chosen((job.part, camera), job.plan.frames)
            if not frames or camera in black:
                continue
            info = features[picture_column(camera)].info
            stats = _measured(clip, frames, root, fps, info)
            if stats is not None:
                found[picture_column(camera)] = stats
        if found:
            self.of_episode[job.part, job.episode_index] = found
            self._mergers.setdefault(job.part, StatsMerger()).add(found)
        return found

    def finish(self) -> None:
        """Add up the parts, when every episode was measured."""
        for part, merger in self._mergers.items():
            self.of_part[part] = {
                name: stats | {"count": [0.0]} for name, stats in merger.result().items()
            }

    def _chosen(self, key: tuple[int, str], frames: int) -> list[int]:
        """The episode's frames among the chosen ones, numbered from its first."""
        first = self._before[key]
        self._before[key] += frames
        return [number - first for number in self._numbers[key] if 0 <= number - first < frames]


def _has_decoder() -> bool:
    try:
        import_av()
    except MissingExtraError as error:
        _LOG.warning(
            "videos have no statistics in meta/stats.json, because PyAV is not installed and no "
            "frame can be decoded: %s, then convert again",
            error.next_command,
        )
        return False
    return True


def _measured(
    clip: ClipJob, frames: list[int], root: Path, fps: float, info: Mapping[str, Any] | None
) -> FeatureStats | None:
    path = root / video_path(clip.plan.camera, clip.file_number)[0]
    time_s = clip.from_s + np.asarray(frames, np.float64) / fps
    try:
        with closing(VideoReader(path)) as reader:
            return video_stats(reader.each(reader.numbers_at(time_s)), info=info, place=str(path))
    except (SourceError, ConformError) as error:
        if isinstance(error.__cause__, OSError):
            raise  # a disk that fails for now would decide the statistics
        _LOG.warning("not among the frames of the statistics: %s: %s", error.place, error.found)
        return None
