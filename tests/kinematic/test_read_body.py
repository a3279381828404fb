"""Base, torso and head out of converted datasets: the plan of the fixture is what facts say.

A base drives half a metre forward and turns 45 degrees to the left, a waist moves by 0.3 rad; lies
about them are contradicted, and what no column is sure to mean is untestable.
"""

from __future__ import annotations

from math import radians

import h5py
import numpy as np
import polars as pl
import pytest
from sources import galaxea, robomind_v2
from sources.robomind_v2 import DRIVE_M, HEAD_RAD, SPIN_RAD, WAIST_RAD

from finedata.annotate.run_kinematic import annotate_kinematic
from finedata.annotate.selection import Choice
from finedata.convert.run import convert
from finedata.kinematic import judge, measure
from finedata.kinematic.read import episode_motions
from finedata.papers import paper_room
from finedata.store.dataset import open_dataset

FRAMES = 420  # seven seconds at the mobile robot's 60 Hz
# What the base drifts and the smoothing takes.
ENDS_RAD = radians(1.0)


def motions(dataset):
    """Motion by embodiment; one episode of each."""
    robots = dict(dataset.episodes.select("episode_id", "embodiment").collect().iter_rows())
    return {
        robots[episode_id]: motion
        for part in dataset.parts
        for episode_id, motion in episode_motions(dataset, part=part.name)
    }


def verdict(slot, value, measured, **more):
    return judge({"slot": slot, "value": value, **more}, measured).verdict


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bodies")
    robots = ("franka", "tienyi", "agilex_mobile")
    robomind_v2.write(
        folder / "source",
        episodes=1,
        robots=robots,
        bodies=robots[1:],
        frames=FRAMES,
        size=(16, 24),
        depth=False,
    )
    convert("robomind_v2", input=folder / "source", out=folder / "out")
    annotate_kinematic(folder / "out", choice=Choice(everything=True))
    return open_dataset(folder / "out")


def test_facts_of_a_body_are_the_plans(bodies):
    rows = bodies.facts.filter(pl.col("dimension") == "body_motion")
    robots = bodies.episodes.select("episode_id", "embodiment")
    facts = rows.join(robots, on="episode_id").sort("embodiment", "slot", "start_s").collect()
    said = [
        ("agilex_mobile", "base_motion", "drives forward by 0."),
        ("agilex_mobile", "base_motion", "turns left by 4"),
        ("tienyi", "camera_motion", "moves"),
        ("tienyi", "torso_motion", "moves"),
    ]
    found = facts.select("embodiment", "slot", "value").rows()
    assert [(*row[:2], row[2][: len(one[2])]) for row, one in zip(found, said, strict=True)] == said
    assert facts["text"][0].startswith("The base drives forward by 0.")
    for amount, planned, off in zip(
        facts["value_number"],
        (DRIVE_M, SPIN_RAD, HEAD_RAD, WAIST_RAD),
        (0.02, ENDS_RAD, 0.01, 0.01),
        strict=True,
    ):
        assert amount == pytest.approx(planned, abs=off)
    # The ramps are slow at both ends.
    assert facts["start_s"].to_list()[:2] == pytest.approx([1.3, 4.6], abs=0.4)
    assert facts["end_s"].to_list()[:2] == pytest.approx([3.1, 6.4], abs=0.4)


@pytest.mark.parametrize(
    ("claim", "verdict_of_it"),
    [
        ("drives forward", "confirmed"),
        ("The base drives backward", "contradicted"),
        ("drives to the left", "contradicted"),
        ("turns left", "confirmed"),
        ("The base turns right", "contradicted"),
        ("rotates clockwise", "contradicted"),
        ("stays stationary", "contradicted"),
    ],
)
def test_claims_about_a_base(bodies, claim, verdict_of_it):
    measured = measure(motions(bodies)["agilex_mobile"])
    assert verdict("base_motion", claim, measured) == verdict_of_it


@pytest.mark.parametrize("slot", ["torso_motion", "camera_motion"])
@pytest.mark.parametrize(
    ("claim", "verdict_of_it"),
    [
        ("moves", "confirmed"),
        ("The torso stays still", "contradicted"),
        ("leans to the left", "untestable"),
    ],
)
def test_claims_about_a_torso_and_a_head(bodies, slot, claim, verdict_of_it):
    measured = measure(motions(bodies)["tienyi"])
    assert verdict(slot, claim, measured) == verdict_of_it


