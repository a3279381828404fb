"""An episode's rows by where they lie are those that a scan of the whole table gives."""

from __future__ import annotations

import shutil
from pathlib import Path

from finedata.review.queue import Queue
from finedata.schema.makers import revised
from finedata.store.dataset import open_dataset
from finedata.store.tables.episode_rows import EpisodeRows, episodes_saying, newest_facts, text_key
from finedata.store.tables.table import append_rows


def test_rows_are_those_of_a_scan_after_a_revision_too(looked_at: Path, tmp_path: Path) -> None:
    shutil.copytree(looked_at, tmp_path / "bridge")
    dataset = open_dataset(tmp_path / "bridge")
    rows = EpisodeRows(dataset)
    ids = dataset.episodes.collect()["episode_id"].to_list()

    def same() -> None:
        for episode_id in [*ids, "no-such"]:
            for table in ("facts", "steps", "traces"):
                scanned = dataset.table(table).filter(episode_id=episode_id).collect()
                found = rows.newest(table, episode_id)
                key = scanned.columns[0]
                # facts follow their steps when the table is read; here they are as stored
                assert found.sort(key).equals(scanned.sort(key))

    same()
    # some of every episode, so that one file has many short stretches; and its text is another
    first = dataset.facts.group_by("episode_id").head(3).collect().to_dicts()
    changed = [revised("facts", row, text=f"Said {n} anew.") for n, row in enumerate(first)]
    for parity in (0, 1):
        with append_rows(dataset.root, ("facts",)) as writer:
            writer.revise("facts", changed[parity::2])
        same()
    assert episodes_saying(dataset, "SAID 1 anew") == [first[1]["episode_id"]]
    with append_rows(dataset.root, ("facts",)) as writer:
        writer.revise("facts", [revised("facts", changed[1], text="And once more.")])
    assert episodes_saying(dataset, "said 1 anew") == []
    columns = newest_facts(dataset, "fact_id", "start_frame", "origin")
    stored = dataset.facts.collect()
    assert sorted(columns["fact_id"].tolist()) == sorted(f.encode() for f in stored["fact_id"])
    assert columns["start_frame"].sum() == stored["start_frame"].sum()
    human = (columns["origin"] == text_key("kinematic")).sum()
    assert human == (stored["origin"] == "kinematic").sum()
    assert len(Queue(dataset)) == stored.height
