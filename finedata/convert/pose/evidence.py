"""What one arm of one episode says for or against its declared conventions.

The numbers stay in the source's own units, as `finedata.motion.proof.evidence` wants them, and what
is missing is said in words. Decided here is what a single trajectory cannot judge: an action that
is written exactly as the state proves nothing about how both are written; an action that is written
otherwise does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from finedata.convert.canonical import source_position_m, written_rotation
from finedata.motion import (
    ENCODING_WIDTH,
    MODELS,
    PartEvidence,
    PoseEvidence,
    WrittenAction,
    WrittenRotation,
    pool_evidence,
    pose_evidence,
)
from finedata.motion.proof.readings import by_score
from finedata.motion.proof.verdict import Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.convert.canonical import CanonicalArm
    from finedata.convert.forms import EpisodeView
    from finedata.schema.converter import ArmSpec, RotationSpec

__all__ = [
    "ArmPose",
    "action_in_words",
    "arm_evidence",
    "judged_together",
    "no_arm",
    "nothing_yet",
    "written_alike",
]


@dataclass(frozen=True, slots=True)
class ArmPose:
    """What speaks for and against the declared conventions of one arm of one form.

    Attributes:
        source: Name of the converter.
        variant: The form.
        embodiment: The robot.
        arm: `right` or `left`; empty where the form declares no arm.
        tool_frame: As declared.
        model: The published robot model that is held against it, where there is one.
        encoding: The state's rotation; `none` without one.
        action: What the action is: its reference, and the encoding of its rotation.
        decided_by_norm: Whether the numbers themselves told the state's encoding (converter:
            `quaternion_or_euler`). Episodes that told another one are another `ArmPose`.
        episodes: How many episodes were compared.
        skipped: How many were not, by the flag that says why.
        verdict: `contradicted` where one part is, else `confirmed` where one is.
        reason: Why, in words.
        parts: State rotation, state position, action; none where no pose was compared.
    """

    source: str
    variant: str
    embodiment: str
    arm: str
    tool_frame: str
    model: str | None
    encoding: str
    action: str
    decided_by_norm: bool
    episodes: int
    skipped: dict[str, int]
    verdict: Verdict
    reason: str
    parts: tuple[PartEvidence, ...]


def no_arm(source: str, variant: str, embodiment: str) -> ArmPose:
    """The answer for a form that declares no arm."""
    return ArmPose(
        source=source,
        variant=variant,
        embodiment=embodiment,
        arm="",
        tool_frame="unknown",
        model=None,
        encoding="none",
        action="none",
        decided_by_norm=False,
        episodes=0,
        skipped={},
        verdict="undecided",
        reason="the converter declares no conventions",
        parts=(),
    )


def nothing_yet(
    source: str, variant: str, embodiment: str, arm: ArmSpec, moved: CanonicalArm, action: str
) -> ArmPose:
    """The answer for an arm before any evidence; it stands where there is no pose."""
    return replace(
        no_arm(source, variant, embodiment),
        arm=arm.name,
        tool_frame=arm.tool_frame,
        model=arm.model,
        encoding=moved.encoding,
        action=action,
        decided_by_norm=moved.decided_by_norm,
        reason="no pose recorded, joints only: nothing to hold them against",
    )


def action_in_words(view: EpisodeView, arm: ArmSpec, *, frames: int) -> str:
    """What an arm's action is: its reference, how steps compose, the encoding of its rotation."""
    spec = arm.action
    if spec.reference == "next_state":
        return "next_state"
    if spec.rotation is None:
        return f"{spec.reference}, joints only"
    encoding = written_rotation(view, spec.rotation, frames).encoding
    how = [spec.reference, spec.composition, encoding, spec.refers_to]
    return ", ".join(word for word in how if word is not None)


def written_alike(view: EpisodeView, arm: ArmSpec, *, frames: int) -> bool:
    """Whether any wrong reading of both leaves action and state as near as they are.

    So it is with absolute targets in the state's own encoding, and with steps that are added to
    the state's own numbers.
    """
    state, action = arm.state.rotation, arm.action.rotation
    if state is None or action is None:
        return False
    same = state.unit == action.unit and (
        written_rotation(view, state, frames).encoding
        == written_rotation(view, action, frames).encoding
    )
    if arm.action.reference == "absolute":
        return same and state.fixed_rotation == action.fixed_rotation
    return same and arm.action.composition == "component_sum"


