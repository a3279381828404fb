"""Converter files: found by name or path, options put in, decoded strictly, checked for sense.

What types cannot say is checked here: columns that do not fit an encoding, a delta without its
composition, an axis frame that is not right-handed.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from finedata.errors import SpecError, UsageError
from finedata.papers import paper_room
from finedata.schema.converter import Converter
from finedata.schema.json_schema import json_schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.schema.converter import ActionSpec, ArmSpec, Pick, RotationSpec, Variant

__all__ = [
    "ConverterFile",
    "converter_json_schema",
    "decode_converter",
    "find_converter",
    "list_converters",
]

# How many numbers each rotation encoding takes.
_ROTATION_WIDTH = {
    "quaternion_xyzw": 4,
    "quaternion_wxyz": 4,
    "euler_xyz_extrinsic": 3,
    "rotation_vector": 3,
    "rotation_matrix": 9,
    "rotation_6d": 6,
    "quaternion_or_euler": 4,
}
_OPTION = "option:"
_ROTATION_TOLERANCE = 1e-6


class ConverterFile(msgspec.Struct, frozen=True, kw_only=True):
    """A converter with the text it was read from: the text is what a dataset records."""

    origin: str
    text: str
    converter: Converter

    @property
    def sha256(self) -> str:
        """Hex sha256 of the file's text in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def decode_converter(
    text: str, *, origin: str, choices: Mapping[str, str] | None = None
) -> ConverterFile:
    """Decode a converter file strictly.

    Args:
        text: The TOML text.
        origin: Where it came from, for messages.
        choices: Option name to what the user chose; the file's defaults hold for the others.

    Raises:
        SpecError: Not TOML, an unknown key, a wrong type, or two statements that disagree.
        UsageError: An option or a choice that the file does not have.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _spec_error(origin, f"text that is not TOML ({error})") from error
    chosen = _chosen_options(tree, choices or {}, origin)
    try:
        converter = msgspec.convert(_with_options(tree, chosen), Converter)
    except msgspec.ValidationError as error:
        raise _spec_error(origin, str(error)) from error
    except KeyError as error:
        found = f"`option:{error.args[0]}`, an option it does not list"
        raise _spec_error(origin, found) from error
    for path, problem in _contradictions(converter):
        raise _spec_error(origin, f"{problem} - at `$.{path}`")
    return ConverterFile(origin=origin, text=text, converter=converter)


def _chosen_options(
    tree: dict[str, Any], choices: Mapping[str, str], origin: str
) -> dict[str, str]:
    """Option name to the choice that holds."""
    found = tree.get("options", {})
    if not isinstance(found, dict):
        return {}  # decoding will say what is wrong with it
    listed = cast("dict[str, Any]", found)
    if not all(isinstance(entry, dict) for entry in listed.values()):
        return {}
    known = {name: str(entry.get("default")) for name, entry in listed.items()}
    for name, choice in choices.items():
        offered = listed.get(name, {}).get("choices", [])
        allowed = list(map(str, cast("list[Any]", offered))) if isinstance(offered, list) else []
        if name not in listed or choice not in allowed:
            wanted = (
                f"one of {', '.join(allowed)}"
                if name in listed
                else f"one of the options {', '.join(listed) or '(none)'} of {origin}"
            )
            raise UsageError(
                parameter="option",
                place=f"option {name}={choice}",
                found=f"{choice if name in listed else name!r}",
                wanted=wanted,
                next_command="finedata sources --json",
            )
    return known | dict(choices)


def _with_options(value: Any, chosen: Mapping[str, str]) -> Any:
    """The tree with every `option:NAME` replaced by the choice.

    Raises:
        KeyError: There is no such option.
    """
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: _with_options(item, chosen) for key, item in items}
    if isinstance(value, list):
        return [_with_options(item, chosen) for item in cast("list[Any]", value)]
    if isinstance(value, str) and value.startswith(_OPTION):
        return chosen[value.removeprefix(_OPTION)]
    return value


def _spec_error(origin: str, found: str) -> SpecError:
    return SpecError(
        place=origin,
        found=found,
        wanted="a converter file as in schemas/converter.schema.json",
        next_command="finedata sources copy bridge_v2 ./mine.toml  # a file that decodes, to edit",
    )


def _contradictions(converter: Converter) -> list[tuple[str, str]]:
    """List what types alone cannot say: (path in the file, what is wrong there)."""
    problems: list[tuple[str, str]] = []
    for name, option in converter.options.items():
        if option.default not in option.choices:
            problems.append((f"options.{name}.default", f"{option.default!r}, not a choice"))
    for i, variant in enumerate(converter.variants):
        if variant.name in [other.name for other in converter.variants[:i]]:
            problems.append((f"variants[{i}].name", f"a second variant named {variant.name!r}"))
        found = _variant_contradictions(variant)
        problems += [(f"variants[{i}].{path}", text) for path, text in found]
    return problems


def _variant_contradictions(variant: Variant) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    names = [camera.name for camera in variant.cameras if camera.name != "*"]
    problems += [
        (f"cameras[{i}].name", f"a second camera named {name!r}")
        for i, name in enumerate(names)
        if name in names[:i]
    ]
    problems += [
        (f"cameras[{i}].feature", f"{camera.feature!r}: a `*` goes with the name `*`")
        for i, camera in enumerate(variant.cameras)
        if (camera.name == "*") != ("*" in camera.feature)
    ]
    rated = variant.time.fps is not None or variant.time.fps_feature is not None
    if not rated and variant.time.rate == "declared":
        problems.append(("time", "neither `fps` nor `fps_feature`, and the rate is declared"))
    if variant.time.rate == "from_timestamps" and variant.time.timestamps is None:
        problems.append(("time", "`rate = from_timestamps` without `timestamps`"))
    if (variant.space == "undeclared") == bool(variant.arms):
        problems.append(("arms", "arms and space `undeclared` exclude each other"))
    for i, arm in enumerate(variant.arms):
        if arm.name in [other.name for other in variant.arms[:i]]:
            problems.append((f"arms[{i}].name", f"a second arm named {arm.name!r}"))
        found = _arm_contradictions(arm, variant.space)
        problems += [(f"arms[{i}].{path}", text) for path, text in found]
    problems += [
        (f"vectors[{i}].names", f"{len(vector.names)} names for a width of {vector.width}")
        for i, vector in enumerate(variant.vectors)
        if vector.names and vector.width is not None and len(vector.names) != vector.width
    ]
    references = {arm.action.reference for arm in variant.arms}
    if len(references) > 1:
        problems.append(("arms", f"arms with different references: {', '.join(references)}"))
    return problems


def _arm_contradictions(arm: ArmSpec, space: str) -> list[tuple[str, str]]:
    state = arm.state
    problems: list[tuple[str, str]] = []
    if (state.position is None) != (state.rotation is None):
        problems.append(("state", "a position without rotation, or a rotation without position"))
    if space == "ee" and state.position is None:
        problems.append(("state", "space `ee` without `position` and `rotation`"))
    if space == "joint" and state.joints is None:
        problems.append(("state", "space `joint` without `joints`"))
    problems += _width_problems("state", state.position, state.rotation)
    if arm.base_axes is not None:
        axes = (arm.base_axes.forward, arm.base_axes.left, arm.base_axes.up)
        if len({axis[1] for axis in axes}) != 3 or not _right_handed(axes):
            problems.append(("base_axes", f"axes {axes} that are not a right-handed frame"))
    return problems + _action_contradictions(arm.action, space)


def _action_contradictions(action: ActionSpec, space: str) -> list[tuple[str, str]]:
    problems = _width_problems("action", action.position, action.rotation)
    if action.reference == "next_state":
        if action.position or action.rotation:
            problems.append(("action", "a recorded pose beside reference `next_state`"))
        return problems
    if space == "ee" and (action.position is None or action.rotation is None):
        problems.append(("action", f"no position or rotation with reference `{action.reference}`"))
    if space == "joint" and action.joints is None:
        problems.append(("action", f"no joints with reference `{action.reference}`"))
    if action.reference in ("delta", "residual"):
        if space == "joint":
            problems.append(("action.reference", "joints that are not absolute"))
        if action.composition is None or action.refers_to is None:
            problems.append(
                ("action", f"reference `{action.reference}` without `composition` and `refers_to`")
            )
    if action.reference == "residual" and action.refers_to == "previous_target":
        problems.append(("action.refers_to", "`previous_target` with reference `residual`"))
    return problems


def _width_problems(
    side: str, position: Pick | None, rotation: RotationSpec | None
) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    columns = None if position is None else position.columns
    if columns is not None and columns[1] - columns[0] != 3:
        problems.append((f"{side}.position.columns", f"{columns}, which is not 3 columns"))
    if rotation is not None and rotation.fixed_rotation is not None:
        axes = rotation.fixed_rotation
        if not _is_rotation(axes):
            found = f"{axes}, which is not orthonormal with determinant +1"
            problems.append((f"{side}.rotation.fixed_rotation", found))
    if rotation is not None and rotation.columns is not None:
        width = _ROTATION_WIDTH[rotation.encoding]
        if rotation.columns[1] - rotation.columns[0] != width:
            found = f"{rotation.columns}, which is not the {width} columns of `{rotation.encoding}`"
            problems.append((f"{side}.rotation.columns", found))
    return problems


def _is_rotation(matrix: Sequence[Sequence[float]]) -> bool:
    """Whether three rows are orthonormal and right-handed, to a millionth."""
    a, b, c = matrix
    cross = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])

    def dot(u: Sequence[float], v: Sequence[float]) -> float:
        return sum(x * y for x, y in zip(u, v, strict=True))

    found = (dot(a, a), dot(b, b), dot(a, b), dot(cross, c))
    wanted = (1.0, 1.0, 0.0, 1.0)
    return all(abs(x - y) < _ROTATION_TOLERANCE for x, y in zip(found, wanted, strict=True)) and (
        abs(dot(c, c) - 1.0) < _ROTATION_TOLERANCE
    )


def _right_handed(axes: tuple[str, str, str]) -> bool:
    """Tell whether forward x left = up for signed axis names."""
    unit = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}
    f, g, h = (tuple((1 if axis[0] == "+" else -1) * c for c in unit[axis[1]]) for axis in axes)
    cross = (
        f[1] * g[2] - f[2] * g[1],
        f[2] * g[0] - f[0] * g[2],
        f[0] * g[1] - f[1] * g[0],
    )
    return cross == h


def list_converters() -> list[ConverterFile]:
    """Decode every file of the converters/ room, by name."""
    room = paper_room("converters")
    files = sorted(
        (entry for entry in room.iterdir() if entry.name.endswith(".toml")),
        key=lambda entry: entry.name,
    )
    return [
        decode_converter(entry.read_text(encoding="utf-8"), origin=f"converters/{entry.name}")
        for entry in files
    ]


def find_converter(name_or_path: str, *, choices: Mapping[str, str] | None = None) -> ConverterFile:
    """Find a converter by its name in converters/, or by the path of a TOML file.

    Args:
        name_or_path: A name, or a path (it ends in `.toml` or holds a slash).
        choices: Option name to what the user chose.

    Raises:
        SpecError: No such name, no such file, or a file that does not decode.
        UsageError: An option or a choice that the file does not have.
    """
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        path = Path(name_or_path)
        if not path.is_file():
            raise SpecError(
                place=name_or_path,
                found="no file there",
                wanted="a converter file (TOML)",
                next_command=f"finedata sources copy bridge_v2 {name_or_path}",
            )
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _spec_error(name_or_path, f"nothing that reads as text ({error})") from error
        return decode_converter(text, origin=name_or_path, choices=choices)
    entry = paper_room("converters") / f"{name_or_path}.toml"
    if re.fullmatch(r"[a-z0-9_]+", name_or_path) and entry.is_file():
        text = entry.read_text(encoding="utf-8")
        return decode_converter(text, origin=f"converters/{entry.name}", choices=choices)
    known = ", ".join(found.converter.name for found in list_converters())
    raise SpecError(
        place="SOURCE",
        found=f"{name_or_path!r}",
        wanted=f"one of {known}, or the path of a converter file",
        next_command="finedata sources",
    )


def converter_json_schema() -> str:
    """The JSON Schema of converter files, as published in schemas/converter.schema.json."""
    schema = json_schema(Converter)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "finedata converter file"
    text = msgspec.json.format(msgspec.json.encode(_or_option(schema), order="sorted"), indent=2)
    return text.decode() + "\n"


def _or_option(node: Any) -> Any:
    """Let every closed list of texts also be the name of an option."""
    if isinstance(node, list):
        return [_or_option(item) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    tree: dict[str, Any] = {
        key: _or_option(item) for key, item in cast("dict[str, Any]", node).items()
    }
    values = cast("list[Any]", tree.get("enum", []))
    if not values or not all(isinstance(value, str) for value in values):
        return tree
    del tree["enum"]
    pattern = {"type": "string", "pattern": f"^{_OPTION}"}
    return tree | {"anyOf": [{"enum": values}, pattern]}
