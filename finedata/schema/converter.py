"""The typed converter file: what `converters/*.toml` may say, and nothing else.

TOML text comes in, a frozen `Converter` goes out; an unknown key, a wrong type or a reading
that the rest of the file contradicts is a `SpecError` with its path in the file. A converter
file states facts about bytes and picks names from closed vocabularies: no Python paths, no
conditions, no inheritance. The same types give `schemas/converter.schema.json`, so that
editors complete and check the files.

It lives in `schema/`, below every machine, because several rooms read it: `convert` follows
it, `quality` and `cluster` take their presets from it, `annotate` asks it for the base axes.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from finedata.errors import SpecError
from finedata.papers import paper_room

__all__ = [
    "ActionSpec",
    "ArmSpec",
    "BaseAxes",
    "CameraSpec",
    "ClusterPreset",
    "Converter",
    "ConverterFile",
    "EpisodeSpec",
    "GatePreset",
    "GripperSpec",
    "LanguageSpec",
    "PositionSpec",
    "RotationSpec",
    "StateSpec",
    "TimeSpec",
    "converter_json_schema",
    "decode_converter",
    "find_converter",
    "list_converters",
]

Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9_]+$")]
Columns = Annotated[
    tuple[int, int], msgspec.Meta(description="half-open range of columns: [first, one past last]")
]
Matrix3 = Annotated[
    tuple[
        tuple[float, float, float],
        tuple[float, float, float],
        tuple[float, float, float],
    ],
    msgspec.Meta(description="3x3 rotation matrix, row by row"),
]
Axis = Literal["+x", "-x", "+y", "-y", "+z", "-z"]
RotationEncoding = Literal[
    "quaternion_xyzw",
    "quaternion_wxyz",
    "euler_xyz_extrinsic",
    "rotation_vector",
    "rotation_matrix",
    "rotation_6d",
]
# How many numbers each rotation encoding takes.
_ROTATION_WIDTH = {
    "quaternion_xyzw": 4,
    "quaternion_wxyz": 4,
    "euler_xyz_extrinsic": 3,
    "rotation_vector": 3,
    "rotation_matrix": 9,
    "rotation_6d": 6,
}


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown keys are errors; values never change after decoding."""


class PositionSpec(_Strict, frozen=True, kw_only=True):
    """Where three position columns are, and their unit."""

    feature: str
    columns: Columns
    unit: Literal["m", "mm"] = "m"


class RotationSpec(_Strict, frozen=True, kw_only=True):
    """Where a rotation is, how it is written, and what turns it into the tool's rotation."""

    feature: str
    columns: Columns
    encoding: RotationEncoding
    unit: Literal["rad", "deg", "none"] = "rad"
    fixed_rotation: Matrix3 | None = None


class GripperSpec(_Strict, frozen=True, kw_only=True):
    """Where the gripper is; `open` and `closed` are the source's values of the two ends.

    `absolute` numbers are mapped linearly; `relative_hold` numbers are commands (`closed` closes,
    `open` opens, anything between keeps the last one).
    """

    feature: str
    column: int
    open: float
    closed: float
    kind: Literal["absolute", "relative_hold"] = "absolute"


class StateSpec(_Strict, frozen=True, kw_only=True):
    """The measured pose of one arm in its own base frame."""

    position: PositionSpec
    rotation: RotationSpec
    gripper: GripperSpec | None = None


class ActionSpec(_Strict, frozen=True, kw_only=True):
    """The commanded pose of one arm.

    `reference` says what the numbers are: `absolute` targets; a `delta` on the target before it
    or on the measured pose (`refers_to`), composed as `composition` says; a `residual` to the
    measured pose; or nothing recorded, so that the `next_state` is the target.
    """

    reference: Literal["absolute", "delta", "residual", "next_state"]
    refers_to: Literal["previous_target", "measured"] | None = None
    composition: (
        Literal["base_left", "base_left_about_measured", "tool_right", "component_sum"] | None
    ) = None
    position: PositionSpec | None = None
    rotation: RotationSpec | None = None
    gripper: GripperSpec | None = None


class BaseAxes(_Strict, frozen=True, kw_only=True):
    """Which axis of an arm's base frame points forward, left and up, seen from the robot."""

    forward: Axis
    left: Axis
    up: Axis


class ArmSpec(_Strict, frozen=True, kw_only=True):
    """One arm: its name, its tool frame, its base axes, its state and its action."""

    name: Literal["right", "left"]
    tool_frame: Literal["flange", "tcp", "vendor", "unknown"]
    state: StateSpec
    action: ActionSpec
    base_axes: BaseAxes | None = None


class CameraSpec(_Strict, frozen=True, kw_only=True):
    """One camera: its name in the output and its feature in the source."""

    name: Name
    feature: str
    role: str = ""


class EpisodeSpec(_Strict, frozen=True, kw_only=True):
    """What makes an episode the same episode on every mirror.

    `locator` is a template over episode-level features, `{feature}`; the first of
    `strip_prefixes` that a value starts with is cut off it.
    """

    locator: str
    strip_prefixes: tuple[str, ...] = ()


class TimeSpec(_Strict, frozen=True, kw_only=True):
    """The rate at which frames were recorded."""

    fps: Annotated[float, msgspec.Meta(gt=0)]
    first_step: str = "steps/is_first"
    last_step: str | None = "steps/is_last"


class LanguageSpec(_Strict, frozen=True, kw_only=True):
    """Features that hold the instruction, best first."""

    instructions: tuple[str, ...] = ()


