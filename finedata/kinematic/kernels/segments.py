"""Compiled segmentation: where an arm rests, where its path has corners, what each piece is like.

A tool path is looked at in six numbers: position in metres, and rotation times a lever in metres,
so that "turns on the spot, then moves on" has a corner like "moves left, then forward".
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from finedata.kinematic.kernels.corners import (
    corner_frames,
    join_aligned,
    join_zigzags,
    turns_apart,
)
from finedata.kinematic.kernels.shapes import piece_features, row_distance
from finedata.motion.dtw.compiling import cached_kernel, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEATURES = 16
"""Columns of a segment: see `find_segments`."""

_STILL, _MOVING = -2, -1


@cached_kernel
def find_segments(
    track: NDArray[np.float64],
    turned: NDArray[np.float64],
    events: NDArray[np.float64],
    frames: int,
    limits: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Cut an episode of one arm into pieces.

    Args:
        track: (T, 3) smoothed position in metres, or (0, 3).
        turned: (T, 3) summed rotation in radians, or (0, 3).
        events: (K, 6) of `gripper_track`.
        frames: T.
        limits: lever (m/rad), radius of rest (m), shortest rest (frames), distance at which a
            corner is looked at (m), cosine of the least corner, least travel (m), least turn
            (rad), spacing of path vertices (m).

    Returns:
        (S, 16): first frame, one past the last, event or -1 (moves) or -2 (rests), displacement
        (3), path length, largest distance from the chord, signed turning of the path, its
        steadiness in [0, 1], rotation vector (3), reversals, largest excursion, least z of the
        path.
    """
    lever, ball, rest_frames, look, corner_cosine = (
        limits[0],
        limits[1],
        limits[2],
        limits[3],
        limits[4],
    )
    path = np.zeros((frames, 6))
    for t in range(len(track)):
        for k in range(3):
            path[t, k] = track[t, k]
    for t in range(len(turned)):
        for k in range(3):
            path[t, 3 + k] = lever * turned[t, k]
    tags = np.full(frames, _MOVING, np.int64)
    before = 0
    for k in range(len(events)):
        first = max(before, int(events[k, 1]))
        before = max(first + 1, int(events[k, 2]))
        for t in range(first, min(before, frames)):
            tags[t] = k
    starts = np.zeros(frames + 1, np.int64)
    kinds = np.zeros(frames + 1, np.int64)
    turns_back = np.zeros(frames + 1, np.int64)
    count = 0
    begin = 0
    while begin < frames:
        end = begin + 1
        while end < frames and tags[end] == tags[begin]:
            end += 1
        if tags[begin] >= 0:
            starts[count], kinds[count] = begin, tags[begin]
            count += 1
        else:
            _mark_rests(path, begin, end, ball, int(rest_frames), tags)
            count = _pieces(
                path, begin, end, tags, ball, look, corner_cosine, starts, kinds, turns_back, count
            )
        begin = end
    count = _settle(path, starts, kinds, turns_back, count, frames, limits)
    out = np.zeros((count, FEATURES))
    starts[count] = frames
    for k in range(count):
        out[k, 0], out[k, 1], out[k, 2] = starts[k], starts[k + 1], kinds[k]
        out[k, 13] = turns_back[k]
        piece_features(track, turned, starts, kinds, k, count, limits[7], out[k])
    return out


@kernel
def _mark_rests(
    path: NDArray[np.float64],
    begin: int,
    end: int,
    ball: float,
    rest_frames: int,
    tags: NDArray[np.int64],
) -> None:
    """Tag what stays in a ball for long enough; a slow drift is no rest."""
    width = path.shape[1]
    mean = np.zeros(width)
    first = begin
    while first < end:
        for k in range(width):
            mean[k] = path[first, k]
        last = first + 1
        while last < end and row_distance(path[last], mean) <= ball:
            weight = 1.0 / (last - first + 1)
            for k in range(width):
                mean[k] += weight * (path[last, k] - mean[k])
            last += 1
        if last - first < rest_frames:
            first += 1
            continue
        # The slow begin and end of the neighbouring motions are not part of the rest.
        low, high = first, last
        if first > begin:
            while low < high and row_distance(path[low], mean) > 0.5 * ball:
                low += 1
        if last < end:
            while high > low and row_distance(path[high - 1], mean) > 0.5 * ball:
                high -= 1
        if high - low >= 0.8 * rest_frames:
            for t in range(low, high):
                tags[t] = _STILL
        first = last
    first = begin
    while first < end:
        last = first + 1
        while last < end and tags[last] == tags[first]:
            last += 1
        if tags[first] == _STILL and row_distance(path[first], path[last - 1]) > 2.5 * ball:
            for t in range(first, last):
                tags[t] = _MOVING
        first = last


@kernel
def _pieces(
    path: NDArray[np.float64],
    begin: int,
    end: int,
    tags: NDArray[np.int64],
    ball: float,
    look: float,
    corner_cosine: float,
    starts: NDArray[np.int64],
    kinds: NDArray[np.int64],
    turns_back: NDArray[np.int64],
    count: int,
) -> int:
    """Append the rests and the corner-free pieces of a stretch without gripper events."""
    first = begin
    while first < end:
        last = first + 1
        while last < end and tags[last] == tags[first]:
            last += 1
        if tags[first] == _STILL:
            starts[count], kinds[count] = first, _STILL
            count += 1
        else:
            corners = corner_frames(path, first, last, look, corner_cosine)
            own = count
            starts[count], kinds[count], turns_back[count] = first, _MOVING, 0
            count += 1
            for k in range(len(corners)):
                starts[count], kinds[count], turns_back[count] = corners[k], _MOVING, 0
                count += 1
            count = join_aligned(path, starts, own, count, last)
            count = join_zigzags(path, starts, kinds, turns_back, own, count, last)
            begins, back = starts[own:count].copy(), turns_back[own:count].copy()
            count = own
            for k in range(len(begins)):
                stop = begins[k + 1] if k + 1 < len(begins) else last
                kept = count
                count = turns_apart(path, begins[k], stop, ball, starts, kinds, count)
                turns_back[kept:count] = 0
                turns_back[kept] = back[k]
        first = last
    return count


@kernel
def _settle(
    path: NDArray[np.float64],
    starts: NDArray[np.int64],
    kinds: NDArray[np.int64],
    turns_back: NDArray[np.int64],
    count: int,
    frames: int,
    limits: NDArray[np.float64],
) -> int:
    """Pieces that hardly move become rests; neighbouring rests become one."""
    kept = 0
    for k in range(count):
        end = starts[k + 1] if k + 1 < count else frames
        kind = kinds[k]
        if kind == _MOVING:
            far, turn = 0.0, 0.0
            last = min(end, frames - 1)
            for t in range(starts[k], last + 1):
                moved, rotated = 0.0, 0.0
                for m in range(3):
                    moved += (path[t, m] - path[starts[k], m]) ** 2
                    rotated += (path[t, 3 + m] - path[starts[k], 3 + m]) ** 2
                far, turn = max(far, sqrt(moved)), max(turn, sqrt(rotated))
            if far < limits[5] and turn < limits[6] * limits[0]:
                kind = _STILL
        if kind == _STILL and kept and kinds[kept - 1] == _STILL:
            continue
        starts[kept], kinds[kept], turns_back[kept] = starts[k], kind, turns_back[k]
        kept += 1
    return kept
