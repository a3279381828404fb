"""What if a pose's bytes meant something else? Every reading of them, against the joints' pose.

The evidence for a measured pose is the pose of its joints (`finedata.motion.kinematics`). Every
reading of the written numbers is compared with it, not only the declared one, so that a wrong
encoding shows by the one that fits better. Actions are in `finedata.motion.proof.action_readings`,
the verdict is in `finedata.motion.proof.evidence`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from finedata.motion.proof.alternatives import alternative_rotations, declared_name
from finedata.motion.quaternion import conjugate, geodesic_angle_rad, multiply, rotate
from finedata.motion.rotation import apply_fixed_rotation

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from finedata.motion.rotation import RotationEncoding

__all__ = [
    "EQUIVALENT_DEG",
    "EQUIVALENT_M",
    "EQUIVALENT_SHARE",
    "TOOL_TEST_DEG",
    "TOOL_TEST_M",
    "RankedBy",
    "Reading",
    "by_score",
    "number",
    "position_readings",
    "rotation_readings",
    "turned_deg",
]

RankedBy = Literal[
    "residual_deg",
    "residual_after_constant_tool_deg",
    "residual_m",
    "residual_after_constant_tool_m",
    "unexplained",
]

TOOL_TEST_DEG = 2.0
"""Where no reading is this near as it stands, a constant tool rotation is allowed for."""
TOOL_TEST_M = 0.05
"""Likewise for the position of a tool."""
EQUIVALENT_DEG = 0.01
"""Two readings nearer than this are one: float32 and rounded decimals do not tell them apart."""
EQUIVALENT_M = 1e-5
"""Likewise for positions."""
EQUIVALENT_SHARE = 0.5
"""Two readings nearer to each other than this share of the residual are one on these frames."""

# No gripper is longer: an offset beyond this is a wrong unit or a wrong robot.
_LONGEST_TOOL_M = 1.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One meaning of the written numbers, and how far it is from the evidence.

    Plain numbers throughout, `None` where a number does not apply or nothing finite was compared,
    so that `dataclasses.asdict` gives JSON.

    Attributes:
        name: The reading, in the vocabulary of `alternative_rotations` and of the converter files.
        declared: Whether the converter file says so.
        ranked_by: Which of the numbers below decides.
        same_as_declared: On these frames too near to the declared reading to be told from it.
        residual_deg: Median angle to the evidence (an action's: mean angle to the state that
            follows).
        residual_deg_max: Largest angle.
        residual_deg_last: Angle at the last compared frame, where an integrated action has drifted
            furthest.
        residual_after_constant_tool_deg: Median angle after the best constant rotation on the
            right, a tool turned against the flange.
        residual_m: Median distance to the evidence (an action's: mean).
        residual_m_max: Largest distance.
        residual_m_last: Distance at the last compared frame.
        residual_after_constant_tool_m: Median distance after the best constant tool offset.
        tool_offset_m: That offset, in the flange's frame.
        lag_frames: How many frames later the state is compared with an action.
        unexplained: What an action leaves of the motion that it should explain, as a share: 0 is
            all explained, 1 is no better than no action.
        better_in_episodes: Of several episodes, in how many it beats the declared reading.
    """

    name: str
    declared: bool
    ranked_by: RankedBy
    same_as_declared: bool = False
    residual_deg: float | None = None
    residual_deg_max: float | None = None
    residual_deg_last: float | None = None
    residual_after_constant_tool_deg: float | None = None
    residual_m: float | None = None
    residual_m_max: float | None = None
    residual_m_last: float | None = None
    residual_after_constant_tool_m: float | None = None
    tool_offset_m: tuple[float, float, float] | None = None
    lag_frames: int | None = None
    unexplained: float | None = None
    better_in_episodes: int | None = None

    @property
    def score(self) -> float:
        """The number that decides; smaller is better, infinite where there is none."""
        value: float | None = getattr(self, self.ranked_by)
        return math.inf if value is None else value


def by_score(readings: list[Reading]) -> list[Reading]:
    """Best first; readings that cannot be told from the declared one never come before it."""
    bound = next((reading.score for reading in readings if reading.declared), -math.inf)

    def rank(reading: Reading) -> tuple[float, bool, float, str]:
        score = max(reading.score, bound) if reading.same_as_declared else reading.score
        return score, not reading.declared, reading.score, reading.name

    return sorted(readings, key=rank)


def number(value: float | np.floating) -> float | None:
    """A number for JSON: `None` for what is not finite."""
    return float(value) if np.isfinite(value) else None


