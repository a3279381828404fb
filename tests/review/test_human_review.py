"""What people reviewed goes out as FineVLA's `Human_Review`, comes back, and reaches shards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from finedata.annotate.importing.released import read_human_review
from finedata.api import open as open_dataset
from finedata.api.dataset import Dataset
from finedata.cli.app import app
from finedata.errors import ConformError, UsageError
from finedata.review.decisions import Decisions


@pytest.fixture
def dataset(looked_at: Path, tmp_path: Path) -> Dataset:
    shutil.copytree(looked_at, tmp_path / "bridge")
    return open_dataset(tmp_path / "bridge")


def reviewed(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Two episodes reviewed, in the journal: facts accepted, edited, rejected, added."""
    steps = dataset.steps.collect()["episode_id"].unique(maintain_order=True)
    chosen = dataset.representatives.collect()["episode_id"].to_list()
    ids = [one for one in steps if not chosen or one in chosen][:2]
    decisions = Decisions(dataset)
    found: dict[str, dict[str, Any]] = {}
    for number, episode_id in enumerate(ids):
        own = dataset.facts.filter(episode_id=episode_id, origin="kinematic").collect().to_dicts()
        own = [row for row in own if row["anchor"] == "step"]
        told: dict[str, Any] = {"reviewer": "ana", "fps": 5.0, "length": 10**6, "revision": 0}
        decisions.decide(own[0], "accept", review_id=f"a{number}", **told)
        words = {"text": f"Said better {number}."}
        decisions.decide(own[1], "edit", review_id=f"e{number}", changes=words, **told)
        decisions.decide(own[2], "reject", review_id=f"r{number}", **told)
        found[episode_id] = {"accepted": own[0], "edited": own[1], "rejected": own[2]}
    decisions.close()
    return found


def records_of(path: Path) -> dict[str, dict[str, Any]]:
    return {one["sample_id"]: one for one in json.loads(path.read_text())}


def test_what_people_said_goes_out_and_comes_back(dataset: Dataset, tmp_path: Path) -> None:
    said = reviewed(dataset)
    path = tmp_path / "human_review.json"
    told = dataset.export_review(path)
    records = records_of(path)
    assert records.keys() == said.keys()
    assert (told.records, told.facts) == (2, 4)
    for number, (episode_id, rows) in enumerate(said.items()):
        row = dataset.episode(episode_id).row
        assert records[episode_id]["meta"] == {
            "instruction_raw": row["task"],
            "robot_type": row["embodiment"],
        }
        steps = dataset.steps.filter(episode_id=episode_id).collect().sort("start_frame")
        texts = records[episode_id]["Human_Review"]
        assert len(texts) == steps.height
        assert all(t.startswith(s.rstrip(".")) for t, s in zip(texts, steps["text"], strict=True))
        whole = " ".join(texts)
        assert rows["accepted"]["text"] in whole
        assert f"Said better {number}." in whole
        for gone in (rows["edited"]["text"], rows["rejected"]["text"]):
            assert gone in steps["text"].to_list() or gone not in whole
    # FineVLA's own reader of ours takes it, and it comes back
    assert [one.sample_id for one in read_human_review(path)] == list(records)
    first = dataset.import_review(path, reviewer="ben")
    assert (first.added, first.edited, first.accepted, first.unchanged) == (2, 0, 0, 0)
    again = tmp_path / "again.json"
    dataset.export_review(again)
    assert again.read_bytes() == path.read_bytes()
    files = sorted(dataset.root.rglob("*.parquet"))
    assert dataset.import_review(path, reviewer="ben").unchanged == 2
    assert sorted(dataset.root.rglob("*.parquet")) == files

    # somebody edits one record; ids stay, and the decision says who
    one, other = list(records)
    records[one]["Human_Review"][0] = "Reach for the cup from above."
    lines = tmp_path / "edited.jsonl"  # FineVLA has lines, and the key misspelt
    edited = [
        {"sample_id": row["sample_id"], "human_reveiw": row["Human_Review"]}
        for row in records.values()
    ]
    lines.write_text("\n".join(map(json.dumps, edited)))
    before = dataset.instructions.filter(episode_id=one, kind="fine_grained").collect()
    second = dataset.import_review(lines, reviewer="cy")
    assert (second.edited, second.unchanged) == (1, 1)
    after = dataset.instructions.filter(episode_id=one, kind="fine_grained").collect()
    assert after["instruction_id"].to_list() == before["instruction_id"].to_list()
    assert (after["revision"][0], after["review_status"][0]) == (1, "edited")
    assert after["steps"][0][0] == "Reach for the cup from above."
    reviews = dataset.table("reviews").filter(target_table="instructions").collect()
    assert sorted(zip(reviews["reviewer"], reviews["decision"], strict=True)) == [
        ("ben", "add"), ("ben", "add"), ("cy", "edit"),
    ]  # fmt: skip
    dataset.export_review(again)
    assert records_of(again)[one]["Human_Review"] == after["steps"][0].to_list()
    assert records_of(again)[other] == records_of(path)[other]


def test_a_released_file_is_matched_or_refused(dataset: Dataset, tmp_path: Path) -> None:
    ids = dataset.episodes.collect()["episode_id"].to_list()
    path = tmp_path / "released.json"
    path.write_text(json.dumps([{"sample_id": "bc_z-x-7", "Human_Review": ["a"]}]))
    before = sorted(dataset.root.rglob("*"))
    with pytest.raises(UsageError, match="1 of 1 ids mean no episode"):
        dataset.import_review(path)
    path.write_text(json.dumps([{"sample_id": ids[0]}]))
    with pytest.raises(ConformError):
        dataset.import_review(path)
    assert sorted(dataset.root.rglob("*")) == before
    both = [{"sample_id": name, "Human_Review": ["Grasp it."]} for name in ("bc_z-x-7", ids[0])]
    path.write_text(json.dumps(both))
    told = dataset.import_review(path, unmatched="skip")
    assert (told.added, told.unmatched) == (1, 1)
    names = tmp_path / "ids.jsonl"
    names.write_text(json.dumps({"id": "bc_z-x-7", "episode_id": ids[1]}))
    told = dataset.import_review(path, ids=names)
    assert (told.added, told.unchanged, told.unmatched) == (1, 1, 0)


def test_reviewed_words_reach_the_text_of_shards(dataset: Dataset, tmp_path: Path) -> None:
    dataset.cluster()
    shards = tmp_path / "shards"
    dataset.shard(shards)
    said = reviewed(dataset)
    dataset.export_review(tmp_path / "review.json")
    dataset.import_review(tmp_path / "review.json", reviewer="ben")
    tars = {path: path.read_bytes() for path in shards.rglob("*.tar")}
    told = CliRunner().invoke(app, ["shard", str(shards), "--text", str(dataset.root)])
    assert told.exit_code == 0, told.output
    assert {path: path.read_bytes() for path in shards.rglob("*.tar")} == tars
    texts: list[str] = []
    newest = max(shards.glob("text/*"), key=lambda path: path.stat().st_mtime_ns)
    for path in newest.rglob("*.arrow"):
        rows = pl.read_ipc(path)
        if "text" in rows.columns:
            texts += rows["text"].to_list()
    for number, rows in enumerate(said.values()):
        assert f"Said better {number}." in texts
        assert rows["rejected"]["text"] not in texts
