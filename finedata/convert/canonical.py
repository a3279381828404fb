"""How the source's numbers become canonical motion, by what the converter file says of them.

Canonical is, for each arm: absolute poses of state and action in that arm's base frame (position
in metres, unit quaternion xyzw), joints in radians, and the gripper's open fraction (1 = open,
0 = closed, not clipped). All arithmetic is float64; signs are settled before the cast to float32.

Conventions: DESIGN of the canonical dataset, "Canonical motion"; each source's own in its
converter file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from finedata.convert.planning.layout_columns import sorted_arms
from finedata.errors import FeatureError
from finedata.motion import (
    apply_fixed_rotation,
    count_sign_flips,
    count_wrap_jumps,
    decide_quaternion_or_euler,
    hold_relative,
    integrate_targets,
    make_sign_continuous,
    normalise,
    open_fraction_by_range,
    to_open_fraction,
    to_quaternion_xyzw,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.convert.forms import EpisodeView
    from finedata.motion import RotationEncoding
    from finedata.schema.converter import (
        ActionSpec,
        ArmSpec,
        GripperSpec,
        JointSpec,
        PositionSpec,
        RotationSpec,
        StateSpec,
        Variant,
    )

ActionOrigin = Literal["recorded", "integrated_delta", "residual", "next_state"]
_ORIGINS: dict[str, ActionOrigin] = {
    "absolute": "recorded",
    "delta": "integrated_delta",
    "residual": "residual",
    "next_state": "next_state",
}


@dataclass(frozen=True, slots=True)
class Pose:
    """What one arm does over an episode: measured, or commanded.

    Attributes:
        position_m: (T, 3) float64 in the arm's base frame; `None` where not known.
        quaternion_xyzw: (T, 4) float64, unit norm, sign-continuous; `None` likewise.
        joint_position: (T, n) float64 in radians; `None` where not known.
        gripper_open: (T,) float64, 1 = open; `None` without a gripper.
        hand: (T, n) float64 as the source has it; `None` without a dexterous hand.
    """

    position_m: np.ndarray | None = None
    quaternion_xyzw: np.ndarray | None = None
    joint_position: np.ndarray | None = None
    gripper_open: np.ndarray | None = None
    hand: np.ndarray | None = None

    def packed(self, space: str) -> np.ndarray:
        """(T, n) float32: this arm's share of observation.state or action."""
        body = self.ee_pose() if space == "ee" else self.joint_position
        columns = [body] if body is not None else []
        if self.hand is not None:
            columns.append(self.hand)
        elif self.gripper_open is not None:
            columns.append(self.gripper_open[:, None])
        return np.concatenate(columns, axis=1).astype(np.float32)

    def ee_pose(self) -> np.ndarray | None:
        """(T, 7) float64: position and quaternion."""
        if self.position_m is None or self.quaternion_xyzw is None:
            return None
        return np.concatenate([self.position_m, self.quaternion_xyzw], axis=1)

    def following(self) -> Pose:
        """The same, one step later; the last row repeats."""

        def shift(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else np.concatenate([values[1:], values[-1:]])

        return Pose(
            shift(self.position_m),
            shift(self.quaternion_xyzw),
            shift(self.joint_position),
            shift(self.gripper_open),
            shift(self.hand),
        )


@dataclass(frozen=True, slots=True)
class CanonicalArm:
    """State and action of one arm, and what was met on the way.

    Attributes:
        name: `right` or `left`.
        state: Measured.
        action: Commanded: the absolute target at each step.
        encoding: How the source wrote the rotation; `none` without one.
        decided_by_norm: Whether the numbers themselves told the encoding.
        quaternion_norm_min: Smallest norm before normalisation; `None` for other encodings.
        quaternion_norm_max: Largest norm, likewise.
        sign_flips: Sign changes between neighbouring quaternions that were undone.
        wrap_jumps: Jumps by more than pi of an angle, removed by the change of encoding.
        gripper_unknown: Whether no declared scale fits the gripper's numbers.
    """

    name: str
    state: Pose
    action: Pose
    encoding: str = "none"
    decided_by_norm: bool = False
    quaternion_norm_min: float | None = None
    quaternion_norm_max: float | None = None
    sign_flips: int = 0
    wrap_jumps: int = 0
    gripper_unknown: bool = False


@dataclass(frozen=True, slots=True)
class CanonicalMotion:
    """An episode's motion: every arm, and which actions are real.

    Attributes:
        arms: Right, then left.
        space: What `state()` and `action()` hold.
        action_valid: (T,) bool; false where an action had to be repeated.
        action_origin: How the actions were obtained.
    """

    arms: tuple[CanonicalArm, ...]
    space: str
    action_valid: np.ndarray
    action_origin: ActionOrigin

    def state(self) -> np.ndarray:
        """(T, n) float32: the packed observation.state."""
        return np.concatenate([arm.state.packed(self.space) for arm in self.arms], axis=1)

    def action(self) -> np.ndarray:
        """(T, n) float32: the packed action."""
        return np.concatenate([arm.action.packed(self.space) for arm in self.arms], axis=1)

    def vector(self, name: str) -> np.ndarray | None:
        """`observation.` or `action.` `ee_pose` or `joint_position`, (T, n) float32."""
        side, _, kind = name.partition(".")
        poses = [arm.state if side == "observation" else arm.action for arm in self.arms]
        columns = [pose.ee_pose() if kind == "ee_pose" else pose.joint_position for pose in poses]
        known = [values for values in columns if values is not None]
        return np.concatenate(known, axis=1).astype(np.float32) if known else None


@dataclass(frozen=True, slots=True)
class Written:
    """A rotation as the source wrote it: its columns in radians, and what they turned out to be."""

    values: NDArray[np.float64]
    encoding: RotationEncoding
    decided_by_norm: bool


def canonical_motion(view: EpisodeView, variant: Variant, *, frames: int) -> CanonicalMotion:
    """Derive an episode's canonical motion.

    Args:
        view: The episode, already examined.
        variant: What its numbers mean.
        frames: How many steps to keep, from the first.

    Raises:
        FeatureError: A feature is not as the converter says.
    """
    reference = variant.arms[0].action.reference
    valid = np.ones(frames, np.bool_)
    if reference == "next_state":
        valid[-1] = False
    arms = tuple(_arm_motion(view, arm, frames) for arm in sorted_arms(variant))
    return CanonicalMotion(arms, variant.space, valid, _ORIGINS[reference])


def written_rotation(view: EpisodeView, spec: RotationSpec, frames: int) -> Written:
    """The columns of a rotation, and their encoding.

    Raises:
        FeatureError: The feature is not as the converter says.
    """
    values = np.asarray(view.pick(spec)[:frames], np.float64)
    if spec.encoding != "quaternion_or_euler":
        values = np.deg2rad(values) if spec.unit == "deg" else values
        return Written(values, spec.encoding, decided_by_norm=False)
    encoding = decide_quaternion_or_euler(values)
    values = values if encoding == "quaternion_xyzw" else values[:, :3]
    return Written(values, encoding, decided_by_norm=True)


def _arm_motion(view: EpisodeView, arm: ArmSpec, frames: int) -> CanonicalArm:
    spec = arm.state
    gripper, unknown = _gripper_open(view, spec.gripper, frames)
    plain = Pose(
        joint_position=_joints(view, spec.joints, frames),
        gripper_open=gripper,
        hand=_joints(view, spec.hand, frames),
    )
    if spec.position is None or spec.rotation is None:
        action = _action(view, arm, plain, None, frames)
        return CanonicalArm(arm.name, plain, action, gripper_unknown=unknown)
    written = written_rotation(view, spec.rotation, frames)
    source_xyzw = to_quaternion_xyzw(written.values, encoding=written.encoding)
    tool_xyzw = _to_tool(source_xyzw, spec.rotation)
    is_quaternion = written.encoding.startswith("quaternion")
    norms = normalise(written.values)[1] if is_quaternion else None
    state = Pose(
        source_position_m(view, spec.position, frames),
        make_sign_continuous(tool_xyzw),
        plain.joint_position,
        plain.gripper_open,
        plain.hand,
    )
    angles = written.encoding in ("euler_xyz_extrinsic", "rotation_vector")
    return CanonicalArm(
        name=arm.name,
        state=state,
        action=_action(view, arm, state, (written, source_xyzw), frames),
        encoding=written.encoding,
        decided_by_norm=written.decided_by_norm,
        quaternion_norm_min=None if norms is None else float(norms.min()),
        quaternion_norm_max=None if norms is None else float(norms.max()),
        sign_flips=count_sign_flips(tool_xyzw),
        wrap_jumps=count_wrap_jumps(written.values) if angles else 0,
        gripper_unknown=unknown,
    )


def _action(
    view: EpisodeView,
    arm: ArmSpec,
    state: Pose,
    rotation: tuple[Written, NDArray[np.float64]] | None,
    frames: int,
) -> Pose:
    spec = arm.action
    following = state.following()
    gripper, _ = _gripper_open(view, spec.gripper, frames)
    # What the source does not command is where it went next.
    if gripper is None:
        gripper = following.gripper_open
    hand = _joints(view, spec.hand, frames)
    if hand is None:
        hand = following.hand
    if spec.reference == "next_state":
        return Pose(
            following.position_m,
            following.quaternion_xyzw,
            following.joint_position,
            gripper,
            hand,
        )
    position_m, quaternion = _action_pose(view, arm, state, rotation, frames)
    joints = _joints(view, spec.joints, frames)
    return Pose(position_m, quaternion, joints, gripper, hand)


def _action_pose(
    view: EpisodeView,
    arm: ArmSpec,
    state: Pose,
    state_rotation: tuple[Written, NDArray[np.float64]] | None,
    frames: int,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The commanded pose, absolute; nothing where the source commands joints only."""
    spec = arm.action
    if spec.position is None or spec.rotation is None:
        return None, None
    position_m = source_position_m(view, spec.position, frames)
    written = written_rotation(view, spec.rotation, frames)
    if spec.reference == "absolute":
        source_xyzw = to_quaternion_xyzw(written.values, encoding=written.encoding)
        tool_xyzw = _to_tool(source_xyzw, spec.rotation)
    else:
        position_m, tool_xyzw = _integrated(
            arm.state, spec, state, state_rotation, position_m, written
        )
    reference = None if state.quaternion_xyzw is None else state.quaternion_xyzw[0]
    # The action starts on the state's side of the sphere, then follows itself.
    return position_m, make_sign_continuous(tool_xyzw, reference=reference)


def _integrated(
    state_spec: StateSpec,
    spec: ActionSpec,
    state: Pose,
    state_rotation: tuple[Written, NDArray[np.float64]] | None,
    delta_position_m: NDArray[np.float64],
    written: Written,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Targets from deltas or residuals.

    Steps are composed in the frame that the source writes its state in; the state's fixed
    rotation turns the result into the tool's, as it does for the state.
    """
    if state_rotation is None or state.position_m is None or state_spec.rotation is None:
        raise FeatureError(
            place="an action that refers to a pose",
            found="a state without one",
            wanted="position and rotation in the state",
        )
    state_written, state_xyzw = state_rotation
    position_m, source_xyzw = integrate_targets(
        delta_position_m=delta_position_m,
        delta_rotation=written.values,
        encoding=written.encoding,
        composition=spec.composition or "base_left",
        refers_to=spec.refers_to or "measured",
        start_position_m=state.position_m[0],
        start_quaternion_xyzw=state_xyzw[0],
        measured_position_m=state.position_m,
        measured_quaternion_xyzw=state_xyzw,
        measured_rotation=state_written.values,
    )
    return position_m, _to_tool(source_xyzw, state_spec.rotation)


def source_position_m(view: EpisodeView, spec: PositionSpec, frames: int) -> np.ndarray:
    """Positions as the source has them, float64 (frames, 3), in metres."""
    values = np.asarray(view.pick(spec)[:frames], np.float64)
    return values / 1000.0 if spec.unit == "mm" else values


def _joints(view: EpisodeView, spec: JointSpec | None, frames: int) -> np.ndarray | None:
    if spec is None:
        return None
    values = np.asarray(view.pick(spec)[:frames], np.float64)
    return np.deg2rad(values) if spec.unit == "deg" else values


def _to_tool(source_xyzw: NDArray[np.float64], spec: RotationSpec) -> NDArray[np.float64]:
    """The tool's rotation: the source's, times the source's fixed rotation on the right."""
    if spec.fixed_rotation is None:
        return source_xyzw
    return apply_fixed_rotation(source_xyzw, np.asarray(spec.fixed_rotation, np.float64))


def _gripper_open(
    view: EpisodeView, spec: GripperSpec | None, frames: int
) -> tuple[np.ndarray | None, bool]:
    """Open fractions, and whether no declared scale fits."""
    if spec is None:
        return None, False
    column = view.column(spec.feature, column=spec.column, named=spec.named)
    values = np.asarray(column[:frames], np.float64)
    if spec.kind == "relative_hold":
        sign = 1 if spec.closed > spec.open else -1
        return hold_relative(values, close_sign=sign, initial=None), False
    if spec.kind == "absolute_by_range":
        ranges = [(scale.up_to, scale.open, scale.closed) for scale in spec.ranges]
        fraction = open_fraction_by_range(values, ranges)
        return (np.full(frames, np.nan), True) if fraction is None else (fraction, False)
    return to_open_fraction(values, open_value=spec.open, closed_value=spec.closed), False
