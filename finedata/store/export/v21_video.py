"""How a camera of one episode becomes a video of its own: the cheapest way that is right.

Pictures, or a stretch of a video of many episodes, become an mp4 that holds just this episode, in
right colours: the same bytes where they are right, else the same encoded pictures at other times,
and only then encoding anew. Its entry in info.json says what the first file really is.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import MissingExtraError, SourceError, install_command, need
from finedata.store.deep import declares_depth, video_stats
from finedata.store.episode import is_swapped
from finedata.store.export.episodes import right_frames
from finedata.store.lerobot.layout import picture_column
from finedata.store.lerobot.stats import FeatureStats, sample_frames
from finedata.store.videos.frames import is_deep_format, is_deep_video

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from finedata.store.episode import Episode, VideoSpan
    from finedata.store.lerobot.layout import Feature

_SAMPLED_FRAMES = 4
_KEYS = ("min", "max", "mean", "std", "count")


def write_video(
    episode: Episode, *, camera: str, feature: Feature, target: Path, counts: Counter[str]
) -> None:
    """Write one camera of one episode as an mp4, frame k at k / fps.

    Args:
        episode: The episode.
        camera: The camera's name in the dataset.
        feature: Its feature, for the size of frames that do not decode.
        target: The file to write.
        counts: Counts `videos_linked`, `videos_cut` (stream copy) or `videos_encoded` up, and
            what `right_frames` counts.

    Raises:
        MissingExtraError: PyAV is not installed.
        SourceError: A video of the dataset cannot be read.
    """
    from finedata.store.videos.copied import place_video
    from finedata.store.videos.transcode import encode_pictures, transcode_video

    span = episode.videos.get(camera)
    if span is not None and not is_swapped(camera):
        if _is_whole(span):
            place_video(span.path, target)
            counts["videos_linked"] += 1
            return
        if _cut(span, target, fps=episode.fps):
            counts["videos_cut"] += 1
            return
        if is_deep_video(span.path):
            transcode_video(
                span.path, target, fps=episode.fps, codec="h264",
                first_frame=span.first_frame, frames=span.frames,
            )  # fmt: skip
            counts["videos_encoded"] += 1
            return
    frames = right_frames(episode, camera=camera, shape=feature.shape, counts=counts)
    size = (feature.shape[0], feature.shape[1])
    encode_pictures(frames, target, fps=episode.fps, codec="h264", size=size)
    counts["videos_encoded"] += 1


def video_feature(
    path: Path,
    *,
    feature: Feature,
    fps: float,
    declared: Mapping[str, Any],
    counts: Counter[str],
) -> dict[str, Any]:
    """A camera's entry in info.json, of what its first file really is.

    Args:
        path: A written video.
        feature: The camera's feature in the dataset.
        fps: Frames a second.
        declared: What the dataset declares of it beside its size: a depth's scale. That is passed
            on where the video still has its bits.
        counts: `depth_scales_left_out` is counted up where it has not.
    """
    with _stream_of(path) as stream:
        height, width = int(stream.codec_context.height), int(stream.codec_context.width)
        codec = str(stream.codec_context.codec.canonical_name)
        pixels = str(stream.codec_context.pix_fmt)
    channels = 1 if pixels.startswith("gray") else 3
    deep = is_deep_format(pixels)
    if declares_depth(declared) and not deep:
        counts["depth_scales_left_out"] += 1
        declared = {}
    seen = {
        "video.fps": int(fps) if float(fps).is_integer() else fps,
        "video.height": height,
        "video.width": width,
        "video.channels": channels,
        "video.codec": codec,
        "video.pix_fmt": pixels,
        "video.is_depth_map": deep,
        "has_audio": False,
    }
    return {
        "dtype": "video",
        "shape": [height, width, channels],
        "names": list(feature.names or ("height", "width", "channels")),
        # What is seen goes before what was declared.
        "info": seen | {name: one for name, one in declared.items() if name not in seen},
    }


def camera_stats(row: Mapping[str, Any], episode: Episode, *, camera: str) -> FeatureStats | None:
    """Statistics of a camera in right colours: flat lists of 3 numbers in [0, 1].

    Args:
        row: The episode's `stats/...` columns of cameras.
        episode: The episode, of which four frames are decoded where the dataset has none, or has
            those of its other episodes only (a count of zero).
        camera: The camera's name in the dataset.

    Returns:
        The statistics, or `None` where no frame decodes, or of a video without PyAV.
    """
    stored = {key: row.get(f"stats/{picture_column(camera)}/{key}") for key in _KEYS}
    measured = bool(stored["count"]) and stored["count"][0] > 0
    if measured and all(values is not None for values in stored.values()):
        stats = {
            key: np.asarray(values, np.float64).reshape(-1).tolist()
            for key, values in stored.items()
        }
        if is_swapped(camera):
            stats = {key: values[::-1] for key, values in stats.items()}
    else:
        numbers = sample_frames(len(episode), most=_SAMPLED_FRAMES)
        try:
            shown = [one for one in episode.iter_frames(camera, numbers) if one is not None]
        except MissingExtraError:
            return None
        deep = camera in episode.videos and any(one.ndim == 2 for one in shown)
        info = episode.depth_info(camera) if deep else None
        found = video_stats(shown, info=info, place=camera)
        if found is None:
            return None
        stats = {key: found[key] for key in _KEYS}
    return stats


def _is_whole(span: VideoSpan) -> bool:
    """Whether the file holds this episode and nothing else."""
    if span.first_frame != 0:
        return False
    with _stream_of(span.path) as stream:
        return int(stream.frames) == span.frames


def _cut(span: VideoSpan, target: Path, *, fps: float) -> bool:
    """Cut an episode out of a shared file by stream copy, where that leaves just its frames.

    Where others must stay because frames are decoded from them, an edit list hides them; but many
    readers of one file an episode count frames and know no edit list. Such a cut is undone.
    """
    from finedata.store.videos.remux import remux_video

    rows = np.arange(span.first_frame, span.first_frame + span.frames)
    try:
        remux_video(span.path, target, fps=fps, rows=rows)
    except SourceError:
        return False  # no stream copy can show these frames; decoding may still do
    with _stream_of(target) as stream:
        exact = int(stream.frames) == span.frames
    if not exact:
        target.unlink()
    return exact


@contextmanager
def _stream_of(path: Path) -> Generator[Any]:
    need(
        "av",
        extra="video",
        place="export of videos",
        next_command=f"{install_command('video')}, or use --keep-pictures",
    )
    import av

    with av.open(str(path)) as container:
        yield container.streams.video[0]
