"""The columns of a part: names and shapes of every vector that is made, and of those that are kept.

An episode as its form sees it comes in; features with their names go out. Widths that no pose can
be made of, and an action of other joints than the state, are refused here, before a number is
converted.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import prod
from typing import TYPE_CHECKING, cast

from finedata.errors import FeatureError
from finedata.motion import ENCODING_WIDTH
from finedata.schema.language_spec import RunsSpec
from finedata.store.lerobot.layout import KEPT_DTYPES, Feature

if TYPE_CHECKING:
    from finedata.convert.forms import EpisodeView
    from finedata.schema.converter import ArmSpec, Pick, Variant
    from finedata.store.lerobot.layout import Dtype

__all__ = ["arm_features", "kept_features", "sorted_arms", "vector_features"]

_EE_NAMES = ("x", "y", "z", "qx", "qy", "qz", "qw")
# LeRobot's own columns: made anew, whatever the source has in them.
_STANDARD = frozenset({"timestamp", "frame_index", "episode_index", "index", "task_index"})


def sorted_arms(variant: Variant) -> list[ArmSpec]:
    """The arms in the order of the packed vectors: right, then left."""
    return sorted(variant.arms, key=lambda arm: arm.name != "right")


def _arm_names(arm: ArmSpec, *, space: str, joints: int, hand: int) -> tuple[str, ...]:
    """The names of an arm's share of the packed vectors."""
    body = _EE_NAMES if space == "ee" else tuple(f"joint_{i}" for i in range(joints))
    if hand:
        body += tuple(f"hand_{i}" for i in range(hand))
    elif arm.state.gripper is not None:
        body += ("gripper",)
    return tuple(f"{arm.name}_{name}" for name in body)


def arm_features(view: EpisodeView, variant: Variant) -> dict[str, Feature]:
    """State and action of all arms: the packed vectors, and joints or poses beside them.

    Raises:
        FeatureError: Columns that no pose can be made of, or an action of other joints than
            the state.
    """
    packed: list[str] = []
    joint_names: list[str] = []
    pose_names: list[str] = []
    action_joints = action_pose = True
    arms = sorted_arms(variant)
    for arm in arms:
        state, action = arm.state, arm.action
        _check_widths(view, arm)
        joints = 0 if state.joints is None else view.pick(state.joints).shape[1]
        hand = 0 if state.hand is None else view.pick(state.hand).shape[1]
        packed += _arm_names(arm, space=variant.space, joints=joints, hand=hand)
        joint_names += [f"{arm.name}_joint_{i}" for i in range(joints)]
        if state.position is not None:
            pose_names += [f"{arm.name}_{name}" for name in _EE_NAMES]
        following = action.reference == "next_state"
        action_joints &= bool(joints) and (following or action.joints is not None)
        recorded = following or action.position is not None
        action_pose &= state.position is not None and recorded
    names = tuple(packed)
    features = {
        "observation.state": Feature("float32", (len(names),), names),
        "action": Feature("float32", (len(names),), names),
    }
    other, other_names, commanded = (
        ("joint_position", tuple(joint_names), action_joints)
        if variant.space == "ee"
        else ("ee_pose", tuple(pose_names), action_pose)
    )
    if other_names:
        feature = Feature("float32", (len(other_names),), other_names)
        features[f"observation.{other}"] = feature
        if commanded:
            features[f"action.{other}"] = feature
    return features


def vector_features(view: EpisodeView, variant: Variant) -> dict[str, Feature]:
    """The further vectors of a variant that was fitted to the episode.

    Raises:
        FeatureError: A vector has other columns than names.
    """
    features: dict[str, Feature] = {}
    for vector in variant.vectors:
        width = sum(view.pick(piece).shape[1] for piece in vector.pieces)
        names = vector.names or tuple(f"{vector.name.split('.')[-1]}_{i}" for i in range(width))
        if len(names) != width:
            raise FeatureError(
                place=f"vector {vector.name}",
                found=f"{width} columns",
                wanted=f"{len(names)}, one for each of {', '.join(names)}",
            )
        features[vector.name] = Feature("float32", (width,), names)
    return features


def kept_features(view: EpisodeView, variant: Variant) -> tuple[dict[str, Feature], dict[str, str]]:
    """The features that are stored as they are: numbers or a text with one row a step.

    Returns:
        Feature to what is stored, in its own shape and type; and why others cannot be.
    """
    features: dict[str, Feature] = {}
    reasons: dict[str, str] = {}
    # Styles of a column of language that are instructions or steps are no column beside.
    runs = [steps.feature for steps in variant.language.steps if isinstance(steps, RunsSpec)]
    spoken = {*variant.language.instructions, *runs}
    for name in view.feature_names():
        wanted = any(fnmatchcase(name, pattern) for pattern in variant.keep)
        if not wanted or name in _STANDARD or view.raw.is_derived(name):
            continue
        if view.camera_kind(name) is not None or (name.endswith("]") and name in spoken):
            continue
        try:
            features[name] = _kept(view, name)
        except FeatureError as error:
            reasons[name] = error.found
    return features, reasons


def _kept(view: EpisodeView, name: str) -> Feature:
    """How a feature is stored.

    Raises:
        FeatureError: It is no array of numbers, and no text.
    """
    if "/" in name:
        raise FeatureError(place=f"feature {name}", found="a name with a slash", wanted="none")
    try:
        values = view.numbers(name)
    except FeatureError as error:
        try:
            view.texts(name)
        except FeatureError:
            raise error from None
        return Feature("string", (1,), (name.split(".")[-1],))
    dtype = values.dtype.name
    shape: tuple[int, ...] = values.shape[1:] or (1,)
    if values.ndim == 0 or 0 in shape or dtype not in KEPT_DTYPES:
        raise FeatureError(
            place=f"feature {name}", found=f"{dtype} of shape {values.shape}", wanted="numbers"
        )
    if len(shape) > 1:
        return Feature(cast("Dtype", dtype), shape, None)
    last = name.split(".")[-1]
    names = view.columns_of(name) or tuple(f"{last}_{i}" for i in range(prod(shape)))
    return Feature(cast("Dtype", dtype), shape, names)


def _check_widths(view: EpisodeView, arm: ArmSpec) -> None:
    """Refuse columns that no pose can be made of, or an action of other joints than the state.

    Raises:
        FeatureError: A feature has more or fewer columns than it must have.
    """
    for side in (arm.state, arm.action):
        widths: list[tuple[Pick | None, int]] = [(side.position, 3)]
        if side.rotation is not None:
            encoding = side.rotation.encoding
            width = 4 if encoding == "quaternion_or_euler" else ENCODING_WIDTH[encoding]
            widths.append((side.rotation, width))
        if side is arm.action and arm.action.reference != "next_state":
            widths += [
                (mine, view.pick(other).shape[1])
                for mine, other in ((side.joints, arm.state.joints), (side.hand, arm.state.hand))
                if other is not None
            ]
        for pick, wanted in widths:
            found = wanted if pick is None else view.pick(pick).shape[1]
            if pick is not None and found != wanted:
                raise FeatureError(
                    place=f"feature {pick.feature} of the {arm.name} arm",
                    found=f"{found} columns",
                    wanted=f"{wanted}",
                )
