"""Which episodes are compared with which: arms that are missing, numbers that are not finite."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from finedata.cluster.distance.scratch import PartMotion
from finedata.cluster.group.unit_groups import units_of
from finedata.cluster.notes import tasks_apart
from finedata.cluster.plan import PartPlan
from finedata.cluster.settings import ClusterSettings, Weights
from finedata.store.motion.tracks import arm_columns

ONE = ("x", "y", "z", "qx", "qy", "qz", "qw", "gripper")
NAMES = tuple(f"{arm}_{name}" for arm in ("right", "left") for name in ONE)


def part(arms: list[str], tasks: list[str]) -> PartPlan:
    count = len(arms)
    return PartPlan(
        part="two",
        space="ee",
        sources=("s",),
        episode_ids=[f"e{k}" for k in range(count)],
        task_ids=np.array(tasks),
        arms=np.array(arms),
        lengths=np.full(count, 5),
        known=np.full((count, 3), np.nan),
    )


def motion(usable: list[list[int]]) -> PartMotion:
    return PartMotion(
        path=Path("nowhere"),
        width=16,
        names=NAMES,
        space="ee",
        arms=arm_columns(NAMES),
        usable=np.array(usable, np.int8),
        measures=np.full((len(usable), 2), np.nan),
    )


def test_an_arm_that_is_missing_in_half_a_task_makes_two_units() -> None:
    both, right = "right+left", "right"
    plan = part([both, both, right, both, both], ["a", "a", "a", "a", "b"])
    # The third declares one arm; of the fourth no number of the left one is finite.
    groups, unusable = units_of(plan, motion([[1, 1], [1, 1], [1, 0], [1, -1], [1, 1]]))
    assert unusable == 0
    found = {group.arms: (group.task_ids, group.episode_ids) for group in groups}
    assert found == {
        ("right", "left"): (["a", "b"], ["e0", "e1", "e4"]),
        ("right",): (["a"], ["e2", "e3"]),
    }
    for group in groups:
        assert len(group.tracks.arms) == len(group.arms)
        assert group.tracks.starts.tolist() == [5 * int(name[1:]) for name in group.episode_ids]
    (note,) = tasks_apart(groups)
    assert note.startswith("1 tasks have episodes with different arms: they are never compared")


def test_motion_that_is_not_finite_is_left_out() -> None:
    plan = part(["right+left"] * 4, ["a"] * 4)
    groups, unusable = units_of(plan, motion([[1, 1], [0, 1], [-1, -1], [1, 0]]))
    assert unusable == 3
    assert [group.episode_ids for group in groups] == [["e0"]]


def test_costs_of_the_spaces() -> None:
    settings = ClusterSettings(preset="finevla", position_weight=2.0)
    weights = settings.weights(Weights(gripper=100.0))
    assert weights == Weights(position=2.0, gripper=100.0)
    assert ClusterSettings().weights(Weights(gripper=100.0)) == Weights()
    cost = settings.frame_cost("ee", weights)
    assert (cost.space, cost.two_stage, cost.gripper_weight) == ("pose", True, 100.0)
    assert settings.frame_cost("joint", weights).space == "joint"
    bare = settings.frame_cost("undeclared", weights)
    assert (bare.space, bare.two_stage) == ("euclidean", False)


def test_a_distance_key_knows_all_that_changes_a_distance_and_nothing_else() -> None:
    base = ClusterSettings()
    same = (ClusterSettings(k=3), ClusterSettings(budget=9), ClusterSettings(linkage="single"))
    other = (
        ClusterSettings(on="state"),
        ClusterSettings(rotation_weight=2.0),
        ClusterSettings(two_stage=False),
        ClusterSettings(band=0.2),
        ClusterSettings(float64=True),
        ClusterSettings(device="cuda"),
    )
    assert {one.distance_key() for one in same} == {base.distance_key()}
    assert len({one.distance_key() for one in (base, *other)}) == len(other) + 1
    assert len({one.sha256() for one in (base, *same, *other)}) == len(same) + len(other) + 1
