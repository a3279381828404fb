from __future__ import annotations

import polars as pl
import pyarrow.parquet as pq
import pytest
from annotate.test_run_facts import run

import finedata
from finedata.errors import UsageError
from finedata.store.tables.table import append_rows


def edit(root, **changes) -> str:
    """Write the first fact again, as a review does; its id."""
    table = pq.read_table(root / "annotations/facts/part-00001.parquet").slice(0, 1)
    [row] = table.to_pylist()
    with append_rows(root, ("facts",)) as appender:
        appender.add("facts", [row | {"revision": 1, "review_status": "edited"} | changes])
    return row["fact_id"]


def test_the_newest_revision_of_an_id_wins(root, settings) -> None:
    run(root, settings)
    before = finedata.open(root).facts.collect()
    fact_id = edit(root, text="The arm grasps the cup.")
    after = finedata.open(root).facts.collect()
    assert after.height == before.height
    [row] = after.filter(pl.col("fact_id") == fact_id).rows(named=True)
    assert (row["revision"], row["text"]) == (1, "The arm grasps the cup.")
    assert finedata.open(root).history("facts").collect().height == before.height + 1
    found = finedata.open(root).sql("select count(*) as n from facts")
    assert found["n"].item() == before.height


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("by", ["dimension", "actor", "object", "unit"])
def test_counting_is_grouping(root, settings, edited, by) -> None:
    run(root, settings)
    if edited:
        edit(root, object=None, dimension="target_object", slot="material")
    dataset = finedata.open(root)
    wanted = dict(dataset.facts.collect().group_by(by).agg(pl.len()).rows())
    found = dataset.count("facts", by=by)
    assert found == wanted
    assert sum(found.values()) == dataset.facts.collect().height


def test_counting_what_is_not_there(root) -> None:
    dataset = finedata.open(root)
    assert dataset.count("facts", by="dimension") == {}
    for name, by in (("facts", "start_s"), ("frames", "index"), ("facts", "nothing")):
        with pytest.raises(UsageError):
            dataset.count(name, by=by)
    with pytest.raises(UsageError):
        dataset.history("calls")
