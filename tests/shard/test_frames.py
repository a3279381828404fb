"""Numbers of shards: each row where arithmetic says, over the borders of batches too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finedata.errors import ConformError
from finedata.schema.tables.all import schema_tag
from finedata.shard import files, mapped
from finedata.shard.files import write_arrow
from finedata.shard.making.frames import frame_columns, write_episodes, write_frames
from finedata.shard.mapped import MappedTable
from finedata.store.dataset import open_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 50


@pytest.fixture(scope="module")
def small_batches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MappedTable]:
    """Fifty rows in batches of seven; row r holds 10 r and 10 r + 1."""
    values = np.stack([np.arange(ROWS) * 10, np.arange(ROWS) * 10 + 1], 1).astype(np.float32)
    table = pa.table(
        {
            "pair": pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 2),
            "word": [None if r % 5 == 0 else f"w{r}" for r in range(ROWS)],
        }
    )
    schema = table.schema.with_metadata(schema_tag("shard_frames"))
    pieces = [table.slice(0, 3), table.slice(3, 30), table.slice(33)]
    path = tmp_path_factory.mktemp("mapped") / "a.arrow"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "BATCH_ROWS", 7)
        patch.setattr(files, "BATCH_ROWS", 7)
        write_arrow(path, [p.cast(schema) for p in pieces], schema=schema)
        yield MappedTable(path, name="shard_frames")


@given(st.integers(0, ROWS), st.integers(0, ROWS))
def test_rows_are_found_over_borders_of_batches(small_batches: MappedTable, a: int, b: int):
    start, stop = min(a, b), max(a, b)
    if start < ROWS:
        found = small_batches.numbers("pair", start, stop)
        assert found.tolist() == [[10 * r, 10 * r + 1] for r in range(start, stop)]
    words = small_batches.rows(start, stop, columns=["word"]).column("word").to_pylist()
    assert words == [None if r % 5 == 0 else f"w{r}" for r in range(start, stop)]


@pytest.fixture(scope="module")
def by_length(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, MappedTable]]:
    """Number of rows to a table in batches of seven: row r holds r, (10 r, 10 r + 1), r % 3 == 0.

    Less than a batch; one full; one and a rest; two full; more, with a rest and without.
    """
    folder = tmp_path_factory.mktemp("lengths")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "BATCH_ROWS", 7)
        patch.setattr(files, "BATCH_ROWS", 7)
        found: dict[int, MappedTable] = {}
        for rows in (3, 7, 10, 14, 30, 35):
            number = np.arange(rows)
            pairs = np.stack([number * 10, number * 10 + 1], 1).astype(np.float32)
            table = pa.table(
                {
                    "number": number,
                    "pair": pa.FixedSizeListArray.from_arrays(pa.array(pairs.reshape(-1)), 2),
                    "flag": number % 3 == 0,
                    "hole": pa.array([None if r == rows - 1 else r for r in range(rows)]),
                }
            )
            table = table.replace_schema_metadata(schema_tag("shard_frames"))
            write_arrow(folder / f"{rows}.arrow", [table], schema=table.schema)
            found[rows] = MappedTable(folder / f"{rows}.arrow", name="shard_frames")
        yield found


@given(st.sampled_from([3, 7, 10, 14, 30, 35]), st.data())
def test_rows_in_any_order_are_taken_from_any_batches(
    by_length: dict[int, MappedTable], length: int, data: st.DataObject
):
    table = by_length[length]
    some = st.integers(0, length - 1)
    rows = np.array(data.draw(st.lists(some, max_size=12)), np.int64)
    if len(rows) % 2 == 0 and data.draw(st.booleans()):
        rows = rows.reshape(-1, 2)
    number, pair, flag = (table.take(name, rows) for name in ("number", "pair", "flag"))
    assert (number.dtype, pair.dtype, flag.dtype) == (np.int64, np.float32, np.bool_)
    assert number.tolist() == rows.tolist()
    assert pair.tolist() == np.stack([rows * 10, rows * 10 + 1], -1).tolist()
    assert flag.tolist() == (rows % 3 == 0).tolist()
    # A copy: who writes to it changes no file and no other taker's rows.
    pair[...] = -1
    assert table.take("pair", rows).tolist() == np.stack([rows * 10, rows * 10 + 1], -1).tolist()


@pytest.mark.parametrize("length", [3, 7, 10, 14, 30, 35])
def test_every_row_is_taken_at_once(by_length: dict[int, MappedTable], length: int):
    rows = np.arange(length)[::-1]
    assert by_length[length].take("number", rows).tolist() == rows.tolist()
    # The last batch alone, whole or a rest.
    last = np.arange((length - 1) // 7 * 7, length)
    assert by_length[length].take("pair", last)[:, 1].tolist() == (last * 10 + 1).tolist()
    with pytest.raises(ConformError, match="nulls in column hole"):
        by_length[length].take("hole", rows)


def test_truth_values_are_taken_from_many_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in (mapped, files):
        monkeypatch.setattr(module, "BATCH_ROWS", 16)
    values = np.random.default_rng(0).random(75) < 0.5
    schema = pa.schema({"valid": pa.bool_()}, schema_tag("shard_frames"))
    for rows in (16, 32, 75):
        path = tmp_path / f"{rows}.arrow"
        table = pa.table({"valid": values[:rows]}).cast(schema)
        write_arrow(path, [table.slice(0, 5), table.slice(5)], schema=schema)
        taken = np.random.default_rng(1).integers(0, rows, (20, 3))
        full = np.minimum(taken, rows // 16 * 16 - 1)
        for wanted in (taken, full):
            found = MappedTable(path, name="shard_frames").take("valid", wanted)
            assert found.dtype == bool
            assert np.array_equal(found, values[wanted])


def test_single_values(small_batches: MappedTable):
    assert len(small_batches) == ROWS
    assert [small_batches.value("word", r) for r in (0, 6, 7, 49)] == [None, "w6", "w7", "w49"]
    with pytest.raises(ConformError, match="nulls in column word"):
        small_batches.numbers("word", 0, 7)


def test_every_episode_of_a_dataset_is_in_its_rows(converted: Path, tmp_path: Path):
    dataset = open_dataset(converted)
    ids = sorted(dataset.episodes.select("episode_id").collect()["episode_id"])
    for turn in ("one", "two"):
        folder = tmp_path / turn
        folder.mkdir()
        write_episodes(folder / "e.arrow", dataset=dataset, episode_ids=ids)
        write_frames(
            folder / "f.arrow",
            (dataset.episode(name) for name in ids),
            columns=frame_columns(dataset, dataset.parts[0].name),
        )
    for name in ("e.arrow", "f.arrow"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    episodes = MappedTable(tmp_path / "one" / "e.arrow", name="shard_episodes")
    frames = MappedTable(tmp_path / "one" / "f.arrow", name="shard_frames")
    assert len(episodes) == len(ids)
    receipts = {row["episode_id"]: row for row in dataset.receipts.collect().to_dicts()}
    end = 0
    for number, name in enumerate(ids):
        episode = dataset.episode(name)
        first = episodes.value("first_row", number)
        assert first == end
        end = first + len(episode)
        assert episodes.value("episode_id", number) == name
        assert episodes.value("source_sha256", number) == receipts[name]["source_sha256"]
        assert episodes.value("verdict", number) is None
        for column in ("observation.state", "action", "action_valid"):
            np.testing.assert_array_equal(
                frames.numbers(column, first, end), episode.columns[column]
            )
        assert set(frames.numbers("episode", first, end)) == {number}
    assert len(frames) == end


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "other table"])
def test_damage_is_named(converted: Path, tmp_path: Path, damage: str):
    dataset = open_dataset(converted)
    path = tmp_path / "e.arrow"
    ids = dataset.episodes.select("episode_id").collect()["episode_id"].to_list()
    write_episodes(path, dataset=dataset, episode_ids=ids)
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    wanted = "shard_frames" if damage == "other table" else "shard_episodes"
    with pytest.raises(ConformError, match=r"e\.arrow"):
        MappedTable(path, name=wanted)
