"""Heads, waists and bases of RoboMIND V2 and Galaxea: what is sure has columns with names.

Many robots have none of it: an episode without converts all the same, into a part of its own.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from convert.truths import check_conversion, written_episodes
from sources import galaxea, galaxea_rlds, robomind_v2

import finedata
from finedata.convert.run import convert
from finedata.convert.verify.run import verify

BASE_POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")
TWIST = ("vx", "vy", "vz", "wx", "wy", "wz")
HEAD_AND_WAIST = {
    f"{side}.{name}_joint_position"
    for side in ("observation", "action")
    for name in ("head", "torso")
}
ROBOTS = ("franka", "tienyi", "tienkung", "agilex_mobile")


def body_columns(episode) -> set[str]:
    """The columns of an episode that are of no arm."""
    return {name for name in episode.columns if any(w in name for w in ("base", "torso", "head"))}


def by_robot(out: Path) -> dict[str, list]:
    """(episode, flags) by the robot's name in the source, in the order of the receipts."""
    found: dict[str, list] = {}
    for one in written_episodes(out):
        robot = str(one.receipt["locator"]).split("/")[0]
        found.setdefault(robot, []).append((one.episode, set(one.receipt["flags"])))
    return found


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Four robots, one of which has no body and one of which lost its body in one episode."""
    folder = tmp_path_factory.mktemp("mixed")
    source, out = folder / "source", folder / "out"
    truths = robomind_v2.write(
        source, robots=ROBOTS, bodies=tuple(robomind_v2.BODIES), depth=False, size=(16, 24)
    )
    (lost,) = source.rglob("tienyi/*/failed_episodes/*/data/trajectory.hdf5")
    with h5py.File(lost, "r+") as file:
        for group in ("master", "puppet"):
            for part in ("head", "waist"):
                del file[f"{group}/{part}_position_align"]
    summary = convert("robomind_v2", input=source, out=out)
    assert summary.failed == 0
    return source, out, truths


def test_robots_with_and_without_a_body_convert_together(mixed):
    source, out, truths = mixed
    check_conversion(out, truths)
    assert verify(out, input=source, decode=True).problems == []
    robots = by_robot(out)
    assert {name: len(episodes) for name, episodes in robots.items()} == dict.fromkeys(ROBOTS, 2)
    wanted = {
        "franka": [set(), set()],
        "tienyi": [set(), HEAD_AND_WAIST],  # the one that failed comes first
        "tienkung": [HEAD_AND_WAIST, HEAD_AND_WAIST],
        "agilex_mobile": [{"observation.base_pose"}] * 2,
    }
    found = {
        name: [body_columns(episode) for episode, _ in episodes]
        for name, episodes in robots.items()
    }
    assert found == wanted
    assert len(finedata.open(out).parts) == 5


def test_a_body_moves_as_planned(mixed):
    _, out, truths = mixed
    compared = 0
    for one in written_episodes(out):
        (truth,) = [t for t in truths if str(one.receipt["locator"]).endswith(t.key)]
        for name in body_columns(one.episode):
            found = one.episode.columns[name].reshape(truth.length, -1)
            np.testing.assert_allclose(found, truth.vectors[name], atol=1e-6)
            compared += 1
    assert compared == 4 + 8 + 2
    for episode, _ in by_robot(out)["agilex_mobile"]:
        assert tuple(episode.names["observation.base_pose"]) == BASE_POSE


def test_legs_and_twists_are_left_out_and_said_so(mixed):
    flags = {
        robot: [("other_not_converted" in own) for _, own in episodes]
        for robot, episodes in by_robot(mixed[1]).items()
    }
    expected = {"franka": False, "tienyi": False, "tienkung": True, "agilex_mobile": True}
    assert flags == {robot: [said, said] for robot, said in expected.items()}


@pytest.mark.parametrize(("width", "converted"), [(7, True), (3, False)])
def test_a_chassis_pose_of_another_width_is_left_out_and_said_so(tmp_path, width, converted):
    source, out = tmp_path / "source", tmp_path / "out"
    robomind_v2.write(
        source, episodes=1, robots=("agilex_mobile",), bodies=("agilex_mobile",), depth=False
    )
    (path,) = source.rglob("trajectory.hdf5")
    with h5py.File(path, "r+") as file:
        pose = file["puppet/chassis_pose_align/data"][()]
        for name in ("puppet/chassis_pose", "puppet/chassis_twist", "master/chassis_pose"):
            del file[f"{name}_align"]
        file["puppet/chassis_pose_align/data"] = pose[:, :width]
    assert convert("robomind_v2", input=source, out=out).failed == 0
    ((episode, flags),) = by_robot(out)["agilex_mobile"]
    assert ("observation.base_pose" in episode.columns) == converted
    assert ("other_not_converted" in flags) == (not converted)


@pytest.mark.parametrize(
    ("commanded", "names"),
    [(6, TWIST), (3, ("base_velocity_0", "base_velocity_1", "base_velocity_2"))],
)
def test_galaxeas_command_has_names_where_it_is_a_twist(tmp_path, commanded, names):
    source, out = tmp_path / "source", tmp_path / "out"
    truths = galaxea.write(source, datasets=1, episodes=1, videos=False, commanded=commanded)
    assert convert("galaxea", input=source, out=out).failed == 0
    check_conversion(out, truths)
    (one,) = written_episodes(out)
    assert tuple(one.episode.names["action.base_velocity"]) == names
    # What the chassis measured may be the speeds of its wheels.
    unnamed = tuple(f"base_velocity_{i}" for i in range(3))
    assert tuple(one.episode.names["observation.base_velocity"]) == unnamed
    for name in ("action.base_velocity", "observation.base_velocity"):
        np.testing.assert_allclose(one.episode.columns[name], truths[0].vectors[name], atol=1e-6)


def test_galaxeas_rlds_release_names_no_column_of_the_base(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    (truth,) = galaxea_rlds.write(source, episodes=1)
    assert convert("galaxea", input=source, out=out).failed == 0
    (one,) = written_episodes(out)
    for name in ("action.base_velocity", "observation.base_velocity"):
        assert not set(TWIST) & set(one.episode.names[name])
        np.testing.assert_allclose(one.episode.columns[name], truth.vectors[name], atol=1e-6)
