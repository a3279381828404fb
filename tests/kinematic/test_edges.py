"""Short, still, broken and half-recorded episodes; the body; what cannot be told is not told."""

from __future__ import annotations

import numpy as np
import pytest
from kinematic.made_motion import Arm, made_episode, random_axes, written

from finedata.errors import FeatureError, LengthError
from finedata.kinematic import (
    ArmMotion,
    BodyTrack,
    EpisodeMotion,
    KinematicRows,
    judge,
    measure,
)
from finedata.kinematic.directions import direction_words
from finedata.schema.converter import BaseAxes

AXES = BaseAxes(forward="+x", left="+y", up="+z")
DOWN = np.array([1.0, 0.0, 0.0, 0.0])


def still(frames, **more):
    given = {
        "position_m": np.tile([0.4, 0.0, 0.3], (frames, 1)),
        "quaternion_xyzw": np.tile(DOWN, (frames, 1)),
        "gripper_open": np.ones(frames),
        "base_axes": AXES,
        "tool_frame": "flange",
    }
    return ArmMotion("right", **{**given, **more})


def verdict(slot, value, measured, **more):
    return judge({"slot": slot, "value": value, **more}, measured).verdict


@pytest.mark.parametrize("frames", [1, 2, 3, 60])
def test_a_still_arm_rests_throughout(frames):
    measured = measure(EpisodeMotion((still(frames),), fps=10.0, frames=frames))
    arm = measured.arms[0]
    assert [(one.action, one.start_frame, one.end_frame) for one in arm.segments] == [
        ("idle", 0, frames)
    ]
    assert not arm.active
    assert not arm.events
    rows = KinematicRows(run_id="0" * 16)
    rows.add(measured, episode_id="made-1")
    assert rows.facts().num_rows == 0
    assert rows.steps().num_rows == 1
    assert verdict("primitive_action", "moves", measured) == "contradicted"
    assert verdict("gripper_state", "closes", measured) == "contradicted"
    assert verdict("gripper_state", "stays open", measured) == "confirmed"


def test_nothing_finite_is_a_rest_and_untestable():
    nan = np.full((40, 3), np.nan)
    arm = still(
        40, position_m=nan, quaternion_xyzw=np.full((40, 4), np.nan), gripper_open=nan[:, 0]
    )
    measured = measure(EpisodeMotion((arm,), fps=10.0, frames=40))
    assert measured.arms[0].bad_frames == 40
    for slot, value in (
        ("translation_direction", "left"),
        ("rotation_direction", "clockwise"),
        ("gripper_state", "opens"),
        ("attempt_count", "2"),
        ("approach_direction", "from above"),
    ):
        assert verdict(slot, value, measured) == "untestable"


def test_some_broken_frames_change_nothing():
    motion, _ = made_episode(3, arms=1, fps=15.0)
    arm = motion.arms[0]
    whole = measure(motion).arms[0]
    position, gripper = arm.position_m.copy(), arm.gripper_open.copy()
    position[::37] = np.nan
    gripper[5::41] = np.inf
    holes = ArmMotion(
        "right",
        position_m=position,
        quaternion_xyzw=arm.quaternion_xyzw,
        gripper_open=gripper,
        base_axes=arm.base_axes,
        tool_frame="flange",
    )
    found = measure(EpisodeMotion((holes,), fps=15.0, frames=motion.frames)).arms[0]
    assert [one.action for one in found.segments] == [one.action for one in whole.segments]
    assert found.bad_frames == len(position[::37])


def made_with(known=True, seed=4):
    rng = np.random.default_rng(seed)
    axes, matrix = random_axes(rng)
    arm = Arm(rng, "right", 10.0)
    arm.move("reach", ("left",), 0.2)
    arm.grip("grasp", 0.2)
    arm.move("lift", ("up",), 0.15, turn=("approach", "clockwise", 1.2))
    motion = written(arm, rng, len(arm.p), axes, matrix, known=known)
    return measure(EpisodeMotion((motion,), fps=10.0, frames=len(arm.p)))


