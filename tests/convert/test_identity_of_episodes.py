"""Ids of a dataset that nobody described come from its rows, never from a folder's name."""

from __future__ import annotations

import shutil
from pathlib import Path

from sources import generic_lerobot

from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.store.dataset import open_dataset

BEFORE = (("episode_ids", "{dataset/name}#{dataset/episode}"),)


def ids(folder: Path, out: Path, options: ConvertOptions | None = None) -> list[str]:
    shutil.rmtree(out, ignore_errors=True)
    convert("lerobot", input=folder, out=out, options=options)
    return open_dataset(out).receipts.select("episode_id").collect()["episode_id"].to_list()


def test_other_data_have_other_ids_and_a_renamed_copy_the_same(tmp_path: Path) -> None:
    for seed, place in enumerate(("a/export", "b/export")):
        generic_lerobot.write(tmp_path / place, pictures=True, length=4, seed=seed)
    shutil.copytree(tmp_path / "a/export", tmp_path / "a/renamed")
    first = ids(tmp_path / "a/export", tmp_path / "out")
    assert set(first).isdisjoint(ids(tmp_path / "b/export", tmp_path / "out"))
    assert ids(tmp_path / "a/renamed", tmp_path / "out") == first
    moved = generic_lerobot.write(tmp_path / "v21", version="v2.1", pictures=True, length=4)
    assert len(moved) == len(first)
    assert ids(tmp_path / "v21", tmp_path / "out") == first  # the same rows in another version


def test_the_ids_of_datasets_made_before_can_be_made_again(tmp_path: Path) -> None:
    for seed, place in enumerate(("a/export", "b/export")):
        generic_lerobot.write(tmp_path / place, pictures=True, length=4, seed=seed)
    old = ConvertOptions(choices=BEFORE)
    first = ids(tmp_path / "a/export", tmp_path / "out", old)
    assert ids(tmp_path / "b/export", tmp_path / "out", old) == first