def arm_evidence(
    view: EpisodeView, arm: ArmSpec, moved: CanonicalArm, *, frames: int
) -> PoseEvidence | None:
    """One episode's evidence for one arm.

    Args:
        view: The episode.
        arm: What the converter declares.
        moved: The arm's canonical motion.
        frames: How many steps to look at, from the first.

    Returns:
        The evidence; `None` where the state has no pose. Without joints or a published model the
        state's rotation is judged by the action, where that is not written alike.

    Raises:
        FeatureError: A feature is not as the converter says.
    """
    position_m, spec = moved.state.position_m, arm.state.rotation
    if position_m is None or spec is None:
        return None
    joints, missing = moved.state.joint_position, ""
    if joints is not None and arm.model is not None:
        wanted = MODELS[arm.model].joints
        if joints.shape[1] != wanted:
            missing = f"{arm.model} has {wanted} joints, {joints.shape[1]} are recorded"
    rotation, action = _rotation(view, spec, frames), _action(view, arm, frames)
    found = pose_evidence(
        position_m,
        state_rotation=rotation,
        action=action,
        joint_position=None if missing else joints,
        model=arm.model,
    )
    position, told = found.state_position, found.state_rotation
    if missing:
        position, told = replace(position, reason=missing), replace(told, reason=missing)
    if not told.readings and action and not written_alike(view, arm, frames=frames):
        told = _rotation_by_action(position_m, rotation, action) or told
    said = found.action if action else replace(found.action, reason=_why_no_action(arm))
    return PoseEvidence(told, position, said)


def judged_together(found: Sequence[PoseEvidence], *, alike: bool) -> PoseEvidence:
    """Judge several episodes of one arm together.

    Args:
        found: At least one; all with the same declared conventions.
        alike: See `written_alike`.
    """
    pooled = pool_evidence(found)
    rotation, action = pooled.state_rotation, pooled.action
    # Forward kinematics knows no lag.
    if any(reading.lag_frames is not None for reading in rotation.readings):
        rotation = replace(rotation, reason=f"by the action, {rotation.reason}")
    if alike and action.verdict == "confirmed" and rotation.verdict != "confirmed":
        declared = next(reading for reading in action.readings if reading.declared)
        repeats = declared.residual_m == 0.0 and declared.lag_frames == 0
        same = "repeats the state" if repeats else "is written as the state is"
        reason = f"{action.reason}; but the action {same}: both may be misread alike"
        action = replace(action, verdict="undecided", reason=reason)
    return PoseEvidence(rotation, pooled.state_position, action)


def _why_no_action(arm: ArmSpec) -> str:
    if arm.action.reference == "next_state":
        return "no action recorded: it is the next state"
    return "the action has joints only, no pose"


def _rotation_by_action(
    position_m: np.ndarray, rotation: WrittenRotation, action: WrittenAction
) -> PartEvidence | None:
    """Read the state in each encoding of its width: which one does the declared action explain?"""
    width = rotation.values.shape[1]
    readings = [
        replace(reading, name=encoding, declared=declared, same_as_declared=declared)
        for encoding, columns in ENCODING_WIDTH.items()
        if columns == width
        for declared in [encoding == rotation.encoding]
        for reading in pose_evidence(
            position_m, state_rotation=replace(rotation, encoding=encoding), action=action
        ).action.readings
        if reading.declared
    ]
    return judge("state_rotation", by_score(readings)) if len(readings) > 1 else None


def _rotation(view: EpisodeView, spec: RotationSpec, frames: int) -> WrittenRotation:
    written = written_rotation(view, spec, frames)
    if written.decided_by_norm:
        return WrittenRotation(written.values, written.encoding, "rad", spec.fixed_rotation)
    # In the source's own unit, so that a mistaken one is among the readings.
    values = np.asarray(view.pick(spec)[:frames], np.float64)
    return WrittenRotation(values, written.encoding, spec.unit, spec.fixed_rotation)


def _action(view: EpisodeView, arm: ArmSpec, frames: int) -> WrittenAction | None:
    spec = arm.action
    if spec.reference == "next_state" or spec.position is None or spec.rotation is None:
        return None
    return WrittenAction(
        reference=spec.reference,
        position_m=source_position_m(view, spec.position, frames),
        rotation=_rotation(view, spec.rotation, frames),
        composition=spec.composition,
        refers_to=spec.refers_to,
    )
