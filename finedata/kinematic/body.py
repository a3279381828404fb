"""When base, torso and head move: stretches of driving, turning and rising.

Slow velocities of the base are taken for an encoder's drift, not for driving: they would add up.
What is not recorded is not guessed; its tracks are empty.
"""

from __future__ import annotations

from math import radians, sqrt
from typing import TYPE_CHECKING

import numpy as np

from finedata.kinematic.directions import direction_words
from finedata.kinematic.measured import BodyMeasured, Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.kinematic.motion import BodyTrack, EpisodeMotion

LEAST_DRIVE_M = 0.05
"""A base that drives less than this within a stretch stands."""
LEAST_SPIN_RAD = radians(8.0)
"""A base that turns by less than this within a stretch does not turn."""
LEAST_LIFT_M = 0.03
"""A torso whose height changes by less than this within a stretch stays."""
LEAST_JOINT_RAD = 0.1
"""A joint of torso or head that moves by less than this stays."""

# Below these a velocity is drift of an encoder, not driving; they add up otherwise.
_DEAD_M_S, _DEAD_RAD_S = 0.01, 0.02
_REST_S = 1.0
_NOTHING: NDArray[np.float64] = np.zeros((0, 3))


def measure_body(motion: EpisodeMotion) -> BodyMeasured:
    """Measure what is not an arm; nothing recorded gives empty tracks."""
    half = round(0.1 * motion.fps)
    base, torso, head = motion.base, motion.torso, motion.head
    base_track = _NOTHING if base is None else _smoothed(_driven(base, motion.fps), half)
    torso_track = _NOTHING if torso is None else _smoothed(_filled(torso.values), half)
    lift = torso is not None and torso.kind == "lift"
    return BodyMeasured(
        base_track=base_track,
        base_moves=_base_moves(base_track, motion) if len(base_track) else (),
        torso_track=torso_track,
        torso_is_lift=lift,
        torso_moves=_lift_moves(torso_track, motion) if lift else (),
        head_track=_NOTHING if head is None else _smoothed(_filled(head.values), half),
    )


def _smoothed(values: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    from finedata.kinematic.kernels.tracks import smoothed

    return smoothed(np.ascontiguousarray(values), half)


def _filled(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows that are not finite become the row before them, or the first finite one; else zeros."""
    rows = np.asarray(values, np.float64).reshape(len(values), -1)
    good = np.isfinite(rows).all(axis=1)
    if good.all():
        return rows
    if not good.any():
        return np.zeros_like(rows)
    last = np.maximum.accumulate(np.where(good, np.arange(len(rows)), -1))
    return rows[np.where(last < 0, int(np.argmax(good)), last)]


def _driven(base: BodyTrack, fps: float) -> NDArray[np.float64]:
    """Metres driven forward and left, radians turned, since frame 0."""
    values = np.asarray(base.values, np.float64)[:, :3]
    if base.kind == "base_velocity":
        speed = np.where(np.isfinite(values), values, 0.0)
        dead = np.array([_DEAD_M_S, _DEAD_M_S, _DEAD_RAD_S])
        steps = np.where(np.abs(speed) < dead, 0.0, speed) / fps
        return np.concatenate([np.zeros((1, 3)), np.cumsum(steps[:-1], axis=0)])
    pose = _filled(values)
    heading = np.unwrap(pose[:, 2])
    way = np.diff(pose[:, :2], axis=0)
    middle = 0.5 * (heading[1:] + heading[:-1])
    cosine, sine = np.cos(middle), np.sin(middle)
    forward = cosine * way[:, 0] + sine * way[:, 1]
    left = cosine * way[:, 1] - sine * way[:, 0]
    steps = np.stack([forward, left, np.diff(heading)], axis=1)
    return np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])


def _table(
    track: NDArray[np.float64],
    turned: NDArray[np.float64],
    motion: EpisodeMotion,
    *,
    ball: float,
    look: float,
    travel: float,
) -> list[list[float]]:
    from finedata.kinematic.kernels.segments import find_segments

    rest = max(3, round(_REST_S * motion.fps))
    limits = np.array([0.35, ball, rest, look, 0.5736, travel, LEAST_SPIN_RAD, look])
    rows = find_segments(track, turned, np.zeros((0, 6)), motion.frames, limits).tolist()
    return _from_rest_to_rest([row for row in rows if row[2] == -1], track, turned)


def _from_rest_to_rest(
    rows: list[list[float]], track: NDArray[np.float64], turned: NDArray[np.float64]
) -> list[list[float]]:
    """Measure each stretch between the middles of the rests around it.

    A stretch begins when motion shows and ends when it fades: of a smooth turn by 45 degrees it
    holds 41.
    """
    last = len(track) - 1
    for at, row in enumerate(rows):
        before = rows[at - 1][1] if at else 0
        after = rows[at + 1][0] if at + 1 < len(rows) else len(track)
        begin, end = int(before + row[0]) // 2, min(int(row[1] + after) // 2, last)
        row[3:6] = (track[end] - track[begin]).tolist()
        row[6] = max(row[6], float(np.linalg.norm(track[end] - track[begin])))
        if len(turned):
            row[10:13] = (turned[end] - turned[begin]).tolist()
    return rows


def _base_moves(track: NDArray[np.float64], motion: EpisodeMotion) -> tuple[Segment, ...]:
    flat, turned = track.copy(), np.zeros_like(track)
    flat[:, 2], turned[:, 2] = 0.0, track[:, 2]
    rows = _table(flat, turned, motion, ball=0.02, look=0.1, travel=LEAST_DRIVE_M)
    return tuple(_stretch(row, least=LEAST_DRIVE_M) for row in rows)


def _lift_moves(track: NDArray[np.float64], motion: EpisodeMotion) -> tuple[Segment, ...]:
    height = np.zeros((len(track), 3))
    height[:, 2] = track[:, 0]
    rows = _table(height, np.zeros((0, 3)), motion, ball=0.01, look=0.04, travel=LEAST_LIFT_M)
    return tuple(_stretch(row, least=LEAST_LIFT_M) for row in rows)


def _stretch(row: list[float], *, least: float) -> Segment:
    way, turn = (row[3], row[4], row[5]), row[12]
    extent = sqrt(way[0] ** 2 + way[1] ** 2 + way[2] ** 2)
    turns = abs(turn) >= LEAST_SPIN_RAD
    return Segment(
        action="move",
        start_frame=int(row[0]),
        end_frame=int(row[1]),
        holding=False,
        displacement_m=way,
        extent_m=extent,
        path_m=row[6],
        straightness=extent / row[6] if row[6] > 0 else float("nan"),
        direction=direction_words(way) if extent >= least else (),
        path_shape="none",
        rotation_vector_rad=(0.0, 0.0, turn),
        rotation_rad=abs(turn),
        rotation_axis="vertical" if turns else "none",
        rotation_sense=("counter-clockwise" if turn > 0 else "clockwise") if turns else "none",
        reversals=int(row[13]),
        event=-1,
    )
