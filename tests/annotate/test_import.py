"""Released annotations at the right episodes: our own exports come back, theirs go by number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from annotate.test_released import language_file, said, written
from annotate.test_run_facts import run
from annotate.test_run_traces import run as run_traces
from sources import galaxea

import finedata
from finedata.annotate.export.run import export_annotations
from finedata.annotate.importing.ids import Episodes, Key
from finedata.annotate.importing.run import import_annotations
from finedata.convert.run import convert
from finedata.errors import ConformError, UsageError

_TRACE = (
    "<Observation> a cup <Situation Analysis> not held <Spatial Reasoning> left of the plate "
    "<Task Planning> reach it <logical_steps> <1> reach <2> grasp <sub_action> move left"
)


@pytest.fixture(scope="module")
def lerobot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two LeRobot datasets of two episodes as one dataset."""
    folder = tmp_path_factory.mktemp("lerobot")
    galaxea.write(folder / "source", videos=False)
    convert("galaxea", input=folder / "source", out=folder / "galaxea")
    return folder


@pytest.fixture
def two_tasks(lerobot: Path, tmp_path: Path) -> Path:
    shutil.copytree(lerobot / "galaxea", tmp_path / "galaxea")
    return tmp_path / "galaxea"


@pytest.fixture
def annotated(root, settings):
    ids = finedata.open(root).episodes.collect()["episode_id"].to_list()
    run(root, settings)
    run_traces(root, settings)
    return finedata.open(root), ids


def fine(root: Path) -> dict[str, list[str]]:
    rows = finedata.open(root).instructions.filter(pl.col("kind") == "fine_grained").collect()
    return dict(zip(rows["episode_id"], rows["steps"].to_list(), strict=True))


def test_fine_grained_by_folder_and_number(two_tasks, tmp_path) -> None:
    """Both datasets have an episode 1: the folder says which is meant."""
    released = tmp_path / "released"
    receipts = finedata.open(two_tasks).receipts.collect()
    meant = {}
    for row in receipts.iter_rows(named=True):
        folder, _, number = row["locator"].partition("#")
        meant[folder, int(number)] = row["episode_id"]
    folders = sorted({folder for folder, _ in meant})
    assert len(folders) == 2
    for folder in folders:
        line = {"episode_id": 1, "FineGrainedInstruction": [f"Reach in {folder}.", "Grasp."]}
        written(released / folder / "meta" / "FineGrainedInstruction.jsonl", [line], lines=True)
    summary = import_annotations(two_tasks, released, format="finevla")
    assert fine(two_tasks) == {
        meant[folder, 1]: [f"Reach in {folder}.", "Grasp."] for folder in folders
    }
    assert (summary.rows["instructions"], summary.origin, summary.files) == (2, "teacher", 2)
    receipt = json.loads((two_tasks / summary.receipt).read_text())
    assert set(receipt["ids"].values()) == {meant[folder, 1] for folder in folders}
    assert set(receipt["sha256"]) == {
        f"{folder}/meta/FineGrainedInstruction.jsonl" for folder in folders
    }
    again = import_annotations(two_tasks, released, format="finevla")
    assert (again.rows["instructions"], again.before, again.run_id) == (0, 2, summary.run_id)


def test_a_number_that_two_datasets_have_is_none(two_tasks, tmp_path) -> None:
    line = {"episode_id": 1, "FineGrainedInstruction": ["Reach."]}
    path = written(tmp_path / "elsewhere" / "FineGrainedInstruction.jsonl", [line], lines=True)
    with pytest.raises(UsageError, match="1 of 1 ids mean no episode"):
        import_annotations(two_tasks, path, format="finevla")
    assert fine(two_tasks) == {}
    matched = Episodes(finedata.open(two_tasks), by="source", ids=None)
    assert matched.of(Key(name="1", given=None, number=1)) is None
    assert matched.missing == [("1", "could be 2 episodes")]
    assert not (two_tasks / "annotations" / "imports").exists()


def test_ids_that_match_nothing_are_counted(root, ids, tmp_path) -> None:
    path = tmp_path / "review.json"
    written(path, [{"sample_id": f"bc_z-x-{k}", "Human_Review": ["a"]} for k in range(12)])
    with pytest.raises(UsageError) as caught:
        import_annotations(root, path, format="human-review")
    assert "12 of 12 ids mean no episode" in str(caught.value)
    assert "12 x no such episode" in str(caught.value)
    records = [{"sample_id": name, "Human_Review": ["a"]} for name in (ids[2], "other-1")]
    written(path, records)
    with pytest.raises(UsageError, match="1 of 2 ids"):
        import_annotations(root, path, format="human-review")
    assert fine(root) == {}
    summary = import_annotations(root, path, format="human-review", unmatched="skip")
    assert (summary.episodes, summary.unmatched, fine(root)) == (1, 1, {ids[2]: ["a"]})
    rows = finedata.open(root).instructions.filter(pl.col("origin") == "human").collect()
    assert rows["annotator"].to_list() == ["FineVLA Human_Review"]


def test_nothing_of_a_cut_file_is_taken(root, ids, tmp_path) -> None:
    lines = [{"sample_id": name, "Human_Review": ["a"]} for name in ids[:3]]
    path = written(tmp_path / "review.jsonl", lines, lines=True)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ConformError, match=r"line 3.*\n?.*fetch review.jsonl again"):
        import_annotations(root, path, format="human-review")
    assert fine(root) == {}
    assert not (root / "annotations" / "imports").exists()


