"""A table's file is whole, or not there, whatever fails."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finedata.errors import OutputError
from finedata.schema.tables.all import arrow_schema
from finedata.store.tables.table import TableFile

SCHEMA = arrow_schema("calls")


def row(number: int) -> dict:
    return {
        "call_id": f"{number:064x}",
        "episode_id": "e",
        "stage": "steps",
        "teacher": "t",
        "model": "m",
        "status": "ok",
        "attempts": number,
    }


def build(items: list[int]) -> pa.Table:
    return pa.Table.from_pylist([row(item) for item in items], schema=SCHEMA)


@pytest.mark.parametrize("count", [0, 1, 1000, 2500])
def test_holds_every_item_in_order(tmp_path: Path, count: int) -> None:
    with TableFile(tmp_path / "t.parquet", "calls", build=build) as file:
        for number in range(count):
            file.add(number)
        assert not (tmp_path / "t.parquet").exists()
    assert pq.read_table(tmp_path / "t.parquet")["attempts"].to_pylist() == list(range(count))
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with TableFile(tmp_path / "t.parquet", "calls", build=build) as file:
            for number in range(1500):
                file.add(number)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)

    def fail() -> None:
        with TableFile(tmp_path / "t.parquet", "calls", build=build) as file:
            file.add(1)

    with pytest.raises(OutputError, match="No space left"):
        fail()
    assert list(tmp_path.iterdir()) == []
