"""Motion out of converted datasets: what the fixtures planned is what the annotator gets.

The truths of the fixtures and SciPy are what is compared with; poses of a robot model are
multiplied out here, matrix by matrix, from the maker's published table.
"""

from __future__ import annotations

from dataclasses import replace
from math import cos, pi, sin
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sources import generic_lerobot, rdt, robocoin, robomind_v1

from finedata.annotate.checks.motion import judged_facts, motions_in_order
from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.errors import UsageError
from finedata.kinematic import judge, measure
from finedata.kinematic.read import arm_conventions, episode_motions
from finedata.papers import paper_room
from finedata.schema.converter import BaseAxes
from finedata.store.dataset import open_dataset

FORM = "bridge_dataset"
AXES = BaseAxes(forward="+x", left="+y", up="+z")
PLAIN = 'base_axes = { forward = "+x", left = "+y", up = "+z" }'
TURNED = 'base_axes = { forward = "+y", left = "-x", up = "+z" }'


def edited(name: str, folder: Path, *edits: tuple[str, str, int]) -> str:
    """The project's converter file, changed; the third of an edit is how often, -1 for all."""
    text = (paper_room("converters") / f"{name}.toml").read_text()
    for old, new, count in edits:
        assert old in text
        text = text.replace(old, new, count)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)


def converted_source(tmp_path: Path, module, converter: str, *, choices=(), **knobs):
    """A fixture, converted: its truths by (length, embodiment), and the dataset."""
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    truths = module.write(source, **knobs)
    convert(converter, input=source, out=out, options=ConvertOptions(choices=choices))
    return truths, open_dataset(out)


def every(dataset):
    return {
        episode_id: motion
        for part in dataset.parts
        for episode_id, motion in episode_motions(dataset, part=part.name)
    }


def matched(dataset, truths):
    """(motion, truth) of each episode, by the key that its locator holds."""
    motions = every(dataset)
    rows = dataset.receipts.select("episode_id", "locator").collect().iter_rows()
    keys = {
        truth.key.replace("h5_", "").replace("/train/", "/").replace("/val/", "/"): truth
        for truth in truths
    }
    found = [
        (motions[episode_id], truth)
        for episode_id, locator in rows
        for key, truth in keys.items()
        if locator.endswith(key)
    ]
    assert len(found) == len(motions) == len(truths) > 0
    return found


def turned_rad(found, wanted):
    return (Rotation.from_quat(found).inv() * Rotation.from_quat(wanted)).magnitude().max()


def test_a_pose_in_the_state(converted):
    dataset = open_dataset(converted)
    motions = every(dataset)
    rows = {row["episode_id"]: row for row in dataset.episodes.collect().to_dicts()}
    assert list(motions) == [
        row["episode_id"] for row in sorted(rows.values(), key=lambda row: row["episode_index"])
    ]
    for episode_id, motion in motions.items():
        state = dataset.episode(episode_id).state
        (arm,) = motion.arms
        assert (motion.frames, motion.fps) == (len(state), rows[episode_id]["fps"])
        assert (arm.name, arm.base_axes, arm.approach_axis) == ("right", AXES, None)
        assert arm.tool_frame == rows[episode_id]["right_tool_frame"] != "unknown"
        assert arm.joints_rad is None
        np.testing.assert_array_equal(arm.position_m, state[:, :3])
        np.testing.assert_array_equal(arm.quaternion_xyzw, state[:, 3:7])
        np.testing.assert_array_equal(arm.gripper_open, state[:, 7])
        assert motion.base is motion.torso is motion.head is None


def test_some_episodes_and_an_unknown_part(converted):
    dataset = open_dataset(converted)
    part, motions = dataset.parts[0].name, every(dataset)
    ids = list(motions)[5:1:-2]
    found = dict(episode_motions(dataset, part=part, episodes=ids))
    assert list(found) == ids[::-1]
    for episode_id in ids:
        np.testing.assert_array_equal(
            found[episode_id].arms[0].position_m, motions[episode_id].arms[0].position_m
        )
    with pytest.raises(UsageError, match="'nowhere'"):
        next(episode_motions(dataset, part="nowhere"))


def test_what_the_demo_planned_is_measured(corpus, converted):
    """Every whole pick of the demo closes, then opens; with axes it goes somewhere."""
    actions = {
        segment.action
        for motion in every(open_dataset(converted)).values()
        for segment in measure(motion).arms[0].segments
    }
    assert {"grasp", "release", "lift"} <= actions


