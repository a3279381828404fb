"""Arrow files of shards: cut into batches of one size, whoever wrote them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from finedata.schema.tables.shards import BATCH_ROWS
from finedata.shard.files import index_path, tar_name, write_arrow


@pytest.mark.parametrize("cuts", [[], [10], [BATCH_ROWS], [3, 70_000, 131_000]])
def test_pieces_do_not_matter(cuts: list[int], tmp_path: Path) -> None:
    rows = pa.table({"n": pa.array(range(2 * BATCH_ROWS + 5), pa.int64())})
    edges = [0, *cuts, rows.num_rows]
    pieces = [rows.slice(a, b - a) for a, b in pairwise(edges)]
    write_arrow(tmp_path / "a.arrow", pieces, schema=rows.schema)
    write_arrow(tmp_path / "whole.arrow", [rows], schema=rows.schema)
    assert (tmp_path / "a.arrow").read_bytes() == (tmp_path / "whole.arrow").read_bytes()
    with pa.memory_map(str(tmp_path / "a.arrow")) as file:
        reader = pa.ipc.open_file(file)
        sizes = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
        assert sizes == [BATCH_ROWS, BATCH_ROWS, 5]
        assert reader.read_all().equals(rows)


def test_names() -> None:
    assert tar_name("train", 7) == "train-000007.tar"
    assert tar_name("heldout", 1_000_000) == "test-1000000.tar"
    assert index_path(Path("x/train-000007.tar")) == Path("x/train-000007.index.arrow")
