"""What the checks of motion allow: how little is standing still, how much is a jump.

These numbers are part of the gate's settings, and so of the hash that every verdict carries.
"""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks of motion allow.

    Attributes:
        frozen_m: An arm whose tool stays within this range (metres) does not move.
        frozen_rad: The same for a tool's rotation, and for a joint.
        frozen_gripper: The same for the gripper's open fraction.
        frozen_column: The same for an undeclared column, in its own unit.
        quaternion_norm: How far from 1 a norm may be; float32 noise is below 1e-6.
        jump_m_per_s: A tool's speed that no recorded arm reaches, and `jump_m` the step that is
            never called a jump; metres.
        jump_m: See above.
        jump_rad_per_s: The same for a tool's rotation, and for a joint; radians.
        jump_rad: See above.
        jump_times_usual: A jump is also so many times the step that three in four stay below.
    """

    frozen_m: float = 1e-4
    frozen_rad: float = 1e-3
    frozen_gripper: float = 1e-3
    frozen_column: float = 1e-6
    quaternion_norm: float = 1e-2
    jump_m_per_s: float = 2.5
    jump_m: float = 0.1
    jump_rad_per_s: float = 10.0
    jump_rad: float = 0.7
    jump_times_usual: float = 8.0
