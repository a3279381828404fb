"""The corpus as others see it: tensorflow-datasets reads it, scipy recovers its poses."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter

import numpy as np
from corpora.defects import DEFECTS
from corpora.pose import DEFAULT_ROTATION
from corpora.record import instruction_embedding
from corpora.tfrecord import masked_crc32c
from scipy.spatial.transform import Rotation


def _whole(truths):
    return [truth for truth in truths if truth.kind in ("good", "near_duplicate")]


def test_tfds_reads_every_whole_record(bridge_corpus, info, payload_of):
    folder, truths = bridge_corpus
    assert len(_whole(truths)) == 22, "21 and the duplicate id"
    for truth in _whole(truths):
        example = info.features.deserialize_example_np(payload_of(folder, truth))
        metadata = example["episode_metadata"]
        assert metadata["file_path"].decode() == truth.file_path
        assert metadata["episode_id"] == truth.source_episode_id
        assert metadata["has_language"]
        assert not any(metadata[f"has_image_{camera}"] for camera in range(4))
        steps = list(example["steps"])
        assert len(steps) == truth.length
        for key, found in (("is_first", 0), ("is_last", -1), ("is_terminal", -1), ("reward", -1)):
            column = [float(step[key]) for step in steps]
            assert (column.pop(found), set(column)) == (1.0, {0.0})
        assert {float(step["discount"]) for step in steps} == {1.0}
        assert {step["language_instruction"].decode() for step in steps} == {truth.instruction}
        embedding = np.array([step["language_embedding"] for step in steps])
        assert (embedding == instruction_embedding(truth.instruction)).all()
        state = np.array([step["observation"]["state"] for step in steps])
        action = np.array([step["action"] for step in steps])
        _check_truth(truth, state, action)
        for camera in range(4):
            pictures = np.array([step["observation"][f"image_{camera}"] for step in steps])
            assert pictures.shape == (truth.length, 64, 64, 3)
            assert bool(pictures.any()) == (camera < 2)


def _check_truth(truth, state, action):
    """Poses by scipy from the numbers as TFDS read them."""
    state, action = state.astype(np.float64), action.astype(np.float64)
    default = Rotation.from_matrix(DEFAULT_ROTATION)
    np.testing.assert_array_equal(truth.position_m, state[:, :3])
    np.testing.assert_array_equal(truth.gripper_open, state[:, 6])
    np.testing.assert_array_equal(truth.target_gripper_open, action[:, 6])
    measured = (Rotation.from_euler("xyz", state[:, 3:6]) * default).as_quat()
    _same_rotations(truth.tool_quaternion_xyzw, measured)
    position, rotation = state[0, :3], Rotation.from_euler("xyz", state[0, 3:6])
    for step, delta in enumerate(action):
        position = position + delta[:3]
        rotation = Rotation.from_euler("xyz", delta[3:6]) * rotation
        np.testing.assert_allclose(truth.target_position_m[step], position, atol=1e-12)
        _same_rotations(truth.target_quaternion_xyzw[step], (rotation * default).as_quat())
    assert truth.tool_quaternion_xyzw[0, 3] >= 0
    assert truth.tool_quaternion_xyzw[0] @ truth.target_quaternion_xyzw[0] > 0
    for quaternion in (truth.tool_quaternion_xyzw, truth.target_quaternion_xyzw):
        assert ((quaternion[1:] * quaternion[:-1]).sum(axis=1) > 0.9).all()


def _same_rotations(found, expected):
    np.testing.assert_allclose(np.abs((found * expected).sum(axis=-1)), 1.0, atol=1e-12)


def test_the_declaration_counts_what_was_written(bridge_corpus, info):
    folder, truths = bridge_corpus
    for split, wanted in (("train", 4), ("val", 1)):
        here = [truth for truth in truths if truth.split == split]
        assert info.splits[split].num_examples == len(here)
        assert info.splits[split].num_bytes == sum(truth.payload_bytes for truth in here)
        assert list(info.splits[split].shard_lengths) == list(
            Counter(truth.shard_file for truth in here).values()
        )
        assert len(list(folder.glob(f"*-{split}.tfrecord-*-of-{wanted:05d}"))) == wanted
        assert all(f"/{split}/out.npy" in truth.file_path for truth in here)


def test_the_truth_says_where_each_record_lies(bridge_corpus):
    folder, truths = bridge_corpus
    assert [truth.record_index for truth in truths] == list(range(len(truths)))
    assert len({(t.file_path, t.source_episode_id) for t in truths}) == len(truths) - 1
    for name in sorted({truth.shard_file for truth in truths}):
        data, offset = (folder / name).read_bytes(), 0
        records = [truth for truth in truths if truth.shard_file == name]
        assert [truth.record_in_shard for truth in records] == list(range(len(records)))
        for truth in records:
            assert truth.byte_offset == offset
            length, check = struct.unpack_from("<QI", data, offset)
            assert (length, check) == (truth.payload_bytes, masked_crc32c(data[offset:][:8]))
            payload = data[offset + 12 :][:length]
            assert hashlib.sha256(payload).hexdigest() == truth.payload_sha256 or (
                truth.defect == "truncated"
            )
            if truth.defect == "truncated":
                assert len(payload) < length
                assert truth is truths[-1]
            else:
                (crc,) = struct.unpack_from("<I", data, offset + 12 + length)
                assert (crc == masked_crc32c(payload)) == (truth.defect != "checksum_mismatch")
            offset += length + 16


def test_every_defect_is_there_once(bridge_corpus):
    _, truths = bridge_corpus
    planted = Counter(truth.defect for truth in truths if truth.defect)
    assert planted == dict.fromkeys(DEFECTS, 1)
    for truth in truths:
        if truth.defect:
            assert truth.kind == DEFECTS[truth.defect].kind
    assert Counter(t.kind for t in truths if t.defect) == {"failed": 5, "flagged": 6, "good": 1}


def _broken(bridge_corpus, defect, payload_of):
    folder, truths = bridge_corpus
    (truth,) = (truth for truth in truths if truth.defect == defect)
    return truth, payload_of(folder, truth)


def test_failed_records_are_broken_as_said(bridge_corpus, parse, payload_of):
    truth, payload = _broken(bridge_corpus, "zero_steps", payload_of)
    record = parse(payload)
    assert (truth.length, record["steps/action"], record["steps/is_first"]) == (0, [], [])
    assert truth.position_m.shape == (0, 3)
    truth, payload = _broken(bridge_corpus, "unequal_lengths", payload_of)
    record = parse(payload)
    assert len(record["steps/action"]) == 7 * truth.length
    assert len(record["steps/observation/state"]) == 7 * (truth.length - 1)
    _, payload = _broken(bridge_corpus, "missing_feature", payload_of)
    assert "steps/action" not in parse(payload)


def test_flagged_records_are_broken_as_said(bridge_corpus, parse, payload_of):
    truth, payload = _broken(bridge_corpus, "nan_state", payload_of)
    state = np.array(parse(payload)["steps/observation/state"]).reshape(-1, 7)
    assert np.isnan(state).all(axis=1).sum() == 1
    assert (np.isnan(state).all(axis=1) == np.isnan(truth.position_m).any(axis=1)).all()
    assert np.isfinite(truth.target_position_m).all()
    truth, payload = _broken(bridge_corpus, "frozen_state", payload_of)
    record = parse(payload)
    assert len(np.unique(np.reshape(record["steps/observation/state"], (-1, 7)), axis=0)) == 1
    assert np.ptp(truth.target_position_m, axis=0).max() > 0.05
    truth, payload = _broken(bridge_corpus, "missing_camera", payload_of)
    assert "steps/observation/image_1" not in parse(payload)
    assert set(truth.camera_sha256) == {"image_0", "image_2", "image_3"}
    truth, payload = _broken(bridge_corpus, "empty_instruction", payload_of)
    record = parse(payload)
    assert set(record["steps/language_instruction"]) == {b""}
    assert not any(record["steps/language_embedding"])
    assert record["episode_metadata/has_language"] == [0]
    assert "/scripted_numpy_256/" in truth.file_path
    for defect, kind in (("empty_picture", b""), ("undecodable_picture", b"this")):
        frames = parse(_broken(bridge_corpus, defect, payload_of)[1])["steps/observation/image_0"]
        odd = [data for data in frames if not data.startswith(b"\xff\xd8")]
        assert len(odd) == 1
        assert odd[0][:4] == kind


def test_picture_digests_are_those_of_the_file(bridge_corpus, parse, payload_of):
    folder, truths = bridge_corpus
    for truth in truths[:4]:
        record = parse(payload_of(folder, truth))
        found = {
            name: tuple(map(_sha256, record[f"steps/observation/{name}"]))
            for name in truth.camera_sha256
        }
        assert len(found) >= 3
        assert found == truth.camera_sha256


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_near_duplicates_name_what_they_repeat(bridge_corpus):
    _, truths = bridge_corpus
    near = [truth for truth in truths if truth.kind == "near_duplicate"]
    assert len(near) >= 6
    for truth in near:
        original = truths[truth.near_duplicate_of]
        assert original.kind == "good"
        assert (original.way, original.task_instruction) == (truth.way, truth.task_instruction)
    assert len({truth.task_instruction for truth in truths}) == 3
    assert len({(truth.task_instruction, truth.way) for truth in truths}) == 9


def test_the_duplicate_has_another_ones_key(bridge_corpus):
    _, truths = bridge_corpus
    (twin,) = (truth for truth in truths if truth.defect == "duplicate_id")
    key = (twin.file_path, twin.source_episode_id)
    assert sum((t.file_path, t.source_episode_id) == key for t in truths) == 2
