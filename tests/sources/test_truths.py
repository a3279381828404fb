"""The truths themselves: consistent, and far from what a wrong reading of the same bytes gives.

A fixture on which the wrong convention is right too proves nothing. So for each source the slips
that converters have made are made here on purpose, and must miss the truth by a wide margin.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sources import bc_z, bridge, droid, galaxea_rlds, rt1
from sources.truth import SourceTruth

from finedata.readers.rlds.source import open_rlds

WRITERS = {
    "bc_z": bc_z.write,
    "rt1": rt1.write,
    "droid": droid.write,
    "bridge": bridge.write,
    "bridge-oxe": bridge.write_oxe,
    "galaxea": galaxea_rlds.write,
}
FPS = {"bc_z": 10, "rt1": 3, "droid": 15, "bridge": 5, "bridge-oxe": 5, "galaxea": 15}
# A wrong reading must miss by this much at least, where conversion is right to 1e-4 rad.
FAR_RAD = 0.01


def written(write: Any, folder: Path, **knobs: Any) -> list[tuple[SourceTruth, Any]]:
    """Truth and record of each episode; all knobs as the writer has them."""
    truths = write(folder, **knobs)
    source = open_rlds(folder)
    found = [episode for shard in range(len(source.shards)) for _, episode in source.scan(shard)]
    return list(zip(truths, found, strict=True))


def exact(episode: Any, name: str) -> np.ndarray:
    return episode.numbers(name).astype(np.float64)


def apart(rotation: Rotation, quaternion_xyzw: np.ndarray) -> float:
    """The largest angle between what was read and the truth, in radians."""
    return float((rotation * Rotation.from_quat(quaternion_xyzw).inv()).magnitude().max())


@pytest.mark.parametrize("name", WRITERS)
def test_truths_are_consistent(name: str, tmp_path: Path) -> None:
    for truth in WRITERS[name](tmp_path):
        assert truth.fps == FPS[name]
        assert 12 <= truth.length <= 40
        for arm in truth.arms.values():
            given = {key: value for key, value in vars(arm).items() if value is not None}
            assert given
            for key, value in given.items():
                assert value.dtype == np.float64, key
                assert len(value) == truth.length, key
                assert np.isfinite(value).all(), key
                # Moves, or a frozen column would hide a swapped one.
                assert np.ptp(value, axis=0).max() > 0.02 or "gripper" in key, key
                if "quaternion" in key:
                    norm = np.linalg.norm(value, axis=1)
                    np.testing.assert_allclose(norm, 1.0, atol=1e-12)
            assert {key.removeprefix("target_") for key in given if "target" in key} == {
                key for key in given if "target" not in key
            }
        for step, following in zip(truth.steps, truth.steps[1:], strict=False):
            assert step.end_frame == following.start_frame
        if truth.steps:
            assert (truth.steps[0].start_frame, truth.steps[-1].end_frame) == (0, truth.length)
        for vector in truth.vectors.values():
            assert len(vector) == truth.length


@pytest.mark.parametrize("name", WRITERS)
def test_targets_lead_the_arm(name: str, tmp_path: Path) -> None:
    """On average the target is nearer to where the arm goes than to where it was."""
    for truth in WRITERS[name](tmp_path):
        for arm in truth.arms.values():
            there = arm.joint_position if arm.position_m is None else arm.position_m
            target = arm.target_joint_position if arm.position_m is None else arm.target_position_m
            assert there is not None
            assert target is not None
            ahead = np.abs(target[1:-1] - there[2:]).mean()
            behind = np.abs(target[1:-1] - there[:-2]).mean()
            assert ahead < 0.8 * behind


OBSERVED = "steps/observation/"
# By source: position, opening, target position and target opening as the stored numbers say.
PLAIN: dict[str, Callable[[Callable[[str], np.ndarray]], tuple[np.ndarray, ...]]] = {
    "bc_z": lambda get: (
        get(OBSERVED + "present/xyz"),
        1.25 * (1 - get(OBSERVED + "present/sensed_close")[:, 0]),
        get(OBSERVED + "present/xyz") + get("steps/action/future/xyz_residual")[:, :3],
        np.where(get("steps/action/future/target_close")[:, 0] == 1, 0.0, 1.0),
    ),
    "rt1": lambda get: (
        get(OBSERVED + "base_pose_tool_reached")[:, :3],
        1 - get(OBSERVED + "gripper_closed")[:, 0],
        get(OBSERVED + "base_pose_tool_reached")[:, :3] + get("steps/action/world_vector"),
        held(get("steps/action/gripper_closedness_action")[:, 0].tolist()),
    ),
    "droid": lambda get: (
        get(OBSERVED + "cartesian_position")[:, :3],
        1 - get(OBSERVED + "gripper_position")[:, 0],
        get("steps/action_dict/cartesian_position")[:, :3],
        1 - get("steps/action_dict/gripper_position")[:, 0],
    ),
    "bridge": lambda get: (
        get(OBSERVED + "state")[:, :3],
        get(OBSERVED + "state")[:, 6],
        get(OBSERVED + "state")[0, :3] + get("steps/action")[:, :3].cumsum(0),
        get("steps/action")[:, 6],
    ),
    "bridge-oxe": lambda get: (
        get(OBSERVED + "state")[:, :3],
        get(OBSERVED + "state")[:, 6],
        get(OBSERVED + "state")[0, :3] + get("steps/action/world_vector").cumsum(0),
        np.where(get("steps/action/open_gripper") == 1, 1.0, 0.0),
    ),
}


def held(commands: list[float]) -> np.ndarray:
    """What RT-1's commands lead to: +1 closes, -1 opens, the first one changed something."""
    signs = [np.sign(command) for command in commands if abs(command) > 0.1]
    opening, result = (0.0 if signs[:1] == [-1.0] else 1.0), []
    for command in commands:
        if abs(command) > 0.1:
            opening = 0.0 if command > 0 else 1.0
        result.append(opening)
    return np.array(result)


