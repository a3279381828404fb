"""Every feature, camera, episode and task that a LeRobot dataset declares is kept, or is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from convert.lerobot_view import receipts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import generic_lerobot
from sources.generic_lerobot import encoded_picture
from sources.lerobot_writer import WrittenEpisode, write_lerobot

from finedata.convert.run import convert
from finedata.store.dataset import open_dataset
from finedata.store.describe import describe, description_text

LENGTHS = (6, 7, 8)


def converted(folder: Path) -> Path:
    out = folder.parent / f"{folder.name}_out"
    shutil.rmtree(out, ignore_errors=True)
    convert("lerobot", input=folder, out=out)
    return out


def dataset_of(folder: Path, columns: dict[str, Any], **knobs: Any) -> Path:
    """Three episodes; a column is a function of (episode, frames)."""
    episodes = [
        WrittenEpisode({name: make(number, length) for name, make in columns.items()}, ("do it",))
        for number, length in enumerate(LENGTHS)
    ]
    return write_lerobot(folder, episodes, **knobs)


def pictures(start: int) -> Any:
    return lambda episode, length: [
        encoded_picture(1000 * start + 100 * episode + k) for k in range(length)
    ]


def numbers(dtype: str, *shape: int) -> Any:
    def make(episode: int, length: int) -> np.ndarray:
        values = np.random.default_rng(episode).integers(
            0, 2 if dtype == "bool" else 100, (length, *shape)
        )
        return values.astype(dtype)

    return make


CAMERAS = st.lists(
    st.sampled_from(
        [
            "image",
            "wrist_image",
            "observation.image",
            "observation.images.top",
            "observation.images.Top",
            "observation.images.左腕",
            "observation.images.右腕",
            "observation.images.tête",
            "observation.rgb.left cam",
            "video_of_the_hand",
            "摄像头",
        ]
    ),
    min_size=1,
    max_size=6,
    unique=True,
)


@settings(max_examples=5, deadline=None)
@given(names=CAMERAS)
def test_every_camera_is_kept_under_a_name_of_its_own(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("cameras")
    columns = {name: pictures(k) for k, name in enumerate(names)}
    out = converted(dataset_of(root / "in", {"state": numbers("float32", 3)} | columns))
    dataset = open_dataset(out)
    (part,) = dataset.parts
    receipts = list(receipts_of(out).values())
    stored = {name: name for name in pq.read_schema(out / "data/chunk-000/file-000.parquet").names}
    origin = {name: part.renamed.get(name, name) for name in stored}
    assert sorted(origin[name] for name in stored if origin[name] in names) == sorted(names)
    assert all(len(row["images"]) == len(names) for row in receipts)
    assert all(row["flags"] == [] for row in receipts)
    page = description_text(describe(dataset))
    for name, was in part.renamed.items():
        assert name.isascii()
        assert f"{name} is {was} in the source" in page
    episode = dataset.episode(receipts[1]["episode_id"])
    for k, name in enumerate(names):
        (camera,) = (one for one, was in origin.items() if was == name)
        found = episode.pictures[camera.removeprefix("observation.images.")]
        assert found == pictures(k)(1, LENGTHS[1])


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_features_keep_their_shapes_and_types(version: str, tmp_path: Path) -> None:
    columns = {
        "observation.pose": numbers("float32", 2, 3),
        "action": numbers("float64", 4, 6),
        "cloud": numbers("float16", 4, 3, 2),
        "mode": numbers("int16"),
        "code(mm)": numbers("uint8", 2),
        "wide": numbers("uint64"),
        "flag": numbers("bool"),
        "腕": numbers("int8", 3),
        "note": lambda episode, length: [f"{episode} {k} é" for k in range(length)],
    }
    source = dataset_of(tmp_path / "in", columns, version=version, lists="list")
    out = converted(source)
    dataset = open_dataset(out)
    features = json.loads((out / "meta/info.json").read_text())["features"]
    for number, row in enumerate(receipts_of(out).values()):
        assert row["flags"] == []
        stored = dataset.episode(row["episode_id"]).columns
        for name, make in columns.items():
            wanted = make(number, LENGTHS[number])
            if name == "note":
                assert stored[name].tolist() == wanted
                assert features[name]["dtype"] == "string"
                continue
            assert stored[name].dtype == wanted.dtype
            assert np.array_equal(stored[name], wanted)
            assert features[name]["dtype"] == str(wanted.dtype)
            assert features[name]["shape"] == (list(wanted.shape[1:]) or [1])
    stats = json.loads((out / "meta/stats.json").read_text())
    assert np.shape(stats["observation.pose"]["mean"]) == (2, 3)
    assert "note" not in stats
    assert dataset.frames.select("note", "observation.pose").collect().height == sum(LENGTHS)


def test_what_cannot_be_kept_is_named_everywhere(tmp_path: Path) -> None:
    def nested(episode: int, length: int) -> pa.Array:
        return pa.array([{"a": episode, "b": [k]} for k in range(length)])

    source = dataset_of(tmp_path / "in", {"state": numbers("float32", 3), "odd": nested})
    info = json.loads((source / "meta/info.json").read_text())
    info["features"]["gone"] = {"dtype": "float32", "shape": [2], "names": None}
    info["features"]["observation.images.gone"] = {"dtype": "video", "shape": [4, 4, 3]}
    (source / "meta/info.json").write_text(json.dumps(info))
    out = tmp_path / "in_out"
    summary = convert("lerobot", input=source, out=out)
    assert sorted(summary.left_out) == ["gone", "odd"]
    assert summary.flags == {"camera_missing": 3, "other_not_converted": 3}
    dataset = open_dataset(out)
    missing = dataset.episodes.select("cameras", "cameras_missing").collect().rows()
    assert missing == [([], ["gone"])] * 3
    page = description_text(describe(dataset))
    assert "odd was left out: struct" in page
    assert "gone was left out: declared by the source, and not in the episode" in page


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_no_folder_of_videos_is_said_everywhere(version: str, tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path / "in", version=version)
    shutil.rmtree(tmp_path / "in/videos")
    out = tmp_path / "out"
    summary = convert("lerobot", input=tmp_path / "in", out=out)
    assert (summary.episodes, summary.flags) == (3, {"camera_missing": 3})
    dataset = open_dataset(out)
    missing = dataset.episodes.select("cameras_missing").collect()["cameras_missing"].to_list()
    assert missing == [["front"]] * 3
    assert "flag      camera_missing: 3 episodes" in description_text(describe(dataset))


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_words_of_one_table_are_found_in_the_other(version: str, tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path / "in", version=version)
    tasks = tmp_path / "in/meta/tasks.jsonl"
    if version == "v3.0":
        tasks = tasks.with_suffix(".parquet")
        table = pa.table({"task_index": [0], "task": pa.array([None], pa.string())})
        pq.write_table(table, tasks)
    else:
        tasks.write_text('{"task_index": 0, "task": null}\n')
    dataset = open_dataset(converted(tmp_path / "in"))
    found = dataset.episodes.select("task").collect()["task"].to_list()
    assert found == ["pick up the red block", "open the drawer", "pick up the red block"]
    tasks.unlink()
    dataset = open_dataset(converted(tmp_path / "in"))
    assert dataset.episodes.select("task").collect()["task"].to_list() == found


def test_words_that_no_table_has_are_no_instruction(tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path / "in", version="v2.1")
    (tmp_path / "in/meta/tasks.jsonl").write_text('{"task_index": 0, "task": null}\n')
    episodes = tmp_path / "in/meta/episodes.jsonl"
    episodes.write_text(episodes.read_text().replace('"tasks"', '"words"'))
    receipts = receipts_of(converted(tmp_path / "in"))
    assert [row["flags"] for row in receipts.values()] == [["empty_instruction"]] * 3


def test_tables_that_name_different_tasks_are_flagged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generic_lerobot.write(tmp_path / "in", version="v2.1")
    tasks = tmp_path / "in/meta/tasks.jsonl"
    lines = tasks.read_text().replace("open the drawer", "Close the drawer.")
    tasks.write_text(lines)
    receipts = receipts_of(converted(tmp_path / "in"))
    assert [row["flags"] for row in receipts.values()] == [[], ["task_differs"], []]
    assert caplog.messages == []
    tasks.write_text(lines + '{"task_index": 0, "task": "wave"}\n')  # the same index twice
    receipts = receipts_of(converted(tmp_path / "in"))
    (said,) = set(caplog.messages)
    for wanted in ("meta/tasks.jsonl", "task_index 0", "'pick up the red block'", "'wave'"):
        assert wanted in said
    assert [row["flags"] for row in receipts.values()] == [["task_differs"]] * 3


def test_hidden_files_are_none_of_the_source(tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path / "in", version="v2.1")
    data = tmp_path / "in/data/chunk-000"
    (data / "._episode_000000.parquet").write_bytes(b"\x00\x05\x16\x07")
    (data / ".ipynb_checkpoints").mkdir()
    shutil.copy(data / "episode_000001.parquet", data / ".ipynb_checkpoints/episode_000001.parquet")
    shutil.copytree(tmp_path / "in/meta", tmp_path / "in/.ipynb_checkpoints/meta")
    shutil.copytree(tmp_path / "in/data", tmp_path / "in/__MACOSX/data")
    summary = convert("lerobot", input=tmp_path / "in", out=tmp_path / "out")
    assert (summary.found, summary.episodes, summary.missing_shards) == (3, 3, [])


def test_declared_episodes_without_rows_have_receipts(tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path / "in", version="v2.1", episodes=5)
    for number in (0, 3):
        (tmp_path / f"in/data/chunk-000/episode_{number:06d}.parquet").unlink()
    summary = convert("lerobot", input=tmp_path / "in", out=tmp_path / "out")
    assert (summary.found, summary.episodes, summary.failed) == (5, 3, 2)
    receipts = receipts_of(tmp_path / "out")
    assert [row["reason"] for row in receipts.values()] == ["absent", None, None, "absent", None]


def test_what_a_camera_declares_beside_its_size_is_kept(tmp_path: Path) -> None:
    """Depth is what info.json says is depth; its scale is worth as much as its pixels."""
    generic_lerobot.write(tmp_path / "in")
    path = tmp_path / "in/meta/info.json"
    info = json.loads(path.read_text())
    camera = info["features"][generic_lerobot.CAMERA]
    declared = {"video.pix_fmt": "gray12le", "video.is_depth_map": True, "depth_max": 10.0}
    camera["info"] |= declared | {"video.channels": 1, "video.height": 7}
    path.write_text(json.dumps(info))
    out = converted(tmp_path / "in")
    kept = json.loads((out / "meta/info.json").read_text())["features"][generic_lerobot.CAMERA]
    assert kept["shape"] == [32, 48, 1]
    assert declared.items() <= kept["info"].items()
    assert (kept["info"]["video.height"], kept["info"]["video.codec"]) == (32, "h264")
