"""What DTW takes and gives: tracks, frame costs, distances. Plain values; NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from finedata.errors import FeatureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

Space: TypeAlias = Literal["pose", "joint", "euclidean", "pose_rms"]
POSE_WIDTH = 8
# Sums along a path must stay below what float32 and the kernels' "no path" can tell apart.
_LARGEST = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCost:
    """What it costs to lay one frame on another.

    Columns of a track, by `space`:

    - `pose`: x, y, z (metres or scaled), qx, qy, qz, qw (unit), gripper:
      `w_p |dp| + w_r angle(q, q') + w_g |dg|`, the angle in radians, the same for q and -q.
    - `joint`: joints, then the gripper: `w_p |dj| + w_g |dg|`.
    - `euclidean`: anything: `w_p |dx|`.
    - `pose_rms`: the eight columns of `pose` once for each arm:
      `sqrt(sum over arms of (w_p |dp|)^2 + (w_r angle)^2 + (w_g dg)^2)`.

    Args:
        space: See above.
        position_weight: `w_p`.
        rotation_weight: `w_r`, per radian.
        gripper_weight: `w_g`.
        two_stage: Align without the gripper, then charge it along that path (FineVLA's released
            code, `pose` and `joint` only). The charge is carried along the recursion.
    """

    space: Space
    position_weight: float = 1.0
    rotation_weight: float = 1.0
    gripper_weight: float = 1.0
    two_stage: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Many tracks of one width, one after the other.

    Args:
        values: (sum of T, d) float32 or float64, C-contiguous.
        offsets: (N + 1,) int64: track k is `values[offsets[k]:offsets[k + 1]]`.
    """

    values: NDArray[np.floating]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, tracks: Sequence[ArrayLike], *, dtype: type[np.floating] = np.float32) -> Tracks:
        """Join single tracks, each (T, d)."""
        arrays = [np.asarray(track, dtype) for track in tracks]
        lengths = [len(array) for array in arrays]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        values = np.concatenate(arrays) if arrays else np.zeros((0, 1), dtype)
        return cls(np.ascontiguousarray(values), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) frames of each track."""
        return np.diff(self.offsets)


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """What came out for each pair.

    Args:
        distance: (P,) path cost, gripper charge included, divided by the path's length.
        path_length: (P,) int32 frames pairs on the path.
        gripper: (P,) mean |dg| along the path where the cost is two-stage, else zeros.
    """

    distance: NDArray[np.floating]
    path_length: NDArray[np.int32]
    gripper: NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)
class WarpingPath:
    """The cheapest path between two tracks.

    Args:
        path: (L, 2) int32: frame of the first, frame of the second.
        distance: As in `Distances`.
        gripper: As in `Distances`.
    """

    path: NDArray[np.int32]
    distance: float
    gripper: float


def check_tracks(tracks: Tracks, cost: FrameCost) -> None:
    """Refuse what has no distance.

    Raises:
        FeatureError: A track is empty or not finite, its width does not fit the cost, or the cost
            asks for a second stage that its space has not.
    """
    width = tracks.values.shape[1]
    fits = {
        "pose": width == POSE_WIDTH,
        "joint": width >= 1,
        "euclidean": width >= 1,
        "pose_rms": width % POSE_WIDTH == 0,
    }[cost.space]
    if not fits:
        raise FeatureError(
            place="tracks", found=f"{width} columns", wanted=f"the columns of {cost.space}"
        )
    if cost.two_stage and cost.space not in ("pose", "joint"):
        raise FeatureError(
            place="frame cost",
            found=f"two_stage with {cost.space}",
            wanted="two_stage with pose or joint",
        )
    if len(tracks) and int(tracks.lengths.min()) < 1:
        raise FeatureError(
            place=f"track {int(tracks.lengths.argmin())}", found="no frame", wanted="at least one"
        )
    # NaN is not within the limit either.
    within = np.abs(tracks.values) <= _LARGEST
    if not within.all():
        where = int(np.flatnonzero(~within.all(axis=1))[0])
        track = int(np.searchsorted(tracks.offsets, where, side="right")) - 1
        raise FeatureError(
            place=f"track {track}, frame {where - int(tracks.offsets[track])}",
            found="a number that is not finite, or beyond 1e12",
            wanted="finite motion",
        )