def test_without_base_axes_directions_are_untestable_and_extents_are_not():
    measured = made_with(known=False)
    assert all(one.direction == () for one in measured.arms[0].segments)
    assert verdict("translation_direction", "right", measured) == "untestable"
    assert verdict("approach_direction", "from above", measured) == "untestable"
    assert verdict("primitive_action", "lowers", measured) == "untestable"
    assert verdict("translation_extent", "3 m", measured) == "contradicted"
    assert verdict("rotation_direction", "counter-clockwise", measured) == "contradicted"
    assert verdict("rotation_direction", "tilts left", measured) == "untestable"


def test_where_the_tool_points_is_unknown_only_the_vertical_is_told():
    measured = made_with()
    arm = measured.motion.arms[0]
    blind = ArmMotion(
        "right",
        position_m=arm.position_m,
        quaternion_xyzw=arm.quaternion_xyzw,
        gripper_open=arm.gripper_open,
        base_axes=arm.base_axes,
        tool_frame="vendor",
    )
    seen = measure(EpisodeMotion((blind,), fps=10.0, frames=measured.frames))
    turned = [one for one in seen.arms[0].segments if one.rotation_axis != "none"]
    assert [(one.rotation_axis, one.rotation_sense) for one in turned] == [
        ("vertical", "clockwise")
    ]
    assert verdict("rotation_direction", "about its own axis clockwise", seen) == "untestable"


@pytest.mark.parametrize(
    ("slot", "value", "text"),
    [
        ("translation_direction", "to the left of the bowl", ""),
        ("translation_direction", "not left", ""),
        ("translation_direction", "sideways", ""),
        ("translation_direction", "back to the table", ""),
        ("translation_direction", "right", "The ball rolls away."),
        ("gripper_state", "half closed", ""),
        ("gripper_state", "opens and closes", ""),
        ("rotation_direction", "clockwise and counterclockwise", ""),
        ("rotation_direction", "clockwise as seen from the camera", ""),
        ("attempt_count", "2", "The robot inserts the peg."),
        ("failure", "slips", "The cup slips out of the gripper."),
        ("path_shape", "elegant", ""),
        ("color", "red", ""),
        ("base_motion", "drives forward", ""),
    ],
)
def test_what_is_ambiguous_or_unseen_is_untestable(slot, value, text):
    measured = made_with()
    ball = "ball" if "ball" in text else None
    first = {"end_frame": 8} if ball else {}
    assert verdict(slot, value, measured, text=text, object=ball, **first) == "untestable"


def test_an_arm_that_is_not_there_cannot_act():
    measured = made_with()
    assert verdict("actor", "left", measured) == "contradicted"
    assert verdict("actor", "both", measured) == "contradicted"
    assert verdict("primitive_action", "grasps", measured, actor="left") == "contradicted"


def test_joints_without_a_pose_tell_of_grippers_only():
    grip = np.repeat([1.0, 0.2, 1.0, 0.3], 20)
    arm = ArmMotion("left", joints_rad=np.zeros((80, 6)), gripper_open=grip)
    measured = measure(EpisodeMotion((arm,), fps=10.0, frames=80))
    assert [one.kind for one in measured.arms[0].events] == ["close", "open", "close"]
    assert [one.count for one in measured.arms[0].tries] == [2]
    assert verdict("translation_direction", "left", measured) == "untestable"
    once = {"text": "one grasp attempt"}
    assert verdict("attempt_count", "1", measured, **once) == "contradicted"


def test_frames_outside_the_episode_are_untestable():
    measured = made_with()
    late = {"start_frame": measured.frames, "end_frame": measured.frames + 9}
    assert verdict("gripper_state", "closes", measured, **late) == "untestable"


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_noise_drift_and_pauses_of_a_gripper_make_no_event(noise):
    rng = np.random.default_rng(0)
    grip = np.concatenate(
        [np.ones(30), np.linspace(1, 0.7, 5), np.full(9, 0.7), np.linspace(0.7, 0.4, 5)]
    )
    grip = np.concatenate([grip, np.linspace(0.4, 0.33, 60)]) + rng.normal(0, noise, 109)
    arm = ArmMotion("right", gripper_open=grip)
    events = measure(EpisodeMotion((arm,), fps=10.0, frames=109)).arms[0].events
    assert [event.kind for event in events] == ["close"]
    assert 28 <= events[0].start_frame <= 35
    assert 40 <= events[0].frame <= 50


