"""A converted corpus as it is, and the same with one camera whose colours are exchanged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finedata.schema.tables.all import arrow_schema
from finedata.store.dataset import Dataset, open_dataset

CAMERA = "image_0"


@pytest.fixture(scope="session")
def dataset(converted: Path) -> Dataset:
    return open_dataset(converted)


@pytest.fixture(scope="session")
def swapped(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The corpus with `image_0` renamed to `image_0_bgr`: its pictures are now called wrong."""
    root = tmp_path_factory.mktemp("swapped") / "bridge"
    shutil.copytree(converted, root)
    old, new = f"observation.images.{CAMERA}", f"observation.images.{CAMERA}_bgr"
    for path in [*root.glob("data/*/*.parquet"), *root.glob("meta/episodes/*/*.parquet")]:
        with pq.ParquetFile(path) as file:
            tables = [file.read_row_group(i) for i in range(file.num_row_groups)]
        names = [name.replace(old, new) for name in tables[0].schema.names]
        schema = tables[0].rename_columns(names).schema.with_metadata(tables[0].schema.metadata)
        with pq.ParquetWriter(path, schema) as writer:
            for table in tables:
                writer.write_table(pa.Table.from_arrays(table.columns, schema=schema))
    info = root / "meta" / "info.json"
    info.write_text(info.read_text().replace(f'"{old}"', f'"{new}"'))
    return open_dataset(root)


@pytest.fixture
def with_instructions(converted: Path, tmp_path: Path) -> Callable[[list[dict]], Dataset]:
    """Make a copy of the corpus with the given rows of `instructions`."""

    def made(rows: list[dict]) -> Dataset:
        root = tmp_path / "annotated"
        shutil.copytree(converted, root)
        (root / "annotations" / "instructions").mkdir(parents=True, exist_ok=True)
        common = {
            "is_primary": False,
            "order": 0,
            "language": "en",
            "origin": "teacher",
            "annotator": "test",
            "run_id": "0" * 16,
            "revision": 0,
            "review_status": "unreviewed",
        }
        table = pa.Table.from_pylist(
            [common | row for row in rows], schema=arrow_schema("instructions")
        )
        pq.write_table(table, root / "annotations" / "instructions" / "part-zz.parquet")
        return open_dataset(root)

    return made
