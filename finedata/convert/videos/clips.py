"""Whether a video may be linked as it is, must get other times, or has to be encoded.

A file whose frames are shown where LeRobot looks for them (`from + k / fps`) is linked; otherwise
its packets are copied with right times; it is encoded anew only when the user asks, because that
loses something. Only indices of files are read to decide it, no frame.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from finedata.errors import CorruptRecordError
from finedata.readers.files import open_folder
from finedata.readers.mp4.index import read_mp4_index

if TYPE_CHECKING:
    from finedata.convert.context import ConvertOptions
    from finedata.convert.forms import EpisodeView
    from finedata.convert.planning.layout import CameraLayout, PartLayout
    from finedata.readers.episode import VideoClip
    from finedata.readers.files import SourceFolder
    from finedata.readers.mp4.index import Mp4Index

# The farthest a frame may lie from where LeRobot looks for it (its `tolerance_s`), with a margin.
_TOLERANCE_S = 5e-5
# Of a frame number that is rounded, with a margin.
_MOST_DRIFT = 0.4


class ClipPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one camera's video in one episode.

    Attributes:
        camera: The camera's name in the output.
        feature: Its feature in the source.
        file: The video file, relative to the source folder; empty for pictures to be encoded.
        size: Bytes of that file.
        mode: `link` keeps the file; `remux` copies its packets with new times; `transcode`
            encodes it; `black` is a camera that the episode lacks.
        from_s: When the episode's first frame is shown in the file of the output.
        codec: Codec of the source.
        sha256: Digest of the file's index.
    """

    camera: str
    feature: str
    file: str
    size: int
    mode: Literal["link", "remux", "transcode", "black"]
    from_s: float
    codec: str
    sha256: str


def plan_clips(
    view: EpisodeView,
    layout: PartLayout,
    options: ConvertOptions,
    *,
    folder: SourceFolder,
    frames: int,
) -> tuple[tuple[ClipPlan, ...], set[str]]:
    """Plan the videos of an episode.

    Returns:
        A plan for each camera that the output stores as video, and flags.

    Raises:
        FeatureError: A camera's video cannot be read.
        CorruptRecordError: A file's index cannot be read.
    """
    plans: list[ClipPlan] = []
    flags: set[str] = set()
    for camera in layout.cameras:
        if camera.kind == "pictures":
            if options.transcode is not None:
                plans.append(_made(camera, "transcode"))
            continue
        if not view.has(camera.feature):
            plans.append(_made(camera, "black"))
            continue
        clip = view.video(camera.feature)
        plan, longer = _plan_clip(camera, clip, layout.fps, options, folder=folder, frames=frames)
        plans.append(plan)
        flags |= {"video_longer"} if longer else set()
        flags |= {"camera_resampled"} if clip.rows is not None else set()
        flags |= set(clip.flags)
    return tuple(plans), flags


def _made(camera: CameraLayout, mode: Literal["transcode", "black"]) -> ClipPlan:
    """A video that no file of the source is: of pictures, or of nothing."""
    return ClipPlan(
        camera=camera.name,
        feature=camera.feature,
        file="",
        size=0,
        mode=mode,
        from_s=0.0,
        codec="h264" if mode == "black" else "pictures",
        sha256="",
    )


def _plan_clip(
    camera: CameraLayout,
    clip: VideoClip,
    fps: float,
    options: ConvertOptions,
    *,
    folder: SourceFolder,
    frames: int,
) -> tuple[ClipPlan, bool]:
    """The plan of one video, and whether the file goes on after the last row."""
    index = _index(folder.address, clip.file, clip.size)
    available = clip.frames if clip.rows is None else int(clip.rows[-1]) + 1
    if clip.first_frame + available > index.frames:
        raise CorruptRecordError(
            place=clip.file,
            found=f"{index.frames} frames",
            wanted=f"{clip.first_frame + available}, as its description says",
        )
    linked = clip.rows is None and _is_readable(index, fps, frames=clip.first_frame + frames)
    mode: Literal["link", "remux", "transcode"] = "link" if linked else "remux"
    if options.transcode is not None or options.resize is not None:
        mode = "transcode"
    plan = ClipPlan(
        camera=camera.name,
        feature=camera.feature,
        file=clip.file,
        size=clip.size,
        mode=mode,
        from_s=float(index.time_s[clip.first_frame]) if mode == "link" else 0.0,
        codec=index.codec,
        sha256=index.sha256,
    )
    return plan, clip.rows is None and clip.frames > frames


def _is_readable(index: Mp4Index, fps: float, *, frames: int) -> bool:
    """Whether LeRobot finds each of the first frames of a file by its time, with both decoders.

    One takes the frame whose time is k / fps, so the first must be shown at 0. The other, its
    default, takes frame number round(k / fps * average rate), whatever times the frames have.
    """
    if abs(float(index.time_s[0])) > _TOLERANCE_S:
        return False
    if (frames - 1) * abs(index.average_fps / fps - 1.0) > _MOST_DRIFT:
        return False
    return index.uniform(fps, tolerance_s=_TOLERANCE_S, count=frames)


@lru_cache(maxsize=256)
def _index(address: str, file: str, size: int) -> Mp4Index:
    """The index of a file of the source, read once in this process; `size` tells versions apart."""
    del size
    reader = open_folder(address).open(file)
    try:
        return read_mp4_index(reader)
    finally:
        reader.close()


def encoder_of(options: ConvertOptions) -> Literal["av1", "h264"]:
    """The codec that encodes what has to be: the one asked for, else H.264."""
    return options.transcode or "h264"


def written_codec(plan: ClipPlan, options: ConvertOptions) -> str:
    """The codec of a video in the output."""
    return encoder_of(options) if plan.mode == "transcode" else plan.codec


def forget_indexes() -> None:
    """Forget what was read of files: between runs they may have changed."""
    _index.cache_clear()


def clip_rows(clip: VideoClip, frames: int) -> np.ndarray:
    """For each row the number of the file's frame that it shows, int64 (frames,)."""
    rows = np.arange(frames, dtype=np.int64) if clip.rows is None else clip.rows[:frames]
    return rows + clip.first_frame
