"""Roles of cameras and numbers: how parts of different robots meet in one stream.

`roles.toml` is a proposal made from names, to be edited. Once somebody has edited it, it is never
rewritten, and an append only adds entries for new parts. Parts that have the same cameras and
numbers keep their own names. Else, what the names say (schemas/README.md, converters):
numbers are `<arm>_joint_<i>`, `<arm>_x` … `<arm>_qw`, `<arm>_gripper`, the only arm being `right`.
Left stands before right, as in ALOHA's vectors: two arms of six joints become the 14 numbers of
FineVLA's models (left joints, left gripper, right joints, right gripper), which RDT, RoboCOIN and
RoboMIND's AgileX fill whole, and one arm (DROID, Bridge) by half, the rest being masked. A part
that no converter declares has names of its own and roles of its own.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from finedata.schema.roles_file import decode_roles
from finedata.shard.files import ROLES_FILE
from finedata.store.atomic import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from finedata.schema.roles_file import RolesFile
    from finedata.schema.shards_file import ShardSet

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
    "environment": ("observation.environment_state",),
}
_WRIST = re.compile(r"wrist|hand_?eye|eye_in_hand|gripper")
# In this order; then any other.
_MAIN = re.compile(r"main|high|head|front|top|exterior_1|image_0")
# Cobot Magic carries three cameras, one in front and one on each wrist, also where the two are
# called left and right only (RoboMIND 2).
_WRISTS_BY_SIDE = re.compile(r"agilex")


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
    text = roles_text(sets)
    if path.is_file():
        before = path.read_text("utf-8", errors="replace")
        known = decode_roles(before, place=str(path))
        listed = {(part.source, part.part) for part in known.parts}
        new = [one for one in _one_a_part(sets) if (one.source, one.part) not in listed]
        if not new:
            return known
        old = [one for one in sets if (one.source, one.part) in listed]
        if before != roles_text(old):
            vectors = {role: vector.names for role, vector in known.vectors.items()}
            added = _parts(new, vectors, known.cameras)
            text = "\n".join([before.rstrip("\n"), "", *added])
    roles = decode_roles(text, place=str(path))
    write_atomic(path, text)
    return roles


def roles_text(sets: Sequence[ShardSet]) -> str:
    """The text of a new `roles.toml` for these sets."""
    parts = _one_a_part(sets)
    alike = len({_form(one) for one in parts}) <= 1
    vectors = _own_vectors(parts[0]) if alike and parts else _vectors(parts)
    cameras = _colour(parts[0]) if alike and parts else CAMERAS
    lines = [_HEAD.rstrip("\n"), "version = 1", f"cameras = {_toml(cameras)}", ""]
    for role, names in vectors.items():
        lines += [f"[vectors.{_toml(role)}]", f"names = {_toml(names)}", "fill = 0.0", ""]
    if not vectors:
        lines += ["[vectors]", ""]
    return "\n".join([*lines, *_parts(parts, vectors, cameras)])


def _form(one: ShardSet) -> tuple[object, ...]:
    """What parts must have alike to meet under their own names."""
    return tuple(_colour(one)), tuple(_own_vectors(one).items())


def _colour(one: ShardSet) -> list[str]:
    """Names of cameras of colours: depth (PNG) is in no role by itself."""
    return [camera.name for camera in one.cameras if camera.codec != "png"]


def depth_of(camera: str, deep: Iterable[str]) -> str | None:
    """The camera of depth whose name says that it is of a camera of colours, if one alone does.

    `front_depth` is of `front` and of `front_rgb`, `depth_0` of `image_0`.
    """
    found = [name for name in deep if _tokens(name) == _tokens(camera)]
    return found[0] if len(found) == 1 else None


_OF_NO_PLACE = ("depth", "rgb", "bgr", "color", "colour", "image", "images")


def _tokens(name: str) -> list[str]:
    return [one for one in re.split(r"[^a-z0-9]+", name.lower()) if one not in _OF_NO_PLACE]


def _depth_of(one: ShardSet, camera: str) -> str | None:
    """The camera of depth of a camera: one that was estimated of it, or that its name tells."""
    for other in one.cameras:
        if other.depth_of == camera:
            return other.name
    return depth_of(camera, [other.name for other in one.cameras if other.codec == "png"])


def _own_vectors(one: ShardSet) -> dict[str, tuple[str, ...]]:
    found = {kind: tuple(_numbers(one, features[:1])) for kind, features in _KINDS.items()}
    return {kind: names for kind, names in found.items() if names}


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
    """Name of a number to where it is: the first feature that has it under a name."""
    found: dict[str, str] = {}
    by_name = {feature.name: feature for feature in one.features}
    for name in features:
        if name in by_name:
            for inner in by_name[name].names:
                found.setdefault(inner, f"{name}:{inner}")
    return found


def _parts(
    parts: Sequence[ShardSet], vectors: Mapping[str, Sequence[str]], cameras: Sequence[str]
) -> list[str]:
    lines: list[str] = []
    for one in parts:
        lines += ["[[parts]]", f"source = {_toml(one.source)}", f"part = {_toml(one.part)}"]
        filled = {**{name: name for name in _colour(one)}, **_cameras(one)}
        lines += ["", "[parts.cameras]"]
        lines += [f"{_toml(role)} = {_toml(filled[role])}" for role in cameras if role in filled]
        for role in cameras:
            deep = _depth_of(one, filled[role]) if role in filled else None
            if deep is not None:
                lines += ["", f"[parts.depth.{_toml(role)}]", f"camera = {_toml(deep)}"]
                lines += ["unit_m = 0.001"]
        for role, names in vectors.items():
            numbers = _numbers(one, _features_of(role, one))
            there = [name for name in names if name in numbers]
            if there:
                lines += ["", f"[parts.vectors.{_toml(role)}]"]
                lines += [f"{_toml(name)} = {_toml(numbers[name])}" for name in there]
        lines += [""]
    return lines


def _features_of(role: str, one: ShardSet) -> tuple[str, ...]:
    """Where the numbers of a role come from in a part; nowhere for roles of other parts."""
    for kind, features in _KINDS.items():
        if role == kind or (one.space == "undeclared" and role == _own_role(one, kind)):
            return features[:1]
        if one.space != "undeclared" and role in (f"{kind}_joint", f"{kind}_pose"):
            return features
    return ()


def _cameras(one: ShardSet) -> dict[str, str]:
    """Picture role to camera, as the cameras' names suggest."""
    names = _colour(one)
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
