"""Inputs that public reports describe, built small: each converts or says why, and is told of.

The address of each report stands at its test. Nothing of it is copied: what it says of the files
is written here anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults.verbs import say
from sources import bridge, generic_lerobot, robomimic
from sources.generic_lerobot import CAMERA
from sources.video import write_video

from finedata.convert.draft.propose import draft_converter
from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.store.dataset import Dataset, open_dataset

EPISODES = "meta/episodes/chunk-000/file-000.parquet"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


def edit(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def run(source: Path, tmp_path: Path, converter: str = "lerobot") -> Dataset:
    """Convert; `verify` finds nothing wrong and `info` shows it."""
    if converter == "draft":
        converter = str(tmp_path / "mine.toml")
        Path(converter).write_text(draft_converter(str(source), name="mine"))
    convert(converter, input=source, out=tmp_path / "out")
    report = verify(tmp_path / "out", input=source, decode=True)
    assert report.problems == []
    assert say("info", tmp_path / "out").code == 0
    return open_dataset(tmp_path / "out")


def told(dataset: Dataset) -> list[tuple[str | None, list[str]]]:
    """(reason, flags) of every receipt, in the source's order."""
    rows = dataset.receipts.sort("source_file", "source_record").collect()
    ours = {"rate_differs", "video_longer", "video_start_differs", "declared_length_differs"}
    ours |= {"camera_missing", "episode_file_differs", "other_not_converted"}
    return [(row["reason"], sorted(ours & set(row["flags"]))) for row in rows.to_dicts()]


def states(dataset: Dataset) -> list[list[float]]:
    ids = dataset.episodes.collect()["episode_id"]
    return [dataset.episode(one).columns["observation.state"][:, 0].tolist() for one in ids]


# LeRobot


def test_an_episode_in_the_file_after_the_one_that_is_said(source: Path, tmp_path: Path) -> None:
    """https://github.com/huggingface/lerobot/issues/2401: the file's index is a stale one."""
    generic_lerobot.write(source, episodes=4, length=5, episodes_per_file=2)

    def stale(rows: list[dict[str, Any]]) -> None:
        rows[2] |= {"data/chunk_index": 0, "data/file_index": 0}

    edit(source / EPISODES, stale)
    dataset = run(source, tmp_path)
    flags = [[], [], ["episode_file_differs"], []]
    assert told(dataset) == [(None, one) for one in flags]
    assert [len(one) for one in states(dataset)] == [5, 9, 13, 17]


def test_indices_that_are_scrambled(source: Path, tmp_path: Path) -> None:
    """https://github.com/huggingface/lerobot/issues/1919: dataset_from_index out of order."""
    truths = generic_lerobot.write(source, episodes=4, length=5, pictures=True)

    def scrambled(rows: list[dict[str, Any]]) -> None:
        for row, other in zip(rows, reversed(rows[:]), strict=True):
            row["dataset_from_index"] = other["dataset_to_index"]

    edit(source / EPISODES, scrambled)
    dataset = run(source, tmp_path)
    assert len(states(dataset)) == len(truths)


def test_a_file_of_rows_that_is_said_and_absent(source: Path, tmp_path: Path) -> None:
    """https://github.com/huggingface/lerobot/issues/2264: a merge whose file-001 is not there."""
    generic_lerobot.write(source, episodes=4, length=5, episodes_per_file=2)
    (source / "data/chunk-000/file-001.parquet").unlink()
    dataset = run(source, tmp_path)
    assert [reason for reason, _ in told(dataset)] == [None, None, "absent", "absent"]


@pytest.mark.parametrize(("more", "wanted"), [(-1, "unequal_lengths"), (2, None)])
def test_videos_of_other_lengths_than_the_rows(
    more: int, wanted: str | None, source: Path, tmp_path: Path
) -> None:
    """https://github.com/OpenDriveLab/AgiBot-World/issues/149: videos are misaligned."""
    generic_lerobot.write(source, version="v2.1", episodes=2, length=8)
    (video,) = source.rglob("episode_000001.mp4")
    write_video(video, 12 + more, fps=10)
    dataset = run(source, tmp_path)
    assert told(dataset) == [(None, []), (wanted, [] if wanted else ["video_longer"])]


def test_a_video_of_another_rate_than_the_rows(source: Path, tmp_path: Path) -> None:
    """https://github.com/jashshah999/lerobot-doctor/issues/7: videos 3 % longer than their rows."""
    generic_lerobot.write(source, version="v2.1", episodes=2, length=8)
    (video,) = source.rglob("episode_000001.mp4")
    write_video(video, 12, fps=9.7)
    dataset = run(source, tmp_path)
    assert [reason for reason, _ in told(dataset)] == [None, None]


def test_a_camera_whose_axes_have_no_names(source: Path, tmp_path: Path) -> None:
    """https://github.com/NVIDIA/Isaac-GR00T/issues/291: KeyError: 'names'."""
    generic_lerobot.write(source, version="v2.1", episodes=2, length=5)
    edit_json(source / "meta/info.json", lambda info: info["features"][CAMERA].pop("names"))
    dataset = run(source, tmp_path)
    assert told(dataset) == [(None, []), (None, [])]
    assert dataset.episodes.collect()["cameras"].to_list() == [["front"]] * 2


@pytest.mark.parametrize("number", [2**70, -(2**63) - 1])
def test_a_number_of_a_camera_that_no_64_bits_hold(
    source: Path, tmp_path: Path, number: int
) -> None:
    """Of our own mutations: conversion stopped at it."""
    generic_lerobot.write(source, version="v2.1", episodes=2, length=5)

    def change(info: Any) -> None:
        info["features"][CAMERA].setdefault("info", {})["video.serial"] = [number, 7]

    edit_json(source / "meta/info.json", change)
    assert told(run(source, tmp_path)) == [(None, [])] * 2


