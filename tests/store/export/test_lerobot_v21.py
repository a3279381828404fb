"""LeRobot v2.1 read back by json, pyarrow and PyAV alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.spatial.transform import Rotation
from store.export.independent import decoded, far_apart, lines, tree, video_frames

from finedata.errors import ConformError, UsageError
from finedata.store.dataset import Dataset
from finedata.store.export.episodes import camera_features, export_parts
from finedata.store.export.modality import modality_json
from finedata.store.export.run import FORMATS, export_dataset
from finedata.store.lerobot.layout import Feature


@pytest.fixture(scope="module")
def out(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("v21") / "bridge"
    export_dataset(dataset, out=target, format="lerobot-v2.1")
    return target


@pytest.fixture(scope="module")
def info(out: Path) -> dict:
    return json.loads((out / "meta" / "info.json").read_text())


def table(out: Path, info: dict, episode: int) -> pa.Table:
    path = info["data_path"].format(episode_chunk=episode // 1000, episode_index=episode)
    return pq.read_table(out / path)


def vectors(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), np.float32)


def test_info_declares_what_is_there(out: Path, info: dict, dataset: Dataset) -> None:
    assert info["codebase_version"] == "v2.1"
    episodes = lines(out / "meta" / "episodes.jsonl")
    assert [line["episode_index"] for line in episodes] == list(range(info["total_episodes"]))
    assert sum(line["length"] for line in episodes) == info["total_frames"]
    assert info["splits"] == {"train": f"0:{len(episodes)}"}
    assert info["total_chunks"] == 1
    assert info["total_videos"] == len(list(out.glob("videos/*/*/*.mp4"))) == 4 * len(episodes)
    for name, feature in info["features"].items():
        if feature["dtype"] == "video":
            assert feature["info"]["video.codec"] == "h264"
            assert feature["shape"] == [48, 48, 3]
            continue
        kind = table(out, info, 0).schema.field(name).type
        if feature["shape"] == [1]:
            assert str(kind).replace("float", "float32") in (feature["dtype"], "double", "float32")
        else:
            assert kind == pa.list_(pa.float32(), feature["shape"][0])
    assert set(table(out, info, 0).column_names) == {
        name for name, feature in info["features"].items() if feature["dtype"] != "video"
    }


def test_every_number_is_the_datasets(out: Path, info: dict, dataset: Dataset) -> None:
    tasks = {line["task_index"]: line["task"] for line in lines(out / "meta" / "tasks.jsonl")}
    assert sorted(tasks) == list(range(info["total_tasks"]))
    index = 0
    for line in lines(out / "meta" / "episodes.jsonl"):
        episode = dataset.episode(line["episode_id"])
        rows = table(out, info, line["episode_index"])
        assert rows["index"].to_pylist() == list(range(index, index + len(episode)))
        index += len(episode)
        assert set(rows["episode_index"].to_pylist()) == {line["episode_index"]}
        np.testing.assert_array_equal(vectors(rows["observation.state"]), episode.state)
        np.testing.assert_array_equal(vectors(rows["action"]), episode.action)
        times = np.array(rows["timestamp"].to_pylist())
        np.testing.assert_allclose(times, np.arange(len(episode)) / info["fps"], atol=1e-6)
        found = [tasks[task] for task in rows["task_index"].to_pylist()]
        assert set(found) == set(line["tasks"]) == {episode.task}


def test_statistics_are_those_of_the_columns(out: Path, info: dict) -> None:
    for line in lines(out / "meta" / "episodes_stats.jsonl"):
        rows = table(out, info, line["episode_index"])
        numbers = {n for n, f in info["features"].items() if f["dtype"] != "video"}
        assert numbers <= set(line["stats"])
        for name in ("action", "index", "action_valid"):
            values = np.array(rows[name].to_pylist(), np.float64).reshape(len(rows), -1)
            stats = line["stats"][name]
            assert set(stats) == {"min", "max", "mean", "std", "count"}
            np.testing.assert_allclose(stats["mean"], values.mean(0), atol=1e-9)
            np.testing.assert_allclose(stats["max"], values.max(0))
            assert stats["count"] == [len(rows)]
        for name in set(info["features"]) - numbers & set(line["stats"]):
            assert np.shape(line["stats"].get(name, {}).get("mean", np.zeros((3, 1, 1)))) == (
                3,
                1,
                1,
            )
    assert "observation.images.image_0" in line["stats"]


def test_videos_show_the_pictures_at_their_times(out: Path, info: dict, dataset: Dataset) -> None:
    for line in lines(out / "meta" / "episodes.jsonl")[:3]:
        episode = dataset.episode(line["episode_id"])
        for camera, pictures in episode.pictures.items():
            path = info["video_path"].format(
                episode_chunk=0,
                video_key=f"observation.images.{camera}",
                episode_index=line["episode_index"],
            )
            times, frames = video_frames(out / path)
            np.testing.assert_allclose(times, np.arange(len(episode)) / info["fps"], atol=1e-4)
            for frame, picture in zip(frames, pictures, strict=True):
                assert far_apart(frame, decoded(picture)) < 12


def test_groups_name_the_right_numbers(out: Path, info: dict) -> None:
    groups = json.loads((out / "meta" / "modality.json").read_text())
    rows = table(out, info, 0)

    def group(side: str, name: str) -> np.ndarray:
        entry = groups[side][name]
        return vectors(rows[entry["original_key"]])[:, entry["start"] : entry["end"]]

    state = vectors(rows["observation.state"])
    np.testing.assert_array_equal(group("state", "right_eef.position"), state[:, :3])
    np.testing.assert_array_equal(group("state", "right_gripper"), state[:, 7:])
    # GR00T turns these with PyTorch3D, which wants w first.
    turned = Rotation.from_quat(group("state", "right_eef.rotation"), scalar_first=True)
    wanted = Rotation.from_quat(state[:, 3:7])
    assert (turned * wanted.inv()).magnitude().max() < 1e-6
    assert groups["state"]["right_eef.rotation"]["rotation_type"] == "quaternion"
    action = vectors(rows["action"])
    np.testing.assert_array_equal(group("action", "right_eef.position"), action[:, :3])
    assert groups["annotation"]["human.action.task_description"]["original_key"] == "task_index"
    for entry in groups["video"].values():
        assert info["features"][entry["original_key"]]["dtype"] == "video"


def test_groups_of_two_arms_of_joints_with_hands_and_poses_beside() -> None:
    joints = tuple(f"{arm}_joint_{i}" for arm in ("right", "left") for i in range(6))
    axes = ("x", "y", "z", "qx", "qy", "qz", "qw")
    pose = tuple(f"{arm}_{axis}" for arm in ("right", "left") for axis in axes)
    groups = modality_json(
        {
            "observation.ee_pose": Feature("float32", (14,), pose),
            "observation.state": Feature("float32", (12,), joints),
            "observation.hand": Feature("float32", (1,), ("left_hand_0",)),
            "observation.base_pose": Feature("float32", (3,), ("x", "y", "yaw")),
            "action": Feature("float32", (2,), ("motor_0", "motor_1")),
        },
        cameras=[],
    )
    state = {
        name: (entry["original_key"], entry["start"], entry["end"], entry["type"])
        for name, entry in groups["state"].items()
    }
    rotation = "observation.rotation_wxyz"
    assert state == {
        "right_joint": ("observation.state", 0, 6, "abs_joint"),
        "left_joint": ("observation.state", 6, 12, "abs_joint"),
        "right_eef.position": ("observation.ee_pose", 0, 3, "abs_wxyz"),
        "right_eef.rotation": (rotation, 0, 4, "abs_wxyz"),
        "left_eef.position": ("observation.ee_pose", 7, 10, "abs_wxyz"),
        "left_eef.rotation": (rotation, 4, 8, "abs_wxyz"),
        "left_hand": ("observation.hand", 0, 1, "abs_joint"),
        "reserved.base_pose": ("observation.base_pose", 0, 3, "abs_joint"),
    }
    # A vector whose names say nothing stays whole.
    assert list(groups["action"]) == ["reserved.action"]


def test_a_selection_is_numbered_anew(dataset: Dataset, tmp_path: Path) -> None:
    task = dataset.episodes.select("task").collect()["task"].to_list()[-1]
    summary = export_dataset(
        dataset,
        out=tmp_path / "some",
        format="lerobot-v2.1",
        where=f"task = '{task}' and length > 1",
        keep_pictures=True,
    )
    wanted = dataset.episodes.filter(pl.col("task") == task).collect()["episode_id"].to_list()
    found = lines(tmp_path / "some" / "meta" / "episodes.jsonl")
    assert [line["episode_id"] for line in found] == wanted
    assert len(wanted) < dataset.episodes.collect().height
    assert lines(tmp_path / "some" / "meta" / "tasks.jsonl") == [{"task_index": 0, "task": task}]
    rows = pq.read_table(tmp_path / "some" / "data" / "chunk-000" / "episode_000000.parquet")
    assert set(rows["task_index"].to_pylist()) == {0}
    assert summary.episodes == len(wanted)


def test_kept_pictures_are_byte_for_byte(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    summary = export_dataset(dataset, out=out, format="lerobot-v2.1", keep_pictures=True)
    info = json.loads((out / "meta" / "info.json").read_text())
    assert info["video_path"] is None
    assert info["total_videos"] == 0
    assert not (out / "videos").exists()
    assert "videos_encoded" not in summary.counts
    for line in lines(out / "meta" / "episodes.jsonl"):
        episode = dataset.episode(line["episode_id"])
        rows = table(out, info, line["episode_index"])
        for camera, pictures in episode.pictures.items():
            name = f"observation.images.{camera}"
            assert info["features"][name]["dtype"] == "image"
            assert [entry["bytes"] for entry in rows[name].to_pylist()] == pictures
    described = json.loads(rows.schema.metadata[b"huggingface"])["info"]["features"]
    assert described["observation.images.image_0"] == {"_type": "Image"}
    assert described["action"]["length"] == 8


@pytest.mark.parametrize("keep_pictures", [False, True])
def test_exchanged_colours_come_out_right(
    swapped: Dataset, tmp_path: Path, keep_pictures: bool
) -> None:
    out = tmp_path / "right"
    summary = export_dataset(
        swapped, out=out, format="lerobot-v2.1", where="length > 20", keep_pictures=keep_pictures
    )
    info = json.loads((out / "meta" / "info.json").read_text())
    assert "observation.images.image_0" in info["features"]
    assert not [name for name in info["features"] if "bgr" in name]
    assert "bgr" not in (out / "meta" / "modality.json").read_text()
    number, pictures = next(
        (line["episode_index"], pictures)
        for line in lines(out / "meta" / "episodes.jsonl")
        for pictures in [swapped.episode(line["episode_id"]).pictures["image_0_bgr"]]
        if all(decoded(picture).any() for picture in pictures)  # a camera that is there
    )
    if keep_pictures:
        entries = table(out, info, number)["observation.images.image_0"].to_pylist()
        frames = [decoded(entry["bytes"]) for entry in entries]
    else:
        key = "observation.images.image_0"
        _, frames = video_frames(out / f"videos/chunk-000/{key}/episode_{number:06d}.mp4")
    for frame, picture in zip(frames, pictures, strict=True):
        stored = decoded(picture)
        assert far_apart(frame, stored[..., ::-1]) < 12
        assert far_apart(frame, stored) > 20
    assert summary.counts["colours_exchanged"] == info["total_frames"]
    stats = lines(out / "meta" / "episodes_stats.jsonl")[number]["stats"]
    mean = np.mean([decoded(p)[..., ::-1].mean((0, 1)) for p in pictures], axis=0) / 255
    found = np.array(stats["observation.images.image_0"]["mean"]).reshape(3)
    np.testing.assert_allclose(found, mean, atol=0.03)


def test_both_colour_orders_of_one_camera_are_refused(swapped: Dataset) -> None:
    part = export_parts(swapped, episode_ids=[swapped.episodes.collect()["episode_id"][0]])[0]
    picture = part.features["observation.images.image_1"]
    object.__setattr__(part, "features", {**part.features, "observation.images.image_0": picture})
    with pytest.raises(ConformError, match="image_0_bgr"):
        camera_features(part)


def test_twice_the_same_bytes(out: Path, dataset: Dataset, tmp_path: Path) -> None:
    export_dataset(dataset, out=tmp_path / "again", format="lerobot-v2.1")
    first, second = tree(out), tree(tmp_path / "again")
    assert list(first) == list(second)
    # The encoder's own bytes are a matter of tests/store/test_video.py.
    ours = [name for name in first if not name.endswith(".mp4")]
    assert [name for name in ours if first[name] != second[name]] == []


def test_wrong_usage_writes_nothing(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for options, message in (
        ({"out": tmp_path / "full", "format": "rlds"}, "something there already"),
        ({"out": tmp_path / "full" / "file", "format": "rlds"}, "something there already"),
        ({"out": tmp_path / "x", "format": "nothing"}, "lerobot-v2.1"),
        ({"out": tmp_path / "x", "format": "rlds", "where": "length > 100000"}, "no episode"),
        ({"out": tmp_path / "x", "format": "rlds", "where": "no_such > 1"}, "query"),
        ({"out": tmp_path / "x", "format": "rlds", "keep_pictures": True}, "^keep_pictures"),
    ):
        with pytest.raises(UsageError, match=message):
            export_dataset(dataset, **options)
    assert tree(tmp_path) == {"full/file": b"mine"}


def test_a_failure_leaves_nothing_behind(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(dataset: Dataset, *, out: Path, episode_ids: list[str]) -> None:
        (out / "half").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, "rlds", fail)
    with pytest.raises(Exception, match="No space left"):
        export_dataset(dataset, out=tmp_path / "x", format="rlds")
    assert list(tmp_path.iterdir()) == []


def test_what_an_unfinished_export_left_is_replaced(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / ".x.partial").mkdir()
    (tmp_path / ".x.partial" / "old").write_text("old")
    export_dataset(dataset, out=tmp_path / "x", format="unified80")
    assert not (tmp_path / ".x.partial").exists()
    assert not (tmp_path / "x" / "old").exists()


def test_parts_are_folders(converted: Path, dataset: Dataset, tmp_path: Path) -> None:
    """Two parts made of one: the second is the same dataset under another name."""
    import shutil

    from finedata.store.dataset import open_dataset

    root = tmp_path / "two"
    root.mkdir()
    marker = json.loads((converted / "finedata.json").read_text())
    entry = marker["parts"][0]
    marker["parts"] = []
    for name in ("one", "two"):
        shutil.copytree(converted, root / name, ignore=shutil.ignore_patterns("finedata.json"))
        marker["parts"].append(entry | {"name": name, "path": name})
        for path in (root / name).glob("meta/episodes/*/*.parquet"):
            rows = pq.read_table(path)
            for column, suffix in (("part", None), ("episode_id", f"-{name}")):
                old = rows[column].to_pylist()
                new = [name if suffix is None else value + suffix for value in old]
                at = rows.schema.get_field_index(column)
                rows = rows.set_column(at, rows.schema.field(at), pa.array(new))
            pq.write_table(rows, path)
    (root / "finedata.json").write_text(json.dumps(marker))
    for name in FORMATS:
        if name in ("starvla", "finedata"):  # the second wants receipts too: see test_subset
            continue
        out = tmp_path / f"out-{name}"
        keep = name == "lerobot-v2.1"
        summary = export_dataset(
            open_dataset(root), out=out, format=name, where="length > 20", keep_pictures=keep
        )
        assert summary.parts == ["one", "two"]
        assert Counter(path.name for path in out.iterdir()) == Counter(["one", "two"])
    only = export_dataset(
        open_dataset(root), out=tmp_path / "only", format="unified80", where="part = 'two'"
    )
    assert only.parts == ["."]
    assert (tmp_path / "only" / "unified_output").is_dir()
