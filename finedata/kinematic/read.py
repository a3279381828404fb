"""The motion of a dataset's episodes, as what measures it wants it.

What the numbers mean is asked of the converter file that made the episode: it is kept, as text, in
the dataset's `finedata.json`, and which of its forms read an episode is in `episodes.variant`. Only
where a merged dataset keeps several converter files of one source, and their forms of that name
disagree about an arm's axes, do these count as unknown. Columns of base and torso
are understood by their declared names only: a base's pose by `x, y, yaw` or by a position and a
quaternion, its velocity by `vx, vy, wz`, as three columns or as part of a twist of six. A commanded
velocity is no motion: nothing here looks at the action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from finedata.errors import UsageError
from finedata.kinematic.motion import ArmMotion, BodyTrack, EpisodeMotion
from finedata.motion.kinematics import MODELS, forward_kinematics
from finedata.schema.converter_file import decode_converter
from finedata.store.dataset_file import DATASET_FILE
from finedata.store.lerobot.layout import DATA_FILE_COLUMNS
from finedata.store.motion.arm_columns import ArmColumns, arm_columns, is_hand_column
from finedata.store.motion.track_files import scan_episodes
from finedata.store.motion.tracks import without_vector

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from numpy.typing import NDArray

    from finedata.kinematic.motion import ArmName, Signed, ToolFrame
    from finedata.schema.converter import ArmSpec, BaseAxes
    from finedata.store.dataset import Dataset

__all__ = ["ArmConvention", "arm_conventions", "episode_motions", "motion_rows", "motions_of"]

_STATE = "observation.state"
_EXTRA = (
    "observation.ee_pose",
    "observation.joint_position",
    "observation.base_pose",
    "observation.base_velocity",
    "observation.torso_joint_position",
    "observation.head_joint_position",
)
# No number of a pose that hangs moves by more than this; RoboMIND's own test has the same.
_HANGING, _MOVING_RAD = 1e-3, 0.05
# Names by which a converter file may declare what a column of the base or the torso is.
_PLANAR_POSE = ("x", "y", "yaw")
_SPATIAL_POSE = ("x", "y", "qx", "qy", "qz", "qw")
_BASE_VELOCITY = ("vx", "vy", "wz")
_LIFT = ("height", "lift")
# A quaternion whose norm is further from 1 tells no rotation: zeros stand where nothing was sensed.
_NORM_TOLERANCE = 0.1

Columns = dict[str, "NDArray[Any]"]


@dataclass(frozen=True, slots=True)
class ArmConvention:
    """What the form of a converter file that read an episode says of one arm."""

    base_axes: BaseAxes | None = None
    model: str | None = None
    approach_axis: Signed | None = None


def arm_conventions(dataset: Dataset, *, source: str, variant: str) -> Mapping[str, ArmConvention]:
    """Arm to its conventions, for the episodes that one form of a source's converter file read.

    Args:
        dataset: The dataset, whose marker keeps the converter files.
        source: Name of the source.
        variant: Name of the form, as the table of episodes has it.

    Returns:
        Nothing for a source or a form that the dataset does not know.
    """
    found: dict[str, list[ArmSpec]] = {}
    choices = [(str(key), str(choice)) for key, choice in dataset.info.options.get("choices", ())]
    for entry in dataset.info.sources:
        if entry.name != source:
            continue
        listed = decode_converter(entry.converter, origin=DATASET_FILE).converter.options
        mine = {key: choice for key, choice in choices if key in listed}
        converter = decode_converter(entry.converter, origin=DATASET_FILE, choices=mine).converter
        for form in converter.variants:
            for arm in form.arms if form.name == variant else ():
                found.setdefault(arm.name, []).append(arm)
    return {name: _agreed(specs) for name, specs in found.items()}


def _agreed(specs: list[ArmSpec]) -> ArmConvention:
    first = specs[0]
    return ArmConvention(
        first.base_axes if all(one.base_axes == first.base_axes for one in specs) else None,
        first.model if all(one.model == first.model for one in specs) else None,
        first.approach_axis
        if all(one.approach_axis == first.approach_axis for one in specs)
        else None,
    )


def episode_motions(
    dataset: Dataset, *, part: str, episodes: Collection[str] | None = None
) -> Iterator[tuple[str, EpisodeMotion]]:
    """Read a part's measured motion, episode by episode, in the part's order.

    Args:
        dataset: The dataset.
        part: Name of the part.
        episodes: Their episode_ids; all by default.

    Yields:
        episode_id and motion; nothing for a part whose conventions nobody declares.

    Raises:
        UsageError: There is no such part.
        ConformError: The data files do not hold what the table of episodes says.
    """
    yield from motions_of(dataset, part=part, rows=motion_rows(dataset, part, episodes))


def motions_of(
    dataset: Dataset, *, part: str, rows: pl.DataFrame
) -> Iterator[tuple[str, EpisodeMotion]]:
    """`episode_motions` of episodes whose rows are known.

    Args:
        dataset: The dataset.
        part: Name of the part.
        rows: From `motion_rows`.
    """
    entry = next((one for one in dataset.parts if one.name == part), None)
    if entry is None:
        raise UsageError(
            place="part",
            found=repr(part),
            wanted=f"one of {', '.join(one.name for one in dataset.parts)}",
            next_command=f"finedata info {dataset.root}",
        )
    features = dataset.features(part)
    # Of undeclared parts nothing is read: a name that nobody declares says nothing of a motion.
    columns = [name for name in (_STATE, *_EXTRA) if without_vector(features, name) is None]
    names = {name: features[name].names or () for name in columns}
    rows = rows.filter(pl.col("space") != "undeclared")
    known: dict[tuple[str, str], Mapping[str, ArmConvention]] = {}
    for some, values in scan_episodes(dataset.part_folder(part), rows, columns=columns):
        begin = 0
        for fact in some.iter_rows(named=True):
            end = begin + int(fact["length"])
            own = {
                name: value[begin:end].reshape(end - begin, -1) for name, value in values.items()
            }
            begin = end
            key = (str(fact["source"]), str(fact["variant"]))
            if key not in known:
                known[key] = arm_conventions(dataset, source=key[0], variant=key[1])
            yield str(fact["episode_id"]), _motion(own, names, fact, known[key])


def motion_rows(dataset: Dataset, part: str, episodes: Collection[str] | None) -> pl.DataFrame:
    """What is read of a part's episodes, or of some of them, before their motion: plain values."""
    rows = dataset.episodes.filter(pl.col("part") == part)
    if episodes is not None:
        rows = rows.filter(pl.col("episode_id").is_in(list(episodes)))
    return (
        rows.select(
            *("episode_id", "episode_index", "length", "fps", "source", "variant", "space"),
            *("right_tool_frame", "left_tool_frame"),
            *DATA_FILE_COLUMNS,
        )
        .sort("episode_index")
        .collect()
    )