def test_no_list_of_episodes(source: Path, tmp_path: Path) -> None:
    """https://github.com/NVIDIA/Isaac-GR00T/issues/408: no meta/episodes.jsonl."""
    generic_lerobot.write(source, version="v2.1", episodes=3, length=5)
    (source / "meta/episodes.jsonl").unlink()
    dataset = run(source, tmp_path)
    assert [reason for reason, _ in told(dataset)] == [None] * 3


def test_time_stamps_off_by_more_than_the_tolerance(source: Path, tmp_path: Path) -> None:
    """https://github.com/huggingface/lerobot/issues/933: a recording that was resumed."""
    generic_lerobot.write(source, version="v2.1", episodes=2, length=8)
    (rows,) = source.rglob("episode_000001.parquet")

    def late(table: list[dict[str, Any]]) -> None:
        for row in table[4:]:
            row["timestamp"] += 0.35

    edit(rows, late)
    dataset = run(source, tmp_path)
    assert [reason for reason, _ in told(dataset)] == [None, None]
    ids = dataset.episodes.collect()["episode_id"]
    stored = dataset.episode(ids[1]).columns
    assert stored["timestamp"].tolist() == pytest.approx([k / 10 for k in range(12)])
    assert max(np.diff(stored["source_time_s"])) == pytest.approx(0.45, abs=1e-3)


# RLDS


def test_more_files_than_the_description_counts(source: Path, tmp_path: Path) -> None:
    """https://github.com/kpertsch/rlds_dataset_builder/issues/15: 25 lengths for 32 files."""
    source.mkdir()
    bridge.write(source, episodes=4, length=4, size=(16, 16))
    (info,) = source.rglob("dataset_info.json")
    shards = sorted(info.parent.glob("*-train.tfrecord-*"))
    name = shards[0].name.split("-00000-of")[0]
    shards[0].rename(info.parent / f"{name}-00000-of-00003")
    (info.parent / f"{name}-00002-of-00003").write_bytes(
        (info.parent / f"{name}-00000-of-00003").read_bytes()
    )
    dataset = run(source, tmp_path, "bridge_v2")
    reasons = [reason for reason, _ in told(dataset)]
    assert len(reasons) == 6
    assert reasons.count("duplicate_id") == 2


def test_the_last_file_is_absent(source: Path, tmp_path: Path) -> None:
    """https://github.com/google-deepmind/open_x_embodiment/issues/40"""
    source.mkdir()
    bridge.write(source, episodes=4, length=4, size=(16, 16))
    next(iter(sorted(source.rglob("*-val.tfrecord-*")))).unlink()
    said = say("convert", "bridge_v2", "--input", source, "--out", tmp_path / "out")
    assert said.code == 0
    assert open_dataset(tmp_path / "out").info.counts["found"] == 2
    assert verify(tmp_path / "out", input=source).problems == []


def test_records_that_were_never_pulled(source: Path, tmp_path: Path) -> None:
    """https://github.com/moojink/openvla-oft/issues/3: "corrupted record at 0"."""
    source.mkdir()
    bridge.write(source, episodes=4, length=4, size=(16, 16))
    shard = next(iter(sorted(source.rglob("*-train.tfrecord-*"))))
    shard.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 130\n")
    convert("bridge_v2", input=source, out=tmp_path / "out")
    messages = open_dataset(tmp_path / "out").receipts.collect()["message"].drop_nulls()
    assert any("git lfs pull" in message for message in messages)
    assert verify(tmp_path / "out", input=source).problems == []


# HDF5


def test_fewer_demonstrations_than_are_counted(source: Path, tmp_path: Path) -> None:
    """https://github.com/robocasa/robocasa/issues/49: 55 demonstrations, and 53 after a step."""
    source.mkdir()
    robomimic.write(source, lengths=(5,) * 6)
    (file,) = source.iterdir()
    with h5py.File(file, "r+") as opened:
        del opened["data/demo_2"], opened["data/demo_5"]
        opened["data/demo_4/obs/agentview_rgb"][...] = 0  # black, as the report says
    dataset = run(source, tmp_path, "draft")
    assert [reason for reason, _ in told(dataset)] == [None] * 4 + ["absent"] * 2


def test_demonstrations_without_observations(source: Path, tmp_path: Path) -> None:
    """https://github.com/ARISE-Initiative/robomimic/issues/238: states and actions alone."""
    source.mkdir()
    robomimic.write(source, pictures=False, libero=False)
    (file,) = source.iterdir()
    with h5py.File(file, "r+") as opened:
        for k in range(3):
            opened.move(f"data/demo_{k}", f"data/demo_{k + 1}x")
            opened.move(f"data/demo_{k + 1}x", f"data/demo_{k + 10}")
            del opened[f"data/demo_{k + 10}/obs"]
        del opened["mask"]
    dataset = run(source, tmp_path, "draft")
    assert [reason for reason, _ in told(dataset)] == [None] * 3
    locators = dataset.receipts.collect()["locator"].to_list()
    assert [locator.rsplit("#")[1] for locator in locators] == ["demo_10", "demo_11", "demo_12"]


def test_a_filter_that_is_not_there(source: Path, tmp_path: Path) -> None:
    """https://github.com/ARISE-Initiative/robomimic/issues/48: mask/... "component not found"."""
    source.mkdir()
    robomimic.write(source, pictures=False)
    (file,) = source.iterdir()
    with h5py.File(file, "r+") as opened:
        del opened["mask/train"]
        opened["mask/odd"] = np.arange(3)
    dataset = run(source, tmp_path, "draft")
    assert [reason for reason, _ in told(dataset)] == [None] * 3
