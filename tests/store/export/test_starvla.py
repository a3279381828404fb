"""FineVLA's instruction file: what is written, what is left out, and that it is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from store.export.independent import lines

from finedata.store.dataset import Dataset
from finedata.store.export.run import export_dataset

FILE = "meta/FineGrainedInstruction.jsonl"


def row(episode: str, name: str, text: str, **more: object) -> dict:
    return {
        "instruction_id": name,
        "episode_id": episode,
        "kind": "fine_grained",
        "text": text,
        **more,
    }


def exported(dataset: Dataset, out: Path) -> tuple[list[dict], dict[str, int]]:
    summary = export_dataset(dataset, out=out, format="starvla", keep_pictures=True)
    assert summary.format == "starvla"
    return lines(out / FILE), summary.counts


def test_each_episode_gets_its_newest_accepted_instruction(
    dataset: Dataset, with_instructions: Callable[[list[dict]], Dataset], tmp_path: Path
) -> None:
    ids = dataset.episodes.collect()["episode_id"].to_list()
    annotated = with_instructions(
        [
            row(ids[0], "a", "Old. Text.", steps=["Old.", "Text."]),
            row(ids[0], "a", "Move. Close.", steps=["Move.", "Close."], revision=1),
            row(ids[1], "b", "Only a text."),
            row(ids[2], "c", "Rejected.", review_status="rejected"),
            row(ids[3], "d", "Accepted, then rejected.", review_status="accepted"),
            row(ids[3], "d", "Rejected now.", review_status="rejected", revision=2),
            row(ids[4], "e", "Second, accepted.", review_status="accepted", order=1),
            row(ids[4], "f", "First, not reviewed."),
            row(ids[5], "g", "A goal only.", kind="goal"),
        ]
    )
    found, counts = exported(annotated, tmp_path / "out")
    episodes = lines(tmp_path / "out" / "meta" / "episodes.jsonl")
    assert [line["episode_id"] for line in found] == [0, 1, 4]
    assert [line["FineGrainedInstruction"] for line in found] == [
        ["Move.", "Close."],
        ["Only a text."],
        ["Second, accepted."],
    ]
    for line in found:
        assert line["finedata_episode_id"] == episodes[line["episode_id"]]["episode_id"]
        assert [line["instruction"]] == episodes[line["episode_id"]]["tasks"]
    assert counts["episodes_with_fine_grained"] == 3
    assert counts["episodes_without_fine_grained"] == len(ids) - 3


def test_without_any_the_file_is_empty_and_said(dataset: Dataset, tmp_path: Path) -> None:
    found, counts = exported(dataset, tmp_path / "out")
    assert found == []
    assert counts["episodes_without_fine_grained"] == dataset.episodes.collect().height
    assert (tmp_path / "out" / "meta" / "modality.json").is_file()