def test_ids_from_a_list(root, ids, tmp_path) -> None:
    review = written(tmp_path / "r.json", [{"sample_id": "bc_z-x-7", "Human_Review": ["a"]}])
    pairs = written(tmp_path / "ids.jsonl", [{"id": "bc_z-x-7", "episode_id": ids[0]}], lines=True)
    import_annotations(root, review, format="human-review", ids=pairs, annotator="ada")
    assert fine(root) == {ids[0]: ["a"]}
    with pytest.raises(UsageError, match="ids"):
        import_annotations(root, review, format="human-review", ids=review)


def test_reasoning_by_shard_and_record(root, tmp_path) -> None:
    """As ReFineVLA counts: no index beside, one call that failed, one answer without a part."""
    receipt = finedata.open(root).receipts.filter(pl.col("status") == "written").collect()
    [episode_id], [record] = receipt["episode_id"][:1], receipt["source_record"][:1]
    shard = int(receipt["source_file"][0].split("-")[-3])
    broken = _TRACE.replace("<Spatial Reasoning> left of the plate", "")
    written(
        tmp_path / "reasoning" / f"{shard}_{record}.json",
        [{"0": _TRACE}, {"1": ""}, {"2": broken}, {"3": _TRACE}],
    )
    summary = import_annotations(root, tmp_path, format="refinevla")
    rows = finedata.open(root).traces.collect()
    assert rows.select("episode_id", "frame_index").rows() == [(episode_id, 0), (episode_id, 3)]
    assert rows["logical_steps"].to_list()[0] == ["reach", "grasp"]
    assert summary.counts == {"empty_traces": 1, "unreadable_traces": 1}
    assert list(summary.reasons) == ["spatial_reasoning: nothing under its tag"]
    written(tmp_path / "reasoning" / f"{shard}_{record}.json", [{"9999": _TRACE}])
    with pytest.raises(ConformError, match="another episode"):
        import_annotations(root, tmp_path, format="refinevla")
    assert finedata.open(root).traces.collect().height == 2


@pytest.mark.parametrize("format", ["finevla", "refinevla", "lerobot-language"])
def test_what_was_exported_comes_back(annotated, converted, tmp_path, format: str) -> None:
    dataset, ids = annotated
    out, bare = tmp_path / "out", tmp_path / "bare"
    shutil.copytree(converted, bare)
    export_annotations(dataset, out=out, format=format)
    summary = import_annotations(bare, out, format=format, by="dataset")
    assert summary.episodes == len(ids)
    back = finedata.open(bare)
    if format in ("finevla", "lerobot-language"):
        assert fine(bare) == fine(dataset.root)
    columns = ["episode_id", "frame_index", "observation", "logical_steps", "sub_action"]
    if format in ("refinevla", "lerobot-language"):
        theirs, mine = (one.traces.select(columns).collect() for one in (dataset, back))
        assert mine.sort("episode_id", "frame_index").equals(
            theirs.sort("episode_id", "frame_index")
        )
    if format == "lerobot-language":
        columns = ["episode_id", "text", "start_frame"]
        theirs, mine = (one.steps.select(columns).collect() for one in (dataset, back))
        assert mine.sort(columns).equals(theirs.sort(columns))
        assert set(back.steps.collect()["end_frame"]) <= (
            set(back.steps.collect()["start_frame"]) | set(back.episodes.collect()["length"])
        )
        first, second = back.steps.filter(pl.col("episode_id") == ids[0]).collect().rows(named=True)
        assert first["end_frame"] == second["start_frame"]


def test_language_of_another_length_is_of_another_episode(root, tmp_path) -> None:
    language_file(tmp_path / "theirs", [{"persistent": [said("subtask", "a", 0.0)]}] * 3)
    with pytest.raises(ConformError, match="3 frames"):
        import_annotations(root, tmp_path / "theirs", format="lerobot-language", by="dataset")


def test_no_such_format_or_file(root, tmp_path) -> None:
    with pytest.raises(UsageError, match="finevla, human-review"):
        import_annotations(root, tmp_path, format="other")
    with pytest.raises(UsageError, match="FineGrainedInstruction"):
        import_annotations(root, tmp_path, format="finevla")
    empty = written(tmp_path / "FineGrainedInstruction.jsonl", "")
    with pytest.raises(UsageError, match="no annotation"):
        import_annotations(root, empty, format="finevla")


def test_on_real_rows(real_data, tmp_path) -> None:
    """Five real episodes of a humanoid, told by a released file of their own numbers."""
    convert("lerobot", input=real_data / "gr00t_lerobot_v20", out=tmp_path / "g")
    ids = finedata.open(tmp_path / "g").receipts.collect()
    lines = [{"episode_id": k, "FineGrainedInstruction": [f"Episode {k}."]} for k in range(5)]
    path = tmp_path / "gr00t" / "meta" / "FineGrainedInstruction.jsonl"
    import_annotations(tmp_path / "g", written(path, lines, lines=True), format="finevla")
    meant = {
        row["episode_id"]: [f"Episode {int(row['locator'].split('#')[1])}."]
        for row in ids.iter_rows(named=True)
    }
    assert fine(tmp_path / "g") == meant
