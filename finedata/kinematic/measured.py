"""What was measured of one episode: frozen values that rows are made of and facts are held against.

Frame ranges are half-open. Vectors in "robot terms" are (forward, left, up), in metres or radians.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finedata.kinematic.motion import ArmName, EpisodeMotion

ACTIVE_JOINT_RAD = 0.1
"""An arm whose joints move by less does not act, where only they are known."""

Vector3 = tuple[float, float, float]
Action = Literal[
    "idle",
    "reach",
    "grasp",
    "lift",
    "transport",
    "lower",
    "release",
    "open",
    "retract",
    "rotate",
    "push",
    "move",
]
ACTIONS: tuple[Action, ...] = (
    "idle",
    "reach",
    "grasp",
    "lift",
    "transport",
    "lower",
    "release",
    "open",
    "retract",
    "rotate",
    "push",
    "move",
)
"""The primitive actions.

`open` is an opening that lets go of nothing (nothing was grasped before, or the grasp failed);
`move` is motion of which more cannot be told, e.g. back and forth, or without base axes.
"""

PathShape = Literal["straight", "arc", "circular", "zigzag", "curved", "none"]
RotationAxis = Literal["approach", "vertical", "lateral", "frontal", "oblique", "none"]
RotationSense = Literal[
    "clockwise",
    "counter-clockwise",
    "tilts forward",
    "tilts backward",
    "tilts left",
    "tilts right",
    "unknown",
    "none",
]


class GripperEvent(msgspec.Struct, frozen=True, gc=False):
    """One opening or closing.

    Attributes:
        kind: `close` or `open`.
        start_frame: First frame of the motion of the fingers.
        end_frame: One past the last.
        frame: The frame at which half of it is done.
        before: Open fraction before.
        after: Open fraction after.
    """

    kind: Literal["close", "open"]
    start_frame: int
    end_frame: int
    frame: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class GraspTry:
    """Closings on one thing: the last of `closings` held, those before it did not.

    Attributes:
        closings: Indices into the arm's `events`.
        start_frame: First frame of the first closing.
        end_frame: One past the last frame of the last one.
    """

    closings: tuple[int, ...]
    start_frame: int
    end_frame: int

    @property
    def count(self) -> int:
        """How many attempts there were."""
        return len(self.closings)


class Segment(msgspec.Struct, frozen=True, gc=False):
    """One primitive action of one arm.

    Attributes:
        action: What is done.
        start_frame: First frame.
        end_frame: One past the last.
        holding: Whether the gripper was closed by an earlier closing.
        displacement_m: From first to last frame, robot terms; in the base frame's own axes where
            there are no base axes; zeros where there is no position.
        extent_m: Length of the displacement.
        path_m: Length of the smoothed path.
        straightness: extent / path, 1 for a straight line, NaN where nothing moves.
        direction: Words of `forward, backward, left, right, up, down`, largest first; () where
            nothing moves or there are no base axes.
        path_shape: Shape of the path; `none` where nothing moves.
        rotation_vector_rad: Rotation from first to last frame, robot terms.
        rotation_rad: Its angle, >= 0; more than pi where it turned so far about one axis.
        rotation_axis: What it turned about; `none` below the least angle.
        rotation_sense: In which sense.
        reversals: Times that the path turned back on itself.
        event: Index into the arm's `events` for `grasp` and `release`, else -1.
    """

    action: Action
    start_frame: int
    end_frame: int
    holding: bool
    displacement_m: Vector3
    extent_m: float
    path_m: float
    straightness: float
    direction: tuple[str, ...]
    path_shape: PathShape
    rotation_vector_rad: Vector3
    rotation_rad: float
    rotation_axis: RotationAxis
    rotation_sense: RotationSense
    reversals: int
    event: int


@dataclass(frozen=True, slots=True, eq=False)
class ArmMeasured:
    """What was measured of one arm.

    Attributes:
        name: `right` or `left`.
        has_pose: Whether there is a position.
        has_rotation: Whether there is a rotation.
        has_gripper: Whether there is a gripper.
        has_axes: Whether directions can be told.
        active: Whether it acts.
        path_m: Length of its smoothed path.
        reach_m: Largest distance from where it began.
        turn_rad: Largest rotation from how it began.
        joint_range_rad: Largest range of a joint; NaN where none is recorded.
        events: Gripper events in order.
        gripper_closed: (T,) whether the fingers are closed, by the events.
        tries: Grasps, with their repeated attempts.
        segments: Primitive actions that cover the episode; of an arm without any pose, what its
            fingers do alone.
        approaches: For each closing, by its index in `events`: the frame from which the approach
            is looked at, or -1.
        track_m: (T, 3) smoothed position, robot terms (base axes where known); (0, 3) without.
        turned_rad: (T, 3) rotation since frame 0, summed up in robot terms; (0, 3) without.
        approach: (T, 3) tool's approach axis in robot terms; (0, 3) where unknown.
        bad_frames: Frames with a number that is not finite.
    """

    name: ArmName
    has_pose: bool
    has_rotation: bool
    has_gripper: bool
    has_axes: bool
    active: bool
    path_m: float
    reach_m: float
    turn_rad: float
    joint_range_rad: float
    events: tuple[GripperEvent, ...]
    gripper_closed: NDArray[np.bool_]
    tries: tuple[GraspTry, ...]
    segments: tuple[Segment, ...]
    approaches: tuple[int, ...]
    track_m: NDArray[np.float64]
    turned_rad: NDArray[np.float64]
    approach: NDArray[np.float64]
    bad_frames: int

    @property
    def is_watched(self) -> bool:
        """Whether moving and resting can be told: there is a pose, or there are joints."""
        return self.has_pose or isfinite(self.joint_range_rad)


@dataclass(frozen=True, slots=True, eq=False)
class BodyMeasured:
    """What was measured of base, torso and head; a track is (0, n) where it is not recorded.

    Attributes:
        base_track: (T, 3) metres driven forward and left since frame 0, and radians turned
            counter-clockwise from above; driving is summed up along the heading of each moment.
        base_moves: Stretches in which the base drives or turns; their `action` says nothing.
        torso_track: (T, 1) height in metres, or (T, n) joints in radians.
        torso_is_lift: Whether it is a height.
        torso_moves: Stretches in which a torso whose height is known goes up or down.
        head_track: (T, n) joints in radians.
    """

    base_track: NDArray[np.float64]
    base_moves: tuple[Segment, ...]
    torso_track: NDArray[np.float64]
    torso_is_lift: bool
    torso_moves: tuple[Segment, ...]
    head_track: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was measured of an episode; `motion` is what it was measured of."""

    motion: EpisodeMotion
    arms: tuple[ArmMeasured, ...]
    body: BodyMeasured

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.motion.fps

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.motion.frames
