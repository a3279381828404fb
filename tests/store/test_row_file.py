"""A table's file is whole, or not there, whatever fails."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finedata.errors import OutputError
from finedata.store.row_file import RowFile

SCHEMA = pa.schema([("n", pa.int64())])


def build(items: list[int]) -> pa.Table:
    return pa.table({"n": pa.array(items, pa.int64())}, schema=SCHEMA)


@pytest.mark.parametrize("count", [0, 1, 1000, 2500])
def test_holds_every_item_in_order(tmp_path: Path, count: int) -> None:
    with RowFile(tmp_path / "t.parquet", build) as file:
        for number in range(count):
            file.add(number)
        assert not (tmp_path / "t.parquet").exists()
    assert pq.read_table(tmp_path / "t.parquet")["n"].to_pylist() == list(range(count))
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with RowFile(tmp_path / "t.parquet", build) as file:
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
        with RowFile(tmp_path / "t.parquet", build) as file:
            file.add(1)

    with pytest.raises(OutputError, match="No space left"):
        fail()
    assert list(tmp_path.iterdir()) == []
