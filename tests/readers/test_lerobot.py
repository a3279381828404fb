"""LeRobot in its three versions, and info.json files that lie."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import av
import fsspec
import numpy as np
import pyarrow as pa
import pytest
from readers.lerobot_episodes import all_found, first_episode, one
from sources import galaxea, generic_lerobot, robocoin
from sources.generic_lerobot import CAMERA, MOTORS, encoded_picture
from sources.lerobot_writer import WrittenEpisode, write_lerobot
from sources.video import picture_number

from finedata.errors import (
    FeatureError,
    LengthError,
    MissingFeatureError,
    SourceError,
)
from finedata.readers.files import SourceFile
from finedata.readers.lerobot.source import open_lerobot, recognises

VERSIONS = ("v2.0", "v2.1", "v3.0")


REAL = os.environ.get("FINEDATA_REAL_DATA")


@pytest.mark.parametrize("lists", ["fixed", "list"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_gives_its_rows_back(tmp_path, version, lists):
    truths = generic_lerobot.write(tmp_path, version=version, lists=lists)
    source = open_lerobot(tmp_path)
    assert (source.version, source.one_part, source.byte_ranges) == (version, True, False)
    assert source.missing_shards == ()
    assert len(source.shards) == (2 if version == "v3.0" else 3)
    assert sum(shard.declared_records for shard in source.shards) == 3
    seen = 0
    for (shard, found, episode), truth in zip(all_found(source), truths, strict=True):
        assert found.reason is None
        assert found.length == truth.length
        assert shard.split == "train"
        for name in ("observation.state", "action"):
            values = episode.numbers(name)
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values, truth.vectors[name])
            assert episode.columns_of(name) == MOTORS
        assert episode.texts("task") == [truth.instruction] * truth.length
        assert episode.texts("episode/tasks") == [truth.instruction]
        assert episode.texts("dataset/episode") == [str(seen)]
        assert episode.texts("episode/length") == [str(truth.length)]
        assert episode.numbers("frame_index").tolist() == list(range(truth.length))
        assert episode.numbers("dataset/fps") == 10.0
        assert episode.numbers("dataset/fps").shape == ()
        assert episode.camera_kind(CAMERA) == "video"
        assert episode.camera_kind("action") is None
        assert episode.picture_shape(CAMERA) == (32, 48, 3)
        clip = episode.video(CAMERA)
        assert clip.file == truth.cameras[CAMERA]
        assert clip.frames == truth.length
        assert clip.fps == pytest.approx(10)
        assert frame_numbers(tmp_path / clip.file)[clip.first_frame :][: clip.frames] == [
            100 * seen + k for k in range(truth.length)
        ]
        assert all(episode.has(name) for name in episode.feature_names())
        seen += 1
    assert seen == 3


def frame_numbers(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [picture_number(f.to_ndarray(format="rgb24"))[0] for f in container.decode(video=0)]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_an_open_shard_gives_what_the_scan_found(tmp_path, version):
    generic_lerobot.write(tmp_path, version=version)
    source = open_lerobot(tmp_path)
    for number in range(len(source.shards)):
        scanned = [
            (found, episode.digest({}), episode.numbers("index"))
            for found, episode in source.scan(number)
        ]
        opened = source.open_shard(number)
        for found, digest, index in reversed(scanned):
            episode = opened.episode(found)
            assert episode.digest({}) == digest
            np.testing.assert_array_equal(episode.numbers("index"), index)
        with pytest.raises(SourceError, match="other rows"):
            opened.episode(type(found)(9, 0, 1))
        opened.close()


def test_pictures_of_a_column_are_given_byte_for_byte(tmp_path):
    truths = generic_lerobot.write(tmp_path, pictures=True)
    for (_, _, episode), truth in zip(all_found(open_lerobot(tmp_path)), truths, strict=True):
        assert episode.camera_kind(CAMERA) == "pictures"
        assert episode.picture_shape(CAMERA) == (32, 48, 3)
        pictures = episode.pictures(CAMERA)
        hashes = tuple(hashlib.sha256(pictures[k]).hexdigest() for k in range(len(pictures)))
        assert hashes == truth.cameras[CAMERA]
        lengths = [len(pictures[k]) for k in range(len(pictures))]
        assert pictures.lengths.tolist() == lengths
        assert pictures.lengths.dtype == np.int64
        slab = pictures.slab(3, 6)
        assert slab.lengths.tolist() == lengths[3:6]
        assert slab.joined() == pictures[3] + pictures[4] + pictures[5]
        # The digest may be told what is known already.
        joined = hashlib.sha256(pictures.joined()).hexdigest()
        assert episode.digest({CAMERA: (joined, pictures.lengths)}) == episode.digest({})
        with pytest.raises(FeatureError):
            episode.numbers(CAMERA)
        with pytest.raises(FeatureError):
            episode.video(CAMERA)


def test_a_picture_shape_that_lies_is_none(tmp_path):
    generic_lerobot.write(tmp_path, pictures=True, shapes={CAMERA: [480, 640, 3]})
    assert first_episode(tmp_path).picture_shape(CAMERA) is None


def test_pictures_without_bytes_are_read_from_their_files(tmp_path):
    image = encoded_picture(7)
    listed = f"images/{CAMERA}/episode_000000/frame_000002.png"
    (tmp_path / listed).parent.mkdir(parents=True)
    (tmp_path / listed).write_bytes(image)
    rows = [image, None, (None, f"/home/somebody/set/{listed}"), (None, "frame_000002.png")]
    episode = one(tmp_path, {"x": np.arange(4.0), CAMERA: rows})
    pictures = episode.pictures(CAMERA)
    assert pictures.lengths.tolist() == [len(image), 0, len(image), len(image)]
    assert pictures[2] == pictures[3] == image
    assert pictures[1] == b""
    assert pictures.slab(1, 3).joined(instead_of_empty=b"black") == b"black" + image
    assert pictures.slab(2, 4)[0] == image


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "images/../../secret.png", "."])
def test_no_path_in_a_column_leads_out_of_the_dataset(tmp_path, path):
    for place in (tmp_path, tmp_path / "set"):
        place.mkdir(exist_ok=True)
        (place / "secret.png").write_bytes(b"secret")
    episode = one(tmp_path / "set", {"x": np.arange(1.0), CAMERA: [(None, path)]})
    with pytest.raises(FeatureError, match="inside the dataset"):
        episode.pictures(CAMERA)


def test_no_name_in_info_json_leads_out_of_the_dataset(tmp_path):
    for name in ("secret/episode_000000.mp4", "secret/episode_000000.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"secret")
    folder = tmp_path / "set"
    generic_lerobot.write(
        folder,
        version="v2.1",
        episodes=1,
        phantom_cameras=("../../../secret", "../secret", "/etc"),
        data_path="../secret/episode_{episode_index:06d}.parquet",
        video_path="../secret/episode_{episode_index:06d}.mp4",
    )
    with (folder / "meta/episodes.jsonl").open("a") as lines:
        lines.write(json.dumps({"episode_index": 5, "tasks": [], "length": 3}) + "\n")
    source = open_lerobot(folder)
    assert [shard.file for shard in source.shards] == [
        "data/chunk-000/episode_000000.parquet",
        "data/chunk-000/episode_000005.parquet",  # declared, and not there
    ]
    assert source.missing_shards == ("data/chunk-000/episode_000005.parquet",)
    episode = first_episode(folder)
    assert not episode.has("../secret")
    with pytest.raises(MissingFeatureError):
        episode.video("../secret")
    assert episode.video(CAMERA).file.startswith("videos/")


def test_templates_and_totals_that_lie_lose_nothing(tmp_path):
    generic_lerobot.write(
        tmp_path,
        version="v2.0",
        data_path="data/chunk-{episode_index:03d}/episode_{episode_index:06d}.parquet",
        video_path="videos/chunk-{episode_index:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        total_episodes=100,
        total_chunks=0,
        splits={"train": "0:100"},
        phantom_cameras=("observation.images.egoview",),
        drop=("frame_index",),
    )
    found = list(all_found(open_lerobot(tmp_path)))
    assert len(found) == 3
    for number, (shard, _, episode) in enumerate(found):
        assert shard.split == "train"
        assert episode.video(CAMERA).file.endswith(f"episode_{number:06d}.mp4")
        assert not episode.has("observation.images.egoview")
        assert not episode.has("frame_index")
        assert "observation.images.egoview" not in episode.feature_names()


@pytest.mark.parametrize("template", ["{", "{0}", "{a.b}", "{x:>9999999d}" * 9, "x" * 5000, 7])
def test_a_template_that_is_none_costs_nothing(tmp_path, template):
    generic_lerobot.write(tmp_path, version="v2.1", data_path=template, video_path=template)
    assert len(list(all_found(open_lerobot(tmp_path)))) == 3


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_videos_in_another_folder_and_codec_than_info_says(tmp_path, version):
    generic_lerobot.write(tmp_path, version=version, video_folder="video", codec="mpeg4")
    clip = first_episode(tmp_path).video(CAMERA)
    assert clip.file.startswith("video/")
    assert clip.codec == "mpeg4"


@pytest.mark.parametrize("short_by", [0, 1])
def test_to_timestamp_may_mean_either_thing(tmp_path, short_by):
    generic_lerobot.write(tmp_path, to_timestamp_short_by=short_by, episodes_per_file=3)
    clips = [episode.video(CAMERA) for _, _, episode in all_found(open_lerobot(tmp_path))]
    assert [(clip.first_frame, clip.frames) for clip in clips] == [(0, 16), (16, 20), (36, 24)]


def test_a_from_timestamp_outside_the_file_is_an_error(tmp_path):
    episode = WrittenEpisode({"x": np.arange(9.0)}, ("a",), {})
    late = WrittenEpisode({"x": np.arange(9.0)}, ("a",), {f"videos/{CAMERA}/from_timestamp": 99.0})
    # A value of `meta` is overwritten by the camera's own: write, then change.
    write_lerobot(tmp_path, [episode, late], version="v3.0", cameras=(CAMERA,))
    path = tmp_path / "meta/episodes/chunk-000/file-000.parquet"
    table = pa.parquet.read_table(path)
    at = table.schema.get_field_index(f"videos/{CAMERA}/from_timestamp")
    table = table.set_column(at, table.schema.field(at), pa.array([0.0, 99.0]))
    pa.parquet.write_table(table, path)
    (_, _, first), (_, _, second) = list(all_found(open_lerobot(tmp_path)))
    assert first.video(CAMERA).frames == 9
    with pytest.raises(LengthError):
        second.video(CAMERA)


@pytest.mark.parametrize("column", ["task", "__index_level_0__"])
def test_tasks_parquet_in_both_spellings(tmp_path, column):
    truths = generic_lerobot.write(tmp_path, tasks_column=column)
    texts = [episode.texts("task")[0] for _, _, episode in all_found(open_lerobot(tmp_path))]
    assert texts == [truth.instruction for truth in truths]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b", "c"], ("a", "b", "c")),
        ([["a", "b", "c"]], ("a", "b", "c")),
        ({"motors": ["a", "b", "c"]}, ("a", "b", "c")),
        ({"left": ["a"], "right": ["b", "c"]}, ("a", "b", "c")),
        ({"b": 1, "a": 0, "c": 2}, ("a", "b", "c")),
        (None, None),
        (["a", "b"], None),
        (["a", "b", 3], None),
        ({"motors": 3}, None),
    ],
)
def test_column_names_in_all_their_spellings(tmp_path, names, expected):
    episode = one(tmp_path, {"x": np.zeros((4, 3))}, names={"x": names})
    assert episode.columns_of("x") == expected
    assert episode.columns_of("nothing") is None


def test_numbers_keep_their_type_and_shape(tmp_path):
    columns = {
        "f64": np.random.default_rng(0).normal(size=(5, 2)),
        "matrix": np.arange(60, dtype=np.float32).reshape(5, 4, 3),
        "flag": np.array([True, False, True, True, False]),
        "word": ["a", "b", "ä", "", "e"],
    }
    for lists in ("fixed", "list"):
        episode = one(tmp_path / lists, columns, lists=lists)
        for name in ("f64", "matrix", "flag"):
            values = episode.numbers(name)
            assert values.dtype == columns[name].dtype
            np.testing.assert_array_equal(values, columns[name])
        assert episode.texts("word") == columns["word"]
        with pytest.raises(FeatureError):
            episode.numbers("word")
        with pytest.raises(FeatureError):
            episode.texts("f64")
        for ask in (episode.numbers, episode.texts, episode.pictures, episode.video):
            with pytest.raises(MissingFeatureError):
                ask("absent")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1.0, 2.0], [1.0], [1.0, 2.0]]),
        pa.array([[1.0, 2.0], None, [1.0, 2.0]]),
        pa.array([[1.0, 2.0], [None, 1.0], [1.0, 2.0]]),
        pa.array([1.0, None, 2.0]),
        pa.array([[[1], [2]], [[1], [2]], [[1, 2], [2]]]),
    ],
)
def test_ragged_or_null_numbers_are_refused(tmp_path, column):
    episode = one(tmp_path, {"ok": np.zeros(3), "x": column})
    with pytest.raises(FeatureError):
        episode.numbers("x")
    assert episode.columns_of("x") is None
    assert len(episode.digest({})) == 64


def test_a_column_is_not_its_namesake(tmp_path):
    columns = {"arm.speed": np.arange(3.0), "arm": np.arange(3.0) + 10, "arm.x.y": np.zeros(3)}
    episode = one(tmp_path, columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(episode.numbers(name), values)


def test_splits_by_range_else_the_first(tmp_path):
    generic_lerobot.write(tmp_path, version="v2.1", splits={"train": "0:1", "test": "1:2"})
    assert [s.split for s in open_lerobot(tmp_path).shards] == ["train", "test", "train"]


def test_galaxea_is_a_folder_of_datasets(tmp_path):
    truths = galaxea.write(tmp_path)
    source = open_lerobot(tmp_path)
    assert not source.one_part
    for (_, found, episode), truth in zip(all_found(source), truths, strict=True):
        path, number = truth.key.split("#")
        assert episode.texts("dataset/path") == [path] == episode.texts("dataset/name")
        assert episode.texts("dataset/episode") == [number]
        assert found.length == truth.length
        arm = truth.arms["left"]
        np.testing.assert_array_equal(
            episode.numbers("observation.state.left_ee_pose"),
            np.hstack([arm.position_m, arm.quaternion_xyzw]),
        )
        # Its namesake `.velocities` must not come along, nor instead.
        np.testing.assert_array_equal(
            episode.numbers("observation.state.left_arm"), arm.joint_position
        )
        gripper = episode.numbers("observation.state.left_gripper")
        np.testing.assert_allclose(gripper, 100 * arm.gripper_open)
        task = episode.texts("task")
        for step in truth.steps:
            assert {t.split("@")[1] for t in task[step.start_frame : step.end_frame]} == {step.text}
        assert task[0] == "null"
        coarse = set(episode.texts("tasks[coarse_task_index]"))
        assert coarse == {f"{truth.alternatives[0]}@{truth.instruction}"}
        assert set(episode.texts("tasks[quality_index]")) == {"null", "qualified"}
        assert episode.texts("episode/raw_file_name")[0].endswith(".mcap")
        for camera, file in truth.cameras.items():
            assert episode.video(camera).file == file


def test_robocoin_as_it_is_now(tmp_path):
    truths = robocoin.write(tmp_path)
    source = open_lerobot(tmp_path)
    # The split names one episode too few; none is lost.
    assert [shard.split for shard in source.shards] == ["train"] * 3
    for (_, _, episode), truth in zip(all_found(source), truths, strict=True):
        assert episode.columns_of("observation.state") == robocoin.STATE_NAMES
        assert episode.numbers("timestamp").dtype == np.float64
        assert episode.texts("dataset/robot_type") == [""]
        words = episode.texts("annotations/subtask_annotations#subtask")
        assert tuple(words) == robocoin.SUBTASKS
        slots = episode.numbers("subtask_annotation")
        assert slots.shape == (truth.length, 5)
        for step in truth.steps:
            active = np.any(slots == words.index(step.text), axis=1)
            assert np.flatnonzero(active).tolist() == list(range(step.start_frame, step.end_frame))
        assert episode.numbers("eef_sim_pose_state").shape == (truth.length, 12)
        assert episode.video(robocoin.CAMERAS[0]).frames == truth.length


def test_robocoin_with_more_numbers_than_names(tmp_path):
    robocoin.write(tmp_path, two_unnamed=True, videos=False)
    episode = first_episode(tmp_path)
    assert episode.numbers("observation.state").shape[1] == 30
    assert episode.columns_of("observation.state") is None


def test_robocoin_as_it_was(tmp_path):
    truths = robocoin.write_early(tmp_path)
    for (_, _, episode), truth in zip(all_found(open_lerobot(tmp_path)), truths, strict=True):
        states = episode.numbers("states")
        np.testing.assert_array_equal(states[:, :7], truth.arms["right"].joint_position)
        np.testing.assert_array_equal(states[:, 26:], truth.arms["left"].quaternion_xyzw)
        assert episode.columns_of("states")[0] == "right_arm_joint_1"
        assert episode.texts("task")[0] == "build blocks"
        assert episode.texts("episode/tasks") == ["task_stack_basket"]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_the_digest_notices_a_changed_number_text_and_video(tmp_path, version):
    def digest() -> str:
        return first_episode(tmp_path / "set").digest({})

    generic_lerobot.write(tmp_path / "set", version=version, seed=1)
    before = digest()
    assert digest() == before
    generic_lerobot.write(tmp_path / "other", version=version, seed=1, codec="mpeg4")
    video = next((tmp_path / "other/videos").rglob("*.mp4"))
    kept = video.relative_to(tmp_path / "other")
    shutil.copy(tmp_path / "set" / kept, tmp_path / "kept.mp4")
    for name in sorted((tmp_path / "other/videos").rglob("*.mp4")):
        shutil.copy(name, tmp_path / "set" / name.relative_to(tmp_path / "other"))
    assert digest() != before
    shutil.rmtree(tmp_path / "set")
    generic_lerobot.write(tmp_path / "set", version=version, seed=2)
    assert digest() != before


def test_it_recognises_itself():
    assert recognises([SourceFile("meta/info.json", 3)])
    assert recognises([SourceFile("a/b/meta/info.json", 3)])
    assert not recognises([SourceFile("info.json", 3), SourceFile("xmeta/info.json", 3)])


def test_a_dataset_inside_a_dataset_keeps_its_own(tmp_path):
    generic_lerobot.write(tmp_path, version="v2.1", episodes=2)
    generic_lerobot.write(tmp_path / "part/two", version="v3.0", episodes=1)
    source = open_lerobot(tmp_path)
    paths = [episode.texts("dataset/path")[0] for _, _, episode in all_found(source)]
    assert paths == ["", "", "part/two"]
    assert source.version == "v2.1,v3.0"
    names = [episode.texts("dataset/name")[0] for _, _, episode in all_found(source)]
    assert names == [tmp_path.name, tmp_path.name, "two"]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_the_same_from_a_remote_folder(tmp_path, version):
    generic_lerobot.write(tmp_path, version=version)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path), "/lerobot_reader/set", recursive=True)
    try:
        remote = open_lerobot("memory://lerobot_reader/set")
        local = open_lerobot(tmp_path)
        digests = [
            [(found, episode.digest({})) for _, found, episode in all_found(source)]
            for source in (local, remote)
        ]
        assert digests[0] == digests[1]
        assert len(digests[0]) == 3
        names = {episode.texts("dataset/name")[0] for _, _, episode in all_found(remote)}
        assert names == {"set"}
    finally:
        memory.rm("/lerobot_reader", recursive=True)


@pytest.mark.skipif(REAL is None, reason="FINEDATA_REAL_DATA is not set")
def test_the_real_dataset_whose_info_lies():
    source = open_lerobot(Path(REAL) / "gr00t_lerobot_v20")
    assert source.version == "v2.0"
    assert source.missing_shards == ()
    lengths = []
    for shard, found, episode in all_found(source):
        assert found.reason is None
        assert shard.split == "train"
        lengths.append(found.length)
        state = episode.numbers("observation.state")
        assert state.shape == (found.length, 44)
        assert state.dtype == np.float64
        videos = [n for n in episode.feature_names() if episode.camera_kind(n)]
        assert videos == ["observation.images.ego_view"]
        assert not episode.has("observation.images.egoview")
        clip = episode.video(videos[0])
        assert clip.frames == found.length
        assert clip.shape == (256, 256, 3)
        words = episode.texts("tasks[annotation.human.action.task_description]")
        assert words == episode.texts("task")
        assert words[0].startswith("pick the")
        assert set(episode.texts("tasks[annotation.human.validity]")) == {"valid"}
    assert (len(lengths), sum(lengths)) == (5, 2096)


@pytest.mark.skipif(REAL is None, reason="FINEDATA_REAL_DATA is not set")
def test_the_real_description_without_data_says_so():
    with pytest.raises(SourceError, match="no Parquet"):
        open_lerobot(Path(REAL) / "robocoin_meta")
