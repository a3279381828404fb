"""What an answerer is shown of a video: frames at a rate, so wide, at most so many of each view.

RoboFine-Bench shows 2 frames a second for questions and 4 for captions, 512 pixels wide, as JPEG of
quality 85, at most 500 (questions) and 512 (captions) of each view. Videos are decoded by PyAV,
AV1 too (eight of its ten sources, which OpenCV in vLLM cannot decode). A benchmark that finedata
cut holds a view as a ZIP of pictures, named by their time in milliseconds: nothing was encoded
anew for it.
"""

from __future__ import annotations

import zipfile
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.annotate.asking.frames import FrameSettings, sample_frames
from finedata.annotate.asking.pictures import encoded_frame, encoded_picture
from finedata.errors import CorruptRecordError, SourceError
from finedata.store.videos.frames import VideoReader
from finedata.teachers.protocol import Picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finedata.bench.benchmark import Row

VQA_FRAMES = FrameSettings(fps=2.0, width=512, quality=85, min_frames=1, max_frames=500)
"""As published for questions."""
CAPTION_FRAMES = FrameSettings(fps=4.0, width=512, quality=85, min_frames=1, max_frames=512)
"""As published for captions."""


def shown_frames(root: Path, sample: Row, settings: FrameSettings) -> list[Picture]:
    """Pictures of every view of a video, each view's first labelled with its name.

    Args:
        root: The benchmark's folder.
        sample: Row of `bench_samples`.
        settings: Rate, width, quality, most of a view.

    Raises:
        SourceError: A video is not there, or has no frame.
        CorruptRecordError: It cannot be decoded.
    """
    pictures: list[Picture] = []
    for view in sample["views"]:
        path = root / view["path"] if view["path"] else root
        if not path.is_file():
            raise SourceError(
                place=f"{sample['sample_id']}, view {view['name']}",
                found=f"no file {view['path'] or '(unnamed)'}",
                wanted="its video",
                next_command="download the benchmark with its videos (Git LFS)",
            )
        data = _of_zip(path, settings) if path.suffix == ".zip" else _of_video(path, settings)
        label = f"[View: {view['name']}]"
        pictures += [
            Picture(one, label=label if number == 0 else "") for number, one in enumerate(data)
        ]
    if not pictures:
        raise SourceError(place=sample["sample_id"], found="no view", wanted="a video to show")
    for picture in pictures:
        _ = picture.sha256
    return pictures


def _of_video(path: Path, settings: FrameSettings) -> list[bytes]:
    with closing(VideoReader(path)) as reader:
        numbers = _numbers(reader.time_s, settings)
        return [encoded_frame(frame, settings=settings) for frame in reader.each(numbers)]


def _of_zip(path: Path, settings: FrameSettings) -> list[bytes]:
    found: list[bytes] = []
    try:
        with zipfile.ZipFile(path) as file:
            names = sorted(file.namelist())
            times = np.asarray([int(name.partition(".")[0]) / 1000 for name in names])
            for number in _numbers(times, settings):
                one = encoded_picture(file.read(names[number]), swapped=False, settings=settings)
                if one is None:
                    raise CorruptRecordError(
                        place=f"{path}:{names[number]}", found="no picture", wanted="JPEG or PNG"
                    )
                found.append(one)
    except (zipfile.BadZipFile, ValueError) as error:
        raise CorruptRecordError(
            place=str(path), found=f"{error}", wanted="a ZIP of pictures"
        ) from error
    return found


def _numbers(time_s: np.ndarray | Sequence[float], settings: FrameSettings) -> list[int]:
    """Frames to show, by the video's own times: of a rate that varies, by its mean."""
    times: Any = np.asarray(time_s, np.float64)
    if not len(times):
        return []
    span = float(times[-1] - times[0])
    fps = (len(times) - 1) / span if span > 0 else settings.fps
    return sample_frames(len(times), fps=fps, settings=settings)
