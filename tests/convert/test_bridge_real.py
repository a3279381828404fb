"""The known answers on 25 real BridgeData-V2 episodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from finedata.convert.run import ConvertSummary, convert
from finedata.convert.verify.run import verify
from finedata.motion import (
    Composition,
    geodesic_angle_rad,
    integrate_targets,
    to_quaternion_xyzw,
)
from finedata.readers.rlds.source import RldsEpisode, open_rlds
from finedata.readers.rlds.tfrecord import scan_records
from finedata.store.dataset import Dataset, open_dataset


@pytest.fixture(scope="module")
def summary(real_bridge: Path, tmp_path_factory: pytest.TempPathFactory) -> ConvertSummary:
    out = tmp_path_factory.mktemp("real") / "bridge"
    return convert("bridge_v2", input=real_bridge, out=out)


@pytest.fixture(scope="module")
def dataset(summary: ConvertSummary) -> Dataset:
    return open_dataset(summary.out)


@pytest.fixture(scope="module")
def raw_episodes(real_bridge: Path) -> list[RldsEpisode]:
    source = open_rlds(real_bridge)
    reader = source.folder.open(source.shards[0].file)
    episodes = [source.episode(record.payload or b"") for record in scan_records(reader)]
    reader.close()
    return episodes


def test_25_episodes_250_frames(summary: ConvertSummary, dataset: Dataset) -> None:
    assert (summary.episodes, summary.frames, summary.failed) == (25, 250, 0)
    # dataset_info.json declares a val shard as well, which is not in the folder.
    assert summary.missing_shards == ["bridge_dataset-val.tfrecord-00000-of-00001"]
    rows = dataset.sql("select count(*) as n, sum(length) as frames from episodes").to_dicts()
    assert rows == [{"n": 25, "frames": 250}]


def test_verify_passes(summary: ConvertSummary, real_bridge: Path) -> None:
    report = verify(summary.out, input=real_bridge, decode=True)
    assert report.problems == []
    assert (report.episodes, report.frames, report.pictures) == (25, 250, 1000)


def test_record_zero(dataset: Dataset, raw_episodes: list[RldsEpisode]) -> None:
    row = dataset.episodes.collect().to_dicts()[0]
    assert row["task"] == "put cup from counter or drying rack into sink"
    state = raw_episodes[0].numbers("steps/observation/state")[0]
    np.testing.assert_allclose(
        state, [0.2338, 0.1124, 0.1750, 0.1000, -0.2138, 0.2133, 1.0008], atol=6e-5
    )
    stored = dataset.episode(row["episode_id"]).state[0]
    np.testing.assert_array_equal(stored[:3], state[:3])
    assert stored[7] == state[6]


def test_first_actions_command_nothing(raw_episodes: list[RldsEpisode]) -> None:
    for episode in raw_episodes:
        assert np.abs(episode.numbers("steps/action")[0, :6]).max() < 1e-6


@pytest.mark.parametrize(
    ("composition", "degrees"),
    [("base_left", 2.38), ("tool_right", 5.85), ("component_sum", 5.81)],
)
def test_composing_on_the_left_is_right(
    raw_episodes: list[RldsEpisode], composition: Composition, degrees: float
) -> None:
    """Integrate the first eight actions from state[0]; the mean angle to state[9]."""
    angles = []
    for episode in raw_episodes:
        state = episode.numbers("steps/observation/state").astype(np.float64)
        action = episode.numbers("steps/action").astype(np.float64)
        rotation = to_quaternion_xyzw(state[:, 3:6], encoding="euler_xyz_extrinsic")
        _, target = integrate_targets(
            delta_position_m=action[:8, :3],
            delta_rotation=action[:8, 3:6],
            encoding="euler_xyz_extrinsic",
            composition=composition,
            refers_to="previous_target",
            start_position_m=state[0, :3],
            start_quaternion_xyzw=rotation[0],
        )
        angles.append(geodesic_angle_rad(target[-1], rotation[9]))
    assert np.rad2deg(np.mean(angles)) == pytest.approx(degrees, abs=0.005)


def test_canonical_action_is_that_integration(dataset: Dataset) -> None:
    """The stored targets end as near to the state as the known answer says."""
    angles = []
    for row in dataset.episodes.collect().to_dicts():
        episode = dataset.episode(row["episode_id"])
        angles.append(geodesic_angle_rad(episode.action[7, 3:7], episode.state[9, 3:7]))
    assert np.rad2deg(np.mean(angles)) == pytest.approx(2.38, abs=0.005)


def test_tool_points_down_in_the_tool_frame(dataset: Dataset) -> None:
    """rpy = 0 means the gripper points down: R_tool's x axis is then the base's -z."""
    frames = dataset.frames.select("observation.state").collect()
    quaternion = np.stack(frames["observation.state"].to_numpy())[:, 3:7].astype(np.float64)
    x, y, z, w = quaternion.T
    approach_z = 2.0 * (x * z - y * w)
    assert approach_z.mean() < -0.8


def test_flags_of_the_cut_episodes(dataset: Dataset) -> None:
    receipts = dataset.receipts.collect()
    for flags in receipts["flags"].to_list():
        # The episodes were cut to ten steps, so none is marked as the last; image_3 is black.
        assert {"no_last_step_mark", "camera_missing", "idle_first_action"} <= set(flags)
    missing = dataset.episodes.select(pl.col("cameras_missing")).collect().to_series().to_list()
    assert missing == [["image_3"]] * 25


def test_grippers_are_not_clipped(dataset: Dataset) -> None:
    arms = dataset.receipts.select("arms").collect()["arms"].to_list()
    smallest = min(arm["gripper_min"] for (arm,) in arms)
    largest = max(arm["gripper_max"] for (arm,) in arms)
    assert smallest == pytest.approx(0.1075, abs=1e-4)
    assert largest == pytest.approx(1.0067, abs=1e-4)
