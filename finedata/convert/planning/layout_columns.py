"""Which columns a part has: every vector that is made, and every feature that is kept as it is.

Widths that no pose can be made of, and an action of other joints than the state, are refused
here, before a number is converted: the plan must settle failures, not the work.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import TYPE_CHECKING, cast

from finedata.errors import FeatureError
from finedata.motion import ENCODING_WIDTH
from finedata.schema.language_spec import RunsSpec
from finedata.store.lerobot.layout import KEPT_DTYPES, Feature

if TYPE_CHECKING:
    from collections.abc import Collection

    from finedata.convert.forms import EpisodeView
    from finedata.schema.converter import ArmSpec, Pick, Variant
    from finedata.store.lerobot.layout import Dtype

_EE_NAMES = ("x", "y", "z", "qx", "qy", "qz", "qw")
# LeRobot's own columns: made anew, whatever the source has in them.
_STANDARD = frozenset({"timestamp", "frame_index", "episode_index", "index", "task_index"})
# Columns that a conversion makes.
_MADE = frozenset({"action_valid", "source_time_s", "is_intervention"})
_STEPS = "steps/"


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


@dataclass(frozen=True, slots=True)
class KeptFeatures:
    """The features that are stored as they are.

    Attributes:
        features: Name in the source to what is stored, in its own shape and type.
        columns: Name in the source to its column.
        reasons: Why others cannot be.
    """

    features: dict[str, Feature]
    columns: dict[str, str]
    reasons: dict[str, str]


def kept_features(view: EpisodeView, variant: Variant) -> KeptFeatures:
    """The features that are stored as they are: numbers or a text with one row a step.

    An HDF5 file or an RLDS record may hold arrays of other things beside: what has not as many rows
    as most features and cameras have is left out (`truncate_to_shortest`: what has less than half).
    """
    features: dict[str, Feature] = {}
    reasons: dict[str, str] = {}
    rows: dict[str, int] = {}
    # Styles of a column of language that are instructions or steps are no column beside.
    runs = [steps.feature for steps in variant.language.steps if isinstance(steps, RunsSpec)]
    spoken = {*variant.language.instructions, *runs}
    pictures: list[int] = []
    for name in view.feature_names():
        if view.camera_kind(name) == "pictures" and view.has(name):
            pictures.append(len(view.pictures(name)))
        wanted = any(fnmatchcase(name, pattern) for pattern in variant.keep)
        counted = name in _STANDARD and variant.reader == "lerobot"
        if not wanted or counted or view.raw.is_derived(name):
            continue
        if view.camera_kind(name) is not None or (name.endswith("]") and name in spoken):
            continue
        if variant.reader == "rlds" and not name.startswith(_STEPS):
            reasons[name] = "one value an episode, not one a step"
            continue
        try:
            features[name], rows[name] = _kept(view, name)
        except FeatureError as error:
            reasons[name] = error.found
    counts = Counter([*rows.values(), *pictures])
    steps = max(counts, key=lambda length: (counts[length], length), default=0)
    least = -(-steps // 2) if "truncate_to_shortest" in variant.quirks else steps
    for name, length in rows.items():
        if length < least or (length != steps and least == steps):
            reasons[name] = f"{length} rows, where most features have {steps}"
            del features[name]
    return KeptFeatures(features, _column_names(features, variant.reader), reasons)


def _column_names(features: Collection[str], reader: str) -> dict[str, str]:
    """Features to their columns: LeRobot has no slash in a name, and dots for it.

    RLDS's `steps/` is what a row is, and no part of a name. Of two that would be one, each ends in
    six digits of its own sha256, as cameras' names do; so does a name that a conversion uses.
    """
    above = _STEPS if reader == "rlds" else ""
    made = _MADE if reader == "lerobot" else _STANDARD | _MADE
    safe = {name: name.removeprefix(above).replace("/", ".") for name in features}
    counts = Counter(safe.values())
    return {
        name: column
        if column not in made and (column == name or counts[column] == 1)
        else f"{column}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
        for name, column in safe.items()
    }


def _kept(view: EpisodeView, name: str) -> tuple[Feature, int]:
    """How a feature is stored, and how many rows it has.

    Raises:
        FeatureError: It is no array of numbers, and no text.
    """
    last = re.split(r"[./]", name)[-1]
    try:
        values = view.numbers(name)
    except FeatureError as error:
        try:
            texts = view.texts(name)
        except FeatureError:
            raise error from None
        return Feature("string", (1,), (last,)), len(texts)
    dtype = values.dtype.name
    shape: tuple[int, ...] = values.shape[1:] or (1,)
    if values.ndim == 0 or 0 in shape or dtype not in KEPT_DTYPES:
        raise FeatureError(
            place=f"feature {name}", found=f"{dtype} of shape {values.shape}", wanted="numbers"
        )
    if len(shape) > 1:
        return Feature(cast("Dtype", dtype), shape, None), len(values)
    names = view.columns_of(name) or tuple(f"{last}_{i}" for i in range(prod(shape)))
    return Feature(cast("Dtype", dtype), shape, names), len(values)


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
