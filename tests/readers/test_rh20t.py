"""RH20T scenes: rows of the reference camera, truth of the fixture, a reason for every damage."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readers.rh20t_scenes import episode_of, one_scene, only, resave
from sources.rh20t import OPEN_MM, reference_serial, write
from sources.video import write_video

from finedata.errors import (
    FeatureError,
    MissingFeatureError,
    SourceError,
    UsageError,
)
from finedata.readers.files import open_folder
from finedata.readers.rh20t.source import open_rh20t, recognises


@pytest.mark.parametrize("resized", [True, False])
def test_every_robot_is_read_as_it_was_written(tmp_path: Path, resized: bool) -> None:
    truths = write(tmp_path, episodes=3, seed=4, resized=resized)
    source = open_rh20t(tmp_path)
    assert [Path(s.file).name for s in source.shards] == [truth.key for truth in truths]
    assert not source.one_part
    assert not source.byte_ranges
    for shard, truth in enumerate(truths):
        found, episode = only(source, shard)
        assert episode is not None
        assert (found.number, found.offset, found.length) == (0, 0, truth.length)
        arm = truth.arms["right"]
        cfg = int(truth.key[-4:])
        pose = episode.numbers("tcp_base")
        np.testing.assert_array_equal(pose[:, :3], arm.position_m)
        np.testing.assert_array_equal(pose[:, [4, 5, 6, 3]], arm.quaternion_xyzw)
        width = episode.numbers("gripper_info")
        np.testing.assert_allclose(width[:, 0] / OPEN_MM[cfg], arm.gripper_open, atol=1e-12)
        joints = episode.numbers("joint")
        assert joints.shape == (truth.length, {1: 14, 3: 6, 5: 14}[cfg])
        known = arm.joint_position
        assert known is not None
        np.testing.assert_array_equal(joints[:, : known.shape[1]], known)
        seconds = (episode.numbers("time_ms") - episode.numbers("time_ms")[0]) / 1000
        np.testing.assert_allclose(seconds, truth.vectors["source_time_s"], atol=1e-9)
        assert episode.texts("task_description/english") == [truth.instruction]
        assert episode.texts("task_description/chinese") == list(truth.alternatives)
        assert (int(episode.numbers("metadata/rating")) >= 2) is truth.success
        assert {n: episode.video(n).file for n in truth.cameras} == truth.cameras
        size = (36, 64, 3) if resized else (72, 128, 3)
        assert {episode.picture_shape(n) for n in truth.cameras} == {size}


def test_what_an_episode_holds(tmp_path: Path) -> None:
    episode, truth = one_scene(tmp_path, after_finish=3)
    names = episode.feature_names()
    assert all(episode.has(name) for name in names)
    assert {name for name in names if episode.camera_kind(name)} == set(truth.cameras)
    shapes = {
        "time_ms": (16,), "after_finish": (16,), "tcp_base": (16, 7), "tcp": (16, 7),
        "robot_ft": (16, 6), "force_torque": (16, 6), "force_torque_base": (16, 6),
        "gripper_command": (16, 3), "gripper_info": (16, 3), "joint": (16, 6),
        "metadata/rating": (), "metadata/calib_quality": (), "metadata/finish_time": (),
    }  # fmt: skip
    assert {n: episode.numbers(n).shape for n in names if n in shapes} == shapes
    assert episode.numbers("time_ms").dtype == np.int64
    assert episode.numbers("after_finish").tolist() == [False] * 13 + [True] * 3
    texts = {name: episode.texts(name)[0] for name in names if name.startswith("scene/")}
    assert texts == {
        "scene/name": truth.key,
        "scene/task": "0001",
        "scene/user": "0007",
        "scene/scene": "0001",
        "scene/cfg": "0003",
    }
    assert episode.columns_of("tcp_base") is None
    for name in names:
        kinds = 0
        for read in (episode.numbers, episode.texts, episode.video, episode.pictures):
            try:
                read(name)
                kinds += 1
            except FeatureError as error:
                assert not isinstance(error, MissingFeatureError)  # noqa: PT017
        assert kinds == 1, name
    for read in (episode.numbers, episode.texts, episode.video, episode.pictures):
        with pytest.raises(MissingFeatureError):
            read("nothing/such")


def test_reference_is_not_in_the_hand_where_configs_tell(tmp_path: Path) -> None:
    with_configs, _ = one_scene(tmp_path / "a")
    assert with_configs.texts("reference_camera") == [reference_serial(3)]
    without, _ = one_scene(tmp_path / "b", configs=False)
    assert without.texts("reference_camera") == ["013322070878"]  # first in order, in the hand
    assert len(without.time_ms) == 18


def test_reference_needs_stamps_and_poses(scene: Path) -> None:
    (scene / f"cam_{reference_serial(3)}" / "timestamps.npy").unlink()
    assert episode_of(scene).reference == "f3034501"
    resave(scene / "transformed" / "tcp_base.npy", lambda tree: tree.pop("f3034501") and None)
    assert episode_of(scene).reference == "013322070878"
    (scene / "cam_013322070878" / "color.mp4").unlink()
    found, episode = only(open_rh20t(scene.parents[1]))
    assert (found.reason, episode) == ("missing_feature", None)


def test_scene_folders_alone_and_joints_beside(tmp_path: Path) -> None:
    _, truth = one_scene(tmp_path, separate_joints=True)
    known = truth.arms["right"].joint_position
    source = open_rh20t(tmp_path)
    assert len(source.shards) == 1  # the tree of joints holds no scene of its own
    _, episode = only(source)
    assert episode is not None
    np.testing.assert_array_equal(episode.numbers("joint"), known)
    _, below = only(open_rh20t(tmp_path / "RH20T_cfg3"))
    assert below is not None
    assert not below.has("joint")
    assert not below.has("task_description/english")
    with pytest.raises(MissingFeatureError):
        below.numbers("joint")


def test_recognises_scenes_only(tmp_path: Path) -> None:
    write(tmp_path / "a", episodes=1, humans=1)
    assert recognises(open_folder(tmp_path / "a").files())
    (tmp_path / "task_0001").mkdir()
    (tmp_path / "task_0001" / "metadata.json").write_text("{}")
    shutil.rmtree(tmp_path / "a")
    assert not recognises(open_folder(tmp_path).files())
    with pytest.raises(UsageError, match="no folder named like task_0001_user"):
        open_rh20t(tmp_path)


def test_published_descriptions_and_configs(real_data: Path, tmp_path: Path) -> None:
    write(tmp_path, episodes=1, cfgs=(5,))
    for name in ("configs.json", "task_description.json"):
        (tmp_path / name).unlink()
        (tmp_path / name).symlink_to(real_data / "rh20t" / name)
    camera = f"cam_{reference_serial(5)}"
    scene = next(tmp_path.glob("RH20T_cfg5/task_*"))
    # A serial that the published file has in the hand of configuration 5, first in order.
    (scene / "cam_015322070878").rename(scene / "cam_104422070042")
    (scene / camera).rename(scene / "cam_200000000000")
    names = {"015322070878": "104422070042", reference_serial(5): "200000000000"}
    for file in (scene / "transformed").iterdir():
        resave(file, lambda tree: {names.get(serial, serial): tree[serial] for serial in tree})
    episode = episode_of(scene)
    assert episode.texts("task_description/english") == ["Press the button from top to bottom"]
    assert episode.texts("task_description/chinese") == ["自上而下按下按钮"]
    assert episode.reference == "200000000000"


def test_human_scenes_are_listed_and_say_so(tmp_path: Path) -> None:
    write(tmp_path, episodes=1, humans=2)
    source = open_rh20t(tmp_path)
    assert [shard.file.endswith("_human") for shard in source.shards] == [False, True, True]
    found, episode = only(source, 1)
    assert episode is None
    assert found.reason == "missing_feature"
    assert "human demonstration" in found.message


# Cameras


def set_times(scene: Path, serial: str, times: np.ndarray) -> None:
    file = scene / f"cam_{serial}" / "timestamps.npy"
    np.save(file, {"color": times.tolist(), "depth": []}, allow_pickle=True)  # type: ignore[arg-type]


def rows_of(scene: Path, offsets: list[int], reference: list[int]) -> list[int]:
    """Rows of the camera in the hand; both cameras' times in ms after the same start."""
    start = 1_631_270_000_000
    resave(
        scene / "transformed" / "tcp_base.npy",
        lambda tree: {reference_serial(3): tree[reference_serial(3)]},
    )
    set_times(scene, reference_serial(3), start + np.array(reference))
    set_times(scene, "013322070878", start + np.array(offsets))
    clip = episode_of(scene).video("cam_013322070878")
    assert clip.frames == min(len(offsets), 18)
    return list(range(len(reference))) if clip.rows is None else clip.rows.tolist()


