"""Tiers and sides: what is linked stays together, and a list or share says who is held out."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard.curation import curate

from finedata.errors import UsageError
from finedata.schema.identity import task_id
from finedata.shard.making import sets
from finedata.shard.making.sets import SetKey, _groups, leaks, set_names, sort_episodes
from finedata.shard.making.settings import ShardSettings
from finedata.store.dataset import Dataset, open_dataset

PLAIN = set("abcdefghijklmnopqrstuvwxyz0123456789_-")


@pytest.fixture
def dataset(converted: Path, tmp_path: Path) -> Dataset:
    """Its episodes: some failed, the second a copy of the first."""
    root = tmp_path / "bridge"
    shutil.copytree(converted, root)
    curate(root)
    ids = ids_of(open_dataset(root))
    curate(root, failed=ids[2:3], duplicate_of={ids[1]: ids[0]})
    return open_dataset(root)


def flagged(dataset: Dataset) -> set[str]:
    bad = pl.col("flags").list.contains("undecodable_picture")
    return set(dataset.receipts.filter(bad).collect()["episode_id"])


def ids_of(dataset: Dataset) -> list[str]:
    """Episodes with an instruction and with pictures that decode."""
    bad = flagged(dataset)
    rows = dataset.episodes.filter(pl.col("task") != "").select("episode_id").collect()
    return [name for name in rows["episode_id"] if name not in bad]


def test_tiers(dataset: Dataset) -> None:
    failed, bad = ids_of(dataset)[2], flagged(dataset)
    found = sort_episodes([dataset], ShardSettings(with_failed=True))
    tiers = dict(found.rows.select("episode_id", "tier").iter_rows())
    rows = dataset.episodes.select("episode_id", "task").collect().rows()
    for number, (name, task) in enumerate(rows):
        wanted = ("rep" if number % 3 == 0 else "rest") if task else "unlabelled"
        if name == failed:
            wanted = "failed"
        assert tiers.get(name, "left out") == ("left out" if name in bad else wanted)
    assert set(tiers.values()) == {"rep", "rest", "unlabelled", "failed"}
    without = sort_episodes([dataset], ShardSettings())
    assert set(without.rows["tier"]) == {"rep", "rest"}
    assert without.left_out["failed"] == 1
    assert without.left_out["undecodable_picture"] == len(bad) > 0
    assert without.rows.height + sum(without.left_out.values()) == len(rows)


@pytest.mark.parametrize("share", ["1/10", "0.5", "9/10"])
@pytest.mark.parametrize("by", ["episode", "task"])
def test_copies_and_tasks_stay_together(dataset: Dataset, share: str, by: str) -> None:
    settings = ShardSettings(held_out=share, held_out_by=by, with_failed=True)
    rows = sort_episodes([dataset], settings).rows
    ids = ids_of(dataset)
    sides = dict(rows.select("episode_id", "side").iter_rows())
    assert sides[ids[0]] == sides[ids[1]]
    if by == "task":
        labelled = rows.filter(pl.col("task_id").is_not_null())
        assert labelled.group_by("task_id").agg(pl.col("side").n_unique())["side"].max() == 1
    # A smaller share holds out a part of what a larger one does, and a seed moves nobody.
    more = sort_episodes([dataset], ShardSettings(**{**_of(settings), "held_out": "19/20"})).rows
    out = set(rows.filter(pl.col("side") == "heldout")["episode_id"])
    assert out <= set(more.filter(pl.col("side") == "heldout")["episode_id"])
    again = sort_episodes([dataset], ShardSettings(**{**_of(settings), "seed": 9})).rows
    assert again.equals(rows)


def _of(settings: ShardSettings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}


def test_a_list_holds_out_copies_too(dataset: Dataset) -> None:
    ids = ids_of(dataset)
    rows = sort_episodes([dataset], ShardSettings(held_out_ids=(ids[1],))).rows
    out = rows.filter(pl.col("side") == "heldout")["episode_id"].to_list()
    assert sorted(out) == sorted(ids[:2])
    task = rows.filter(pl.col("episode_id") == ids[0])["task"][0]
    for name in (task, task_id(task)):
        by_task = ShardSettings(held_out_ids=(name,), held_out_by="task")
        rows = sort_episodes([dataset], by_task).rows
        assert set(rows.filter(pl.col("task") == task)["side"]) == {"heldout"}
    with pytest.raises(UsageError, match="none of which"):
        sort_episodes([dataset], ShardSettings(held_out_ids=("nobody",)))


def test_leaks_are_found(dataset: Dataset) -> None:
    ids = ids_of(dataset)
    rows = sort_episodes([dataset], ShardSettings()).rows
    assert leaks(rows, ["nobody"]) == []
    # A copy of a listed episode is a leak as well.
    assert leaks(rows, [ids[1]]) == sorted(ids[:2])
    held = sort_episodes([dataset], ShardSettings(held_out_ids=(ids[0],))).rows
    assert leaks(held, ids[:2]) == []
    task = rows["task"][0]
    of_task = sorted(rows.filter(pl.col("task") == task)["episode_id"])
    assert set(of_task) <= set(leaks(rows, [task]))


def test_known_sides_hold_for_copies(dataset: Dataset) -> None:
    ids = ids_of(dataset)
    rows = sort_episodes([dataset], ShardSettings(), known_sides={ids[0]: "heldout"}).rows
    sides = dict(rows.select("episode_id", "side").iter_rows())
    assert sides[ids[1]] == "heldout"
    assert set(sides.values()) == {"heldout", "train"}
    with pytest.raises(UsageError, match="both sides"):
        sort_episodes([dataset], ShardSettings(), known_sides={ids[0]: "heldout", ids[1]: "train"})


@pytest.mark.parametrize(("table", "verb"), [("gate", "gate"), ("representatives", "cluster")])
def test_an_uncurated_dataset_says_which_verb(dataset: Dataset, table: str, verb: str) -> None:
    (dataset.root / "curation" / f"{table}.parquet").unlink()
    with pytest.raises(UsageError, match=f"finedata {verb} "):
        sort_episodes([dataset], ShardSettings())


@pytest.mark.parametrize("backwards", [False, True])
def test_the_first_without_a_verdict_is_named(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, backwards: bool
) -> None:
    """Whatever order the joins of tables leave the rows in."""
    file = dataset.root / "curation" / "gate.parquet"
    table = pq.read_table(file)
    missing = sorted(ids_of(dataset))[1:3]
    pq.write_table(table.filter(~pc.field("episode_id").isin(missing)), file)
    read = sets._read
    if backwards:
        monkeypatch.setattr(sets, "_read", lambda *given: read(*given).reverse())
    with pytest.raises(UsageError, match=f"{missing[0]}.*no verdict of it and of 1 others"):
        sort_episodes([dataset], ShardSettings())


def test_one_episode_twice_and_mixed_licences(dataset: Dataset, tmp_path: Path) -> None:
    shutil.copytree(dataset.root, tmp_path / "again")
    again = open_dataset(tmp_path / "again")
    with pytest.raises(UsageError, match=r"it in .*bridge, and .* in .*again"):
        sort_episodes([dataset, again], ShardSettings())


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12),
    st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=10, max_size=10),
    st.booleans(),
)
def test_groups_are_the_connected_components(
    pairs: list[tuple[int, int]], tasks: list[int | None], by_task: bool
) -> None:
    copies: dict[int, int] = dict(pairs)
    rows = pl.DataFrame(
        {
            "episode_id": [f"e{n}" for n in range(10)],
            "duplicate_of": [f"e{copies[n]}" if n in copies else None for n in range(10)],
            "task_id": [None if task is None else f"t{task}" for task in tasks],
        },
        schema={"episode_id": pl.String, "duplicate_of": pl.String, "task_id": pl.String},
    )
    found = _groups(rows, by_task=by_task)
    # The slow way: spread the smallest number until nothing changes.
    reach = {n: {n} for n in range(10)}
    for _ in range(10):
        for n in range(10):
            for m in range(10):
                linked = copies.get(n) == m or (
                    by_task and tasks[n] is not None and tasks[n] == tasks[m]
                )
                if linked:
                    both = reach[n] | reach[m]
                    for k in both:
                        reach[k] = reach[k] | both
    for n in range(10):
        for m in range(10):
            assert (found[n] == found[m]) == (m in reach[n])
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=1)
    of_shuffled = dict(zip(shuffled["episode_id"], _groups(shuffled, by_task=by_task), strict=True))
    assert [of_shuffled[f"e{n}"] for n in range(10)] == found


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), unique=True, max_size=8))
def test_names_of_sets_are_unique_and_plain(pairs: list[tuple[str, str]]) -> None:
    keys = [SetKey(source, part, "rep", "train") for source, part in pairs]
    names = set_names(keys)
    assert len(set(names.values())) == len(keys)
    assert all(
        set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") for name in names.values()
    )
    more = SetKey("another", "one", "rest", "train")
    assert {**names}.items() <= set_names([*keys, more], known=names).items()