def _motion(
    columns: Columns,
    names: Mapping[str, tuple[str, ...]],
    fact: dict[str, Any],
    conventions: Mapping[str, ArmConvention],
) -> EpisodeMotion:
    found = arm_columns(names[_STATE])
    arms = tuple(
        _arm(name, columns, names, fact, conventions.get(name, ArmConvention()))
        for name in ("right", "left")
        if name in found
    )
    return EpisodeMotion(
        arms=arms,
        fps=float(fact["fps"]),
        frames=int(fact["length"]),
        base=_base(columns, names),
        torso=_torso(columns, names),
        head=_joints("observation.head_joint_position", columns),
    )


def _arm(
    name: str,
    columns: Columns,
    names: Mapping[str, tuple[str, ...]],
    fact: dict[str, Any],
    convention: ArmConvention,
) -> ArmMotion:
    """One arm: its recorded pose; else the one that its joints and its published model give.

    A pose that hangs while the joints move (RoboMIND V1 has such episodes, flag `ee_pose_stuck`)
    would be read as an arm at rest: it counts as not recorded.
    """
    position = quaternion = joints = gripper = None
    for column in (_STATE, "observation.ee_pose", "observation.joint_position"):
        own = arm_columns(names[column]).get(name) if column in columns else None
        if own is None:
            continue
        values = columns[column]
        if position is None and own.position is not None and own.quaternion is not None:
            position, quaternion = values[:, own.position], values[:, own.quaternion]
        if joints is None:
            joints = _arm_joints(values, own, names[column])
        if gripper is None and own.gripper is not None:
            gripper = values[:, own.gripper]
    if position is not None and quaternion is not None and _hangs(position, quaternion, joints):
        position = quaternion = None
    frame, approach = fact[f"{name}_tool_frame"] or "unknown", convention.approach_axis
    if position is None and joints is not None and convention.model is not None:
        model = MODELS[convention.model]
        if joints.shape[1] == model.joints:
            position, quaternion = forward_kinematics(joints, model=model.name)
            # The model's flange: what is declared of the recorded pose's frame is not said of it.
            frame, approach = "flange", None
    return ArmMotion(
        name=cast("ArmName", name),
        position_m=position,
        quaternion_xyzw=quaternion,
        joints_rad=joints,
        gripper_open=gripper,
        base_axes=convention.base_axes,
        tool_frame=cast("ToolFrame", frame),
        approach_axis=approach,
    )


