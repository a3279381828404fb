"""What is true of one episode of a fixture, whatever the source: the fixture writers fill it in.

Nothing here, and nothing in the fixture writers, may come from `finedata.readers`,
`finedata.motion` or `finedata.convert`: they are what is tested. SciPy's `Rotation` and plain
NumPy are the arithmetic here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class ArmTruth:
    """Canonical motion of one arm; `None` where the source has no such thing.

    Positions (T, 3) in metres and quaternions (T, 4) xyzw (either sign) in the arm's own base
    frame; joints (T, n) in radians; grippers (T,) as open fractions (1 = open). `target_*` is the
    absolute target commanded at each frame; for a source without actions the next state, its last
    row repeated.
    """

    position_m: np.ndarray | None = None
    quaternion_xyzw: np.ndarray | None = None
    joint_position: np.ndarray | None = None
    gripper_open: np.ndarray | None = None
    hand: np.ndarray | None = None
    target_position_m: np.ndarray | None = None
    target_quaternion_xyzw: np.ndarray | None = None
    target_joint_position: np.ndarray | None = None
    target_gripper_open: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class StepTruth:
    """One annotated step: half-open frame range as the source's own rule gives it."""

    text: str
    start_frame: int
    end_frame: int


@dataclass(frozen=True, eq=False)
class SourceTruth:
    """One episode of a fixture.

    Attributes:
        key: What tells the episode apart: a part of the receipt's locator (path, number).
        length: Frames that the conversion writes.
        arms: By name, `right` (also a single arm) and `left`.
        instruction: The goal as the source has it; empty where there is none.
        alternatives: Further wordings of the goal.
        steps: Annotated steps in order.
        success: The source's verdict; `None` where it gives none.
        fps: Frames a second of the part.
        cameras: Name in the source to (sha256 of each picture) for pictures, or to the file's path
            relative to the folder for a video.
        vectors: Further numbers by the name of the output's column (`observation.base_velocity`).
    """

    key: str
    length: int
    arms: dict[str, ArmTruth]
    instruction: str = ""
    alternatives: tuple[str, ...] = ()
    steps: tuple[StepTruth, ...] = ()
    success: bool | None = None
    fps: float = 0.0
    cameras: dict[str, tuple[str, ...] | str] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
