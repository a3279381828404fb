"""On which scale motion is compared: the tracks of a unit share one, so like numbers mean the same.

A unit is one task, one part, the same arms. Positions, joints and grippers are scaled to [0, 1]
over the unit (FineVLA's min-max scaling), a dimension that never moves to 0. Quaternions become
unit and each track takes the sign nearer to the unit's first track: the distance is the same for q
and -q, but rounds better when like lies beside like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from finedata.motion.dtw.distances import Tracks

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ArmLayout",
    "FrameSource",
    "UnitRanges",
    "UnitTracks",
    "prepare",
    "unit_ranges",
]

_CHUNK_FRAMES = 1 << 20


class FrameSource(Protocol):
    """Rows of numbers, in memory or on disk: an array, or a file that is read in slices."""

    def __getitem__(self, frames: slice, /) -> NDArray[np.floating]:
        """(b - a, n) rows a to b."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmLayout:
    """Where one arm's numbers are among the raw columns.

    Args:
        scaled: Columns of position or joints, in order.
        quaternion: First of the four columns qx qy qz qw; None where there is no pose.
        gripper: Its column; None: the track gets a column of zeros, which costs nothing.
        has_gripper: Whether the track ends in a gripper at all (`euclidean` does not).
    """

    scaled: tuple[int, ...]
    quaternion: int | None = None
    gripper: int | None = None
    has_gripper: bool = True

    @property
    def width(self) -> int:
        """Columns of the track."""
        return len(self.scaled) + (4 if self.quaternion is not None else 0) + self.has_gripper


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitTracks:
    """Many units whose motion has one layout; the tracks of a unit are side by side.

    Args:
        values: Raw motion, frames by columns.
        starts: (N,) first frame of each track in `values`, ascending.
        lengths: (N,) frames of each track, at least one.
        unit_offsets: (U + 1,) unit u is tracks `unit_offsets[u]` to `unit_offsets[u + 1]`.
        arms: What to compare: distances of several arms are added.
    """

    values: FrameSource
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    unit_offsets: NDArray[np.int64]
    arms: tuple[ArmLayout, ...]

    @classmethod
    def of(
        cls,
        values: FrameSource,
        *,
        offsets: NDArray[np.int64],
        unit_offsets: NDArray[np.int64],
        arms: tuple[ArmLayout, ...],
    ) -> UnitTracks:
        """Tracks without gaps: track k is frames `offsets[k]` to `offsets[k + 1]`."""
        return cls(
            values=values,
            starts=np.ascontiguousarray(offsets[:-1]),
            lengths=np.diff(offsets),
            unit_offsets=unit_offsets,
            arms=arms,
        )

    def __len__(self) -> int:
        return len(self.unit_offsets) - 1

    def read(self, first: int, last: int) -> NDArray[np.floating]:
        """The frames of tracks `first` to `last`, joined, in memory."""
        starts, lengths = self.starts[first:last], self.lengths[first:last]
        if first == last:
            return np.asarray(self.values[0:0])
        begin, end = int(starts[0]), int(starts[-1] + lengths[-1])
        rows = np.asarray(self.values[begin:end])
        if end - begin == int(lengths.sum()):
            return rows
        return rows[_frames_of(starts - begin, lengths)]

    def read_some(self, tracks: NDArray[np.int64]) -> NDArray[np.floating]:
        """The frames of chosen tracks, in the order given, joined, in memory."""
        read = [
            np.asarray(self.values[int(self.starts[k]) : int(self.starts[k] + self.lengths[k])])
            for k in tracks
        ]
        return np.concatenate(read) if read else np.asarray(self.values[0:0])