def body(*, base=None, torso=None, head=None, frames=100):
    return measure(EpisodeMotion((), fps=10.0, frames=frames, base=base, torso=torso, head=head))


def test_a_base_that_drives_and_turns():
    velocity = np.zeros((100, 3))
    velocity[20:40, 0] = 0.3
    velocity[60:80, 2] = -0.5
    measured = body(base=BodyTrack(velocity, "base_velocity"))
    moves = measured.body.base_moves
    assert [one.direction for one in moves] == [("forward",), ()]
    assert moves[0].extent_m == pytest.approx(0.6, abs=0.02)
    assert moves[1].rotation_vector_rad[2] == pytest.approx(-1.0, abs=0.03)
    drive = {"start_frame": 15, "end_frame": 45}
    turn = {"start_frame": 55, "end_frame": 85}
    assert verdict("base_motion", "drives forward", measured, **drive) == "confirmed"
    assert verdict("base_motion", "drives backward", measured, **drive) == "contradicted"
    assert verdict("base_motion", "drives left", measured, **drive) == "contradicted"
    assert verdict("base_motion", "stays stationary", measured, **drive) == "contradicted"
    assert verdict("base_motion", "turns right", measured, **turn) == "confirmed"
    assert verdict("base_motion", "rotates counter-clockwise", measured, **turn) == "contradicted"
    assert verdict("base_motion", "does not move", measured, end_frame=15) == "confirmed"
    rows = KinematicRows(run_id="0" * 16)
    rows.add(measured, episode_id="made-1")
    facts = rows.facts()
    assert [value.split(" by ")[0] for value in facts.column("value").to_pylist()] == [
        "drives forward",
        "turns right",
    ]
    assert facts.column("value_number").to_pylist() == pytest.approx([0.6, 1.0], abs=0.03)


def test_the_pose_of_a_base_gives_the_same_as_its_velocity():
    heading = np.repeat([0.0, np.pi / 2], 50)
    pose = np.zeros((100, 3))
    pose[:, 2] = heading
    pose[60:80, 1] = np.linspace(0, 0.5, 20)
    pose[80:, 1] = 0.5
    measured = body(base=BodyTrack(pose, "base_pose"))
    late = {"start_frame": 55, "end_frame": 90}
    assert verdict("base_motion", "drives forward", measured, **late) == "confirmed"
    assert verdict("base_motion", "drives to the left", measured, **late) == "contradicted"


def test_torso_and_head():
    height = np.concatenate([np.full(40, 0.2), np.linspace(0.2, 0.5, 20), np.full(40, 0.5)])
    turn = np.concatenate([np.zeros(50), np.full(50, 0.6)])[:, None]
    measured = body(torso=BodyTrack(height[:, None], "lift"), head=BodyTrack(turn, "joints"))
    assert verdict("torso_motion", "raises", measured) == "confirmed"
    assert verdict("torso_motion", "lowers", measured) == "contradicted"
    assert verdict("camera_motion", "moves", measured) == "confirmed"
    assert verdict("camera_motion", "stationary", measured) == "contradicted"
    assert verdict("camera_motion", "pans left", measured) == "untestable"
    assert verdict("camera_motion", "moves", measured, text="wrist camera") == "untestable"


def test_wrong_shapes_are_refused():
    with pytest.raises(FeatureError):
        ArmMotion("right", position_m=np.zeros((5, 2)))
    with pytest.raises(LengthError):
        EpisodeMotion((still(5),), fps=10.0, frames=6)
    with pytest.raises(FeatureError):
        EpisodeMotion((), fps=0.0, frames=6)


def test_directions_come_largest_first():
    assert direction_words((0.1, 0.0, -0.2)) == ("down", "forward")
    assert direction_words((-0.1, 0.3, 0.2)) == ("left", "up")
    assert direction_words((0.0, 0.0, 0.0)) == ()
