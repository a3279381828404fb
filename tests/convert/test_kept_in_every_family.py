"""Features that are kept as they are, in every family, under names that LeRobot takes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from sources import bridge, robomimic

from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.store.dataset import open_dataset

HEAD = """
name = "mine"
title = "mine"
story = "A test."
home = ""
licence = "LicenseRef-unknown"
citation = ""
revision = ""

[[variants]]
name = "kept"
reader = "READER"
embodiment = "unknown"
space = "undeclared"
keep = ["*"]

[variants.episode]
locator = "LOCATOR"

[variants.time]
fps = 10.0
"""
LOCATORS = {"hdf5": "{file/path}#{demonstration/name}", "rlds": "{file/path}#{file/record}"}


def kept(reader: str, source: Path, tmp_path: Path, *, more: str = ""):
    """(dataset, its report) of a source whose features are all kept."""
    paper = tmp_path / "mine.toml"
    text = HEAD.replace("READER", reader).replace("LOCATOR", LOCATORS[reader])
    paper.write_text(text.replace("keep =", f"{more}\nkeep ="))
    convert(str(paper), input=source, out=tmp_path / "out")
    return open_dataset(tmp_path / "out"), verify(tmp_path / "out", input=source)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def test_hdf5_keeps_every_dataset_with_a_dot_for_each_slash(source: Path, tmp_path: Path) -> None:
    robomimic.write(source, pictures=False)
    dataset, report = kept("hdf5", source, tmp_path)

    (part,) = dataset.info.parts
    assert part.renamed["obs.ee_pos"] == "obs/ee_pos"
    assert "actions" not in part.renamed
    assert part.left_out == {}
    with h5py.File(next(source.iterdir())) as file:
        for k, episode in enumerate(dataset.episodes.collect()["episode_id"]):
            columns = dataset.episode(episode).columns
            for name in ("actions", "dones", "states", "obs/ee_pos", "obs/gripper_states"):
                wanted = file[f"data/demo_{k}/{name}"][()]
                assert columns[name.replace("/", ".")].dtype == wanted.dtype
                assert np.array_equal(columns[name.replace("/", ".")], wanted)
    assert report.problems == []
    verdicts = {thing.name: thing.verdict for thing in report.things}
    assert verdicts["actions"] == "kept"
    assert verdicts["obs/ee_pos"] == "renamed"


def test_two_names_that_would_be_one_stay_two(source: Path, tmp_path: Path) -> None:
    with h5py.File(source / "a.hdf5", "w") as file:
        file["obs/x"], file["obs.x"], file["index"] = np.arange(5.0), np.ones(5), np.zeros((5, 2))
        file["of/timestamp"] = np.arange(5)
        file["of/action_valid"] = np.zeros(5)
    dataset, report = kept("hdf5", source, tmp_path)

    (part,) = dataset.info.parts
    columns = dataset.episode(dataset.episodes.collect()["episode_id"][0]).columns
    stored = {source_name: column for column, source_name in part.renamed.items()}
    assert np.array_equal(columns[stored["obs/x"]], np.arange(5.0))
    assert np.array_equal(columns["obs.x"], np.ones(5))
    assert np.array_equal(columns[stored["of/action_valid"]], np.zeros(5))
    assert columns["action_valid"].all()
    assert report.problems == []


def test_what_has_other_rows_is_left_out_and_named(source: Path, tmp_path: Path) -> None:
    with h5py.File(source / "a.hdf5", "w") as file:
        file["action"], file["qpos"], file["sizes"] = (
            np.ones((6, 2)),
            np.ones((6, 3)),
            np.ones((3, 6)),
        )
        file["note"] = "a text of the file"
    dataset, report = kept("hdf5", source, tmp_path)

    (part,) = dataset.info.parts
    assert part.left_out == {
        "sizes": "3 rows, where most features have 6",
        "note": "1 rows, where most features have 6",
    }
    assert dataset.receipts.collect()["flags"].to_list() == [
        ["empty_instruction", "other_not_converted"]
    ]
    assert report.problems == []


def test_streams_are_cut_only_where_the_converter_says_so(source: Path, tmp_path: Path) -> None:
    """ManiSkill has one observation more than actions."""
    with h5py.File(source / "a.hdf5", "w") as file:
        for k in range(2):
            file[f"traj_{k}/actions"], file[f"traj_{k}/obs"] = np.ones((6, 2)), np.ones((7, 3))
            file[f"traj_{k}/success"] = np.ones(6, bool)
    dataset, report = kept("hdf5", source, tmp_path, more='quirks = ["truncate_to_shortest"]')

    assert dataset.info.parts[0].left_out == {}
    assert dataset.receipts.collect()["frames_dropped"].to_list() == [1, 1]
    assert report.problems == []


def test_rlds_keeps_every_step_s_numbers_and_texts(source: Path, tmp_path: Path) -> None:
    bridge.write(source)
    dataset, report = kept("rlds", source, tmp_path)

    (part,) = dataset.info.parts
    assert part.renamed["observation.state"] == "steps/observation/state"
    assert part.renamed["action"] == "steps/action"
    reasons = {
        why
        for name, why in part.left_out.items()
        if not name.startswith("steps/observation/image_")
    }
    assert reasons == {"one value an episode, not one a step"}
    assert report.problems == []
    verdicts = {thing.name: thing.verdict for thing in report.things}
    assert verdicts["steps/observation/state"] == "renamed"


@pytest.mark.parametrize("reader", ["hdf5", "rlds"])
def test_a_kept_number_that_was_changed_is_found(
    reader: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account finds it alone: what the reader gives is what is wrong here."""
    if reader == "hdf5":
        robomimic.write(source, pictures=False)
        place, name = "finedata.readers.hdf5.episode.Hdf5Episode.numbers", "obs/ee_pos"
        from finedata.readers.hdf5.episode import Hdf5Episode as Episode
    else:
        bridge.write(source)
        place, name = "finedata.readers.rlds.source.RldsEpisode.numbers", "steps/action"
        from finedata.readers.rlds.source import RldsEpisode as Episode
    given = Episode.numbers

    def shifted(self, feature):
        values = given(self, feature)
        return np.roll(values, 1, axis=0) if feature == name else values

    monkeypatch.setattr(place, shifted)
    _, report = kept(reader, source, tmp_path)
    assert any(name in problem.place for problem in report.problems)
