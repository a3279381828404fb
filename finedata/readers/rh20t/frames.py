"""Which frame of another camera shows which row of an RH20T scene.

Rows are the frames of the reference camera; both cameras' time stamps are integer milliseconds.
Frames go to rows in order and none twice, because videos are copied and never encoded again: a
copy can leave frames out and show the rest at other times, not show one twice or before an earlier
one.

So the nearest frame of each row is the answer only where these are all different and in order,
which is the common case; where cameras crowd or stall, dynamic programming finds the choice
that is nearest in sum. Rows for which no frame is left are counted and refused, not filled with
a frame of another moment.
"""

from __future__ import annotations

import numpy as np

from finedata.errors import UnmatchedCameraError
from finedata.readers.rh20t.samples import ALIGNMENT_MS, nearest_of

# A row with more frames than this within 100 ms: time stamps that tell nothing apart.
_MAX_CANDIDATES = 1000


def frames_of_rows(row_ms: np.ndarray, *, camera_ms: np.ndarray, place: str) -> np.ndarray:
    """Give every row a frame of a camera: in order, none twice, each within `ALIGNMENT_MS`.

    Args:
        row_ms: Times of the rows, int64 (T,).
        camera_ms: Times of the camera's frames, int64 (n,).
        place: The camera, for errors.

    Returns:
        Frame of each row, int64 (T,), strictly increasing, of the least summed distance.

    Raises:
        UnmatchedCameraError: Some rows cannot have one (says how many), or too many frames compete.

    Example:
        Rows at 95 and 102 ms are both nearest to frame 1; giving way forwards costs less.

        >>> frames_of_rows(np.array([95, 102]), camera_ms=np.array([0, 100, 110]), place="cam_1")
        array([1, 2])
    """
    if len(camera_ms) and np.all(np.diff(camera_ms) >= 0):
        nearest = nearest_of(row_ms, sorted_ms=camera_ms)
        in_reach = np.abs(camera_ms[nearest] - row_ms) <= ALIGNMENT_MS
        if np.all(in_reach) and np.all(np.diff(nearest) > 0):
            return nearest  # each row has its own best
    candidates = _candidates(row_ms, camera_ms, place)
    _refuse_rows_without(candidates, place)
    return _least_distance(row_ms, camera_ms, candidates)


def _candidates(row_ms: np.ndarray, camera_ms: np.ndarray, place: str) -> list[np.ndarray]:
    """Frames within reach of each row, int64 (k,) each, ascending by number and not by time."""
    order = np.argsort(camera_ms, kind="stable")
    sorted_ms = camera_ms[order]
    first = np.searchsorted(sorted_ms, row_ms - ALIGNMENT_MS, side="left")
    last = np.searchsorted(sorted_ms, row_ms + ALIGNMENT_MS, side="right")
    if len(row_ms) and (last - first).max() > _MAX_CANDIDATES:
        found = f"more than {_MAX_CANDIDATES} frames within {ALIGNMENT_MS} ms of a row"
        raise UnmatchedCameraError(
            place=place, found=found, wanted="time stamps that tell frames apart"
        )
    return [np.sort(order[a:b]) for a, b in zip(first, last, strict=True)]


def _refuse_rows_without(candidates: list[np.ndarray], place: str) -> None:
    """Refuse with the count; the earliest free frame for each row: if this fails, all does."""
    none = sum(not len(frames) for frames in candidates)
    last, missed = -1, 0
    for frames in candidates:
        at = int(np.searchsorted(frames, last, side="right"))
        if at < len(frames):
            last = int(frames[at])
        else:
            missed += 1
    if missed:
        found = f"{none} of {len(candidates)} rows have no frame of this camera within "
        found += f"{ALIGNMENT_MS} ms, {missed - none} more none of their own"
        raise UnmatchedCameraError(
            place=place, found=found, wanted="a frame of its own for every row"
        )


def _least_distance(
    row_ms: np.ndarray, camera_ms: np.ndarray, candidates: list[np.ndarray]
) -> np.ndarray:
    """Dynamic programming over rows: least sum of |frame - row| among increasing choices."""
    came_from: list[np.ndarray] = []
    best = np.zeros(0)
    for row, frames in enumerate(candidates):
        cost = np.abs(camera_ms[frames] - row_ms[row]).astype(np.float64)
        if row:
            # The best choice so far up to each frame of the row before, and where it is.
            running = np.minimum.accumulate(best)
            is_new = best < np.concatenate(([np.inf], running[:-1]))
            where = np.maximum.accumulate(np.where(is_new, np.arange(len(best)), 0))
            before = np.searchsorted(candidates[row - 1], frames, side="left") - 1
            cost += np.where(before >= 0, running[before], np.inf)
            came_from.append(where[before])
        best = cost
    chosen = np.empty(len(candidates), np.int64)
    at = int(np.argmin(best)) if len(candidates) else 0
    for row in range(len(candidates) - 1, -1, -1):
        chosen[row] = candidates[row][at]
        if row:
            at = int(came_from[row - 1][at])
    return chosen
