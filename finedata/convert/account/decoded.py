"""Videos decoded, under `--decode`: each file once, from its first frame on.

Whether every row's frame decodes is asked of the output. Where a video was encoded anew its packets
tell nothing, so that there the pictures themselves are compared with the source's, small and grey:
each must look more like the source's frame of its row than like the frames beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import FinedataError
from finedata.store.videos.files import opened_video, reading_errors, video_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from finedata.convert.verify.report import VerifyReport
    from finedata.store.videos.files import VideoSource

_SMALL = 24
_TOLERANCE_S = 1e-4
# Codecs change a grey level by a few; another frame of a still scene may differ by less.
_ALIKE = 4.0
_FARTHEST = 30.0


@dataclass(frozen=True, slots=True)
class _Window:
    place: str
    camera: str
    start_s: float
    rows: int
    fps: float


class DecodedFiles:
    """The windows of the output's video files, gathered first and decoded file by file."""

    def __init__(self, report: VerifyReport) -> None:
        self._report = report
        self._windows: dict[Path, list[_Window]] = {}

    def add(
        self, path: Path, *, place: str, camera: str, start_s: float, rows: int, fps: float
    ) -> None:
        """Take in the window of an episode."""
        window = _Window(place, camera, start_s, rows, fps)
        self._windows.setdefault(path, []).append(window)

    def check(self) -> None:
        """Decode every file once; a row whose frame does not decode is a problem."""
        for path, windows in self._windows.items():
            problem = ""
            times: list[float] = []
            try:
                times += [time_s for time_s, _ in _frames(path)]
            except FinedataError as error:
                problem = f", then {error.found}"
            shown = np.sort(np.array([*times, np.inf]))
            for window in windows:
                wanted = window.start_s + np.arange(window.rows) / window.fps
                at = np.searchsorted(shown, wanted - _TOLERANCE_S)
                decoded = int((np.abs(shown[at] - wanted) <= _TOLERANCE_S).sum())
                if decoded != window.rows:
                    self._report.add(
                        f"{window.place}: decoded frames of {window.camera}",
                        f"{decoded}{problem}",
                        f"{window.rows}",
                    )
        self._windows.clear()


def small_pictures(source: VideoSource) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds (n,) and small grey pictures (n, 24, 24) of a whole video.

    Raises:
        SourceError: No video.
        CorruptRecordError: It does not decode to its end.
    """
    times: list[float] = []
    pictures: list[np.ndarray] = []
    for time_s, frame in _frames(source):
        times.append(time_s)
        small = frame.reformat(width=_SMALL, height=_SMALL, format="gray")
        pictures.append(small.to_ndarray().astype(np.float32))
    order = np.argsort(times, kind="stable")
    empty = np.zeros((0, _SMALL, _SMALL), np.float32)
    return np.asarray(times)[order], np.stack(pictures)[order] if pictures else empty


def unlike_rows(shown: np.ndarray, whole: np.ndarray, first: int) -> list[int]:
    """Rows whose picture looks less like the source's frame of the row than like its neighbours'.

    Args:
        shown: Small pictures of the output's rows (T, 24, 24).
        whole: Those of the source's file (n, 24, 24).
        first: The source's frame of row 0.
    """
    unlike: list[int] = []
    for row, picture in enumerate(shown):
        at = first + row
        if at >= len(whole):
            unlike.append(row)
            continue
        beside = [k for k in (at - 1, at + 1) if 0 <= k < len(whole)]
        own = float(np.abs(picture - whole[at]).mean())
        others = [float(np.abs(picture - whole[k]).mean()) for k in beside]
        if own > _FARTHEST or any(own > other + _ALIKE for other in others):
            unlike.append(row)
    return unlike


def _frames(source: VideoSource) -> Iterator[tuple[float, Any]]:
    """(seconds, frame) of a video in order of display."""
    with opened_video(source) as container:
        stream: Any = container.streams.video[0]
        stream.thread_type = "AUTO"
        with reading_errors(video_name(source)):
            for frame in container.decode(stream):
                if frame.pts is not None:
                    yield float(frame.pts * frame.time_base), frame