def _arm_joints(
    values: NDArray[Any], own: ArmColumns, names: tuple[str, ...]
) -> NDArray[Any] | None:
    """The joints of the arm itself: those of a hand have a unit that nobody need declare."""
    if own.joints is None:
        return None
    columns = [k for k in range(own.joints.start, own.joints.stop) if not is_hand_column(names[k])]
    return values[:, columns] if columns else None


def _hangs(
    position_m: NDArray[Any], quaternion_xyzw: NDArray[Any], joints_rad: NDArray[Any] | None
) -> bool:
    return (
        joints_rad is not None
        and _extent(joints_rad) > _MOVING_RAD
        and _extent(position_m) < _HANGING
        and _extent(quaternion_xyzw) < _HANGING
    )


def _extent(values: NDArray[Any]) -> float:
    finite = values[np.isfinite(values).all(axis=1)]
    return float((finite.max(axis=0) - finite.min(axis=0)).max()) if finite.size else 0.0


def _declared(
    name: str, wanted: tuple[str, ...], columns: Columns, names: Mapping[str, tuple[str, ...]]
) -> NDArray[Any] | None:
    """The columns of the given names, where all are declared and a row of them is known."""
    if name not in columns or not set(wanted) <= set(names[name]):
        return None
    return _known(columns[name][:, [names[name].index(one) for one in wanted]])


def _known(values: NDArray[Any]) -> NDArray[Any] | None:
    return values if np.isfinite(values).all(axis=1).any() else None


def _base(columns: Columns, names: Mapping[str, tuple[str, ...]]) -> BodyTrack | None:
    pose = _base_pose(columns, names)
    if pose is not None:
        return BodyTrack(pose, "base_pose")
    velocity = _declared("observation.base_velocity", _BASE_VELOCITY, columns, names)
    return None if velocity is None else BodyTrack(velocity, "base_velocity")


def _base_pose(columns: Columns, names: Mapping[str, tuple[str, ...]]) -> NDArray[Any] | None:
    """(T, 3) x, y in metres and heading in radians."""
    planar = _declared("observation.base_pose", _PLANAR_POSE, columns, names)
    if planar is not None:
        return planar
    spatial = _declared("observation.base_pose", _SPATIAL_POSE, columns, names)
    if spatial is None:
        return None
    return _known(np.column_stack([spatial[:, :2], _heading_rad(spatial[:, 2:])]))


def _heading_rad(quaternion_xyzw: NDArray[Any]) -> NDArray[np.float64]:
    """Where the x axis points, seen from above; NaN where a quaternion is none.

    The angle of R x in the plane: R's first column is (1 - 2 (y² + z²), 2 (x y + w z), ...) for a
    unit quaternion.

    Args:
        quaternion_xyzw: (T, 4), body to world.

    Returns:
        (T,) radians in (-pi, pi], counter-clockwise.
    """
    norm = np.linalg.norm(np.asarray(quaternion_xyzw, np.float64), axis=1)
    unit = np.abs(norm - 1.0) <= _NORM_TOLERANCE
    x, y, z, w = (quaternion_xyzw / np.where(unit, norm, np.nan)[:, None]).T
    return np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def _torso(columns: Columns, names: Mapping[str, tuple[str, ...]]) -> BodyTrack | None:
    for one in _LIFT:
        height = _declared("observation.torso_joint_position", (one,), columns, names)
        if height is not None:
            return BodyTrack(height, "lift")
    return _joints("observation.torso_joint_position", columns)


def _joints(name: str, columns: Columns) -> BodyTrack | None:
    """Joints that some frame has a number of; a column that none has was not recorded."""
    values = columns.get(name)
    if values is None:
        return None
    known = _known(values[:, np.isfinite(values).any(axis=0)])
    return None if known is None or not known.shape[1] else BodyTrack(known, "joints")