def test_joints_in_the_state_and_a_pose_beside_them(tmp_path):
    truths, dataset = converted_source(tmp_path, robocoin, "robocoin", videos=False)
    for motion, truth in matched(dataset, truths):
        assert [arm.name for arm in motion.arms] == ["right", "left"]
        for arm in motion.arms:
            wanted = truth.arms[arm.name]
            assert (arm.base_axes, arm.tool_frame) == (AXES, "vendor")
            np.testing.assert_allclose(arm.position_m, wanted.position_m, atol=1e-5)
            assert turned_rad(arm.quaternion_xyzw, wanted.quaternion_xyzw) < 1e-3
            np.testing.assert_allclose(arm.joints_rad, wanted.joint_position, atol=1e-5)
            np.testing.assert_allclose(arm.gripper_open, wanted.gripper_open, atol=1e-5)


def test_a_recorded_pose_goes_before_the_models(tmp_path):
    knobs = {"embodiments": ("franka_1rgb",), "annotations": False, "depth": False}
    truths, dataset = converted_source(tmp_path, robomind_v1, "robomind_v1", **knobs)
    for motion, truth in matched(dataset, truths):
        (arm,) = motion.arms
        assert (arm.tool_frame, arm.base_axes) == ("flange", None)
        np.testing.assert_allclose(arm.position_m, truth.arms["right"].position_m, atol=1e-5)


def ur5e_flange(joints):
    """Flange of a UR5e: the maker's table, multiplied out matrix by matrix."""
    d = (0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996)
    a = (0.0, -0.425, -0.3922, 0.0, 0.0, 0.0)
    alpha = (pi / 2, 0.0, 0.0, pi / 2, -pi / 2, 0.0)
    pose = np.eye(4)
    for q, dk, ak, tk in zip(joints, d, a, alpha, strict=True):
        c, s, ct, st = cos(q), sin(q), cos(tk), sin(tk)
        pose = pose @ np.array(
            [
                [c, -s * ct, s * st, ak * c],
                [s, c * ct, -c * st, ak * s],
                [0, st, ct, dk],
                [0, 0, 0, 1],
            ]
        )
    return pose


def test_joints_alone_with_a_model_give_its_flange(tmp_path):
    more = 'tool_frame = "unknown"\nmodel = "ur5e"\napproach_axis = "-x"\n' + PLAIN
    path = edited("rdt", tmp_path, ('tool_frame = "unknown"', more, 1))  # the right arm only
    truths, dataset = converted_source(tmp_path, rdt, path)
    for motion, truth in matched(dataset, truths):
        right, left = motion.arms
        wanted = [ur5e_flange(q) for q in truth.arms["right"].joint_position]
        np.testing.assert_allclose(right.position_m, [w[:3, 3] for w in wanted], atol=1e-5)
        turns = Rotation.from_matrix([w[:3, :3] for w in wanted]).as_quat()
        assert turned_rad(right.quaternion_xyzw, turns) < 1e-4
        # what is declared of the recorded pose's frame is not said of the model's flange
        assert (right.tool_frame, right.approach_axis) == ("flange", None)
        assert right.base_axes == AXES
        assert left.position_m is left.quaternion_xyzw is left.base_axes is None
        np.testing.assert_allclose(left.joints_rad, truth.arms["left"].joint_position, atol=1e-5)


def test_joints_alone_tell_no_direction(tmp_path):
    _, dataset = converted_source(tmp_path, rdt, "rdt")
    for motion in every(dataset).values():
        measured = measure(motion)
        said = {"slot": "translation_direction", "value": "left", "actor": "right"}
        assert judge(said, measured).verdict == "untestable"
        assert all(arm.position_m is None for arm in motion.arms)
        assert all(arm.active for arm in measured.arms)


def test_a_model_of_other_joints_gives_nothing(tmp_path):
    path = edited("rdt", tmp_path, ('"unknown"', '"unknown"\nmodel = "franka_panda"', 1))
    _, dataset = converted_source(tmp_path, rdt, path)
    assert all(motion.arms[0].position_m is None for motion in every(dataset).values())


def stuck(folder, joint_range_rad):
    """RoboMIND with a pose that stands still while the joints move by so much, or rest."""
    import h5py

    for path in folder.rglob("trajectory.hdf5"):
        with h5py.File(path, "r+") as file:
            pose, joints = file["puppet/end_effector"], file["puppet/joint_position"]
            pose[...] = pose[0]
            ramp = np.linspace(0, joint_range_rad, len(joints))[:, None] * np.eye(8)[1]
            joints[...] = joints[0] + ramp


