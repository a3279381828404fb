"""FineVLA's unified vector of 80 numbers: which slot holds what, and what is masked.

    left_joint 0:7 · left_eef 7:16 · left_gripper 16:17 · left_hand 17:29
    right_joint 29:36 · right_eef 36:45 · right_gripper 45:46 · right_hand 46:58 · reserved 58:80

A single arm is on the right. An end-effector pose is position (m) and quaternion xyzw (`abs_quat`),
7 of the slot's 9 numbers; joints are absolute (`abs_joint`, rad). What is not known is 0 and
masked; so is a number that is not finite. The action of a frame that commands nothing
(`action_valid` false) keeps its numbers and is masked.

Source: FineVLA, `FineVLA-Tool/CanonicalizeAndClean`, `utils/UnifyJointAction.py` (layout, masks,
`delta` and `rel`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import FeatureError
from finedata.motion.quaternion import conjugate, multiply, normalise, rotate
from finedata.store.export.modality import side_features

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from finedata.store.lerobot.layout import Feature

UNIFIED_DIM = 80
SLOTS: dict[str, tuple[int, int]] = {
    "left_joint": (0, 7),
    "left_eef": (7, 16),
    "left_gripper": (16, 17),
    "left_hand": (17, 29),
    "right_joint": (29, 36),
    "right_eef": (36, 45),
    "right_gripper": (45, 46),
    "right_hand": (46, 58),
    "reserved": (58, 80),
}
_POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")


@dataclass(frozen=True, slots=True)
class Unified:
    """An episode in unified vectors.

    Attributes:
        state: (T, 80) float32.
        action: (T, 80) float32, absolute targets.
        mask_state: (T, 80) bool, true where `state` says something.
        mask_action: (T, 80) bool.
        used: Names of the numbers that found a slot, as `<column>.<name>`.
    """

    state: NDArray[np.float32]
    action: NDArray[np.float32]
    mask_state: NDArray[np.bool_]
    mask_action: NDArray[np.bool_]
    used: frozenset[str]


def unify(columns: Mapping[str, np.ndarray], *, features: Mapping[str, Feature]) -> Unified:
    """Pack an episode's columns into unified vectors.

    Args:
        columns: Name to (T,) or (T, n), as `Episode.columns`.
        features: Every stored column with its names, as info.json declares it.

    Raises:
        FeatureError: An arm has more joints than 7, or a hand more than 12.
    """
    state, mask_state, used = _side(columns, features, side="state")
    action, mask_action, used_too = _side(columns, features, side="action")
    if "action_valid" in columns:
        mask_action &= columns["action_valid"].astype(bool)[:, None]
    return Unified(state, action, mask_state, mask_action, frozenset(used | used_too))


def _side(
    columns: Mapping[str, np.ndarray], features: Mapping[str, Feature], *, side: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_], set[str]]:
    length = len(columns["frame_index"])
    vector = np.zeros((length, UNIFIED_DIM), np.float32)
    mask = np.zeros((length, UNIFIED_DIM), np.bool_)
    filled: set[str] = set()
    used: set[str] = set()
    # The packed vector comes first: where a gripper is in two features, it is the one.
    for column, feature in side_features(features, side=side).items():
        table = columns[column].reshape(length, -1)
        for slot, names in _slot_names(feature.names or (), place=column).items():
            if slot in filled:
                continue
            filled.add(slot)
            used |= {f"{column}.{name}" for name in names}
            first = SLOTS[slot][0]
            here = slice(first, first + len(names))
            values = table[:, [list(feature.names or ()).index(name) for name in names]]
            finite = np.isfinite(values)
            vector[:, here] = np.where(finite, values, 0.0)
            mask[:, here] = finite
    return vector, mask, used


def _slot_names(names: Sequence[str], *, place: str) -> dict[str, list[str]]:
    """Which of a feature's names go into which slot, in the slot's order."""
    found: dict[str, list[str]] = {}
    for arm in ("left", "right"):
        pose = [f"{arm}_{axis}" for axis in _POSE]
        if all(name in names for name in pose):
            found[f"{arm}_eef"] = pose
        if f"{arm}_gripper" in names:
            found[f"{arm}_gripper"] = [f"{arm}_gripper"]
        for kind in ("joint", "hand"):
            numbered: list[str] = []
            while f"{arm}_{kind}_{len(numbered)}" in names:
                numbered.append(f"{arm}_{kind}_{len(numbered)}")
            if numbered:
                found[f"{arm}_{kind}"] = numbered
    for slot, chosen in found.items():
        first, last = SLOTS[slot]
        if len(chosen) > last - first:
            raise FeatureError(
                place=f"feature {place}",
                found=f"{len(chosen)} numbers for {slot}",
                wanted=f"at most {last - first}, which is what the unified vector holds",
                next_command="leave these episodes out with --where \"embodiment <> '...'\"",
            )
    return found


def delta_pose(target_pose: ArrayLike, *, state_pose: ArrayLike) -> NDArray[np.float64]:
    """Absolute targets as steps from the measured pose of the same frame, in base axes.

    dp = p - p_s and R = R_a R_s^-1 (FineVLA's `delta`: left-multiplied, the world's axes).

    Args:
        target_pose: (T, 7): position in metres, quaternion xyzw.
        state_pose: (T, 7) likewise.

    Returns:
        (T, 7) likewise.
    """
    target, state = _poses(target_pose), _poses(state_pose)
    turn = multiply(target[:, 3:], conjugate(state[:, 3:]))
    return np.concatenate([target[:, :3] - state[:, :3], turn], axis=1)


def relative_pose(target_pose: ArrayLike, *, state_pose: ArrayLike) -> NDArray[np.float64]:
    """Absolute targets as seen from the first measured pose of the episode or chunk.

    p = R_s0^-1 (p_a - p_s0) and R = R_s0^-1 R_a (FineVLA's `rel`).

    Args:
        target_pose: (T, 7): position in metres, quaternion xyzw.
        state_pose: (T, 7) likewise; only the first row counts.

    Returns:
        (T, 7) likewise.
    """
    target, first = _poses(target_pose), _poses(state_pose)[:1]
    back = conjugate(first[:, 3:])
    position_m = rotate(back, target[:, :3] - first[:, :3])
    return np.concatenate([position_m, multiply(back, target[:, 3:])], axis=1)


def delta_joints(target_rad: ArrayLike, *, state_rad: ArrayLike) -> NDArray[np.float64]:
    """Joint targets (T, n) less the measured joints of the same frame."""
    return np.asarray(target_rad, np.float64) - np.asarray(state_rad, np.float64)


def relative_joints(target_rad: ArrayLike, *, state_rad: ArrayLike) -> NDArray[np.float64]:
    """Joint targets (T, n) less the measured joints of the first frame."""
    return np.asarray(target_rad, np.float64) - np.asarray(state_rad, np.float64)[:1]


def _poses(values: ArrayLike) -> NDArray[np.float64]:
    rows = np.asarray(values, np.float64)
    if rows.ndim != 2 or rows.shape[1] != 7:
        raise FeatureError(
            place="pose", found=f"an array of shape {rows.shape}", wanted="(T, 7): xyz, xyzw"
        )
    return np.concatenate([rows[:, :3], normalise(rows[:, 3:])[0]], axis=1)