@dataclass(frozen=True, slots=True, eq=False)
class UnitRanges:
    """The scale of units.

    Args:
        low: (U, n) float64 smallest raw number of every column.
        high: (U, n) float64 largest.
        first: (U, n) float64 the first frame: its quaternions are the reference of signs.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    first: NDArray[np.float64]


def unit_ranges(tracks: UnitTracks, unit: int) -> UnitRanges:
    """The scale of one unit, however large: its frames are read in pieces."""
    first, last = int(tracks.unit_offsets[unit]), int(tracks.unit_offsets[unit + 1])
    ends = np.cumsum(tracks.lengths[first:last])
    found: UnitRanges | None = None
    at = first
    while at < last:
        done = int(ends[at - first] - tracks.lengths[at])
        piece = first + int(np.searchsorted(ends, done + _CHUNK_FRAMES, side="right"))
        piece = min(max(piece, at + 1), last)
        rows = tracks.read(at, piece)
        new = ranges_of(rows, np.zeros(1, np.int64))
        if found is not None:
            new = UnitRanges(
                np.minimum(found.low, new.low), np.maximum(found.high, new.high), found.first
            )
        found, at = new, piece
    return found or ranges_of(tracks.read(first, first), np.zeros(0, np.int64))


def ranges_of(rows: NDArray[np.floating], unit_starts: NDArray[np.int64]) -> UnitRanges:
    """The scales of units that lie side by side in `rows`, from their first rows."""
    if not len(unit_starts):
        empty = np.zeros((0, rows.shape[1]))
        return UnitRanges(empty, empty, empty)
    return UnitRanges(
        np.minimum.reduceat(rows, unit_starts, axis=0).astype(np.float64),
        np.maximum.reduceat(rows, unit_starts, axis=0).astype(np.float64),
        rows[unit_starts].astype(np.float64),
    )


def prepare(
    rows: NDArray[np.floating],
    *,
    lengths: NDArray[np.int64],
    ranges: UnitRanges,
    unit_of_track: NDArray[np.int64],
    arms: tuple[ArmLayout, ...],
    dtype: type[np.floating],
) -> list[Tracks]:
    """Scaled tracks of every arm.

    Args:
        rows: (sum of T, n) raw motion of the tracks, joined; finite, quaternions not zero.
        lengths: (N,) frames of each track.
        ranges: The scales of the units.
        unit_of_track: (N,) row of `ranges` for each track.
        arms: The layouts.
        dtype: Of the tracks; the arithmetic is float64 throughout.

    Returns:
        One for each arm: [x y z qx qy qz qw gripper], [joints..., gripper] or all columns.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    unit_of_frame = np.repeat(unit_of_track, lengths)
    spans = ranges.high - ranges.low
    # A range of zero scales to 0: nothing is divided by it.
    scales = np.divide(1.0, spans, out=np.zeros_like(spans), where=spans > 0)
    joined: list[Tracks] = []
    for arm in arms:
        out = np.zeros((len(rows), arm.width), dtype)
        columns = [*arm.scaled] + ([] if arm.gripper is None else [arm.gripper])
        places = list(range(len(arm.scaled)))
        if arm.gripper is not None:
            places.append(arm.width - 1)
        for place, column in zip(places, columns, strict=True):
            low, scale = ranges.low[:, column], scales[:, column]
            out[:, place] = (rows[:, column] - low[unit_of_frame]) * scale[unit_of_frame]
        if arm.quaternion is not None:
            at = len(arm.scaled)
            raw = slice(arm.quaternion, arm.quaternion + 4)
            reference = ranges.first[unit_of_track][:, raw]
            out[:, at : at + 4] = _canonical(rows[:, raw], reference, offsets)
        joined.append(Tracks(out, offsets))
    return joined


def _canonical(
    quaternions: NDArray[np.floating],
    reference: NDArray[np.float64],
    offsets: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Unit quaternions, each track turned as a whole to the side of its reference."""
    unit = quaternions / np.linalg.norm(quaternions.astype(np.float64), axis=1, keepdims=True)
    lengths = np.diff(offsets)
    toward = np.einsum("ij,ij->i", unit, np.repeat(reference, lengths, axis=0))
    # The sum over the track: its first frame alone could lie on the edge between the sides.
    side = np.where(np.add.reduceat(toward, offsets[:-1]) < 0, -1.0, 1.0)
    return unit * np.repeat(side, lengths)[:, None]


def _frames_of(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of all frames of some tracks."""
    before = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