@pytest.mark.parametrize(
    ("joint_range_rad", "model", "moves"),
    [(0.6, True, True), (0.6, False, None), (0.0, False, False)],
)
def test_a_pose_that_hangs_is_not_believed(tmp_path, joint_range_rad, model, moves):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    robomind_v1.write(
        source, episodes=1, embodiments=("franka_1rgb",), annotations=False, depth=False
    )
    stuck(source, joint_range_rad)
    edits = () if model else (('model = "franka_panda"\n', "", -1),)
    convert(edited("robomind_v1", tmp_path, *edits), input=source, out=out)
    (motion,) = every(open_dataset(out)).values()
    (arm,) = motion.arms
    assert arm.joints_rad is not None
    if moves is None:
        assert arm.position_m is arm.quaternion_xyzw is None
    else:
        assert (np.ptp(arm.position_m, axis=0).max() > 0.05) == moves


def test_undeclared_numbers_are_untestable(tmp_path):
    _, dataset = converted_source(tmp_path, generic_lerobot, "lerobot")
    assert every(dataset) == {}
    ids = dataset.episodes.collect()["episode_id"].to_list()
    assert list(motions_in_order(dataset, ids)) == [(one, None) for one in ids]
    row = {"slot": "translation_direction", "value": "left", "kinematic_verdict": "untestable"}
    assert judged_facts([row], None) == ([row], ())
    (variant,) = set(dataset.episodes.collect()["variant"])
    assert dict(arm_conventions(dataset, source="lerobot", variant=variant)) == {}
    assert dict(arm_conventions(dataset, source="nobody", variant=variant)) == {}


def bridge_with(corpus, tmp_path, *edits, choices=()):
    out = tmp_path / "out"
    path = edited("bridge_v2", tmp_path, *edits)
    convert(path, input=corpus.folder, out=out, options=ConvertOptions(choices=choices))
    return open_dataset(out)


@pytest.mark.parametrize("ours", [True, False])
def test_forms_that_disagree_are_told_apart_by_the_recorded_one(corpus, tmp_path, ours):
    """The demo's form is the first of three: what the others declare is not said of it."""
    told = f'{TURNED}\napproach_axis = "-z"'
    rest = () if ours else ((PLAIN, told, -1), (told, PLAIN, 1))
    dataset = bridge_with(corpus, tmp_path, *(rest or ((PLAIN, told, 1),)))
    assert set(dataset.episodes.collect()["variant"]) == {FORM}
    axes = BaseAxes(forward="+y", left="-x", up="+z") if ours else AXES
    for motion in every(dataset).values():
        (arm,) = motion.arms
        assert (arm.base_axes, arm.approach_axis) == (axes, "-z" if ours else None)


def test_converter_files_that_disagree_about_a_form_leave_its_axes_unknown(corpus, tmp_path):
    """As in a dataset merged of two conversions: which of the files it was is not recorded."""
    dataset = bridge_with(corpus, tmp_path)
    (entry,) = dataset.info.sources
    turned = msgspec.structs.replace(entry, converter=entry.converter.replace(PLAIN, TURNED))
    info = msgspec.structs.replace(dataset.info, sources=[entry, turned])
    for motion in every(replace(dataset, info=info)).values():
        assert motion.arms[0].base_axes is None
        said = {"slot": "translation_direction", "value": "left"}
        assert judge(said, measure(motion)).verdict == "untestable"


def test_conventions_are_those_of_the_source_and_the_form(converted):
    dataset = open_dataset(converted)
    own = {"source": "bridge_v2", "variant": FORM}
    assert set(arm_conventions(dataset, **own)) == {"right"}
    for other in ({"source": "rt_1"}, {"variant": "another"}):
        assert dict(arm_conventions(dataset, **{**own, **other})) == {}


def test_forms_that_agree_are_taken_at_their_word(corpus, tmp_path):
    turned = (PLAIN, TURNED + '\napproach_axis = "-z"', -1)
    for motion in every(bridge_with(corpus, tmp_path, turned)).values():
        (arm,) = motion.arms
        assert arm.base_axes == BaseAxes(forward="+y", left="-x", up="+z")
        assert arm.approach_axis == "-z"


@pytest.mark.parametrize("choices", [(), (("approach", "-x"),)])
def test_conventions_that_the_user_chose(corpus, tmp_path, choices):
    option = '[options.approach]\ndefault = "+x"\nchoices = ["+x", "-x"]\nwhy = "made"\n\n[gate]'
    more = PLAIN + '\napproach_axis = "option:approach"'
    edits = (("[gate]", option, 1), (PLAIN, more, -1))
    dataset = bridge_with(corpus, tmp_path, *edits, choices=choices)
    for motion in every(dataset).values():
        assert motion.arms[0].approach_axis == dict(choices).get("approach", "+x")
