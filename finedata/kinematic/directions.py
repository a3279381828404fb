"""Words for vectors in robot terms: which way something goes, about what and how it turns.

Vectors are (forward, left, up) and the words a closed list, which the judge reads back: both
sides share one meaning of every word.
"""

from __future__ import annotations

from math import cos, radians, sin, sqrt
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finedata.kinematic.measured import (
        PathShape,
        RotationAxis,
        RotationSense,
        Vector3,
    )

AXES: dict[str, Vector3] = {
    "forward": (1.0, 0.0, 0.0),
    "backward": (-1.0, 0.0, 0.0),
    "left": (0.0, 1.0, 0.0),
    "right": (0.0, -1.0, 0.0),
    "up": (0.0, 0.0, 1.0),
    "down": (0.0, 0.0, -1.0),
}
"""Direction to its unit vector in robot terms."""

OPPOSITE = {
    "forward": "backward",
    "backward": "forward",
    "left": "right",
    "right": "left",
    "up": "down",
    "down": "up",
}

SOURCE_WORDS = {
    "down": "above",
    "up": "below",
    "left": "the right",
    "right": "the left",
    "forward": "the front",
    "backward": "the back",
}
"""Direction of an approach to where it comes from.

Front is the side nearer to the robot, as in FineVLA's guideline for annotators: what moves
forward comes from the front.
"""

LEAST_SHARE = sin(radians(22.5))
"""A direction is named where it is at least this share of the way: 22.5 degrees off the others."""

_ALONG = cos(radians(30.0))


def direction_words(vector: Vector3, *, share: float = LEAST_SHARE) -> tuple[str, ...]:
    """Name the way of a displacement, the largest component first; () for no displacement.

    Example:
        >>> direction_words((0.01, -0.2, 0.15))
        ('right', 'up')
    """
    x, y, z = vector
    least = share * sqrt(x * x + y * y + z * z)
    if least == 0.0:
        return ()
    # Written out: every piece of every episode comes through here.
    found: list[tuple[float, str]] = []
    if x >= least or -x >= least:
        found.append((-abs(x), "forward" if x > 0 else "backward"))
    if y >= least or -y >= least:
        found.append((-abs(y), "left" if y > 0 else "right"))
    if z >= least or -z >= least:
        found.append((-abs(z), "up" if z > 0 else "down"))
    if len(found) > 1:
        found.sort(key=itemgetter(0))
    return tuple([word for _, word in found])


def rotation_words(
    vector: Vector3, pointing: Vector3 | None, *, has_axes: bool
) -> tuple[RotationAxis, RotationSense]:
    """Name a rotation that is large enough to be named.

    Args:
        vector: Rotation vector, robot terms, not zero.
        pointing: The tool's approach axis, a unit vector in robot terms; None where unknown.
        has_axes: Whether robot terms are known at all.

    Returns:
        Axis and sense. About the approach axis, clockwise is the right-handed turn: as seen by
        who looks along it. About the vertical it is the left-handed one: as seen from above. For a
        tool that points down the two agree. A tilt is named by where the upper side goes.

    Example:
        >>> rotation_words((0.0, 0.0, -1.2), None, has_axes=True)
        ('vertical', 'clockwise')
    """
    angle = sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    x, y, z = vector[0] / angle, vector[1] / angle, vector[2] / angle
    if pointing is not None:
        along = x * pointing[0] + y * pointing[1] + z * pointing[2]
        if abs(along) >= _ALONG:
            return "approach", "clockwise" if along > 0 else "counter-clockwise"
    if not has_axes:
        return "oblique", "unknown"
    if abs(z) >= _ALONG:
        return "vertical", "clockwise" if z < 0 else "counter-clockwise"
    if abs(y) >= _ALONG:
        return "lateral", "tilts forward" if y > 0 else "tilts backward"
    if abs(x) >= _ALONG:
        return "frontal", "tilts right" if x > 0 else "tilts left"
    return "oblique", "unknown"


def path_shape(
    *, extent_m: float, off_chord_m: float, turning_rad: float, steadiness: float, reversals: int
) -> PathShape:
    """Name the shape of a path that moves.

    Args:
        extent_m: From its first to its last point.
        off_chord_m: Largest distance from that line.
        turning_rad: How far the path's direction turns in all, about its mean normal.
        steadiness: 1 where it always turns the same way, 0 where it turns to and fro.
        reversals: Times that it turns back on itself.
    """
    if reversals >= 2:
        return "zigzag"
    if turning_rad > radians(290.0) and steadiness > 0.6:
        return "circular"
    if off_chord_m <= max(0.012, 0.07 * extent_m):
        return "straight"
    if steadiness > 0.6 and turning_rad > radians(25.0):
        return "arc"
    return "curved"
