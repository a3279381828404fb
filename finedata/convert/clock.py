"""Which frame rate an episode has: the declared one, or the one that its time stamps show.

The source's own clock is kept beside it, in seconds from the first frame. Time stamps that
repeat, go back or contradict the rate are flagged, not mended: LeRobot's `timestamp` is always
`frame_index / fps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import FeatureError
from finedata.motion import measured_fps, strictly_increasing

if TYPE_CHECKING:
    from finedata.convert.forms import EpisodeView
    from finedata.schema.converter import TimeSpec

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
# A clock that starts later than this (1990) counts from 1970.
_UNIX_S = 6.3e8
# A measured rate this far from the declared one is worth a flag.
_RATE_TOLERANCE = 0.2
# No camera or controller of a robot runs outside of this; no video could say it either.
_SLOWEST_FPS, _FASTEST_FPS = 0.01, 10_000.0


@dataclass(frozen=True, slots=True)
class Clock:
    """How an episode runs in time.

    Attributes:
        fps: The part's frames a second.
        base: A receipt's `time_base`.
        fps_measured: From the source's time stamps; `None` without them.
        dt_max_s: Longest step between two frames; `None` likewise.
        start_unix_s: When it began, where the source says.
        flags: What is odd.
    """

    fps: float
    base: str
    fps_measured: float | None = None
    dt_max_s: float | None = None
    start_unix_s: float | None = None
    flags: frozenset[str] = frozenset()


def read_clock(view: EpisodeView, spec: TimeSpec, *, frames: int) -> Clock:
    """Read an episode's rate.

    Raises:
        FeatureError: No rate can be told.
    """
    base = "measured" if spec.measured else "declared"
    declared = spec.fps
    if declared is None and spec.fps_feature is not None:
        declared = float(view.single(spec.fps_feature))
    stamps, start = _stamps(view, spec, frames)
    if stamps is None or len(stamps) < 2:
        return Clock(fps=_positive(declared), base=base)
    with np.errstate(invalid="ignore"):  # times may be infinite: flagged below
        measured, dt_max = measured_fps(stamps)
        step = float(np.median(np.diff(stamps)))
    fps = declared
    if spec.rate == "from_timestamps":
        fps = float(max(1, round(1.0 / step))) if 0 < step < np.inf else declared
        base = "source_timestamps"
    fps = _positive(fps)
    flags: set[str] = set()
    if not strictly_increasing(stamps):
        decreasing = bool((stamps[1:] < stamps[:-1]).any())
        flags.add("timestamps_decrease" if decreasing else "timestamps_repeat")
    if np.isfinite(measured) and abs(measured / fps - 1.0) > _RATE_TOLERANCE:
        flags.add("rate_differs")
    return Clock(
        fps=fps,
        base=base,
        fps_measured=measured if np.isfinite(measured) else None,
        dt_max_s=dt_max if np.isfinite(dt_max) else None,
        start_unix_s=start if start > _UNIX_S else None,
        flags=frozenset(flags),
    )


def source_time_s(view: EpisodeView, spec: TimeSpec, *, frames: int) -> np.ndarray | None:
    """The source's own clock, (T,) float64 seconds from the first frame; `None` without one."""
    return _stamps(view, spec, frames)[0]


def _stamps(view: EpisodeView, spec: TimeSpec, frames: int) -> tuple[np.ndarray | None, float]:
    """Seconds from the first frame, and when that one was; `None` and 0 without a clock."""
    if spec.timestamps is None or not view.has(spec.timestamps):
        return None, 0.0
    values = view.table(spec.timestamps)[:frames, 0]
    if values.dtype.kind == "u":
        values = values.astype(np.int64)  # a step back must not wrap around
    # Whole numbers of nanoseconds do not fit a float64: the first is taken off before.
    first = values[0]
    unit = _UNITS[spec.timestamp_unit]
    with np.errstate(invalid="ignore"):  # of an infinite time, none is left
        return np.asarray(values - first, np.float64) * unit, float(first) * unit


def _positive(fps: float | None) -> float:
    if fps is None or not _SLOWEST_FPS <= fps <= _FASTEST_FPS:
        raise FeatureError(
            place="the episode's rate",
            found=f"{fps}",
            wanted=f"{_SLOWEST_FPS} to {_FASTEST_FPS:g} frames a second",
        )
    return fps
