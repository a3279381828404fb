from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from finedata.errors import ConformError, UsageError
from finedata.schema.tables.all import arrow_schema
from finedata.store.dataset import Dataset
from finedata.store.tables.table import write_table


def rows(**changed):
    ids = ["b", "a", "c"]
    columns = {
        "episode_id": ids,
        "task_id": ["0" * 16] * 3,
        "cluster_id": [f"part/{'0' * 16}/1"] * 3,
        "rank": [0, 1, 2],
        "role": ["medoid", "quota", "quota"],
        "represents": [3, 1, 1],
        "score": [0.5, 0.25, 0.0],
        "quality": [1.0, 1.0, 0.5],
        "coverage_radius": [2.0, None, 0.0],
        "settings_sha256": ["0" * 64] * 3,
    }
    return pl.DataFrame(columns | changed)


def test_written_sorted_and_in_the_published_form(tmp_path: Path):
    path = write_table(tmp_path, "representatives", rows())
    assert path == tmp_path / "curation" / "representatives.parquet"
    table = pq.read_table(path)
    assert table.schema.equals(arrow_schema("representatives"), check_metadata=True)
    assert table["episode_id"].to_pylist() == ["a", "b", "c"]
    assert table["rank"].to_pylist() == [1, 0, 2]


def test_same_bytes_whatever_the_order(tmp_path: Path):
    first = write_table(tmp_path / "1", "representatives", rows()).read_bytes()
    turned = rows().reverse().select(reversed(rows().columns))
    assert write_table(tmp_path / "2", "representatives", turned).read_bytes() == first
    arrow = write_table(tmp_path / "3", "representatives", rows().to_arrow()).read_bytes()
    assert arrow == first


def test_refused_and_the_old_file_stays(tmp_path: Path):
    path = write_table(tmp_path, "representatives", rows())
    before = path.read_bytes()
    for bad in (rows(role="best"), rows(rank=-1), rows(quality=2.0), rows(episode_id="a")):
        with pytest.raises(ConformError):
            write_table(tmp_path, "representatives", bad)
    with pytest.raises(ConformError):
        write_table(tmp_path, "representatives", rows().drop("rank"))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["representatives.parquet"]
    for other in ("facts", "frames", "reviews"):
        with pytest.raises(UsageError, match=f"'{other}'"):
            write_table(tmp_path, other, rows())


def test_no_rows(tmp_path: Path):
    path = write_table(tmp_path, "gate", arrow_schema("gate").empty_table())
    assert pq.read_table(path).num_rows == 0


def test_a_damaged_table_names_the_verb_that_writes_it(tmp_path: Path) -> None:
    (tmp_path / "curation").mkdir()
    (tmp_path / "curation/gate.parquet").write_bytes(b"PAR1 cut off")
    dataset = Dataset(tmp_path, None)
    with pytest.raises(ConformError) as caught:
        _ = dataset.verdicts
    assert caught.value.place.endswith("gate.parquet")
    assert caught.value.next_command == f"finedata gate {tmp_path}"
