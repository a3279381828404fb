"""Which row of a stream belongs to which frame, where streams have different rates.

Some sources sample the state faster than the camera (RoboMIND's simulation files about four
times), or each stream by its own clock. Rows are chosen, never interpolated: what is stored was
measured.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import FeatureError, LengthError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def nearest_by_ratio(length_from: int, length_to: int) -> NDArray[np.int64]:
    """Which of `length_from` rows belongs to each of `length_to` frames, where no clock says.

    Both streams are taken to cover the same time: the first row belongs to the first frame, the
    last to the last, and between them the nearest, the later one of two that are equally near.

    Args:
        length_from: Rows of the stream to choose from.
        length_to: Frames of the stream to follow.

    Returns:
        (length_to,) row numbers, never decreasing.

    Raises:
        LengthError: There are frames and no rows, or a length is negative.

    Example:
        >>> nearest_by_ratio(9, 3).tolist()
        [0, 4, 8]
    """
    if length_from < 0 or length_to < 0 or (length_to > 0 and length_from == 0):
        raise LengthError(
            place="two streams of one episode",
            found=f"{length_from} rows for {length_to} frames",
            wanted="at least one row",
        )
    frame = np.arange(length_to, dtype=np.int64)
    steps = max(length_to - 1, 1)
    # In whole numbers, so that halves are rounded alike everywhere.
    return (2 * frame * (length_from - 1) + steps) // (2 * steps)


def nearest_by_time(time_from_s: ArrayLike, time_to_s: ArrayLike) -> NDArray[np.int64]:
    """Which row is nearest in time to each frame; the earlier one of two that are equally near.

    Args:
        time_from_s: (N,) clock of the stream to choose from, in seconds, never decreasing.
        time_to_s: (T,) clock of the frames to follow, in any order.

    Returns:
        (T,) row numbers; of rows with one and the same time the first.

    Raises:
        LengthError: There are frames and no rows.
        FeatureError: A time is not finite, or `time_from_s` decreases.

    Example:
        >>> nearest_by_time([0.0, 0.1, 0.2], [0.04, 0.06, 9.0]).tolist()
        [0, 1, 2]
    """
    rows, frames = np.asarray(time_from_s, np.float64), np.asarray(time_to_s, np.float64)
    if not len(rows) and len(frames):
        raise LengthError(
            place="two streams of one episode",
            found=f"0 rows for {len(frames)} frames",
            wanted="at least one row",
        )
    finite = np.isfinite(rows).all() and np.isfinite(frames).all()
    if not finite or (np.diff(rows) < 0.0).any():
        raise FeatureError(
            place="the clock of a stream",
            found="times that decrease or are not finite",
            wanted="finite times that never decrease",
        )
    after = np.clip(np.searchsorted(rows, frames), 0, max(len(rows) - 1, 0))
    before = np.maximum(after - 1, 0)
    nearer = np.where(frames - rows[before] <= rows[after] - frames, before, after)
    return np.searchsorted(rows, rows[nearer]).astype(np.int64)


def measured_fps(time_s: ArrayLike) -> tuple[float, float]:
    """The mean rate of a clock and its longest pause.

    Args:
        time_s: (T,) seconds.

    Returns:
        Frames per second, (T - 1) / (last - first), and the longest step in seconds. NaN for both
        where there are fewer than two times; NaN for the rate where no time passes.

    Example:
        >>> measured_fps([0.0, 0.5, 1.0, 2.0])
        (1.5, 1.0)
    """
    times = np.asarray(time_s, np.float64)
    if len(times) < 2:
        return math.nan, math.nan
    span = float(times[-1] - times[0])
    return (len(times) - 1) / span if span > 0.0 else math.nan, float(np.diff(times).max())


def strictly_increasing(time_s: ArrayLike) -> bool:
    """Whether every time (T,) is finite and later than the one before it."""
    times = np.asarray(time_s, np.float64)
    return bool(np.isfinite(times).all() and (np.diff(times) > 0.0).all())
