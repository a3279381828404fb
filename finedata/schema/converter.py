"""The typed converter file: what `converters/*.toml` may say, and nothing else.

An unknown key, a wrong type or a reading that the rest of the file contradicts is a `SpecError`
with its path in the file; what decodes is a frozen `Converter`. A converter file states facts about
bytes and picks names from closed vocabularies: no Python paths, no conditions, no inheritance. A
source that holds several forms lists `variants`, and each says by what it is known; a doubt that a
user may decide is an option with a default and its choices.

It lives in `schema/`, below every machine, because several rooms read it: `convert` follows
it, `quality` and `cluster` take their presets from it, `annotate` asks it for the base axes.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

from finedata.schema.language_spec import LanguageSpec
from finedata.schema.strict import Strict

__all__ = [
    "ActionSpec",
    "ArmSpec",
    "BaseAxes",
    "CameraSpec",
    "ClusterPreset",
    "Converter",
    "EpisodeSpec",
    "FlagSpec",
    "GatePreset",
    "GripperRange",
    "GripperSpec",
    "JointSpec",
    "OptionSpec",
    "Pick",
    "PositionSpec",
    "RotationSpec",
    "StateSpec",
    "SuccessSpec",
    "TimeSpec",
    "Variant",
    "VectorSpec",
    "When",
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
    "quaternion_or_euler",
]
Reader = Literal["rlds", "lerobot", "hdf5", "rh20t"]
LeftOut = Literal[
    "depth", "force", "tactile", "extrinsics", "audio", "velocity", "pose", "bookkeeping", "other"
]
# The keys are said outright because msgspec before 0.23 leaves them out of the published schema.
_LeftOutFeatures = Annotated[
    dict[LeftOut, tuple[str, ...]],
    msgspec.Meta(extra_json_schema={"propertyNames": {"enum": sorted(get_args(LeftOut))}}),
]
VectorName = Literal[
    "observation.base_pose",
    "observation.base_velocity",
    "observation.torso_joint_position",
    "observation.head_joint_position",
    "observation.hand",
    "observation.environment_state",
    "action.base_pose",
    "action.base_velocity",
    "action.torso_joint_position",
    "action.head_joint_position",
    "action.hand",
]


class Pick(Strict, frozen=True, kw_only=True):
    """Columns of a feature: a range, or the names that the source gives them; else all.

    `named` holds patterns with `*`; each takes every matching column in the source's order. What is
    `optional` is left out where the episode lacks the feature (which makes another part).
    """

    feature: str
    columns: Columns | None = None
    named: tuple[str, ...] = ()
    optional: bool = False


class PositionSpec(Pick, frozen=True, kw_only=True):
    """Where three position columns are, and their unit."""

    unit: Literal["m", "mm"] = "m"


class RotationSpec(Pick, frozen=True, kw_only=True):
    """Where a rotation is, how it is written, and what turns it into the tool's rotation.

    `quaternion_or_euler` takes four columns: a quaternion xyzw where all have unit norm, else
    extrinsic xyz angles in the first three; the receipt says which.
    """

    encoding: RotationEncoding
    unit: Literal["rad", "deg", "none"] = "rad"
    fixed_rotation: Matrix3 | None = None


class JointSpec(Pick, frozen=True, kw_only=True):
    """Where the joints of an arm (or a hand) are, and their unit."""

    unit: Literal["rad", "deg"] = "rad"


class GripperRange(Strict, frozen=True, kw_only=True):
    """A scale that holds where no value of the episode is larger than `up_to`."""

    up_to: float
    open: float
    closed: float


class GripperSpec(Strict, frozen=True, kw_only=True):
    """Where the gripper is; `open` and `closed` are the source's values of the two ends.

    `absolute` numbers are mapped linearly; `relative_hold` numbers are commands (`closed` closes,
    `open` opens, anything between keeps the last one); `absolute_by_range` takes the first of
    `ranges` that the episode's values fit in.
    """

    feature: str
    column: int = 0
    named: str | None = None
    open: float = 1.0
    closed: float = 0.0
    kind: Literal["absolute", "relative_hold", "absolute_by_range"] = "absolute"
    ranges: tuple[GripperRange, ...] = ()
    optional: bool = False


class StateSpec(Strict, frozen=True, kw_only=True):
    """What was measured of one arm: its pose in its own base frame, its joints, its gripper."""

    position: PositionSpec | None = None
    rotation: RotationSpec | None = None
    joints: JointSpec | None = None
    gripper: GripperSpec | None = None
    hand: JointSpec | None = None


class ActionSpec(Strict, frozen=True, kw_only=True):
    """What was commanded of one arm.

    `reference` says what the numbers are: `absolute` targets; a `delta` on the target before it
    or on the measured pose (`refers_to`), composed as `composition` says; a `residual` to the
    measured pose; or nothing recorded, so that the `next_state` is the target. Joints are always
    absolute, or the next state.
    """

    reference: Literal["absolute", "delta", "residual", "next_state"]
    refers_to: Literal["previous_target", "measured"] | None = None
    composition: (
        Literal["base_left", "base_left_about_measured", "tool_right", "component_sum"] | None
    ) = None
    position: PositionSpec | None = None
    rotation: RotationSpec | None = None
    joints: JointSpec | None = None
    gripper: GripperSpec | None = None
    hand: JointSpec | None = None


class BaseAxes(Strict, frozen=True, kw_only=True):
    """Which axis of an arm's base frame points forward, left and up, seen from the robot."""

    forward: Axis
    left: Axis
    up: Axis