@pytest.mark.parametrize("name", PLAIN)
def test_positions_and_grippers(name: str, tmp_path: Path) -> None:
    for truth, episode in written(WRITERS[name], tmp_path):
        arm = truth.arms["right"]
        wanted = PLAIN[name](lambda feature, episode=episode: exact(episode, feature))
        found = (
            arm.position_m,
            arm.gripper_open,
            arm.target_position_m,
            arm.target_gripper_open,
        )
        for have, want in zip(found, wanted, strict=True):
            assert have is not None
            np.testing.assert_allclose(have, want, atol=1e-9)
        # Every fixture begins open and closes: which end is which shows.
        assert arm.gripper_open is not None
        assert arm.gripper_open[0] > 0.7
        assert arm.gripper_open[-1] < 0.55


def test_bc_z_rotation_vectors_are_added_not_composed(tmp_path: Path) -> None:
    for truth, episode in written(bc_z.write, tmp_path):
        arm = truth.arms["right"]
        there = exact(episode, "steps/observation/present/axis_angle")
        residual = exact(episode, "steps/action/future/axis_angle_residual").reshape(-1, 10, 3)
        first = Rotation.from_rotvec(residual[:, 0])
        measured = Rotation.from_rotvec(there)
        truth_q = arm.target_quaternion_xyzw
        assert truth_q is not None
        assert apart(Rotation.from_rotvec(there + residual[:, 0]), truth_q) < 1e-9
        assert apart(first * measured, truth_q) > FAR_RAD
        assert apart(measured * first, truth_q) > FAR_RAD
        assert apart(Rotation.from_rotvec(there + residual.sum(1)), truth_q) > FAR_RAD
        # Waypoints lie one after the other; read axis first, the first is another.
        mixed = exact(episode, "steps/action/future/axis_angle_residual").reshape(-1, 3, 10)
        assert apart(Rotation.from_rotvec(there + mixed[:, :, 0]), truth_q) > FAR_RAD
        euler = Rotation.from_euler("xyz", there)
        assert arm.quaternion_xyzw is not None
        assert apart(euler, arm.quaternion_xyzw) > FAR_RAD


def test_bc_z_flips_near_pi(tmp_path: Path) -> None:
    pairs = written(bc_z.write, tmp_path, near_pi=True)
    jumps = 0
    for truth, episode in pairs:
        there = exact(episode, "steps/observation/present/axis_angle")
        jumps += int((np.linalg.norm(np.diff(there, axis=0), axis=1) > 3).sum())
        turned = Rotation.from_quat(truth.arms["right"].quaternion_xyzw)
        assert (turned[1:] * turned[:-1].inv()).magnitude().max() < 0.7
    assert jumps > 0


