"""Putting an episode's videos where the plan says: linked, re-timed, or encoded when asked.

A file that changed since the plan stops the run. One whose packets turn out to be unreadable
becomes a black video and is reported as lost: the plan saw only its index, and what is planned
must be written.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from finedata.convert.account.packets import read_packets, unseen_rows
from finedata.convert.videos.clips import clip_rows, encoder_of, written_codec
from finedata.errors import SourceError
from finedata.readers.files import file_object, local_path
from finedata.store.lerobot.layout import video_path
from finedata.store.pictures import decode_rgb
from finedata.store.videos.copied import copy_video, place_video
from finedata.store.videos.remux import remux_video
from finedata.store.videos.transcode import black_video, encode_pictures, transcode_video

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from finedata.convert.context import ConvertOptions
    from finedata.convert.forms import EpisodeView
    from finedata.convert.planning.assign import ClipJob, EpisodeJob
    from finedata.convert.planning.layout import CameraLayout, PartLayout
    from finedata.readers.files import SourceFolder


def write_clips(
    view: EpisodeView,
    layout: PartLayout,
    job: EpisodeJob,
    root: Path,
    folder: SourceFolder,
    options: ConvertOptions,
) -> tuple[dict[str, int], list[str]]:
    """Write the video files that this episode is to write.

    Returns:
        Path relative to the part to size, of each; and the cameras whose video's packets could
        not be read, for which a black one was written.

    Raises:
        SourceError: The source changed since it was planned.
        OutputError: A file cannot be written.
    """
    cameras = {camera.name: camera for camera in layout.cameras}
    written: dict[str, int] = {}
    lost: list[str] = []
    for clip in job.clips:
        if not clip.write:
            continue
        name = video_path(clip.plan.camera, clip.file_number)[0]
        target = root / name
        camera = cameras[clip.plan.camera]
        if clip.plan.file:
            _check_size(clip, folder)
        if clip.plan.mode == "link":
            _link(clip, folder, target)
        elif clip.plan.mode == "black":
            black_video(target, shape=camera.shape, fps=layout.fps, frames=job.plan.frames)
        elif not clip.plan.file:
            pictures = _pixels(view, camera, job.plan.frames)
            encode_pictures(
                pictures,
                target,
                fps=layout.fps,
                codec=encoder_of(options),
                size=options.resize,
            )
        else:
            try:
                _rewrite(view, layout, job, clip, folder, target, options)
            except SourceError as error:
                if isinstance(error.__cause__, OSError):
                    raise  # a disk that fails for now
                # The plan saw the index only, and what is planned must be written.
                shape, frames = camera.shape, job.plan.frames
                black_video(target, shape=shape, fps=layout.fps, frames=frames)
                lost.append(clip.plan.camera)
        written[name] = target.stat().st_size
    return written, lost


def _check_size(clip: ClipJob, folder: SourceFolder) -> None:
    with closing(folder.open(clip.plan.file)) as reader:
        size = reader.size
    if size != clip.plan.size:
        raise SourceError(
            place=clip.plan.file,
            found=f"{size} bytes",
            wanted=f"{clip.plan.size}, as when it was planned",
            next_command="restore the source file, then run the same command again",
        )


def _link(clip: ClipJob, folder: SourceFolder, target: Path) -> None:
    source = local_path(folder, clip.plan.file)
    if source is not None:
        place_video(source, target)
        return
    with closing(folder.open(clip.plan.file)) as reader:
        copy_video(reader, target)


def _rewrite(
    view: EpisodeView,
    layout: PartLayout,
    job: EpisodeJob,
    clip: ClipJob,
    folder: SourceFolder,
    target: Path,
    options: ConvertOptions,
) -> None:
    found = view.video(clip.plan.feature)
    rows = clip_rows(found, job.plan.frames)
    with _opened(folder, clip.plan.file) as source:
        if clip.plan.mode == "remux":
            remux_video(source, target, fps=layout.fps, rows=rows)
            unseen = unseen_rows(read_packets(target), 0.0, len(rows), layout.fps)
            if unseen is not None:
                # Times that contradict the order of decoding: FFmpeg shows other frames.
                raise SourceError(
                    place=clip.plan.file,
                    found=f"{unseen[1]} for row {unseen[0]}, once its packets are copied",
                    wanted="packets in an order that can be shown",
                    next_command="convert with --transcode",
                )
        else:
            transcode_video(
                source,
                target,
                fps=layout.fps,
                codec=encoder_of(options),
                size=options.resize,
                rows=rows,
            )


@contextmanager
def _opened(folder: SourceFolder, file: str) -> Generator[Path | BinaryIO]:
    source = local_path(folder, file)
    if source is not None:
        yield source
        return
    with closing(file_object(folder.open(file))) as opened:
        yield opened


def _pixels(view: EpisodeView, camera: CameraLayout, frames: int) -> Iterator[np.ndarray]:
    """A camera's pictures as uint8 (height, width, 3), red first; black where one is broken."""
    pictures = view.pictures(camera.feature) if view.has(camera.feature) else [b""] * frames
    height, width = camera.source_shape[:2]
    for index in range(frames):
        data = pictures[index]
        pixels = decode_rgb(data)
        order = camera.channel_order
        if pixels is None and len(data) == height * width * 3:
            pixels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
            order = camera.raw_order
        if pixels is None or pixels.shape[:2] != (height, width):
            pixels = np.zeros((height, width, 3), np.uint8)
        yield np.ascontiguousarray(pixels[..., ::-1]) if order == "bgr" else pixels


def clip_receipt(
    clip: ClipJob, frames: int, options: ConvertOptions, *, absent: bool
) -> dict[str, Any]:
    """The `images` entry of a receipt for a video; of an `absent` camera it is all black."""
    return {
        "camera": clip.plan.camera,
        "count": frames,
        "sha256": clip.plan.sha256 or None,
        "placeholder_count": frames if absent else 0,
        "channel_order": "rgb",
        "codec": written_codec(clip.plan, options),
    }