@pytest.mark.parametrize(
    ("camera", "reference", "rows"),
    [
        ([0, 100, 200], [0, 100, 200], [0, 1, 2]),
        ([5, 105, 195, 290], [0, 100, 200], [0, 1, 2]),
        ([-100, 0, 100, 200], [0, 100, 200], [1, 2, 3]),
        ([40, 60, 160], [50, 150], [0, 2]),  # as near before as after: the earlier one
        ([0, 90, 100, 200], [50, 100, 199], [1, 2, 3]),
        # The nearest frame of rows 1 and 2 is the same: one of them gives way, and not row 2.
        ([0, 60, 100, 200], [0, 90, 101, 200], [0, 1, 2, 3]),
        ([0, 100, 160, 200], [0, 98, 104, 201], [0, 1, 2, 3]),
        # Both rows are nearest to 100; giving way forwards costs less.
        ([0, 100, 110], [95, 102], [1, 2]),
        ([10, 10, 10], [10, 10], [0, 1]),
        ([100, 0, 200], [0, 200], [1, 2]),  # unordered stamps: frames stay in order
    ],
)
def test_frames_of_other_cameras(
    scene: Path, camera: list[int], reference: list[int], rows: list[int]
) -> None:
    assert rows_of(scene, camera, reference) == rows


