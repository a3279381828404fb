"""From the source's numbers to canonical motion, as the converter file says.

A raw episode and the arms of a converter come in; per arm, absolute poses of state and action
in that arm's base frame go out: position in metres, unit quaternion xyzw, gripper open fraction
(1 = open, 0 = closed, not clipped). All arithmetic is float64; signs are settled before the
cast to float32.

Conventions: DESIGN of the canonical dataset, "Canonical motion"; each source's own in its
converter file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from finedata.errors import FeatureError
from finedata.motion import (
    apply_fixed_rotation,
    count_sign_flips,
    count_wrap_jumps,
    hold_relative,
    integrate_targets,
    make_sign_continuous,
    normalise,
    to_open_fraction,
    to_quaternion_xyzw,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.readers.episode import RawEpisode
    from finedata.schema.converter import (
        ActionSpec,
        ArmSpec,
        Converter,
        GripperSpec,
        PositionSpec,
        RotationSpec,
    )

__all__ = ["ActionOrigin", "ArmMotion", "CanonicalMotion", "Pose", "canonical_motion"]

ActionOrigin = Literal["recorded", "integrated_delta", "residual", "next_state"]
_ORIGINS: dict[str, ActionOrigin] = {
    "absolute": "recorded",
    "delta": "integrated_delta",
    "residual": "residual",
    "next_state": "next_state",
}


@dataclass(frozen=True, slots=True)
class Pose:
    """A trajectory of one arm in its base frame.

    Attributes:
        position_m: (T, 3) float64.
        quaternion_xyzw: (T, 4) float64, unit norm, sign-continuous.
        gripper_open: (T,) float64, 1 = open; NaN where the source has no gripper.
    """

    position_m: np.ndarray
    quaternion_xyzw: np.ndarray
    gripper_open: np.ndarray

    def packed(self) -> np.ndarray:
        """(T, 8) float32: x, y, z, qx, qy, qz, qw, gripper."""
        columns = [self.position_m, self.quaternion_xyzw, self.gripper_open[:, None]]
        return np.concatenate(columns, axis=1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ArmMotion:
    """State and action of one arm, and what was met on the way.

    Attributes:
        name: `right` or `left`.
        state: Measured.
        action: Commanded: the absolute target at each step.
        quaternion_norm_min: Smallest norm before normalisation; `None` for other encodings.
        quaternion_norm_max: Largest norm, likewise.
        sign_flips: Sign changes between neighbouring quaternions that were undone.
        wrap_jumps: Jumps by more than pi of an angle, removed by the change of encoding.
    """

    name: str
    state: Pose
    action: Pose
    quaternion_norm_min: float | None
    quaternion_norm_max: float | None
    sign_flips: int
    wrap_jumps: int


@dataclass(frozen=True, slots=True)
class CanonicalMotion:
    """An episode's motion: every arm, and which actions are real.

    Attributes:
        arms: In the converter's order.
        action_valid: (T,) bool; false where an action had to be repeated.
        action_origin: How the actions were obtained.
    """

    arms: tuple[ArmMotion, ...]
    action_valid: np.ndarray
    action_origin: ActionOrigin

    def state(self) -> np.ndarray:
        """(T, 8 x arms) float32: the packed observation.state."""
        return np.concatenate([arm.state.packed() for arm in self.arms], axis=1)

    def action(self) -> np.ndarray:
        """(T, 8 x arms) float32: the packed action."""
        return np.concatenate([arm.action.packed() for arm in self.arms], axis=1)


def canonical_motion(raw: RawEpisode, converter: Converter, *, frames: int) -> CanonicalMotion:
    """Derive an episode's canonical motion.

    Args:
        raw: The episode, already examined.
        converter: What its numbers mean.
        frames: How many steps to keep, from the first.

    Raises:
        FeatureError: A feature is not as the converter says.
    """
    reference = converter.arms[0].action.reference
    valid = np.ones(frames, np.bool_)
    if reference == "next_state":
        valid[-1] = False
    arms = tuple(_arm_motion(raw, arm, frames) for arm in converter.arms)
    return CanonicalMotion(arms, valid, _ORIGINS[reference])


def _arm_motion(raw: RawEpisode, arm: ArmSpec, frames: int) -> ArmMotion:
    spec = arm.state.rotation
    written = _rotation_columns(raw, spec, frames)
    source_xyzw = to_quaternion_xyzw(written, encoding=spec.encoding)
    tool_xyzw = _to_tool(source_xyzw, spec)
    norms = normalise(written)[1] if spec.encoding.startswith("quaternion") else None
    state = Pose(
        _position_m(raw, arm.state.position, frames),
        make_sign_continuous(tool_xyzw),
        _gripper_open(raw, arm.state.gripper, frames),
    )
    angles = spec.encoding in ("euler_xyz_extrinsic", "rotation_vector")
    return ArmMotion(
        name=arm.name,
        state=state,
        action=_action(raw, arm, state, written, source_xyzw),
        quaternion_norm_min=None if norms is None else float(norms.min()),
        quaternion_norm_max=None if norms is None else float(norms.max()),
        sign_flips=count_sign_flips(tool_xyzw),
        wrap_jumps=count_wrap_jumps(written) if angles else 0,
    )


def _action(
    raw: RawEpisode,
    arm: ArmSpec,
    state: Pose,
    state_written: NDArray[np.float64],
    state_source_xyzw: NDArray[np.float64],
) -> Pose:
    spec = arm.action
    frames = len(state.position_m)
    if spec.reference == "next_state":
        following = np.minimum(np.arange(frames) + 1, frames - 1)
        gripper = state.gripper_open[following]
        if spec.gripper is not None:
            gripper = _gripper_open(raw, spec.gripper, frames)
        return Pose(state.position_m[following], state.quaternion_xyzw[following], gripper)
    position, rotation = _recorded_pose(spec, arm.name)
    position_m = _position_m(raw, position, frames)
    written = _rotation_columns(raw, rotation, frames)
    if spec.reference == "absolute":
        tool_xyzw = _to_tool(to_quaternion_xyzw(written, encoding=rotation.encoding), rotation)
    else:
        # Steps are composed in the frame that the source writes its state in; the state's fixed
        # rotation turns the result into the tool's, as it does for the state.
        position_m, source_xyzw = integrate_targets(
            delta_position_m=position_m,
            delta_rotation=written,
            encoding=rotation.encoding,
            composition=spec.composition or "base_left",
            refers_to=spec.refers_to or "measured",
            start_position_m=state.position_m[0],
            start_quaternion_xyzw=state_source_xyzw[0],
            measured_position_m=state.position_m,
            measured_quaternion_xyzw=state_source_xyzw,
            measured_rotation=state_written,
        )
        tool_xyzw = _to_tool(source_xyzw, arm.state.rotation)
    # The action starts on the state's side of the sphere, then follows itself.
    signed = make_sign_continuous(tool_xyzw, reference=state.quaternion_xyzw[0])
    return Pose(position_m, signed, _gripper_open(raw, spec.gripper, frames))


def _recorded_pose(spec: ActionSpec, arm: str) -> tuple[PositionSpec, RotationSpec]:
    if spec.position is None or spec.rotation is None:
        raise FeatureError(
            place=f"the action of arm {arm}",
            found="no position or rotation in the converter",
            wanted=f"both, with reference `{spec.reference}`",
        )
    return spec.position, spec.rotation


def _columns(raw: RawEpisode, feature: str, first: int, last: int, frames: int) -> np.ndarray:
    return np.asarray(raw.numbers(feature)[:frames, first:last], np.float64)


def _position_m(raw: RawEpisode, spec: PositionSpec, frames: int) -> np.ndarray:
    values = _columns(raw, spec.feature, *spec.columns, frames)
    return values / 1000.0 if spec.unit == "mm" else values


def _rotation_columns(raw: RawEpisode, spec: RotationSpec, frames: int) -> np.ndarray:
    values = _columns(raw, spec.feature, *spec.columns, frames)
    return np.deg2rad(values) if spec.unit == "deg" else values


def _to_tool(source_xyzw: NDArray[np.float64], spec: RotationSpec) -> NDArray[np.float64]:
    """The tool's rotation: the source's, times the source's fixed rotation on the right."""
    if spec.fixed_rotation is None:
        return source_xyzw
    return apply_fixed_rotation(source_xyzw, np.asarray(spec.fixed_rotation, np.float64))


def _gripper_open(raw: RawEpisode, spec: GripperSpec | None, frames: int) -> np.ndarray:
    if spec is None:
        return np.full(frames, np.nan)
    values = _columns(raw, spec.feature, spec.column, spec.column + 1, frames)[:, 0]
    if spec.kind == "relative_hold":
        return hold_relative(values, close_sign=1 if spec.closed > spec.open else -1, initial=None)
    return to_open_fraction(values, open_value=spec.open, closed_value=spec.closed)