def test_a_robot_without_a_body_says_nothing_of_it(bodies):
    motion = motions(bodies)["franka_fr3_dual"]
    assert motion.base is motion.torso is motion.head is None
    assert verdict("base_motion", "stays stationary", measure(motion)) == "untestable"


def test_a_heading_is_that_of_the_x_axis_on_a_floor_that_is_not_level(bodies):
    base = motions(bodies)["agilex_mobile"].base
    assert base.kind == "base_pose"
    heading = np.unwrap(base.values[:, 2])
    assert np.ptp(base.values[:, 2]) > 6  # passes pi
    assert heading[-1] - heading[0] == pytest.approx(SPIN_RAD, abs=1e-5)
    assert heading[0] == pytest.approx(2.8, abs=1e-5)


def mobile_robot(tmp_path, change):
    """The mobile robot's motion, after its chassis pose was changed in the source."""
    source, out = tmp_path / "source", tmp_path / "out"
    name = ("agilex_mobile",)
    robomind_v2.write(
        source, episodes=1, robots=name, bodies=name, frames=FRAMES, size=(16, 24), depth=False
    )
    (path,) = source.rglob("trajectory.hdf5")
    with h5py.File(path, "r+") as file:
        data = file["puppet/chassis_pose_align/data"]
        pose = data[()]
        change(pose)
        data[...] = pose
    convert("robomind_v2", input=source, out=out)
    (motion,) = motions(open_dataset(out)).values()
    return motion


def nothing_sensed(pose):
    pose[...] = 0.0


def some_rows_lost(pose):
    pose[100:110] = 0.0
    pose[300:310, 3:] = np.nan


def not_of_unit_length(pose):
    pose[:, 3:] *= 1.02


def test_zeros_are_no_pose(tmp_path):
    assert mobile_robot(tmp_path, nothing_sensed).base is None


@pytest.mark.parametrize("change", [some_rows_lost, not_of_unit_length])
def test_a_few_odd_rows_do_no_harm(tmp_path, change):
    measured = measure(mobile_robot(tmp_path, change))
    drive, turn = measured.body.base_moves
    assert drive.direction == ("forward",)
    assert drive.extent_m == pytest.approx(DRIVE_M, abs=0.02)
    assert turn.rotation_vector_rad[2] == pytest.approx(SPIN_RAD, abs=ENDS_RAD)
    driven = measured.body.base_track[-1]
    np.testing.assert_allclose(driven, [DRIVE_M, 0.0, SPIN_RAD], atol=0.01)


def galaxea_dataset(tmp_path, converter="galaxea"):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    (truth,) = galaxea.write(source, datasets=1, episodes=1, videos=False, length=90)
    convert(converter, input=source, out=out)
    (motion,) = motions(open_dataset(out)).values()
    return motion, truth


def test_a_command_is_no_motion_of_the_base(tmp_path):
    motion, _ = galaxea_dataset(tmp_path)
    assert motion.base is None
    measured = measure(motion)
    for claim in ("drives forward", "stays stationary"):
        assert verdict("base_motion", claim, measured) == "untestable"
    # Its torso is measured: four joints, of which only moving is told.
    assert motion.torso.kind == "joints"
    assert verdict("torso_motion", "moves", measured) == "confirmed"
    assert verdict("torso_motion", "The torso stays still", measured) == "contradicted"


def test_a_measured_twist_of_six_is_understood(tmp_path):
    """As the converter file of a robot that measures one may declare it."""
    text = (paper_room("converters") / "galaxea.toml").read_text()
    old = """name = "observation.base_velocity"
pieces = [{ feature = "observation.state.chassis.velocities" }]
"""
    new = """name = "observation.base_velocity"
pieces = [{ feature = "action.chassis.velocities" }]
names = ["vx", "vy", "vz", "wx", "wy", "wz"]
"""
    assert text.count(old) == 1
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    motion, truth = galaxea_dataset(tmp_path, str(path))
    assert motion.base.kind == "base_velocity"
    twist = truth.vectors["action.base_velocity"]
    np.testing.assert_allclose(motion.base.values, twist[:, [0, 1, 5]], atol=1e-6)
