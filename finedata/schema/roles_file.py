"""`roles.toml`: what the cameras and numbers of each part are called where parts meet in a stream.

A *role* is a name that all parts share. A picture role is filled by one camera, a vector role by
numbers picked by name from the part's columns; what a part lacks is filled with `fill` (pictures
with black) and masked. The file is generated and meant to be edited, so it is TOML, decoded
strictly, and its digest is of what it says, not of how it is written: a comment changes nothing.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from typing import TYPE_CHECKING, Literal

import msgspec

from finedata.errors import SpecError
from finedata.schema.documents import digest_of
from finedata.schema.strict import Strict

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DepthRole", "PartRoles", "RolesFile", "VectorRole", "decode_roles", "roles_digest"]


class VectorRole(Strict, frozen=True, kw_only=True):
    """A vector that every part gives.

    Attributes:
        names: Names of its numbers, in order.
        fill: What stands where a part has none; the mask is false there.
    """

    names: tuple[str, ...]
    fill: float = 0.0


class DepthRole(Strict, frozen=True, kw_only=True):
    """What is known of space behind a picture role.

    Attributes:
        camera: The camera of depth; 0 of its numbers is no depth.
        unit_m: Metres of one of its numbers.
        matrix: The pinhole: fx, fy, cx, cy in pixels of a picture of `size`, or the name of a
            column that has them, or the 3 x 3 matrix row by row, for each frame; empty where nobody
            knows.
        size: Width and height of the pictures that `matrix` is of.
    """

    camera: str
    unit_m: float = 0.001
    matrix: str | tuple[float, float, float, float] = ""
    size: tuple[int, int] = (0, 0)


class PartRoles(Strict, frozen=True, kw_only=True):
    """What fills the roles in the sets of one part.

    Attributes:
        source: Name of the source.
        part: Name of the part.
        cameras: Picture role to camera.
        vectors: Vector role to (name of its number to `<feature>:<name in the feature>`).
        depth: Picture role to the depth of its pictures.
    """

    source: str
    part: str
    cameras: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    vectors: dict[str, dict[str, str]] = msgspec.field(default_factory=dict[str, dict[str, str]])
    depth: dict[str, DepthRole] = msgspec.field(default_factory=dict[str, DepthRole])


class RolesFile(Strict, frozen=True, kw_only=True):
    """The file.

    Attributes:
        version: 1.
        cameras: Picture roles, in the order in which a stream gives them.
        vectors: Vector roles.
        parts: One entry for each source and part.
    """

    version: Literal[1]
    cameras: tuple[str, ...]
    vectors: dict[str, VectorRole]
    parts: tuple[PartRoles, ...]


def decode_roles(text: str, *, place: str) -> RolesFile:
    """Decode `roles.toml` strictly.

    Args:
        text: The TOML text.
        place: What messages call the file.

    Raises:
        SpecError: It is no TOML, has an unknown key or a wrong type, names a role or a number that
            it does not declare, declares one twice, or has two entries for one part.
    """
    try:
        found = msgspec.toml.decode(text, type=RolesFile)
    except (tomllib.TOMLDecodeError, msgspec.DecodeError) as error:
        raise _refused(place, str(error)) from error
    for problem in _contradictions(found):
        raise _refused(place, problem)
    return found


def roles_digest(roles: RolesFile) -> str:
    """SHA-256 of the canonical JSON of what the file says.

    The object has `version`, `cameras`, `vectors` (role to `names` and `fill`, the fill as the
    shortest decimal text that reads back as the same double, e.g. "0.0") and `parts`, sorted by
    source and part; a part's `depth` is there where it is not empty, its fractions as texts too.
    """
    plain = msgspec.to_builtins(roles)
    for vector in plain["vectors"].values():
        vector["fill"] = repr(vector["fill"])
    for part in plain["parts"]:
        for depth in part["depth"].values():
            depth["unit_m"] = repr(depth["unit_m"])
            if not isinstance(depth["matrix"], str):
                depth["matrix"] = [repr(number) for number in depth["matrix"]]
        if not part["depth"]:
            del part["depth"]
    plain["parts"] = sorted(plain["parts"], key=lambda part: (part["source"], part["part"]))
    return digest_of(plain)


def _contradictions(roles: RolesFile) -> Iterator[str]:
    yield from (f"two cameras {name!r}" for name in _twice(roles.cameras))
    for role, vector in roles.vectors.items():
        yield from (f"two numbers {name!r} of vector {role!r}" for name in _twice(vector.names))
    keys = [f"{part.source}/{part.part}" for part in roles.parts]
    yield from (f"two entries for part {key!r}" for key in _twice(keys))
    for key, part in zip(keys, roles.parts, strict=True):
        for camera in part.cameras.keys() - set(roles.cameras):
            yield f"camera role {camera!r} in part {key!r}, which `cameras` does not list"
        for role, depth in part.depth.items():
            if role not in part.cameras:
                yield f"depth of {role!r} in part {key!r}, which has no such camera role"
            if depth.unit_m <= 0:
                yield f"depth of {role!r} in part {key!r} in units of {depth.unit_m} m"
            if depth.matrix and min(depth.size) < 1:
                yield f"a matrix of {role!r} in part {key!r} without the `size` of its pictures"
        for role, numbers in part.vectors.items():
            if role not in roles.vectors:
                yield f"vector role {role!r} in part {key!r}, which `vectors` does not declare"
                continue
            for name, column in numbers.items():
                if name not in roles.vectors[role].names:
                    yield f"{name!r} of vector {role!r} in part {key!r}, which it does not name"
                feature, colon, inner = column.partition(":")
                if not (feature and colon and inner):
                    yield f"{column!r} in part {key!r}, not `<feature>:<name>`"


def _twice(names: tuple[str, ...] | list[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _refused(place: str, found: str) -> SpecError:
    return SpecError(place=place, found=found, wanted="a file as in schemas/v1/roles.schema.json")