def test_assignment_is_the_best_of_all(scene: Path) -> None:
    """Against trying everything, on jittered times that crowd."""
    from itertools import combinations

    rng = np.random.default_rng(5)
    decided = 0
    for _ in range(25):
        reference = np.sort(rng.integers(0, 400, 5))
        camera = np.sort(rng.integers(0, 400, 8))
        costs = {
            chosen: int(np.abs(camera[list(chosen)] - reference).sum())
            for chosen in combinations(range(8), 5)
            if np.abs(camera[list(chosen)] - reference).max() <= 100
        }
        if not costs:
            with pytest.raises(FeatureError, match="of 5 rows"):
                rows_of(scene, camera.tolist(), reference.tolist())
            continue
        rows = tuple(rows_of(scene, camera.tolist(), reference.tolist()))
        assert costs[rows] == min(costs.values())
        decided += 1
    assert decided > 10


@pytest.mark.parametrize(
    ("camera", "reference", "found"),
    [
        ([0, 100, 500], [0, 100, 250, 500], "1 of 4 rows have no frame"),
        ([0, 150], [0, 100, 200], "0 of 3 rows have no frame of this camera within 100 ms, 1 more"),
        ([], [0, 100], "2 of 2 rows"),
        (
            [200, 100, 0],
            [0, 100, 200],
            "0 of 3 rows have no frame of this camera within 100 ms, 1 more",
        ),
    ],
)
def test_rows_without_a_frame_are_counted(
    scene: Path, camera: list[int], reference: list[int], found: str
) -> None:
    with pytest.raises(FeatureError, match=found):
        rows_of(scene, camera, reference)


def test_frames_without_time_stamps_are_left_out(scene: Path) -> None:
    episode = episode_of(scene)
    clip = episode.video(f"cam_{reference_serial(3)}")
    assert (clip.first_frame, clip.frames, clip.rows, clip.fps) == (0, 16, None, 25.0)
    file = scene / f"cam_{reference_serial(3)}" / "timestamps.npy"
    resave(file, lambda tree: {"color": tree["color"][:12]})
    clip = episode_of(scene).video(f"cam_{reference_serial(3)}")
    assert (clip.frames, clip.rows) == (12, None)