@pytest.mark.parametrize("kind", ["rpy", "rotvec"])
def test_rt1_composes_on_the_left_of_the_measured_pose(kind: str, tmp_path: Path) -> None:
    for truth, episode in written(rt1.write, tmp_path, rotation=kind):
        arm = truth.arms["right"]
        pose = exact(episode, "steps/observation/base_pose_tool_reached")
        numbers = exact(episode, "steps/action/rotation_delta")
        rpy, rotvec = Rotation.from_euler("xyz", numbers), Rotation.from_rotvec(numbers)
        right, wrong = (rpy, rotvec) if kind == "rpy" else (rotvec, rpy)
        measured = Rotation.from_quat(pose[:, 3:])
        assert arm.quaternion_xyzw is not None
        assert arm.target_quaternion_xyzw is not None
        assert apart(right * measured, arm.target_quaternion_xyzw) < 1e-6
        assert apart(measured * right, arm.target_quaternion_xyzw) > FAR_RAD
        assert apart(wrong * measured, arm.target_quaternion_xyzw) > FAR_RAD
        assert apart(Rotation.from_quat(pose[:, [4, 5, 6, 3]]), arm.quaternion_xyzw) > FAR_RAD
        action = [exact(episode, f"steps/action/{key}") for key in ("world_vector",)]
        assert not any(values[-1].any() for values in [*action, numbers])
        assert arm.target_position_m is not None
        np.testing.assert_array_equal(arm.target_position_m[-1], pose[-1, :3])


def test_rt1_knobs(tmp_path: Path) -> None:
    pairs = written(rt1.write, tmp_path, two_steps=True, outlier=True)
    assert [truth.length for truth, _ in pairs] == [14, 17, 20, 2]
    step = exact(pairs[0][1], "steps/action/world_vector")
    assert np.abs(step).max() == pytest.approx(22.09, abs=1e-5)
    terminate = pairs[3][1].numbers("steps/action/terminate_episode")
    assert terminate.tolist() == [[1, 0, 0], [0, 0, 0]]
    assert [truth.success for truth, _ in pairs] == [True, False, None, True]
    grippers = [truth.arms["right"].target_gripper_open for truth, _ in pairs]
    assert [(g[0], g[-1], len(set(g.tolist()))) for g in grippers if g is not None] == [
        (1.0, 1.0, 2),
        (0.0, 0.0, 2),
        (1.0, 1.0, 1),
        (1.0, 1.0, 1),
    ]


def test_droid_wraps_and_reads_extrinsic(tmp_path: Path) -> None:
    for truth, episode in written(droid.write, tmp_path):
        arm = truth.arms["right"]
        numbers = exact(episode, "steps/observation/cartesian_position")
        assert np.abs(np.diff(numbers[:, 3])).max() > 6
        assert arm.quaternion_xyzw is not None
        assert apart(Rotation.from_euler("xyz", numbers[:, 3:]), arm.quaternion_xyzw) < 1e-9
        assert apart(Rotation.from_euler("XYZ", numbers[:, 3:]), arm.quaternion_xyzw) > FAR_RAD
        assert apart(Rotation.from_rotvec(numbers[:, 3:]), arm.quaternion_xyzw) > FAR_RAD
        # What lies beside it: the joints' forward kinematics, and `action` packed from the two.
        target = exact(episode, "steps/action_dict/cartesian_position")[:, 3:]
        assert arm.target_quaternion_xyzw is not None
        assert apart(Rotation.from_euler("xyz", target), arm.target_quaternion_xyzw) < 1e-9
        commanded = Rotation.from_quat(arm.target_quaternion_xyzw)
        behind = (commanded * Rotation.from_quat(arm.quaternion_xyzw).inv()).magnitude()
        assert 0.001 < behind.max() < 0.2
        position, rotation = droid.flange_pose(exact(episode, "steps/observation/joint_position"))
        np.testing.assert_allclose(position, arm.position_m, atol=1e-6)
        assert apart(rotation, arm.quaternion_xyzw) < 1e-5
        np.testing.assert_array_equal(
            episode.numbers("steps/action"),
            np.hstack(
                [
                    episode.numbers("steps/action_dict/cartesian_position"),
                    episode.numbers("steps/action_dict/gripper_position"),
                ]
            ),
        )
        velocity = exact(episode, "steps/action_dict/cartesian_velocity")
        assert np.linalg.norm(velocity[:, :3], axis=1).max() <= 1 + 1e-6
        assert arm.gripper_open is not None
        assert arm.gripper_open[0] > 0.5 > arm.gripper_open[-1]