def turned_deg(quaternion_xyzw: ArrayLike) -> float:
    """The largest angle between the first finite rotation of a trajectory (T, 4) and another."""
    rows = np.asarray(quaternion_xyzw, np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    return float(np.rad2deg(geodesic_angle_rad(rows[0], rows).max())) if len(rows) else 0.0


def rotation_readings(
    written: ArrayLike,
    *,
    expected_quaternion_xyzw: ArrayLike,
    fixed_rotation: ArrayLike | None = None,
    declared: RotationEncoding | None = None,
    unit: Literal["rad", "deg", "none"] = "rad",
) -> list[Reading]:
    """Compare every reading of rotation columns with the rotations that the joints give.

    They are ranked by `residual_deg` where one of them is within 2 degrees of the evidence as it
    stands, else by `residual_after_constant_tool_deg`: a hand may be mounted at an angle. On
    frames that hardly turn, a constant explains everything, and that rank says nothing.

    Args:
        written: (T, k) as the source has them: 3, 4, 6 or 9 columns.
        expected_quaternion_xyzw: (T, 4), from `forward_kinematics`.
        fixed_rotation: The converter's constant rotation to the right, (3, 3), applied to every
            reading.
        declared: The encoding that the converter declares.
        unit: The declared unit of angles.

    Returns:
        The readings, best first.

    Raises:
        FeatureError: No encoding has that many columns, or the fixed rotation is none.
    """
    expected = np.asarray(expected_quaternion_xyzw, np.float64)
    named = alternative_rotations(written)
    if fixed_rotation is not None:
        named = {name: apply_fixed_rotation(q, fixed_rotation) for name, q in named.items()}
    without_tool = {name: _without_constant_tool(q, expected) for name, q in named.items()}
    off = {name: _angle_deg(q, expected) for name, q in named.items()}
    direct = min(_median(angles) for angles in off.values()) <= TOOL_TEST_DEG
    ranked_by = "residual_deg" if direct else "residual_after_constant_tool_deg"
    wanted = None if declared is None else declared_name(declared, unit=unit)
    readings = [
        Reading(
            name=name,
            declared=name == wanted,
            ranked_by=ranked_by,
            residual_deg=number(_median(off[name])),
            residual_deg_max=number(_largest(off[name])),
            residual_after_constant_tool_deg=number(
                _median(_angle_deg(without_tool[name], expected))
            ),
        )
        for name in named
    ]
    compared = named if direct else without_tool
    return by_score(_mark_same(readings, compared, wanted))


def position_readings(
    position_m: ArrayLike,
    *,
    expected_position_m: ArrayLike,
    expected_quaternion_xyzw: ArrayLike,
) -> list[Reading]:
    """Compare positions, read in metres and in mistaken units, with those of the joints.

    The pose may be that of a tool instead of the flange: the best constant offset in the flange's
    frame (least squares) is given with what it leaves. Ranked by `residual_m` where one reading is
    within 5 cm of the evidence as it stands, else by `residual_after_constant_tool_m`.

    Args:
        position_m: (T, 3) as the converter reads them.
        expected_position_m: (T, 3), from `forward_kinematics`.
        expected_quaternion_xyzw: (T, 4), likewise.

    Returns:
        Best first: `m` (declared: metres, as read), `mm` (still millimetres), `m_divided_by_1000`
        (metres that were taken for millimetres). A tool longer than 1 m is none, and what is left
        without one stands.
    """
    read = np.asarray(position_m, np.float64)
    expected = np.asarray(expected_position_m, np.float64)
    flange = np.asarray(expected_quaternion_xyzw, np.float64)
    readings = [
        _position_reading(name, factor * read, expected, flange)
        for name, factor in (("m", 1.0), ("mm", 1e-3), ("m_divided_by_1000", 1e3))
    ]
    direct = min(_or_inf(reading.residual_m) for reading in readings) <= TOOL_TEST_M
    ranked_by = "residual_m" if direct else "residual_after_constant_tool_m"
    return by_score([replace(reading, ranked_by=ranked_by) for reading in readings])


def _position_reading(
    name: str,
    read: NDArray[np.float64],
    expected: NDArray[np.float64],
    flange: NDArray[np.float64],
) -> Reading:
    # In the flange's frame a tool is a constant.
    gap_m = rotate(conjugate(flange), read - expected)
    finite = gap_m[np.isfinite(gap_m).all(axis=1)]
    offset_m = finite.mean(axis=0) if len(finite) else np.full(3, np.nan)
    has_tool = float(np.linalg.norm(offset_m)) <= _LONGEST_TOOL_M
    distance_m = np.linalg.norm(gap_m, axis=1)
    left_m = np.linalg.norm(gap_m - offset_m, axis=1) if has_tool else distance_m
    x, y, z = (float(value) for value in offset_m)
    return Reading(
        name=name,
        declared=name == "m",
        same_as_declared=name == "m",
        ranked_by="residual_m",
        residual_m=number(_median(distance_m)),
        residual_m_max=number(_largest(distance_m)),
        residual_after_constant_tool_m=number(_median(left_m)),
        tool_offset_m=(x, y, z) if has_tool else None,
    )


def _mark_same(
    readings: list[Reading], compared: dict[str, NDArray[np.float64]], wanted: str | None
) -> list[Reading]:
    """Mark the readings that are the declared one on these frames, as far as can be told."""
    declared = next((reading for reading in readings if reading.declared), None)
    if declared is None or wanted is None:
        return readings
    limit = max(EQUIVALENT_DEG, EQUIVALENT_SHARE * declared.score)
    apart = {name: _median(_angle_deg(q, compared[wanted])) for name, q in compared.items()}
    return [replace(reading, same_as_declared=apart[reading.name] <= limit) for reading in readings]


def _without_constant_tool(
    read: NDArray[np.float64], expected: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Take the best constant rotation on the right off a reading.

    The constant is the chordal mean of expected^-1 * read, the eigenvector of the largest
    eigenvalue of the sum of q q^T (Markley et al., "Averaging quaternions", J. Guidance, Control
    and Dynamics 2007).
    """
    turns = multiply(conjugate(expected), read)
    finite = turns[np.isfinite(turns).all(axis=1)]
    if not len(finite):
        return read
    _, vectors = np.linalg.eigh(finite.T @ finite)
    return multiply(read, conjugate(vectors[:, -1]))


def _angle_deg(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.rad2deg(geodesic_angle_rad(a, b))


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value


def _median(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else math.nan


def _largest(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else math.nan