class GatePreset(_Strict, frozen=True, kw_only=True):
    """FineVLA's published gate settings for this source."""

    minimum_frames: Annotated[int, msgspec.Meta(ge=1)]
    released_threshold: float | None = None


class ClusterPreset(_Strict, frozen=True, kw_only=True):
    """FineVLA's published clustering settings for this source."""

    position_weight: float = 1.0
    rotation_weight: float = 1.0
    gripper_weight: float = 100.0
    k: int | None = None


class Converter(_Strict, frozen=True, kw_only=True):
    """A converter file, decoded."""

    name: Name
    title: str
    story: str
    home: str
    licence: str
    citation: str
    revision: str
    embodiment: Name
    reader: Literal["rlds"]
    space: Literal["ee", "joint"]
    episode: EpisodeSpec
    time: TimeSpec
    cameras: tuple[CameraSpec, ...]
    arms: tuple[ArmSpec, ...]
    language: LanguageSpec = LanguageSpec()
    quirks: tuple[Literal["truncate_to_shortest"], ...] = ()
    doubts: tuple[str, ...] = ()
    gate: GatePreset | None = None
    cluster: ClusterPreset | None = None


class ConverterFile(msgspec.Struct, frozen=True, kw_only=True):
    """A converter with the text it was read from: the text is what a dataset records."""

    origin: str
    text: str
    converter: Converter

    @property
    def sha256(self) -> str:
        """Hex sha256 of the file's text in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def decode_converter(text: str, *, origin: str) -> ConverterFile:
    """Decode a converter file strictly.

    Args:
        text: The TOML text.
        origin: Where it came from, for messages.

    Raises:
        SpecError: Not TOML, an unknown key, a wrong type, or two statements that disagree.
    """
    try:
        converter = msgspec.toml.decode(text, type=Converter)
    except msgspec.ValidationError as error:
        raise _spec_error(origin, str(error)) from error
    except msgspec.DecodeError as error:
        raise _spec_error(origin, f"text that is not TOML ({error})") from error
    for path, problem in _contradictions(converter):
        raise _spec_error(origin, f"{problem} - at `$.{path}`")
    return ConverterFile(origin=origin, text=text, converter=converter)


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
    names = [camera.name for camera in converter.cameras]
    problems += [
        (f"cameras[{i}].name", f"a second camera named {name!r}")
        for i, name in enumerate(names)
        if name in names[:i]
    ]
    if not converter.arms:
        problems.append(("arms", "no arm"))
    for i, arm in enumerate(converter.arms):
        if arm.name in [other.name for other in converter.arms[:i]]:
            problems.append((f"arms[{i}].name", f"a second arm named {arm.name!r}"))
        problems += [(f"arms[{i}].{path}", text) for path, text in _arm_contradictions(arm)]
    return problems


def _arm_contradictions(arm: ArmSpec) -> list[tuple[str, str]]:
    problems = _pose_contradictions("state", arm.state.position, arm.state.rotation)
    if arm.base_axes is not None:
        axes = (arm.base_axes.forward, arm.base_axes.left, arm.base_axes.up)
        if len({axis[1] for axis in axes}) != 3 or not _right_handed(axes):
            problems.append(("base_axes", f"axes {axes} that are not a right-handed frame"))
    action = arm.action
    if action.reference == "next_state":
        if action.position or action.rotation:
            problems.append(("action", "a recorded pose beside reference `next_state`"))
        return problems
    if action.position is None or action.rotation is None:
        problems.append(("action", f"no position or rotation with reference `{action.reference}`"))
        return problems
    problems += _pose_contradictions("action", action.position, action.rotation)
    needs_composition = action.reference in ("delta", "residual")
    if needs_composition and (action.composition is None or action.refers_to is None):
        problems.append(
            ("action", f"reference `{action.reference}` without `composition` and `refers_to`")
        )
    if action.reference == "residual" and action.refers_to == "previous_target":
        problems.append(("action.refers_to", "`previous_target` with reference `residual`"))
    return problems


def _pose_contradictions(
    side: str, position: PositionSpec, rotation: RotationSpec
) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    if position.columns[1] - position.columns[0] != 3:
        problems.append((f"{side}.position.columns", f"{position.columns}, which is not 3 columns"))
    width = _ROTATION_WIDTH[rotation.encoding]
    if rotation.columns[1] - rotation.columns[0] != width:
        problems.append(
            (
                f"{side}.rotation.columns",
                f"{rotation.columns}, which is not the {width} columns of `{rotation.encoding}`",
            )
        )
    return problems


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


def find_converter(name_or_path: str) -> ConverterFile:
    """Find a converter by its name in converters/, or by the path of a TOML file.

    Raises:
        SpecError: No such name, no such file, or a file that does not decode.
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
        return decode_converter(path.read_text(encoding="utf-8"), origin=name_or_path)
    entry = paper_room("converters") / f"{name_or_path}.toml"
    if re.fullmatch(r"[a-z0-9_]+", name_or_path) and entry.is_file():
        return decode_converter(
            entry.read_text(encoding="utf-8"), origin=f"converters/{entry.name}"
        )
    known = ", ".join(found.converter.name for found in list_converters())
    raise SpecError(
        place="SOURCE",
        found=f"{name_or_path!r}",
        wanted=f"one of {known}, or the path of a converter file",
        next_command="finedata sources",
    )


def converter_json_schema() -> str:
    """The JSON Schema of converter files, as published in schemas/converter.schema.json."""
    schema = msgspec.json.schema(Converter)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "finedata converter file"
    text = msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2)
    return text.decode() + "\n"
