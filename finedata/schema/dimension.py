"""The ten dimensions of fine-grained facts and the closed slots of each.

FineVLA promises a ten-slot schema in the paper (Table 9, arXiv 2605.27284); the list itself is in
its released benchmark prompt (RoboFine-Bench, `extraction.txt`), whose validator wants exactly ten
entries in this order. The spelling is the benchmark's (`color`), so that facts can be compared.
Pure declarations: tuples and mappings.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DIMENSIONS", "DIMENSION_MEANINGS", "SLOTS", "SLOT_DIMENSION", "SLOT_MEANINGS"]

# dimension -> (its meaning, slot -> meaning), in canonical order
_DECLARED: dict[str, tuple[str, dict[str, str]]] = {
    "action_sequence": (
        "what is done, action by action",
        {
            "primitive_action": "one primitive action of the sequence, e.g. grasp, lift, place",
            "gripper_state": "the gripper opens or closes, only where that is said as such",
        },
    ),
    "active_actor": (
        "which arm acts",
        {"actor": "the acting arm, only where left, right or both is explicit"},
    ),
    "target_object": (
        "the primary manipulated object, and no other",
        {
            "category": "what kind of thing it is",
            "color": "its colour",
            "material": "what it is made of",
            "shape_or_size": "its shape or size",
        },
    ),
    "initial_configuration": (
        "how things are before any action",
        {
            "initial_pose": "orientation or posture of the object",
            "initial_workspace_location": "where in the workspace it is",
            "initial_relation": "how it stands to another object",
            "initial_state": "its state, e.g. open, full, folded",
        },
    ),
    "final_configuration": (
        "how things are after all actions",
        {
            "final_pose": "orientation or posture of the object",
            "final_workspace_location": "where in the workspace it is",
            "final_relation": "how it stands to another object",
            "final_state": "its state, e.g. closed, empty, unfolded",
        },
    ),
    "contact_and_approach": (
        "where and from where the robot touches",
        {
            "contact_region": "the part of the object that is touched or held",
            "approach_direction": "the direction from which the gripper comes",
        },
    ),
    "trajectory_and_orientation": (
        "how the tool or the object moves; the slots exclude each other within one fact",
        {
            "translation_direction": "direction of a translation",
            "translation_extent": "how far it goes",
            "rotation_direction": "axis and sense of a rotation",
            "rotation_angle": "how far it turns",
            "path_shape": "shape of the path, e.g. arc, zigzag",
        },
    ),
    "object_interaction": (
        "secondary effects, on objects other than the target",
        {
            "interaction_type": "how the other object is involved, e.g. pushed, covered",
            "affected_object": "which other object is affected",
            "effect": "what becomes of it",
        },
    ),
    "failure_and_recovery": (
        "what went wrong and what was done about it",
        {
            "failure": "an attempt that failed",
            "retry": "an attempt made again",
            "recovery_result": "how the recovery ended",
            "attempt_count": "how many attempts there were",
        },
    ),
    "body_motion": (
        "motion of what is not an arm",
        {
            "base_motion": "the base drives or turns",
            "torso_motion": "the torso bends, lifts or turns",
            "camera_motion": "a head or camera moves",
        },
    ),
}

DIMENSIONS: tuple[str, ...] = tuple(_DECLARED)
"""The ten dimensions in canonical order."""

DIMENSION_MEANINGS: Mapping[str, str] = MappingProxyType(
    {dimension: meaning for dimension, (meaning, _) in _DECLARED.items()}
)
"""Dimension -> what it says, in one line."""

SLOTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {dimension: tuple(slots) for dimension, (_, slots) in _DECLARED.items()}
)
"""Dimension -> its closed slots, in canonical order."""

SLOT_MEANINGS: Mapping[str, str] = MappingProxyType(
    {slot: meaning for _, slots in _DECLARED.values() for slot, meaning in slots.items()}
)
"""Slot -> what it says, in one line. A slot name belongs to one dimension only."""

SLOT_DIMENSION: Mapping[str, str] = MappingProxyType(
    {slot: dimension for dimension, (_, slots) in _DECLARED.items() for slot in slots}
)
"""Slot -> its dimension."""
