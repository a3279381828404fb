"""Facts measured from the canonical motion, and the judge of what a teacher says of it.

`measure` finds what can be measured without any model of an `EpisodeMotion` (poses, grippers,
base, torso, head of one episode): gripper events, primitive actions, directions, rotations, path
shapes, retries, the motion of the body. `KinematicRows` makes published rows of it, and `judge`
holds a teacher's fact against it. `kinematic.read` makes the inputs from a dataset.

Directions are those of the robot (forward, left, up: the converter file's `base_axes`), and
"clockwise" is as seen along the tool's approach axis, or from above for the base's vertical.
"""

from __future__ import annotations

from finedata.kinematic.judge.claims import EpisodeJudgement, Judged, Measurement, Omission
from finedata.kinematic.judge.run import judge, judge_episode
from finedata.kinematic.measure import measure
from finedata.kinematic.measured import (
    ArmMeasured,
    BodyMeasured,
    GraspTry,
    GripperEvent,
    Measured,
    Segment,
)
from finedata.kinematic.motion import ArmMotion, BodyTrack, EpisodeMotion
from finedata.kinematic.rows import KinematicRows, kinematic_facts

__all__ = [
    "ArmMeasured",
    "ArmMotion",
    "BodyMeasured",
    "BodyTrack",
    "EpisodeJudgement",
    "EpisodeMotion",
    "GraspTry",
    "GripperEvent",
    "Judged",
    "KinematicRows",
    "Measured",
    "Measurement",
    "Omission",
    "Segment",
    "judge",
    "judge_episode",
    "kinematic_facts",
    "measure",
]
