"""Every family, damaged in seven ways: a receipt says so, or the bytes are right.

Each damaged episode is held against its sound twin. It may fail with a reason, or be written with a
flag, a missing camera or dropped frames that the twin has not; without any of these its columns,
pictures and texts are the twin's, or those that the source now has (shifted, reversed, of another
type), which `verify` proves. What is gone from the source, and may be, is gone from the output;
what has another name there stands in `left_out`. Its neighbours are as they were.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults.variants import FAMILIES, KINDS

from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.store.dataset import Dataset, open_dataset

# Damages of a family in the default suite; the long run has all.
_IN_SUITE = 10
_MARKS = ("reason", "flags", "cameras_missing", "frames_dropped", "length")
_CHANGES_WHAT_IS_SAID = ("shift", "reorder", "retype")
# Its streams have other lengths than its cameras: each frame takes the sample that is nearest.
_STRIDED = "robomind_v1 simulation"


def damages(name: str, folder: Path, most: int | None) -> list[tuple[str, str]]:
    """(kind, thing) of a family that can be done, each on an episode of its own."""
    family = FAMILIES[name]
    family.write(folder, 2)
    every = [(kind, thing) for thing in family.things(folder) for kind in KINDS]
    rng = np.random.default_rng(len(every))
    rng.shuffle(every)
    return [(str(kind), str(thing)) for kind, thing in every[:most]]


def rows_of(dataset: Dataset) -> dict[tuple[str, int], dict[str, Any]]:
    rows = dataset.receipts.drop("part", "length", strict=False).collect()
    columns = ["episode_id", "cameras_missing", "length", "task", "tasks"]
    known = dataset.episodes.collect_schema().names()
    if "length" in known:
        episodes = dataset.episodes.select(columns).collect()
        rows = rows.drop("cameras_missing", strict=False).join(
            episodes, on="episode_id", how="left"
        )
    return {(row["source_file"], row["source_record"]): row for row in rows.to_dicts()}


def content(dataset: Dataset, row: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """(texts and digests of pictures, columns) of a written episode."""
    numbered = {"index", "episode_index", "task_index"}
    columns = dataset.episode(row["episode_id"]).columns
    images = sorted((image["camera"], image["sha256"]) for image in row["images"])
    found: dict[str, Any] = {}
    for name, values in columns.items():
        names = dataset.episode(row["episode_id"]).names.get(name)
        if names and values.ndim == 2:
            found |= {f"{name} {one}": values[:, k] for k, one in enumerate(names)}
        elif name not in numbered:
            found[name] = values
    return [row["task"], row["tasks"], images], found


def _is_renamed(texts: list[Any], own: list[Any]) -> bool:
    """Whether all is as it was but the name of one camera, which is the source's new one."""
    names = {camera for camera, _ in texts[-1]} - {camera for camera, _ in own[-1]}
    return (
        texts[:-1] == own[:-1]
        and len(names) == 1
        and all(name.endswith("_old") for name in names)
        and sorted(digest for _, digest in texts[-1]) == sorted(digest for _, digest in own[-1])
    )


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f") for name in a
    )


def judged(name: str, tmp_path: Path, most: int | None) -> Counter[str]:
    """Convert the damaged source and its twin; what became of each damage, counted."""
    family = FAMILIES[name]
    wanted = damages(name, tmp_path / "first", most)
    twin_source, source = tmp_path / "twin/source", tmp_path / "damaged/source"
    twin_source.parent.mkdir()
    family.write(twin_source, len(wanted) + 1)
    shutil.copytree(twin_source, source)  # videos that are encoded twice may differ
    done = [
        family.damage(source, number, kind, thing) for number, (kind, thing) in enumerate(wanted)
    ]
    convert(family.converter, input=twin_source, out=tmp_path / "twin_out")
    convert(family.converter, input=source, out=tmp_path / "out")
    twin, dataset = open_dataset(tmp_path / "twin_out"), open_dataset(tmp_path / "out")
    report = verify(tmp_path / "out", input=source)
    assert report.problems == [], report.problems[:5]

    named = {name for part in dataset.info.parts for name in part.left_out}
    named |= {thing.name for thing in report.things if thing.verdict == "left_out"}
    sound, met = rows_of(twin), rows_of(dataset)
    assert {row["message"] for row in sound.values()} == {None}
    assert met.keys() == sound.keys()
    told = verify(tmp_path / "twin_out", input=source)
    places = " ".join(problem.place for problem in told.problems)
    outcomes: Counter[str] = Counter()
    for number, (key, before) in enumerate(sorted(sound.items())):
        after = met[key]
        what = wanted[number] if number < len(wanted) and done[number] else ("none", "")
        marks = [mark for mark in _MARKS if after.get(mark) != before.get(mark)]
        place = f"{name}: {what[0]} of {what[1]} in {key}"
        if after["reason"] is not None:
            assert what[0] != "none", f"{place}: a sound neighbour fails: {after['message']}"
            outcomes[f"refused: {after['reason']}"] += 1
            assert after["message"]
        elif marks:
            assert what[0] != "none", f"{place}: a sound neighbour has other {marks}"
            outcomes["flagged"] += 1
        else:
            texts, columns = content(dataset, after)
            own_texts, own_columns = content(twin, before)
            if texts == own_texts and same(columns, own_columns):
                outcomes["the same"] += 1
                continue
            gone = set(own_columns) - set(columns)
            cameras = {image["camera"] for image in after["images"]}
            if cameras < {image["camera"] for image in before["images"]}:
                # Where no description names cameras, an episode has those that its file has.
                gone.add("a camera")
            rest = {name: own_columns[name] for name in columns if name in own_columns}
            if what[0] in ("drop", "rename", "empty") and same(columns, rest) and gone:
                outcomes["gone, as in the source"] += 1
                was = any(f"{what[1]}_old" in name or "_old" in name for name in named)
                assert what[0] != "rename" or was, f"{place}: not named"
            elif (
                what[0] == "rename" and _is_renamed(texts, own_texts) and same(columns, own_columns)
            ):
                outcomes["kept by the name that the source has now"] += 1
            elif what[1] in named and "other_not_converted" in after["flags"]:
                outcomes["named as left out"] += 1
            else:
                lawful = (*_CHANGES_WHAT_IS_SAID, *(("short",) if name == _STRIDED else ()))
                other = [n for n in own_columns if n not in columns or n in gone]
                other += [
                    n
                    for n in own_columns
                    if n in columns and not same({n: columns[n]}, {n: own_columns[n]})
                ]
                seen = f"{other}; {texts} instead of {own_texts}" if texts != own_texts else other
                assert what[0] in lawful, f"{place}: lost without a word: {seen}"
                outcomes["as the source has it"] += 1
        if after["reason"] is None and "flags" in marks:
            continue  # a flag may tell of what no digest covers
        assert f"{key[0]}, record {key[1]}" in places, f"{place}: verify does not see it"
    return outcomes


@pytest.mark.parametrize("name", FAMILIES)
def test_no_damage_is_silent(name: str, tmp_path: Path) -> None:
    outcomes = judged(name, tmp_path, _IN_SUITE)
    assert sum(outcomes.values()) == _IN_SUITE + 1
    assert len(outcomes) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_no_damage_of_any_thing_is_silent(name: str, tmp_path: Path) -> None:
    outcomes = judged(name, tmp_path, None)
    print(name, dict(outcomes))
    assert any(outcome.startswith("refused") for outcome in outcomes)
