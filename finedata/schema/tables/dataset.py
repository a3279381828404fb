"""Declarations of the tables that are the dataset itself: episodes, frames, images.

episodes and frames are LeRobot v3.0 tables and therefore open: LeRobot's own columns stand beside
ours under LeRobot's names.
"""

from __future__ import annotations

from finedata.schema import enums
from finedata.schema.columns import Column, Open, Table

IMAGE_PREFIX = "observation.images."
PICTURE_TYPE = "struct<bytes: binary, path: string>"

_NON_NEGATIVE = (0.0, None)
_ARM_BASE = "each arm's own base"
_NAMES = "in the order of `names` in info.json"

EPISODES = Table(
    name="episodes",
    meaning="one episode of the dataset: LeRobot's meta/episodes plus finedata's columns",
    file="meta/episodes/chunk-*/file-*.parquet, in each part",
    key=("episode_id",),
    stored_key=("episode_id",),
    columns=(
        Column("episode_id", "string", "`<source>-<hash16 of the canonical locator>`"),
        Column("part", "string", "the LeRobot dataset of this root that holds the episode"),
        Column("episode_index", "int64", "its number within the part", range=_NON_NEGATIVE),
        Column("source", "string", "name of the converter file"),
        Column("source_revision", "string", "revision of the source corpus", nullable=True),
        Column("split", "string", "the source's own split", nullable=True),
        Column("embodiment", "string", "the robot, as the converter file names it"),
        Column("length", "int64", "number of frames, at least one", range=(1.0, None)),
        Column("fps", "float64", "frames per second of the part", unit="Hz", range=_NON_NEGATIVE),
        Column("duration_s", "float64", "length / fps", unit="s", range=_NON_NEGATIVE),
        Column(
            "start_time_unix_s",
            "float64",
            "when the recording began, since 1970-01-01T00:00:00Z",
            nullable=True,
            unit="s",
        ),
        Column("task", "string", 'the instruction as the source wrote it; "" if there is none'),
        Column(
            "task_id",
            "string",
            "hash16 of the folded instruction; null if that is empty",
            nullable=True,
        ),
        Column("task_index", "int64", "LeRobot's number of the task in the part"),
        Column("tasks", "list<string>", "LeRobot's list of the episode's instructions"),
        Column("success", "bool", "the source's verdict; null if it gives none", nullable=True),
        Column("arms", "list<string>", "the arms; a single arm is `right`", enum=enums.ARMS),
        Column("space", "string", "what state and action hold", enum=enums.SPACES),
        Column(
            "right_tool_frame",
            "string",
            "which frame the right arm's pose is of; null without that arm or its pose",
            nullable=True,
            enum=enums.TOOL_FRAMES,
        ),
        Column(
            "left_tool_frame",
            "string",
            "which frame the left arm's pose is of; null without that arm or its pose",
            nullable=True,
            enum=enums.TOOL_FRAMES,
        ),
        Column("action_origin", "string", "how `action` was had", enum=enums.ACTION_ORIGINS),
        Column("cameras", "list<string>", "cameras of the part, sorted"),
        Column("cameras_missing", "list<string>", "those that have no real pictures here"),
        Column("licence", "string", "SPDX identifier, or the licence's name"),
        Column("variant", "string", "form of the converter file that read it", never_empty=True),
    ),
    open=(
        Open(prefix="data/", meaning="LeRobot: where the frames are (chunk_index, file_index)"),
        Open(prefix="dataset_from_index", meaning="LeRobot: first global frame index"),
        Open(prefix="dataset_to_index", meaning="LeRobot: one past the last global frame index"),
        Open(prefix="meta/episodes/", meaning="LeRobot: where this row is"),
        Open(
            prefix="videos/", meaning="LeRobot: where the video is, and its time range in seconds"
        ),
        Open(prefix="stats/", meaning="LeRobot: statistics of each feature over the episode"),
    ),
)