def test_stamps_without_frames_show_nothing(scene: Path) -> None:
    serial = "013322070878"  # 18 stamps, the rows are its second to last but one
    write_video(scene / f"cam_{serial}" / "color.mp4", 17, fps=25)
    clip = episode_of(scene).video(f"cam_{serial}")
    assert (clip.frames, clip.rows.tolist()) == (17, list(range(1, 17)))
    write_video(scene / f"cam_{serial}" / "color.mp4", 12, fps=25)
    with pytest.raises(FeatureError, match="rows have no frame"):
        episode_of(scene).video(f"cam_{serial}")


# Alignment of arrays


def test_samples_at_other_times(scene: Path) -> None:
    serial = reference_serial(3)
    times = episode_of(scene).time_ms
    shift = [0, 40, -60, 100, 101, *[0] * 11]

    def change(tree: dict[str, Any]) -> Any:
        entry = tree[serial]
        tree[serial] = {
            int(t) + s: np.full(6, k) for k, (t, s) in enumerate(zip(entry, shift, strict=True))
        }

    resave(scene / "transformed" / "joint.npy", change)
    values = episode_of(scene).numbers("joint")[:, 0]
    sample_ms = times + np.array(shift)
    for row, time in enumerate(times):
        distance = np.abs(sample_ms - time)
        if distance.min() > 100:
            assert np.isnan(values[row])
        else:
            assert distance[int(values[row])] == distance.min()
    assert values[0] == 0
    resave(
        scene / "transformed" / "joint.npy",
        lambda tree: {serial: {int(times[3]): np.arange(6.0)}},
    )
    found = episode_of(scene).numbers("joint")
    assert np.flatnonzero(~np.isnan(found[:, 1])).tolist() in ([3], [2, 3], [3, 4], [2, 3, 4])
    assert np.abs(times[~np.isnan(found[:, 1])] - times[3]).max() <= 100


def test_none_and_duplicates_of_samples(tmp_path: Path) -> None:
    episode, truth = one_scene(tmp_path, damage={0: "none_values"})
    pose = episode.numbers("tcp_base")
    arm = truth.arms["right"]
    assert arm.position_m is not None
    # Row 3's sample holds None; row 5 has no sample: a neighbour within 100 ms, or NaN.
    assert np.isnan(pose[3]).all()
    assert not np.isnan(episode.numbers("robot_ft")[3]).any()
    whole = [0, 1, 2, 4, *range(6, 16)]
    np.testing.assert_array_equal(pose[whole, :3], arm.position_m[whole])
    assert np.isnan(pose[5, 0]) or pose[5, 0] in (pose[4, 0], pose[6, 0])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda entry: [1, 2], FeatureError),
        (lambda entry: "text", FeatureError),
        (lambda entry: np.zeros(3), FeatureError),
        (lambda entry: [{"timestamp": "x", "tcp": np.zeros(7)}], FeatureError),
        (lambda entry: [{"timestamp": float("nan"), "tcp": np.zeros(7)}], FeatureError),
        (lambda entry: [{"timestamp": 1 << 70, "tcp": np.zeros(7)}], FeatureError),
        (lambda entry: [{"timestamp": True, "tcp": np.zeros(7)}], FeatureError),
        (lambda entry: [{"timestamp": 5, "tcp": np.zeros(6)}], FeatureError),
        (lambda entry: [{"timestamp": 5, "tcp": np.zeros((7, 1))}], FeatureError),
        (lambda entry: [{"timestamp": 5, "tcp": ["a"] * 7}], FeatureError),
        (lambda entry: [{"timestamp": 5, "tcp": [[1], [1, 2]]}], FeatureError),
        (lambda entry: [{"timestamp": 5, "tcp": [10**400] * 7}], FeatureError),
        (lambda entry: [{"timestamp": 5, "tcp": {}}], FeatureError),
        (lambda entry: [{"timestamp": 5}], MissingFeatureError),
        (lambda entry: [None], MissingFeatureError),
    ],
)
def test_arrays_of_another_shape(scene: Path, change: Any, error: type[SourceError]) -> None:
    serial = reference_serial(3)
    resave(
        scene / "transformed" / "tcp_base.npy",
        lambda tree: tree.__setitem__(serial, change(tree[serial])),
    )
    episode = episode_of(scene)
    assert episode.has("tcp_base") is (error is not MissingFeatureError)
    with pytest.raises(error):
        episode.numbers("tcp_base")
