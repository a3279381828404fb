"""Roles of cameras and numbers: how parts of different robots meet in one stream.

`roles.toml` is a proposal made from names, to be edited; once it is there it is never rewritten,
and an append only adds entries for new parts. What the names say (schemas/README.md, converters):
numbers are `<arm>_joint_<i>`, `<arm>_x` … `<arm>_qw`, `<arm>_gripper`, the only arm being `right`.
Left stands before right, as in ALOHA's vectors: two arms of six joints become the 14 numbers of
FineVLA's models (left joints, left gripper, right joints, right gripper), which RDT, RoboCOIN and
RoboMIND's AgileX fill whole, and one arm (DROID, Bridge) by half, the rest being masked. A part
that no converter declares has names of its own and roles of its own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import ConformError
from finedata.schema.roles_file import RolesFile, decode_roles
from finedata.shard.files import ROLES_FILE
from finedata.shard.statistics import feature_names
from finedata.store.atomic import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from finedata.schema.shards_file import ShardSet

__all__ = ["RolePicker", "read_roles", "role_picker", "roles_text", "write_roles"]

CAMERAS = ("main", "left_wrist", "right_wrist")
_HEAD = """\
# Which camera and which numbers of each part fill which role. Edit it as you like: streams read it
# when they open, and what a part does not fill is `fill` (pictures: black), masked.
# A number is "<feature>:<name>", as listed under `features` in shards.json.
"""
_ARMS = ("left", "right")
_POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")
_KINDS = {
    "state": ("observation.state", "observation.joint_position", "observation.ee_pose"),
    "action": ("action", "action.joint_position", "action.ee_pose"),
}
_WRIST = re.compile(r"wrist|hand_?eye|eye_in_hand|gripper")
# In this order; then any other.
_MAIN = re.compile(r"main|high|head|front|top|exterior_1|image_0")
# Cobot Magic carries three cameras, one in front and one on each wrist, also where the two are
# called left and right only (RoboMIND 2).
_WRISTS_BY_SIDE = re.compile(r"agilex")


@dataclass(frozen=True, slots=True)
class RolePicker:
    """How a vector role is filled from the numbers of one set.

    Attributes:
        pieces: Feature, columns of it, and their places in the role.
        mask: (width,) bool: which places the part fills.
        fill: What stands at the others.
    """

    pieces: tuple[tuple[str, np.ndarray, np.ndarray], ...]
    mask: np.ndarray
    fill: float

    def pick(self, numbers: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
        """The role's numbers.

        Args:
            numbers: Feature to (rows, width) or (rows,).
            rows: How many.

        Returns:
            (rows, width) float32.
        """
        found = np.full((rows, len(self.mask)), self.fill, np.float32)
        for feature, columns, places in self.pieces:
            found[:, places] = numbers[feature].reshape(rows, -1)[:, columns]
        return found


def role_picker(roles: RolesFile, role: str, one: ShardSet) -> RolePicker:
    """How a vector role is filled in a set.

    Raises:
        ConformError: There is no such role, or it names a feature or number that the set lacks.
    """
    vector = roles.vectors.get(role)
    if vector is None:
        raise _refused(role, "no such vector role", ", ".join(roles.vectors) or "one of the file")
    numbers: dict[str, str] = {}
    for part in roles.parts:
        if (part.source, part.part) == (one.source, one.part):
            numbers = part.vectors.get(role, numbers)
    names = {feature.name: feature_names(feature) for feature in one.features}
    by_feature: dict[str, tuple[list[int], list[int]]] = {}
    for at, name in enumerate(vector.names):
        if name not in numbers:
            continue
        feature, _, inner = numbers[name].partition(":")
        if inner not in names.get(feature, ()):
            wanted = ", ".join(f"{f}:{n}" for f, inside in names.items() for n in inside)
            place = f"{role} of {one.source}/{one.part}"
            raise _refused(place, numbers[name], wanted)
        columns, places = by_feature.setdefault(feature, ([], []))
        columns.append(names[feature].index(inner))
        places.append(at)
    mask = np.array([name in numbers for name in vector.names], bool)
    pieces = tuple(
        (feature, np.array(columns), np.array(places))
        for feature, (columns, places) in by_feature.items()
    )
    return RolePicker(pieces, mask, vector.fill)


def read_roles(root: Path) -> RolesFile:
    """Read `roles.toml` of shards.

    Raises:
        ConformError: It is not there.
        SpecError: It is not as it should be; see `decode_roles`.
    """
    path = root / ROLES_FILE
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConformError(
            place=str(path), found=str(error), wanted="the roles of the shards' parts"
        ) from error
    return decode_roles(text, place=str(path))


def write_roles(root: Path, sets: Sequence[ShardSet]) -> RolesFile:
    """Write `roles.toml`, or add to it the parts that it lacks; what is in it stays as it is.

    Args:
        root: The shards.
        sets: Their sets.

    Returns:
        What the file says.

    Raises:
        SpecError: A file that is there is not as it should be.
        OutputError: The disk is full.
    """
    path = root / ROLES_FILE
    if not path.is_file():
        text = roles_text(sets)
    else:
        known = read_roles(root)
        listed = {(part.source, part.part) for part in known.parts}
        new = [one for one in _one_a_part(sets) if (one.source, one.part) not in listed]
        if not new:
            return known
        vectors = {role: vector.names for role, vector in known.vectors.items()}
        before = path.read_text("utf-8").rstrip("\n")
        text = "\n".join([before, "", *_parts(new, vectors, known.cameras)])
    roles = decode_roles(text, place=str(path))
    write_atomic(path, text)
    return roles


def roles_text(sets: Sequence[ShardSet]) -> str:
    """The text of a new `roles.toml` for these sets."""
    parts = _one_a_part(sets)
    vectors = _vectors(parts)
    lines = [_HEAD.rstrip("\n"), "version = 1", f"cameras = {_toml(CAMERAS)}", ""]
    for role, names in vectors.items():
        lines += [f"[vectors.{_toml(role)}]", f"names = {_toml(names)}", "fill = 0.0", ""]
    if not vectors:
        lines += ["[vectors]", ""]
    return "\n".join([*lines, *_parts(parts, vectors, CAMERAS)])


def _one_a_part(sets: Iterable[ShardSet]) -> list[ShardSet]:
    """Of each source and part the first set; sorted."""
    found: dict[tuple[str, str], ShardSet] = {}
    for one in sorted(sets, key=lambda one: (one.source, one.part, one.name)):
        found.setdefault((one.source, one.part), one)
    return list(found.values())


def _vectors(parts: Sequence[ShardSet]) -> dict[str, tuple[str, ...]]:
    """Vector roles and their names: what any of the parts can fill, in one order."""
    found: dict[str, tuple[str, ...]] = {}
    declared = [one for one in parts if one.space != "undeclared"]
    for kind, features in _KINDS.items():
        names = {name for one in declared for name in _numbers(one, features)}
        joints = sorted(
            {int(match[1]) for name in names if (match := re.search(r"_joint_(\d+)$", name))}
        )
        for form, inside in (("joint", [f"joint_{i}" for i in joints]), ("pose", _POSE)):
            arms = [arm for arm in _ARMS if any(f"{arm}_{one}" in names for one in inside)]
            wanted = [f"{arm}_{one}" for arm in arms for one in (*inside, "gripper")]
            if arms:
                found[f"{kind}_{form}"] = tuple(name for name in wanted if name in names)
    for one in parts:
        if one.space == "undeclared":
            for kind, features in _KINDS.items():
                own = tuple(dict.fromkeys(_numbers(one, features[:1])))
                if own:
                    found[_own_role(one, kind)] = own
    return found


def _own_role(one: ShardSet, kind: str) -> str:
    return f"{kind}_{one.source}_{one.part}"


def _numbers(one: ShardSet, features: Sequence[str]) -> dict[str, str]:
    """Name of a number to where it is: the first feature that has it."""
    found: dict[str, str] = {}
    by_name = {feature.name: feature for feature in one.features}
    for name in features:
        if name in by_name:
            for inner in feature_names(by_name[name]):
                found.setdefault(inner, f"{name}:{inner}")
    return found


def _parts(
    parts: Sequence[ShardSet], vectors: Mapping[str, Sequence[str]], cameras: Sequence[str]
) -> list[str]:
    lines: list[str] = []
    for one in parts:
        lines += ["[[parts]]", f"source = {_toml(one.source)}", f"part = {_toml(one.part)}"]
        filled = {role: name for role, name in _cameras(one).items() if role in cameras}
        lines += ["", "[parts.cameras]", *(f"{role} = {_toml(filled[role])}" for role in filled)]
        for role, names in vectors.items():
            kind = "action" if role.startswith("action_") else "state"
            if one.space == "undeclared":
                kind = next((kind for kind in _KINDS if role == _own_role(one, kind)), "")
            elif role not in (f"{kind}_joint", f"{kind}_pose"):
                kind = ""
            numbers = _numbers(one, _KINDS.get(kind, ()))
            there = [name for name in names if name in numbers]
            if there:
                lines += ["", f"[parts.vectors.{_toml(role)}]"]
                lines += [f"{_toml(name)} = {_toml(numbers[name])}" for name in there]
        lines += [""]
    return lines


def _cameras(one: ShardSet) -> dict[str, str]:
    """Picture role to camera, as the cameras' names suggest."""
    names = [camera.name for camera in one.cameras]
    by_side = bool(_WRISTS_BY_SIDE.match(one.embodiment)) and not any(map(_WRIST.search, names))
    found: dict[str, str] = {}
    others: list[str] = []
    for name in names:
        tokens = re.split(r"[^a-z0-9]+", name.lower().replace("_", " "))
        side = next((side for side in _ARMS if side in tokens), "")
        if _WRIST.search(name.lower()) or (by_side and side):
            found.setdefault(f"{side or 'right'}_wrist", name)
        else:
            others.append(name)
    if others:
        found["main"] = min(others, key=_main_rank)
    return {role: found[role] for role in CAMERAS if role in found}


def _main_rank(name: str) -> tuple[int, str]:
    match = _MAIN.search(name.lower())
    order = _MAIN.pattern.split("|")
    return (order.index(match[0]) if match else len(order), name)


def _toml(value: str | Sequence[str]) -> str:
    """A text or a list of texts; a JSON string is a TOML basic string."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"[{', '.join(_toml(one) for one in value)}]"


def _refused(place: str, found: str, wanted: str) -> ConformError:
    return ConformError(place=f"{ROLES_FILE}, {place}", found=found, wanted=wanted)
