"""A million facts: appended as a run appends them, then asked for, beside DuckDB on the same files.

    python benchmarks/annotate_query.py --facts 1000000

Prints the median of nine warm runs of each query in finedata and in DuckDB; the two must agree.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import finedata
from finedata.schema.dimension import SLOT_DIMENSION
from finedata.schema.tables.all import arrow_schema, build_schema, declared_table
from finedata.store.tables.table import append_rows

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = 9
FACTS_AN_EPISODE = 25
VERBS = ("grasps", "lifts", "pushes", "rotates", "places", "wipes")
COLOURS = ("red", "green", "blue", "yellow", "white", "black")
THINGS = ("cup", "drawer", "towel", "knife", "pot", "sponge", "carrot", "lid")
PLACES = ("on the plate", "into the sink", "left of the stove", "beside the bowl")
SHARED = {
    "origin": "teacher",
    "annotator": "model",
    "run_id": "0123456789abcdef",
    "prompt_sha256": "0" * 64,
    "revision": 0,
    "review_status": "unreviewed",
}


def facts(first: int, count: int, random: np.random.Generator) -> pa.Table:
    """Facts of different words and ids, as a table that conforms."""
    slots = np.array(list(SLOT_DIMENSION))[random.integers(0, len(SLOT_DIMENSION), count)]
    numbers = np.arange(first, first + count)
    ids = [f"source-{n // FACTS_AN_EPISODE:016x}" for n in numbers]
    drawn = random.integers(0, 1 << 30, count)
    texts = [
        f"The right arm {VERBS[d % 6]} the {COLOURS[d // 6 % 6]} {THINGS[d // 36 % 8]} "
        f"{PLACES[d // 288 % 4]} at about {d % 997} millimetres."
        for d in drawn.tolist()
    ]
    columns: dict[str, Any] = {
        "fact_id": [f"{n:016x}" for n in numbers],
        "episode_id": ids,
        "dimension": [SLOT_DIMENSION[slot] for slot in slots],
        "slot": slots.tolist(),
        "value": [f"{d % 997} mm" for d in drawn.tolist()],
        "value_number": (drawn % 997) / 1000,
        "unit": ["m"] * count,
        "object": [THINGS[d // 36 % 8] for d in drawn.tolist()],
        "actor": ["right"] * count,
        "text": texts,
        "anchor": ["step"] * count,
        "step_id": [f"{n // FACTS_AN_EPISODE:016x}" for n in numbers],
        "step_index": np.zeros(count, np.int32),
        "next_step_id": [None] * count,
        "next_step_index": [None] * count,
        "start_frame": np.zeros(count, np.int32),
        "end_frame": np.full(count, 30, np.int32),
        "start_s": np.zeros(count),
        "end_s": np.full(count, 6.0),
        "kinematic_verdict": ["untestable"] * count,
        "measurement": [None] * count,
        "confidence": np.full(count, 0.9, np.float32),
        "call_id": [f"{n // FACTS_AN_EPISODE:064x}" for n in numbers],
    } | {name: [value] * count for name, value in SHARED.items()}
    schema = build_schema(declared_table("facts"))
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def dataset(root: Path, count: int) -> float:
    """Make a dataset of facts and episodes; seconds of the appending."""
    episodes = -(-count // FACTS_AN_EPISODE)
    ids = [f"source-{n:016x}" for n in range(episodes)]
    table = pl.DataFrame(
        {
            "episode_id": ids,
            "task": [f"{VERBS[n % 6]} the {THINGS[n % 8]}" for n in range(episodes)],
            "source": ["source"] * episodes,
        }
    ).to_arrow()
    for field in arrow_schema("episodes"):
        if field.name not in table.column_names and not field.nullable:
            # no query looks at it, but the table has it
            table = table.append_column(field.name, pa.nulls(episodes, field.type))
    folder = root / "meta" / "episodes" / "chunk-000"
    folder.mkdir(parents=True)
    tag = {"finedata.schema": "episodes", "finedata.version": "1"}
    pq.write_table(table.replace_schema_metadata(tag), folder / "file-000.parquet")
    part = {"name": "main", "path": ".", "embodiment": "x", "fps": 5.0, "episodes": episodes}
    marker = {
        "finedata.schema": "dataset",
        "finedata.version": 1,
        "finedata_version": finedata.__version__,
        "libraries": {},
        "sources": [],
        "parts": [part | {"frames": 0}],
        "options": {},
        "counts": {},
    }
    import msgspec

    (root / "finedata.json").write_bytes(msgspec.json.encode(marker))
    random = np.random.default_rng(0)
    batches = [facts(n, min(50_000, count - n), random) for n in range(0, count, 50_000)]
    begun = time.perf_counter()
    with append_rows(root, ("facts",)) as appender:
        for batch in batches:
            appender.add_table("facts", batch)
    return time.perf_counter() - begun


def median_s(run: Callable[[], object]) -> float:
    """Median of the warm runs."""
    run()
    times: list[float] = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=1_000_000)
    count = parser.parse_args().facts
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        appended = dataset(root, count)
        print(f"append {count} facts: {appended:.2f} s, {count / appended:,.0f} rows/s")
        glob = f"{root}/annotations/facts/*.parquet"
        meta = f"{root}/meta/episodes/*/*.parquet"
        by_dimension = "select dimension, count(*) as n from {facts} group by dimension"
        contains = (
            "select episodes.task, count(*) as n from {facts} as facts join {episodes} as episodes "
            "on facts.episode_id = episodes.episode_id "
            "where facts.text like '%blue towel into the sink%' group by episodes.task"
        )

        def opened() -> finedata.Dataset:
            return finedata.open(root)

        def ours_dimension() -> list[tuple[Any, ...]]:
            return list(opened().count("facts", by="dimension").items())

        def polars_dimension() -> list[tuple[Any, ...]]:
            return opened().facts.group_by("dimension").agg(n=pl.len()).collect().rows()

        def ours_contains() -> list[tuple[Any, ...]]:
            ds = opened()
            wanted = pl.col("text").str.contains("blue towel into the sink", literal=True)
            found = ds.facts.filter(wanted).select("episode_id")
            tasks = ds.episodes.select("episode_id", "task")
            joined = found.join(tasks, on="episode_id")
            return joined.group_by("task").agg(n=pl.len()).collect().rows()

        files = {"facts": f"read_parquet('{glob}')", "episodes": f"read_parquet('{meta}')"}
        for name, ours, query in (
            ("count by dimension, Dataset.count", ours_dimension, by_dimension),
            ("count by dimension, Dataset.facts", polars_dimension, by_dimension),
            ("text contains ... join episodes", ours_contains, contains),
        ):
            theirs = query.format(**files)
            expected = sorted(duckdb.sql(theirs).fetchall())
            if sorted(ours()) != expected:
                message = f"{name}: finedata and DuckDB disagree"
                raise SystemExit(message)
            mine = median_s(ours)
            duck = median_s(lambda theirs=theirs: duckdb.sql(theirs).fetchall())
            sql = query.format(facts="facts", episodes="episodes")
            spoken = median_s(lambda sql=sql: opened().sql(sql))
            print(
                f"{name}: finedata {mine * 1000:.0f} ms, finedata sql {spoken * 1000:.0f} ms, "
                f"DuckDB {duck * 1000:.0f} ms, ratio {mine / duck:.2f}"
            )


if __name__ == "__main__":
    main()
