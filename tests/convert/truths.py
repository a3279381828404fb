"""Holds a converted fixture against what is true of it: shared by the tests of the sources."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy.spatial.transform import Rotation
from sources.truth import ArmTruth, SourceTruth

import finedata
from finedata.store.dataset import Dataset
from finedata.store.episode import Episode

POSITION_M = 1e-6
ROTATION_RAD = 1e-4
# Joints and grippers are stored as float32.
NUMBER = 2e-6


@dataclass(frozen=True)
class Written:
    """One written episode: its receipt, its row, its numbers."""

    receipt: dict[str, object]
    row: dict[str, object]
    episode: Episode


def written_episodes(out: Path) -> list[Written]:
    """Every written episode in the order of the receipts."""
    dataset = finedata.open(out)
    receipts = dataset.receipts.filter(pl.col("status") == "written").collect().to_dicts()
    rows = {row["episode_id"]: row for row in dataset.episodes.collect().to_dicts()}
    return [
        Written(one, rows[one["episode_id"]], dataset.episode(one["episode_id"]))
        for one in receipts
    ]


def check_conversion(out: Path, truths: list[SourceTruth]) -> None:
    """Every truth is in the dataset, and nothing else is."""
    dataset = finedata.open(out)
    written = written_episodes(out)
    assert len(written) == len(truths)
    by_key = {truth.key: truth for truth in truths}
    for one in written:
        truth = by_key.pop(_key(one, list(by_key)))
        assert len(one.episode) == truth.length
        check_motion(one.episode, str(one.row["space"]), truth.arms)
        check_language(dataset, str(one.row["episode_id"]), truth)
        assert one.row["success"] == truth.success
        check_cameras(one.episode, truth)
    assert not by_key


def _key(one: Written, keys: list[str]) -> str:
    """The truth whose key ends the locator or the file's name; the longest wins."""
    places = [str(one.receipt["locator"]), str(one.receipt["source_file"])]
    number = str(one.receipt["locator"]).rsplit("#", 1)[-1]
    found = [
        key
        for key in keys
        if any(key in place for place in places)
        or (key.startswith("#") and key == f"#{number}")
        or _without_split(key) in places[0]
    ]
    assert found, (places, keys)
    return max(found, key=len)


def _without_split(key: str) -> str:
    return key.replace("h5_", "").replace("/train/", "/").replace("/val/", "/")


def check_motion(episode: Episode, space: str, arms: dict[str, ArmTruth]) -> None:
    """State and action are the truth's, in whatever column they are."""
    for name, arm in arms.items():
        for side, position, quaternion, joints, gripper in (
            (
                "observation",
                arm.position_m,
                arm.quaternion_xyzw,
                arm.joint_position,
                arm.gripper_open,
            ),
            (
                "action",
                arm.target_position_m,
                arm.target_quaternion_xyzw,
                arm.target_joint_position,
                arm.target_gripper_open,
            ),
        ):
            packed = "observation.state" if side == "observation" else "action"
            poses = packed if space == "ee" else f"{side}.ee_pose"
            turned = packed if space == "joint" else f"{side}.joint_position"
            if position is not None:
                found = columns(episode, poses, [f"{name}_{axis}" for axis in "xyz"])
                np.testing.assert_allclose(found, position, atol=POSITION_M, rtol=0)
            if quaternion is not None:
                found = columns(episode, poses, [f"{name}_q{axis}" for axis in "xyzw"])
                assert angle_rad(found, quaternion).max() < ROTATION_RAD
                assert (np.sum(found[1:] * found[:-1], axis=1) > 0).all()
            if joints is not None:
                wanted = [f"{name}_joint_{i}" for i in range(joints.shape[1])]
                found = columns(episode, turned, wanted)
                np.testing.assert_allclose(found, joints, atol=NUMBER, rtol=1e-6)
            if gripper is not None:
                found = columns(episode, packed, [f"{name}_gripper"])[:, 0]
                np.testing.assert_allclose(found, gripper, atol=NUMBER, rtol=1e-6)
        if arm.hand is not None:
            wanted = [f"{name}_hand_{i}" for i in range(arm.hand.shape[1])]
            found = columns(episode, "observation.state", wanted)
            np.testing.assert_allclose(found, arm.hand, atol=NUMBER, rtol=1e-6)
            assert f"{name}_gripper" not in episode.names["observation.state"]


def columns(episode: Episode, feature: str, names: list[str]) -> np.ndarray:
    """Columns of a feature by their names, (T, n) float64."""
    known = list(episode.names[feature])
    values = episode.columns[feature].reshape(len(episode), -1)
    return values[:, [known.index(name) for name in names]].astype(np.float64)


def angle_rad(found_xyzw: np.ndarray, wanted_xyzw: np.ndarray) -> np.ndarray:
    """Angles between rotations, by SciPy."""
    return (Rotation.from_quat(found_xyzw).inv() * Rotation.from_quat(wanted_xyzw)).magnitude()


def check_language(dataset: Dataset, episode_id: str, truth: SourceTruth) -> None:
    """Goal, alternatives and steps are the truth's."""
    rows = (
        dataset.instructions.filter(pl.col("episode_id") == episode_id)
        .sort("kind", "order", descending=[True, False])
        .collect()
        .to_dicts()
    )
    goals = [row["text"] for row in rows if row["is_primary"]]
    assert goals == ([truth.instruction] if truth.instruction else [])
    texts = {row["text"] for row in rows} | {row["text_original"] for row in rows}
    assert texts >= set(truth.alternatives)
    steps = (
        dataset.steps.filter((pl.col("episode_id") == episode_id) & (pl.col("kind") == "subtask"))
        .sort("step_index")
        .select("text", "start_frame", "end_frame")
        .collect()
        .rows()
    )
    wanted = [(step.text, step.start_frame, step.end_frame) for step in truth.steps]
    assert steps == wanted


def check_cameras(episode: Episode, truth: SourceTruth) -> None:
    """Pictures have the bytes that the source stored; videos are there for every row."""
    stored = {
        tuple(hashlib.sha256(picture).hexdigest() for picture in pictures)
        for pictures in episode.pictures.values()
    }
    pictures = {
        name: digests for name, digests in truth.cameras.items() if not isinstance(digests, str)
    }
    videos = [name for name in truth.cameras if name not in pictures]
    assert len(episode.videos) == len(videos)
    for name, digests in pictures.items():
        assert _mostly_among(digests, stored), name
    for span in episode.videos.values():
        assert span.path.is_file()
        assert span.frames == truth.length


def _mostly_among(digests: tuple[str, ...], stored: set[tuple[str, ...]]) -> bool:
    """Whether a camera's pictures are stored; raw frames became PNG and have other bytes."""
    return any(
        len(camera) == len(digests)
        and sum(a == b for a, b in zip(camera, digests, strict=True)) * 2 >= len(digests)
        for camera in stored
    )
