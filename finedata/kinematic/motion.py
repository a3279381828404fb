"""The input of the kinematic annotator: the measured motion of one episode, as plain arrays.

Made by `finedata.kinematic.read` from a dataset, or by anybody who has arrays: nothing
here knows a file. All is measured state, not what was commanded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from finedata.errors import FeatureError, LengthError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finedata.schema.converter import BaseAxes

ArmName = Literal["right", "left"]
Signed = Literal["+x", "-x", "+y", "-y", "+z", "-z"]
ToolFrame = Literal["flange", "tcp", "vendor", "unknown"]


@dataclass(frozen=True, slots=True, eq=False)
class ArmMotion:
    """One arm.

    Attributes:
        name: `right` (also the only arm of a robot) or `left`.
        position_m: (T, 3) metres in the arm's base frame; None where no pose is recorded.
        quaternion_xyzw: (T, 4) unit quaternions, tool to base; None where none is recorded.
        joints_rad: (T, J) radians; None where none are recorded.
        gripper_open: (T,) open fraction, 1 = open, 0 = closed; None where there is no gripper.
        base_axes: Which axes of the base point forward, left and up. None: directions cannot be
            told.
        tool_frame: What the pose is of, in the words of the table of episodes.
        approach_axis: Axis of the tool frame that points from the wrist to the object. None: by
            the tool frame, +z for `flange` and `tcp`, else unknown.
    """

    name: ArmName
    position_m: NDArray[np.floating] | None = None
    quaternion_xyzw: NDArray[np.floating] | None = None
    joints_rad: NDArray[np.floating] | None = None
    gripper_open: NDArray[np.floating] | None = None
    base_axes: BaseAxes | None = None
    tool_frame: ToolFrame = "unknown"
    approach_axis: Signed | None = None

    def __post_init__(self) -> None:
        for name, value, width in (
            ("position_m", self.position_m, 3),
            ("quaternion_xyzw", self.quaternion_xyzw, 4),
        ):
            if value is not None and (value.ndim != 2 or value.shape[1] != width):
                raise FeatureError(
                    place=f"{self.name} arm, {name}",
                    found=f"an array of shape {value.shape}",
                    wanted=f"(T, {width})",
                )


@dataclass(frozen=True, slots=True, eq=False)
class BodyTrack:
    """A track of what is not an arm, with the meaning of its columns where that is known.

    Attributes:
        values: (T, n) numbers.
        kind: `base_pose`: x, y (metres) and heading (radians, counter-clockwise from above), x
            being forward at heading 0; `base_velocity`: forward, left (m/s), turn (rad/s,
            counter-clockwise from above); `lift`: one height in metres, up positive; `joints`:
            radians, whose directions nobody declares, so that only moving or not is told.
    """

    values: NDArray[np.floating]
    kind: Literal["base_pose", "base_velocity", "lift", "joints"]


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeMotion:
    """One episode.

    Attributes:
        arms: The arms, right before left; may be empty.
        fps: Frames a second.
        frames: T.
        base: The mobile base, of kind `base_pose` or `base_velocity`; None where not recorded.
        torso: The torso, `lift` or `joints`.
        head: The head or its camera, `joints`.
    """

    arms: tuple[ArmMotion, ...]
    fps: float
    frames: int
    base: BodyTrack | None = None
    torso: BodyTrack | None = None
    head: BodyTrack | None = None

    def __post_init__(self) -> None:
        if not self.fps > 0 or self.frames < 1:
            raise FeatureError(
                place="an episode",
                found=f"{self.frames} frames at {self.fps} frames a second",
                wanted="at least one frame, and a positive rate",
            )
        for arm in self.arms:
            for value in (arm.position_m, arm.quaternion_xyzw, arm.joints_rad, arm.gripper_open):
                if value is not None and len(value) != self.frames:
                    raise LengthError(
                        place=f"{arm.name} arm",
                        found=f"{len(value)} frames",
                        wanted=f"{self.frames}, as the episode has",
                    )
        for body in (self.base, self.torso, self.head):
            if body is not None and len(body.values) != self.frames:
                raise LengthError(
                    place="the body",
                    found=f"{len(body.values)} frames",
                    wanted=f"{self.frames}, as the episode has",
                )


def axis_vector(axis: Signed) -> tuple[float, float, float]:
    """The unit vector of a signed axis.

    Example:
        >>> axis_vector("-y")
        (0.0, -1.0, 0.0)
    """
    sign = 1.0 if axis[0] == "+" else -1.0
    return (
        sign if axis[1] == "x" else 0.0,
        sign if axis[1] == "y" else 0.0,
        sign if axis[1] == "z" else 0.0,
    )
