"""The vector of 80 numbers against one put together by hand, and its arithmetic against scipy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from store.export.independent import lines

from finedata.errors import FeatureError
from finedata.store.dataset import Dataset
from finedata.store.export.run import export_dataset
from finedata.store.export.unified80 import (
    SLOTS,
    UNIFIED_DIM,
    delta_joints,
    delta_pose,
    relative_joints,
    relative_pose,
    unify,
)
from finedata.store.lerobot.layout import Feature

POSE = ["x", "y", "z", "qx", "qy", "qz", "qw"]


def test_slots_tile_the_vector() -> None:
    edges = [edge for slot in SLOTS.values() for edge in slot]
    assert edges == [0, 7, 7, 16, 16, 17, 17, 29, 29, 36, 36, 45, 45, 46, 46, 58, 58, 80]


def test_one_arm_lands_on_the_right(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_dataset(dataset, out=out, format="unified80")
    folder = out / "unified_output"
    meta = json.loads((folder / "unified_meta.json").read_text())
    assert meta["unified_dim"] == 80
    assert meta["target_types"]["eef_action"] == "abs_quat"
    assert meta["slot_layout"]["right_eef"] == {"start": 36, "end": 45, "dim": 9}
    files = lines(folder / "episodes.jsonl")
    assert len(files) == dataset.episodes.collect().height
    for line in files:
        episode = dataset.episode(line["episode_id"])
        rows = pq.read_table(folder / line["file"])
        assert rows.schema.names == [
            "frame_index",
            "state_unified",
            "action_unified",
            "mask_state",
            "mask_action",
        ]
        assert rows.schema.field("state_unified").type == pa.list_(pa.float32())
        assert rows.schema.field("mask_action").type == pa.list_(pa.bool_())
        assert rows["frame_index"].to_pylist() == list(range(len(episode)))
        for side, packed in (("state", episode.state), ("action", episode.action)):
            wanted = np.zeros((len(episode), 80), np.float32)
            wanted[:, 36:43] = np.nan_to_num(packed[:, :7], posinf=0, neginf=0)
            wanted[:, 45] = np.nan_to_num(packed[:, 7], posinf=0, neginf=0)
            mask = np.zeros((len(episode), 80), bool)
            mask[:, 36:43] = np.isfinite(packed[:, :7])
            mask[:, 45] = np.isfinite(packed[:, 7])
            if side == "action":
                mask[~episode.columns["action_valid"]] = False
            np.testing.assert_array_equal(rows[f"{side}_unified"].to_pylist(), wanted)
            np.testing.assert_array_equal(rows[f"mask_{side}"].to_pylist(), mask)


def numbers(width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(4, width)).astype(np.float32)


def test_two_arms_of_joints_with_poses_hands_and_gaps() -> None:
    joints = [f"left_joint_{i}" for i in range(6)] + ["left_gripper"]
    joints += [f"right_joint_{i}" for i in range(7)]
    pose = [f"left_{axis}" for axis in POSE]
    hand = [f"right_hand_{i}" for i in range(12)]
    features = {
        # Before the packed vector on purpose: its gripper must lose.
        "action.ee_pose": Feature("float32", (8,), ("left_gripper", *pose)),
        "observation.state": Feature("float32", (14,), tuple(joints)),
        "action": Feature("float32", (14,), tuple(joints)),
        "observation.hand": Feature("float32", (12,), tuple(hand)),
        "observation.torso_joint_position": Feature("float32", (2,), ("torso_0", "torso_1")),
    }
    columns = {name: numbers(f.shape[0], seed) for seed, (name, f) in enumerate(features.items())}
    columns["frame_index"] = np.arange(4)
    columns["action_valid"] = np.array([True, True, True, False])
    columns["observation.state"][1, 2] = np.nan

    found = unify(columns, features=features)

    state = np.zeros((4, 80), np.float32)
    state[:, 0:6] = columns["observation.state"][:, 0:6]
    state[:, 16] = columns["observation.state"][:, 6]
    state[:, 29:36] = columns["observation.state"][:, 7:]
    state[:, 46:58] = columns["observation.hand"]
    state[1, 2] = 0
    np.testing.assert_array_equal(found.state, state)
    mask = np.zeros((4, 80), bool)
    for first, last in ((0, 6), (16, 17), (29, 36), (46, 58)):
        mask[:, first:last] = True
    mask[1, 2] = False
    np.testing.assert_array_equal(found.mask_state, mask)
    action = np.zeros((4, 80), np.float32)
    action[:, 0:6] = columns["action"][:, 0:6]
    action[:, 7:14] = columns["action.ee_pose"][:, 1:]
    action[:, 16] = columns["action"][:, 6]
    action[:, 29:36] = columns["action"][:, 7:]
    np.testing.assert_array_equal(found.action, action)
    assert not found.mask_action[3].any()
    assert found.mask_action[:3, [0, 5, 7, 13, 16, 29, 35]].all()
    assert found.mask_action[0].sum() == 6 + 7 + 1 + 7
    assert found.state.dtype == np.float32
    assert found.state.shape[1] == UNIFIED_DIM
    assert not [name for name in found.used if "torso" in name]


def test_an_eighth_joint_is_refused() -> None:
    names = tuple(f"right_joint_{i}" for i in range(8))
    features = {"observation.state": Feature("float32", (8,), names)}
    columns = {"observation.state": numbers(8, 0), "frame_index": np.arange(4)}
    with pytest.raises(FeatureError, match="8 numbers for right_joint"):
        unify(columns, features=features)


def test_undeclared_vectors_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    import shutil

    from finedata.errors import UsageError
    from finedata.store.dataset import open_dataset

    root = tmp_path / "undeclared"
    shutil.copytree(dataset.root, root)
    info = root / "meta" / "info.json"
    info.write_text(info.read_text().replace('"right_', '"motor_'))
    with pytest.raises(UsageError, match="no number whose meaning is declared"):
        export_dataset(open_dataset(root), out=tmp_path / "out", format="unified80")
    assert not (tmp_path / "out").exists()


@st.composite
def trajectories(draw: st.DrawFn) -> np.ndarray:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    turns = Rotation.random(5, random_state=rng).as_quat()
    return np.concatenate([rng.normal(size=(5, 3)), turns], axis=1)


@given(trajectories(), trajectories())
def test_deltas_and_relatives_are_scipys(target: np.ndarray, state: np.ndarray) -> None:
    turn_a, turn_s = Rotation.from_quat(target[:, 3:]), Rotation.from_quat(state[:, 3:])
    delta = delta_pose(target, state_pose=state)
    np.testing.assert_allclose(delta[:, :3], target[:, :3] - state[:, :3], atol=1e-12)
    wanted = turn_a * turn_s.inv()
    assert (Rotation.from_quat(delta[:, 3:]) * wanted.inv()).magnitude().max() < 1e-7
    relative = relative_pose(target, state_pose=state)
    back = turn_s[0].inv()
    np.testing.assert_allclose(
        relative[:, :3], back.apply(target[:, :3] - state[0, :3]), atol=1e-12
    )
    wanted = back * turn_a
    assert (Rotation.from_quat(relative[:, 3:]) * wanted.inv()).magnitude().max() < 1e-7


def test_joints_are_subtracted() -> None:
    target, state = numbers(3, 1), numbers(3, 2)
    np.testing.assert_allclose(delta_joints(target, state_rad=state), target - state, atol=1e-6)
    np.testing.assert_allclose(
        relative_joints(target, state_rad=state), target - state[0], atol=1e-6
    )
    with pytest.raises(FeatureError, match="7"):
        delta_pose(target, state_pose=state)
