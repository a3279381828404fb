"""A folder of shards: found where it lies, in order, with what is missing said."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
from corpora.example import encode_example
from corpora.tfrecord import write_tfrecord

from finedata.errors import FeatureError, MissingFeatureError, SourceError, UsageError
from finedata.readers.rlds.source import RldsSource, open_rlds
from finedata.readers.rlds.tfrecord import scan_records

FEATURES = {
    "featuresDict": {
        "features": {
            "steps": {
                "sequence": {
                    "feature": {
                        "featuresDict": {
                            "features": {
                                "state": {
                                    "tensor": {
                                        "shape": {"dimensions": ["2"]},
                                        "dtype": "float32",
                                        "encoding": "none",
                                    }
                                },
                                "words": {"text": {}},
                                "image": {
                                    "image": {
                                        "shape": {"dimensions": ["4", "4", "3"]},
                                        "dtype": "uint8",
                                        "encodingFormat": "jpeg",
                                    }
                                },
                            }
                        }
                    }
                }
            }
        }
    }
}


def record(number: int) -> bytes:
    return encode_example(
        {
            "steps/state": np.full((3, 2), number, np.float32),
            "steps/words": [b"go", b"go", b"stop"],
            "steps/image": [b"one", b"two", b"three"],
        }
    )


def write_source(folder: Path, *, splits: dict[str, list[int]], name: str = "toy") -> Path:
    folder.mkdir(parents=True)
    (folder / "features.json").write_text(json.dumps(FEATURES))
    info = {
        "name": name,
        "version": "1.2.3",
        "fileFormat": "tfrecord",
        "splits": [
            {"name": split, "shardLengths": [str(count) for count in counts]}
            for split, counts in splits.items()
        ],
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    number = 0
    for split, counts in splits.items():
        for index, count in enumerate(counts):
            file = folder / f"{name}-{split}.tfrecord-{index:05d}-of-{len(counts):05d}"
            write_tfrecord(file, [record(number + i) for i in range(count)])
            number += count
    return folder


def numbers_in(source: RldsSource) -> list[float]:
    found = []
    for shard in source.shards:
        reader = source.folder.open(shard.file)
        for item in scan_records(reader):
            assert item.payload is not None
            found.append(float(source.episode(item.payload).numbers("steps/state")[0, 0]))
        reader.close()
    return found


@pytest.fixture
def source_folder(tmp_path: Path) -> Path:
    return write_source(tmp_path / "toy" / "1.2.3", splits={"train": [2, 1], "val": [1]})


def test_reads_splits_in_declared_order(source_folder: Path) -> None:
    source = open_rlds(source_folder)
    assert source.version == "1.2.3"
    assert [shard.split for shard in source.shards] == ["train", "train", "val"]
    assert [shard.declared_records for shard in source.shards] == [2, 1, 1]
    assert numbers_in(source) == [0, 1, 2, 3]
    assert source.missing_shards == ()


def test_finds_the_version_folder_below(source_folder: Path) -> None:
    assert numbers_in(open_rlds(source_folder.parent)) == [0, 1, 2, 3]


def test_several_versions_are_listed(source_folder: Path) -> None:
    write_source(source_folder.parent / "2.0.0", splits={"train": [1]})
    with pytest.raises(SourceError, match=r"2 versions \(1\.2\.3/, 2\.0\.0/\)"):
        open_rlds(source_folder.parent)


def test_missing_shards_are_named_and_the_rest_read(source_folder: Path) -> None:
    (source_folder / "toy-train.tfrecord-00000-of-00002").unlink()
    source = open_rlds(source_folder)
    assert source.missing_shards == ("toy-train.tfrecord-00000-of-00002",)
    assert numbers_in(source) == [2, 3]


def test_renamed_shards_are_the_same_shards(source_folder: Path) -> None:
    for path in source_folder.glob("toy-*"):
        path.rename(path.with_name(path.name.replace("toy-", "bridge_orig-")))
    source = open_rlds(source_folder)
    assert source.missing_shards == ()
    assert [shard.declared_records for shard in source.shards] == [2, 1, 1]


def test_without_dataset_info_the_files_speak(source_folder: Path) -> None:
    (source_folder / "dataset_info.json").unlink()
    source = open_rlds(source_folder)
    assert source.version == ""
    assert [shard.declared_records for shard in source.shards] == [None] * 3
    assert numbers_in(source) == [0, 1, 2, 3]


def test_a_template_of_its_own_is_followed(source_folder: Path) -> None:
    info = json.loads((source_folder / "dataset_info.json").read_text())
    info["splits"] = [
        {
            "name": "train",
            "shardLengths": ["2"],
            "filepathTemplate": "${SPLIT}.${FILEFORMAT}-${SHARD_INDEX}-of-${NUM_SHARDS}",
        }
    ]
    (source_folder / "dataset_info.json").write_text(json.dumps(info))
    for path in source_folder.glob("toy-*"):
        path.unlink()
    write_tfrecord(source_folder / "train.tfrecord-00000-of-00001", [record(8), record(9)])
    assert numbers_in(open_rlds(source_folder)) == [8, 9]


@pytest.mark.parametrize(
    ("remove", "message"),
    [("features.json", "no features.json"), ("toy-*", "none of them there")],
)
def test_what_makes_no_source(source_folder: Path, remove: str, message: str) -> None:
    for path in source_folder.glob(remove):
        path.unlink()
    with pytest.raises(SourceError, match=message):
        open_rlds(source_folder)


def test_broken_json_is_named(source_folder: Path) -> None:
    (source_folder / "dataset_info.json").write_text("{")
    with pytest.raises(SourceError, match=r"dataset_info\.json"):
        open_rlds(source_folder)


def test_no_such_folder_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing there"):
        open_rlds(tmp_path / "nowhere")


def test_reads_through_fsspec(source_folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(source_folder), "/remote/toy/1.2.3", recursive=True)
    try:
        assert numbers_in(open_rlds("memory://remote/toy")) == [0, 1, 2, 3]
    finally:
        memory.rm("/remote", recursive=True)


def test_episode_speaks_in_its_own_words(source_folder: Path) -> None:
    source = open_rlds(source_folder)
    episode = source.episode(record(5))
    assert episode.numbers("steps/state").tolist() == [[5, 5]] * 3
    assert episode.texts("steps/words") == ["go", "go", "stop"]
    pictures = episode.pictures("steps/image")
    assert [pictures[i] for i in range(3)] == [b"one", b"two", b"three"]
    assert episode.has("steps/state")
    assert not episode.has("steps/nothing")
    with pytest.raises(FeatureError, match="wanted numbers"):
        episode.numbers("steps/words")
    with pytest.raises(FeatureError, match="wanted text"):
        episode.texts("steps/state")
    with pytest.raises(MissingFeatureError, match=r"no such feature in features\.json"):
        episode.numbers("steps/nothing")
    with pytest.raises(MissingFeatureError, match="no such feature in the record"):
        episode.pictures("steps/nothing")
    with pytest.raises(FeatureError, match="list of float"):
        episode.pictures("steps/state")


def test_text_that_is_not_utf8_is_named(source_folder: Path) -> None:
    source = open_rlds(source_folder)
    payload = encode_example({"steps/words": [b"\xff\xfe"]})
    with pytest.raises(FeatureError, match="UTF-8"):
        source.episode(payload).texts("steps/words")


def test_real_record_zero(real_bridge: Path) -> None:
    source = open_rlds(real_bridge)
    reader = source.folder.open(source.shards[0].file)
    payload = next(iter(scan_records(reader))).payload
    reader.close()
    assert payload is not None
    episode = source.episode(payload)
    assert (
        episode.texts("steps/language_instruction")
        == ["put cup from counter or drying rack into sink"] * 10
    )
    assert int(episode.numbers("episode_metadata/episode_id")) == 5
    np.testing.assert_allclose(
        episode.numbers("steps/observation/state")[0],
        [0.2338, 0.1124, 0.1750, 0.1000, -0.2138, 0.2133, 1.0008],
        atol=6e-5,
    )


def test_real_pictures_and_numbers_equal_the_oracle(real_bridge: Path) -> None:
    import tensorflow_datasets as tfds

    source = open_rlds(real_bridge)
    connector = tfds.features.FeaturesDict.from_config(str(real_bridge))
    reader = source.folder.open(source.shards[0].file)
    compared = 0
    for item in scan_records(reader):
        assert item.payload is not None
        ours = source.episode(item.payload)
        theirs = list(connector.deserialize_example_np(item.payload)["steps"])
        for name in ("action", "reward", "is_first", "is_last", "language_embedding"):
            np.testing.assert_array_equal(
                ours.numbers(f"steps/{name}"), np.stack([step[name] for step in theirs])
            )
        compared += 1
    reader.close()
    assert compared == 25
