"""RLDS read back by tensorflow-datasets, and its framing by a parser of this test."""

from __future__ import annotations

import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import tensorflow_datasets as tfds
from store.export.independent import decoded, far_apart, tree

from finedata.readers.rlds.source import open_rlds
from finedata.readers.rlds.tfrecord import scan_records
from finedata.store.dataset import Dataset
from finedata.store.export import rlds
from finedata.store.export.run import export_dataset


def records(path: Path) -> list[bytes]:
    """Payloads, both checksums checked."""
    data = path.read_bytes()
    found = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        for payload, crc in ((data[:8], data[8:12]), (data[12 : 12 + length], data[12 + length :])):
            value = google_crc32c.value(payload)
            masked = ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
            assert struct.pack("<I", masked) == crc[:4]
        found.append(data[12 : 12 + length])
        data = data[16 + length :]
    return found


def episodes(out: Path) -> dict[str, dict]:
    """Every episode by id, as tensorflow-datasets decodes it."""
    features = tfds.features.FeaturesDict.from_config(str(out))
    found = {}
    for path in sorted(out.glob("*.tfrecord-*")):
        for payload in records(path):
            example = features.deserialize_example_np(payload)
            name = example["episode_metadata"]["episode_id"].decode()
            found[name] = example | {"steps": list(example["steps"])}
    return found


@pytest.fixture(scope="module")
def out(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("rlds") / "bridge"
    summary = export_dataset(dataset, out=target, format="rlds")
    assert summary.episodes == dataset.episodes.collect().height
    return target


def test_the_builder_knows_the_splits(out: Path, dataset: Dataset) -> None:
    info = tfds.builder_from_directory(out).info
    table = dataset.episodes.collect()
    assert {name: split.num_examples for name, split in info.splits.items()} == dict(
        table.group_by("split").len().iter_rows()
    )
    for split in info.splits.values():
        assert sum(len(p) for f in split.filepaths for p in records(Path(f))) == split.num_bytes
    assert "BridgeData" in info.description
    assert info.redistribution_info.license == "CC-BY-4.0"
    assert str(info.features["steps"]["observation"]["image_0"].shape) == "(48, 48, 3)"


def test_every_step_is_the_datasets(out: Path, dataset: Dataset) -> None:
    found = episodes(out)
    rows = dataset.episodes.collect().to_dicts()
    assert set(found) == {row["episode_id"] for row in rows}
    for row in rows:
        episode = dataset.episode(row["episode_id"])
        steps = found[row["episode_id"]]["steps"]
        assert len(steps) == len(episode)
        np.testing.assert_array_equal([s["observation"]["state"] for s in steps], episode.state)
        np.testing.assert_array_equal([step["action"] for step in steps], episode.action)
        np.testing.assert_array_equal(
            [step["action_valid"] for step in steps], episode.columns["action_valid"]
        )
        last = [False] * (len(steps) - 1) + [True]
        assert [bool(step["is_last"]) for step in steps] == last
        assert [bool(step["is_terminal"]) for step in steps] == last
        assert [bool(step["is_first"]) for step in steps] == [i == 0 for i in range(len(steps))]
        assert [float(step["discount"]) for step in steps] == [1.0] * len(steps)
        assert [float(step["reward"]) for step in steps] == [
            float(flag and row["success"] is not False) for flag in last
        ]
        assert {step["language_instruction"].decode() for step in steps} == {row["task"]}
        for camera, pictures in episode.pictures.items():
            for step, picture in zip(steps, pictures, strict=True):
                assert far_apart(step["observation"][camera], decoded(picture)) < 1.5
            metadata = found[row["episode_id"]]["episode_metadata"]
            assert bool(metadata[f"has_{camera}"]) is (camera not in row["cameras_missing"])


def test_pictures_keep_their_bytes(out: Path, dataset: Dataset) -> None:
    source = open_rlds(out)
    kept = replaced = 0
    for shard in source.shards:
        reader = source.folder.open(shard.file)
        for record in scan_records(reader):
            assert record.payload is not None
            ours = source.episode(record.payload)
            (name,) = ours.texts("episode_metadata/episode_id")
            for camera, pictures in dataset.episode(name).pictures.items():
                found = ours.pictures(f"steps/observation/{camera}")
                for i, picture in enumerate(pictures):
                    kept += found[i] == picture
                    replaced += found[i] != picture
        reader.close()
    assert kept > 500
    assert replaced == 1  # the corpus has one picture that does not decode


def test_exchanged_colours_come_out_right(swapped: Dataset, tmp_path: Path) -> None:
    summary = export_dataset(swapped, out=tmp_path / "out", format="rlds", where="length > 20")
    assert summary.counts["colours_exchanged"] == summary.frames
    for name, example in episodes(tmp_path / "out").items():
        pictures = swapped.episode(name).pictures["image_0_bgr"]
        for step, picture in zip(example["steps"], pictures, strict=True):
            stored = decoded(picture)
            if not stored.any():
                continue
            assert far_apart(step["observation"]["image_0"], stored[..., ::-1]) < 5
            assert far_apart(step["observation"]["image_0"], stored) > 20


def test_full_files_are_followed_by_others(
    dataset: Dataset, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rlds, "_SHARD_BYTES", 250_000)
    export_dataset(dataset, out=tmp_path / "out", format="rlds")
    names = sorted(path.name for path in (tmp_path / "out").glob("*-train.tfrecord-*"))
    assert len(names) > 2
    assert names[-1].endswith(f"-{len(names) - 1:05d}-of-{len(names):05d}")
    assert [p for f in names for p in records(tmp_path / "out" / f)] == [
        p for f in sorted(out.glob("*-train.tfrecord-*")) for p in records(f)
    ]
    info = tfds.builder_from_directory(tmp_path / "out").info
    assert len(info.splits["train"].shard_lengths) == len(names)


def test_twice_the_same_bytes(dataset: Dataset, out: Path, tmp_path: Path) -> None:
    export_dataset(dataset, out=tmp_path / "again", format="rlds")
    assert tree(out) == tree(tmp_path / "again")