class ArmSpec(Strict, frozen=True, kw_only=True):
    """One arm: its name, its tool frame, its base axes, its state and its action.

    `model` names a published robot model (`finedata.motion.kinematics`) whose flange the pose can
    be held against: `finedata verify --pose` does. `approach_axis` is the axis of the recorded
    pose's own frame along which the gripper approaches, from the wrist to the object.
    """

    name: Literal["right", "left"]
    tool_frame: Literal["flange", "tcp", "vendor", "unknown"]
    state: StateSpec
    action: ActionSpec
    base_axes: BaseAxes | None = None
    model: Literal["franka_panda", "fr3", "ur5e", "ur5"] | None = None
    approach_axis: Axis | None = None


class CameraSpec(Strict, frozen=True, kw_only=True):
    """One camera: its name in the output and its feature in the source.

    A `feature` with `*` stands for every camera that matches; `name` is then `*`, and each is
    named by what the star stood for. `channel_order` says what a decoder of the stored JPEG
    gives: `bgr` where red and blue are exchanged. `raw_order` is that of uncompressed frames.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^([a-z0-9_]+|\*)$")]
    feature: str
    role: str = ""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    raw_order: Literal["rgb", "bgr"] = "rgb"


class EpisodeSpec(Strict, frozen=True, kw_only=True):
    """What makes an episode the same episode on every mirror.

    `locator` is a template over episode-level features, `{feature}`; the first of
    `strip_prefixes` that a value starts with is cut off it. `path` lists patterns of the file's
    name, matched from its end (`{task}/{outcome}/{name}/data/trajectory.hdf5`): the first that
    fits gives the features `path/task`, `path/outcome`, ... Always there: `file/path`,
    `file/name`, `file/split`, `file/number` (of the shard in its split) and `file/record`.
    """

    locator: str
    strip_prefixes: tuple[str, ...] = ()
    path: tuple[str, ...] = ()


class TimeSpec(Strict, frozen=True, kw_only=True):
    """The rate at which frames were recorded.

    `fps`, or the number in `fps_feature`, is the part's rate; `measured` says that it was measured
    in the data because the publisher's own number is untrue or missing. `timestamps` is the
    source's own clock; with `rate = "from_timestamps"` each episode's rate is its median step,
    rounded to whole frames a second. `align = "stride_to_cameras"` takes of every longer stream
    each n-th sample, n being how many whole times it is as long as the camera's frames.
    """

    fps: Annotated[float, msgspec.Meta(gt=0)] | None = None
    fps_feature: str | None = None
    measured: bool = False
    timestamps: str | None = None
    timestamp_unit: Literal["s", "ms", "us", "ns"] = "s"
    rate: Literal["declared", "from_timestamps"] = "declared"
    align: Literal["none", "stride_to_cameras"] = "none"
    first_step: str | None = None
    last_step: str | None = None


class VectorSpec(Strict, frozen=True, kw_only=True):
    """A further vector of every frame: the body's joints, the base, ...; pieces are joined.

    It is made where the episode holds every piece and, with `width`, where they have so many
    columns in all. Of several of one `name` the first such is made; where no width fits it is left
    out, and the receipt says `other_not_converted`.
    """

    name: VectorName
    pieces: tuple[JointSpec, ...]
    names: tuple[str, ...] = ()
    width: Annotated[int, msgspec.Meta(ge=1)] | None = None


class FlagSpec(Strict, frozen=True, kw_only=True):
    """A flag for every frame: a feature, and the value that means yes."""

    feature: str
    value: float = 1.0


class SuccessSpec(Strict, frozen=True, kw_only=True):
    """How the source says whether an episode succeeded.

    A numeric `feature` (its last value) of at least `at_least`, counted only where `known` is
    true; or a `text` feature that holds one of the texts in `yes` or in `no`.
    """

    feature: str | None = None
    at_least: float = 0.5
    known: str | None = None
    text: str | None = None
    yes: tuple[str, ...] = ()
    no: tuple[str, ...] = ()


class When(Strict, frozen=True, kw_only=True):
    """By what a form is known: everything given must hold.

    `path` is a pattern with `*` over the file's relative name; `width` is the number of columns of
    a feature; `text` the values that a text feature may have.
    """

    path: str | None = None
    features: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    width: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    text: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict[str, tuple[str, ...]])


class Variant(Strict, frozen=True, kw_only=True):
    """One form of the source. The first variant whose `when` holds reads the episode.

    `embodiment` names the robot; where `embodiment_feature` is given and not empty, it does.
    `keep` lists features (patterns) that are stored as they are, under their own names (a dot for
    each slash), with their conventions undeclared. `not_converted` lists what is knowingly left
    out, by kind; a receipt of an episode that holds such a feature says so.
    """

    name: Name
    reader: Reader
    embodiment: Name
    space: Literal["ee", "joint", "undeclared"]
    episode: EpisodeSpec
    time: TimeSpec
    when: When = When()
    embodiment_feature: str | None = None
    cameras: tuple[CameraSpec, ...] = ()
    arms: tuple[ArmSpec, ...] = ()
    vectors: tuple[VectorSpec, ...] = ()
    keep: tuple[str, ...] = ()
    intervention: FlagSpec | None = None
    success: SuccessSpec | None = None
    language: LanguageSpec = LanguageSpec()
    not_converted: _LeftOutFeatures = msgspec.field(default_factory=dict[LeftOut, tuple[str, ...]])
    quirks: tuple[Literal["truncate_to_shortest"], ...] = ()


class OptionSpec(Strict, frozen=True, kw_only=True):
    """A doubt that the user may decide: `--option NAME=CHOICE`.

    A value `"option:NAME"` anywhere below stands for the choice.
    """

    default: str
    choices: tuple[str, ...]
    why: str


class GatePreset(Strict, frozen=True, kw_only=True):
    """FineVLA's published gate settings for this source.

    `released_arms` are the arms that its released score compares.
    """

    minimum_frames: Annotated[int, msgspec.Meta(ge=1)]
    released_threshold: float | None = None
    released_arms: tuple[Literal["right", "left"], ...] = ("right", "left")


class ClusterPreset(Strict, frozen=True, kw_only=True):
    """FineVLA's published clustering settings for this source."""

    position_weight: float = 1.0
    rotation_weight: float = 1.0
    gripper_weight: float = 100.0
    k: int | None = None


class Converter(Strict, frozen=True, kw_only=True):
    """A converter file, decoded."""

    name: Name
    title: str
    story: str
    home: str
    licence: str
    citation: str
    revision: str
    variants: Annotated[tuple[Variant, ...], msgspec.Meta(min_length=1)]
    options: dict[str, OptionSpec] = msgspec.field(default_factory=dict[str, OptionSpec])
    doubts: tuple[str, ...] = ()
    gate: GatePreset | None = None
    cluster: ClusterPreset | None = None
