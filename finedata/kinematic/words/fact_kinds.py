"""The kinds of measured facts: what of a fact's row is the same for every fact of its kind.

A fact is kept as its kind's number and what is its own; the rest is looked up once a table.
"""

from __future__ import annotations

from typing import NamedTuple


class FactKind(NamedTuple):
    """A kind; `slot` and `measure` name it.

    Attributes:
        dimension: Dimension of the slot.
        slot: The slot.
        measure: Name of the measurement that a fact of it rests on.
        unit: Unit of `value_number`; None where it has none.
        measure_unit: Unit of the measurement.
        anchor: `step`, `between` or `episode`.
        confidence: How sure its wording is, given the measurement.
    """

    dimension: str
    slot: str
    measure: str
    unit: str | None
    measure_unit: str
    anchor: str
    confidence: float


_PATH = "trajectory_and_orientation"
KINDS: tuple[FactKind, ...] = (
    FactKind("active_actor", "actor", "arm_path_length", None, "m", "episode", 1.0),
    FactKind("active_actor", "actor", "arm_joint_range", None, "rad", "episode", 1.0),
    FactKind("action_sequence", "primitive_action", "travel", "s", "m", "step", 0.9),
    FactKind("action_sequence", "primitive_action", "rotation", "s", "rad", "step", 0.9),
    FactKind("action_sequence", "primitive_action", "gripper_time", "s", "s", "step", 0.9),
    FactKind("action_sequence", "gripper_state", "gripper_time", None, "s", "step", 1.0),
    FactKind("contact_and_approach", "approach_direction", "approach_travel", None, "m", "step", 1),
    FactKind(_PATH, "translation_direction", "travel", None, "m", "step", 1.0),
    FactKind(_PATH, "translation_extent", "travel", "m", "m", "step", 1.0),
    FactKind(_PATH, "rotation_direction", "rotation", None, "rad", "step", 1.0),
    FactKind(_PATH, "rotation_angle", "rotation", "rad", "rad", "step", 1.0),
    FactKind(_PATH, "path_shape", "path_length", None, "m", "step", 0.9),
    FactKind("failure_and_recovery", "retry", "grasp_attempts", "count", "count", "between", 0.9),
    FactKind(
        *("failure_and_recovery", "attempt_count", "grasp_attempts"),
        *("count", "count", "between", 0.9),
    ),
    FactKind("body_motion", "base_motion", "base_travel", "m", "m", "step", 1.0),
    FactKind("body_motion", "base_motion", "base_turn", "rad", "rad", "step", 1.0),
    FactKind("body_motion", "torso_motion", "torso_rise", "m", "m", "step", 1.0),
    FactKind("body_motion", "torso_motion", "torso_joint_range", "rad", "rad", "episode", 1.0),
    FactKind("body_motion", "camera_motion", "head_joint_range", "rad", "rad", "episode", 1.0),
)
"""Every kind."""

_NUMBERS = {(kind.slot, kind.measure): number for number, kind in enumerate(KINDS)}


def kind_of(slot: str, measure: str) -> int:
    """Index into `KINDS`.

    Example:
        >>> KINDS[kind_of("retry", "grasp_attempts")].anchor
        'between'
    """
    return _NUMBERS[slot, measure]