# name -> (meaning, unit, frame); both `observation.` and `action.` come in each
_VECTORS = {
    "joint_position": ("joint angles of the arms", "rad", ""),
    "ee_pose": ("pose of each arm: position and unit quaternion xyzw", "m, 1", _ARM_BASE),
    "base_pose": ("pose of the mobile base", "m, rad", "where the base started, or the source's"),
    "base_velocity": ("velocity of the mobile base", "m/s, rad/s", "the base"),
    "torso_joint_position": ("joints of the torso", "rad or m", ""),
    "head_joint_position": ("joints of the head", "rad", ""),
    "hand": ("joints of dexterous hands, as the source has them", "rad or 1", ""),
}
_VECTOR_COLUMNS = (
    *(
        Column(
            f"{side}.{name}",
            "fixed_size_list<float32>[n]",
            f"{verb} {meaning}, {_NAMES}",
            nullable=True,
            unit=unit,
            frame=frame,
            presence="optional",
        )
        for side, verb in (("observation", "measured"), ("action", "commanded"))
        for name, (meaning, unit, frame) in _VECTORS.items()
    ),
    Column(
        "observation.environment_state",
        "fixed_size_list<float32>[n]",
        f"state of what is around the robot, under LeRobot's name, {_NAMES}",
        nullable=True,
        presence="optional",
    ),
)

FRAMES = Table(
    name="frames",
    meaning="one time step; vectors of width 1 are stored as plain float32, as LeRobot does",
    file="data/chunk-*/file-*.parquet, in each part",
    key=("episode_id", "frame_index"),
    stored_key=("episode_index", "frame_index"),
    columns=(
        Column("episode_id", "string", "joined from episodes on reading", presence="joined"),
        Column("index", "int64", "number of the frame in the part, without gaps"),
        Column("episode_index", "int64", "number of the episode in the part, without gaps"),
        Column("frame_index", "int64", "number of the frame in the episode", range=_NON_NEGATIVE),
        Column("task_index", "int64", "LeRobot's number of the task in the part"),
        Column("timestamp", "float32", "frame_index / fps", unit="s", range=_NON_NEGATIVE),
        Column(
            "source_time_s",
            "float64",
            "the source's own clock, counted from the episode's first frame",
            nullable=True,
            unit="s",
            presence="optional",
        ),
        Column(
            "observation.state",
            "fixed_size_list<float32>[n]",
            f"measured state of the arms, {_NAMES}",
            unit="m, 1 or rad",
            frame=_ARM_BASE,
        ),
        Column(
            "action",
            "fixed_size_list<float32>[n]",
            "absolute target commanded at this frame; same n and names as observation.state",
            unit="m, 1 or rad",
            frame=_ARM_BASE,
        ),
        Column("action_valid", "bool", "false where the action only repeats the one before"),
        Column(
            "is_intervention",
            "bool",
            "a person took over at this frame",
            nullable=True,
            presence="optional",
        ),
        *_VECTOR_COLUMNS,
    ),
    open=(
        Open(
            prefix=IMAGE_PREFIX,
            type=PICTURE_TYPE,
            nullable=False,  # an absent camera holds placeholders, never null
            meaning="one picture per frame of the camera whose name follows; bytes as found",
        ),
    ),
)

IMAGES = Table(
    name="images",
    meaning="one picture: a view over the image columns of frames, never a file of its own",
    file="(a view)",
    key=("episode_id", "frame_index", "camera"),
    stored_key=("episode_id", "frame_index", "camera"),
    columns=(
        Column("episode_id", "string", "the episode"),
        Column("frame_index", "int64", "number of the frame in the episode", range=_NON_NEGATIVE),
        Column("camera", "string", "the camera; the column's name without its prefix"),
        Column("bytes", "binary", "the encoded picture, as the source stored it", nullable=True),
        Column("path", "string", "the picture's file name, where it has one", nullable=True),
    ),
)
