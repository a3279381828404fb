"""The pose proof of one arm: are its numbers what they are declared to be?

Three parts: the measured rotation and position against the joints (where the robot's model is
published), and the action against the state that follows it. Each part lists every reading with
its residuals and says in words why its verdict is what it is; several episodes can be pooled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from finedata.errors import FeatureError
from finedata.motion.kinematics import forward_kinematics
from finedata.motion.proof.action_readings import absolute_readings, delta_readings
from finedata.motion.proof.readings import position_readings, rotation_readings, turned_deg
from finedata.motion.proof.verdict import PartEvidence, Verdict, judge, pool_parts
from finedata.motion.rotation import apply_fixed_rotation, to_quaternion_xyzw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from finedata.motion.delta import Composition, Reference
    from finedata.motion.rotation import RotationEncoding

# A verdict needs more change than this where a constant tool is allowed for.
_TURN_NEEDED_DEG = 5.0
_MOVE_NEEDED_M = 0.05


@dataclass(frozen=True, slots=True)
class WrittenRotation:
    """Rotation columns and what the converter declares them to be.

    Attributes:
        values: (T, k) as the source has them.
        encoding: The declared encoding.
        unit: The declared unit of angles.
        fixed_rotation: (3, 3), the constant rotation on the right, or `None`.
    """

    values: np.ndarray
    encoding: RotationEncoding
    unit: Literal["rad", "deg", "none"] = "rad"
    fixed_rotation: ArrayLike | None = None

    def radians(self) -> np.ndarray:
        """The columns with angles in radians, float64."""
        values = np.asarray(self.values, np.float64)
        return np.deg2rad(values) if self.unit == "deg" else values


@dataclass(frozen=True, slots=True)
class WrittenAction:
    """Action columns and what the converter declares them to be.

    Attributes:
        reference: `absolute`, `delta` or `residual`.
        position_m: (T, 3) targets or steps.
        rotation: Targets or steps.
        composition: Of steps.
        refers_to: Of steps.
    """

    reference: Literal["absolute", "delta", "residual"]
    position_m: np.ndarray
    rotation: WrittenRotation
    composition: Composition | None = None
    refers_to: Reference | None = None


@dataclass(frozen=True, slots=True)
class PoseEvidence:
    """What speaks for and against the declared conventions of one arm.

    `contradicted` where one part is, else `confirmed` where one part is, else `undecided`.
    """

    state_rotation: PartEvidence
    state_position: PartEvidence
    action: PartEvidence

    @property
    def parts(self) -> tuple[PartEvidence, PartEvidence, PartEvidence]:
        """Rotation, position, action."""
        return self.state_rotation, self.state_position, self.action

    @property
    def verdict(self) -> Verdict:
        """See the class."""
        found = [part.verdict for part in self.parts]
        for verdict in ("contradicted", "confirmed"):
            if verdict in found:
                return verdict
        return "undecided"

    @property
    def reason(self) -> str:
        """The reasons of the parts that decide; of all where none does."""
        deciding = [part for part in self.parts if part.verdict == self.verdict]
        return "; ".join(f"{part.part}: {part.reason}" for part in deciding)


def pose_evidence(
    state_position_m: ArrayLike,
    *,
    state_rotation: WrittenRotation,
    action: WrittenAction | None = None,
    joint_position: ArrayLike | None = None,
    model: str | None = None,
) -> PoseEvidence:
    """Prove or disprove the declared conventions of one arm in one episode.

    Args:
        state_position_m: (T, 3), measured, as the converter reads it.
        state_rotation: The measured rotation.
        action: The commanded pose; `None` where the source has none (`next_state`).
        joint_position: (T, n) radians, where the source has them; without the gripper.
        model: A key of `MODELS`, where the robot's kinematics are published.

    Returns:
        The readings and verdicts. A part without evidence is `undecided` and says so.

    Raises:
        FeatureError: A shape is wrong, the model is unknown, or the columns are not those of the
            declared encoding.
        LengthError: State and action differ in length.
    """
    position_m = np.asarray(state_position_m, np.float64)
    source_xyzw = to_quaternion_xyzw(state_rotation.radians(), encoding=state_rotation.encoding)
    if joint_position is None or model is None:
        missing = "no joints recorded" if joint_position is None else "no published robot model"
        rotation = PartEvidence("state_rotation", "undecided", missing)
        position = PartEvidence("state_position", "undecided", missing)
    else:
        rotation, position = _against_joints(position_m, state_rotation, joint_position, model)
    return PoseEvidence(
        rotation, position, _against_state(action, position_m, state_rotation, source_xyzw)
    )


def pool_evidence(evidence: Sequence[PoseEvidence]) -> PoseEvidence:
    """Judge several episodes of one arm together: residuals are averaged, maxima kept.

    Args:
        evidence: Of at least one episode, with the same declared conventions.

    Returns:
        The readings that all episodes with evidence have, and the verdicts on their means.

    Raises:
        FeatureError: There is no episode.
    """
    if not evidence:
        raise FeatureError(place="pose evidence", found="no episode", wanted="at least one")
    rotations, positions, actions = zip(*(episode.parts for episode in evidence), strict=True)
    return PoseEvidence(pool_parts(rotations), pool_parts(positions), pool_parts(actions))


def _against_joints(
    position_m: np.ndarray, rotation: WrittenRotation, joint_position: ArrayLike, model: str
) -> tuple[PartEvidence, PartEvidence]:
    expected_m, expected_xyzw = forward_kinematics(joint_position, model=model)
    by_rotation = rotation_readings(
        rotation.values,
        expected_quaternion_xyzw=expected_xyzw,
        fixed_rotation=rotation.fixed_rotation,
        declared=rotation.encoding,
        unit=rotation.unit,
    )
    by_position = position_readings(
        position_m, expected_position_m=expected_m, expected_quaternion_xyzw=expected_xyzw
    )
    turns = turned_deg(expected_xyzw) >= _TURN_NEEDED_DEG
    finite = expected_m[np.isfinite(expected_m).all(axis=1)]
    moves = bool(len(finite)) and bool(np.ptp(finite, axis=0).max() >= _MOVE_NEEDED_M)
    return (
        judge("state_rotation", by_rotation, tool_can_be_told=turns),
        judge("state_position", by_position, tool_can_be_told=turns or moves),
    )


def _against_state(
    action: WrittenAction | None,
    position_m: np.ndarray,
    state: WrittenRotation,
    source_xyzw: np.ndarray,
) -> PartEvidence:
    if action is None:
        return PartEvidence("action", "undecided", "no action recorded")
    if action.reference == "absolute":
        tool_xyzw = source_xyzw
        if state.fixed_rotation is not None:
            tool_xyzw = apply_fixed_rotation(source_xyzw, state.fixed_rotation)
        readings = absolute_readings(
            action.position_m,
            rotation=action.rotation.values,
            state_position_m=position_m,
            state_quaternion_xyzw=tool_xyzw,
            declared=action.rotation.encoding,
            unit=action.rotation.unit,
            fixed_rotation=action.rotation.fixed_rotation,
        )
        return judge("action", readings)
    readings = delta_readings(
        action.position_m,
        delta_rotation=action.rotation.radians(),
        state_position_m=position_m,
        state_quaternion_xyzw=source_xyzw,
        state_rotation=state.radians(),
        state_encoding=state.encoding,
        declared=(
            action.composition or "base_left",
            action.rotation.encoding,
            action.refers_to or "measured",
        ),
    )
    return judge("action", readings)
