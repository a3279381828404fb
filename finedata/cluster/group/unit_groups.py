"""Which episodes of a part are compared with which: those of one unit.

A unit is one task in one part with one set of arms: nothing else has comparable numbers. Which
arms are really there, the motion tells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from finedata.cluster.distance.motion import ArmLayout, UnitTracks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.cluster.distance.scratch import PartMotion
    from finedata.cluster.plan import PartPlan
    from finedata.store.motion.tracks import ArmColumns

__all__ = ["UnitGroup", "layouts_of", "units_of"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitGroup:
    """The units of a part that have the same arms.

    Args:
        part: The part's plan.
        space: `ee`, `joint` or `undeclared`.
        arms: Names of the arms; () where undeclared.
        task_ids: (U,) the task of each unit, ascending.
        members: (N,) number in the part's plan of every track.
        tracks: The motion.
    """

    part: PartPlan
    space: str
    arms: tuple[str, ...]
    task_ids: list[str]
    members: NDArray[np.int64]
    tracks: UnitTracks

    @property
    def episode_ids(self) -> list[str]:
        """(N,) the episode of every track."""
        return [self.part.episode_ids[k] for k in map(int, self.members)]


def units_of(part: PartPlan, motion: PartMotion) -> tuple[list[UnitGroup], int]:
    """Group a part's episodes by task and by the arms that are really there.

    An arm is there where the episode declares it and some of its numbers are finite.

    Returns:
        One group for each set of arms, and how many episodes are left out as not finite.
    """
    names = tuple(motion.arms)
    present = np.ones(motion.usable.shape, bool)
    for place, name in enumerate(names):
        declared = np.array([name in arms.split("+") for arms in np.unique(part.arms)])
        known = np.searchsorted(np.unique(part.arms), part.arms)
        present[:, place] = declared[known] & (motion.usable[:, place] >= 0)
    fine = (~present | (motion.usable == 1)).all(axis=1) & present.any(axis=1)
    starts = np.concatenate([[0], np.cumsum(part.lengths)[:-1]])
    groups: list[UnitGroup] = []
    for pattern in np.unique(present[fine], axis=0)[::-1]:
        members = np.flatnonzero(fine & (present == pattern).all(axis=1))
        tasks, first = np.unique(part.task_ids[members], return_index=True)
        chosen = tuple(name for name, there in zip(names, pattern, strict=False) if there)
        arms = {name: motion.arms[name] for name in chosen}
        layouts = layouts_of(motion.space, arms, motion.width)
        posed = all(layout.quaternion is not None for layout in layouts)
        tracks = UnitTracks(
            values=motion,
            starts=starts[members],
            lengths=part.lengths[members],
            unit_offsets=np.append(first, len(members)).astype(np.int64),
            arms=layouts,
        )
        groups.append(
            UnitGroup(
                part=part,
                space="joint" if motion.space == "ee" and not posed else motion.space,
                arms=chosen,
                task_ids=[str(task) for task in tasks],
                members=members,
                tracks=tracks,
            )
        )
    return groups, int((~fine).sum())


def layouts_of(space: str, arms: dict[str, ArmColumns], width: int) -> tuple[ArmLayout, ...]:
    """What to compare of each arm; all columns as one track where no arms are declared."""
    if not arms:
        return (ArmLayout(scaled=tuple(range(width)), has_gripper=False),)
    found: list[ArmLayout] = []
    for arm in arms.values():
        if space == "ee" and arm.position is not None and arm.quaternion is not None:
            position = range(arm.position.start, arm.position.stop)
            layout = ArmLayout(scaled=tuple(position), quaternion=arm.quaternion.start)
        else:
            joints = arm.joints or arm.position or slice(0, 0)
            layout = ArmLayout(scaled=tuple(range(joints.start, joints.stop)))
        found.append(replace(layout, gripper=arm.gripper))
    return tuple(found)
