"""HDF5 files of many demonstrations: each is an episode, and damage of one is not the others'."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from sources import encode, robomimic

from finedata.convert.draft.propose import draft_converter
from finedata.convert.run import convert
from finedata.convert.verify.report import VerifyReport
from finedata.convert.verify.run import verify
from finedata.readers.hdf5.demos import json_values
from finedata.readers.hdf5.source import open_hdf5
from finedata.store.dataset import Dataset, open_dataset


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def converted(source: Path, tmp_path: Path) -> tuple[Dataset, VerifyReport]:
    (tmp_path / "mine.toml").write_text(draft_converter(str(source)))
    convert(str(tmp_path / "mine.toml"), input=source, out=tmp_path / "out")
    return open_dataset(tmp_path / "out"), verify(tmp_path / "out", input=source)


def receipts(dataset: Dataset) -> list[tuple[str, int, str | None]]:
    rows = dataset.receipts.sort("source_file", "source_record").collect()
    return rows.select("source_file", "source_record", "reason").rows()


@pytest.mark.parametrize(("parent", "stem"), [("data/", "demo"), ("", "traj")])
def test_each_demonstration_is_an_episode(
    parent: str, stem: str, source: Path, tmp_path: Path
) -> None:
    lengths = tuple(range(4, 16))  # demo_10 comes after demo_9, not after demo_1
    truths = robomimic.write(source, files=2, lengths=lengths, parent=parent, stem=stem)
    dataset, report = converted(source, tmp_path)

    assert report.problems == []
    columns = ["episode_id", "task", "fps", "length"]
    rows = dataset.receipts.sort("source_file", "source_record").drop("length", strict=False)
    episodes = dataset.episodes.select(columns).collect()
    rows = rows.collect().join(episodes, on="episode_id", maintain_order="left")
    assert rows["length"].to_list() == [truth.length for truth in truths]
    assert rows["locator"].to_list()[:2] == [
        f"SCENE0_turn_on_the_stove_demo.hdf5#{stem}_{k}" for k in range(2)
    ]
    assert set(rows["task"]) == {robomimic.INSTRUCTION}
    assert set(rows["fps"]) == {20.0}
    for episode_id, truth in zip(rows["episode_id"], truths, strict=True):
        for camera, digests in truth.cameras.items():
            name = camera.removeprefix("obs/")
            frames = dataset.episode(episode_id).frames(name, list(range(truth.length)))
            assert encode.digests([frame.tobytes() for frame in frames]) == digests


def test_the_account_counts_them_by_another_way(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robomimic.write(source, pictures=False)

    def all_but_the_last(file):
        return [f"data/demo_{k}" for k in range(2)]

    monkeypatch.setattr("finedata.readers.hdf5.source.demonstrations", all_but_the_last)
    monkeypatch.setattr("finedata.readers.hdf5.source.absent_demonstrations", lambda *_: [])
    _, report = converted(source, tmp_path)
    assert any("record 2" in problem.place for problem in report.problems)


def test_one_that_is_damaged_costs_no_other(source: Path, tmp_path: Path) -> None:
    robomimic.write(source, lengths=(6, 7, 5), pictures=False)
    (file,) = source.iterdir()
    with h5py.File(file, "r+") as opened:
        del opened["data/demo_1/obs/joint_states"]
        opened["data/demo_1/obs/joint_states"] = "a text"
    dataset, report = converted(source, tmp_path)

    assert [reason for *_, reason in receipts(dataset)] == [None, "wrong_type", None]
    assert report.problems == []


def test_what_is_declared_and_absent_has_a_receipt(source: Path, tmp_path: Path) -> None:
    robomimic.write(source, lengths=(6, 7, 5, 8), pictures=False)
    (file,) = source.iterdir()
    with h5py.File(file, "r+") as opened:
        del opened["data/demo_1"]  # named by mask/train
        del opened["data/demo_3"]  # counted by num_demos
    dataset, report = converted(source, tmp_path)

    assert [row[1:] for row in receipts(dataset)] == [
        (0, None),
        (1, None),
        (2, "absent"),
        (3, "absent"),
    ]
    messages = dataset.receipts.collect()["message"].drop_nulls().to_list()
    assert "demo_1 is declared in mask/train" in messages[0]
    assert "data@num_demos" in messages[1]
    assert report.problems == []


def test_samples_that_are_declared_otherwise_are_flagged(source: Path, tmp_path: Path) -> None:
    robomimic.write(source, pictures=False)
    (file,) = source.iterdir()
    with h5py.File(file, "r+") as opened:
        opened["data/demo_2"].attrs["num_samples"] = 99
    dataset, report = converted(source, tmp_path)

    flags = dataset.receipts.sort("source_record").collect()["flags"].to_list()
    assert [("declared_length_differs" in one) for one in flags] == [False, False, True]
    assert report.problems == []


def test_a_demonstration_alone_is_one_too(source: Path) -> None:
    robomimic.write(source, lengths=(6,), pictures=False)
    ((found, shown),) = [
        (found, episode and episode.numbers("actions").shape)
        for found, episode in open_hdf5(source).scan(0)
    ]
    assert (found.number, shown) == (0, (6, 7))


def test_a_group_beside_recordings_makes_no_demonstrations(source: Path) -> None:
    with h5py.File(source / "a.hdf5", "w") as file:
        file["observations/qpos"], file["episode_0/note"] = np.zeros((4, 3)), np.zeros(2)
    (names,) = [episode.feature_names() for _, episode in open_hdf5(source).scan(0) if episode]
    assert names == ["episode_0/note", "observations/qpos"]


def test_texts_and_numbers_of_a_json_object_have_names() -> None:
    tree = {"a": {"b": "x", "c": 20}, "words": ["turn ", "on"], "flag": True, "odd": [1, "x"]}
    assert json_values(json.dumps(tree)) == {"a.b": "x", "a.c": 20, "words": "turn on"}
    for text in ("", "{", "[1]", "plain", "{" * 9000):
        assert json_values(text) == {}


def test_names_that_are_no_utf8_do_not_end_the_account(source: Path, tmp_path: Path) -> None:
    robomimic.write(source, pictures=False)
    (file,) = source.iterdir()
    (tmp_path / "mine.toml").write_text(draft_converter(str(source)))
    data = file.read_bytes()
    at = data.rindex(b"states\0")
    file.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
    convert(str(tmp_path / "mine.toml"), input=source, out=tmp_path / "out")
    reasons = [reason for *_, reason in receipts(open_dataset(tmp_path / "out"))]
    assert reasons.count(None) == 2
    assert reasons.count("unparsable") == 1
    assert verify(tmp_path / "out", input=source).problems == []
