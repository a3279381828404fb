"""The demo corpus, whose truth is known, comes out as what it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from conftest import Corpus

from finedata.motion import geodesic_angle_rad
from finedata.schema.conform import conform
from finedata.schema.identity import episode_id, task_id
from finedata.store.dataset import Dataset, open_dataset
from finedata.store.pictures import black_jpeg

PREFIX = "/nfs/kun2/users/homer/datasets/bridge_data_all/"


@pytest.fixture(scope="module")
def dataset(converted: Path) -> Dataset:
    return open_dataset(converted)


def identity(truth: object) -> str:
    locator = f"{truth.file_path.removeprefix(PREFIX)}#{truth.source_episode_id}"
    assert not locator.startswith("/")
    return episode_id("bridge_v2", locator)


def written(corpus: Corpus) -> list:
    return corpus.of_kind("good", "near_duplicate", "flagged")


def test_counts_add_up(corpus: Corpus, dataset: Dataset) -> None:
    counts = dataset.info.counts
    assert counts["found"] == len(corpus.truths) == 22
    assert counts["failed"] == len(corpus.of_kind("failed")) == 4
    assert counts["written"] == len(written(corpus)) == 18
    assert counts["frames_written"] == sum(truth.length for truth in written(corpus))
    assert counts["frames_dropped"] == 0


def test_every_record_has_one_receipt_in_order(corpus: Corpus, dataset: Dataset) -> None:
    receipts = dataset.receipts.collect()
    assert receipts["source_file"].to_list() == [truth.shard_file for truth in corpus.truths]
    assert receipts["source_record"].to_list() == [t.record_in_shard for t in corpus.truths]
    assert receipts["byte_offset"].to_list() == [t.byte_offset + 12 for t in corpus.truths]
    assert receipts["byte_length"].to_list() == [t.payload_bytes for t in corpus.truths]
    reasons = [truth.defect if truth.kind == "failed" else None for truth in corpus.truths]
    assert receipts["reason"].to_list() == reasons
    digests = receipts["source_sha256"].drop_nulls()
    assert digests.n_unique() == len(digests) == 18
    for row, truth in zip(receipts.iter_rows(named=True), corpus.truths, strict=True):
        if truth.kind != "failed":
            assert len(row["source_sha256"]) == 64
            assert row["episode_id"] == identity(truth)


def test_poses_are_the_truth(corpus: Corpus, dataset: Dataset) -> None:
    for truth in written(corpus):
        episode = dataset.episode(identity(truth))
        state, action = episode.state.astype(np.float64), episode.action.astype(np.float64)
        seen = np.isfinite(truth.position_m).all(axis=1)
        np.testing.assert_allclose(state[:, :3], truth.position_m, atol=1e-6)
        np.testing.assert_allclose(state[:, 7], truth.gripper_open, atol=1e-6)
        np.testing.assert_allclose(action[:, 7], truth.target_gripper_open, atol=1e-6)
        np.testing.assert_allclose(action[:, :3], truth.target_position_m, atol=1e-6)
        for found, wanted in (
            (state[seen, 3:7], truth.tool_quaternion_xyzw[seen]),
            (action[:, 3:7], truth.target_quaternion_xyzw),
        ):
            assert geodesic_angle_rad(found, wanted).max() < 1e-4
            # The sign too, not only the rotation.
            np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_every_picture_keeps_its_bytes(corpus: Corpus, dataset: Dataset) -> None:
    compared = 0
    for truth in written(corpus):
        episode = dataset.episode(identity(truth))
        for camera, digests in truth.camera_sha256.items():
            found = [hashlib.sha256(data).hexdigest() for data in episode.pictures[camera]]
            empty = hashlib.sha256(b"").hexdigest()
            black = hashlib.sha256(black_jpeg(48, 48)).hexdigest()
            assert found == [black if digest == empty else digest for digest in digests]
            compared += len(found)
    assert compared > 1000


def test_an_absent_camera_is_black_and_said(corpus: Corpus, dataset: Dataset) -> None:
    (truth,) = [t for t in corpus.truths if t.defect == "missing_camera"]
    episode = dataset.episode(identity(truth))
    assert episode.pictures["image_1"] == [black_jpeg(48, 48)] * truth.length
    rows = dataset.episodes.filter(pl.col("episode_id") == identity(truth)).collect()
    assert rows["cameras_missing"].to_list() == [["image_1", "image_2", "image_3"]]


def test_flags_say_what_is_odd(corpus: Corpus, dataset: Dataset) -> None:
    receipts = dataset.receipts.select("episode_id", "flags").collect()
    flags = dict(receipts.iter_rows())
    wanted = {
        "nan_state": "nonfinite_state",
        "undecodable_picture": "undecodable_picture",
        "empty_picture": "undecodable_picture",
        "empty_instruction": "empty_instruction",
        "frozen_state": "state_frozen",
        "missing_camera": "camera_missing",
    }
    # Two cameras of every record see nothing, each first action commands nothing, rewards stay.
    usual = {
        "bookkeeping_not_converted",
        "camera_missing",
        "idle_first_action",
        "placeholder_pictures",
    }
    for truth in written(corpus):
        found = set(flags[identity(truth)])
        if truth.defect in wanted:
            assert wanted[truth.defect] in found
        if truth.kind in ("good", "near_duplicate"):
            assert found == usual


def test_receipts_know_lag_and_residual(corpus: Corpus, dataset: Dataset) -> None:
    receipts = {row["episode_id"]: row for row in dataset.receipts.collect().to_dicts()}
    for truth in corpus.of_kind("good", "near_duplicate"):
        (arm,) = receipts[identity(truth)]["arms"]
        assert arm["encoding"] == "euler_xyz_extrinsic"
        assert arm["lag_frames"] in (1, 2)
        assert arm["action_state_position_m"] < 0.03
        assert arm["quaternion_norm_min"] is None


def test_language_and_splits(corpus: Corpus, dataset: Dataset) -> None:
    rows = dataset.episodes.collect().to_dicts()
    truths = written(corpus)
    assert [row["task"] for row in rows] == [truth.instruction for truth in truths]
    assert [row["split"] for row in rows] == [truth.split for truth in truths]
    for row in rows:
        assert row["task_id"] == task_id(row["task"])
        assert row["tasks"] == [row["task"]]
    tasks = pq.read_table(dataset.root / "meta/tasks.parquet").to_pydict()
    assert [tasks["task"][row["task_index"]] for row in rows] == [t.instruction for t in truths]
    assert tasks["task_index"] == list(range(len(tasks["task"])))


def test_stored_tables_conform(dataset: Dataset) -> None:
    for name, pattern in (
        ("frames", "data/*/*.parquet"),
        ("episodes", "meta/episodes/*/*.parquet"),
        ("receipts", "curation/receipts.parquet"),
    ):
        files = list(dataset.root.glob(pattern))
        assert files
        for file in files:
            table = pq.read_table(file)
            assert conform(table, name).num_rows == table.num_rows


def test_data_files_hold_one_row_group_an_episode(corpus: Corpus, dataset: Dataset) -> None:
    (file,) = dataset.root.glob("data/*/*.parquet")
    metadata = pq.read_metadata(file)
    lengths = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert lengths == [truth.length for truth in written(corpus)]


def test_no_clock_host_or_path_in_the_output(converted: Path, corpus: Corpus) -> None:
    import platform

    for path in converted.rglob("*"):
        if path.is_file() and ".finedata" not in path.parts:
            content = path.read_bytes()
            assert str(converted).encode() not in content
            assert str(corpus.folder).encode() not in content
            if len(platform.node()) > 4:
                assert platform.node().encode() not in content
