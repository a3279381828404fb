"""`meta/modality.json`: which slice of the packed vectors has which name for which trainer.

GR00T and StarVLA (`LeRobotModalityMetadata`) and FineVLA's own tools (`UnifyJointAction.py`) read
the file. One set of names serves all three:

* FineVLA wants the slots of its unified vector as names, optionally with a part after a dot
  (`right_eef.position`), and `type` as `<abs|delta>_<joint|quat|wxyz|...>`; parts of one slot are
  joined in order and the last part's type counts. Other groups go to `reserved.<name>`.
* GR00T strips `state.` and keeps what follows, so a dot is a name like any other.

GR00T and StarVLA turn rotations with PyTorch3D, whose quaternions begin with w; ours end with it.
A slice cannot reorder, so the exports add the columns `observation.rotation_wxyz` and
`action.rotation_wxyz`, and `right_eef.rotation` points there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.store.lerobot.layout import Feature, picture_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SIDES = {"state": "observation.", "action": "action."}
_MAIN = {"state": "observation.state", "action": "action"}
_WXYZ = "rotation_wxyz"
_ORDER_XYZW = ("qx", "qy", "qz", "qw")
_ORDER_WXYZ = ("qw", "qx", "qy", "qz")
_GROUPS = (
    (re.compile(r"(left|right)_[xyz]"), "eef.position", "abs_wxyz"),
    (re.compile(r"(left|right)_q[xyzw]"), "", ""),
    (re.compile(r"(left|right)_joint_\d+"), "joint", "abs_joint"),
    (re.compile(r"(left|right)_gripper"), "gripper", "abs_joint"),
    (re.compile(r"(left|right)_hand_\d+"), "hand", "abs_joint"),
)


def side_features(features: Mapping[str, Feature], *, side: str) -> dict[str, Feature]:
    """Float vectors of one side, the packed one first.

    Args:
        features: Every stored column.
        side: `state` or `action`.
    """
    chosen = {
        name: feature
        for name, feature in features.items()
        if (name == _MAIN[side] or name.startswith(_SIDES[side]))
        and str(feature.dtype).startswith("float")
        and not name.startswith(picture_column(""))
    }
    first = {_MAIN[side]: chosen.pop(_MAIN[side])} if _MAIN[side] in chosen else {}
    return first | chosen


def rotation_features(features: Mapping[str, Feature]) -> dict[str, Feature]:
    """The added columns of quaternions that begin with w; none where no pose is known."""
    found: dict[str, Feature] = {}
    for side, prefix in _SIDES.items():
        arms = _posed_arms(features, side=side)
        names = tuple(f"{arm}_{axis}" for arm in arms for axis in _ORDER_WXYZ)
        if names:
            found[f"{prefix}{_WXYZ}"] = Feature("float32", (len(names),), names)
    return found


def rotation_columns(
    columns: Mapping[str, np.ndarray], *, features: Mapping[str, Feature]
) -> dict[str, np.ndarray]:
    """Values of the added columns: name to (T, 4 arms) float32."""
    found: dict[str, np.ndarray] = {}
    for side, prefix in _SIDES.items():
        blocks = [
            columns[name][:, [indices[axis] for axis in _ORDER_WXYZ]]
            for name, indices in _posed_arms(features, side=side).values()
        ]
        if blocks:
            found[f"{prefix}{_WXYZ}"] = np.concatenate(blocks, axis=1).astype(np.float32)
    return found


def _posed_arms(
    features: Mapping[str, Feature], *, side: str
) -> dict[str, tuple[str, dict[str, int]]]:
    """Arms with a quaternion: its column, and the position of each component in it."""
    found: dict[str, tuple[str, dict[str, int]]] = {}
    for name, feature in side_features(features, side=side).items():
        names = list(feature.names or ())
        for arm in ("right", "left"):
            wanted = [f"{arm}_{axis}" for axis in _ORDER_XYZW]
            if arm not in found and all(entry in names for entry in wanted):
                positions = [names.index(entry) for entry in wanted]
                found[arm] = (name, dict(zip(_ORDER_XYZW, positions, strict=True)))
    return found


def modality_json(
    features: Mapping[str, Feature], *, cameras: Iterable[str], declared: bool = True
) -> dict[str, Any]:
    """The content of meta/modality.json.

    Args:
        features: Every stored column, without the added ones.
        cameras: Exported names of the cameras.
        declared: Whether a converter file says what the numbers are. Of others nothing is claimed:
            neither `absolute` nor a `type`.

    Returns:
        Groups `state`, `action` (start, end, original_key, dtype, absolute, type, dim,
        rotation_type), `video` and `annotation`.
    """
    sides = {side: _groups(features, side=side) for side in _SIDES}
    if not declared:
        claims = ("absolute", "type")
        sides = {
            side: {
                name: {key: value for key, value in group.items() if key not in claims}
                for name, group in groups.items()
            }
            for side, groups in sides.items()
        }
    return {
        **sides,
        "video": {camera: {"original_key": picture_column(camera)} for camera in cameras},
        "annotation": {"human.action.task_description": {"original_key": "task_index"}},
    }


def _groups(features: Mapping[str, Feature], *, side: str) -> dict[str, Any]:
    groups: dict[str, Any] = {}
    arms = list(_posed_arms(features, side=side))
    for name, feature in side_features(features, side=side).items():
        slices = _slices(feature)
        if slices is None:
            tail = name.removeprefix(_SIDES[side])
            slices = {f"reserved.{tail}": (0, feature.shape[0], "abs_joint")}
        for group, (start, end, kind) in slices.items():
            # The packed vector comes first and wins: a gripper is in other features again.
            groups.setdefault(group, _slice(name, start, end, kind))
            arm = group.partition("_")[0]
            if group.endswith("_eef.position") and arm in arms:
                first = 4 * arms.index(arm)
                rotation = _slice(f"{_SIDES[side]}{_WXYZ}", first, first + 4, "abs_wxyz")
                groups.setdefault(f"{arm}_eef.rotation", rotation | {"rotation_type": "quaternion"})
    return groups


def _slice(column: str, start: int, end: int, kind: str) -> dict[str, Any]:
    return {
        "start": start,
        "end": end,
        "original_key": column,
        "dtype": "float32",
        "absolute": True,
        "type": kind,
        "dim": end - start,
    }


def _slices(feature: Feature) -> dict[str, tuple[int, int, str]] | None:
    """Groups of neighbouring names, or `None` where a name says nothing or groups are torn."""
    slices: dict[str, tuple[int, int, str]] = {}
    for position, name in enumerate(feature.names or ()):
        meaning = _meaning(name)
        if meaning is None:
            return None
        group, kind = meaning
        if not group:
            continue  # a quaternion: the added column has it in the readers' order
        start, end, _ = slices.get(group, (position, position, kind))
        if end != position:
            return None
        slices[group] = (start, position + 1, kind)
    return slices or None


def _meaning(name: str) -> tuple[str, str] | None:
    """Group and type of one number of a packed vector."""
    for pattern, tail, kind in _GROUPS:
        found = pattern.fullmatch(name)
        if found:
            return (f"{found[1]}_{tail}" if tail else "", kind)
    return None
