from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from finedata.errors import ConformError, FeatureError, UsageError
from finedata.store.dataset import open_dataset
from finedata.store.motion import tracks as module
from finedata.store.motion.tracks import (
    arm_columns,
    joint_track,
    pose_track,
    read_tracks,
    scan_tracks,
)

POSE = ("x", "y", "z", "qx", "qy", "qz", "qw", "gripper")


def same(found, dataset):
    for k, episode_id in enumerate(found.episode_ids):
        episode = dataset.episode(episode_id)
        rows = slice(*found.offsets[k : k + 2])
        np.testing.assert_array_equal(found.state[rows], episode.state)
        np.testing.assert_array_equal(found.action[rows], episode.action)


def test_whole_part(converted: Path):
    dataset = open_dataset(converted)
    (part,) = dataset.parts
    found = read_tracks(dataset, part=part.name)
    table = dataset.episodes.sort("episode_index").select("episode_id", "length").collect()
    assert found.episode_ids == table["episode_id"].to_list()
    assert np.diff(found.offsets).tolist() == table["length"].to_list()
    assert (found.space, found.arms) == ("ee", ("right",))
    assert found.names == found.action_names == tuple(f"right_{name}" for name in POSE)
    assert found.state.dtype == found.action.dtype == np.float32
    assert found.source_time_s is None
    same(found, dataset)


@pytest.mark.parametrize("batch_rows", [1, 7, 65_536])
@pytest.mark.parametrize("frames", [1, 50, 10**9])
def test_batches_are_whole_episodes(converted: Path, monkeypatch, frames, batch_rows):
    monkeypatch.setattr(module, "BATCH_ROWS", batch_rows)
    dataset = open_dataset(converted)
    part = dataset.parts[0].name
    batches = list(scan_tracks(dataset, part=part, frames=frames))
    whole = read_tracks(dataset, part=part)
    assert [k for batch in batches for k in batch.episode_ids] == whole.episode_ids
    np.testing.assert_array_equal(np.concatenate([b.state for b in batches]), whole.state)
    assert all(batch.offsets[-1] == len(batch.action) for batch in batches)
    assert len(batches) == 1 if frames == 10**9 else len(batches) > 1
    same(whole, dataset)


def test_some_episodes(converted: Path):
    dataset = open_dataset(converted)
    part = dataset.parts[0].name
    every = read_tracks(dataset, part=part).episode_ids
    found = read_tracks(dataset, part=part, episodes={every[7], every[2], every[3]})
    assert found.episode_ids == [every[2], every[3], every[7]]
    same(found, dataset)
    none = read_tracks(dataset, part=part, episodes=[])
    assert (none.state.shape, none.offsets.tolist()) == ((0, 8), [0])


def test_refusals(converted: Path):
    dataset = open_dataset(converted)
    with pytest.raises(UsageError, match="'nowhere'"):
        read_tracks(dataset, part="nowhere")
    with pytest.raises(UsageError, match="'nobody'"):
        read_tracks(dataset, part=dataset.parts[0].name, episodes=["nobody"])


def rewritten(dataset, change):
    """The first data file without pictures, changed."""
    path = sorted((dataset.root / dataset.parts[0].path).glob("data/*/*.parquet"))[0]
    table = pq.ParquetFile(path).read(
        columns=["episode_index", "frame_index", "observation.state", "action"]
    )
    pq.write_table(change(table), path)


@pytest.fixture
def copied(converted: Path, tmp_path: Path):
    import shutil

    shutil.copytree(converted, tmp_path / "copy")
    return open_dataset(tmp_path / "copy")


def test_rows_missing(copied):
    rewritten(copied, lambda table: table.slice(0, len(table) - 3))
    with pytest.raises(ConformError, match="episode_index 17"):
        read_tracks(copied, part=copied.parts[0].name)


def test_rows_of_another_episode(copied):
    def swap(table):
        frame = pl.from_arrow(table)
        return frame.with_columns(
            episode_index=pl.when(pl.col("episode_index") == 3)
            .then(2)
            .otherwise(pl.col("episode_index"))
        ).to_arrow()

    rewritten(copied, swap)
    with pytest.raises(ConformError, match="side by side"):
        read_tracks(copied, part=copied.parts[0].name)


def test_not_finite_is_passed_on(copied):
    def broken(table):
        values = table["action"].combine_chunks().flatten().to_numpy().copy()
        values[5] = np.nan
        values[9] = np.inf
        import pyarrow as pa

        column = pa.FixedSizeListArray.from_arrays(pa.array(values), 8)
        return table.set_column(table.schema.get_field_index("action"), "action", column)

    rewritten(copied, broken)
    found = read_tracks(copied, part=copied.parts[0].name)
    assert np.isnan(found.action[0, 5])
    assert np.isinf(found.action[1, 1])


def test_file_missing(copied):
    path = sorted((copied.root / copied.parts[0].path).glob("data/*/*.parquet"))[0]
    path.unlink()
    with pytest.raises(ConformError):
        read_tracks(copied, part=copied.parts[0].name)


def test_arms():
    both = [f"{arm}_{name}" for arm in ("right", "left") for name in POSE]
    found = arm_columns(both)
    assert list(found) == ["right", "left"]
    assert found["left"].position == slice(8, 11)
    assert found["left"].quaternion == slice(11, 15)
    assert (found["left"].gripper, found["left"].joints) == (15, None)
    hands = [f"left_joint_{k}" for k in range(7)] + [f"left_hand_{k}" for k in range(6)]
    found = arm_columns(hands)
    assert list(found) == ["left"]
    assert (found["left"].joints, found["left"].gripper) == (slice(0, 13), None)
    assert arm_columns(["motor_0", "motor_1", "right_shoulder"]) == {}
    with pytest.raises(FeatureError, match="side by side"):
        arm_columns(["right_joint_0", "right_gripper", "right_joint_1"])


def test_tracks_of_an_arm():
    values = np.arange(32, dtype=np.float32).reshape(2, 16)
    both = arm_columns([f"{arm}_{name}" for arm in ("right", "left") for name in POSE])
    np.testing.assert_array_equal(pose_track(values, both["left"]), values[:, 8:])
    joints = arm_columns([f"right_joint_{k}" for k in range(3)] + ["right_gripper"])["right"]
    np.testing.assert_array_equal(joint_track(values, joints), values[:, :4])
    hand = arm_columns([f"right_hand_{k}" for k in range(16)])["right"]
    assert joint_track(values, hand)[:, -1].tolist() == [0, 0]
    with pytest.raises(FeatureError):
        joint_track(values, both["left"])
    with pytest.raises(FeatureError):
        pose_track(values, joints)


def test_undeclared_names(real_data: Path, tmp_path: Path):
    from finedata.convert.run import convert

    convert("lerobot", input=real_data / "gr00t_lerobot_v20", out=tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    found = read_tracks(dataset, part=dataset.parts[0].name)
    assert (found.space, found.arms, found.names[0]) == ("undeclared", (), "motor_0")
    assert found.state.shape == (2096, 44)
    assert found.source_time_s is not None
    assert found.source_time_s.shape == (2096,)
    same(found, dataset)