def test_droid_kinematics_are_the_real_ones() -> None:
    """Two published rows of the same robot, at its flange."""
    folder = os.environ.get("FINEDATA_REAL_DATA")
    if not folder:
        pytest.skip("FINEDATA_REAL_DATA is not set")
    rows = json.loads(Path(folder, "robomind_published_rows", "rows.json").read_text())["v1"]
    rows = [row for row in rows if "franka" in row["robot"]]
    assert rows
    for row in rows:
        joints = np.array([row["puppet_joint_position"][:7]])
        position, rotation = droid.flange_pose(joints)
        pose = np.array(row["puppet_end_effector"])
        np.testing.assert_allclose(position[0], pose[:3], atol=1e-6)
        assert apart(rotation, Rotation.from_euler("xyz", pose[None, 3:]).as_quat()) < 1e-6


@pytest.mark.parametrize("form", ["bridge", "bridge-oxe"])
def test_bridge_integrates_on_the_left_of_the_previous_target(form: str, tmp_path: Path) -> None:
    default = Rotation.from_matrix(bridge.DEFAULT_ROTATION)
    for truth, episode in written(WRITERS[form], tmp_path):
        arm = truth.arms["right"]
        state = exact(episode, "steps/observation/state")
        if form == "bridge":
            step = exact(episode, "steps/action")[:, 3:6]
        else:
            step = exact(episode, "steps/action/rotation_delta")
        assert np.abs(np.diff(state[:, 5])).max() > 6, "yaw wraps"
        measured = Rotation.from_euler("xyz", state[:, 3:6])
        turns = Rotation.from_euler("xyz", step)
        assert arm.quaternion_xyzw is not None
        assert arm.target_quaternion_xyzw is not None
        assert apart(measured * default, arm.quaternion_xyzw) < 1e-9
        assert apart(measured, arm.quaternion_xyzw) > 1
        # The default rotation falls out of the step from one target to the next.
        target = Rotation.from_quat(arm.target_quaternion_xyzw)
        assert (target[1:] * target[:-1].inv() * turns[1:].inv()).magnitude().max() < 1e-9
        assert apart(turns * measured * default, arm.target_quaternion_xyzw) > FAR_RAD
        wrong, targets = measured[0], []
        for turn in turns:
            wrong = wrong * turn
            targets.append((wrong * default).as_quat())
        assert apart(Rotation.from_quat(targets), arm.target_quaternion_xyzw) > FAR_RAD
        summed = state[0, 3:6] + np.cumsum(step, axis=0)
        assert (
            apart(Rotation.from_euler("xyz", summed) * default, arm.target_quaternion_xyzw)
            > FAR_RAD
        )
        # Not clipped, and the first command is the first pose.
        assert arm.gripper_open is not None
        assert arm.target_position_m is not None
        np.testing.assert_allclose(arm.target_position_m[0], state[0, :3], atol=1e-9)


def test_bridge_black_cameras(tmp_path: Path) -> None:
    for truth in bridge.write(tmp_path, real_cameras=3):
        different = {name: len(set(digests)) for name, digests in truth.cameras.items()}
        assert different["image_3"] == 1
        assert all(different[f"image_{k}"] == truth.length for k in range(3))


def test_galaxea_arms_differ_and_targets_are_positions(tmp_path: Path) -> None:
    for truth, episode in written(galaxea_rlds.write, tmp_path):
        action = exact(episode, "steps/action")
        for side, start in (("left", 0), ("right", 7)):
            arm = truth.arms[side]
            assert arm.joint_position is not None
            assert arm.target_joint_position is not None
            other = 7 - start
            assert np.abs(action[:, other : other + 6] - arm.target_joint_position).max() > 0.3
            opening = exact(episode, f"steps/observation/gripper_state_{side}")[:, 0] / 100
            assert arm.target_gripper_open is not None
            np.testing.assert_allclose(arm.gripper_open, opening, atol=1e-12)
            np.testing.assert_allclose(arm.target_gripper_open[:-2], opening[2:], atol=1e-6)
            assert opening[0] > 0.7 > 0.3 > opening[-1]
            # Position targets lie where the arm goes; that tells them from speeds.
            gap = np.abs(action[:-2, start : start + 6] - arm.joint_position[2:]).max()
            assert gap < 1e-6
        np.testing.assert_array_equal(
            exact(episode, "steps/observation/last_action")[1:], action[:-1]
        )


def test_galaxea_speeds_have_no_target(tmp_path: Path) -> None:
    truths = galaxea_rlds.write(tmp_path, arm_action="velocity")
    assert all(arm.target_joint_position is None for t in truths for arm in t.arms.values())
