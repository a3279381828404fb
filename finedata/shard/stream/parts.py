"""What every set gives to the roles of a stream: which member, which columns, which statistics.

With `roles.toml` parts of different robots meet under common names. Without it all sets must have
the same cameras and numbers, and these are the roles. Either way the answer is a `RolesFile`, so
there is one way on from here and one digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from finedata.errors import UsageError
from finedata.schema.roles_file import PartRoles, RolesFile, VectorRole, decode_roles
from finedata.shard.files import ROLES_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from finedata.schema.roles_file import DepthRole
    from finedata.schema.shards_file import ShardCamera, ShardSet
    from finedata.shard.shards import Shards

__all__ = ["Part", "Pick", "read_roles", "resolve", "vector_kind"]

_MATRIX_WIDTHS = (4, 9)
_OWN = {"observation.state": "state", "action": "action"}


@dataclass(frozen=True, slots=True)
class Pick:
    """Numbers of one feature that go into a vector role.

    Attributes:
        feature: Column of `shard_frames`.
        names: Their names in the feature.
        columns: Their places in the feature.
        places: Their places in the role.
    """

    feature: str
    names: tuple[str, ...]
    columns: tuple[int, ...]
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """How one set fills the roles.

    Attributes:
        name: Of the set.
        cameras: Picture role to its camera and the camera's member, as a place in the set's list.
        vectors: Vector role to its numbers.
        depth: Picture role to the camera of its depth, the member's place, and what is known of it.
    """

    name: str
    cameras: dict[str, tuple[ShardCamera, int]]
    vectors: dict[str, tuple[Pick, ...]]
    depth: dict[str, tuple[ShardCamera, int, DepthRole]]


def read_roles(shards: Shards, sets: tuple[str, ...], roles: Path | None) -> RolesFile:
    """The roles of a stream.

    Args:
        shards: The shards.
        sets: Names of the stream's sets.
        roles: The file; that of the shards where None.

    Raises:
        SpecError: The file is no such file.
        UsageError: There is none, and the sets differ in cameras or numbers.
    """
    path = roles or shards.root / ROLES_FILE
    if roles is not None or path.is_file():
        try:
            text = path.read_text("utf-8")
        except OSError as error:
            raise UsageError(place=str(path), found=str(error), wanted="a file of roles") from error
        return decode_roles(text, place=str(path))
    return _own_roles([shards.sets[name] for name in sets])


def resolve(one: ShardSet, roles: RolesFile) -> Part:
    """How a set fills the roles.

    Raises:
        UsageError: A role names a camera or a number that the set does not have, or nothing in the
            file fills any role of the set.
    """
    found = [p for p in roles.parts if (p.source, p.part) == (one.source, one.part)]
    if not found:
        raise UsageError(
            place=f"roles of {one.source}, part {one.part}",
            found="no entry",
            wanted=f"one in {ROLES_FILE}, for set {one.name}",
        )
    cameras = {camera.name: camera for camera in one.cameras}
    for role, name in found[0].cameras.items():
        if name not in cameras:
            raise UsageError(
                place=f"picture role {role} of {one.source}, part {one.part}",
                found=f"camera {name!r}",
                wanted=", ".join(cameras) or "no camera: there is none",
            )
    for role, depth in found[0].depth.items():
        _check_depth(one, role, depth, cameras)
    return Part(
        name=one.name,
        cameras={
            role: (cameras[name], one.members.index(cameras[name].member))
            for role, name in found[0].cameras.items()
        },
        vectors={
            role: _picks(one, role, found[0].vectors.get(role, {}), vector)
            for role, vector in roles.vectors.items()
        },
        depth={
            role: (cameras[depth.camera], one.members.index(cameras[depth.camera].member), depth)
            for role, depth in found[0].depth.items()
        },
    )


def _check_depth(
    one: ShardSet, role: str, depth: DepthRole, cameras: Mapping[str, ShardCamera]
) -> None:
    """Refuse a camera that gives no depth, or a column that is no matrix.

    Raises:
        UsageError: It is one.
    """
    place = f"depth of picture role {role} of {one.source}, part {one.part}"
    camera = cameras.get(depth.camera)
    if camera is None or camera.codec != "png":
        raise UsageError(
            place=place,
            found=f"camera {depth.camera!r}" + (f" as {camera.codec}" if camera else ""),
            wanted="a camera of depth, as PNG: "
            + (", ".join(n for n, c in cameras.items() if c.codec == "png") or "there is none"),
        )
    if isinstance(depth.matrix, str) and depth.matrix:
        widths = {feature.name: feature.width for feature in one.features}
        if widths.get(depth.matrix) not in _MATRIX_WIDTHS:
            raise UsageError(
                place=f"matrix, {place}",
                found=f"column {depth.matrix!r} of {widths.get(depth.matrix, 'no')} numbers",
                wanted="one of four (fx, fy, cx, cy) or of nine, a row of the matrix after another",
            )


def vector_kind(role: str, parts: list[Part]) -> Literal["state", "action"]:
    """`action` where a role is a chunk of what is to come, else `state`.

    Raises:
        UsageError: Its numbers are of both kinds.
    """
    kinds: set[Literal["state", "action"]] = {
        "action" if pick.feature.split(".")[0] == "action" else "state"
        for part in parts
        for pick in part.vectors[role]
    }
    if len(kinds) > 1:
        raise UsageError(
            place=f"vector role {role}", found="numbers of states and of actions", wanted="one kind"
        )
    return kinds.pop() if kinds else "state"


def _picks(
    one: ShardSet, role: str, numbers: dict[str, str], vector: VectorRole
) -> tuple[Pick, ...]:
    features = {feature.name: feature for feature in one.features}
    chosen: dict[str, list[tuple[str, int, int]]] = {}
    for name, column in numbers.items():
        feature, _, inner = column.partition(":")
        names = features[feature].names if feature in features else []
        if inner not in names:
            raise UsageError(
                place=f"vector role {role} of {one.source}, part {one.part}",
                found=repr(column),
                wanted=", ".join(names) or f"a feature of: {', '.join(features)}",
            )
        entry = inner, names.index(inner), vector.names.index(name)
        chosen.setdefault(feature, []).append(entry)
    return tuple(
        Pick(feature, *(tuple(values) for values in zip(*entries, strict=True)))  # pyright: ignore[reportArgumentType]
        for feature, entries in chosen.items()
    )


def _own_roles(sets: list[ShardSet]) -> RolesFile:
    """The sets' own cameras and numbers as roles."""

    def of(one: ShardSet) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        numbers = {f.name: tuple(f.names) for f in one.features if f.name in _OWN}
        return tuple(camera.name for camera in one.cameras if camera.codec == "jpeg"), numbers

    cameras, numbers = of(sets[0])
    for one in sets[1:]:
        if of(one) != (cameras, numbers):
            raise UsageError(
                place=f"sets {sets[0].name} and {one.name}",
                found="other cameras or numbers",
                wanted=f"the same in all sets, or a {ROLES_FILE} that says what is what",
                next_command="finedata shard SHARDS --roles  # writes one to edit",
            )
    vectors = {_OWN[feature]: names for feature, names in numbers.items()}
    return RolesFile(
        version=1,
        cameras=cameras,
        vectors={role: VectorRole(names=names) for role, names in vectors.items()},
        parts=tuple(
            PartRoles(
                source=source,
                part=part,
                cameras={name: name for name in cameras},
                vectors={
                    _OWN[feature]: {name: f"{feature}:{name}" for name in names}
                    for feature, names in numbers.items()
                },
            )
            for source, part in sorted({(one.source, one.part) for one in sets})
        ),
    )
