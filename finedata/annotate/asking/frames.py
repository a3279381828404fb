"""Which frames of which cameras a teacher is shown: settings and arithmetic, no file is read here.

The choice depends on length, rate, names and settings alone, so it is the same on every machine.
FineVLA's released defaults have names.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from finedata.errors import UsageError
from finedata.store.episode import shown_camera

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "FINEVLA_ANALYSIS",
    "FINEVLA_REFINEMENT",
    "TRACE_FRAMES",
    "FrameSettings",
    "choose_cameras",
    "sample_frames",
]

_WRIST = ("wrist", "hand", "gripper")


class FrameSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How an episode is shown.

    Attributes:
        fps: Frames a second that are shown, at most the episode's own.
        width: Pictures wider than this are made so wide; None: never resized. A picture that is
            not resized, and has right colours, is sent as the bytes that are stored.
        quality: JPEG quality of pictures that are encoded anew.
        min_frames: At least so many of each camera, evenly spaced, where the rate gives fewer and
            the episode has them.
        max_frames: At most so many of each camera, evenly spaced.
        views: Names of cameras to show, `_bgr` left away or not; empty: by `max_views`.
        max_views: How many cameras, where `views` is empty; None: all.
        seed: Draws among equal cameras.
    """

    fps: float = 4.0
    width: int | None = 512
    quality: int = 75
    min_frames: int = 4
    max_frames: int = 100_000
    views: tuple[str, ...] = ()
    max_views: int | None = 1
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = {
            "fps": not self.fps > 0,
            "width": self.width is not None and self.width < 1,
            "quality": not 1 <= self.quality <= 100,
            "min_frames": self.min_frames < 1,
            "max_frames": self.max_frames < self.min_frames,
            "max_views": self.max_views is not None and self.max_views < 1,
        }
        for name, bad in wrong.items():
            if bad:
                raise UsageError(
                    place=f"frame setting {name}",
                    found=f"{getattr(self, name)}",
                    wanted="a positive number; max_frames not below min_frames, quality up to 100",
                )


FINEVLA_ANALYSIS = FrameSettings(fps=4.0)
"""FineVLA's first look: 4 frames a second, 512 pixels wide, JPEG quality 75, at least 4 frames.

The code is followed; its README has the rates of the two stages the other way round.
"""

FINEVLA_REFINEMENT = FrameSettings(fps=1.0)
"""FineVLA's second look: 1 frame a second, else as the first."""

TRACE_FRAMES = FrameSettings(max_views=None)
"""ReFineVLA shows one moment from every camera; rate and counts play no part."""


def sample_frames(length: int, *, fps: float, settings: FrameSettings) -> list[int]:
    """Frame numbers to show, in order, the last one always among them.

    Args:
        length: Frames of the episode.
        fps: Its frames a second.
        settings: Rate, least and most.

    Returns:
        Distinct numbers in 0 .. length - 1; all of them where the episode is as short.

    Example:
        >>> sample_frames(20, fps=5.0, settings=FrameSettings(fps=1.0))
        [0, 5, 10, 15, 19]
    """
    stride = max(fps / settings.fps, 1.0)
    by_rate = np.floor(np.arange(0.0, length, stride) + 0.5).astype(np.int64)
    chosen = np.unique(np.append(by_rate[by_rate < length], length - 1))
    count = min(max(len(chosen), settings.min_frames), settings.max_frames, length)
    if count == 1:
        return [length - 1]
    if count != len(chosen):
        chosen = np.unique(np.rint(np.linspace(0, length - 1, count)).astype(np.int64))
    return [int(frame) for frame in chosen]


def choose_cameras(
    cameras: Sequence[str], *, missing: Sequence[str], episode_id: str, settings: FrameSettings
) -> list[str]:
    """Cameras to show, in the dataset's own order.

    Those that see the scene go before those on a wrist (by name); among equals the SHA-256 of
    seed, episode and name decides, as in FineVLA, so that all views of a corpus are used.

    Args:
        cameras: Cameras of the episode's part.
        missing: Cameras that this episode lacks: their pictures are placeholders, never shown.
        episode_id: The episode.
        settings: `views`, `max_views` and `seed`.

    Returns:
        Names as the dataset has them; empty where the episode has none of them.
    """
    present = [camera for camera in cameras if camera not in set(missing)]
    if settings.views:
        wanted = {shown_camera(view) for view in settings.views}
        return [camera for camera in present if shown_camera(camera) in wanted]
    if settings.max_views is None or len(present) <= settings.max_views:
        return present

    def order(camera: str) -> tuple[bool, str]:
        on_wrist = any(word in camera.casefold() for word in _WRIST)
        drawn = hashlib.sha256(f"{settings.seed}/{episode_id}/{camera}".encode()).hexdigest()
        return on_wrist, drawn

    chosen = set(sorted(present, key=order)[: settings.max_views])
    return [camera for camera in present if camera in chosen]
